"""Which modules are enrolled: device, module, suite, key version, state, and the certificates issued to them.

It issues nothing and checks no proof; it is the memory that `personalise`, `handshake` and `pki` ask.

A module belongs to one device for good and a device has one module in service: a module that turns up with
another device's id is not enrolled there, which is how a copy on another meter is found.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Literal

from msgspec import Struct, structs

from meterseal.errors import LocalError, TrustError
from meterseal.security.store import Store

FORMAT = 1
ModuleState = Literal["active", "withdrawn"]

_SCHEMA = """ CREATE TABLE setting(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID; CREATE TABLE
          module(device_id BLOB NOT NULL, module_id BLOB NOT NULL UNIQUE, suite INTEGER NOT NULL,
          key_version INTEGER NOT NULL, project_id BLOB NOT NULL, point BLOB NOT NULL, leaf BLOB NOT NULL,
          state TEXT NOT NULL, lab INTEGER NOT NULL, enrolled_at INTEGER NOT NULL, PRIMARY KEY(device_id,
          module_id)) WITHOUT ROWID; CREATE UNIQUE INDEX module_in_service ON module(device_id) WHERE state
          = 'active'; CREATE TABLE certificate(issuer TEXT NOT NULL, serial TEXT NOT NULL, der BLOB NOT
          NULL, issued_at INTEGER NOT NULL, revoked_at INTEGER, PRIMARY KEY(issuer, serial)) WITHOUT ROWID;
          """


class Module(Struct, frozen=True, kw_only=True):
    """One enrolled module. `point` opens its envelope; `leaf` is its certificate (DER), empty under suite 2.

    `lab` says that its keys were handed out in clear.
    """

    device_id: bytes
    module_id: bytes
    suite: int
    key_version: int
    project_id: bytes
    point: bytes
    leaf: bytes
    state: ModuleState
    lab: bool
    enrolled_at: int


_COLUMNS = "device_id, module_id, suite, key_version, project_id, point, leaf, state, lab, enrolled_at"


class Registry:
    """The open registry; modules are held in memory, the file is the truth."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._modules: dict[bytes, Module] = {}
        self._in_service: dict[bytes, Module] = {}
        for row in store.rows(f"SELECT {_COLUMNS} FROM module"):  # noqa: S608  # a constant, no input
            module = _module(row)
            self._keep(module)

    def _keep(self, module: Module) -> None:
        self._modules[module.module_id] = module
        if module.state == "active":
            self._in_service[module.device_id] = module

    @classmethod
    def create(cls, path: Path, settings: dict[str, bytes]) -> Registry:
        """A new registry file with its settings."""
        store = Store.create(path, _SCHEMA, FORMAT)
        with store.transaction() as connection:
            connection.executemany("INSERT INTO setting VALUES (?, ?)", settings.items())
        return cls(store)

    @classmethod
    def open(cls, path: Path) -> Registry:
        """An existing registry."""
        return cls(Store.open(path, FORMAT))

    def setting(self, name: str) -> bytes:
        """A setting; LocalError `security.setting` when there is none of that name."""
        rows = self.store.rows("SELECT value FROM setting WHERE name = ?", name)
        if not rows:
            raise LocalError("security.setting", f"The registry lacks its {name}; restore it from a backup.")
        value: bytes = rows[0][0]
        return value

    def put_setting(self, connection: sqlite3.Connection, name: str, value: bytes) -> None:
        """Write a setting inside a transaction."""
        connection.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (name, value))

    def module(self, module_id: bytes) -> Module | None:
        """The module with this serial, whatever its state."""
        return self._modules.get(module_id)

    def of_device(self, device_id: bytes) -> Module | None:
        """The module in service of a device."""
        return self._in_service.get(device_id)

    def check_free(self, device_id: bytes, module_id: bytes) -> None:
        """TrustError `security.module-bound` or `security.device-bound` unless the two may be joined."""
        if module_id in self._modules:
            raise TrustError(
                "security.module-bound",
                f"Module {module_id.hex()} is enrolled already and belongs to its device for good; use a "
                "new module.",
            )
        if self.of_device(device_id) is not None:
            raise TrustError(
                "security.device-bound",
                f"Device {device_id.hex()} has another module in service; withdraw that one first.",
            )

    def enrol(self, modules: list[Module], certificates: list[tuple[str, int, bytes, int]]) -> None:
        """Store modules and their certificates (issuer, serial, DER, issued at), all or none."""
        with self.store.transaction() as connection:
            connection.executemany(
                f"INSERT INTO module({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?)",  # noqa: S608  # a constant, no input
                [_row(module) for module in modules],
            )
            self.record(connection, certificates)
        for module in modules:
            self._keep(module)

    def record(self, connection: sqlite3.Connection, certificates: list[tuple[str, int, bytes, int]]) -> None:
        """Write issued certificates inside a transaction."""
        connection.executemany(
            "INSERT INTO certificate(issuer, serial, der, issued_at) VALUES (?, ?, ?, ?)",
            [(issuer, str(serial), der, at) for issuer, serial, der, at in certificates],
        )

    def withdraw(self, module: Module, serial: int | None, at: int) -> Module:
        """Take a module out of service and mark its certificate revoked."""
        gone = structs.replace(module, state="withdrawn")
        with self.store.transaction() as connection:
            connection.execute(
                "UPDATE module SET state = 'withdrawn' WHERE module_id = ?", (module.module_id,)
            )
            if serial is not None:
                connection.execute(
                    "UPDATE certificate SET revoked_at = ? WHERE issuer = 'device' AND serial = ?",
                    (at, str(serial)),
                )
        self._modules[module.module_id] = gone
        self._in_service.pop(module.device_id, None)
        return gone

    def revoked(self, issuer: str) -> list[tuple[int, int]]:
        """Serial and time of every revoked certificate of an issuer (`platform`, `device`)."""
        rows = self.store.rows(
            "SELECT serial, revoked_at FROM certificate WHERE issuer = ? AND revoked_at IS NOT NULL", issuer
        )
        return [(int(serial), at) for serial, at in rows]

    def count(self) -> int:
        """How many modules are in service."""
        return len(self._in_service)

    def close(self) -> None:
        """Close the file."""
        self.store.close()


def _module(row: tuple[bytes, bytes, int, int, bytes, bytes, bytes, ModuleState, int, int]) -> Module:
    return Module(
        device_id=row[0],
        module_id=row[1],
        suite=row[2],
        key_version=row[3],
        project_id=row[4],
        point=row[5],
        leaf=row[6],
        state=row[7],
        lab=bool(row[8]),
        enrolled_at=row[9],
    )


def _row(module: Module) -> tuple[object, ...]:
    return (
        module.device_id,
        module.module_id,
        module.suite,
        module.key_version,
        module.project_id,
        module.point,
        module.leaf,
        module.state,
        int(module.lab),
        module.enrolled_at,
    )
