"""Station MDMS, many segments read side by side: whole channels of one bucket, block after block, in order.

It keeps nothing; who scans or merges holds the sources open, and files stay readable while they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from meterseal.errors import DataError
from meterseal.mdms.columns import Columns, Lost
from meterseal.mdms.store.chunks import Chunk, channel_starts, field, kinds, rows_from
from meterseal.mdms.store.index import CHANNELS, Index, IndexMaker, key_of
from meterseal.mdms.store.packing import Ints
from meterseal.mdms.store.rows import EVER, Key, Rows, Words, together
from meterseal.mdms.store.segments import Bucket, SegmentFile
from meterseal.model import Quality

NO_CHUNK = Chunk(*(np.empty(0, np.int64) for _ in range(5)))
_NEVER = -EVER
"""An end_at that nobody asks for."""


class Source:
    """One segment, read from front to back; the chunk in hand is kept.

    A chunk that does not open raises DataError `mdms.segment-damaged`; where the source `bears` it, its rows are of no
    time, and `lost` has the channels, as numbers of keys, that stand in it.
    """

    def __init__(self, file: SegmentFile, index: Index, bucket: Bucket, *, bears: bool = False) -> None:
        self.bucket = bucket
        self._file = file
        self._index = index
        self._number = -1
        self._chunk = NO_CHUNK
        self._bears = bears
        self.lost: dict[int, Lost] = {}
        self.numbers: Ints = index.numbers
        self.rows: Ints = index.rows
        self.units: Ints = index.units
        self.methods: Ints = index.methods
        self.find = index.find_all

    def take(self, entries: Ints) -> Chunk:
        """The rows of these channels, rising, one after the other."""
        index = self._index
        starts, stops = index.row[entries], index.row[entries] + index.rows[entries]
        begins = np.append(0, np.flatnonzero(starts[1:] != stops[:-1]) + 1)
        pieces = [
            piece
            for start, stop in zip(
                starts[begins].tolist(), stops[np.append(begins[1:], len(entries)) - 1].tolist(), strict=True
            )
            for piece in self._pieces(start, stop)
        ]
        if len(pieces) == 1:
            return pieces[0]
        return Chunk._make([np.concatenate(columns) for columns in zip(*pieces, strict=True)])

    def _pieces(self, start: int, stop: int) -> Iterator[Chunk]:
        number = int(np.searchsorted(self._index.chunk_rows, start, "right")) - 1
        while start < stop:
            if number != self._number:
                self._chunk, self._number = self._opened(number), number
            before, after = (int(row) for row in self._index.chunk_rows[number : number + 2])
            yield self._chunk.part(start - before, min(stop, after) - before)
            start, number = after, number + 1

    def _opened(self, number: int) -> Chunk:
        try:
            return self._file.chunk(self._index, number)
        except DataError:
            if not self._bears:
                raise
        index = self._index
        first, end = (int(row) for row in index.chunk_rows[number : number + 2])
        for entry in np.flatnonzero((index.row < end) & (index.row + index.rows > first)).tolist():
            times = int(index.first[entry]), int(index.last[entry])
            self.lost[int(index.numbers[entry])] = Lost(*times, self._file.segment.path)
        nothing = np.zeros(end - first, np.int64)
        return Chunk(nothing + _NEVER, nothing, nothing, nothing, nothing)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class Memory:
    """Sorted rows in memory, asked as a segment is."""

    def __init__(self, rows: Rows, words: Words) -> None:
        maker = IndexMaker(words)
        starts = channel_starts(rows["point"], rows["channel"])
        unit, method = maker.local(rows)
        self.numbers: Ints = (rows["point"][starts].astype(np.int64) << CHANNELS) | rows["channel"][starts]
        self.rows: Ints = np.diff(starts, append=len(rows))
        self.units, self.methods = maker.dictionaries()
        self._row: Ints = starts
        self._order = np.argsort(self.numbers)
        self._sorted = self.numbers[self._order]
        self._all = Chunk(
            rows["end_at"].astype(np.int64),
            rows["register"].astype(np.int64),
            kinds(rows, unit, method),
            rows["recorded_at"].astype(np.int64),
            rows["batch"].astype(np.int64),
        )

    def find(self, numbers: Ints) -> Ints:
        """Which channel each number is here; -1 for none."""
        at = np.minimum(np.searchsorted(self._sorted, numbers), len(self._sorted) - 1)
        return np.where(self._sorted[at] == numbers, self._order[at], -1)

    def take(self, entries: Ints) -> Chunk:
        """The rows of these channels, one after the other."""
        which = _ranges(self._row[entries], self.rows[entries])
        return Chunk._make([column[which] for column in self._all])

    def close(self) -> None:
        """Nothing to let go of."""


Sources = Sequence[Source | Memory]


def blocks(sources: Sources, words: Words, bucket: Bucket, most: int) -> Iterator[Ints]:
    """Numbers of the keys in a bucket, sorted as segments are, in blocks of about `most` rows, at least one key."""
    if not sources:
        return
    numbers, which = np.unique(np.concatenate([one.numbers for one in sources]), return_inverse=True)
    rows = np.bincount(which, np.concatenate([one.rows for one in sources]), len(numbers)).astype(np.int64)
    if bucket.of > 1:
        here = words.hashes(numbers >> CHANNELS) % bucket.of == bucket.number
        numbers, rows = numbers[here], rows[here]
    if not len(numbers):
        return
    points = np.unique(numbers >> CHANNELS).tolist()
    rank = np.zeros(points[-1] + 1, np.int64)
    rank[sorted(points, key=words.texts.__getitem__)] = np.arange(len(points))
    order = np.lexsort((numbers & (1 << CHANNELS) - 1, rank[numbers >> CHANNELS]))
    numbers, rows = numbers[order], rows[order]
    start, before = 0, 0
    for at, total in enumerate(np.cumsum(rows).tolist()):
        if total - before > most and at > start:
            yield numbers[start:at]
            start, before = at, total - int(rows[at])
    yield numbers[start:]


def rows_of_keys(sources: Sources, numbers: Ints, within: tuple[int, int] | None = None) -> Rows:
    """Rows of every version of these keys, source after source; of a time `within` those of first <= end_at <= last."""
    parts = []
    for source in sources:
        found = source.find(numbers)
        entries = np.sort(found[found >= 0])
        if len(entries):
            of = np.repeat(source.numbers[entries], source.rows[entries])
            chunk = source.take(entries)
            if within is not None:
                there = (chunk.end_at >= within[0]) & (chunk.end_at <= within[1])
                if not there.all():
                    of, chunk = of[there], Chunk._make([column[there] for column in chunk])
            channel = of & (1 << CHANNELS) - 1
            parts.append(rows_from(chunk, of >> CHANNELS, channel, source.units, source.methods))
    return together(parts)


class _Delivered(NamedTuple):
    """What one source has of a block: rows of the load profile, and how many of them each key of the block has."""

    chunk: Chunk
    counts: Ints
    unit: Ints


def delivered(
    sources: Sources, numbers: Ints, since: int, until: int, back: int | None
) -> tuple[list[Key], Columns]:
    """The load profile of these keys as meters delivered it, since <= end_at <= until.

    Of each instant the highest version that a meter delivered with a value, unless a later one of method `back` (a
    word) takes it back; keys without any are left out. With None as `back` what came of it in doubts, edits and estimates
    counts as well, and shows instead of what was delivered.
    """
    found = [_delivered(one, numbers, since, until, back) for one in sources]
    found = [one for one in found if len(one.chunk.end_at)]
    counts = np.sum([one.counts for one in found], axis=0) if found else np.zeros(len(numbers), np.int64)
    starts = np.append(0, np.cumsum(counts))
    total = int(starts[-1])
    columns = [np.empty(total, np.int64) for _ in range(4)]
    used = starts[:-1].copy()
    last = np.full(len(numbers), -1, np.int64)
    clean = True
    for one in found:
        where = one.counts > 0
        begins = (np.cumsum(one.counts) - one.counts)[where]
        ends = begins + one.counts[where] - 1
        clean = clean and bool((one.chunk.end_at[begins] > last[where]).all())
        last[where] = one.chunk.end_at[ends]
        into = _ranges(used[where], one.counts[where])
        used += one.counts
        for column, values in zip(
            columns, (one.chunk.end_at, one.chunk.register, one.chunk.kind, one.unit), strict=True
        ):
            column[into] = values
    end_at, register, kind, unit = columns
    of = np.repeat(np.arange(len(numbers)), counts)
    # Repeats stand beside each other in one source, versions and late readings in several: then all is sorted anew.
    if not clean or bool(((end_at[1:] <= end_at[:-1]) & (of[1:] == of[:-1])).any()):
        batch = np.empty(total, np.int64)
        used = starts[:-1].copy()
        for one in found:
            batch[_ranges(used, one.counts)] = one.chunk.batch
            used += one.counts
        order = _in_order(of, end_at, field(kind, "version"), batch)
        end_at, of = end_at[order], of[order]
        shown = np.append((end_at[1:] != end_at[:-1]) | (of[1:] != of[:-1]), True) if total else order[:0]
        end_at, of = end_at[shown], of[shown]
        register, kind, unit = (column[order][shown] for column in (register, kind, unit))
        counts = np.bincount(of, minlength=len(numbers))
    gone = field(kind, "quality") == Quality.MISSING
    if gone.any():
        end_at, register, kind, unit, of = (column[~gone] for column in (end_at, register, kind, unit, of))
        counts = np.bincount(of, minlength=len(numbers))
    there = counts > 0
    return [key_of(number) for number in numbers[there].tolist()], Columns(
        starts=np.append(0, np.cumsum(counts[there])),
        end_at=end_at,
        register=register,
        exponent=field(kind, "exponent").astype(np.int8),
        quality=field(kind, "quality").astype(np.int8),
        unit=unit.astype(np.int32),
        meter=np.zeros(len(end_at), np.int32),
    )


def _in_order(of: Ints, end_at: Ints, version: Ints, batch: Ints) -> Ints:
    """The order of rows by channel and time, of one time by version, and of one version the first batch last."""
    span = int(end_at.max()) - int(end_at.min()) + 1
    if (int(of.max()) + 1) * span >= 1 << 62:
        return np.lexsort((-batch, version, end_at, of))
    # Rows stand nearly in order, and few of one time: a stable sort by one number takes a thirtieth of that.
    key = of * span + (end_at - end_at.min())
    order = np.argsort(key, kind="stable")
    same = np.diff(key[order]) == 0
    ties = np.flatnonzero(np.append(same, False) | np.append(False, same))
    rows = order[ties]
    order[ties] = rows[np.lexsort((-batch[rows], version[rows], key[rows]))]
    return order


def _delivered(
    source: Source | Memory, numbers: Ints, since: int, until: int, back: int | None
) -> _Delivered:
    entries = source.find(numbers)
    there = np.flatnonzero(entries >= 0)
    counts = np.zeros(len(numbers), np.int64)
    if not len(there):
        return _Delivered(NO_CHUNK, counts, NO_CHUNK.kind)
    # Both run in the order of segments, so the entries rise.
    chunk = source.take(entries[there])
    counts[there] = source.rows[entries[there]]
    kind = chunk.kind
    few = kind[:1] if (kind == kind[0]).all() else kind
    method = source.methods[field(few, "method")]
    good = (field(few, "profile") == 1) & (method == 0) & (field(few, "quality") != Quality.MISSING)
    # What takes back goes again below, with what it takes.
    good |= method != 0 if back is None else method == back
    unit = np.broadcast_to(source.units[field(few, "unit")], kind.shape)
    within = (chunk.end_at >= since) & (chunk.end_at <= until) & good
    if not within.all():
        of = np.repeat(np.arange(len(numbers)), counts)
        counts = np.bincount(of[within], minlength=len(numbers))
        chunk, unit = Chunk._make([column[within] for column in chunk]), unit[within]
    return _Delivered(chunk, counts, unit)


def _ranges(starts: Ints, counts: Ints) -> Ints:
    """start, start + 1, … of every start, so many."""
    before = np.cumsum(counts) - counts
    found: Ints = np.arange(int(counts.sum())) + np.repeat(starts - before, counts)
    return found
