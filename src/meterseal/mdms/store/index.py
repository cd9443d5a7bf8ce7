"""Station MDMS, the index of a segment: which channel stands in which rows, when, and where its readings may be.

It opens nothing and reads no register; `segments` seals it, `shelf` keeps it.

For every channel: its rows, first and last instant, the newest measured reading, and its coverage as runs. A run is
coarse on purpose: an instant inside may have no reading, an instant outside of all runs has none.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import cached_property

import msgspec
import numpy as np

from meterseal.crypto.symmetric import GCM_TAG
from meterseal.errors import DataError
from meterseal.mdms.store.packing import Ints, Unpacker, pack
from meterseal.mdms.store.rows import EVER, Key, Rows, Words
from meterseal.model import Medium, Quality

CHANNELS = 7
"""Bits of a channel in the number of a key."""
RUNS = 64
"""Runs of one channel in one segment; a channel with more of them has one."""


def number_of(key: Key) -> int:
    """One integer for a channel of a usage point."""
    return key.point << CHANNELS | key.channel


def key_of(number: int) -> Key:
    """The channel again."""
    return Key(number >> CHANNELS, number & (1 << CHANNELS) - 1)


class _Parts(msgspec.Struct, frozen=True, array_like=True):
    """The bytes of an index."""

    points: list[str]
    units: list[str]
    methods: list[str]
    columns: bytes
    tags: bytes


class IndexMaker:
    """Collects an index while the rows of a segment go by."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._units: dict[int, int] = {}
        self._methods: dict[int, int] = {}
        self._numbers: list[Ints] = []
        self._rows: list[Ints] = []
        self._end_at: list[Ints] = []
        self._newest: list[tuple[Ints, Ints]] = []
        self._tags: list[bytes] = []
        self.sizes: list[int] = []
        self._lengths: list[int] = []

    @property
    def words(self) -> int:
        """Entries of the larger dictionary."""
        return max(len(self._units), len(self._methods))

    def local(self, rows: Rows) -> tuple[Ints, Ints]:
        """Unit and method of every row as numbers of this segment."""
        return _local(rows["unit"], self._units), _local(rows["method"], self._methods)

    def dictionaries(self) -> tuple[Ints, Ints]:
        """The words behind the numbers of units and of methods."""
        return np.array(list(self._units), np.int64), np.array(list(self._methods), np.int64)

    def add(self, rows: Rows, starts: Ints, size: int, tag: bytes) -> None:
        """Take in a chunk: sorted rows, where channels begin in them, its bytes and its tag."""
        end_at = rows["end_at"].astype(np.int64)
        self._numbers.append((rows["point"][starts].astype(np.int64) << CHANNELS) | rows["channel"][starts])
        self._rows.append(np.diff(starts, append=len(rows)))
        self._end_at.append(end_at)
        at = np.where(rows["quality"] == Quality.MEASURED, np.arange(len(rows)), -1)
        last = np.maximum.reduceat(at, starts)
        known = last >= 0
        found = np.where(known, end_at[last], -1), np.where(known, rows["recorded_at"][last], -1)
        self._newest.append(found)
        self._tags.append(tag)
        self.sizes.append(size)
        self._lengths.append(len(rows))

    def encode(self) -> bytes:
        """The bytes of the index."""
        numbers, lengths = np.concatenate(self._numbers), np.concatenate(self._rows)
        newest_at, newest_receipt = (np.concatenate(column) for column in zip(*self._newest, strict=True))
        end_at = np.concatenate(self._end_at)
        begins = np.append(0, np.flatnonzero(numbers[1:] != numbers[:-1]) + 1)
        rows = np.add.reduceat(lengths, begins)
        # A channel that goes on in a later chunk has its newest measured reading in the last that has one.
        best = np.where(newest_at >= 0, np.arange(len(newest_at)), -1)
        best = np.maximum.reduceat(best, begins)
        newest_at = np.where(best >= 0, newest_at[best], -1)
        newest_receipt = np.where(best >= 0, newest_receipt[best], -1)
        numbers = numbers[begins]
        row = np.cumsum(rows) - rows
        counts, first, last = _runs(end_at, row)
        point = numbers >> CHANNELS
        change = np.append(0, np.flatnonzero(point[1:] != point[:-1]) + 1)
        texts = self._words.texts
        columns = (
            np.repeat(np.arange(len(change)), np.diff(change, append=len(point))),
            numbers & (1 << CHANNELS) - 1,
            rows,
            end_at[row],
            end_at[row + rows - 1],
            newest_at,
            newest_receipt,
            counts,
            first,
            last,
            np.array(self._lengths, np.int64),
            np.array(self.sizes, np.int64),
        )
        return msgspec.msgpack.encode(
            _Parts(
                [texts[code] for code in point[change].tolist()],
                [texts[code] for code in self._units],
                [texts[code] for code in self._methods],
                b"".join(pack(column) for column in columns),
                b"".join(self._tags),
            )
        )


