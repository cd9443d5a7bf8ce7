"""Station MDMS, what committed entries added that is not a row: counts, statuses, waiting evidence, what rules must see.

It decides nothing about a reading (`ingest` does). Whoever reads or changes it holds the store's lock.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from msgspec import Struct

from meterseal.link.evidence import EvidenceStatement
from meterseal.mdms.clocks import Measured
from meterseal.mdms.finding import Finding
from meterseal.mdms.heats import Warm
from meterseal.mdms.reconciliation import Reconciliation, without_reconciled
from meterseal.mdms.rolling import Rolled
from meterseal.mdms.store.index import key_of
from meterseal.mdms.store.packing import Ints
from meterseal.mdms.store.rows import Key
from meterseal.mdms.store.store import Store
from meterseal.model import Quarantined, Status

MARKS = 64
"""Columns whose channels are kept apart until they are joined."""

EvidenceKey = tuple[bytes, int, int]
"""(device_id, channel, sequence)"""


class Pending(Struct, frozen=True, gc=False):
    """Evidence that was committed and is not yet checked."""

    usage_point: str
    statement: EvidenceStatement
    raw: bytes
    signature: bytes
    suite: int
    module_id: bytes
    received_at: int
    batch: int

    @property
    def key(self) -> EvidenceKey:
        """What the statement is known by."""
        return self.statement.device_id, self.statement.channel, self.statement.sequence


class State:
    """Everything that committed entries added and that is not a row: guarded by the store's lock."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self.sequence = 0
        self.counts = dict.fromkeys(
            ("records", "repeated_records", "readings", "repeated_readings", "missing", "conflicts",
             "suspect",
             "quarantined", "estimated", "statuses"), 0
        ) | without_reconciled(counts)  # fmt: skip
        self.reconciliation = Reconciliation(counts)
        self.statuses: dict[bytes, tuple[Status, int]] = {}
        self.pending: dict[tuple[bytes, int, int, bytes], Pending] = {}
        self.quarantined: list[Quarantined] = []
        self.findings: list[Finding] = []
        self.clocks: list[Measured] = []
        self.heats: list[Warm] = []
        self.latest_receipt = 0
        self.rolled = Rolled()
        self.newest: dict[int, tuple[int, int]] = {}
        """Per usage point (word): end_at and receipt of the newest reading of the main channel."""
        self.dirty: dict[Key, int] = {}
        """Keys with new readings, and the oldest of these; the VEE takes them away."""
        self.grown: dict[Key, int] = {}
        """The same for the check of evidence chains."""
        self.leads: dict[Key, int] = {}
        """The local day for which it was last found that a meter's clock leads."""
        self._begun_newest = False
        self._marked: list[tuple[Ints, Ints]] = []

    def all_newest(self, store: Store) -> dict[int, tuple[int, int]]:
        """`newest`, of what is in segments too."""
        if not self._begun_newest:
            for point, times in store.newest().items():
                self.newest[point] = max(times, self.newest.get(point, times))
            self._begun_newest = True
        return dict(self.newest)

    def mark(self, numbers: Ints, first: Ints) -> None:
        """Many channels, as numbers of keys, have new readings from these instants on: `merge` brings them in."""
        self._marked.append((numbers, first))
        if len(self._marked) > MARKS:
            joined, firsts = (np.concatenate(columns) for columns in zip(*self._marked, strict=True))
            order = np.lexsort((firsts, joined))
            found, where = np.unique(joined[order], return_index=True)
            self._marked = [(found, firsts[order][where])]

    def merge(self) -> None:
        """What was marked is dirty and grown."""
        for numbers, firsts in self._marked:
            oldest = {key_of(n): at for n, at in zip(numbers.tolist(), firsts.tolist(), strict=True)}
            self.mark_dirty(oldest)
            self.mark_grown(oldest)
        self._marked.clear()

    def mark_dirty(self, oldest: Mapping[Key, int]) -> None:
        """These channels have readings, from these instants on, that the rules have not seen."""
        for key, at in oldest.items():
            self.dirty[key] = min(at, self.dirty.get(key, at))

    def mark_grown(self, oldest: Mapping[Key, int]) -> None:
        """The same for chains of evidence."""
        for key, at in oldest.items():
            self.grown[key] = min(at, self.grown.get(key, at))
