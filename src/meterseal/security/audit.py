"""The audit log of the security service: what was done and refused, why, and for whom, in a chain that
shows changes.

It holds no key, no name, no payload; a refusal's sentence stands here and not on the wire.

Each entry carries HMAC-SM3(K_audit, hash of the entry before ‖ entry), so an entry cannot be changed,
removed or put elsewhere by somebody who holds the file but not vault *keys*. Every entry is a use of
K_audit, counted in that vault: a log that lost its tail has fewer entries than uses. Under a flood of
refusals single entries give way to a count of them.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec

from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.symmetric import equal
from meterseal.security.messages import AuditEntry, AuditState, Chained
from meterseal.security.store import Store
from meterseal.security.vault import Vault

FORMAT = 1
KEY = "AUDIT"
_SCHEMA = "CREATE TABLE entry(sequence INTEGER PRIMARY KEY, body BLOB NOT NULL, hash BLOB NOT NULL);"
_START = bytes(32)

_BURST = 1000
_PER_SECOND = 50


class Audit:
    """The open log."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault
        self._key: SymmetricKey = vault.symmetric(KEY, 1)
        last = store.rows("SELECT sequence FROM entry ORDER BY sequence DESC LIMIT 1")
        self._sequence: int = last[0][0] if last else 0
        vault.raise_count(KEY, 1, self._sequence)
        self._budget, self._budget_at = float(_BURST), 0
        self._unwritten = 0

    @classmethod
    def create(cls, path: Path) -> None:
        """A new, empty log file."""
        Store.create(path, _SCHEMA, FORMAT).close()

    @classmethod
    def open(cls, path: Path, vault: Vault) -> Audit:
        """The log, continued."""
        return cls(Store.open(path, FORMAT), vault)

    def write(self, entry: AuditEntry) -> None:
        """Put an entry into the next shared commit; on disk after `durable`."""
        if entry.refused and not self._affordable(entry.at):
            self._unwritten += 1
            return
        if self._unwritten:
            entry = msgspec.structs.replace(entry, unwritten=self._unwritten)
            self._unwritten = 0
        body = msgspec.msgpack.encode(entry)
        self._store.later(lambda connection: self._append(connection, body))

    def _affordable(self, at: int) -> bool:
        passed = max(0, at - self._budget_at) / 1000
        self._budget = min(float(_BURST), self._budget + passed * _PER_SECOND)
        self._budget_at = at
        if self._budget < 1:
            return False
        self._budget -= 1
        return True

    def _append(self, connection: sqlite3.Connection, body: bytes) -> None:
        last = connection.execute(
            "SELECT sequence, hash FROM entry ORDER BY sequence DESC LIMIT 1"
        ).fetchone()
        sequence, head = last or (0, _START)
        hashed = self._link(head, sequence + 1, body)
        connection.execute("INSERT INTO entry VALUES (?, ?, ?)", (sequence + 1, body, hashed))

    def _link(self, head: bytes, sequence: int, body: bytes) -> bytes:
        return self._key.mac(b"ms1 audit\x00", head, sequence.to_bytes(8), body)

    async def durable(self) -> None:
        """Return once everything written so far is on disk, and counted in the vault."""
        await self._store.durable()
        last = self._store.rows("SELECT max(sequence) FROM entry")[0][0] or 0
        if last > self._sequence:
            self._sequence = last
            self._vault.raise_count(KEY, 1, last)
        await self._vault.durable()

    def since(self, sequence: int, limit: int) -> list[Chained]:
        """Entries after `sequence`, oldest first, at most `limit`."""
        rows = self._store.rows(
            "SELECT sequence, body, hash FROM entry WHERE sequence > ? ORDER BY sequence LIMIT ?",
            sequence,
            limit,
        )
        return [Chained(sequence=n, entry=_entry(body), hash=hashed) for n, body, hashed in rows]

    def newest(self, limit: int) -> list[Chained]:
        """The last entries, oldest first, at most `limit`."""
        last = self._store.rows("SELECT max(sequence) FROM entry")[0][0] or 0
        return self.since(max(0, last - limit), limit)

    def verify(self) -> AuditState:
        """Walk the whole chain."""
        head, count, broken = _START, 0, 0
        for sequence, body, hashed in self._store.rows(
            "SELECT sequence, body, hash FROM entry ORDER BY sequence"
        ):
            count += 1
            if sequence != count or not equal(self._link(head, sequence, body), hashed):
                broken = count
                break
            head = hashed
        used = self._vault.facts(KEY, 1).used
        return AuditState(entries=count, broken_at=broken, missing=0 if broken else max(0, used - count))

    def close(self) -> None:
        """Write what is pending and close the file."""
        self._store.flush()
        self._vault.raise_count(KEY, 1, self._store.rows("SELECT max(sequence) FROM entry")[0][0] or 0)
        self._store.close()


def _entry(body: bytes) -> AuditEntry:
    return msgspec.msgpack.decode(body, type=AuditEntry)
