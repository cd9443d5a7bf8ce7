"""A root of somebody else's, written into the tls directory while the system is stopped: it would name any process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from meterseal.app.sm_identity import SmIdentities
from meterseal.errors import LocalError, TrustError
from meterseal.mesh.authority import TlsDirectory, make_root

NOW = 1_790_000_000_000
PASSPHRASE = b"the passphrase of this test"
Written = Callable[[bytes, bytes], bytes]

WAYS: dict[str, Written] = {
    "beside ours": lambda ours, theirs: ours + theirs,
    "before ours": lambda ours, theirs: theirs + ours,
    "in place of ours": lambda ours, theirs: theirs,
    "as a trusted certificate": lambda ours, theirs: (
        ours + theirs.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE")
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_root_written_into_the_trusted_ones_keeps_the_system_from_starting(
    tmp_path: Path, way: str
) -> None:
    directory = TlsDirectory(tmp_path)
    passwords = directory.provision(PASSPHRASE, NOW)
    root = tmp_path / "root.crt"
    ours, theirs = root.read_bytes(), make_root(NOW, b"theirs").certificate
    root.write_bytes(WAYS[way](ours, theirs))
    with pytest.raises(TrustError) as caught:
        directory.renew(passwords, NOW)
    assert caught.value.code == "mesh.foreign-root"
    root.write_bytes(ours)
    assert directory.renew(passwords, NOW) == []


def test_their_root_with_a_key_of_theirs_does_not_open(tmp_path: Path) -> None:
    directory = TlsDirectory(tmp_path)
    passwords = directory.provision(PASSPHRASE, NOW)
    theirs = make_root(NOW, b"theirs")
    (tmp_path / "root.crt").write_bytes(theirs.certificate)
    (tmp_path / "root.key").write_bytes(theirs.key)
    with pytest.raises(TrustError) as caught:
        directory.renew(passwords, NOW)
    assert caught.value.code == "mesh.passphrase"


@pytest.mark.parametrize("lost", ["root.key", "root.crt damaged"])
def test_a_root_that_cannot_be_compared_is_not_believed(tmp_path: Path, lost: str) -> None:
    directory = TlsDirectory(tmp_path)
    passwords = directory.provision(PASSPHRASE, NOW)
    if lost == "root.key":
        (tmp_path / "root.key").unlink()
    else:
        (tmp_path / "root.crt").write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    with pytest.raises(LocalError) as caught:
        directory.renew(passwords, NOW)
    assert caught.value.code == "mesh.files"


@pytest.mark.parametrize("way", WAYS)
def test_a_root_of_concentrators_that_is_not_ours(tmp_path: Path, way: str) -> None:
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    passwords = TlsDirectory(tmp_path / "ours").provision(PASSPHRASE, NOW)
    ours, theirs = SmIdentities(tmp_path / "ours"), SmIdentities(tmp_path / "theirs")
    ours.provision(passwords, NOW)
    theirs.provision(passwords, NOW)
    root = ours.files("sm-root").certificate
    before = root.read_bytes()
    root.write_bytes(WAYS[way](before, theirs.root()))
    with pytest.raises(TrustError) as caught:
        ours.renew(passwords, NOW)
    assert caught.value.code == "mesh.foreign-root"
    root.write_bytes(before)
    assert ours.renew(passwords, NOW) is False
