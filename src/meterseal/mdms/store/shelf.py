"""Station MDMS, the shelf: indices and chunks of segments that were opened lately, bounded in bytes.

It chooses no segment (`catalogue` does) and holds nothing that the files do not hold.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from pathlib import Path
from threading import Lock
from typing import Generic, Protocol, TypeVar

import numpy as np

from meterseal.control.sealing import KeyRing
from meterseal.mdms.store.chunks import Chunk, rows_from
from meterseal.mdms.store.index import Index
from meterseal.mdms.store.rows import ROW, Key, Rows, Words, together
from meterseal.mdms.store.segments import Segment, SegmentFile

INDEX_BYTES = 64 * 1024 * 1024
CHUNK_BYTES = 64 * 1024 * 1024
NO_ROWS: Rows = np.empty(0, ROW)


class _Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


Kept = TypeVar("Kept", bound=_Sized)


class _Cache(Generic[Kept]):
    """What was used last, up to so many bytes, and always the newest."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._bytes = 0
        self._lock = Lock()
        self._kept: OrderedDict[Hashable, Kept] = OrderedDict()

    def get(self, name: Hashable) -> Kept | None:
        with self._lock:
            found = self._kept.get(name)
            if found is not None:
                self._kept.move_to_end(name)
            return found

    def put(self, name: Hashable, one: Kept) -> None:
        with self._lock:
            if name in self._kept:
                return
            self._kept[name] = one
            self._bytes += one.nbytes
            while self._bytes > self._most and len(self._kept) > 1:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= oldest.nbytes


class Shelf:
    """Opened parts of segments. Any thread; raises as `segments.SegmentFile`."""

    def __init__(self, directory: Path, keys: KeyRing, words: Words) -> None:
        self._directory = directory
        self._keys = keys
        self._words = words
        self._indices: _Cache[Index] = _Cache(INDEX_BYTES)
        self._chunks: _Cache[Chunk] = _Cache(CHUNK_BYTES)

    def file(self, segment: Segment) -> SegmentFile:
        """The file itself; the caller closes it."""
        return SegmentFile(self._directory, segment, self._keys)

    def index(self, segment: Segment) -> Index:
        """The index of a segment."""
        found = self._indices.get(segment.id)
        if found is None:
            with self.file(segment) as file:
                found = file.index(self._words)
            self._indices.put(segment.id, found)
        return found

    def rows(self, segment: Segment, key: Key, since: int, until: int) -> Rows:
        """Rows of every version of one channel with since <= end_at <= until."""
        index = self.index(segment)
        entry = index.find(key)
        if entry is None or index.first[entry] > until or index.last[entry] < since:
            return NO_ROWS
        start = int(index.row[entry])
        stop = start + int(index.rows[entry])
        parts = []
        for number in index.chunks(entry):
            chunk = self._chunk(segment, index, number)
            before = int(index.chunk_rows[number])
            here = chunk.part(max(0, start - before), min(len(chunk.end_at), stop - before))
            first, last = np.searchsorted(here.end_at, (since, until + 1)).tolist()
            if first < last:
                inside = here.part(first, last)
                parts.append(rows_from(inside, key.point, key.channel, index.units, index.methods))
        return parts[0] if len(parts) == 1 else together(parts)

    def _chunk(self, segment: Segment, index: Index, number: int) -> Chunk:
        name = (segment.id, number)
        found = self._chunks.get(name)
        if found is None:
            with self.file(segment) as file:
                found = file.chunk(index, number)
            self._chunks.put(name, found)
        return found
