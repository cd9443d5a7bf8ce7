"""Station MDMS, moving to a newer data key: what of a store still stands under an older one, and the next piece moved.

It moves no journal entry (compaction does), and keeps every reading as it is. The caller sees to it that nothing else
writes segments meanwhile.
"""

from __future__ import annotations

from meterseal.control.sealing import KeyRing
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

    def older(self) -> int:
        """How many pieces stand under an older key version."""
        return len(self._segments()) + self._ledger.older() + self._forecasts.older()

    def _segments(self) -> list[Segment]:
        version = self._keys.version
        with self._store.lock:
            return [one for one in self._store.catalogue.segments.values() if one.key_version != version]

    def move(self) -> int:
        """Move one segment, else a piece of the ledger, else a forecast; 0 when none is left.

        Raises DataError for a piece that is damaged, EngineError `mdms.full`, `mdms.disk`; then nothing was moved.
        """
        older = self._segments()
        if not older:
            return self._ledger.seal_again() or self._forecasts.reseal()
        with self._store.shelf.file(older[0]) as file:
            new = file.seal_again(self._store.words)
        self._manifest.exchange([older[0].id], [new])
        self._store.replace([older[0].id], [new], -1)
        (self._store.directory / older[0].path).unlink(missing_ok=True)
        return 1
