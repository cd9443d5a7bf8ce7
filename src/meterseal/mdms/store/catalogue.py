"""Station MDMS, the catalogue: which segments count now, and which of them can hold what is asked for.

It opens none of them. Not thread-safe: callers hold the store's lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from meterseal.mdms.store.segments import Bucket, Segment, months
from meterseal.model import Medium


class Listed(NamedTuple):
    """A segment and the usage points that are in it."""

    segment: Segment
    bucket: Bucket


class Catalogue:
    """The segments of the manifest by medium and month."""

    def __init__(self) -> None:
        self.segments: dict[str, Segment] = {}
        self._by_month: dict[Medium, dict[int, list[Listed]]] = {}

    def change(self, removed: Iterable[str], added: Iterable[Segment]) -> None:
        """What a transaction of the manifest did."""
        for name in removed:
            gone = self.segments.pop(name)
            months_ = self._by_month[gone.medium]
            months_[gone.month] = [one for one in months_[gone.month] if one.segment.id != name]
            if not months_[gone.month]:
                del months_[gone.month]
        for segment in added:
            self.segments[segment.id] = segment
            listed = Listed(segment, segment.bucket or Bucket())
            self._by_month.setdefault(segment.medium, {}).setdefault(segment.month, []).append(listed)

    def media(self) -> list[Medium]:
        """Media that have segments."""
        return sorted(medium for medium, found in self._by_month.items() if found)

    def partitions(self) -> list[tuple[Medium, int]]:
        """Every (medium, month) that has segments."""
        return sorted((medium, month) for medium, found in self._by_month.items() for month in found)

    def of(self, medium: Medium, since: int, until: int) -> list[Listed]:
        """Segments of a medium that reach into [since, until], by month."""
        found = self._by_month.get(medium)
        if not found:
            return []
        first, last = months((since, until)).tolist()
        return list(_reaching(found, sorted(m for m in found if first <= m <= last), since, until))

    def holding(self, medium: Medium, hashed: int, since: int, until: int) -> list[Segment]:
        """Those of them that can hold a usage point of this hash."""
        return [one.segment for one in self.of(medium, since, until) if one.bucket.holds(hashed)]

    def partition(self, medium: Medium, month: int) -> list[Listed]:
        """Segments of one medium and month."""
        return list(self._by_month.get(medium, {}).get(month, ()))


def _reaching(
    found: dict[int, list[Listed]], wanted: Sequence[int], since: int, until: int
) -> Iterator[Listed]:
    for month in wanted:
        for one in found[month]:
            if one.segment.first_end_at <= until and one.segment.last_end_at >= since:
                yield one
