"""Station MDMS, the compactor: journal entries become sealed segments, small segments become large ones, and the
manifest moves on by one transaction each time.

It decides nothing about readings; every version that came is kept.

Steps: freeze (what lies up to entry S), write new segment files durably, one SQL transaction, show the new
segments, delete what they replace. A crash before the transaction leaves files that no manifest names,
which the next start removes; a crash after it leaves old files, which it removes likewise.

What comes is written as one small segment a medium and month; a back-fill's millions as one for each bucket of usage
points. When FAN of them hold a usage point and are of one size they are merged, key range after key range, into as many
buckets as leave FULL_ROWS in each; and a month after which another one has begun into one segment for each usage point,
as soon as what lies beside the largest is worth it. So a row is written a handful of times however large its month
grows, a usage point's year lies in about as many chunks as it has months, and merging needs memory for one block of
rows.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import structlog

from meterseal.errors import DataError
from meterseal.mdms.store.catalogue import Listed
from meterseal.mdms.store.chunks import CHUNK
from meterseal.mdms.store.files import disk, state_of
from meterseal.mdms.store.legacy import read_first_format
from meterseal.mdms.store.manifest import Checkpoint, Manifest
from meterseal.mdms.store.recent import joined
from meterseal.mdms.store.rows import Rows, pick, sort_rows, together
from meterseal.mdms.store.segments import SUFFIX, Bucket, Segment, SegmentWriter, months
from meterseal.mdms.store.sources import Source, blocks, rows_of_keys
from meterseal.mdms.store.store import Store
from meterseal.model import Medium

FULL_ROWS = 500_000
"""Buckets are split so that a segment has so many rows at least and not twice as many."""
FAN = 4
"""So many segments of about one size become one; and a month that is over all of its, when those beside the largest
have this part of its rows."""
AT_ONCE = 16
"""Buckets that are written in one pass over what is merged."""
_BLOCK = 250_000

log = structlog.get_logger()


class Compacted(NamedTuple):
    """What a compaction did."""

    rows: int
    segments: int
    bytes: int


def compact(store: Store, manifest: Manifest, checkpoint: Checkpoint) -> Compacted:
    """Move everything up to `checkpoint.sequence` into segments. Runs in a worker thread beside queries
    and ingest.

    Raises EngineError (`mdms.full`, `mdms.disk`, `control.*`) with nothing changed.
    """
    with store.lock:
        found = store.recent.up_to(checkpoint.sequence)
    new = joined(*found)
    added: list[Segment] = []
    try:
        for medium, month, rows in _partitions(store, new):
            for bucket, part in _buckets(store, sort_rows(rows, store.words)):
                added += _write(store, manifest, medium, month, bucket, checkpoint.sequence, [part])
    except BaseException:
        _delete(store, added)
        raise
    # If this fails, the new files stay until the next start: a commit that failed may yet have happened.
    manifest.advance(checkpoint, [], added)
    store.replace([], added, checkpoint.sequence)
    return Compacted(len(new), len(added), sum(segment.size for segment in added))


def merge(store: Store, manifest: Manifest) -> int:
    """Merge small segments where enough of them have come together; returns how many were replaced.

    Raises EngineError with nothing changed. A segment that is damaged is left out and said, and the others of its month are
    merged; it takes part again as soon as another file stands there, and after a start.
    """
    replaced = 0
    with store.lock:
        partitions = store.catalogue.partitions()
    for medium, month in partitions:
        while (due := _due(store, medium, month)) is not None:
            try:
                _merge(store, manifest, medium, month, due)
            except DataError as error:
                log.warning("mdms.merge", code=error.code, message=str(error))
                hit = [one for one in due.segments if one.path == error.facts.get("file")]
                if not hit:
                    break
                store.left_out.update({one.id: state_of(store.directory / one.path) for one in hit})
            else:
                replaced += len(due.segments)
    return replaced


def convert(store: Store, manifest: Manifest, segments: Iterable[Segment]) -> list[Segment]:
    """Write segments of the first format anew, one after the other; returns all of them as they are now.

    Raises EngineError. One that is not what was stored is left alone and said; reading it says so again.
    """
    now = []
    for old in segments:
        if old.bucket is not None:
            now.append(old)
            continue
        try:
            rows = sort_rows(read_first_format(store.directory, old, store.words, store.keys), store.words)
        except DataError as error:
            log.warning("mdms.convert", code=error.code, message=str(error))
            now.append(old)
            continue
        added = _write(store, manifest, old.medium, old.month, Bucket(), old.journal_last, [rows])
        manifest.exchange([old.id], added)
        _delete(store, [old])
        now += added
    return now


def sweep(store: Store, segments: Iterable[Segment]) -> None:
    """Remove files that no manifest names: what a crash left of a compaction."""
    named = {segment.path for segment in segments}
    with disk(store.directory):
        for path in store.directory.iterdir():
            if path.name not in named and (path.suffix == SUFFIX or path.name.endswith(SUFFIX + ".new")):
                path.unlink()


def _partitions(store: Store, rows: Rows) -> Iterator[tuple[Medium, int, Rows]]:
    """Rows by medium and month of end_at."""
    if not len(rows):
        return
    media: list[Medium] = sorted(set(store.words.medium.values()))
    of_point = np.full(len(store.words.texts), -1)
    for point, medium in list(store.words.medium.items()):
        of_point[point] = media.index(medium)
    which = of_point[rows["point"]]
    for code, medium in enumerate(media):
        here = rows if (which == code).all() else pick(rows, which == code)
        if not len(here):
            continue
        first, last = months((int(here["end_at"].min()), int(here["end_at"].max()))).tolist()
        if first == last:
            yield medium, first, here
            continue
        month = months(here["end_at"])
        for one in np.unique(month).tolist():
            yield medium, one, pick(here, month == one)


def _of(rows: int) -> int:
    """Into how many buckets so many rows of a medium and month go."""
    of = 1
    while rows > 2 * FULL_ROWS * of:
        of *= 2
    return of


def _buckets(store: Store, rows: Rows) -> Iterator[tuple[Bucket, Rows]]:
    """Sorted rows by bucket: one, unless they are so many that no merge would come to split them."""
    of = _of(len(rows))
    if of == 1:
        yield Bucket(), rows
        return
    which = store.words.hashes(rows["point"].astype(np.int64)) % of
    for number in range(of):
        part = pick(rows, which == number)
        if len(part):
            yield Bucket(number, of), part


class Due(NamedTuple):
    """Segments that should become one for each usage point, and the bucket in which all of them lie."""

    segments: list[Segment]
    bucket: Bucket


def _due(store: Store, medium: Medium, month: int) -> Due | None:
    """Which segments to merge next, if any."""
    with store.lock:
        listed = [
            one for one in store.catalogue.partition(medium, month) if not _left_out(store, one.segment)
        ]
        over = any(of == medium and later > month for of, later in store.catalogue.partitions())
    finest = max((one.bucket.of for one in listed), default=0)
    holding: list[list[Listed]] = [[] for _ in range(finest)]
    for one in listed:
        for hashed in range(one.bucket.number, finest, one.bucket.of):
            holding[hashed].append(one)
    for hashed, here in enumerate(holding):
        most = _worth(here, over)
        if most is not None:
            of = min(one.bucket.of for one in here if _slice(one) <= most)
            bucket = Bucket(hashed % of, of)
            due = [one.segment for one in listed if _slice(one) <= most and bucket.meets(one.bucket)]
            return Due(due, bucket)
    return None


def _left_out(store: Store, segment: Segment) -> bool:
    """Was it damaged when it was to be merged last, and is it the same file still?"""
    known = store.left_out.get(segment.id)
    if known is None:
        return False
    if known == state_of(store.directory / segment.path):
        return True
    del store.left_out[segment.id]
    return False


def _slice(one: Listed) -> int:
    """Rows that were written with those of a segment, those of other buckets included."""
    return one.segment.rows * one.bucket.of


def _worth(here: list[Listed], over: bool) -> int | None:
    """Up to which size segments that hold one usage point should be merged; None when it would be for nothing."""
    ranges = sorted((one.segment.first_usage_point, one.segment.last_usage_point) for one in here)
    if all(last <= first for (_, last), (first, _) in pairwise(ranges)):
        return None
    largest = max(_slice(one) for one in here)
    if over and FAN * (sum(_slice(one) for one in here) - largest) >= largest:
        return largest
    sizes = Counter(_slice(one).bit_length() // 2 for one in here)
    best = [size for size, count in sizes.items() if count >= FAN]
    return max(_slice(one) for one in here if _slice(one).bit_length() // 2 <= max(best)) if best else None


def _merge(store: Store, manifest: Manifest, medium: Medium, month: int, due: Due) -> None:
    old, (number, of) = due
    parts = _of(sum(one.rows for one in old))
    passes = max(1, parts // AT_ONCE)
    place = _Place(medium, month, max(one.journal_last for one in old))
    added: list[Segment] = []
    try:
        for first in range(passes):
            whole = Bucket(number + first * of, passes * of)
            children = [Bucket(whole.number + k * whole.of, parts * of) for k in range(parts // passes)]
            added += _split(store, manifest, place, old, whole, children)
    except BaseException:
        _delete(store, added)
        raise
    manifest.exchange([one.id for one in old], added)
    store.replace([one.id for one in old], added, -1)
    _delete(store, old)


def _split(
    store: Store,
    manifest: Manifest,
    place: _Place,
    old: list[Segment],
    whole: Bucket,
    children: list[Bucket],
) -> list[Segment]:
    """What segments hold of a bucket, in one segment for each of its children."""
    sources: list[Source] = []
    pens = [_Pen(store, manifest, place, child) for child in children]
    try:
        for one in old:
            if whole.meets(one.bucket or Bucket()):
                sources.append(Source(store.shelf.file(one), store.shelf.index(one), one.bucket or Bucket()))
        for numbers in blocks(sources, store.words, whole, _BLOCK):
            rows = sort_rows(rows_of_keys(sources, numbers), store.words)
            if len(pens) == 1:
                pens[0].add(rows)
                continue
            which = store.words.hashes(rows["point"].astype(np.int64)) % children[0].of
            for pen in pens:
                pen.add(pick(rows, which == pen.bucket.number))
        return [segment for pen in pens for segment in pen.finish()]
    except BaseException:
        for pen in pens:
            pen.drop()
        raise
    finally:
        for source in sources:
            source.close()


class _Place(NamedTuple):
    """Where new segments belong, and the newest journal entry in them."""

    medium: Medium
    month: int
    serial: int


class _Pen:
    """Writes sorted rows, which follow each other, into a segment; into more only where its dictionaries are full."""

    def __init__(self, store: Store, manifest: Manifest, place: _Place, bucket: Bucket) -> None:
        self.bucket = bucket
        self._store, self._manifest, self._place = store, manifest, place
        self._writer: SegmentWriter | None = None
        self._left: list[Rows] = []
        self._waiting = 0
        self._made: list[Segment] = []

    def add(self, rows: Rows) -> None:
        """Write what fills chunks; the rest waits."""
        self._left.append(rows)
        self._waiting += len(rows)
        if self._waiting < CHUNK:
            return
        joined_ = together(self._left) if len(self._left) > 1 else rows
        whole = len(joined_) // CHUNK * CHUNK
        for start in range(0, whole, CHUNK):
            self._write(joined_[start : start + CHUNK])
        self._left, self._waiting = [joined_[whole:].copy()], len(joined_) - whole

    def _write(self, rows: Rows) -> None:
        if self._writer is not None and self._writer.full:
            self._made.append(self._writer.finish())
            self._writer = None
        if self._writer is None:
            self._writer = SegmentWriter(
                self._store.directory,
                self._store.keys,
                self._store.words,
                store_id=self._manifest.store_id,
                medium=self._place.medium,
                month=self._place.month,
                bucket=self.bucket,
                serial=self._place.serial,
            )
        self._writer.add(rows)

    def finish(self) -> list[Segment]:
        """Make all of it durable; none for no rows."""
        if self._waiting:
            self._write(together(self._left))
        if self._writer is not None:
            self._made.append(self._writer.finish())
            self._writer = None
        self._store.written += sum(segment.size for segment in self._made)
        return self._made

    def drop(self) -> None:
        """Take back what was written."""
        if self._writer is not None:
            self._writer.drop()
            self._writer = None
        _delete(self._store, self._made)


def _write(
    store: Store,
    manifest: Manifest,
    medium: Medium,
    month: int,
    bucket: Bucket,
    serial: int,
    sorted_: Iterable[Rows],
) -> list[Segment]:
    """Sorted rows, which follow each other, as durable segments of one bucket."""
    pen = _Pen(store, manifest, _Place(medium, month, serial), bucket)
    try:
        for rows in sorted_:
            pen.add(rows)
        return pen.finish()
    except BaseException:
        pen.drop()
        raise


def _delete(store: Store, segments: Iterable[Segment]) -> None:
    for segment in segments:
        with contextlib.suppress(OSError):  # no manifest names it: what stays is swept at the next start
            (store.directory / segment.path).unlink(missing_ok=True)
