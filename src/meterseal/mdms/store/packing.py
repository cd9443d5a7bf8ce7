"""Station MDMS, integers as bytes: whole numpy columns in as few bytes as their changes need, and back.

Pure; it knows no reading. What is cheap here is cheap at rest and in the journal: a constant costs ten bytes, evenly
spaced times cost nothing, and a slowly moving column costs the width of its widest step.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from meterseal.errors import DataError

Ints = NDArray[np.int64]

_HEAD = struct.Struct("<BBI")
_FIRST = struct.Struct("<q")
_SAME, _RUNS, _PLAIN, _STEPS, _EVEN = range(5)
_WIDTHS = ((1, 0xFF), (2, 0xFFFF), (4, 0xFFFF_FFFF), (8, 0xFFFF_FFFF_FFFF_FFFF))


def pack(values: NDArray[np.generic]) -> bytes:
    """A column of integers as bytes: constant, as runs, as runs of steps, as steps or plain, whichever is shortest."""
    column = np.ascontiguousarray(values, np.int64)
    size = len(column)
    if not size:
        return _HEAD.pack(_PLAIN, 1, 0)
    moved = column[1:] != column[:-1]
    runs = int(np.count_nonzero(moved)) + 1
    if runs == 1:
        return _HEAD.pack(_SAME, 0, size) + _FIRST.pack(int(column[0]))
    if runs * 4 <= size:
        starts = np.append(0, np.flatnonzero(moved) + 1)
        return _HEAD.pack(_RUNS, 0, size) + pack(column[starts]) + pack(np.diff(starts, append=size))
    moves = np.diff(column)
    if int(np.count_nonzero(moves[1:] != moves[:-1])) * 4 <= size:
        return _HEAD.pack(_EVEN, 0, size) + _FIRST.pack(int(column[0])) + pack(moves)
    plain, steps = _zigzag(column), _zigzag(moves)
    wide, narrow = _width(plain), _width(steps)
    if narrow < wide:
        return _HEAD.pack(_STEPS, narrow, size) + _FIRST.pack(int(column[0])) + _planes(steps, narrow)
    return _HEAD.pack(_PLAIN, wide, size) + _planes(plain, wide)


class Unpacker:
    """Reads columns from bytes that `pack` made, one after the other. DataError `mdms.packed` for others."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def next(self) -> Ints:
        """The next column."""
        kind, width, size = self._head()
        if kind == _SAME:
            return np.full(size, self._first(), np.int64)
        if kind == _RUNS:
            values, lengths = self.next(), self.next()
            if len(values) != len(lengths) or int(lengths.sum()) != size or int(lengths.min(initial=1)) < 1:
                raise _strange()
            return np.repeat(values, lengths)
        if kind in (_STEPS, _EVEN):
            first = self._first()
            moves = self._numbers(width, size - 1) if kind == _STEPS else self.next()
            if len(moves) != size - 1:
                raise _strange()
            return np.cumsum(np.append(first, moves))
        if kind != _PLAIN:
            raise _strange()
        return self._numbers(width, size)

    @property
    def rest(self) -> int:
        """Bytes that were not read yet."""
        return len(self._content) - self._at

    def _head(self) -> tuple[int, int, int]:
        if self.rest < _HEAD.size:
            raise _strange()
        found = _HEAD.unpack_from(self._content, self._at)
        self._at += _HEAD.size
        return found

    def _first(self) -> int:
        if self.rest < _FIRST.size:
            raise _strange()
        (found,) = _FIRST.unpack_from(self._content, self._at)
        self._at += _FIRST.size
        return int(found)

    def _numbers(self, width: int, size: int) -> Ints:
        if width not in (1, 2, 4, 8) or size < 0 or self.rest < width * size:
            raise _strange()
        planes = np.frombuffer(self._content, np.uint8, width * size, self._at).reshape(width, size)
        self._at += width * size
        coded = np.ascontiguousarray(planes.T).view(f"<u{width}").reshape(size).astype(np.uint64)
        return (coded >> np.uint64(1)).view(np.int64) ^ -(coded & np.uint64(1)).view(np.int64)


def _zigzag(values: Ints) -> NDArray[np.uint64]:
    """Small numbers of either sign as small numbers."""
    return ((values << 1) ^ (values >> 63)).view(np.uint64)


def _width(coded: NDArray[np.uint64]) -> int:
    largest = int(coded.max(initial=0))
    return next(width for width, most in _WIDTHS if largest <= most)


def _planes(coded: NDArray[np.uint64], width: int) -> bytes:
    """All lowest bytes, then all second ones, and so on: a compressor finds more where few are wide."""
    narrow = coded.astype(f"<u{width}")
    return narrow.tobytes() if width == 1 else narrow.view(np.uint8).reshape(-1, width).T.tobytes()


def _strange() -> DataError:
    return DataError(
        "mdms.packed", "Packed columns end early or contradict themselves; they are not what was written."
    )
