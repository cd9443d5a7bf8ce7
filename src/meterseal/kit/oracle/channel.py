"""Beside the path: a channel as a list of readings, and its days as a dictionary; for the oracles alone.

It objects to nothing.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from meterseal.mdms.columns import Columns
from meterseal.mdms.vee.context import DAY, HOUR, Context
from meterseal.model import Quality


class Reading(NamedTuple):
    """One row that says something; `digits` as delivered. `use` is None where not known; `elapsed` 0 for the first."""

    row: int
    at: int
    digits: int
    register: int
    exponent: int
    unit: int
    meter: int
    elapsed: int
    use: int | None
    event: str
    """fall, roll-over, swap, unit or nothing: how it follows the one before."""
    counted: int | None = None
    """Use before it was multiplied."""
    factor: float = 1.0


class Day(NamedTuple):
    """One local day from midnight to midnight: places of both readings, and its use where all of it is known."""

    number: int
    opens: int
    closes: int
    use: int | None


class Channel(NamedTuple):
    """The readings of a channel in its finest exponent, and its days by number."""

    number: int
    exponent: int
    readings: list[Reading]
    days: dict[int, Day]

    def digits(self, thousandths: float) -> float:
        """An amount of the unit in last digits."""
        return float(thousandths * 10.0**-self.exponent / 1000)

    def known(self, number: int) -> Day | None:
        """A day whose use is known."""
        day = self.days.get(number)
        return day if day is not None and day.use is not None else None

    def rate(self, place: int) -> float:
        """Use an hour of the interval that a reading ends, 0 where not known."""
        reading = self.readings[place]
        if not reading.use:
            return 0.0
        return reading.use * float(HOUR) / max(reading.elapsed, 1)

    def inside(self, day: Day) -> list[Reading]:
        """The readings of a day but its first midnight."""
        return self.readings[day.opens + 1 : day.closes + 1]


def channels(columns: Columns, context: Context) -> list[Channel]:
    """All channels of the columns."""
    return [_channel(columns, context, k) for k in range(columns.channels)]


def _channel(columns: Columns, context: Context, number: int) -> Channel:
    rows = [
        row
        for row in range(int(columns.starts[number]), int(columns.starts[number + 1]))
        if columns.quality[row] in (Quality.MEASURED, Quality.SUSPECT)
        and abs(int(columns.register[row])) < 1 << 60
    ]
    finest = min((int(columns.exponent[row]) for row in rows), default=0)
    finest -= max((m.places for m in context.multipliers if m.channel == number), default=0)
    readings: list[Reading] = []
    for row in rows:
        readings.append(_reading(columns, context, number, finest, row, readings[-1] if readings else None))
    return Channel(number, finest, readings, _days(readings, context))


def _reading(
    columns: Columns, context: Context, number: int, finest: int, row: int, before: Reading | None
) -> Reading:
    at, exponent = int(columns.end_at[row]), int(columns.exponent[row])
    unit, meter = int(columns.unit[row]), int(columns.meter[row])
    digits = int(columns.register[row])
    register = digits * 10 ** (exponent - finest)
    if exponent - finest > 18 or abs(register) > 1 << 60:
        register = 0
    if before is None:
        return Reading(row, at, digits, register, exponent, unit, meter, 0, None, "")
    use, event = _use(context, number, finest, before, (at, register, exponent, unit, meter))
    counted = use
    factor, tenths, ratio = _multiplier(context, number, at)
    if use is not None:
        use = use * factor // tenths
    return Reading(
        row, at, digits, register, exponent, unit, meter, at - before.at, use, event, counted, ratio
    )


def _multiplier(context: Context, number: int, at: int) -> tuple[int, int, float]:
    """What the use that a reading ends is multiplied and divided by, and both as one number."""
    for one in context.multipliers:
        if one.channel == number and one.since < at <= one.until:
            return one.factor, 10**one.places, one.factor / 10.0**one.places
    return 1, 1, 1.0


def _use(
    context: Context, number: int, finest: int, before: Reading, now: tuple[int, int, int, int, int]
) -> tuple[int | None, str]:
    at, register, exponent, unit, meter = now
    if meter != before.meter:
        return None, "swap"
    if unit != before.unit:
        return None, "unit"
    if register >= before.register:
        return register - before.register, ""
    around = 10 ** min(context.digits + exponent - finest, 18)
    passed = register - before.register + around
    carried = context.carried * 10.0**-finest / 1000 * ((at - before.at) / HOUR)
    possible = passed * _multiplier(context, number, at)[2] <= carried and passed <= around // 2
    if register >= 0 and before.register < around and possible:
        return passed, "roll-over"
    return None, "fall"


def _days(readings: list[Reading], context: Context) -> dict[int, Day]:
    midnights = [
        (place, (reading.at + context.offset) // DAY)
        for place, reading in enumerate(readings)
        if (reading.at + context.offset) % DAY == 0
    ]
    days = {}
    for (opens, begin), (closes, end) in pairwise(midnights):
        if end - begin == 1:
            uses = [reading.use for reading in readings[opens + 1 : closes + 1]]
            known = None if None in uses else sum(use for use in uses if use is not None)
            days[begin] = Day(begin, opens, closes, known)
    return days
