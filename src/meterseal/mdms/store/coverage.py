"""Station MDMS, which instants of a channel are stored at all: runs of evenly spaced readings.

It knows no register; it answers in constant time that newly delivered readings cannot be repeats.
"""

from __future__ import annotations

from bisect import bisect_right

LARGEST = 256


class Coverage:
    """Disjoint runs [first, last] in order of time, at most LARGEST; step is the distance of readings in
    a run.

    Coarse on purpose: an instant inside a run may have no reading, an instant outside of all runs has none.
    """

    __slots__ = ("_first", "_last", "_step")

    def __init__(self) -> None:
        self._first: list[int] = []
        self._last: list[int] = []
        self._step: list[int] = []

    def touches(self, first: int, last: int) -> bool:
        """Does any run reach into [first, last]?"""
        position = bisect_right(self._first, last)
        return position > 0 and self._last[position - 1] >= first

    def add(self, first: int, last: int, step: int) -> None:
        """Add a run that touches no other; it is joined to neighbours that continue it evenly."""
        position = bisect_right(self._first, first)
        if position and self._follows(position - 1, first, step):
            before = position - 1
            step = step or first - self._last[before]
            first = self._first[before]
            self._pop(before)
            position = before
        if position < len(self._first):
            gap = self._first[position] - last
            later = self._step[position]
            if (step in (0, gap)) and (later in (0, gap)):
                last, step = self._last[position], gap
                self._pop(position)
        self._first.insert(position, first)
        self._last.insert(position, last)
        self._step.insert(position, step)
        if len(self._first) > LARGEST:
            # Two old runs and the hole between them become one; what falls in there is looked up.
            self._first.pop(1)
            self._last.pop(0)
            self._step[:2] = [0]

    def _follows(self, before: int, first: int, step: int) -> bool:
        gap = first - self._last[before]
        return step in (0, gap) and self._step[before] in (0, gap) and bool(step or self._step[before])

    def _pop(self, position: int) -> None:
        for column in (self._first, self._last, self._step):
            del column[position]

    def runs(self) -> list[tuple[int, int, int]]:
        """(first, last, step) of every run."""
        return list(zip(self._first, self._last, self._step, strict=True))
