"""Station forecast, sums over usage points: what a zone, or everything of a medium, used together, hour by hour.

Pure. It forecasts nothing; a sum is a series like any other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from meterseal.mdms.forecast.task import Floats

ALL = ""
"""The name under which everything is summed; no zone can have it."""


class _Sum:
    def __init__(self, hours: int) -> None:
        self.used = np.zeros(hours)
        self.known = np.zeros(hours, np.int64)
        self.points = 0

    def add(self, use: Floats) -> None:
        self.used += np.nansum(use, axis=1, dtype=np.float64)
        self.known += (~np.isnan(use)).sum(axis=1)
        self.points += use.shape[1]

    def less(self, fed: Floats) -> None:
        self.used -= np.nansum(fed, axis=1, dtype=np.float64)

    def whole(self) -> NDArray[np.float64]:
        return np.where(
            self.known * 2 >= self.points, self.used / np.maximum(self.known, 1) * self.points, np.nan
        )


class Sums:
    """Sums over `hours` hours, of which blocks of usage points are added one after the other."""

    def __init__(self, hours: int) -> None:
        self._hours = hours
        self._sums: dict[str, _Sum] = {}

    def add(self, zones: Sequence[str], use: Floats) -> None:
        """Add points (hours, points), each to everything and to its zone; ALL is the zone of those that have none."""
        for zone, chosen in _columns(zones):
            self._of(zone).add(use[:, chosen])

    def less(self, zones: Sequence[str], fed: Floats) -> None:
        """Take off what points that were added fed in (hours, points): what is left is what came from elsewhere. What is
        not known counts as nothing.
        """
        for zone, chosen in _columns(zones):
            self._of(zone).less(fed[:, chosen])

    def _of(self, name: str) -> _Sum:
        return self._sums.setdefault(name, _Sum(self._hours))

    def names(self) -> list[str]:
        """ALL first, then the zones."""
        return sorted(self._sums)

    def wholes(self, names: Sequence[str]) -> Floats:
        """(hours, names): what all points of each used together, those that are not known in an hour taken to use what the
        others do; not known itself where fewer than half of them are, or where none was added.
        """
        nothing = np.full(self._hours, np.nan)
        found = [self._sums[name].whole() if name in self._sums else nothing for name in names]
        return np.array(found, np.float32).reshape(len(names), self._hours).T


def _columns(zones: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Everything and each zone, with its columns; nothing without any."""
    found: dict[str, list[int]] = {ALL: list(range(len(zones)))} if zones else {}
    for column, zone in enumerate(zones):
        if zone != ALL:
            found.setdefault(zone, []).append(column)
    return list(found.items())
