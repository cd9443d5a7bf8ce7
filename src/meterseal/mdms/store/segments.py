"""Station MDMS, the resting place: immutable columnar segments, Parquet bytes sealed as one file.

It does not choose what goes into which segment; the compactor does, and the manifest remembers it.

Rows are sorted by usage point, channel, time and version. Times and registers are delta-coded, everything
else repeats and goes into dictionaries: about a byte a reading for hourly registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from arro3.core import Array, DataType, Table
from arro3.io import read_parquet, write_parquet
from msgspec import Struct
from msgspec.structs import replace

from meterseal.control.sealing import KeyRing, place
from meterseal.crypto.symmetric import equal, sm3
from meterseal.errors import DataError, TrustError
from meterseal.mdms.store.files import disk, place_file
from meterseal.mdms.store.rows import ROW, Rows, Words
from meterseal.model import Medium

SUFFIX = ".segment"
_WORDS = ("point", "unit", "method")
_DELTA = ("end_at", "register")


class Segment(Struct, frozen=True, kw_only=True):
    """One row of the manifest."""

    id: str
    store_id: str
    medium: Medium
    month: int
    path: str
    key_version: int
    rows: int
    digest: bytes
    first_usage_point: str
    last_usage_point: str
    first_end_at: int
    last_end_at: int
    journal_first: int
    journal_last: int
    created_at: int
    size: int


def sort_rows(rows: Rows, words: Words) -> Rows:
    """Order of a segment: usage point (as text), channel, time, version."""
    points = np.unique(rows["point"])
    ranked = sorted(points.tolist(), key=lambda point: words.texts[point])
    rank = np.zeros(max(ranked, default=0) + 1, np.int64)
    rank[ranked] = np.arange(len(ranked))
    sorted_rows = rows[np.lexsort((rows["version"], rows["end_at"], rows["channel"], rank[rows["point"]]))]
    assert isinstance(sorted_rows, np.ndarray)
    return sorted_rows


def encode(rows: Rows, words: Words) -> bytes:
    """Parquet bytes of rows in segment order; every column that is a word is written as its text."""
    columns: dict[str, Any] = {}
    for name in ROW.names or ():
        values = rows[name].copy()  # packed: a view into rows has their stride
        if values.dtype == np.bool_:
            values = values.view(np.int8)
        if name in _WORDS:
            texts = np.array(words.texts, dtype=object)[values].tolist()
            columns[name] = Array(texts, type=DataType.string())
        else:
            columns[name] = Array(values)
    out = BytesIO()
    write_parquet(
        Table.from_pydict(columns),
        out,
        compression="zstd(3)",
        column_encoding=dict.fromkeys(_DELTA, "delta_binary_packed"),
        column_dictionary_enabled=dict.fromkeys(_DELTA, False),
        skip_arrow_metadata=True,
    )
    return out.getvalue()


def decode(content: bytes, words: Words) -> Rows:
    """The rows of `encode`, words numbered as this process numbers them."""
    table = read_parquet(BytesIO(content)).read_all()
    rows = np.empty(table.num_rows, ROW)
    for name in ROW.names or ():
        column = table.column(name)
        if name in _WORDS:
            texts = column.to_pylist()
            codes: dict[str, int] = {text: words.code(text) for text in set(texts)}
            rows[name] = np.fromiter(map(codes.__getitem__, texts), np.int32, len(texts))
        else:
            rows[name] = column.to_numpy()
    return rows


def write_segment(
    directory: Path,
    rows: Rows,
    words: Words,
    keys: KeyRing,
    *,
    store_id: str,
    medium: Medium,
    month: int,
    serial: str,
) -> Segment:
    """Seal sorted rows into a new durable file and describe it. Raises EngineError `mdms.full`,
    `mdms.disk`."""
    segment_id = f"{medium}-{month}-{serial}"
    version = keys.version
    sealed = keys.seal(encode(rows, words), place(store_id, "segment", segment_id), version)
    name = segment_id + SUFFIX
    place_file(directory / name, sealed)
    return Segment(
        id=segment_id,
        store_id=store_id,
        medium=medium,
        month=month,
        path=name,
        key_version=version,
        rows=len(rows),
        size=len(sealed),
        digest=sm3(sealed),
        first_usage_point=words.texts[int(rows["point"][0])],
        last_usage_point=words.texts[int(rows["point"][-1])],
        first_end_at=int(rows["end_at"].min()),
        last_end_at=int(rows["end_at"].max()),
        journal_first=int(rows["batch"].min()),
        journal_last=int(rows["batch"].max()),
        created_at=int(rows["recorded_at"].max()),
    )


def read_segment(directory: Path, segment: Segment, words: Words, keys: KeyRing) -> Rows:
    """Open a segment. Raises DataError `mdms.segment-damaged` when the file is not the one in the
    manifest."""
    rows = decode(_content(directory, segment, keys), words)
    for point in np.unique(rows["point"]).tolist():
        words.medium[point] = segment.medium
    return rows


def seal_again(directory: Path, segment: Segment, keys: KeyRing) -> Segment:
    """A new durable file with the content of a segment under the newest key version, and its row of the manifest.

    The old file stays. Raises as `read_segment` and `write_segment`.
    """
    content = _content(directory, segment, keys)
    version = keys.version
    segment_id = f"{segment.id.partition('.')[0]}.{version}"
    sealed = keys.seal(content, place(segment.store_id, "segment", segment_id), version)
    name = segment_id + SUFFIX
    place_file(directory / name, sealed)
    return replace(
        segment, id=segment_id, path=name, key_version=version, size=len(sealed), digest=sm3(sealed)
    )


def _content(directory: Path, segment: Segment, keys: KeyRing) -> bytes:
    path = directory / segment.path
    try:
        with disk(path):
            sealed = path.read_bytes() if path.exists() else b""
        if not equal(sm3(sealed), segment.digest):
            raise damaged(path)
        return keys.open(sealed, place(segment.store_id, "segment", segment.id), segment.key_version)
    except TrustError as error:
        if error.code != "crypto.tag":
            raise
        raise damaged(path) from error


def damaged(path: Path) -> DataError:
    """The error that names a file that is not what was stored."""
    return DataError(
        "mdms.segment-damaged",
        f"{path} is missing, or is not the file that was stored there: changed, moved or swapped. Restore it "
        "from a backup; readings in it are not shown until then.",
    )


def months(times: Sequence[int] | np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Month in UTC of Unix milliseconds, as 202611."""
    month = np.asarray(times, np.int64).astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
    return (1970 + month // 12) * 100 + month % 12 + 1
