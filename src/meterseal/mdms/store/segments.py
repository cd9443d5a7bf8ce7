"""Station MDMS, the resting place: immutable segments of sealed chunks, written once, and their rows of the manifest.

It does not choose what goes into which segment (`compact` does) and caches nothing (`shelf` does).

A segment holds one medium, one month and one bucket of usage points, sorted by usage point (as text), channel, time and
version. A file is chunk 0 ‖ chunk 1 ‖ … ‖ index ‖ length of the index (4) ‖ MAGIC. Every chunk and the index is
sealed by itself, bound to store, segment and chunk number; the index holds the tags of the chunks, and the manifest the
SM3 of index and footer. So a changed, moved or missing byte is found where it is read, and nothing else is lost by it.
"""

from __future__ import annotations

import errno
import os
import secrets
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from meterseal.control.sealing import KeyRing
from meterseal.crypto.symmetric import GCM_TAG, equal, sm3
from meterseal.errors import DataError, EngineError, TrustError
from meterseal.mdms.store.chunks import CHUNK, WORDS, Chunk, channel_starts, decode, encode, kinds
from meterseal.mdms.store.files import NewFile, disk
from meterseal.mdms.store.index import Index, IndexMaker
from meterseal.mdms.store.rows import EVER, Rows, Words
from meterseal.model import Medium
from meterseal.places import place

SUFFIX = ".segment"
MAGIC = b"MSR2"
_FOOTER = 4 + len(MAGIC)
_SPARE = 2 * CHUNK
"""Words that the rows of one more chunk could bring, a unit and a method each."""


class Bucket(NamedTuple):
    """Usage points whose hash leaves `number` when divided by `of`, a power of two."""

    number: int = 0
    of: int = 1

    def holds(self, hashed: int) -> bool:
        """Does a usage point of this hash belong here?"""
        return hashed % self.of == self.number

    def meets(self, other: Bucket) -> bool:
        """Can a usage point be in both?"""
        of = min(self.of, other.of)
        return self.number % of == other.number % of


class Segment(Struct, frozen=True, kw_only=True):
    """One row of the manifest. The bucket stands in the id, `electricity-202611-3of8-…`, to which seals are bound."""

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

    @property
    def bucket(self) -> Bucket | None:
        """Which usage points are in it; None for a segment of the first format."""
        parts = self.id.split("-")
        if len(parts) != 4:
            return None
        number, _, of = parts[2].partition("of")
        return Bucket(int(number), int(of))


class SegmentWriter:
    """Writes one segment in one pass. Raises EngineError `mdms.full`, `mdms.disk`; then call `drop`."""

    def __init__(
        self,
        directory: Path,
        keys: KeyRing,
        words: Words,
        *,
        store_id: str,
        medium: Medium,
        month: int,
        bucket: Bucket,
        serial: int,
    ) -> None:
        self._keys = keys
        self._words = words
        self._version = keys.version
        # The token makes every file another place: nothing of an attempt that a crash ended opens as a later one's.
        name = f"{medium}-{month}-{bucket.number}of{bucket.of}-{serial:012d}{secrets.token_hex(4)}"
        self._segment = Segment(
            id=name,
            store_id=store_id,
            medium=medium,
            month=month,
            path=name + SUFFIX,
            key_version=self._version,
            rows=0,
            digest=b"",
            first_usage_point="",
            last_usage_point="",
            first_end_at=EVER,
            last_end_at=-1,
            journal_first=EVER,
            journal_last=-1,
            created_at=-1,
            size=0,
        )
        self._index = IndexMaker(words)
        self._file = NewFile(directory / self._segment.path)

    @property
    def full(self) -> bool:
        """Begin another segment: the dictionaries of this one could not take the words of one more chunk."""
        return self._index.words > WORDS - _SPARE

    @property
    def rows(self) -> int:
        """Rows so far."""
        return self._segment.rows

    def add(self, rows: Rows) -> None:
        """Write sorted rows that come after those before; at most CHUNK, best exactly so many."""
        starts = channel_starts(rows["point"], rows["channel"])
        unit, method = self._index.local(rows)
        content = encode(rows, starts, kinds(rows, unit, method))
        sealed = self._keys.seal(content, chunk_place(self._segment, len(self._index.sizes)), self._version)
        self._file.write(sealed)
        self._index.add(rows, starts, len(sealed), sealed[-GCM_TAG:])
        one, texts = self._segment, self._words.texts
        self._segment = replace(
            one,
            rows=one.rows + len(rows),
            first_usage_point=one.first_usage_point or texts[int(rows["point"][0])],
            last_usage_point=texts[int(rows["point"][-1])],
            first_end_at=min(one.first_end_at, int(rows["end_at"].min())),
            last_end_at=max(one.last_end_at, int(rows["end_at"].max())),
            journal_first=min(one.journal_first, int(rows["batch"].min())),
            journal_last=max(one.journal_last, int(rows["batch"].max())),
            created_at=max(one.created_at, int(rows["recorded_at"].max())),
        )

    def finish(self) -> Segment:
        """Make it durable and describe it."""
        content = zlib.compress(self._index.encode(), 1)
        sealed = self._keys.seal(content, _index_place(self._segment), self._version)
        end = sealed + len(sealed).to_bytes(4) + MAGIC
        self._file.write(end)
        self._file.place()
        return replace(self._segment, size=self._file.size, digest=sm3(end))

    def drop(self) -> None:
        """Take back what was written."""
        self._file.drop()