class Index:
    """An opened index. Channel e has the rows row[e]:row[e] + rows[e] and the runs run[e]:run[e + 1].

    Raises DataError `mdms.packed` when the bytes contradict themselves.
    """

    def __init__(self, content: bytes, words: Words, medium: Medium) -> None:
        self._words = words
        self._medium: Medium = medium
        try:
            self._parts = msgspec.msgpack.decode(content, type=_Parts)
        except msgspec.MsgspecError as error:
            raise DataError("mdms.packed", "An index of a segment is not one; it is not read.") from error
        columns = Unpacker(self._parts.columns)
        self._point, self._channel, self.rows, self.first, self.last = (columns.next() for _ in range(5))
        self.newest_at, self.newest_receipt, counts, self.run_first, self.run_last = (
            columns.next() for _ in range(5)
        )
        lengths, self.sizes = columns.next(), columns.next()
        self.units: Ints = np.array([words.code(text) for text in self._parts.units], np.int64)
        self.methods: Ints = np.array([words.code(text) for text in self._parts.methods], np.int64)
        self.row: Ints = np.cumsum(self.rows) - self.rows
        self.run: Ints = np.append(0, np.cumsum(counts))
        self.chunk_rows: Ints = np.append(0, np.cumsum(lengths))
        self.offsets: Ints = np.cumsum(self.sizes) - self.sizes

    @cached_property
    def numbers(self) -> Ints:
        """The number of each channel (`number_of`), in the order of the segment; all its usage points are words then."""
        codes = [self._words.code(text) for text in self._parts.points]
        self._words.medium.update(dict.fromkeys(codes, self._medium))
        found: Ints = np.array(codes, np.int64)[self._point] << CHANNELS | self._channel
        return found

    @cached_property
    def _order(self) -> tuple[Ints, Ints]:
        order = np.argsort(self.numbers)
        return order, self.numbers[order]

    @property
    def nbytes(self) -> int:
        """Bytes in memory, about."""
        return 13 * 8 * len(self.rows) + 2 * 8 * len(self.run_first) + 60 * len(self._parts.points)

    def tag(self, number: int) -> bytes:
        """The tag under which a chunk was sealed."""
        return self._parts.tags[number * GCM_TAG : (number + 1) * GCM_TAG]

    def with_tags(self, tags: list[bytes]) -> bytes:
        """The bytes of the same index over chunks that were sealed again."""
        return msgspec.msgpack.encode(msgspec.structs.replace(self._parts, tags=b"".join(tags)))

    def chunks(self, entry: int) -> range:
        """The numbers of the chunks in which a channel's rows stand."""
        start = int(self.row[entry])
        first, end = np.searchsorted(
            self.chunk_rows, (start, start + int(self.rows[entry]) - 1), "right"
        ).tolist()
        return range(first - 1, end)

    def names(self, usage_point: str) -> bool:
        """Is this usage point in the segment?"""
        at = bisect_left(self._parts.points, usage_point)
        return at < len(self._parts.points) and self._parts.points[at] == usage_point

    def find(self, key: Key) -> int | None:
        """Which channel of the segment this is, if it is in it."""
        text = self._words.texts[key.point]
        if not self.names(text):
            return None
        at = bisect_left(self._parts.points, text)
        start, stop = np.searchsorted(self._point, (at, at + 1)).tolist()
        found = np.flatnonzero(self._channel[start:stop] == key.channel)
        return start + int(found[0]) if len(found) else None

    def find_all(self, numbers: Ints) -> Ints:
        """The same for many numbers of keys; -1 where one is not in it."""
        order, sorted_ = self._order
        at = np.minimum(np.searchsorted(sorted_, numbers), len(sorted_) - 1)
        return np.where(sorted_[at] == numbers, order[at], -1)

    def touches(self, entry: int, first: int, last: int) -> bool:
        """Does any run of a channel reach into [first, last]?"""
        runs = slice(int(self.run[entry]), int(self.run[entry + 1]))
        at = int(np.searchsorted(self.run_last[runs], first))
        here = self.run_first[runs]
        return at < len(here) and int(here[at]) <= last


def _local(column: np.ndarray[tuple[int], np.dtype[np.int32]], known: dict[int, int]) -> Ints:
    first = int(column[0])
    if (column == first).all():
        return np.full(len(column), known.setdefault(first, len(known)), np.int64)
    found, which = np.unique(column, return_inverse=True)
    return np.array([known.setdefault(code, len(known)) for code in found.tolist()], np.int64)[which]


def _runs(end_at: Ints, row: Ints) -> tuple[Ints, Ints, Ints]:
    """How many runs each channel has, and the first and last instant of each run."""
    step = np.empty_like(end_at)
    step[0] = 0
    np.subtract(end_at[1:], end_at[:-1], out=step[1:])
    step[row] = 0
    lengths = np.diff(row, append=len(end_at))
    usual = np.minimum.reduceat(np.where(step > 0, step, EVER), row)
    begins = step > np.repeat(usual, lengths)
    counts = np.add.reduceat(begins.astype(np.int64), row)
    if len(many := np.flatnonzero(counts >= RUNS)):
        begins[np.repeat(np.isin(np.arange(len(row)), many), lengths)] = False
        counts[many] = 0
    begins[row] = True
    starts = np.flatnonzero(begins)
    return counts + 1, end_at[starts], end_at[np.append(starts[1:], len(end_at)) - 1]
