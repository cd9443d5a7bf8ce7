"""Station MDMS, Arrow and Parquet: readings as typed columns that a data frame or a warehouse loads as they are.

It reads nothing back. Registers stay scaled integers beside their exponent: no float stands for a counted value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, cast

import numpy as np
from arro3.core import Array, DataType, RecordBatch, RecordBatchReader
from arro3.io import write_ipc_stream, write_parquet

from meterseal.errors import MetersealError
from meterseal.mdms.export.cim import quality_code
from meterseal.mdms.export.schema import INSTANT, MULTIPLIED, SCHEMA, TEXT
from meterseal.mdms.export.series import Exported
from meterseal.mdms.store.rows import ORIGINS
from meterseal.model import Quality

_QUALITIES = [quality.name.lower() for quality in Quality]
_CODES = [quality_code(quality) for quality in Quality]


def write_arrow(series: Iterable[Exported], out: BinaryIO, *, multiplied: bool = False) -> int:
    """Write an Arrow IPC stream; returns how many readings. Errors of `series` pass through."""
    return _written(series, out, multiplied, lambda reader, sink: write_ipc_stream(reader, sink))


def write_parquet_file(series: Iterable[Exported], out: BinaryIO, *, multiplied: bool = False) -> int:
    """Write a Parquet file (zstd); returns how many readings. Errors of `series` pass through."""
    return _written(
        series,
        out,
        multiplied,
        lambda reader, sink: write_parquet(
            reader, sink, compression="zstd(3)", column_encoding={"end_at": "delta_binary_packed"}
        ),
    )


class _Sink:
    """A file that takes everything once its disk took something no more: the library panics over what a file raises."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self.failed: OSError | None = None

    def write(self, content: bytes) -> int:
        if self.failed is None:
            try:
                self._out.write(content)
            except OSError as error:
                self.failed = error
        return len(content)

    def flush(self) -> None:
        if self.failed is None:
            try:
                self._out.flush()
            except OSError as error:
                self.failed = error

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._out.seek(offset, whence)


def _written(
    series: Iterable[Exported],
    out: BinaryIO,
    multiplied: bool,
    write: Callable[[RecordBatchReader, BinaryIO], None],
) -> int:
    """Let `write` pull the batches; it turns every error of theirs into one of its own, so the first is kept and raised.
    OSError of `out`.
    """
    readings = 0
    failed: MetersealError | None = None
    sink = _Sink(out)

    def batches() -> Iterator[RecordBatch]:
        nonlocal readings, failed
        try:
            for one in series:
                batch = _batch(one, multiplied)
                readings += batch.num_rows
                yield batch
                if sink.failed is not None:
                    return
        except MetersealError as error:
            failed = error
            raise

    try:
        write(
            RecordBatchReader.from_batches(MULTIPLIED if multiplied else SCHEMA, batches()),
            cast(BinaryIO, sink),
        )
    except Exception:
        if failed is not None:
            raise failed from None
        raise
    if sink.failed is not None:
        raise sink.failed
    return readings


def _batch(one: Exported, multiplied: bool) -> RecordBatch:
    columns = one.columns()
    size, halves = len(columns.end_at), one.halves
    register = [
        None if missing else value
        for value, missing in zip(
            columns.register.tolist(), (columns.quality == Quality.MISSING).tolist(), strict=True
        )
    ]
    return RecordBatch.from_arrays(
        [
            _text([one.usage_point] * size),
            _text([one.medium] * size),
            Array(np.full(size, one.channel, np.int16)),
            Array(columns.end_at.copy()).cast(INSTANT),
            Array(register, type=DataType.int64()),
            Array(np.full(size, one.exponent, np.int8)),
            _text([one.unit] * size),
            _text([_QUALITIES[code] for code in columns.quality.tolist()]),
            _text([ORIGINS[code] for code in columns.origin.tolist()]),
            Array(columns.version.copy()),
            _text([one.methods[code] for code in columns.method.tolist()]),
            Array([halves[code] for code in columns.method.tolist()], type=DataType.int64()),
            _text([_CODES[code] for code in columns.quality.tolist()]),
            *([_text([one.multiplier] * size)] if multiplied else ()),
        ],
        schema=MULTIPLIED if multiplied else SCHEMA,
    )


def _text(values: list[str]) -> Array:
    return Array(values, type=TEXT)
