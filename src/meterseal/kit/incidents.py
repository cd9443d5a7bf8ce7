"""Beside the path: what goes wrong in a planned street, and who is away: seeded, in mid-period, never at a local midnight.

It plans; `profiles` says what it does to the use, `life` what it does to the meter. The platform is told nothing of it.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Literal

from msgspec import Struct
from msgspec.structs import replace

from meterseal.kit.profiles import DAY, HOUR, Event

if TYPE_CHECKING:
    from meterseal.kit.plan import MeterPlan

MANY = 12
"""With so many dwellings a street has each kind of trouble; smaller ones only the first three."""


class Gap(Struct, frozen=True):
    """Registers that a load profile lost: those whose end_at lies in [since, since + hours)."""

    since: int
    hours: int


class Incident(Struct, frozen=True):
    """Something done to the meter itself in [since, until): its cover opened, a magnet laid on it, its clock moved on `by`
    so many ms (negative: back) until somebody sets it.
    """

    kind: Literal["cover", "magnet", "clock"]
    since: int
    until: int
    by: int = 0


class _Calendar:
    """Whole hours in mid-period."""

    def __init__(self, random: Random, since: int, until: int) -> None:
        self._random, self._since = random, since
        self._middle = range(12, (until - since) // DAY - 12)

    def hour(self, first: int, last: int) -> int:
        """A whole local hour of a day in mid-period, first..last o'clock."""
        return (
            self._since + self._random.choice(self._middle) * DAY + self._random.randint(first, last) * HOUR
        )


def play(meters: list[MeterPlan], stuck: int, random: Random, since: int, until: int) -> None:
    """Put incidents into the plans, in place: lost hours, a stuck flat, a burst pipe and a leak; in a street of some
    size also a bypass, a pipe that flows back, families away, an opened cover and a magnet.
    """
    calendar = _Calendar(random, since, until)
    _lose_hours(meters, stuck, random, calendar)
    for place, meter in enumerate(meters):
        if meter.dwelling == stuck and meter.medium == "water":
            meters[place] = _with(meter, Event("stuck", since, until))
    waters = [k for k in range(len(meters)) if meters[k].medium == "water" and meters[k].dwelling != stuck]
    if len(waters) > 1:
        burst, leaking = random.sample(waters, 2)
        begin = calendar.hour(9, 14)
        meters[burst] = _with(meters[burst], Event("burst", begin, begin + 2 * HOUR, 2_600_000))
        meters[leaking] = _with(meters[leaking], Event("leak", calendar.hour(1, 20), until, 12_000))
        if len(waters) >= MANY:
            rest = [k for k in waters if k not in (burst, leaking) and meters[k].profile.occupancy]
            _trouble(meters, rest, random, calendar, until)


def _lose_hours(meters: list[MeterPlan], stuck: int, random: Random, calendar: _Calendar) -> None:
    suffering = [
        k for k, meter in enumerate(meters) if meter.medium != "electricity" and meter.dwelling != stuck
    ]
    random.shuffle(suffering)
    for count, place in enumerate(suffering[: max(2, len(meters) // 20)]):
        hours = 5 if count == 0 else random.choice((1, 2))
        meters[place] = replace(meters[place], gaps=(Gap(calendar.hour(3, 16), hours),))


def _trouble(
    meters: list[MeterPlan], waters: list[int], random: Random, calendar: _Calendar, until: int
) -> None:
    """Each dwelling suffers one thing at most; its four meters stand one after the other, water first."""
    random.shuffle(waters)
    flowing, opened, held, thief, *others = waters
    begin = calendar.hour(2, 5)
    meters[flowing] = _with(meters[flowing], Event("backflow", begin, begin + HOUR, 25_000))
    for place, kind in ((opened, "cover"), (held, "magnet")):
        begin = calendar.hour(9, 18)
        incident = Incident(kind, begin + 7 * 60_000, begin + 3 * HOUR)  # type: ignore[arg-type]  # one of the two words above
        meters[place] = replace(meters[place], incidents=(incident,))
    power = thief + 3
    meters[power] = _with(meters[power], Event("theft", calendar.hour(1, 22), until, 600))
    for away in others[: max(1, len(others) // 20)]:
        begin = calendar.hour(7, 10)
        for place in range(away, away + 4):
            meters[place] = _with(meters[place], Event("away", begin, begin + random.randint(3, 9) * DAY))


def _with(meter: MeterPlan, event: Event) -> MeterPlan:
    return replace(meter, profile=replace(meter.profile, events=(*meter.profile.events, event)))
