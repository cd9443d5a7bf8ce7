"""Attacks on the vault file, and what a key record promises (LINK section 2, HM 8.5.2)."""

from __future__ import annotations

import base64
import os
import pickle
import shutil
import sqlite3
from pathlib import Path

import pytest

from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import EngineError, LocalError, TrustError
from meterseal.security.hierarchy import KeyTree, plant
from meterseal.security.passphrase import fresh_stretching, key_encryption_key
from meterseal.security.vault import Vault

from .conftest import PASSPHRASE, PROJECT


def reopened(vault: Vault, path: Path, passphrase: bytes = PASSPHRASE) -> Vault:
    vault.close()
    return Vault.open(path / "keys.vault", "keys", passphrase)


def forms(secret: bytes) -> list[bytes]:
    return [
        secret,
        secret[::-1],
        secret.hex().encode(),
        secret.hex().upper().encode(),
        base64.b64encode(secret).rstrip(b"="),
        base64.urlsafe_b64encode(secret).rstrip(b"="),
    ]


def test_a_stolen_vault_file_holds_no_planted_key(vault: Vault, tmp_path: Path) -> None:
    sm4, scalar = os.urandom(16), os.urandom(31).rjust(32, b"\x01")
    vault.add("PLANTED", 1, SymmetricKey.from_bytes(sm4, "planted"))
    vault.add("PLANTED-SM2", 1, Sm2PrivateKey.from_scalar(scalar, "planted"))
    vault.set_state("PLANTED", 1, "retiring")
    on_disk = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (sm4, scalar, scalar[:16], PASSPHRASE):
        assert not any(form in on_disk for form in forms(secret))
    again = reopened(vault, tmp_path)
    assert again.symmetric("PLANTED").check_value() == SymmetricKey.from_bytes(sm4, "x").check_value()
    assert again.signing("PLANTED-SM2").public_point == Sm2PrivateKey.from_scalar(scalar).public_point


def test_a_wrong_passphrase_is_one_clear_sentence_and_changes_nothing(vault: Vault, tmp_path: Path) -> None:
    vault.close()
    before = (tmp_path / "keys.vault").read_bytes()
    with pytest.raises(TrustError) as caught:
        Vault.open(tmp_path / "keys.vault", "keys", PASSPHRASE + b"!")
    assert caught.value.code == "security.passphrase"
    assert "passphrase" in caught.value.message
    assert (tmp_path / "keys.vault").read_bytes() == before
    Vault.open(tmp_path / "keys.vault", "keys", PASSPHRASE).close()


def test_the_two_vaults_have_unrelated_key_encryption_keys(vault: Vault, tmp_path: Path) -> None:
    vault.close()
    shutil.copy(tmp_path / "keys.vault", tmp_path / "ca.vault")
    with pytest.raises(TrustError) as caught:
        Vault.open(tmp_path / "ca.vault", "ca", PASSPHRASE)  # the same passphrase and salt, another label
    assert caught.value.code == "security.passphrase"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE key SET id = 'DIAK2' WHERE id = 'DIAK'",
        "UPDATE key SET version = 2 WHERE id = 'DIAK'",
        "UPDATE key SET sealed = (SELECT sealed FROM key WHERE id = 'ROOT') WHERE id = 'DIAK'",
        "UPDATE key SET sealed = substr(sealed, 1, 20) || x'00' || substr(sealed, 22) WHERE id = 'DIAK'",
    ],
    ids=["renamed", "another version", "another key's record", "a byte changed"],
)
def test_a_record_moved_or_changed_does_not_open(vault: Vault, tmp_path: Path, change: str) -> None:
    vault.close()
    with sqlite3.connect(tmp_path / "keys.vault") as connection:
        connection.execute(change)
    connection.close()
    with pytest.raises(TrustError) as caught:
        Vault.open(tmp_path / "keys.vault", "keys", PASSPHRASE)
    assert caught.value.code == "security.tampered"


def test_a_tree_of_another_project_is_refused_at_start(vault: Vault) -> None:
    other = bytes.fromhex("31011500000000000001000200000004")
    with pytest.raises(TrustError) as caught:
        KeyTree(vault, other)
    assert caught.value.code == "security.key-tree"
    KeyTree(vault, PROJECT)


async def test_a_use_beyond_the_limit_is_refused_and_the_count_is_exact(vault: Vault, tmp_path: Path) -> None:
    vault.add("SMALL", 1, SymmetricKey.generate("small"), limit=3)
    for _ in range(3):
        vault.use("SMALL")
    with pytest.raises(TrustError) as caught:
        vault.use("SMALL")
    assert caught.value.code == "security.limit"
    with pytest.raises(TrustError):
        vault.use("SMALL", times=1)
    await vault.durable()
    again = reopened(vault, tmp_path)
    assert again.facts("SMALL", 1).used == 3
    with pytest.raises(TrustError):
        again.use("SMALL")


async def test_counted_uses_survive_a_kill_after_the_answer(vault: Vault, tmp_path: Path) -> None:
    vault.use("DIAK", times=7)
    await vault.durable()
    copied = tmp_path / "killed"
    copied.mkdir()
    for path in tmp_path.glob("keys.vault*"):  # what a kill -9 would leave: the file and its log, not closed
        shutil.copy(path, copied)
    assert Vault.open(copied / "keys.vault", "keys", PASSPHRASE).facts("DIAK", 1).used == 7


