"""The book of acts: officers, spent requests, numbers of commands, key updates under way; what must not be forgotten.

It judges nothing; `officers`, `commanding`, `keylife` and `platforms` write here and read at start.

Documents (the officers' register, say) are sealed under the key ACTS of vault *keys*, each for its name and
revision, so nobody with the file alone adds an officer or reads a contact. Every transaction raises the
book's revision, and the vault counts it as uses of ACTS: a book that was put back to an older copy has fewer
revisions than the vault has counted, and the service refuses to start with it (a used request must not
become new again). That count and the tables beside the documents carry no proof of their own: whoever writes
into both files while the service is stopped gets past it (SECURITY.md, not claimed).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from meterseal.crypto.symmetric import equal
from meterseal.errors import TrustError
from meterseal.security.hierarchy import plant_acts
from meterseal.security.store import Store
from meterseal.security.vault import Vault

FORMAT = 1
KEY = "ACTS"
_SCHEMA = """ CREATE TABLE state(revision INTEGER NOT NULL, proof BLOB NOT NULL); INSERT INTO state VALUES (0, x'');
          CREATE TABLE document(name TEXT PRIMARY KEY, revision INTEGER NOT NULL, sealed BLOB NOT NULL) WITHOUT ROWID;
          CREATE TABLE spent(request_id BLOB PRIMARY KEY, not_after INTEGER NOT NULL) WITHOUT ROWID;
          CREATE TABLE command(module_id BLOB PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
          CREATE TABLE granted(zone TEXT NOT NULL, minute INTEGER NOT NULL, count INTEGER NOT NULL,
          PRIMARY KEY(zone, minute)) WITHOUT ROWID;
          CREATE TABLE authorised(request_id BLOB PRIMARY KEY, digest BLOB NOT NULL, module_id BLOB NOT NULL,
          number INTEGER NOT NULL, not_after INTEGER NOT NULL) WITHOUT ROWID;
          CREATE TABLE key_update(module_id BLOB NOT NULL, version INTEGER NOT NULL, PRIMARY KEY(module_id,
          version)) WITHOUT ROWID;
          """
_KEPT = 400 * 86_400_000
"""How long a spent request is remembered after its end: far beyond any clock that is set back by mistake."""

D = TypeVar("D", bound=Struct)


class Book:
    """The open book."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self.store = store
        self._vault = vault
        self.revision: int = store.rows("SELECT revision FROM state")[0][0]
        counted = vault.facts(KEY, vault.newest(KEY)).used
        if counted > self.revision:
            raise TrustError(
                "security.rolled-back",
                f"{store.path} is an older copy: it knows {self.revision} of {counted} changes, so used requests could "
                "be used again. Put the newest copy back, or restore the whole directory from one backup.",
            )
        self._count()
        self._check_documents()

    def _prove(self, version: int, revision: int, held: list[tuple[str, int]]) -> bytes:
        """MAC over which documents there are, at which revisions: one that is taken out is missed."""
        return self._vault.symmetric(KEY, version).mac(
            b"ms1 book state\x00", msgspec.msgpack.encode((revision, held))
        )

    def _check_documents(self) -> None:
        held = self.store.rows("SELECT name, revision FROM document ORDER BY name")
        proof = bytes(self.store.rows("SELECT proof FROM state")[0][0])
        fresh = self.revision == 0 and not held and not proof
        if not fresh and not equal(
            proof[2:], self._prove(int.from_bytes(proof[:2]), self.revision, [(n, r) for n, r in held])
        ):
            raise TrustError(
                "security.book",
                f"The documents in {self.store.path} are not those that were written: one was taken out or put back. "
                "Restore the directory from a backup.",
            )

    @classmethod
    def create(cls, path: Path) -> None:
        """A new, empty book file."""
        Store.create(path, _SCHEMA, FORMAT).close()

    @classmethod
    def open(cls, path: Path, vault: Vault) -> Book:
        """The book; TrustError `security.rolled-back` for an older copy, errors of `Store.open` for the rest.

        A system from before there was a book gets an empty one, once: its vault has no key for it yet.
        """
        if not any(facts.id == KEY for facts in vault.all_facts()):
            if not path.exists():
                cls.create(path)
            plant_acts(vault)
        store = Store.open(path, FORMAT)
        try:
            return cls(store, vault)
        except BaseException:
            store.close()
            raise

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Writes that happen together or not at all, on disk when the block ends; one revision."""
        revision = self.revision + 1
        with self.store.transaction() as connection:
            yield connection
            held = connection.execute("SELECT name, revision FROM document ORDER BY name").fetchall()
            version = self._vault.newest(KEY)
            proof = version.to_bytes(2) + self._prove(version, revision, held)
            connection.execute("UPDATE state SET revision = ?, proof = ?", (revision, proof))
        self.revision = revision
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

    def spend(self, connection: sqlite3.Connection, request_id: bytes, not_after: int, now: int) -> None:
        """Use a signed request up, inside a transaction."""
        connection.execute("DELETE FROM spent WHERE not_after < ?", (now - _KEPT,))
        connection.execute("INSERT INTO spent VALUES (?, ?)", (request_id, not_after))

    def copy_to(self, path: Path) -> None:
        """A consistent copy of the file."""
        self.store.copy_to(path)

    def close(self) -> None:
        """Close the file."""
        self.store.close()


def _place(name: str, revision: int) -> bytes:
    return b"ms1 book\x00" + name.encode() + b"\x00" + revision.to_bytes(8)
