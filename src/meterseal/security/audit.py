"""The audit log of the security service: what was done and refused, why, and for whom, in a chain that
shows changes.

It holds no key, no name, no payload; a refusal's sentence stands here and not on the wire.

Each entry carries HMAC-SM3(K_audit, hash of the entry before ‖ entry), so an entry cannot be changed,
removed or put elsewhere by somebody who holds the file but not vault *keys*. The file's proof holds where the
chain ends, so a log that lost its tail is not opened; and every entry is a use of K_audit, counted in that
vault. A log from before there were proofs is verified whole, once, and goes on under a new version of K_audit, which
an older copy of the vault does not have. Under a flood of
refusals single entries give way to a count of them. When K_audit is rotated, entries go on under the new
version; a version never falls along the chain, and the last entry stands under the newest that was used.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from pathlib import Path

import msgspec

from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.symmetric import equal
from meterseal.errors import TrustError
from meterseal.security.messages import AuditEntry, AuditState, Chained
from meterseal.security.proof import Proof
from meterseal.security.store import Store
from meterseal.security.vault import Vault

FORMAT = 3
NAME = "audit"
KEY = "AUDIT"
_SCHEMA = (
    "CREATE TABLE entry(sequence INTEGER PRIMARY KEY, body BLOB NOT NULL, hash BLOB NOT NULL, "
    "version INTEGER NOT NULL DEFAULT 1);"
)
_START = bytes(32)
SLICE = 2_000
"""Entries that are walked at once, some 40 ms of work."""

_BURST = 1000
_PER_SECOND = 50


class Audit:
    """The open log."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault
        self._sequence = self._written = self._count()
        self._budget, self._budget_at = float(_BURST), 0
        self._unwritten = 0

    @classmethod
    def create(cls, path: Path, vault: Vault) -> None:
        """A new, empty log file."""
        store = Store.create(path, _SCHEMA, FORMAT)
        with store.transaction() as connection:
            _proof(store, vault).begin(connection)
        store.close()

    @classmethod
    def open(cls, path: Path, vault: Vault) -> Audit:
        """The log, continued; one of a format before is brought up to this one.

        TrustError `security.tampered`, `security.rolled-back`.
        """
        store = Store.open(path, FORMAT)
        try:
            proof = _proof(store, vault)
            if not proof.present:
                vault.revisions.expect_unproven(NAME, path)
                _raise(store, vault, proof)
            proof.open()
            return cls(store, vault)
        except BaseException:
            store.close()
            raise

    def _count(self) -> int:
        """Count the entries as uses of the version that the last of them stands under; how many there are."""
        rows = self._store.rows("SELECT sequence, version FROM entry ORDER BY sequence DESC LIMIT 1")
        if not rows:
            return 0
        sequence, version = rows[0]
        self._vault.raise_count(KEY, version, sequence)
        return int(sequence)

    def write(self, entry: AuditEntry) -> None:
        """Put an entry into the next shared commit; on disk after `durable`."""
        if entry.refused and not self._affordable(entry.at):
            self._unwritten += 1
            return
        full = msgspec.structs.replace(entry, unwritten=self._unwritten) if self._unwritten else entry
        body = msgspec.msgpack.encode(full)
        if self._store.later(lambda connection: self._append(connection, body)):
            self._unwritten = 0
        else:
            self._unwritten += 1

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
        version = self._vault.newest(KEY)
        hashed = self._link(self._vault.symmetric(KEY, version), version, head, sequence + 1, body)
        connection.execute("INSERT INTO entry VALUES (?, ?, ?, ?)", (sequence + 1, body, hashed, version))
        self._written = sequence + 1

    def _link(self, key: SymmetricKey, version: int, head: bytes, sequence: int, body: bytes) -> bytes:
        named = b"" if version == 1 else version.to_bytes(2)
        return key.mac(b"ms1 audit\x00", named, head, sequence.to_bytes(8), body)

    async def durable(self) -> None:
        """Return once everything written so far is on disk, and counted in the vault."""
        await self._store.durable()
        if self._written > self._sequence:
            self._sequence = self._count()
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
        walk = self.walk()
        while True:
            try:
                next(walk)
            except StopIteration as end:
                state: AuditState = end.value
                return state

    def walk(self) -> Generator[None, None, AuditState]:
        """The same in slices, so that whoever walks a long log answers others between them; what was written meanwhile
        must be on disk before each slice.
        """
        head, count, broken, under, last = _START, 0, 0, 1, -(1 << 62)
        keys: dict[int, SymmetricKey] = {}
        while not broken:
            rows = self._store.rows(
                "SELECT sequence, body, hash, version FROM entry WHERE sequence > ? ORDER BY sequence LIMIT ?",
                last,
                SLICE,
            )
            if not rows:
                break
            for sequence, body, hashed, version in rows:
                count += 1
                if version not in keys:
                    keys[version] = self._vault.symmetric(KEY, version)
                expected = self._link(keys[version], version, head, sequence, body)
                if sequence != count or version < under or not equal(expected, hashed):
                    broken = count
                    break
                head, under, last = hashed, version, sequence
            yield
        used = {
            facts.version: facts.used for facts in self._vault.all_facts() if facts.id == KEY and facts.used
        }
        if not broken and used and under < max(used):
            broken = max(1, count)  # its end was written anew under an older key
        missing = 0 if broken else max(0, max(used.values(), default=0) - count)
        return AuditState(entries=count, broken_at=broken, missing=missing)

    def head(self) -> tuple[int, bytes]:
        """Sequence and hash of the last entry."""
        rows = self._store.rows("SELECT sequence, hash FROM entry ORDER BY sequence DESC LIMIT 1")
        return (int(rows[0][0]), bytes(rows[0][1])) if rows else (0, _START)

    def at(self, sequence: int) -> bytes:
        """The hash of one entry, empty when there is none."""
        rows = self._store.rows("SELECT hash FROM entry WHERE sequence = ?", sequence)
        return bytes(rows[0][0]) if rows else b""

    def written_under(self, version: int) -> int:
        """How many entries need this version of the key to be verified."""
        return int(self._store.rows("SELECT count(*) FROM entry WHERE version = ?", version)[0][0])

    def copy_to(self, path: Path) -> None:
        """A consistent copy of the log as it is on disk."""
        self._store.copy_to(path)

    def flush(self) -> None:
        """Write what is pending, and count it."""
        self._store.flush()
        self._count()

    def close(self) -> None:
        """Write what is pending and close the file."""
        self.flush()
        self._store.close()


