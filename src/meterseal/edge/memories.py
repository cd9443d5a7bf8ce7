"""Station edge, the memory file of modules and controllers in one directory, and the storage keys beside it.

It makes no module and personalises none (`making` does), and knows no page's content.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from meterseal.crypto.handles import SymmetricKey
from meterseal.edge.chip import Chip
from meterseal.edge.module import Module
from meterseal.edge.nv import NvFile, SealedNv, SqliteNv, open_nv_database
from meterseal.errors import TrustError

MEMORY = "modules.db"
STORAGE_KEY = "modules.key"
CONTROLLERS = b"controls "
OLDER = b"controller "
"""Owner of a controller's page while it was in clear."""


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