async def test_a_full_disk_is_an_error_and_no_use_is_forgotten(vault: Vault, tmp_path: Path) -> None:
    vault._file.store._connection.execute(
        "PRAGMA max_page_count=1"
    )  # SQLite then takes no page beyond those it has

    def fill() -> None:
        for number in range(2000):
            vault.add("FILL", number + 1, SymmetricKey.generate("fill"))

    with pytest.raises(EngineError) as caught:
        fill()
    assert caught.value.code == "security.disk-full"
    assert "free some space" in caught.value.message
    vault.use("DIAK")
    vault._file.store.later(
        lambda connection: [
            connection.execute(step)
            for step in ("CREATE TABLE big AS SELECT randomblob(9000000) AS b", "DROP TABLE big")
        ]
    )
    with pytest.raises(EngineError):
        await vault.durable()
    vault._file.store._connection.execute("PRAGMA max_page_count=100000")
    vault.use("AUDIT")
    await vault.durable()
    assert reopened(vault, tmp_path).facts("DIAK", 1).used == 1


def test_versions_only_rise(vault: Vault) -> None:
    for version in (0, 1):
        with pytest.raises(LocalError) as caught:
            vault.add("DIAK", version, SymmetricKey.generate("old"))
        assert caught.value.code == "security.key-exists"


def test_a_withdrawn_key_is_not_used_any_more(vault: Vault, tmp_path: Path) -> None:
    vault.set_state("DIAK", 1, "withdrawn")
    with pytest.raises(TrustError) as caught:
        vault.symmetric("DIAK", 1)
    assert caught.value.code == "security.key-state"
    again = reopened(vault, tmp_path)
    assert again.facts("DIAK", 1).state == "withdrawn"
    with pytest.raises(TrustError) as caught:
        again.newest("DIAK")
    assert caught.value.code == "security.no-key"


def test_a_file_of_a_newer_version_is_left_alone(vault: Vault, tmp_path: Path) -> None:
    vault.close()
    with sqlite3.connect(tmp_path / "keys.vault") as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    before = (tmp_path / "keys.vault").read_bytes()
    with pytest.raises(LocalError) as caught:
        Vault.open(tmp_path / "keys.vault", "keys", PASSPHRASE)
    assert caught.value.code == "security.newer"
    assert (tmp_path / "keys.vault").read_bytes() == before


def test_a_second_process_on_the_same_vault_is_refused(vault: Vault, tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        Vault.open(tmp_path / "keys.vault", "keys", PASSPHRASE)
    assert caught.value.code == "security.in-use"


def test_a_file_that_is_no_vault_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "keys.vault").write_bytes(os.urandom(8192))
    with pytest.raises(EngineError) as caught:
        Vault.open(tmp_path / "keys.vault", "keys", PASSPHRASE)
    assert caught.value.code == "security.damaged"
    with pytest.raises(LocalError) as missing:
        Vault.open(tmp_path / "other.vault", "keys", PASSPHRASE)
    assert missing.value.code == "security.missing"


def test_a_directory_that_takes_no_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        Vault.create(tmp_path / "absent" / "keys.vault", "keys", PASSPHRASE)
    assert caught.value.code == "security.disk"


def test_a_short_passphrase_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocalError) as caught:
        Vault.create(tmp_path / "keys.vault", "keys", b"short")
    assert caught.value.code == "security.passphrase-short"


def test_guessing_a_passphrase_costs_64_mib_and_three_passes() -> None:
    cost = fresh_stretching()
    assert (cost.memory, cost.passes) == (65536, 3)
    assert len(cost.salt) == 16
    assert cost.salt != fresh_stretching().salt
    one = key_encryption_key(PASSPHRASE, "vault keys", cost)
    assert one.check_value() == key_encryption_key(PASSPHRASE, "vault keys", cost).check_value()
    assert one.check_value() != key_encryption_key(PASSPHRASE, "vault ca", cost).check_value()


def test_keys_do_not_print_pickle_or_compare(vault: Vault) -> None:
    for key in (vault.symmetric("ROOT"), vault.symmetric("DIAK")):
        assert repr(key) == f"<SymmetricKey {key.label}>"
        with pytest.raises(TypeError):
            pickle.dumps(key)
    assert "secret" not in repr(vault.all_facts())


def test_the_tree_is_that_of_the_vectors(tmp_path: Path) -> None:
    """The known answers of the reference for div(P, f8), by the tree's own calls."""
    root = SymmetricKey.from_bytes(bytes.fromhex("0123456789ABCDEFFEDCBA9876543210"), "root")
    first = root.diversify(bytes.fromhex("3330313100000001"), "K1")
    second = first.diversify(bytes.fromhex("0000202611210001"), "K2")
    from meterseal.crypto.expose import expose

    assert expose(first).hex().upper() == "73F76D498CEE3EAD315EE7E54B72371C"
    assert expose(second).hex().upper() == "95B328159ADD8D4BDF8A69C7DEB512B5"


def test_keys_of_two_modules_two_versions_and_four_purposes_are_all_different(vault: Vault) -> None:
    tree = KeyTree(vault, PROJECT)
    vault.add("DIAK", 2, vault.symmetric("PROJECT").diversify(b"DIAK\x00\x00\x00\x02", "DIAK version 2"))
    device, module, other = bytes(8), b"\x01" * 8, b"\x02" * 8
    keys = [
        tree.purpose(device, serial, version, purpose).mac(b"")
        for serial in (module, other)
        for version in (1, 2)
        for purpose in ("AUTH0001", "LINK0001", "CMND0001", "EVID0001")
    ]
    keys += [tree.bound(device, module, 1).mac(b""), tree.module_root(device, module).mac(b"")]
    assert len(set(keys)) == 18


def test_planting_twice_makes_unrelated_trees(tmp_path: Path) -> None:
    roots = set()
    for name in ("a", "b"):
        vault = Vault.create(tmp_path / f"{name}.vault", "keys", PASSPHRASE)
        plant(vault, PROJECT)
        roots.add(vault.symmetric("ROOT").mac(b""))
    assert len(roots) == 2
