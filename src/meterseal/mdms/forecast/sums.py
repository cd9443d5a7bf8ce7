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
        self.amount = np.zeros(hours)
        self.known = np.zeros(hours, np.int64)
        self.points = 0

    def add(self, amounts: Floats) -> None:
        self.amount += np.nansum(amounts, axis=1, dtype=np.float64)
        self.known += (~np.isnan(amounts)).sum(axis=1)
        self.points += amounts.shape[1]

    def whole(self) -> NDArray[np.float64]:
        return np.where(
            self.known * 2 >= self.points, self.amount / np.maximum(self.known, 1) * self.points, np.nan
        )


class Sums:
    """Sums over `hours` hours, of which blocks of usage points are added one after the other."""

    def __init__(self, hours: int) -> None:
        self._hours = hours
        self._used: dict[str, _Sum] = {}
        self._fed: dict[str, _Sum] = {}

    def add(self, zones: Sequence[str], use: Floats) -> None:
        """Add points (hours, points), each to everything and to its zone; ALL is the zone of those that have none."""
        for zone, chosen in _columns(zones):
            self._used.setdefault(zone, _Sum(self._hours)).add(use[:, chosen])

    def less(self, zones: Sequence[str], fed: Floats) -> None:
        """Take off what points fed in (hours, points): what is left came from elsewhere, or is below nothing."""
        for zone, chosen in _columns(zones):
            self._fed.setdefault(zone, _Sum(self._hours)).add(fed[:, chosen])

    def names(self) -> list[str]:
        """ALL first, then the zones."""
        return sorted(self._used)

    def nets(self, names: Sequence[str]) -> NDArray[np.bool_]:
        """Of which of them something is taken off: these may be below nothing."""
        return np.array([name in self._fed for name in names], np.bool_)

    def wholes(self, names: Sequence[str]) -> Floats:
        """(hours, names): what all points of each used together, less what they fed in; those that are not known in an hour
        taken to use, and to feed in, what the others do. Not known itself where fewer than half of the one or of the other
        are, or where no use was added.
        """
        nothing = np.full(self._hours, np.nan)
        found = [
            (self._used[name].whole() if name in self._used else nothing)
            - (self._fed[name].whole() if name in self._fed else 0)
            for name in names
        ]
        return np.array(found, np.float32).reshape(len(names), self._hours).T


def _columns(zones: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Everything and each zone, with its columns; nothing without any."""
    found: dict[str, list[int]] = {ALL: list(range(len(zones)))} if zones else {}
    for column, zone in enumerate(zones):
        if zone != ALL:
            found.setdefault(zone, []).append(column)
    return list(found.items())
