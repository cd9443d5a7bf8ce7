"""Which modules are enrolled: device, module, suite, key version, state, and the certificates issued to them.

It issues nothing and checks no proof; it is the memory that `personalise`, `handshake` and `pki` ask.

A module belongs to one device for good and a device has one module in service: a module that turns up with
another device's id is not enrolled there, which is how a copy on another meter is found.

A renewed certificate waits beside the one in force until its module has shown it in a handshake; both name
the same key, and a withdrawal revokes every certificate that the module ever got. Every row of the file is proven
(`proof`). Its format is raised when an older one is opened (`registry_format`); a newer one is refused.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import structs

from meterseal.crypto.certificates import parse
from meterseal.errors import LocalError, TrustError
from meterseal.security import registry_format
from meterseal.security.enrolled import (
    CIPHER_ONLY,
    COLUMNS,
    OUR_PROFILE,
    PLACES,
    POLICIES,
    PROFILES,
    Gone,
    Issued,
    Module,
    module_of,
    row_of,
    with_end,
)
from meterseal.security.proof import Proof
from meterseal.security.registry_format import FORMAT, SCHEMA
from meterseal.security.store import Store
from meterseal.security.vault import Vault

NAME = "registry"

__all__ = [
    "CIPHER_ONLY",
    "FORMAT",
    "OUR_PROFILE",
    "POLICIES",
    "PROFILES",
    "Gone",
    "Issued",
    "Module",
    "Registry",
]


class Registry:
    """The open registry; modules are held in memory, the file is the truth."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._modules: dict[bytes, Module] = {}
        self._in_service: dict[bytes, Module] = {}
        self._by_address: dict[bytes, bytes] = {}
        self.first_gone = 0
        """What the numbers of withdrawals begin above: after a restore, whoever follows them has seen higher ones."""
        for row in store.rows(f"SELECT {COLUMNS} FROM module"):  # noqa: S608  # a constant, no input
            self._keep(module_of(row))
        self._revoked = {
            (issuer, int(serial))
            for issuer, serial in store.rows(
                "SELECT issuer, serial FROM certificate WHERE revoked_at IS NOT NULL"
            )
        }

    def _keep(self, module: Module) -> None:
        self._modules[module.module_id] = module
        self._by_address[module.device_id[1:]] = module.device_id
        if module.state == "active":
            self._in_service[module.device_id] = module

    @classmethod
    def create(cls, path: Path, settings: dict[str, bytes], vault: Vault) -> Registry:
        """A new registry file with its settings, proven under a key of `vault`."""
        store = Store.create(path, SCHEMA, FORMAT)
        proof = Proof.under(vault, store, NAME)
        with store.transaction() as connection:
            connection.executemany("INSERT INTO setting VALUES (?, ?)", settings.items())
            proof.begin(connection)
        proof.open()
        return cls(store)

    @classmethod
    def open(cls, path: Path, vault: Vault) -> Registry:
        """An existing registry, proven, and brought to this version's format.

        LocalError `security.newer` for a newer one; TrustError `security.tampered`, `security.rolled-back`.
        """
        store = Store.open(path, FORMAT)
        try:
            proof = Proof.under(vault, store, NAME)
            if proof.present:
                registry_format.upgrade(store, proof.open().reform)
            else:
                vault.revisions.expect_unproven(NAME, path)
                registry_format.upgrade(store)
                with store.transaction() as connection:
                    proof.begin(connection)
                proof.open()
                vault.revisions.raised.append(NAME)
            return cls(store)
        except BaseException:
            store.close()
            raise

    def setting(self, name: str) -> bytes:
        """A setting; LocalError `security.setting` when there is none of that name."""
        rows = self.store.rows("SELECT value FROM setting WHERE name = ?", name)
        if not rows:
            raise LocalError("security.setting", f"The registry lacks its {name}; restore it from a backup.")
        value: bytes = rows[0][0]
        return value

    def settings(self, prefix: str) -> dict[str, bytes]:
        """Every setting whose name begins so."""
        rows = self.store.rows(
            "SELECT name, value FROM setting WHERE substr(name, 1, ?) = ?", len(prefix), prefix
        )
        return dict(rows)

    def put_setting(self, connection: sqlite3.Connection, name: str, value: bytes) -> None:
        """Write a setting inside a transaction."""
        connection.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (name, value))

    def module(self, module_id: bytes) -> Module | None:
        """The module with this serial, whatever its state."""
        return self._modules.get(module_id)

    def of_device(self, device_id: bytes) -> Module | None:
        """The module in service of a device."""
        return self._in_service.get(device_id)

    def of_address(self, address: bytes) -> Module | None:
        """The module that a device with these 7 id bytes has or last had, whatever its type byte."""
        device_id = self._by_address.get(address)
        if device_id is None:
            return None
        return self._in_service.get(device_id) or next(iter(self.all_of(device_id)), None)

    def all_of(self, device_id: bytes) -> list[Module]:
        """Every module that a device has or had, newest first."""
        rows = self.store.rows(
            "SELECT module_id FROM module WHERE device_id = ? ORDER BY enrolled_at DESC", device_id
        )
        return [self._modules[module_id] for (module_id,) in rows]

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

    def enrol(self, modules: Sequence[Module], certificates: Sequence[Issued]) -> None:
        """Store modules and their certificates, all or none; the end of each leaf is taken from it."""
        with self.store.transaction() as connection:
            kept = self.enrol_within(connection, modules, certificates)
        self.kept(kept)

    def enrol_within(
        self, connection: sqlite3.Connection, modules: Sequence[Module], certificates: Sequence[Issued]
    ) -> list[Module]:
        """`enrol` inside a transaction; hand what it returns to `kept` once that is committed."""
        versions = {one.der: one.authority for one in certificates}
        complete = [with_end(module, versions.get(module.leaf, 0)) for module in modules]
        connection.executemany(
            f"INSERT INTO module({COLUMNS}) VALUES ({PLACES})",  # noqa: S608  # a constant, no input
            [row_of(module) for module in complete],
        )
        self.record(connection, certificates)
        return complete

    def kept(self, modules: Iterable[Module]) -> None:
        """Take stored modules into memory."""
        for module in modules:
            self._keep(module)

    def record(self, connection: sqlite3.Connection, certificates: Iterable[Issued]) -> None:
        """Write issued certificates inside a transaction; a serial is never recorded twice."""
        rows = []
        for one in certificates:
            read = parse(one.der)
            rows.append(
                (
                    one.issuer,
                    str(read.serial),
                    one.der,
                    one.at,
                    one.authority,
                    read.until,
                    read.identity("module"),
                )
            )
        connection.executemany(
            "INSERT INTO certificate(issuer, serial, der, issued_at, authority, until, module_id) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            rows,
        )

    def set_policy(self, module: Module, policy: int, profile: str) -> Module:
        """Grant a module another message policy and security profile, durably."""
        return self._change(
            module, "policy = ?, profile = ?", (policy, profile), policy=policy, profile=profile
        )

    def set_zone(self, modules: Sequence[Module], zone: str) -> None:
        """Put modules into a zone, durably, all or none."""
        with self.store.transaction() as connection:
            connection.executemany(
                "UPDATE module SET zone = ? WHERE module_id = ?", [(zone, one.module_id) for one in modules]
            )
        self.kept([structs.replace(one, zone=zone) for one in modules])

    def set_key_version(self, module: Module, version: int) -> Module:
        """Move a module to a newer key version, durably; LocalError `security.version` unless it rises."""
        if version <= module.key_version:
            raise LocalError(
                "security.version",
                f"Module {module.module_id.hex()} uses key version {module.key_version}; versions only rise.",
            )
        return self._change(module, "key_version = ?", (version,), key_version=version)

    def renew(self, module: Module, issued: Issued) -> Module:
        """Store a newer certificate beside the one in force, durably."""
        with self.store.transaction() as connection:
            self.record(connection, [issued])
            connection.execute(
                "UPDATE module SET renewed = ? WHERE module_id = ?", (issued.der, module.module_id)
            )
        return self._replaced(structs.replace(module, renewed=issued.der))

    def shown(self, module_id: bytes, leaf: bytes) -> bool:
        """A module proved itself with this certificate: if it is the renewed one, it is now the one in force.

        Returns whether anything moved; then it is durable.
        """
        module = self._modules.get(module_id)
        if module is None or not module.renewed or leaf != module.renewed:
            return False
        authority = self.store.rows(
            "SELECT authority FROM certificate WHERE issuer = 'device' AND serial = ?",
            str(parse(leaf).serial),
        )[0][0]
        moved = structs.replace(module, leaf=leaf, renewed=b"", until=parse(leaf).until, authority=authority)
        with self.store.transaction() as connection:
            connection.execute(
                "UPDATE module SET leaf = ?, renewed = x'', until = ?, authority = ? WHERE module_id = ?",
                (leaf, moved.until, moved.authority, module_id),
            )
        self._replaced(moved)
        return True

    def withdraw(self, modules: Sequence[Module], at: int) -> None:
        """Take modules out of service and mark every certificate that they got revoked, all or none."""
        with self.store.transaction() as connection:
            (last,) = connection.execute("SELECT max(gone) FROM module WHERE gone IS NOT NULL").fetchone()
            last = max(self.first_gone, last or 0)
            connection.executemany(
                "UPDATE module SET state = 'withdrawn', withdrawn_at = ?, gone = ? WHERE module_id = ?",
                [(at, number, module.module_id) for number, module in enumerate(modules, last + 1)],
            )
            connection.executemany(
                "UPDATE certificate SET revoked_at = ? WHERE issuer = 'device' AND module_id = ? "
                "AND revoked_at IS NULL",
                [(at, module.module_id) for module in modules],
            )
        for module in modules:
            self._revoked.update(
                ("device", int(serial))
                for (serial,) in self.store.rows(
                    "SELECT serial FROM certificate WHERE issuer = 'device' AND module_id = ?",
                    module.module_id,
                )
            )
            self._modules[module.module_id] = structs.replace(module, state="withdrawn")
            self._in_service.pop(module.device_id, None)

    def revoke(self, issuer: str, serial: int, at: int) -> None:
        """Mark one certificate revoked, durably; LocalError `security.serial` for one that was not issued."""
        with self.store.transaction() as connection:
            found = connection.execute(
                "UPDATE certificate SET revoked_at = coalesce(revoked_at, ?) WHERE issuer = ? AND serial = ?",
                (at, issuer, str(serial)),
            )
            if found.rowcount != 1:
                raise LocalError("security.serial", f"No {issuer} certificate has the serial {serial:x}.")
        self._revoked.add((issuer, serial))

    def is_revoked(self, issuer: str, serial: int) -> bool:
        """Whether a certificate was revoked; true from the moment that `withdraw` or `revoke` returns."""
        return (issuer, serial) in self._revoked

    def revoked(self, issuer: str, authority: int = 1) -> list[tuple[int, int]]:
        """Serial and time of every revoked certificate of one version of a CA (`platform`, `device`)."""
        rows = self.store.rows(
            "SELECT serial, revoked_at FROM certificate WHERE issuer = ? AND authority = ? "
            "AND revoked_at IS NOT NULL",
            issuer,
            authority,
        )
        return [(int(serial), at) for serial, at in rows]

    def gone_since(self, sequence: int, limit: int) -> list[Gone]:
        """Modules that were taken out of service after `sequence`, in that order, at most `limit`."""
        rows = self.store.rows(
            "SELECT gone, device_id, module_id, withdrawn_at FROM module WHERE gone > ? ORDER BY gone LIMIT ?",
            sequence,
            limit,
        )
        return [Gone(sequence=n, device_id=d, module_id=m, at=at) for n, d, m, at in rows]

    def ending(self, before: int, limit: int) -> tuple[int, list[Module]]:
        """How many modules in service have a certificate that ends before `before` (Unix ms), and the first
        `limit` of them, soonest first.
        """
        where = "state = 'active' AND suite = 1 AND until < ?"
        count = self.store.rows(f"SELECT count(*) FROM module WHERE {where}", before)[0][0]  # noqa: S608  # a constant, no input
        return count, self._ordered(f"{where} ORDER BY until, device_id LIMIT ?", before, limit)

    def under(self, authority: int, limit: int) -> tuple[int, list[Module]]:
        """How many modules in service stand on an older device CA than this version, and the first of them."""
        where = "state = 'active' AND suite = 1 AND authority < ?"
        count = self.store.rows(f"SELECT count(*) FROM module WHERE {where}", authority)[0][0]  # noqa: S608  # a constant, no input
        return count, self._ordered(f"{where} ORDER BY authority, device_id LIMIT ?", authority, limit)

    def standing_on(self, authority: int) -> int:
        """How many modules in service have a certificate of this version of the device CA."""
        return sum(module.authority == authority for module in self._in_service.values())

    def _ordered(self, clause: str, *values: object) -> list[Module]:
        rows = self.store.rows(f"SELECT module_id FROM module WHERE {clause}", *values)  # noqa: S608  # clauses above, no input
        return [self._modules[module_id] for (module_id,) in rows]

    def modules(self) -> Iterable[Module]:
        """Every module in service."""
        return tuple(self._in_service.values())

    def count(self) -> int:
        """How many modules are in service."""
        return len(self._in_service)

    def close(self) -> None:
        """Close the file."""
        self.store.close()

    def _change(
        self, module: Module, assignment: str, values: tuple[object, ...], **fields: object
    ) -> Module:
        with self.store.transaction() as connection:
            connection.execute(
                f"UPDATE module SET {assignment} WHERE module_id = ?",  # noqa: S608  # constants above
                (*values, module.module_id),
            )
        return self._replaced(structs.replace(module, **fields))

    def _replaced(self, module: Module) -> Module:
        self._keep(module)
        return module
