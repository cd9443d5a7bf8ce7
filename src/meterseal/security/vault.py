"""A vault: long-term keys at rest, each sealed for its place, opened only inside this process.

It gives out handles and facts, never bytes; the file and its doors are `vaultfile`'s.

On disk a key record is SM4-GCM ciphertext under the vault's key-encryption key with associated data vault ‖
id ‖ version, so no record opens in another place, under another name or as another version. Parent version,
state, check value and limit are inside the seal. The use counter stands beside it in clear, because it moves with
every use, and under the file's proof like everything else. A use is on disk before the answer that it made
possible leaves (`durable`). Key ids are words of the key tree (`DIAK`, `PLATFORM`), never of a person or a place.

A state only moves forward: new, active, retiring, withdrawn, destroyed. A destroyed key's bytes are
overwritten in the file; its record stays, so that its check value can still be named.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Literal, TypeAlias

from meterseal.crypto.expose import expose
from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.crypto.symmetric import equal, sm3
from meterseal.errors import LocalError, TrustError
from meterseal.security import keystore
from meterseal.security.keystore import Kek, Opener
from meterseal.security.messages import KeyFacts
from meterseal.security.revisions import Revisions
from meterseal.security.vaultfile import KeyRecord, VaultFile

State = Literal["new", "active", "retiring", "withdrawn", "destroyed"]
STATES: tuple[State, ...] = ("new", "active", "retiring", "withdrawn", "destroyed")
"""In the order in which a key passes through them."""
USABLE: frozenset[str] = frozenset({"active", "retiring"})

Door: TypeAlias = tuple[bytes, Kek]
"""Record and key of a key-encryption key."""

UNBOUNDED = 2**62
"""Limit of a key whose number of uses nothing bounds."""
GCM_LIMIT = 2**32
"""Most seals with random nonces under one SM4-GCM key (NIST SP 800-38D 8.3, the same block size)."""


class _Entry:
    """One key in memory: its handle (none once destroyed), its facts and its counter."""

    __slots__ = ("check_value", "key", "label", "limit", "parent_version", "state", "used")

    def __init__(
        self,
        key: SymmetricKey | Sm2PrivateKey | None,
        label: str,
        parent_version: int,
        state: str,
        check_value: bytes,
        limit: int,
        used: int,
    ) -> None:
        self.key, self.label, self.parent_version, self.state = key, label, parent_version, state
        self.check_value, self.limit, self.used = check_value, limit, used

    def record(self) -> KeyRecord:
        """What is sealed of it."""
        rest = (self.parent_version, self.state, self.check_value, self.limit)
        if self.key is None:
            return KeyRecord("none", b"", *rest)
        if isinstance(self.key, SymmetricKey):
            return KeyRecord("sm4", expose(self.key), *rest)
        return KeyRecord("sm2", self.key.to_pkcs8(), *rest)


class Vault:
    """An open vault."""

    def __init__(self, file: VaultFile) -> None:
        self.name = file.name
        self._file = file
        self._entries: dict[tuple[str, int], _Entry] = {}

    @property
    def revisions(self) -> Revisions:
        """The revisions of the files of this vault's directory."""
        return self._file.revisions

    def proving_key(self, name: str) -> SymmetricKey:
        """The key under which another file of the directory is proven."""
        return self._file.proving.expand(b"ms1 proof of " + name.encode(), 16, name)

    @classmethod
    def create(cls, path: Path, name: str, opener: Opener, beside: Vault | None = None) -> Vault:
        """A new, empty vault file, in the directory of another one if there is one."""
        return cls(VaultFile.create(path, name, opener, beside.revisions if beside else Revisions()))

    @classmethod
    def open(cls, path: Path, name: str, opener: Opener, beside: Vault | None = None) -> Vault:
        """An existing vault; opened `beside` another one, their revisions are compared.

        TrustError `security.passphrase`, `security.key-record`, `security.tampered`, `security.rolled-back`;
        LocalError `security.missing` or `security.newer`.
        """
        vault = cls(VaultFile.open(path, name, opener, beside.revisions if beside else Revisions()))
        try:
            vault._load()
        except BaseException:
            vault._file.store.close()
            raise
        return vault

    def _load(self) -> None:
        for key_id, version, record, used in self._file.load():
            label = f"{key_id} version {version}"
            key: SymmetricKey | Sm2PrivateKey | None = None
            if record.kind == "sm4":
                key = SymmetricKey.from_bytes(record.secret, label)
            elif record.kind == "sm2":
                key = Sm2PrivateKey.from_pkcs8(record.secret, label)
            if key is not None and not equal(_check_value(key), record.check_value):
                raise TrustError(
                    "security.key-record", f"The record of {label} does not hold the key that it names."
                )
            self._entries[key_id, version] = _Entry(
                key, label, record.parent_version, record.state, record.check_value, record.limit, used
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
        label = f"{key_id} version {version}"
        entry = _Entry(key, label, parent_version, state, _check_value(key), limit, 0)
        self._file.put(key_id, version, entry.record(), new=True)
        self._entries[key_id, version] = entry

    def set_state(self, key_id: str, version: int, state: State) -> None:
        """Move a key on to a later state, durably; LocalError `security.key-state` for a step back.

        `destroyed` overwrites the key itself.
        """
        entry = self._entry(key_id, version)
        if STATES.index(state) < [*STATES].index(entry.state):  # type: ignore[arg-type]  # both are words of STATES
            raise LocalError(
                "security.key-state", f"{entry.label} is {entry.state}; it does not become {state} again."
            )
        before, entry.state = (entry.state, entry.key), state
        if state == "destroyed":
            entry.key = None
        try:
            self._file.put(key_id, version, entry.record(), new=False)
        except BaseException:
            entry.state, entry.key = before
            raise

    def prepare_move(self, opener: Opener) -> Door:
        """A new door for a passphrase (the same one gets a new salt) or a key store; changes nothing yet."""
        return keystore.of(opener).create(self.name)

    def begin_move(self, door: Door) -> None:
        """Let a prepared door open this vault too; LocalError `security.moving` while a move is under way."""
        self._file.begin(*door)

    def finish_move(self) -> None:
        """From now on only what `begin_move` was given opens this vault."""
        self._file.finish()

    def cancel_move(self) -> None:
        """Give up a move that was begun; what opened this vault before opens it."""
        self._file.cancel()

    @property
    def moving(self) -> int:
        """How many records stand under an old key-encryption key."""
        return self._file.moving

    async def fits(self, opener: Opener) -> bool:
        """Whether this opens the vault as it is now."""
        return await self._file.fits(opener)

    def copy_to(self, path: Path) -> None:
        """A consistent copy of the file, use counts included."""
        self.flush()
        self._file.store.copy_to(path)

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

    def peek(self, key_id: str, version: int) -> SymmetricKey:
        """The handle of an SM4 key in any state before withdrawal, to compare with; not for use."""
        entry = self._entry(key_id, version)
        if not isinstance(entry.key, SymmetricKey) or entry.state == "withdrawn":
            raise TrustError("security.key-state", f"{entry.label} is {entry.state}; it is not in use.")
        return entry.key

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
                f"{entry.label} has reached its limit of {entry.limit} uses; activate a new version.",
            )

    def raise_count(self, key_id: str, version: int, used: int) -> None:
        """Set a counter that something else proves to be at least `used`."""
        entry = self._entry(key_id, version)
        if used > entry.used:
            entry.used = used
            self._note()

    def _note(self) -> None:
        self._file.store.once(self._write_counters)

    def _write_counters(self, connection: sqlite3.Connection) -> None:
        connection.executemany(
            "UPDATE key SET used = ?1 WHERE id = ?2 AND version = ?3 AND used != ?1",
            [(entry.used, key_id, version) for (key_id, version), entry in self._entries.items()],
        )

    async def durable(self) -> None:
        """Return once every use counted so far is on disk; EngineError when it is not."""
        await self._file.store.durable()

    def facts(self, key_id: str, version: int) -> KeyFacts:
        """What may be said about one key."""
        entry = self._entry(key_id, version)
        return KeyFacts(
            vault=self.name,
            id=key_id,
            version=version,
            parent_version=entry.parent_version,
            state=entry.state,
            check_value=entry.check_value,
            used=entry.used,
            limit=entry.limit,
        )

    def all_facts(self) -> list[KeyFacts]:
        """What may be said about every key, in order of id and version."""
        return [self.facts(key_id, version) for key_id, version in sorted(self._entries)]

    def flush(self) -> None:
        """Write the counters now."""
        self._file.store.flush()

    def tie(self) -> None:
        """Write down here, now, how far the other files of the directory are."""
        self._file.store.tie()

    def close(self) -> None:
        """Write the counters and close the file."""
        self._file.store.close()

    def _usable(self, key_id: str, version: int | None) -> _Entry:
        entry = self._entry(key_id, self.newest(key_id) if version is None else version)
        if entry.state not in USABLE:
            raise TrustError("security.key-state", f"{entry.label} is {entry.state}; it is not in use.")
        return entry

    def _entry(self, key_id: str, version: int) -> _Entry:
        entry = self._entries.get((key_id, version))
        if entry is None:
            raise TrustError("security.no-key", f"Vault {self.name} holds no version {version} of {key_id}.")
        return entry


def _check_value(key: SymmetricKey | Sm2PrivateKey) -> bytes:
    return key.check_value() if isinstance(key, SymmetricKey) else sm3(key.public_point)[:3]
