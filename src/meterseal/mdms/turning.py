"""Station MDMS, moving to a newer data key: what of a store still stands under an older one, and the next piece moved.

It moves no journal entry (compaction does), and keeps every reading as it is. The caller sees to it that nothing else
writes segments meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial

from meterseal.control.sealing import KeyRing
from meterseal.errors import DataError
from meterseal.mdms.forecasts import Forecasts
from meterseal.mdms.ledger.ledger import Ledger
from meterseal.mdms.store.manifest import Manifest
from meterseal.mdms.store.segments import Segment
from meterseal.mdms.store.store import Store


class Turning:
    """Segments, the ledger's files and forecasts of one store."""

    def __init__(
        self, keys: KeyRing, store: Store, manifest: Manifest, ledger: Ledger, forecasts: Forecasts
    ) -> None:
        self._keys = keys
        self._store = store
        self._manifest = manifest
        self._ledger = ledger
        self._forecasts = forecasts
        self._failed: set[str] = set()
        """Segments that were damaged when they were to be moved; they are tried last."""

    def older(self) -> int:
        """How many pieces stand under an older key version."""
        return len(self._segments()) + self._ledger.older() + self._forecasts.older()

    def _segments(self) -> list[Segment]:
        version = self._keys.version
        with self._store.lock:
            found = [one for one in self._store.catalogue.segments.values() if one.key_version != version]
        return sorted(found, key=lambda one: one.id in self._failed)

    def move(self) -> int:
        """Move one segment, else a piece of the ledger, else a forecast; 0 when none is left.

        Raises EngineError `mdms.full`, `mdms.disk`, and DataError when only pieces are left that are damaged; then nothing
        was moved.
        """
        damage: DataError | None = None
        moves: list[Callable[[], int]] = [partial(self._move, one) for one in self._segments()]
        for move in (*moves, self._ledger.seal_again, self._forecasts.reseal):
            try:
                if move():
                    return 1
            except DataError as error:
                damage = damage or error
        if damage is not None:
            raise damage
        return 0

    def _move(self, old: Segment) -> int:
        self._failed.add(old.id)
        with self._store.shelf.file(old) as file:
            new = file.seal_again(self._store.words)
        self._failed.discard(old.id)
        self._manifest.exchange([old.id], [new])
        self._store.replace([old.id], [new], -1)
        with contextlib.suppress(OSError):  # no manifest names it: what stays is swept at the next start
            (self._store.directory / old.path).unlink(missing_ok=True)
        return 1
