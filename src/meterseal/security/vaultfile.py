"""The file of a vault: key records sealed for their place, the door that opens it, and the move to a new door.

It knows no handle and counts no use; `vault` does.

A door is the record of a key-encryption key (`keystore`) with the vault's proving key sealed under it. Under that
key the whole file is proven (`proof`): a record, a counter or a door that was taken out, added, changed or put back
to what it was is found when the file is opened. That a door holds a proving key says that the file has a proof, so
nobody makes it one from before there were proofs. A move to a new door has two steps, each one transaction: `begin`
seals every record a second time under the coming key and adds its door, `finish` lets go of the old. In between
either door opens the file, and whichever opens it at the next start wins. So two vaults change their doors
together: begin both, then finish both; at every moment one of the two doors opens both.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from meterseal.crypto.expose import expose
from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import LocalError, TrustError
from meterseal.security import keystore
from meterseal.security.keystore import Kek, Opener
from meterseal.security.proof import Proof
from meterseal.security.revisions import Revisions
from meterseal.security.store import Store

FORMAT = 2
_SCHEMA = """ CREATE TABLE vault(name TEXT NOT NULL, stretching BLOB NOT NULL, proof BLOB NOT NULL); CREATE
          TABLE key(id TEXT NOT NULL, version INTEGER NOT NULL, sealed BLOB NOT NULL, used INTEGER NOT NULL
          DEFAULT 0, PRIMARY KEY(id, version)) WITHOUT ROWID; CREATE TABLE coming(id TEXT NOT NULL, version
          INTEGER NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY(id, version)) WITHOUT ROWID;
          """
_COMING = """CREATE TABLE IF NOT EXISTS coming(id TEXT NOT NULL, version INTEGER NOT NULL, sealed BLOB NOT NULL,
          PRIMARY KEY(id, version)) WITHOUT ROWID"""
_PROOF = b"meterseal vault"
_PROVING = 16
"""Bytes of a proving key; a door from before there were proofs has fewer behind it."""


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
    """An open vault file; `proving` is the key under which it, and with vault *keys* the whole directory, is proven."""

    def __init__(
        self, name: str, store: Store, kek: Kek, proving: SymmetricKey, revisions: Revisions
    ) -> None:
        self.name = name
        self.store = store
        self.proving = proving
        self.revisions = revisions
        self._kek = kek
        self._coming: tuple[bytes, Kek] | None = None

    @classmethod
    def create(cls, path: Path, name: str, opener: Opener, revisions: Revisions) -> VaultFile:
        """A new, empty file."""
        record, kek = keystore.of(opener).create(name)
        proving = SymmetricKey.generate(f"the proving key of vault {name}")
        store = Store.create(path, _SCHEMA, FORMAT)
        proof = _proof_of(store, proving, name, revisions)
        with store.transaction() as connection:
            connection.execute(
                "INSERT INTO vault VALUES (?, ?, ?)", (name, record, _door(kek, name, proving))
            )
            proof.begin(connection)
        proof.open()
        return cls(name, store, kek, proving, revisions)

    @classmethod
    def open(cls, path: Path, name: str, opener: Opener, revisions: Revisions) -> VaultFile:
        """An existing file, through whichever of its doors fits; a move to a new door ends with that.

        TrustError `security.passphrase`, `security.key-record`, `security.tampered`, `security.rolled-back`;
        LocalError `security.missing`, `security.newer`, `security.other-store`.
        """
        store = Store.open(path, FORMAT)
        try:
            return cls._opened(store, name, opener, revisions)
        except BaseException:
            store.close()
            raise

    @classmethod
    def _opened(cls, store: Store, name: str, opener: Opener, revisions: Revisions) -> VaultFile:
        doors = store.rows(
            "SELECT rowid, CAST(stretching AS BLOB), CAST(proof AS BLOB) FROM vault WHERE name = ? ORDER BY rowid",
            name,
        )
        for place, (row, record, proof) in enumerate(doors):
            found = _through(name, opener, record, proof, last=place == len(doors) - 1)
            if found is None:
                continue
            kek, held = found
            if len(held) == _PROVING:
                proving = SymmetricKey.from_bytes(held, f"the proving key of vault {name}")
                file = cls(name, store, kek, proving, revisions)
                _proof_of(store, proving, name, revisions).open()
                file._settle(row, len(doors), later=place > 0)
            else:
                revisions.expect_unproven(name, store.path)
                proving = SymmetricKey.generate(f"the proving key of vault {name}")
                file = cls(name, store, kek, proving, revisions)
                file._raise(row, len(doors), held, later=place > 0)
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
            self._stay(connection, row, later=later)
        self._forget()

    def _stay(self, connection: sqlite3.Connection, row: int, *, later: bool) -> None:
        if later:
            connection.execute(
                "UPDATE key SET sealed = (SELECT sealed FROM coming WHERE coming.id = key.id AND "
                "coming.version = key.version)"
            )
        connection.execute("DELETE FROM vault WHERE rowid != ?", (row,))
        connection.execute("DELETE FROM coming")

    def _raise(self, row: int, doors: int, counted: bytes, *, later: bool) -> None:
        """Give a file from before there were proofs its first one, once; its doors counted its records at best."""
        found = self.store.rows("SELECT count(*) FROM key")[0][0]
        proof = _proof_of(self.store, self.proving, self.name, self.revisions)
        if proof.present or (counted and found != int.from_bytes(counted)):
            raise TrustError(
                "security.key-record",
                f"Vault {self.name} does not hold the {found} key records that it counted: some were taken out, or it was "
                "put back to an older format. Restore the vault from a backup.",
            )
        with self.store.transaction() as connection:
            connection.execute(_COMING)
            if doors > 1:
                self._stay(connection, row, later=later)
            connection.execute("UPDATE vault SET proof = ?", (_door(self._kek, self.name, self.proving),))
            connection.execute(f"PRAGMA user_version={FORMAT:d}")
            proof.begin(connection)
        self._forget()
        proof.open()
        self.revisions.raised.append(self.name)

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
        if not new:
            self._forget()

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
                door = _door(kek, self.name, self.proving)
                connection.execute("INSERT INTO vault VALUES (?, ?, ?)", (self.name, record, door))
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

    def _forget(self) -> None:
        """Take what was overwritten out of the write-ahead log as well."""
        self.store.checkpoint()

    def _place(self, key_id: str, version: int) -> bytes:
        return b"\x00".join((self.name.encode(), key_id.encode(), version.to_bytes(4)))


def _proof_of(store: Store, proving: SymmetricKey, name: str, revisions: Revisions) -> Proof:
    return Proof(store, proving.expand(b"ms1 proof of " + name.encode(), 16, name), name, revisions)


def _door(kek: Kek, name: str, proving: SymmetricKey) -> bytes:
    return kek.gcm_seal(_PROOF + expose(proving), name.encode())


def _through(
    name: str, opener: Opener, record: bytes, proof: bytes, *, last: bool
) -> tuple[Kek, bytes] | None:
    """The key of a door and what lies behind it; None when it is not the opener's.

    Behind a door is the proving key; behind one from before there were proofs the number of records, or nothing.
    """
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
    return kek, opened[len(_PROOF) :]
