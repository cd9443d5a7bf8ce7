"""Station VEE, what an estimator is: it says how the use of a gap was spread over its intervals, never how much it was.

How much is what the registers on both sides say; `bridge` sees to that. An estimator that lacks what it needs says None
and the next one of the order is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from meterseal.mdms.vee.context import DAY, HOUR, OFFSET, Calendar, Weather
from meterseal.mdms.vee.view import Floats, Ints, Mask
from meterseal.model import Medium

_SHORT, _LONG = 2 * HOUR, 3 * DAY


class Gap(Struct, frozen=True):
    """Nothing between two good registers (last digits) at `since` and `until`, which are whole intervals apart.

    `head` and `tail`: how much of the first and of the last interval lies between the registers, where one was read within
    an interval.
    """

    since: int
    until: int
    interval: int
    first: int
    last: int
    head: float = 1.0
    tail: float = 1.0

    @property
    def parts(self) -> int:
        """Intervals inside."""
        return (self.until - self.since) // self.interval

    @property
    def ends(self) -> Ints:
        """end_at of its intervals; the last is `until`."""
        return self.since + self.interval * np.arange(1, self.parts + 1, dtype=np.int64)

    @property
    def inside(self) -> Floats:
        """How much of each interval lies between the registers."""
        part = np.ones(self.parts)
        part[0] = self.head
        part[-1] *= self.tail
        return part


class Known:
    """What is known of the time before a gap, on the grid of its intervals: interval k ends at start + k * interval.

    `neighbours` are rows of use (last digits) in the intervals of the gap, of other usage points alike. `fed`: it is what
    was fed in, of which the sun is the habit.
    """

    def __init__(
        self,
        gap: Gap,
        start: int,
        use: Ints,
        known: Mask,
        *,
        medium: Medium = "water",
        customer: str = "dwelling",
        calendar: Calendar | None = None,
        weather: Weather | None = None,
        neighbours: Ints | None = None,
        offset: int = OFFSET,
        fed: bool = False,
    ) -> None:
        self.gap, self.start, self.use, self.known = gap, start, use, known
        self.medium, self.customer, self.offset, self.fed = medium, customer, offset, fed
        self.calendar, self.weather = calendar or Calendar(), weather or Weather()
        self.neighbours = neighbours if neighbours is not None else np.empty((0, gap.parts), np.int64)

    @classmethod
    def of(cls, gap: Gap, times: Ints, registers: Ints, **about: object) -> Known:
        """From good readings up to the gap's beginning, rising; times off the grid and falls make unknown intervals."""
        interval = gap.interval
        before = times <= gap.since
        times, registers = times[before], registers[before]
        if not len(times):
            return cls(gap, gap.since, np.empty(0, np.int64), np.empty(0, np.bool_), **about)  # type: ignore[arg-type]  # as named above
        count = int(gap.since - times[0]) // interval
        start = gap.since - count * interval
        use, known = np.zeros(count + 1, np.int64), np.zeros(count + 1, np.bool_)
        step = np.diff(registers)
        regular = (np.diff(times) == interval) & ((times[1:] - start) % interval == 0) & (step >= 0)
        at = (times[1:][regular] - start) // interval
        use[at], known[at] = step[regular], True
        return cls(gap, start, use, known, **about)  # type: ignore[arg-type]  # the same

    def at(self, ends: Ints) -> tuple[Ints, Mask]:
        """Use of the intervals that end at these instants, and which of them is known."""
        place = (ends - self.start) // self.gap.interval
        inside = (place >= 0) & (place < len(self.use))
        place = np.where(inside, place, 0)
        if not len(self.use):
            return np.zeros(len(ends), np.int64), inside
        return self.use[place], inside & self.known[place]

    @property
    def per_day(self) -> int:
        """Intervals of a day, 0 where the interval does not divide it."""
        return DAY // self.gap.interval if DAY % self.gap.interval == 0 else 0

    @cached_property
    def pieces(self) -> list[tuple[int, Ints]]:
        """The gap by local days: (day, indexes of its intervals)."""
        days = (self.gap.ends + self.offset - 1) // DAY
        edges = np.flatnonzero(np.diff(days)) + 1
        parts = np.split(np.arange(len(days)), edges)
        return [(int(days[part[0]]), part) for part in parts]

    def kind(self, day: int) -> int:
        """0 Monday to 6 Sunday or holiday."""
        return int(self.calendar.of(np.array([day], np.int64))[0])

    def of_day(self, ends: Ints, back: int) -> Ints | None:
        """Use of the same intervals so many days earlier, None unless all are known."""
        use, known = self.at(ends - back * DAY)
        return use if bool(known.all()) else None

    def degrees(self, ends: Ints) -> Floats:
        """Outdoor temperature in the hour before each instant, NaN where not known."""
        hours = (ends - 1) // HOUR - self.weather.first
        inside = (hours >= 0) & (hours < len(self.weather.degrees))
        if not self.weather.degrees:
            return np.full(len(ends), np.nan)
        return np.where(inside, self._hours[np.where(inside, hours, 0)], np.nan)

    @cached_property
    def _hours(self) -> Floats:
        """The table of the weather, which a method asks once for every day that may be alike."""
        return np.array(self.weather.degrees, np.float64)


class Shape(NamedTuple):
    """Weights of the gap's intervals (not negative, any scale), the variance of their running sums at its inner instants
    where all of them together are what the registers say (as parts of the whole squared), and from how many days or
    neighbours they come.
    """

    weights: Floats
    off: Floats
    sources: int


class Estimator(Struct, frozen=True):
    """One row of the registry. `longest` ms that a gap may last; `version` rises with every change of an answer.

    `calibration` scales the stated interval of a gap of two hours, `beyond` that of three days and more; between them it
    goes with the logarithm of the gap. Both come from those halves of the back-test that are not published, after the more
    demanding of the media, of both directions and of the two grounds: real homes vary more than simulated ones, and an
    interval that is too wide says less, but says nothing wrong.
    """

    name: str
    version: int
    shape: Callable[[Gap, Known], Shape | None]
    longest: int
    calibration: float
    beyond: float

    def scale(self, length: int) -> float:
        """Of the stated interval of a gap of so many ms."""
        share = np.log(max(length, _SHORT) / _SHORT) / np.log(_LONG / _SHORT)
        return float(self.calibration + (self.beyond - self.calibration) * min(share, 1.0))
