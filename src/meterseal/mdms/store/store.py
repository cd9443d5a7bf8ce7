"""Station MDMS, all stored rows together: recent blocks in memory, and segments opened when they are
asked for.

It reads and remembers; it commits nothing (journal), moves nothing (compactor) and judges nothing (VEE).

Memory is bounded: recent blocks by compaction, opened segments by a cache of `CACHE_BYTES`. What grows with
the fleet is one coverage per channel.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from threading import RLock

import numpy as np

from meterseal.control.sealing import KeyRing
from meterseal.mdms.store.coverage import Coverage
from meterseal.mdms.store.rows import ROW, Block, Key, Readings, Rows, Words, readings_of, rows_of, visible
from meterseal.mdms.store.segments import Segment, read_segment

CACHE_BYTES = 192 * 1024 * 1024
NO_ROWS = np.empty(0, ROW)


class Opened:
    """A segment in memory: its rows, and where each channel of each usage point stands in them."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.spans: dict[Key, tuple[int, int]] = {}
        if len(rows):
            point, channel = rows["point"], rows["channel"]
            edges = np.flatnonzero((np.diff(point) != 0) | (np.diff(channel) != 0)) + 1
            starts = [0, *edges.tolist()]
            ends = [*edges.tolist(), len(rows)]
            for start, end in zip(starts, ends, strict=True):
                self.spans[Key(int(point[start]), int(channel[start]))] = (start, end)


