"""The second root at the end of its time: said with what to do, and what is said to do works."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509

from meterseal.errors import TrustError
from meterseal.mesh.authority import ROOT_DAYS, TlsDirectory
from meterseal.mesh.tls import PROCESSES

NOW = 1_790_000_000_000
LATER = NOW + (ROOT_DAYS + 1) * 86_400_000


def test_an_ended_root_is_told_with_what_to_do_and_doing_it_makes_a_new_one(tmp_path: Path) -> None:
    directory = TlsDirectory(tmp_path)
    passwords = directory.provision(b"the passphrase of this test", NOW)
    before = (tmp_path / "root.crt").read_bytes()
    with pytest.raises(TrustError) as caught:
        directory.renew(passwords, LATER)
    assert caught.value.code == "mesh.root-ended"
    assert f"delete {tmp_path / 'root.crt'}" in caught.value.message
    assert (tmp_path / "root.crt").read_bytes() == before
    (tmp_path / "root.crt").unlink()
    assert set(directory.renew(passwords, LATER)) == set(PROCESSES)
    root = x509.load_pem_x509_certificate((tmp_path / "root.crt").read_bytes())
    for name in PROCESSES:
        leaf = x509.load_pem_x509_certificate((tmp_path / f"{name}.crt").read_bytes())
        leaf.verify_directly_issued_by(root)
    assert directory.renew(passwords, LATER) == []


def test_a_new_root_that_was_cut_off_leaves_no_process_under_the_one_before(tmp_path: Path) -> None:
    directory = TlsDirectory(tmp_path)
    passwords = directory.provision(b"the passphrase of this test", NOW)
    (tmp_path / "root.crt").unlink()

    def stop(name: str, content: bytes) -> None:
        raise KeyboardInterrupt

    write, directory._write = directory._write, stop  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        directory.renew(passwords, NOW)
    directory._write = write  # type: ignore[method-assign]
    assert set(directory.renew(passwords, NOW)) == set(PROCESSES)