def _proof(store: Store, vault: Vault) -> Proof:
    return Proof.under(vault, store, NAME, chained="entry", head=_head)


def _head(connection: sqlite3.Connection) -> bytes:
    """Where the chain ends, for the proof: the last entry."""
    last = connection.execute("SELECT * FROM entry ORDER BY sequence DESC LIMIT 1").fetchone()
    return msgspec.msgpack.encode(last)


def _raise(store: Store, vault: Vault, proof: Proof) -> None:
    """Give a log from before there were proofs its first one, once it was found whole."""
    if store.rows("PRAGMA user_version")[0][0] < 2:
        with store.transaction() as connection:
            connection.execute("ALTER TABLE entry ADD COLUMN version INTEGER NOT NULL DEFAULT 1")
            connection.execute("PRAGMA user_version=2")
    if not Audit(store, vault).verify().ok:
        raise TrustError(
            "security.tampered",
            f"{store.path} is of an older format and does not verify: entries were changed or cut off. Restore the whole "
            "directory from one backup.",
        )
    renew(vault)
    with store.transaction() as connection:
        connection.execute(f"PRAGMA user_version={FORMAT:d}")
        proof.begin(connection)
    vault.revisions.raised.append(NAME)


def renew(vault: Vault) -> int:
    """A new version of K_audit for the entries to come; the one before verifies on, retiring. Returns its number."""
    before = vault.newest(KEY)
    version = 1 + max(facts.version for facts in vault.all_facts() if facts.id == KEY)
    vault.add(KEY, version, SymmetricKey.generate(f"{KEY} version {version}"))
    vault.set_state(KEY, before, "retiring")
    return version


def _entry(body: bytes) -> AuditEntry:
    return msgspec.msgpack.decode(body, type=AuditEntry)
