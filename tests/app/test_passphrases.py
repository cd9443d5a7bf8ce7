"""The passphrase is changed as a whole: a stop between any two writes leaves what starts with the one on file."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from meterseal.app import config, passphrases
from meterseal.app.config import Layout
from meterseal.errors import LocalError, TrustError
from meterseal.mesh.authority import TlsDirectory
from meterseal.security import offline
from meterseal.security.pki import OFFLINE
from meterseal.security.service import SecurityService, provision
from tests.security.conftest import NOW, PROJECT, cheap_stretching

__all__ = ["cheap_stretching"]

OLD, NEW = b"the passphrase of before", b"the passphrase that comes"


@pytest.fixture
def layout(tmp_path: Path, cheap_stretching: None, monkeypatch: pytest.MonkeyPatch) -> Layout:
    def cheap(passphrase: bytes, salt: bytes, label: bytes = b"ms1 tls\x00") -> bytes:
        from argon2.low_level import Type, hash_secret_raw

        return hash_secret_raw(label + passphrase, salt, 1, 64, 1, 32, Type.ID)

    monkeypatch.setattr("meterseal.mesh.doors.stretched", cheap)
    made = Layout(tmp_path / "d")
    config.make_directories(made)
    provision(made.keys, OLD, PROJECT, NOW)
    TlsDirectory(made.tls).provision(OLD, NOW)
    config.replace_file(made.passphrase_file, OLD + b"\n")
    return made


def starts(layout: Layout, passphrase: bytes) -> bytes:
    """Everything that a start opens, and the root; gives the public point of the TLS root's password."""
    SecurityService.open(layout.keys, passphrase, clock=lambda: NOW).close()
    directory = TlsDirectory(layout.tls)
    passwords = directory.open(passphrase)
    directory.issuer(passwords)
    assert directory.renew(passwords, NOW) == []
    passphrases.settle(layout, passphrase)
    offline.open_single(layout.keys / OFFLINE, passphrase)
    return passwords.of("keys")


def refused(layout: Layout, passphrase: bytes) -> None:
    for opened in (
        lambda: SecurityService.open(layout.keys, passphrase, clock=lambda: NOW),
        lambda: TlsDirectory(layout.tls).issuer(TlsDirectory(layout.tls).open(passphrase)),
        lambda: offline.open_single(layout.keys / OFFLINE, passphrase),
    ):
        with pytest.raises(TrustError) as caught:
            opened()
        assert caught.value.code in ("security.passphrase", "mesh.passphrase")


def moments(layout: Layout) -> Iterator[tuple[str, Layout]]:
    """A copy of everything after each write."""
    steps = passphrases.change(layout, OLD, NEW, passphrases.to_file(layout))
    for number, step in enumerate(steps):
        copy = Layout(layout.root.with_name(f"d{number}"))
        shutil.copytree(layout.root, copy.root)
        shutil.copy(layout.passphrase_file, copy.passphrase_file)
        yield step, copy


def test_a_stop_after_any_write_leaves_what_starts_with_the_passphrase_on_file(layout: Layout) -> None:
    password = starts(layout, OLD)
    found = []
    for step, copy in moments(layout):
        kept = config.read_passphrase(copy, create=False)
        assert starts(copy, kept) == password
        refused(copy, OLD if kept == NEW else NEW)  # and the other one has no door left
        assert starts(copy, kept) == password
        found.append((step, kept))
    assert [kept for _, kept in found].count(OLD) == 4
    assert found[4] == ("passphrase", NEW)
    assert starts(layout, NEW) == password
    refused(layout, OLD)
    assert not (layout.tls / "salt").exists()


def test_a_change_that_was_cut_off_is_made_again(layout: Layout) -> None:
    for stop in range(1, 5):
        with contextlib.closing(passphrases.change(layout, OLD, NEW, passphrases.to_file(layout))) as steps:
            for _ in range(stop):
                next(steps)
    assert list(passphrases.change(layout, OLD, NEW, passphrases.to_file(layout)))
    starts(layout, NEW)
    assert list(passphrases.change(layout, NEW, OLD, passphrases.to_file(layout)))
    starts(layout, OLD)
    refused(layout, NEW)


def test_a_wrong_or_a_short_passphrase_changes_nothing(layout: Layout) -> None:
    with pytest.raises(TrustError) as caught:
        list(passphrases.change(layout, b"not the passphrase", NEW, passphrases.to_file(layout)))
    assert caught.value.code == "security.passphrase"
    for coming, code in ((b"short", "app.weak-passphrase"), (OLD, "app.same-passphrase")):
        with pytest.raises(LocalError) as refusal:
            passphrases.check(coming, OLD)
        assert refusal.value.code == code
    starts(layout, OLD)
    assert config.read_passphrase(layout, create=False) == OLD


def test_a_root_that_was_carried_away_is_left_alone(layout: Layout) -> None:
    away = layout.root.with_name("away")
    shutil.move(layout.keys / OFFLINE, away)
    assert list(passphrases.change(layout, OLD, NEW, passphrases.to_file(layout)))
    assert offline.open_single(away, OLD)
