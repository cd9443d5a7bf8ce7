"""Station MDMS, a chunk: some 16,000 sorted rows of a segment as compressed columns, the unit that is sealed and opened.

It seals nothing and knows no file; where channels begin in a chunk stands in the segment's index.

Times and registers are kept as steps within a channel, everything that repeats (exponent, unit, quality, origin,
profile, method, version) as one number a row, in runs. What is a word in memory is a number of the segment's own
dictionary here.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from meterseal.errors import DataError
from meterseal.mdms.store.packing import Ints, Unpacker, pack
from meterseal.mdms.store.rows import ROW, Rows
from meterseal.model import Quality

CHUNK = 16_384
"""Rows in a chunk; the last one of a segment may have fewer."""
WORDS = 1 << 16
"""Units, and methods, that one segment can name."""
_LARGEST = 64 * 8 * CHUNK


class Field(NamedTuple):
    """Where a column stands in the number that says what kind a row is."""

    name: str
    shift: int
    bits: int
    less: int = 0


FIELDS = (
    Field("quality", 0, 3),
    Field("origin", 3, 1),
    Field("profile", 4, 1),
    Field("exponent", 5, 7, -64),
    Field("unit", 12, 16),
    Field("method", 28, 16),
    Field("version", 44, 15),
)
_BY_NAME = {field.name: field for field in FIELDS}


class Chunk(NamedTuple):
    """The rows of a chunk as columns of one length; `kind` holds the columns of FIELDS."""

    end_at: Ints
    register: Ints
    kind: Ints
    recorded_at: Ints
    batch: Ints

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(column.nbytes for column in self)

    def part(self, start: int, stop: int) -> Chunk:
        """Rows start <= k < stop, without a copy."""
        return Chunk._make([column[start:stop] for column in self])


def field(kind: Ints, name: str) -> Ints:
    """A column out of the kinds of rows."""
    where = _BY_NAME[name]
    return ((kind >> where.shift) & ((1 << where.bits) - 1)) + where.less


def kinds(rows: Rows, unit: Ints, method: Ints) -> Ints:
    """What kind each row is, given the segment's numbers of its unit and method."""
    found = np.zeros(len(rows), np.int64)
    for one in FIELDS:
        column = unit if one.name == "unit" else method if one.name == "method" else rows[one.name]
        if (column == column[0]).all():
            found |= (int(column[0]) - one.less) << one.shift
        else:
            found |= (column.astype(np.int64) - one.less) << one.shift
    return found


def encode(rows: Rows, starts: Ints, kind: Ints) -> bytes:
    """Sorted rows as bytes. `starts` are the rows at which a channel begins, 0 always among them."""
    end_at, register = rows["end_at"].astype(np.int64), rows["register"].astype(np.int64)
    missing = np.flatnonzero(rows["quality"] == Quality.MISSING)
    if len(missing):  # a hole holds the register before it, so that it costs no step
        held = np.arange(len(rows))
        held[missing] = 0
        held = np.maximum.accumulate(held)
        register = register[np.maximum(held, np.repeat(starts, np.diff(starts, append=len(rows))))]
    columns = (
        pack(end_at[starts]),
        pack(register[starts]),
        pack(_steps(end_at, starts)),
        pack(_steps(register, starts)),
        pack(kind),
        pack(rows["recorded_at"]),
        pack(rows["batch"]),
    )
    return zlib.compress(b"".join(columns), 1)


def decode(content: bytes, starts: Ints, size: int) -> Chunk:
    """The columns of `encode`; `starts` and the number of rows stand in the index. DataError `mdms.packed`."""
    inflate = zlib.decompressobj()
    try:
        plain = inflate.decompress(content, _LARGEST)
    except zlib.error:
        plain = b""
    if not inflate.eof:
        raise _strange()
    columns = Unpacker(plain)
    first_at, first_register, times, registers, kind, recorded_at, batch = (columns.next() for _ in range(7))
    rows = (times, registers, kind, recorded_at, batch)
    if {len(first_at), len(first_register)} != {len(starts)} or {len(column) for column in rows} != {size}:
        raise _strange()
    lengths = np.diff(starts, append=size)
    register = _sums(registers, starts, lengths, first_register)
    some = kind[:1] if size and (kind == kind[0]).all() else kind
    if (gone := field(some, "quality") == Quality.MISSING).any():
        register[gone if len(gone) == size else slice(None)] = 0
    return Chunk(_sums(times, starts, lengths, first_at), register, kind, recorded_at, batch)


def rows_from(chunk: Chunk, point: Ints | int, channel: Ints | int, units: Ints, methods: Ints) -> Rows:
    """The rows of a chunk in memory's shape; `units` and `methods` are the words behind the segment's numbers."""
    rows = np.empty(len(chunk.end_at), ROW)
    rows["point"], rows["channel"] = point, channel
    rows["end_at"], rows["register"] = chunk.end_at, chunk.register
    rows["recorded_at"], rows["batch"] = chunk.recorded_at, chunk.batch
    if len(rows) and (chunk.kind == chunk.kind[0]).all():
        kind: Ints = chunk.kind[:1]
    else:
        kind = chunk.kind
    for one in FIELDS:
        column = field(kind, one.name)
        rows[one.name] = (
            units[column] if one.name == "unit" else methods[column] if one.name == "method" else column
        )
    return rows


def channel_starts(point: NDArray[np.generic], channel: NDArray[np.generic]) -> Ints:
    """Where a channel begins in sorted rows; empty for no rows."""
    if not len(point):
        return np.empty(0, np.int64)
    return np.append(0, np.flatnonzero((point[1:] != point[:-1]) | (channel[1:] != channel[:-1])) + 1)


def _steps(column: Ints, starts: Ints) -> Ints:
    """Each row less the one before it; where a channel begins, the step after it, which costs least."""
    steps = np.empty_like(column)
    np.subtract(column[1:], column[:-1], out=steps[1:])
    steps[0] = 0
    steps[starts] = 0
    after = starts[starts + 1 < len(column)]
    steps[after] = steps[after + 1]
    return steps


def _sums(steps: Ints, starts: Ints, lengths: Ints, first: Ints) -> Ints:
    """The column again of its steps and of its first value in each channel."""
    steps[starts] = 0
    total = np.cumsum(steps)
    total += np.repeat(first - total[starts], lengths)
    return total


def _strange() -> DataError:
    return DataError("mdms.packed", "A chunk of a segment does not hold what its index says; it is not read.")
