"""Attacks on the audit log (T25, the chain)."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from meterseal.errors import TrustError
from meterseal.security import audit as audit_module
from meterseal.security.audit import Audit
from meterseal.security.messages import AuditEntry
from meterseal.security.vault import Vault

from .conftest import NOW, PASSPHRASE, Bench


def entry(number: int, *, refused: bool = False, at: int = NOW) -> AuditEntry:
    return AuditEntry(at=at, code=f"test.{number}", sentence=f"Entry {number}.", refused=refused)


@pytest.fixture
async def log(vault: Vault, tmp_path: Path) -> Audit:
    Audit.create(tmp_path / "audit.db", vault)
    audit = Audit.open(tmp_path / "audit.db", vault)
    for number in range(1, 21):
        audit.write(entry(number))
    await audit.durable()
    return audit


def tampered(log: Audit, vault: Vault, tmp_path: Path, change: str) -> Audit:
    log.close()
    vault.close()
    with sqlite3.connect(tmp_path / "audit.db") as connection:
        connection.execute(change)
    connection.close()
    again = Vault.open(tmp_path / "keys.vault", "keys", PASSPHRASE)
    return Audit.open(tmp_path / "audit.db", again)


async def test_an_untouched_log_verifies_and_reads_back_in_order(log: Audit) -> None:
    state = log.verify()
    assert state.ok
    assert state.entries == 20
    assert [one.entry.code for one in log.since(17, 100)] == ["test.18", "test.19", "test.20"]
    assert [one.sequence for one in log.newest(2)] == [19, 20]


@pytest.mark.parametrize(
    ("change", "broken_at"),
    [
        ("UPDATE entry SET body = (SELECT body FROM entry WHERE sequence = 3) WHERE sequence = 7", 7),
        ("DELETE FROM entry WHERE sequence = 7", 7),
    ],
    ids=["altered", "deleted"],
)
async def test_tampering_before_the_last_entry_is_found_by_a_walk(
    log: Audit, vault: Vault, tmp_path: Path, change: str, broken_at: int
) -> None:
    state = tampered(log, vault, tmp_path, change).verify()
    assert (state.ok, state.broken_at) == (False, broken_at)


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM entry WHERE sequence > 15",
        "DELETE FROM entry",
        "UPDATE entry SET body = (SELECT body FROM entry WHERE sequence = 3) WHERE sequence = 20",
        "UPDATE entry SET hash = zeroblob(32) WHERE sequence = 20",
        "UPDATE entry SET sequence = sequence + 1 WHERE sequence = 20",
        "INSERT INTO entry SELECT 21, body, hash, version FROM entry WHERE sequence = 20",
        "CREATE TRIGGER forget AFTER INSERT ON entry BEGIN DELETE FROM entry WHERE sequence = NEW.sequence; END",
    ],
    ids=["tail cut off", "emptied", "last one altered", "hash", "renumbered", "appended", "trigger"],
)
async def test_a_log_with_another_end_is_not_opened(
    log: Audit, vault: Vault, tmp_path: Path, change: str
) -> None:
    with pytest.raises(TrustError) as caught:
        tampered(log, vault, tmp_path, change)
    assert caught.value.code == "security.tampered"


async def test_entries_written_together_share_a_commit_and_keep_their_order(log: Audit) -> None:
    async def one(number: int) -> None:
        log.write(entry(number))
        await log.durable()

    await asyncio.gather(*(one(number) for number in range(21, 121)))
    assert [e.entry.code for e in log.since(20, 200)] == [f"test.{n}" for n in range(21, 121)]
    assert log.verify().ok


async def test_a_flood_of_refusals_is_counted_and_not_written_singly(log: Audit) -> None:
    for number in range(5000):
        log.write(entry(number, refused=True))
    await log.durable()
    assert log.verify().entries == 20 + 1000
    log.write(entry(9, refused=True, at=NOW + 1000))
    await log.durable()
    assert log.newest(1)[0].entry.unwritten == 4000


async def test_the_log_goes_on_after_a_restart(log: Audit, vault: Vault, tmp_path: Path) -> None:
    log.close()
    vault.close()
    again_vault = Vault.open(tmp_path / "keys.vault", "keys", PASSPHRASE)
    again = Audit.open(tmp_path / "audit.db", again_vault)
    again.write(entry(21))
    await again.durable()
    assert again.verify().ok
    assert again.verify().entries == 21
    assert again_vault.facts("AUDIT", 1).used == 21


async def test_a_long_log_is_walked_while_others_are_answered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "SLICE", 1)
    for number in range(20):
        with pytest.raises(TrustError):
            await bench.platform.device_facts(number.to_bytes(8))
    walking = asyncio.ensure_future(bench.platform.verify_audit())
    for _ in range(3):
        await bench.platform.audit(limit=1)
        assert not walking.done()
    monkeypatch.setattr(audit_module, "SLICE", 1000)
    assert (await asyncio.wait_for(walking, 20)).ok