class SegmentFile:
    """One open segment file; it stays readable while a compaction takes its name away. Close it.

    Everything raises DataError `mdms.segment-damaged` where the file is not what was stored, naming it; the chunks that
    are whole stay readable. TrustError `sealing.key` when the key version is not there.
    """

    def __init__(self, directory: Path, segment: Segment, keys: KeyRing) -> None:
        self.segment = segment
        self._path = directory / segment.path
        self._keys = keys
        with _reading(self._path):
            self._descriptor = os.open(self._path, os.O_RDONLY)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)

    def __enter__(self) -> SegmentFile:
        return self

    def __exit__(self, *failed: object) -> None:
        self.close()

    def index(self, words: Words) -> Index:
        """What is where in the segment."""
        sealed = self._sealed_index()
        content = self._open(sealed, _index_place(self.segment))
        try:
            return Index(zlib.decompress(content), words, self.segment.medium)
        except (zlib.error, DataError) as error:
            raise damaged(self._path) from error

    def chunk(self, index: Index, number: int) -> Chunk:
        """The rows of one chunk."""
        content = self._chunk(index, number)
        first, last = (int(row) for row in index.chunk_rows[number : number + 2])
        begins = slice(*np.searchsorted(index.row, (first + 1, last)).tolist())
        try:
            return decode(content, np.append(0, index.row[begins] - first), last - first)
        except DataError as error:
            raise damaged(self._path) from error

    def seal_again(self, words: Words) -> Segment:
        """A new durable file with the same rows under the newest key version; the old one stays."""
        index, version = self.index(words), self._keys.version
        name = f"{self.segment.id.partition('.')[0]}.{version}"
        new = replace(self.segment, id=name, path=name + SUFFIX, key_version=version)
        file = NewFile(self._path.parent / new.path)
        try:
            tags = []
            for number in range(len(index.sizes)):
                sealed = self._keys.seal(self._chunk(index, number), chunk_place(new, number), version)
                tags.append(sealed[-GCM_TAG:])
                file.write(sealed)
            content = zlib.compress(index.with_tags(tags), 1)
            sealed = self._keys.seal(content, _index_place(new), version)
            end = sealed + len(sealed).to_bytes(4) + MAGIC
            file.write(end)
            file.place()
        except BaseException:
            file.drop()
            raise
        return replace(new, size=file.size, digest=sm3(end))

    def _sealed_index(self) -> bytes:
        size = self.segment.size
        with _reading(self._path):
            footer = os.pread(self._descriptor, _FOOTER, max(0, size - _FOOTER))
            length = int.from_bytes(footer[:4])
            end = os.pread(self._descriptor, length + _FOOTER, max(0, size - _FOOTER - length))
            whole = os.fstat(self._descriptor).st_size == size and footer[4:] == MAGIC
        if not whole or not equal(sm3(end), self.segment.digest):
            raise damaged(self._path)
        return end[:length]

    def _chunk(self, index: Index, number: int) -> bytes:
        with _reading(self._path):
            sealed = os.pread(self._descriptor, int(index.sizes[number]), int(index.offsets[number]))
        if not equal(sealed[-GCM_TAG:], index.tag(number)):
            raise damaged(self._path)
        return self._open(sealed, chunk_place(self.segment, number))

    def _open(self, sealed: bytes, where: bytes) -> bytes:
        try:
            return self._keys.open(sealed, where, self.segment.key_version)
        except TrustError as error:
            if error.code != "crypto.tag":
                raise
            raise damaged(self._path) from error


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """A file that is not there, or a sector that cannot be read, is damage; the disk's other faults are its own."""
    try:
        with disk(path):
            yield
    except EngineError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENOENT, errno.EIO):
            raise damaged(path) from error
        raise


def damaged(path: Path) -> DataError:
    """The error that names a file that is not what was stored."""
    return DataError(
        "mdms.segment-damaged",
        f"{path} is missing, or is not the file that was stored there: changed, moved or swapped. Restore it "
        "from a backup; readings in it are not shown until then.",
        file=path.name,
    )


def chunk_place(segment: Segment, number: int) -> bytes:
    """To what a chunk is sealed."""
    return place(segment.store_id, "segment", segment.id, number)


def _index_place(segment: Segment) -> bytes:
    return place(segment.store_id, "segment", segment.id, "index")


def months(times: Sequence[int] | np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Month in UTC of Unix milliseconds, as 202611."""
    month = np.asarray(times, np.int64).astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
    return (1970 + month // 12) * 100 + month % 12 + 1
