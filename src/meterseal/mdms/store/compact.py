"""Station MDMS, the compactor: journal entries become sealed segments, and the manifest moves on by one
transaction.

It decides nothing about readings; every version that came is kept.

Steps: freeze (what lies up to entry S), write new segment files durably, one SQL transaction, show the new
segments, delete what they replace. A crash before the transaction leaves files that no manifest names, which
the next start removes; a crash after it leaves old files, which it removes likewise.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from meterseal.mdms.store.files import disk
from meterseal.mdms.store.manifest import Checkpoint, Manifest
from meterseal.mdms.store.rows import Rows, rows_of
from meterseal.mdms.store.segments import SUFFIX, Segment, months, sort_rows, write_segment
from meterseal.mdms.store.store import Store
from meterseal.model import Medium

FULL_ROWS = 2_000_000
"""A segment of so many rows is not rewritten any more; later rows of its month go into another one."""


class Compacted(NamedTuple):
    """What a compaction did."""

    rows: int
    segments: int
    bytes: int


def compact(store: Store, manifest: Manifest, checkpoint: Checkpoint) -> Compacted:
    """Move everything up to `checkpoint.sequence` into segments. Runs in a worker thread beside queries
    and ingest.

    Raises EngineError (`mdms.full`, `mdms.disk`, `control.*`) with nothing changed, DataError
    `mdms.segment-damaged` when a segment that it must rewrite is not what was stored.
    """
    with store.lock:
        blocks = [b for blocks in store.recent.values() for b in blocks if b.batch <= checkpoint.sequence]
    new = rows_of(blocks)
    removed: list[Segment] = []
    added: list[tuple[Segment, Rows]] = []
    try:
        for medium, month, rows in _partitions(store, new):
            open_ended = _open_ended(store, medium, month)
            if open_ended is not None:
                removed.append(open_ended)
                rows = np.concatenate([store.open(open_ended).rows, rows])
            rows = sort_rows(rows, store.words)
            segment = write_segment(
                store.directory,
                rows,
                store.words,
                store.keys,
                store_id=manifest.store_id,
                medium=medium,
                month=month,
                serial=f"{checkpoint.sequence:012d}",
            )
            added.append((segment, rows))
    except BaseException:
        _delete(store, (segment for segment, _ in added))
        raise
    # If this fails, the new files stay until the next start: a commit that failed may yet have happened.
    manifest.advance(checkpoint, [one.id for one in removed], [segment for segment, _ in added])
    store.replace([one.id for one in removed], added, checkpoint.sequence)
    _delete(store, removed)
    return Compacted(len(new), len(added), sum(segment.size for segment, _ in added))


def sweep(store: Store, segments: Iterable[Segment]) -> None:
    """Remove files that no manifest names: what a crash left of a compaction."""
    named = {segment.path for segment in segments}
    with disk(store.directory):
        for path in store.directory.iterdir():
            if path.name not in named and (path.suffix == SUFFIX or path.name.endswith(SUFFIX + ".new")):
                path.unlink()


def _partitions(store: Store, rows: Rows) -> Iterable[tuple[Medium, int, Rows]]:
    """Rows by medium and month of end_at."""
    media: list[Medium] = sorted(set(store.words.medium.values()))
    of_point = np.full(len(store.words.texts), -1)
    for point, medium in list(store.words.medium.items()):
        of_point[point] = media.index(medium)
    month = months(rows["end_at"])
    which = of_point[rows["point"]]
    for code, medium in enumerate(media):
        for one in np.unique(month[which == code]).tolist():
            yield medium, one, rows[(which == code) & (month == one)]


def _open_ended(store: Store, medium: Medium, month: int) -> Segment | None:
    """The segment of a partition that still takes rows."""
    with store.lock:
        found = [s for s in store.segments.values() if s.medium == medium and s.month == month]
    return next((segment for segment in found if segment.rows < FULL_ROWS), None)


def _delete(store: Store, segments: Iterable[Segment]) -> None:
    for segment in segments:
        (store.directory / segment.path).unlink(missing_ok=True)
