"""The file of a vault: key records sealed for their place, the door that opens it, and the move to a new door.

It knows no handle and counts no use; `vault` does.

A door is the record of a key-encryption key (`keystore`) with a proof sealed under it. The proof holds how
many key records there are, so a record that somebody takes out of the file is missed. A move to a new door
has two steps, each one transaction: `begin` seals every record a second time under the coming key and adds
its door, `finish` lets go of the old. In between either door opens the file, and whichever opens it at the
next start wins. So two vaults change their doors together: begin both, then finish both; at every moment one
of the two doors opens both.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from meterseal.errors import LocalError, TrustError
from meterseal.security import keystore
from meterseal.security.keystore import Kek, Opener
from meterseal.security.store import Store

FORMAT = 1
_SCHEMA = """ CREATE TABLE vault(name TEXT NOT NULL, stretching BLOB NOT NULL, proof BLOB NOT NULL); CREATE
          TABLE key(id TEXT NOT NULL, version INTEGER NOT NULL, sealed BLOB NOT NULL, used INTEGER NOT NULL
          DEFAULT 0, PRIMARY KEY(id, version)) WITHOUT ROWID;
          """
_COMING = """CREATE TABLE IF NOT EXISTS coming(id TEXT NOT NULL, version INTEGER NOT NULL, sealed BLOB NOT NULL,
          PRIMARY KEY(id, version)) WITHOUT ROWID"""
_PROOF = b"meterseal vault"


class KeyRecord(Struct, array_like=True):
    """What lies inside the seal of a key record; a destroyed key has left kind `none` and no secret."""

    kind: Literal["sm4", "sm2", "none"]
    secret: bytes
    parent_version: int
    state: str
    check_value: bytes
    limit: int

    def __repr__(self) -> str:
        return "KeyRecord()"


class VaultFile:
    """An open vault file."""

    def __init__(self, name: str, store: Store, kek: Kek) -> None:
        self.name = name
        self.store = store
        self._kek = kek
        self._coming: tuple[bytes, Kek] | None = None

    @classmethod
    def create(cls, path: Path, name: str, opener: Opener) -> VaultFile:
        """A new, empty file."""
        record, kek = keystore.of(opener).create(name)
        store = Store.create(path, _SCHEMA, FORMAT)
        with store.transaction() as connection:
            connection.execute(
                "INSERT INTO vault VALUES (?, ?, ?)", (name, record, kek.gcm_seal(_proof(0), name.encode()))
            )
        return cls(name, store, kek)

    @classmethod
    def open(cls, path: Path, name: str, opener: Opener) -> VaultFile:
        """An existing file, through whichever of its doors fits; a move to a new door ends with that.

        TrustError `security.passphrase`, `security.key-record`; LocalError `security.missing`,
        `security.newer`, `security.other-store`.
        """
        store = Store.open(path, FORMAT)
        try:
            return cls._opened(store, name, opener)
        except BaseException:
            store.close()
            raise

    @classmethod
    def _opened(cls, store: Store, name: str, opener: Opener) -> VaultFile:
        doors = store.rows("SELECT rowid, stretching, proof FROM vault WHERE name = ? ORDER BY rowid", name)
        for place, (row, record, proof) in enumerate(doors):
            found = _through(name, opener, record, proof, last=place == len(doors) - 1)
            if found is not None:
                kek, counted = found
                file = cls(name, store, kek)
                file._settle(row, len(doors), later=place > 0)
                file._check_count(counted)
                return file
        raise TrustError(
            "security.passphrase",
            f"The passphrase does not open vault {name}; give the passphrase that this system was "
            "set up with. Nothing was changed.",
        )

    def _settle(self, row: int, doors: int, *, later: bool) -> None:
        """After a move that was cut off: stay behind the door that opened, and take the other one away."""
        if doors == 1:
            return
        with self.store.transaction() as connection:
            if later:
                connection.execute(
                    "UPDATE key SET sealed = (SELECT sealed FROM coming WHERE coming.id = key.id AND "
                    "coming.version = key.version)"
                )
            connection.execute("DELETE FROM vault WHERE rowid != ?", (row,))
            connection.execute("DROP TABLE coming")
        self._forget()

    def _check_count(self, counted: int | None) -> None:
        found = self.store.rows("SELECT count(*) FROM key")[0][0]
        if counted is not None and found != counted:
            raise TrustError(
                "security.key-record",
                f"Vault {self.name} holds {found} key records of {counted}: some were taken out. Restore the vault from a "
                "backup.",
            )

    def load(self) -> Iterable[tuple[str, int, KeyRecord, int]]:
        """Every record with its id, version and use count; TrustError `security.key-record`."""
        for key_id, version, sealed, used in self.store.rows(
            "SELECT id, version, CAST(sealed AS BLOB), used FROM key"
        ):
            try:
                opened = msgspec.msgpack.decode(
                    self._kek.gcm_open(sealed, self._place(key_id, version)), type=KeyRecord
                )
            except (TrustError, msgspec.DecodeError):
                raise TrustError(
                    "security.key-record",
                    f"The record of {key_id} version {version} in vault {self.name} does not open: it was changed or "
                    "moved. Restore the vault from a backup.",
                ) from None
            yield key_id, version, opened, used

    def put(self, key_id: str, version: int, record: KeyRecord, *, new: bool) -> None:
        """Write one record, durably, behind both doors while there are two."""
        place = self._place(key_id, version)
        packed = msgspec.msgpack.encode(record)
        with self.store.transaction() as connection:
            sealed = self._kek.gcm_seal(packed, place)
            if new:
                connection.execute(
                    "INSERT INTO key(id, version, sealed) VALUES (?, ?, ?)", (key_id, version, sealed)
                )
            else:
                connection.execute(
                    "UPDATE key SET sealed = ? WHERE id = ? AND version = ?", (sealed, key_id, version)
                )
            if self._coming is not None:
                connection.execute(
                    "INSERT OR REPLACE INTO coming VALUES (?, ?, ?)",
                    (key_id, version, self._coming[1].gcm_seal(packed, place)),
                )
            self._prove(connection)
        if not new:
            self._forget()

    def _prove(self, connection: sqlite3.Connection) -> None:
        """Write the number of records into the proof of every door."""
        count = connection.execute("SELECT count(*) FROM key").fetchone()[0]
        rows = connection.execute("SELECT rowid FROM vault ORDER BY rowid").fetchall()
        keks = [self._kek] if self._coming is None else [self._kek, self._coming[1]]
        for (row,), kek in zip(rows, keks, strict=True):
            proof = kek.gcm_seal(_proof(count), self.name.encode())
            connection.execute("UPDATE vault SET proof = ? WHERE rowid = ?", (proof, row))

    def begin(self, record: bytes, kek: Kek) -> None:
        """Let a coming door open the file too, durably."""
        if self._coming is not None:
            raise LocalError(
                "security.moving", f"Vault {self.name} is moving to a new key-encryption key already."
            )
        records = list(self.load())
        self._coming = (record, kek)
        try:
            with self.store.transaction() as connection:
                connection.execute(_COMING)
                connection.executemany(
                    "INSERT INTO coming VALUES (?, ?, ?)",
                    [
                        (
                            key_id,
                            version,
                            kek.gcm_seal(msgspec.msgpack.encode(one), self._place(key_id, version)),
                        )
                        for key_id, version, one, _ in records
                    ],
                )
                connection.execute("INSERT INTO vault VALUES (?, ?, ?)", (self.name, record, b""))
                self._prove(connection)
        except BaseException:
            self._coming = None
            raise

    def finish(self) -> None:
        """Close the old door for good, durably."""
        if self._coming is None:
            return
        row = self.store.rows("SELECT max(rowid) FROM vault")[0][0]
        self._settle(row, 2, later=True)
        self._kek, self._coming = self._coming[1], None

    def cancel(self) -> None:
        """Take the coming door away again, durably."""
        if self._coming is None:
            return
        row = self.store.rows("SELECT min(rowid) FROM vault")[0][0]
        self._settle(row, 2, later=False)
        self._coming = None

    @property
    def moving(self) -> int:
        """How many records still stand behind an old door."""
        return 0 if self._coming is None else int(self.store.rows("SELECT count(*) FROM key")[0][0])

    async def fits(self, opener: Opener) -> bool:
        """Whether this opens the door in use: who changes a door must hold the present key."""
        record, proof = self.store.rows("SELECT stretching, proof FROM vault ORDER BY rowid")[0]
        return await asyncio.to_thread(_through, self.name, opener, record, proof, last=False) is not None

    def later(self, write: Callable[[sqlite3.Connection], None]) -> None:
        """As `Store.later`."""
        self.store.later(write)

    def _forget(self) -> None:
        """Take what was overwritten out of the write-ahead log as well."""
        self.store.checkpoint()

    def _place(self, key_id: str, version: int) -> bytes:
        return b"\x00".join((self.name.encode(), key_id.encode(), version.to_bytes(4)))


def _proof(count: int) -> bytes:
    return _PROOF + count.to_bytes(4)


def _through(
    name: str, opener: Opener, record: bytes, proof: bytes, *, last: bool
) -> tuple[Kek, int | None] | None:
    """The key of a door and the number of records behind it; None when it is not the opener's."""
    try:
        kek = keystore.of(opener).find(name, record)
        opened = kek.gcm_open(proof, name.encode())
    except TrustError as error:
        if last and error.code == "security.token-key":
            raise
        return None
    except LocalError as error:
        if last or error.code != "security.other-store":
            raise
        return None
    if not opened.startswith(_PROOF):
        return None
    # A proof without a number was written before vaults counted their records.
    return kek, int.from_bytes(opened[len(_PROOF) :]) if len(opened) > len(_PROOF) else None
