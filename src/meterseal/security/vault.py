"""A vault: long-term keys at rest, each sealed for its place, opened only inside this process.

It gives out handles and facts, never bytes; `crypto.expose` is called here alone, to seal a key.

On disk a key record is SM4-GCM ciphertext under the vault's key-encryption key with associated data vault ‖
id ‖ version, so no record opens in another place, under another name or as another version. Parent version,
state, check value and limit are inside the seal. The use counter stands beside it in clear: it moves with
every use. A use is on disk before the answer that it made possible leaves (`durable`). Key ids are words of
the key tree (`DIAK`, `PLATFORM`), never of a person or a place.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from meterseal.crypto.expose import expose
from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.crypto.symmetric import equal, sm3
from meterseal.errors import LocalError, TrustError
from meterseal.security.messages import KeyFacts
from meterseal.security.passphrase import Stretching, fresh_stretching, key_encryption_key
from meterseal.security.store import Store

FORMAT = 1
State = Literal["new", "active", "retiring", "withdrawn", "destroyed"]
USABLE: frozenset[str] = frozenset({"active", "retiring"})

UNBOUNDED = 2**62
"""Limit of a key whose number of uses nothing bounds."""
GCM_LIMIT = 2**32
"""Most seals with random nonces under one SM4-GCM key (NIST SP 800-38D 8.3, the same block size)."""

_SCHEMA = """ CREATE TABLE vault(name TEXT NOT NULL, stretching BLOB NOT NULL, proof BLOB NOT NULL); CREATE
          TABLE key(id TEXT NOT NULL, version INTEGER NOT NULL, sealed BLOB NOT NULL, used INTEGER NOT NULL
          DEFAULT 0, PRIMARY KEY(id, version)) WITHOUT ROWID;
          """
_PROOF = b"meterseal vault"


class _Sealed(Struct, array_like=True):
    """What lies inside the seal of a key record."""

    kind: Literal["sm4", "sm2"]
    secret: bytes
    parent_version: int
    state: str
    check_value: bytes
    limit: int

    def __repr__(self) -> str:
        return "_Sealed()"


class _Entry:
    """One key in memory: its handle, its facts and its counter."""

    __slots__ = ("key", "limit", "parent_version", "state", "used")

    def __init__(
        self, key: SymmetricKey | Sm2PrivateKey, parent_version: int, state: str, limit: int, used: int
    ) -> None:
        self.key, self.parent_version, self.state = key, parent_version, state
        self.limit, self.used = limit, used


class Vault:
    """An open vault."""

    def __init__(self, name: str, store: Store, kek: SymmetricKey) -> None:
        self.name = name
        self._store = store
        self._kek = kek
        self._entries: dict[tuple[str, int], _Entry] = {}
        self._noted = False

    @classmethod
    def create(cls, path: Path, name: str, passphrase: bytes) -> Vault:
        """A new, empty vault file."""
        stretching = fresh_stretching()
        kek = key_encryption_key(passphrase, f"vault {name}", stretching)
        store = Store.create(path, _SCHEMA, FORMAT)
        with store.transaction() as connection:
            connection.execute(
                "INSERT INTO vault VALUES (?, ?, ?)",
                (name, msgspec.msgpack.encode(stretching), kek.gcm_seal(_PROOF, name.encode())),
            )
        return cls(name, store, kek)

    @classmethod
    def open(cls, path: Path, name: str, passphrase: bytes) -> Vault:
        """An existing vault; TrustError `security.passphrase`, LocalError `security.missing` or
        `security.newer`.
        """
        store = Store.open(path, FORMAT)
        try:
            _, raw, proof = store.rows("SELECT name, stretching, proof FROM vault")[0]
            stretching = msgspec.msgpack.decode(raw, type=Stretching)
            kek = key_encryption_key(passphrase, f"vault {name}", stretching)
            try:
                kek.gcm_open(proof, name.encode())
            except TrustError:
                raise TrustError(
                    "security.passphrase",
                    f"The passphrase does not open vault {name}; give the passphrase that this system was "
                    "set up "
                    "with. Nothing was changed.",
                ) from None
            vault = cls(name, store, kek)
            vault._load()
        except BaseException:
            store.close()
            raise
        return vault

    def _load(self) -> None:
        for key_id, version, sealed, used in self._store.rows(
            "SELECT id, version, CAST(sealed AS BLOB), used FROM key"
        ):
            label = f"{key_id} version {version}"
            try:
                opened = msgspec.msgpack.decode(
                    self._kek.gcm_open(sealed, self._place(key_id, version)), type=_Sealed
                )
            except (TrustError, msgspec.DecodeError):
                raise TrustError(
                    "security.key-record",
                    f"The record of {label} in vault {self.name} does not open: it was changed or moved. "
                    "Restore the "
                    "vault from a backup.",
                ) from None
            key: SymmetricKey | Sm2PrivateKey
            if opened.kind == "sm4":
                key = SymmetricKey.from_bytes(opened.secret, label)
            else:
                key = Sm2PrivateKey.from_pkcs8(opened.secret, label)
            if not equal(_check_value(key), opened.check_value):
                raise TrustError(
                    "security.key-record", f"The record of {label} does not hold the key that it names."
                )
            self._entries[key_id, version] = _Entry(
                key, opened.parent_version, opened.state, opened.limit, used
            )

    def add(
        self,
        key_id: str,
        version: int,
        key: SymmetricKey | Sm2PrivateKey,
        *,
        parent_version: int = 0,
        state: State = "active",
        limit: int = UNBOUNDED,
    ) -> None:
        """Store a new key durably; LocalError `security.key-exists` unless its version is above every older
        one.
        """
        if version <= max((v for i, v in self._entries if i == key_id), default=0):
            raise LocalError(
                "security.key-exists", f"Versions of {key_id} only rise; {version} is not above the last."
            )
        entry = _Entry(key, parent_version, state, limit, 0)
        with self._store.transaction() as connection:
            connection.execute(
                "INSERT INTO key(id, version, sealed) VALUES (?, ?, ?)",
                (key_id, version, self._seal(key_id, version, entry)),
            )
        self._entries[key_id, version] = entry

    def set_state(self, key_id: str, version: int, state: State) -> None:
        """Move a key to another state, durably."""
        entry = self._entry(key_id, version)
        before, entry.state = entry.state, state
        try:
            with self._store.transaction() as connection:
                connection.execute(
                    "UPDATE key SET sealed = ? WHERE id = ? AND version = ?",
                    (self._seal(key_id, version, entry), key_id, version),
                )
        except BaseException:
            entry.state = before
            raise

    def newest(self, key_id: str) -> int:
        """The highest usable version; TrustError `security.no-key` when there is none."""
        usable = [v for (i, v), entry in self._entries.items() if i == key_id and entry.state in USABLE]
        if not usable:
            raise TrustError("security.no-key", f"Vault {self.name} holds no usable version of {key_id}.")
        return max(usable)

    def symmetric(self, key_id: str, version: int | None = None) -> SymmetricKey:
        """The handle of an SM4 key in a usable state; TrustError `security.no-key`, `security.key-state`."""
        key = self._usable(key_id, version).key
        assert isinstance(key, SymmetricKey)
        return key

    def signing(self, key_id: str, version: int | None = None) -> Sm2PrivateKey:
        """The handle of an SM2 key in a usable state; errors as `symmetric`."""
        key = self._usable(key_id, version).key
        assert isinstance(key, Sm2PrivateKey)
        return key

    def use(self, key_id: str, version: int | None = None, times: int = 1) -> None:
        """Count uses of a key; TrustError `security.limit` when they would pass its limit, and then none is
        counted.

        On disk after `durable`.
        """
        self.check_limit(key_id, version, times)
        self._usable(key_id, version).used += times
        self._note()

    def check_limit(self, key_id: str, version: int | None = None, times: int = 1) -> None:
        """TrustError `security.limit` when this many more uses would pass the key's limit; counts nothing."""
        entry = self._usable(key_id, version)
        if entry.used + times > entry.limit:
            raise TrustError(
                "security.limit",
                f"{entry.key.label} has reached its limit of {entry.limit} uses; activate a new version.",
            )

    def raise_count(self, key_id: str, version: int, used: int) -> None:
        """Set a counter that something else proves to be at least `used`."""
        entry = self._entry(key_id, version)
        if used > entry.used:
            entry.used = used
            self._note()

    def _note(self) -> None:
        if not self._noted:
            self._store.later(self._write_counters)
        self._noted = True

    def _write_counters(self, connection: sqlite3.Connection) -> None:
        self._noted = False
        connection.executemany(
            "UPDATE key SET used = ? WHERE id = ? AND version = ?",
            [(entry.used, key_id, version) for (key_id, version), entry in self._entries.items()],
        )

    async def durable(self) -> None:
        """Return once every use counted so far is on disk; EngineError when it is not."""
        await self._store.durable()

    def facts(self, key_id: str, version: int) -> KeyFacts:
        """What may be said about one key."""
        entry = self._entry(key_id, version)
        return KeyFacts(
            vault=self.name,
            id=key_id,
            version=version,
            parent_version=entry.parent_version,
            state=entry.state,
            check_value=_check_value(entry.key),
            used=entry.used,
            limit=entry.limit,
        )

    def all_facts(self) -> list[KeyFacts]:
        """What may be said about every key, in order of id and version."""
        return [self.facts(key_id, version) for key_id, version in sorted(self._entries)]

    def close(self) -> None:
        """Write the counters and close the file."""
        self._store.close()

    def _usable(self, key_id: str, version: int | None) -> _Entry:
        entry = self._entry(key_id, self.newest(key_id) if version is None else version)
        if entry.state not in USABLE:
            raise TrustError(
                "security.key-state", f"{key_id} version {version} is {entry.state}; it is not used any more."
            )
        return entry

    def _entry(self, key_id: str, version: int) -> _Entry:
        entry = self._entries.get((key_id, version))
        if entry is None:
            raise TrustError("security.no-key", f"Vault {self.name} holds no version {version} of {key_id}.")
        return entry

    def _seal(self, key_id: str, version: int, entry: _Entry) -> bytes:
        key = entry.key
        secret = expose(key) if isinstance(key, SymmetricKey) else key.to_pkcs8()
        kind: Literal["sm4", "sm2"] = "sm4" if isinstance(key, SymmetricKey) else "sm2"
        record = _Sealed(kind, secret, entry.parent_version, entry.state, _check_value(key), entry.limit)
        return self._kek.gcm_seal(msgspec.msgpack.encode(record), self._place(key_id, version))

    def _place(self, key_id: str, version: int) -> bytes:
        return b"\x00".join((self.name.encode(), key_id.encode(), version.to_bytes(4)))


def _check_value(key: SymmetricKey | Sm2PrivateKey) -> bytes:
    return key.check_value() if isinstance(key, SymmetricKey) else sm3(key.public_point)[:3]
