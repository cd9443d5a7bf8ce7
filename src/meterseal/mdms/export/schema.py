"""Station MDMS, the columns of readings in Arrow and Parquet, by name and type. It fills none (`columns` does)."""

from __future__ import annotations

from arro3.core import DataType, Field, Schema

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
EARLIEST = Schema(_FIELDS[:-2])
"""Of deliveries from before these two columns, which a receiver still has."""
MULTIPLIED = Schema([*_FIELDS, Field("multiplier", TEXT, nullable=False)])
"""Once a multiplier was stated: an exact decimal number, by which the register's step up to that reading is multiplied;
empty where a meter was exchanged behind transformers and nobody said the new one's."""
