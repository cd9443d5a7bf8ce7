"""Station MDMS, roll-ups at rest: segments are written anew without what a roll-up does not leave, month after month.

It chooses nothing (`mdms.rolling` does). Like every merge: new files first, one transaction of the manifest, then the old
ones go; an end at any step leaves the one or the other, and doing it again does what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from meterseal.mdms.store.compact import _delete, _write  # a roll-up is a merge with a filter
from meterseal.mdms.store.manifest import Manifest
from meterseal.mdms.store.rows import Rows, sort_rows
from meterseal.mdms.store.segments import Bucket, Segment
from meterseal.mdms.store.sources import Source, blocks, rows_of_keys
from meterseal.mdms.store.store import Store
from meterseal.model import Medium

BLOCK = 250_000
"""Rows that are looked at once, about."""
Removable = Callable[[Rows], NDArray[np.bool_]]
"""Says of rows, of whole channels of one month, which are to go."""


class Went(NamedTuple):
    """What one month lost: versions, instants of channels, and bytes of segments."""

    rows: int
    readings: int
    bytes: int


NOTHING = Went(0, 0, 0)


def tried(store: Store, medium: Medium, month: int, removable: Removable) -> Went:
    """What would go of a month. Bytes are a share of what its segments have. DataError `mdms.segment-damaged`."""
    segments = _segments(store, medium, month)
    total = sum(one.rows for one in segments)
    gone = readings = 0
    for rows in _rows(store, segments):
        mask = removable(rows)
        gone += int(mask.sum())
        readings += _readings(rows[mask])
    return Went(gone, readings, sum(one.size for one in segments) * gone // max(total, 1))


def roll_up(store: Store, manifest: Manifest, medium: Medium, month: int, removable: Removable) -> Went:
    """Write the segments of a month without what is to go; nothing else may write segments meanwhile.

    Raises DataError `mdms.segment-damaged`, EngineError `mdms.*`, `control.*`, with nothing changed.
    """
    old = _segments(store, medium, month)
    gone = readings = 0

    def left(bucket: Bucket, segments: list[Segment]) -> Iterator[Rows]:
        nonlocal gone, readings
        for rows in _rows(store, segments, bucket):
            mask = removable(rows)
            gone += int(mask.sum())
            readings += _readings(rows[mask])
            yield sort_rows(rows[~mask], store.words)

    if not any(removable(rows).any() for rows in _rows(store, old)):  # as far as the first that goes
        return NOTHING
    serial = max(one.journal_last for one in old)
    finest = max((one.bucket or Bucket()).of for one in old)
    added: list[Segment] = []
    try:
        for number in range(finest):
            bucket = Bucket(number, finest)
            here = [one for one in old if bucket.meets(one.bucket or Bucket())]
            added += _write(store, manifest, medium, month, bucket, serial, left(bucket, here))
    except BaseException:
        _delete(store, added)
        raise
    manifest.exchange([one.id for one in old], added)
    store.replace([one.id for one in old], added, -1)
    _delete(store, old)
    return Went(gone, readings, sum(one.size for one in old) - sum(one.size for one in added))


def _readings(rows: Rows) -> int:
    """How many readings rows are versions of."""
    columns = [rows[name] for name in ("end_at", "channel", "point")]
    order = np.lexsort(columns)
    other = [column[order][1:] != column[order][:-1] for column in columns]
    return int(np.logical_or.reduce(other).sum()) + (len(rows) > 0)


def _segments(store: Store, medium: Medium, month: int) -> list[Segment]:
    with store.lock:
        return [one.segment for one in store.catalogue.partition(medium, month)]


def _rows(store: Store, segments: list[Segment], bucket: Bucket | None = None) -> Iterator[Rows]:
    """Whole channels, block after block."""
    sources: list[Source] = []
    try:
        for one in segments:
            sources.append(Source(store.shelf.file(one), store.shelf.index(one), one.bucket or Bucket()))
        for numbers in blocks(sources, store.words, bucket or Bucket(), BLOCK):
            yield rows_of_keys(sources, numbers)
    finally:
        for source in sources:
            source.close()
