"""Beside the path: the maker of a street's modules, their memory files, and what personalisation writes
into them.

It holds no key of the security service: K_b and K_r arrive in an envelope that only the module opens.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from meterseal.crypto import sm2
from meterseal.crypto.expose import expose
from meterseal.crypto.handles import SymmetricKey
from meterseal.edge.cardmemory import CardMemory
from meterseal.edge.chip import Chip, Personal
from meterseal.edge.image import state_from_bytes, state_to_bytes
from meterseal.edge.module import Module
from meterseal.edge.nv import NvFile, SealedNv, SqliteNv, open_nv_database
from meterseal.errors import LocalError, TrustError
from meterseal.kit.plan import StreetPlan
from meterseal.link.identities import CONCENTRATOR
from meterseal.security.messages import Personalisation

MEMORY = "modules.db"
STORAGE_KEY = "modules.key"
CONTROLLERS = b"controls "
OLDER = b"controller "
"""Owner of a controller's page while it was in clear."""


class Made(Struct, frozen=True):
    """A module that left the factory: for which device, its serial, its public point (65 bytes), its
    suite.
    """

    device_id: bytes
    module_id: bytes
    point: bytes
    suite: int


class Memories:
    """The memory file of many modules in one directory, and the storage keys beside it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.connection: NvFile = open_nv_database(str(directory / MEMORY))
        self._root = SymmetricKey.from_bytes(
            _storage_key(directory / STORAGE_KEY), "the modules' storage key"
        )
        self._seal_older()

    def sealed(self, module_id: bytes) -> SealedNv:
        """The sealed memory of one module."""
        key = self._root.diversify(module_id, f"storage key of module {module_id.hex()}")
        return SealedNv(SqliteNv(self.connection, b"module " + module_id), key, module_id)

    def controller(self, device_id: bytes) -> SealedNv:
        """The controller's own pages of one device: days acknowledged, valve state."""
        key = self._root.expand(
            b"ms1 controller\x00" + device_id, 16, f"storage key of controller {device_id.hex()}"
        )
        return SealedNv(SqliteNv(self.connection, CONTROLLERS + device_id), key, device_id)

    def page(self, what: bytes) -> SealedNv:
        """Pages of the program whose memory this is, by what they are for."""
        key = self._root.expand(b"ms1 program\x00" + what, 16, f"storage key of {what.decode()}")
        return SealedNv(SqliteNv(self.connection, b"program " + what), key, what)

    def _seal_older(self) -> None:
        """Seal controllers' pages that an older version wrote in clear: all of them or none, then forget the clear ones."""
        rows = self.connection.execute(
            "SELECT owner, name, page FROM pages WHERE owner >= ? AND owner < ?", (OLDER, OLDER[:-1] + b"!")
        ).fetchall()
        if not rows or self.connection.in_transaction:
            return
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            for owner, name, page in rows:
                self.controller(owner[len(OLDER) :]).write({name: page})
                self.connection.execute("DELETE FROM pages WHERE owner = ? AND name = ?", (owner, name))
            self.connection.execute("COMMIT")
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        # Copies that page splits left, and the log: another reader of the file may put this off to its last close.
        with suppress(sqlite3.OperationalError):
            self.connection.execute("VACUUM")
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def held(self, module_id: bytes) -> SealedNv:
        """Sealed pages of a concentrator for the answers it vouches for."""
        key = self._root.diversify(bytes(byte ^ 0xFF for byte in module_id), "storage key of vouched answers")
        return SealedNv(SqliteNv(self.connection, b"held " + module_id), key, module_id)

    def pairing(self, device_id: bytes) -> SymmetricKey:
        """The pairing key of a device's controller, by which its module knows it."""
        return self._root.expand(
            b"ms1 pairing\x00" + device_id, 16, f"pairing key of device {device_id.hex()}"
        )

    def port(self, module_id: bytes, device_id: bytes = b"") -> Module:
        """The module, powered on; with a device_id in that device, which proves itself to it. LocalError
        `module.in-use` while another program has modules of this directory on.
        """
        module = Module(self.sealed(module_id))
        chip = Chip(module)
        if device_id and chip.state().paired:
            # A module of another device, or a locked one, refuses this and whatever it is asked next.
            with suppress(TrustError):
                chip.present(self.pairing(device_id))
        return module

    def chip(self, module_id: bytes, device_id: bytes = b"") -> Chip:
        """The same, as typed calls."""
        return Chip(self.port(module_id, device_id))

    def close(self) -> None:
        """Close the file."""
        self.connection.close()


