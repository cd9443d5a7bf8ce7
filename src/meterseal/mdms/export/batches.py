"""Station MDMS, readings of many channels packed together as Arrow batches of numbers, for whoever computes over them.

It holds one batch; texts are numbers here, and what they stand for is said at the end.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from arro3.core import Array, DataType, Field, RecordBatch, RecordBatchReader, Schema
from arro3.io import write_ipc_stream
from numpy.typing import NDArray

from meterseal.mdms.store.rows import Rows, Words
from meterseal.model import Quality

ROWS = 200_000
"""Readings of one batch, about."""
_TYPES = {
    "point": DataType.int32(),
    "channel": DataType.int16(),
    "ended": DataType.int64(),
    "register": DataType.int64(),
    "exponent": DataType.int8(),
    "unit": DataType.int32(),
    "quality": DataType.int8(),
    "origin": DataType.int8(),
    "version": DataType.int16(),
    "method": DataType.int32(),
}
_SCHEMA = Schema([Field(name, kind, nullable=True) for name, kind in _TYPES.items()])
_DTYPES = (np.int32, np.int16, np.int64, np.int64, np.int8, np.int32, np.int8, np.int8, np.int16, np.int32)


class Batches:
    """Takes rows and gives IPC streams of one batch each."""

    def __init__(self) -> None:
        self.points: dict[tuple[str, str], int] = {}
        self.words: dict[str, int] = {}
        self.readings = 0
        self._parts: list[list[NDArray[np.generic]]] = []
        self._size = 0

    def add(self, rows: Rows, words: Words) -> list[bytes]:
        """Take visible rows in; the batches that are full."""
        point = _numbered(rows["point"], lambda word: self._point(words.texts[word], words.medium[word]))
        unit, method = (
            _numbered(rows[name], lambda word: self._word(words.texts[word])) for name in ("unit", "method")
        )
        own = {"point": point, "unit": unit, "method": method, "ended": rows["end_at"]}
        self._parts.append([own[name] if name in own else rows[name] for name in _TYPES])
        self._size += len(rows)
        self.readings += len(rows)
        return self.rest() if self._size >= ROWS else []

    def rest(self) -> list[bytes]:
        """What is left, as a batch; none when nothing is."""
        if not self._parts:
            return []
        joined = [
            np.concatenate(columns).astype(kind)
            for columns, kind in zip(zip(*self._parts, strict=True), _DTYPES, strict=True)
        ]
        missing = joined[6] == Quality.MISSING
        arrays = [Array(column) for column in joined]
        arrays[3] = Array(
            [None if gone else value for value, gone in zip(joined[3].tolist(), missing.tolist(), strict=True)],
            type=DataType.int64(),
        ) if missing.any() else arrays[3]  # fmt: skip
        out = io.BytesIO()
        batch = RecordBatch.from_arrays(arrays, schema=_SCHEMA)
        write_ipc_stream(RecordBatchReader.from_batches(_SCHEMA, [batch]), out, compression=None)
        self._parts, self._size = [], 0
        return [out.getvalue()]

    def _point(self, usage_point: str, medium: str) -> int:
        return self.points.setdefault((usage_point, medium), len(self.points))

    def _word(self, text: str) -> int:
        return self.words.setdefault(text, len(self.words))


def _numbered(column: NDArray[np.generic], number: Callable[[int], int]) -> NDArray[np.int64]:
    found, where = np.unique(column, return_inverse=True)
    return np.array([number(one) for one in found.tolist()], np.int64)[where]
