"""Beside the path: what a back-test looks at: series in which nothing is hidden yet, and what is known around them.

It hides nothing and scores nothing. The street is simulated: believable, not real. Usage points are split by a function of
the seed, and only one half is published, of a seed on which nothing was tuned (`TUNED`).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from meterseal.kit import series
from meterseal.kit.chance import one as chance
from meterseal.kit.holidays import is_holiday
from meterseal.kit.profiles import MILLIONTHS, passed
from meterseal.kit.profiles import Profile as Habits
from meterseal.kit.weather import sunshine, temperature
from meterseal.mdms.heats import Hour, mean
from meterseal.mdms.vee.context import DAY, HOUR, OFFSET, Calendar, Context, Warmth, Weather
from meterseal.model import Medium

Ints = NDArray[np.int64]
EXPONENT = -2
"""Registers count hundredths of a unit, as most meters here do."""
DAYS = 400
"""Of history: more than a year, so that last year can be asked."""
UNTIL = series.UNTIL + 85 * DAY
"""2027-01-25 00:00 in Shanghai: a winter, in which there is heating."""
_SPLIT, _PLANT = 4_711, 4_712
SHOWN = 100
"""Days before the end of which the water of heat is known."""
PLANTS = 12
"""Homes of which is asked what they would feed in."""
TUNED = frozenset({1, 2, 3, 4, 188})
"""Seeds of streets that were looked at when thresholds were set; intervals were calibrated on the other halves of them."""


class Surroundings(Struct, frozen=True):
    """What is known around a usage point beside its registers."""

    weather: Weather
    calendar: Calendar

    def context(self, medium: Medium) -> Context:
        """The same as rules are told it."""
        return Context(medium=medium, calendar=self.calendar, weather=self.weather)


class Truth(Struct, frozen=True):
    """Hourly registers of a usage point, or of what was `fed` in there, of which nothing is hidden: `name` is its own among
    those of a medium, `seed` what its chances are drawn by. `sane`: nothing happens in it that a rule should find;
    `lived_in`: somebody uses something.
    """

    name: str
    medium: Medium
    end_at: Ints
    register: Ints
    around: Surroundings
    sane: bool = True
    lived_in: bool = True
    fed: bool = False

    @property
    def whole(self) -> NDArray[np.bool_]:
        """At which rows an hour ends that is known."""
        return np.concatenate([[False], np.diff(self.end_at) == HOUR])


class Beside(Struct, frozen=True):
    """What a simulated meter's household has beside: the water of its heat, a boiler, the sun on its roof."""

    volume: Ints | None = None
    water: tuple[Warmth | None, ...] = ()
    first: int = 0
    heats: bool = False
    sun: np.ndarray[tuple[int], np.dtype[np.float64]] | None = None


class Ground(Protocol):
    """Usage points of one split. `gaps` and `faults` are days (before the end, from and to) in which gaps begin and faults
    are put, `times` how often of each length and `often` how often of each kind. `fed` is what homes fed in.
    """

    seed: int
    profiles: dict[Medium, list[Truth]]
    fed: list[Truth]
    gaps: tuple[int, int]
    faults: tuple[int, int]
    times: int
    often: int

    def beside(self, truth: Truth) -> list[Truth]:
        """Neighbours that may be asked."""

    def household(self, truth: Truth) -> Beside | None:
        """What is known beside; None of a home of which nothing is."""


class Street:
    """One split of a simulated street."""

    gaps = (25, 0)
    faults = (60, 30)
    often = 1

    def __init__(self, seed: int, dwellings: int, *, published: bool, times: int = 3) -> None:
        self.seed, self.times = seed, times
        first = UNTIL // HOUR - DAYS * 24 - 48
        hours = np.arange(first, UNTIL // HOUR + 1, dtype=np.int64)
        days = np.arange((first + OFFSET // HOUR) // 24, UNTIL // DAY + 2, dtype=np.int64)
        kinds = np.where(is_holiday(days), 6, (days + 3) % 7)
        around = Surroundings(
            Weather(first, tuple(temperature(seed, hours).tolist())),
            Calendar(int(days[0]), tuple(kinds.tolist())),
        )
        every = series.street(seed, dwellings, DAYS, lossy=False, until=UNTIL)
        self.profiles = {
            medium: [
                Truth(
                    str(one.dwelling),
                    medium,
                    one.end_at,
                    one.register,
                    around,
                    sane=not one.plan.profile.events,
                    lived_in=bool(one.plan.profile.occupancy),
                )
                for one in profiles
                if is_published(seed, one.dwelling) == published
            ]
            for medium, profiles in every.items()
        }
        self._habits = {
            (one.medium, str(one.dwelling)): one.plan.profile
            for profiles in every.values()
            for one in profiles
        }
        self.fed = [self._plant(one) for one in self.profiles["electricity"][:PLANTS]]

    def _plant(self, truth: Truth) -> Truth:
        """What the home would feed in with panels of 2 to 5 kW on its roof."""
        watts = 2_000 + int(chance(self.seed, _PLANT, int(truth.name)) * 3_000)
        habits = replace(self._habits["electricity", truth.name], panel=watts)
        back = passed(self.seed, habits, truth.end_at[1:] // HOUR - 1).back
        register = np.concatenate([[0], np.cumsum(back)]) // MILLIONTHS
        return Truth(truth.name, truth.medium, truth.end_at, register, truth.around, fed=True)

    def beside(self, truth: Truth) -> list[Truth]:
        """The other dwellings, of the first thirty."""
        return [
            other
            for other in (self.fed if truth.fed else self.profiles[truth.medium])[:30]
            if other is not truth and len(other.register) == len(truth.register)
        ]

    def household(self, truth: Truth) -> Beside | None:
        """What is known beside the registers of this one."""
        return _household(self.seed, self._habits[truth.medium, truth.name], truth.end_at)


def _household(seed: int, habits: Habits, end_at: Ints) -> Beside:
    """Of the household with these habits, at the instants of its registers, whole hours without a hole."""
    hours = end_at[1:] // HOUR - 1
    if habits.medium == "gas":
        return Beside(heats=bool(habits.occupancy) and chance(seed, 9, habits.household) < 0.3)
    if habits.medium == "electricity":
        return Beside(sun=sunshine(seed, hours))
    if habits.medium != "heat":
        return Beside()
    seen = passed(seed, habits, hours)
    volume = np.concatenate([[0], np.cumsum(seen.volume)]) // MILLIONTHS
    first = int(end_at[-1] + OFFSET) // DAY - SHOWN
    days: dict[int, list[Hour]] = {}
    for at, litres, supply, back in zip(
        end_at[1:].tolist(),
        (volume[1:] * 10).tolist(),
        seen.supply.tolist(),
        seen.returned.tolist(),
        strict=True,
    ):
        local = at + OFFSET
        if local // DAY >= first:
            days.setdefault(local // DAY, []).append(Hour(local % DAY // HOUR, 0, supply, back, litres, True))
    water = [mean(days[day]) if day in days else None for day in range(first, first + SHOWN)]
    return Beside(volume=volume, water=tuple(water), first=first)


def is_published(seed: int, dwelling: int) -> bool:
    """Is the dwelling in the half whose figures are published? Its four meters are together."""
    return chance(seed, _SPLIT, dwelling) < 0.5
