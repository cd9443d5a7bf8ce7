"""Station MDMS, Arrow and Parquet: readings as typed columns that a data frame or a warehouse loads as they are.

It reads nothing back. Registers stay scaled integers beside their exponent: no float stands for a counted value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

import numpy as np
from arro3.core import Array, DataType, Field, RecordBatch, RecordBatchReader, Schema
from arro3.io import write_ipc_stream, write_parquet

from meterseal.errors import MetersealError
from meterseal.mdms.export.cim import quality_code
from meterseal.mdms.export.series import Exported
from meterseal.mdms.store.rows import ORIGINS
from meterseal.model import Quality

TEXT = DataType.string()
INSTANT = DataType.timestamp("ms", tz="UTC")
_FIELDS = [
    Field("usage_point", TEXT, nullable=False),
    Field("medium", TEXT, nullable=False),
    Field("channel", DataType.int16(), nullable=False),
    Field("end_at", INSTANT, nullable=False),
    Field("register", DataType.int64(), nullable=True),
    Field("exponent", DataType.int8(), nullable=False),
    Field("unit", TEXT, nullable=False),
    Field("quality", TEXT, nullable=False),
    Field("origin", TEXT, nullable=False),
    Field("version", DataType.int16(), nullable=False),
    Field("method", TEXT, nullable=False),
    Field("uncertainty", DataType.int64(), nullable=True),
    Field("reading_quality", TEXT, nullable=False),
]
SCHEMA = Schema(_FIELDS)
"""`uncertainty`: how many last digits the register may be off in nine cases of ten; `reading_quality`: IEC 61968-9."""
MULTIPLIED = Schema([*_FIELDS, Field("multiplier", TEXT, nullable=False)])
"""Once a multiplier was stated: an exact decimal number, by which the register's step up to that reading is multiplied;
empty where a meter was exchanged behind transformers and nobody said the new one's."""
_QUALITIES = [quality.name.lower() for quality in Quality]
_CODES = [quality_code(quality) for quality in Quality]


def write_arrow(series: Iterable[Exported], out: BinaryIO, *, multiplied: bool = False) -> int:
    """Write an Arrow IPC stream; returns how many readings. Errors of `series` pass through."""
    return _written(series, multiplied, lambda reader: write_ipc_stream(reader, out))


def write_parquet_file(series: Iterable[Exported], out: BinaryIO, *, multiplied: bool = False) -> int:
    """Write a Parquet file (zstd); returns how many readings. Errors of `series` pass through."""
    return _written(
        series,
        multiplied,
        lambda reader: write_parquet(
            reader, out, compression="zstd(3)", column_encoding={"end_at": "delta_binary_packed"}
        ),
    )


def _written(series: Iterable[Exported], multiplied: bool, write: Callable[[RecordBatchReader], None]) -> int:
    """Let `write` pull the batches; it turns every error of theirs into one of its own, so the first is kept and raised."""
    readings = 0
    failed: MetersealError | None = None

    def batches() -> Iterator[RecordBatch]:
        nonlocal readings, failed
        try:
            for one in series:
                batch = _batch(one, multiplied)
                readings += batch.num_rows
                yield batch
        except MetersealError as error:
            failed = error
            raise

    try:
        write(RecordBatchReader.from_batches(MULTIPLIED if multiplied else SCHEMA, batches()))
    except Exception:
        if failed is not None:
            raise failed from None
        raise
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
