"""A vault moves to a new key-encryption key: at every moment one of two passphrases opens it, whatever is cut off."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import LocalError, TrustError
from meterseal.security.store import Store
from meterseal.security.vault import Vault

from .conftest import PASSPHRASE, Bench, Clock
from .people import operator

NEW = b"another passphrase, longer"


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


class Images:
    """What the disk holds before and after every transaction: where a kill -9 may strike."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taken: list[dict[str, bytes]] = []
        whole = Store.transaction

        @contextmanager
        def pictured(store: Store) -> Iterator[sqlite3.Connection]:
            self.taken.append(files(directory))
            with whole(store) as connection:
                yield connection
                self.taken.append(files(directory))
            self.taken.append(files(directory))

        monkeypatch.setattr(Store, "transaction", pictured)


def opens(
    image: dict[str, bytes], directory: Path, passphrase: bytes
) -> dict[str, list[tuple[str, int, bytes]]] | None:
    """The keys of both vaults as this passphrase shows them, None when it does not open both."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for name, content in image.items():
        (directory / name).write_bytes(content)
    found = {}
    for name in ("keys", "ca"):
        try:
            vault = Vault.open(directory / f"{name}.vault", name, passphrase)
        except TrustError:
            return None
        found[name] = [(facts.id, facts.version, facts.check_value) for facts in vault.all_facts()]
        vault.close()
    return found


@pytest.mark.parametrize("coming", [NEW, PASSPHRASE], ids=["a new passphrase", "a new salt"])
async def test_killed_between_any_two_writes_one_of_the_passphrases_opens_both_vaults(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coming: bytes
) -> None:
    images = Images(bench.directory, monkeypatch)
    await operator(bench).rotate("vault-kek", PASSPHRASE, coming)
    monkeypatch.undo()
    expected = {
        name: [(f.id, f.version, f.check_value) for f in vault.all_facts()]
        for name, vault in (("keys", bench.service.room.keys), ("ca", bench.service.room.authorities))
    }
    assert len(images.taken) >= 12
    ways = set()
    for image in [*images.taken, files(bench.directory)]:
        old, new = (opens(image, tmp_path / "image", passphrase) for passphrase in (PASSPHRASE, coming))
        assert old is not None or new is not None
        assert (old or new) == expected
        ways.add((old is not None, new is not None))
    if coming == NEW:
        assert {(True, False), (True, True), (False, True)} <= ways


async def test_the_old_passphrase_ends_and_no_seal_of_it_is_left(bench: Bench) -> None:
    before = files(bench.directory)
    room = bench.service.room
    seals = [bytes(row[0]) for row in room.keys._file.store.rows("SELECT sealed FROM key")]
    assert all(any(seal in content for content in before.values()) for seal in seals)
    await operator(bench).rotate("vault-kek", PASSPHRASE, NEW)
    bench.service.close()
    after = b"".join(files(bench.directory).values())
    assert not any(seal in after for seal in seals)
    with pytest.raises(TrustError):
        bench.restarted_from_closed()
    for name in ("keys", "ca"):
        Vault.open(bench.directory / f"{name}.vault", name, NEW).close()


async def test_a_wrong_present_passphrase_changes_nothing(bench: Bench) -> None:
    with pytest.raises(TrustError) as caught:
        await operator(bench).rotate("vault-kek", b"not the passphrase", NEW)
    assert caught.value.code == "security.passphrase"
    bench.restarted()


async def test_keys_made_during_the_move_stand_behind_both_doors(bench: Bench, tmp_path: Path) -> None:
    """Between the two steps of a move keys are added, retired and destroyed; both doors show the same."""
    keys = bench.service.room.keys
    keys.begin_move(keys.prepare_move(NEW))
    assert keys.moving == len(keys.all_facts())
    keys.add("WRAP-DATA", 2, SymmetricKey.generate("WRAP-DATA version 2"))
    keys.set_state("WRAP-DATA", 1, "destroyed")
    with pytest.raises(LocalError) as caught:
        keys.begin_move(keys.prepare_move(NEW))
    assert caught.value.code == "security.moving"
    for number, passphrase in enumerate((PASSPHRASE, NEW)):
        copy = tmp_path / f"copy{number}"
        copy.mkdir()
        for path in bench.directory.glob("keys.vault*"):
            shutil.copy(path, copy)
        opened = Vault.open(copy / "keys.vault", "keys", passphrase)
        states = {(f.id, f.version): f.state for f in opened.all_facts()}
        assert states["WRAP-DATA", 2] == "active"
        assert states["WRAP-DATA", 1] == "destroyed"
        opened.close()
        with pytest.raises(TrustError):  # whichever door opened is the only one from then on
            Vault.open(copy / "keys.vault", "keys", (NEW, PASSPHRASE)[number])


async def test_a_key_record_taken_out_of_the_file(bench: Bench) -> None:
    bench.service.close()
    with sqlite3.connect(bench.directory / "keys.vault") as connection:
        connection.execute("DELETE FROM key WHERE id = 'ACTS'")
    connection.close()
    with pytest.raises(TrustError) as caught:
        bench.restarted_from_closed()
    assert caught.value.code == "security.tampered"


async def test_states_only_go_forward_and_a_destroyed_key_is_gone(bench: Bench) -> None:
    keys = bench.service.room.keys
    secret = b"\x5a\xa5" * 8
    keys.add("PLANTED", 1, SymmetricKey.from_bytes(secret, "planted"))
    sealed = bytes(keys._file.store.rows("SELECT sealed FROM key WHERE id = 'PLANTED'")[0][0])
    check = keys.facts("PLANTED", 1).check_value
    keys.set_state("PLANTED", 1, "withdrawn")
    for back in ("active", "retiring", "new"):
        with pytest.raises(LocalError) as caught:
            keys.set_state("PLANTED", 1, back)  # type: ignore[arg-type]
        assert caught.value.code == "security.key-state"
    keys.set_state("PLANTED", 1, "destroyed")
    with pytest.raises(TrustError):
        keys.symmetric("PLANTED", 1)
    bench.service.close()
    on_disk = b"".join(files(bench.directory).values())
    assert sealed not in on_disk
    again = Bench(bench.directory, Clock()).service.room.keys
    assert again.facts("PLANTED", 1).state == "destroyed"
    assert again.facts("PLANTED", 1).check_value == check
