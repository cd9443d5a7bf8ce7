"""The life of a module's bound key: a new version offered over the link, and when the old one ends for it.

It changes no vault; what becomes of DIAK itself is `rotation`'s.

After `update` the service takes HELLOs of the module under the old version and under the new one. The first
handshake that is good under the new one ends every older version for that module, also for runs that are
half open. The new version is on disk before the update leaves, so no module is ever locked out by a crash.
"""

from __future__ import annotations

import heapq
from collections import defaultdict

from meterseal.errors import LocalError, TrustError
from meterseal.link import control
from meterseal.security.book import Book
from meterseal.security.hierarchy import KeyTree
from meterseal.security.orders import KeyUpdate
from meterseal.security.registry import Module, Registry
from meterseal.security.vault import Vault


class KeyLife:
    """Which versions each module may greet with."""

    def __init__(self, keys: Vault, tree: KeyTree, registry: Registry, book: Book) -> None:
        self._keys, self._tree, self._registry, self._book = keys, tree, registry, book
        self._offered: dict[bytes, set[int]] = defaultdict(set)
        for module_id, version in book.store.rows("SELECT CAST(module_id AS BLOB), version FROM key_update"):
            self._offered[module_id].add(version)

    def update(self, device_id: bytes) -> KeyUpdate:
        """KEY for a device's module; asking again gives it again.

        TrustError `security.not-enrolled`, `security.limit`; LocalError `security.key-current` when the module
        has the newest version.
        """
        module = self._registry.of_device(device_id)
        if module is None:
            raise TrustError("security.not-enrolled", f"Device {device_id.hex()} has no module in service.")
        version = self._tree.key_version
        if version <= module.key_version:
            raise LocalError(
                "security.key-current",
                f"Module {module.module_id.hex()} has the newest key version, {module.key_version}; there is nothing to "
                "send.",
            )
        self._keys.use("MROOT", 1)
        self._keys.use("DIAK", version)
        if version not in self._offered[module.module_id]:
            with self._book.transaction() as connection:
                connection.execute("INSERT INTO key_update VALUES (?, ?)", (module.module_id, version))
            self._offered[module.module_id].add(version)
        word = control.key(
            self._tree.update_key(device_id, module.module_id),
            device_id,
            module.module_id,
            version,
            self._tree.bound(device_id, module.module_id, version),
        )
        return KeyUpdate(
            device_id=device_id, module_id=module.module_id, version=version, content=word.content
        )

    def due(self, after: bytes, limit: int) -> tuple[list[Module], int]:
        """Modules in service that `update` has something for, in order of ids above `after`; and how many in all."""
        behind = [one for one in self._registry.modules() if one.key_version < self._tree.key_version]
        above = (one for one in behind if one.module_id > after)
        return heapq.nsmallest(limit, above, key=lambda one: one.module_id), len(behind)

    def accepts(self, module: Module, version: int) -> bool:
        """Whether the module may greet with this version now."""
        return version == module.key_version or (
            version > module.key_version and version in self._offered.get(module.module_id, ())
        )

    def held(self, module_id: bytes, version: int) -> bool:
        """A handshake under `version` was good; whether that moved the module to it, durably."""
        module = self._registry.module(module_id)
        if module is None or version <= module.key_version:
            return False
        self._registry.set_key_version(module, version)
        with self._book.transaction() as connection:
            connection.execute(
                "DELETE FROM key_update WHERE module_id = ? AND version <= ?", (module_id, version)
            )
        self._offered[module_id] = {left for left in self._offered[module_id] if left > version}
        return True