class Store:
    """Rows of every version by key and time. Every method may be called from any thread; `lock` guards
    all."""

    def __init__(self, directory: Path, keys: KeyRing, words: Words) -> None:
        self.lock = RLock()
        self.words = words
        self.directory = directory
        self.keys = keys
        self.segments: dict[str, Segment] = {}
        self.recent: dict[Key, list[Block]] = {}
        self.recent_rows = 0
        self.coverage: dict[Key, Coverage] = {}
        self._last_compacted: dict[Key, int] = {}
        self._opened: OrderedDict[str, Opened] = OrderedDict()
        self._opened_bytes = 0

    # --- what is there ----------------------------------------------------------------------------

    def rows(self, key: Key, since: int, until: int) -> Rows:
        """Every version with since <= end_at <= until, in no particular order.

        Raises DataError `mdms.segment-damaged`, EngineError `mdms.disk`.
        """
        with self.lock:
            parts = [rows_of(self._recent_touching(key, since, until))]
            if since <= self._last_compacted.get(key, -1):
                parts += self._segment_parts(key, since, until)
            rows = np.concatenate(parts)
        within = rows[(rows["end_at"] >= since) & (rows["end_at"] <= until)]
        assert isinstance(within, np.ndarray)
        return within

    def _recent_touching(self, key: Key, since: int, until: int) -> list[Block]:
        return [b for b in self.recent.get(key, ()) if b.start_at <= until and b.last_at >= since]

    def _segment_parts(self, key: Key, since: int, until: int) -> Iterable[Rows]:
        medium, text = self.words.medium.get(key.point), self.words.texts[key.point]
        for segment in list(self.segments.values()):
            if (
                segment.medium == medium
                and segment.first_end_at <= until
                and segment.last_end_at >= since
                and segment.first_usage_point <= text <= segment.last_usage_point
            ):
                opened = self.open(segment)
                if span := opened.spans.get(key):
                    yield opened.rows[span[0] : span[1]]

    def readings(self, usage_point: str, channel: int, since: int, until: int, as_of: int | None) -> Readings:
        """Visible readings with since <= end_at <= until, by the versions recorded up to `as_of`."""
        point = self.words.known(usage_point)
        rows = NO_ROWS if point is None else self.rows(Key(point, channel), since, until)
        return readings_of(visible(rows, as_of), self.words)

    def profile(self, key: Key, after: int, until: int) -> tuple[list[int], list[int]]:
        """Times and registers of the load profile as the meter delivered it, after < end_at <= until, in
        order."""
        with self.lock:
            if after + 1 > self._last_compacted.get(key, -1):
                blocks = [
                    b for b in self._recent_touching(key, after + 1, until) if b.profile and not b.method
                ]
                if all(b.quality != 3 for b in blocks):
                    return _delivered(blocks, after, until)
            rows = self.rows(key, after + 1, until)
        rows = rows[rows["profile"] & (rows["method"] == 0) & (rows["quality"] != 3)]
        rows = visible(rows)
        return rows["end_at"].tolist(), rows["register"].tolist()

    # --- what comes -------------------------------------------------------------------------------

    def add(self, block: Block) -> None:
        """Take a block into memory and its instants into the coverage."""
        with self.lock:
            self.recent.setdefault(block.key, []).append(block)
            self.recent_rows += len(block.registers)
            coverage = self.covered(block.key)
            if not coverage.touches(block.start_at, block.last_at):
                coverage.add(block.start_at, block.last_at, block.step if len(block.registers) > 1 else 0)
            elif len(block.registers) > 1:
                for at in range(block.start_at, block.last_at + 1, block.step):
                    if not coverage.touches(at, at):
                        coverage.add(at, at, 0)

    def covered(self, key: Key) -> Coverage:
        """The coverage of a key, empty if nothing of it was ever stored."""
        coverage = self.coverage.get(key)
        if coverage is None:
            coverage = self.coverage[key] = Coverage()
        return coverage

    # --- segments ---------------------------------------------------------------------------------

    def open(self, segment: Segment) -> Opened:
        """The rows of a segment, opened and kept while the cache has room."""
        with self.lock:
            opened = self._opened.get(segment.id)
            if opened is None:
                opened = Opened(read_segment(self.directory, segment, self.words, self.keys))
                self._opened[segment.id] = opened
                self._opened_bytes += opened.rows.nbytes
                while self._opened_bytes > CACHE_BYTES and len(self._opened) > 1:
                    _, oldest = self._opened.popitem(last=False)
                    self._opened_bytes -= oldest.rows.nbytes
            else:
                self._opened.move_to_end(segment.id)
            return opened

    def load(self, segments: Iterable[Segment]) -> None:
        """Take up the segments of the manifest at start: every one is opened once, which also proves it."""
        times: dict[Key, list[np.ndarray]] = {}
        for segment in segments:
            self.segments[segment.id] = segment
            opened = self.open(segment)
            for key, (start, end) in opened.spans.items():
                column = opened.rows["end_at"][start:end].astype(np.int64)
                times.setdefault(key, []).append(column)
                self._compacted(key, int(column[-1]))
        for key, columns in times.items():
            self.coverage[key] = Coverage.of(np.unique(np.concatenate(columns)))

    def swap(self, old: str, new: Segment) -> None:
        """The same rows stand in another file now."""
        with self.lock:
            del self.segments[old]
            self.segments[new.id] = new
            if (opened := self._opened.pop(old, None)) is not None:
                self._opened[new.id] = opened

    def replace(self, removed: Iterable[str], added: Iterable[tuple[Segment, Rows]], sequence: int) -> None:
        """Show new segments instead of old ones and of all blocks up to `sequence`."""
        with self.lock:
            for segment_id in removed:
                del self.segments[segment_id]
                if gone := self._opened.pop(segment_id, None):
                    self._opened_bytes -= gone.rows.nbytes
            for segment, rows in added:
                self.segments[segment.id] = segment
                opened = self._opened[segment.id] = Opened(rows)
                self._opened_bytes += rows.nbytes
                for key, (_, end) in opened.spans.items():
                    self._compacted(key, int(rows["end_at"][end - 1]))
            for key in list(self.recent):
                kept = [block for block in self.recent[key] if block.batch > sequence]
                if kept:
                    self.recent[key] = kept
                else:
                    del self.recent[key]
            self.recent_rows = sum(len(b.registers) for blocks in self.recent.values() for b in blocks)

    def _compacted(self, key: Key, last_at: int) -> None:
        self._last_compacted[key] = max(last_at, self._last_compacted.get(key, -1))


def _delivered(blocks: list[Block], after: int, until: int) -> tuple[list[int], list[int]]:
    found: dict[int, int] = {}
    for block in sorted(blocks, key=lambda b: b.version):
        times = range(
            block.start_at, block.start_at + (block.step or 1) * len(block.registers), block.step or 1
        )
        found.update(zip(times, block.registers, strict=True))
    times_in = sorted(at for at in found if after < at <= until)
    return times_in, [found[at] for at in times_in]