def _storage_key(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            key = os.urandom(16)
            file.write(key)
        return key


def manufacture(directory: Path, plan: StreetPlan) -> list[Made]:
    """Make the module of every sealed meter of the plan; one that is made already keeps its key."""
    return _make(
        directory,
        [(meter.device_id, meter.module_id, meter.suite) for meter in plan.meters if not meter.plain],
    )


def manufacture_concentrator(directory: Path, plan: StreetPlan) -> Made:
    """Make the concentrator's module (suite 1), in a directory of its own."""
    return _make(directory, [(plan.concentrator_id, plan.concentrator_module, 1)])[0]


def _make(directory: Path, wanted: Iterable[tuple[bytes, bytes, int]]) -> list[Made]:
    memories = Memories(directory)
    made: list[Made] = []
    memories.connection.execute("BEGIN")
    try:
        for device_id, module_id, suite in wanted:
            chip = memories.chip(module_id)
            point = chip.state().point or chip.make_key(module_id)
            made.append(Made(device_id, module_id, point, suite))
        memories.connection.execute("COMMIT")
    finally:
        memories.close()
    return made


def personalise(directory: Path, items: Iterable[Personalisation]) -> int:
    """Write ids, keys and trust into the modules; how many. One that is personalised already is left
    alone.
    """
    memories = Memories(directory)
    count = 0
    memories.connection.execute("BEGIN")
    try:
        for what in items:
            chip = memories.chip(what.module_id)
            if chip.state().life != 0:
                continue
            chip.personalise(personal(what))
            chip.pair(sm2.encrypt(chip.state().point, expose(memories.pairing(what.device_id))))
            count += 1
        memories.connection.execute("COMMIT")
    finally:
        memories.close()
    return count


def personal(what: Personalisation) -> Personal:
    """What the service made, as it is written into the module; a street's meters stand behind its concentrator."""
    return Personal(
        device_id=what.device_id,
        suite=what.suite,
        project_id=what.project_id,
        key_version=what.key_version,
        bound_at=what.bound_at,
        envelope=what.envelope,
        root=what.root,
        chain=what.chain,
        profile=what.profile,
        gathered=what.device_id[0] != CONCENTRATOR,
    )


def copy_module(directory: Path, module_id: bytes, other_device: bytes, into: Path) -> Chip:
    """An attacker's copy: the module's memory with its storage key, put into another meter, powered on.

    The copy claims `other_device`; what the platform makes of it is for the caller to see. LocalError
    `kit.copy` when the module was never personalised.
    """
    source = Memories(directory)
    target = Memories(into)
    try:
        pages = source.sealed(module_id)
        content = {name: pages.read(name) for name in pages.names()}
    finally:
        source.close()
    image = content.get("state")
    if image is None:
        raise LocalError(
            "kit.copy", f"There is no module {module_id.hex()} in {directory}; personalise it first."
        )
    content["state"] = moved(image, other_device)
    copy = target.sealed(module_id)
    copy.write(content)
    # Who has the storage key can undo the pairing too; what is left is that the platform knows K_b and the chain.
    CardMemory(copy).change(lambda card: replace(card, pairing=b""))
    return target.chip(module_id)


def moved(image: bytes, device_id: bytes) -> bytes:
    """A module's state that says it belongs to another device and has no session."""
    state = state_from_bytes(image)
    return state_to_bytes(replace(state, device_id=device_id, current=None, previous=None))
