"""Station MDMS, ingest of columns: many readings that come at once, as from another system or a back-fill, as rows.

It decides nothing about a reading that meets another one (`ingest` does, one by one) and writes no file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from meterseal.mdms.bulk import Bulk
from meterseal.mdms.noticed import ahead
from meterseal.mdms.state import State
from meterseal.mdms.store.index import CHANNELS
from meterseal.mdms.store.packing import Ints
from meterseal.mdms.store.rows import ORIGINS, ROW, Block, Rows, Words, blocks_of, pick
from meterseal.mdms.store.store import Store
from meterseal.model import MAIN, Quality

FUTURE = 15 * 60_000
"""A reading further ahead of its receipt than this is suspect."""


class IngestColumns(ABC):
    """The part of ingest that takes in columns. Not thread-safe: callers hold the store's lock."""

    state: State
    _store: Store
    _words: Words

    @abstractmethod
    def _piece(self, block: Block, run: str) -> None:
        """Readings of one quality; `run` names in findings what brought them."""

    def _bulk(self, sequence: int, bulk: Bulk) -> None:
        """Take in columns: all at once where nothing is stored nearby, reading by reading where something is."""
        self.state.reconciliation.begin("columns", bulk.received_at, len(bulk.point))
        codes = np.array([self._words.code(point) for point in bulk.points], np.int64)
        self._words.medium.update(dict.fromkeys(codes.tolist(), bulk.medium))
        rows = self._rows(sequence, bulk, codes)
        if self.state.rolled and not len(rows := self._not_rolled(bulk, rows)):
            return
        numbers = (rows["point"].astype(np.int64) << CHANNELS) | rows["channel"]
        end_at = rows["end_at"].astype(np.int64)
        begins = np.append(0, np.flatnonzero(numbers[1:] != numbers[:-1]) + 1)
        lengths = np.diff(begins, append=len(rows))
        first, last = end_at[begins], end_at[begins + lengths - 1]
        self.state.mark(numbers[begins], first)
        known = self._store.touches_all(bulk.medium, numbers[begins], first, last)
        twice = (numbers[1:] == numbers[:-1]) & (end_at[1:] == end_at[:-1])
        known |= np.logical_or.reduceat(np.append(twice, False), begins)
        if not known.any():
            self._add_rows(rows, f"columns/{sequence}")
        elif not known.all():
            self._add_rows(pick(rows, np.repeat(~known, lengths)), f"columns/{sequence}")
        for at in np.flatnonzero(known).tolist():
            for block in blocks_of(rows[begins[at] : begins[at] + lengths[at]]):
                self._piece(block, f"columns/{sequence}")

    def _rows(self, sequence: int, bulk: Bulk, codes: Ints) -> Rows:
        """The rows that a bulk is where nothing stands in their way, sorted by (usage point as a word, channel, time)."""
        rows = np.empty(len(bulk.point), ROW)
        rows["point"] = codes[bulk.point]
        end_at = np.asarray(bulk.end_at, np.int64)
        rows["channel"], rows["end_at"], rows["exponent"] = bulk.channel, end_at, bulk.exponent
        rows["register"] = np.where(bulk.missing, 0, bulk.register)
        rows["unit"] = np.array([self._words.code(unit) for unit in bulk.units], np.int64)[bulk.unit]
        good = np.where(end_at > bulk.received_at + FUTURE, Quality.SUSPECT, Quality.MEASURED)
        rows["quality"] = np.where(bulk.missing, Quality.MISSING, good)
        rows["origin"], rows["profile"] = ORIGINS.index(bulk.origin), bulk.profile
        rows["version"], rows["method"] = 1, 0
        rows["recorded_at"], rows["batch"] = bulk.received_at, sequence
        number = (rows["point"].astype(np.int64) << CHANNELS) | rows["channel"]
        later = (number[1:] > number[:-1]) | ((number[1:] == number[:-1]) & (end_at[1:] >= end_at[:-1]))
        return rows if later.all() else pick(rows, np.lexsort((end_at, number)))

    def _not_rolled(self, bulk: Bulk, rows: Rows) -> Rows:
        """Without what came too late to be kept: the ledger alone has it."""
        horizon = self.state.rolled.horizon
        texts = self._words.texts
        pairs = np.unique(rows[["point", "channel"]])
        found = {(p, c): horizon(texts[p], bulk.medium, c) for p, c in pairs.tolist()}
        ends = np.array([found[pair] for pair in rows[["point", "channel"]].tolist()], np.int64)
        late = rows["end_at"] <= ends
        if late.any():
            self.state.reconciliation.note("refused", int(late.sum()))
            return pick(rows, ~late)
        return rows

    def _add_rows(self, rows: Rows, run: str) -> None:
        self._store.add_part(rows)
        self.state.reconciliation.note("stored", len(rows))
        counts, quality = self.state.counts, rows["quality"]
        missing = int(np.count_nonzero(quality == Quality.MISSING))
        counts["missing"] += missing
        counts["readings"] += len(rows) - missing
        if suspect := np.count_nonzero(quality == Quality.SUSPECT):
            counts["suspect"] += int(suspect)
            early = blocks_of(pick(rows, quality == Quality.SUSPECT))
            self.state.findings.extend(ahead(block, self._words, run) for block in early)
        measured = np.flatnonzero((quality == Quality.MEASURED) & (rows["channel"] == MAIN))
        points = rows["point"][measured]
        newest = pick(rows, measured[np.append(points[1:] != points[:-1], True)[: len(points)]])
        for point, at, receipt in newest[["point", "end_at", "recorded_at"]].tolist():
            if at > self.state.newest.get(point, (-1, 0))[0]:
                self.state.newest[point] = (at, receipt)
