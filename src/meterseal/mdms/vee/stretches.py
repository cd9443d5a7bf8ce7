"""Station VEE, stretches: which interval a load profile keeps, and from when to when.

It judges nothing. An interval is told from the readings of its own weeks alone, so that a part of a channel says what the
whole one says, and neither what came first nor a start makes another of it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from meterseal.mdms.store.rows import EVER, Rows
from meterseal.mdms.vee.context import DAY, HOUR, OFFSET

STEPS = tuple(minutes * 60_000 for minutes in (5, 10, 15, 30, 60, 120, 180, 240, 360, 720, 1440))
"""Intervals of load profiles."""
SELDOM = 10
"""Of so many distances between readings one at least is the interval, else there is none."""
MANY = 48
"""Distances of which that can be said."""
BLOCK = 14 * DAY
"""An interval is told for so long at once, from local midnight on,"""
BACK = 6
"""and from so many such times before it as well, where in its own there are not MANY distances."""

Ints = NDArray[np.int64]


class Stretch(NamedTuple):
    """The load profile keeps an interval (ms) over since < end_at <= until."""

    since: int
    until: int
    interval: int


class Stretches(NamedTuple):
    """All stretches of what was loaded of a channel, one after the other.

    From `exact` on the whole channel would say the same. Before `unsure` it said the same before what came last came.
    """

    parts: tuple[Stretch, ...]
    exact: int
    unsure: int

    @property
    def intervals(self) -> tuple[int, ...]:
        """Each interval once."""
        return tuple(dict.fromkeys(part.interval for part in self.parts))

    def holds(self, interval: int, ends: Ints) -> NDArray[np.bool_]:
        """Which instants lie where this interval is kept."""
        found = np.zeros(len(ends), np.bool_)
        for part in self.parts:
            if part.interval == interval:
                found |= (ends > part.since) & (ends <= part.until)
        return found


ANY = Stretches((Stretch(-1, EVER, HOUR),), 0, 0)
"""Of a channel without distances."""


def interval_of(delivered: Rows) -> int:
    """The interval of a load profile: the commonest distance that is one, an hour where there is none.

    Of many distances one in SELDOM must be it: a meter that speaks when it likes leaves five minutes between two readings
    now and then, and promises nothing by that. What such a meter keeps nine times in ten stands for a promise.
    """
    ends: Ints = delivered["end_at"].astype(np.int64)
    return _kept(np.diff(ends))


def stretches(ends: Ints, since: int, *, whole: bool) -> Stretches:
    """Of the instants of a channel, the oldest new one of which is `since`; `whole` where none lies before them."""
    if len(ends) < 2:
        return ANY._replace(exact=0 if whole else EVER)
    apart, number = np.diff(ends), (ends[1:] + OFFSET) // BLOCK
    first = int((ends[0] + OFFSET) // BLOCK)
    if int(apart[0]) in STEPS and bool((apart == apart[0]).all()):
        # Nothing is missing, so nothing estimated hangs on it.
        return Stretches(
            (Stretch(-1, EVER, int(apart[0])),), 0 if whole else _begin(first + 2), max(since, 0)
        )
    blocks = _Blocks(apart, number, -1 if whole else first)
    parts: list[Stretch] = []
    for (place, interval), (end, _) in pairwise([*blocks.cuts(), (len(apart), 0)]):
        if place == end:
            continue
        if not parts:
            parts.append(Stretch(-1, EVER, interval))
        elif parts[-1].interval != interval:
            begin = int(ends[place])
            parts[-1:] = [parts[-1]._replace(until=begin), Stretch(begin, EVER, interval)]
    return Stretches(tuple(parts), blocks.exact(), blocks.unsure(int(np.searchsorted(ends, since)), since))


class _Blocks:
    """Distances by the blocks in which they end; `partial` is the number of the one that was not loaded whole, else -1."""

    def __init__(self, apart: Ints, number: Ints, partial: int) -> None:
        self._apart, self._partial = apart, partial
        found, begins = np.unique(number, return_index=True)
        self._numbers: list[int] = found.tolist()
        self._edges: list[int] = [*begins.tolist(), len(apart)]
        self._intervals = [
            _kept(apart[self._edges[self._back(k, self._edges[k + 1])] : self._edges[k + 1]])
            for k in range(len(self._numbers))
        ]

    def _back(self, k: int, end: int) -> int:
        """The block with which begins what tells of block `k`, if that reached to distance `end`."""
        j = k
        while (
            j > 0 and end - self._edges[j] < MANY and self._numbers[j - 1] >= self._numbers[k] - BACK
        ):  # fmt: skip
            j -= 1
        return j

    def cuts(self) -> list[tuple[int, int]]:
        """Distances at which another interval begins, rising, and which; between two blocks where it fits both best."""
        found = [(0, self._intervals[0])]
        for k in range(1, len(self._numbers)):
            before, after = self._intervals[k - 1], self._intervals[k]
            if before == after:
                continue
            first, last = self._edges[k - 1], self._edges[k + 1]
            here = self._apart[first:last]
            gained = np.concatenate([[0], np.cumsum((here == before).astype(np.int64) - (here == after))])
            place = first + int(np.argmax(gained))
            found.append((max(place, found[-1][0]), after))
        return found

    def exact(self) -> int:
        """The instant from which on nothing hangs on what was not loaded."""
        if self._partial < 0:
            return 0
        known = [
            self._numbers[j := self._back(k, self._edges[k + 1])] > self._partial
            and (self._edges[k + 1] - self._edges[j] >= MANY or self._numbers[k] - BACK > self._partial)
            for k in range(len(self._numbers))
        ]  # fmt: skip
        last = max((k for k, one in enumerate(known) if not one), default=-1)
        return _begin(self._numbers[last + 2]) if last + 2 < len(self._numbers) else EVER

    def unsure(self, row: int, since: int) -> int:
        """The instant from which on another interval may have been told without the rows from `row` on."""
        number = (since + OFFSET) // BLOCK
        k = int(np.searchsorted(self._numbers, number))
        floor = _begin(self._numbers[k - 1]) if k else 0
        alone = k == len(self._numbers) - 1 and self._numbers[k] == number
        if not alone or (k and self._intervals[k - 1] != self._intervals[k]):
            return min(floor, since)
        stood = min(max(row - 1, self._edges[k]), self._edges[k + 1])
        came = self._edges[k + 1] - stood
        windows = range(self._back(k, stood), self._back(k, self._edges[k + 1]) + 1)
        said = {_surely(self._apart[self._edges[j] : stood], came) for j in windows}
        return since if said == {self._intervals[k]} else min(floor, since)


def _begin(number: int) -> int:
    return number * BLOCK - OFFSET


def _counts(apart: Ints) -> list[tuple[int, int]]:
    """(how often, step below 0) of the distances that are an interval, the commonest and of these the shortest first."""
    steps, counts = np.unique(apart, return_counts=True)
    counted = zip(steps.tolist(), counts.tolist(), strict=True)
    return sorted(((count, -step) for step, count in counted if step in STEPS), reverse=True)


def _kept(apart: Ints) -> int:
    count, step = next(iter(_counts(apart)), (0, -HOUR))
    if count * SELDOM >= len(apart) or len(apart) < MANY:
        return -step
    kept = np.sort(apart)[len(apart) * 9 // 10]
    return next((one for one in STEPS if one >= kept), HOUR)


def _surely(apart: Ints, came: int) -> int:
    """The interval that these distances have, with up to so many others beside them whatever these are; 0 for none."""
    (count, step), (second, _) = (*_counts(apart), (0, 0), (0, 0))[:2]
    return -step if count - second > came and count * SELDOM >= len(apart) + came else 0
