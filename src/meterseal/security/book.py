"""The book of acts: officers, spent requests, numbers of commands, key updates under way; what must not be forgotten.

It judges nothing; `officers`, `commanding`, `keylife` and `platforms` write here and read at start.

Documents (the officers' register, say) are sealed under the key ACTS of vault *keys*, each for its name and
revision, so nobody with the file alone reads a contact. Every row of every table is under the file's proof
(`proof`), so none is added, taken, changed or put back. Every transaction raises the book's revision and counts as a
use of ACTS.

A spent request is forgotten only when one that officers signed ends 400 days after it: no clock, however wrong, makes
the book forget by itself. And what may have been forgotten is remembered as a time that only rises (`floor`): a
request that ends at it or before is refused whatever the clock says.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from meterseal.errors import TrustError
from meterseal.security.hierarchy import plant_acts
from meterseal.security.proof import Proof
from meterseal.security.store import Store
from meterseal.security.vault import Vault

FORMAT = 2
NAME = "acts"
KEY = "ACTS"
_SCHEMA = """ CREATE TABLE state(revision INTEGER NOT NULL, floor INTEGER NOT NULL); INSERT INTO state VALUES (0, 0);
          CREATE TABLE document(name TEXT PRIMARY KEY, revision INTEGER NOT NULL, sealed BLOB NOT NULL) WITHOUT ROWID;
          CREATE TABLE spent(request_id BLOB PRIMARY KEY, not_after INTEGER NOT NULL) WITHOUT ROWID;
          CREATE TABLE command(module_id BLOB PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
          CREATE TABLE granted(zone TEXT NOT NULL, minute INTEGER NOT NULL, count INTEGER NOT NULL,
          PRIMARY KEY(zone, minute)) WITHOUT ROWID;
          CREATE TABLE authorised(request_id BLOB PRIMARY KEY, digest BLOB NOT NULL, module_id BLOB NOT NULL,
          number INTEGER NOT NULL, not_after INTEGER NOT NULL) WITHOUT ROWID;
          CREATE TABLE key_update(module_id BLOB NOT NULL, version INTEGER NOT NULL, PRIMARY KEY(module_id,
          version)) WITHOUT ROWID; CREATE TABLE reserved(device_id BLOB NOT NULL, module_id BLOB NOT NULL,
          PRIMARY KEY(device_id, module_id)) WITHOUT ROWID; CREATE TABLE released(device_id BLOB NOT NULL,
          module_id BLOB NOT NULL, point BLOB NOT NULL, PRIMARY KEY(device_id, module_id, point)) WITHOUT ROWID;
          """
_KEPT = 400 * 86_400_000
"""How long a spent request is remembered after its end, counted by the ends of later ones."""

D = TypeVar("D", bound=Struct)


class Book:
    """The open book."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self.store = store
        self._vault = vault
        self.revision: int
        self.floor: int
        """Ends of requests (Unix ms) up to here may have been forgotten."""
        self.revision, self.floor = store.rows("SELECT revision, floor FROM state")[0]
        self._count()

    @classmethod
    def create(cls, path: Path, vault: Vault) -> None:
        """A new, empty book file."""
        store = Store.create(path, _SCHEMA, FORMAT)
        with store.transaction() as connection:
            Proof.under(vault, store, NAME).begin(connection)
        store.close()

    @classmethod
    def open(cls, path: Path, vault: Vault) -> Book:
        """The book, proven, and raised from the format before; errors of `Store.open` for the rest.

        TrustError `security.tampered`, `security.rolled-back`. A system from before there was a book gets an empty
        one, once: its vault has no key for it yet.
        """
        if not any(facts.id == KEY for facts in vault.all_facts()):
            if not path.exists():
                cls.create(path, vault)
            plant_acts(vault)
        store = Store.open(path, FORMAT)
        try:
            proof = Proof.under(vault, store, NAME)
            if not proof.present:
                vault.revisions.expect_unproven(NAME, path)
                _raise(store, vault, proof)
            proof.open()
            return cls(store, vault)
        except BaseException:
            store.close()
            raise

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Writes that happen together or not at all, on disk when the block ends; one revision."""
        revision, floor = self.revision + 1, self.floor
        with self.store.transaction() as connection:
            yield connection
            connection.execute("UPDATE state SET revision = ?", (revision,))
            floor = connection.execute("SELECT floor FROM state").fetchone()[0]
        self.revision, self.floor = revision, floor
        self._count()

    def _count(self) -> None:
        self._vault.raise_count(KEY, self._vault.newest(KEY), self.revision)

    def read(self, name: str, kind: type[D], otherwise: D) -> D:
        """A document; TrustError `security.book` when it does not open in its place."""
        rows = self.store.rows("SELECT revision, CAST(sealed AS BLOB) FROM document WHERE name = ?", name)
        if not rows:
            return otherwise
        revision, sealed = rows[0]
        version = int.from_bytes(sealed[:2])
        try:
            opened = self._vault.symmetric(KEY, version).gcm_open(sealed[2:], _place(name, revision))
            return msgspec.msgpack.decode(opened, type=kind)
        except (TrustError, msgspec.DecodeError):
            raise TrustError(
                "security.book",
                f"The {name} in {self.store.path} do not open: they were changed or moved. Restore the directory from a "
                "backup.",
            ) from None

    def write(self, connection: sqlite3.Connection, name: str, document: Struct) -> None:
        """Put a document in place of its last revision, inside a transaction."""
        revision, version = self.revision + 1, self._vault.newest(KEY)
        sealed = self._vault.symmetric(KEY, version).gcm_seal(
            msgspec.msgpack.encode(document), _place(name, revision)
        )
        connection.execute(
            "INSERT OR REPLACE INTO document VALUES (?, ?, ?)", (name, revision, version.to_bytes(2) + sealed)
        )

    def reseal(self) -> int:
        """Seal every document under the newest ACTS; how many were moved."""
        newest = self._vault.newest(KEY)
        moved = 0
        rows = self.store.rows("SELECT name, revision, CAST(sealed AS BLOB) FROM document")
        with self.transaction() as connection:
            for name, revision, sealed in rows:
                version = int.from_bytes(sealed[:2])
                if version == newest:
                    continue
                opened = self._vault.symmetric(KEY, version).gcm_open(sealed[2:], _place(name, revision))
                again = self._vault.symmetric(KEY, newest).gcm_seal(opened, _place(name, revision))
                connection.execute(
                    "UPDATE document SET sealed = ? WHERE name = ?", (newest.to_bytes(2) + again, name)
                )
                moved += 1
        return moved

    def versions(self) -> list[int]:
        """The version of ACTS that each document stands under."""
        rows = self.store.rows("SELECT CAST(sealed AS BLOB) FROM document")
        return [int.from_bytes(sealed[:2]) for (sealed,) in rows]

    def is_spent(self, request_id: bytes) -> bool:
        """Whether a signed request was used before."""
        return bool(self.store.rows("SELECT 1 FROM spent WHERE request_id = ?", request_id))

    def spend(self, connection: sqlite3.Connection, request_id: bytes, not_after: int) -> None:
        """Use a signed request up, inside a transaction."""
        floor = not_after - _KEPT
        if connection.execute("DELETE FROM spent WHERE not_after <= ?", (floor,)).rowcount:
            connection.execute("UPDATE state SET floor = max(floor, ?)", (floor,))
        connection.execute("INSERT INTO spent VALUES (?, ?)", (request_id, not_after))

    def copy_to(self, path: Path) -> None:
        """A consistent copy of the file."""
        self.store.copy_to(path)

    def close(self) -> None:
        """Close the file."""
        self.store.close()


def _raise(store: Store, vault: Vault, proof: Proof) -> None:
    """Give a book from before there were proofs its first one, if it is as new as the vault counted."""
    revision = store.rows("SELECT revision FROM state")[0][0]
    counted = vault.facts(KEY, vault.newest(KEY)).used
    if counted > revision:
        raise TrustError(
            "security.rolled-back",
            f"{store.path} is an older copy: it knows {revision} of {counted} changes, so used requests could "
            "be used again. Put the newest copy back, or restore the whole directory from one backup.",
        )
    with store.transaction() as connection:
        # Until now the book forgot 400 days after a request's end, by the clock.
        newest = connection.execute("SELECT coalesce(max(not_after), 0) FROM spent").fetchone()[0]
        connection.execute("DROP TABLE state")
        held = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
        for statement in _SCHEMA.split(";"):
            words = statement.split()
            if words[:2] == ["CREATE", "TABLE"] and words[2].split("(")[0] not in held:
                connection.execute(statement)
        connection.execute("INSERT INTO state VALUES (?, ?)", (revision, max(0, newest - _KEPT)))
        connection.execute(f"PRAGMA user_version={FORMAT:d}")
        proof.begin(connection)
    vault.revisions.raised.append(NAME)


def _place(name: str, revision: int) -> bytes:
    return b"ms1 book\x00" + name.encode() + b"\x00" + revision.to_bytes(8)
