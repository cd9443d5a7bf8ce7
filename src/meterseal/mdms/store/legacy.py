"""Station MDMS, segments of the first format (a whole Parquet file sealed at once): read once, to be written anew.

It writes none; a start converts what it finds, and a store has none of them afterwards.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from arro3.io import read_parquet

from meterseal.control.sealing import KeyRing
from meterseal.crypto.symmetric import equal, sm3
from meterseal.errors import TrustError
from meterseal.mdms.store.files import disk
from meterseal.mdms.store.rows import ROW, Rows, Words
from meterseal.mdms.store.segments import Segment, damaged
from meterseal.places import place

_WORDS = ("point", "unit", "method")


def read_first_format(directory: Path, segment: Segment, words: Words, keys: KeyRing) -> Rows:
    """The rows of a segment. Raises DataError `mdms.segment-damaged` when the file is not the one in the manifest."""
    path = directory / segment.path
    try:
        with disk(path):
            sealed = path.read_bytes() if path.exists() else b""
        if not equal(sm3(sealed), segment.digest):
            raise damaged(path)
        content = keys.open(sealed, place(segment.store_id, "segment", segment.id), segment.key_version)
    except TrustError as error:
        if error.code != "crypto.tag":
            raise
        raise damaged(path) from error
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
    for point in np.unique(rows["point"]).tolist():
        words.medium[point] = segment.medium
    return rows
