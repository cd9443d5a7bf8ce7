"""Beside the path: believable use of water, gas, heat and electricity by the hour, and what a meter sees of it.

It keeps no state and reads no clock: what is used in an hour is a pure function of (seed, weather, profile, hour), so
that a meter program that was killed computes the same numbers again. Amounts are integers in millionths of the unit;
a register is the floor of their running sum in hundredths, as a counting mechanism shows it.

What is used and what passes the meter are two things: a bypass takes away, a panel on the roof gives back.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from meterseal.kit.chance import Floats, Ints, one, uniform
from meterseal.kit.holidays import is_holiday, spring_festival
from meterseal.kit.weather import LOCAL_HOURS, local_day, sunshine, temperature
from meterseal.model import Medium

HOUR = 3_600_000
DAY = 24 * HOUR
MINUTE = 60_000
LOCAL = LOCAL_HOURS * HOUR

MILLIONTHS = 10_000
"""Millionths of the unit in one count of the register (hundredths)."""
FLOWS_FROM, FLOWS = 10 * MINUTE, 40 * MINUTE
"""Everything is used in the middle of its hour: a clock that is off by seconds freezes the same register."""

MEDIUM_STREAM: dict[Medium, int] = {"water": 1, "gas": 2, "heat": 3, "electricity": 4}

Happening = Literal["leak", "burst", "stuck", "away", "theft", "backflow"]


class Event(Struct, frozen=True):
    """Something out of the ordinary in [since, until).

    `leak` and `burst` add `hourly` millionths of the unit to the use, `stuck` lets nothing pass, `away` empties the
    flat, `theft` leads `hourly` thousandths of the use past the meter, `backflow` lets `hourly` millionths flow back.
    """

    kind: Happening
    since: int
    until: int
    hourly: int = 0


class Profile(Struct, frozen=True):
    """One meter's use. `household` numbers the flat (its habits), `initial` is the register at `origin_at`.

    `origin_at` is a whole hour, Unix ms; `occupancy` is 0 for an empty flat, else persons. `panel` is the peak power in
    W of what stands on the roof (electricity).
    """

    medium: Medium
    household: int
    occupancy: int
    origin_at: int
    initial: int
    events: tuple[Event, ...] = ()
    panel: int = 0


_WATER_WORKDAY = (2, 1, 1, 1, 2, 6, 14, 16, 8, 4, 3, 5, 8, 5, 3, 3, 4, 9, 14, 15, 16, 14, 9, 4)
_WATER_WEEKEND = (3, 2, 1, 1, 1, 2, 5, 9, 13, 14, 12, 10, 10, 8, 6, 6, 7, 9, 13, 14, 14, 12, 9, 5)
_COOK_WORKDAY = (0, 0, 0, 0, 0, 2, 9, 8, 2, 1, 3, 12, 10, 1, 1, 1, 3, 14, 18, 9, 3, 2, 1, 0)
_COOK_WEEKEND = (0, 0, 0, 0, 0, 1, 3, 7, 8, 4, 6, 15, 14, 4, 2, 2, 4, 14, 18, 10, 4, 2, 1, 0)
_POWER_WORKDAY = (4, 3, 3, 3, 3, 4, 7, 9, 6, 5, 5, 7, 8, 6, 5, 5, 6, 9, 14, 16, 16, 14, 10, 6)
_POWER_WEEKEND = (5, 4, 3, 3, 3, 3, 4, 6, 8, 9, 9, 10, 10, 9, 8, 8, 8, 10, 13, 15, 15, 13, 10, 7)

WATER_CARRIES = 1_163
"""Wh that one m3 of water gives up over one degree."""


def _day_shape(workday: tuple[int, ...], weekend: tuple[int, ...], hours: Ints, shift: int) -> Floats:
    """Share of the day's use that falls into each hour; `shift` moves late risers by hours. Feasts are weekends."""
    local = hours + LOCAL_HOURS
    days = local // 24
    weekday = (days + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
    free = (weekday >= 5) | is_holiday(days)
    tables = np.array([workday, weekend], dtype=np.float64)
    tables /= tables.sum(axis=1, keepdims=True)
    return np.asarray(tables[free.astype(np.int64), (local - shift) % 24], dtype=np.float64)


def _inside(events: tuple[Event, ...], kind: Happening, hours: Ints) -> NDArray[np.bool_]:
    begins = hours * HOUR
    inside = np.zeros(len(hours), dtype=np.bool_)
    for event in events:
        if event.kind == kind:
            inside |= (begins >= event.since) & (begins < event.until)
    return inside


def _travelling(seed: int, house: int, hours: Ints) -> NDArray[np.bool_]:
    """One family in three spends the days around the Spring Festival elsewhere."""
    gone = np.zeros(len(hours), dtype=np.bool_)
    if not len(hours) or one(seed, 10, house) > 1 / 3:
        return gone
    days = local_day(hours)
    before = 1 + int(one(seed, 11, house) * 3)
    after = 3 + int(one(seed, 12, house) * 5)
    for year in range(1970 + int(days.min()) // 366, 1971 + int(days.max()) // 365):
        first = spring_festival(year)
        if first is not None:
            gone |= (days >= first - before) & (days < first + after)
    return gone


def hourly_use(seed: int, profile: Profile, hours: Ints, weather: int | None = None) -> Ints:
    """Millionths of m3 or kWh used in each hour that begins at hours[k] (hours since 1970, UTC).

    `weather` is the seed of the weather, else that of everything.
    """
    sky = seed if weather is None else weather
    home = _lived_in(seed, sky, profile, hours, profile.occupancy)
    away = _inside(profile.events, "away", hours)
    if profile.occupancy:
        away |= _travelling(seed, profile.household, hours)
        home = np.where(away, _lived_in(seed, sky, profile, hours, 0), home) if away.any() else home
    counts = np.floor(home * 1_000_000).astype(np.int64)
    begins = hours * HOUR
    for event in profile.events:
        inside = (begins >= event.since) & (begins < event.until)
        if event.kind in ("leak", "burst"):
            counts = np.where(inside, counts + event.hourly, counts)
        elif event.kind == "stuck":
            counts = np.where(inside, 0, counts)
    return np.maximum(counts, 0)


def _lived_in(seed: int, sky: int, profile: Profile, hours: Ints, persons: int) -> Floats:
    """Units used in each hour by so many persons; 0 is an empty flat."""
    house, stream = profile.household, 16 * profile.household + MEDIUM_STREAM[profile.medium]
    shift = int(one(seed, 7, house) * 3) - 1
    habit = 0.7 + 0.6 * one(seed, 8, house)
    mood = 0.65 + 0.7 * uniform(seed, stream + (1 << 20), local_day(hours))
    noise = -np.log1p(-0.98 * uniform(seed, stream, hours))
    if profile.medium == "electricity":
        power = 0.045 + 0.02 * habit
        daily = (1.3 + 1.25 * persons) * habit * (persons > 0)
        shape = _day_shape(_POWER_WORKDAY, _POWER_WEEKEND, hours, shift)
        use = power + daily * shape * mood * (0.4 + 0.6 * noise)
        if persons:  # air conditioning
            use = use + 0.03 * np.maximum(0.0, temperature(sky, hours) - 26.0) * habit
        return use
    cold = np.maximum(0.0, 17.0 - temperature(sky, hours))
    if profile.medium == "heat":
        comfort = (0.10 + 0.08 * habit) if persons else 0.03
        return comfort * cold * (0.9 + 0.2 * noise / 2) + (0.05 * persons * mood * noise)
    washing = _day_shape(_WATER_WORKDAY, _WATER_WEEKEND, hours, shift)
    if profile.medium == "water":
        drip = 0.0 if persons else 0.0008  # an empty flat still has a toilet valve
        hot = 1.0 + 0.012 * np.maximum(0.0, temperature(sky, hours) - 22.0)  # more showers in summer
        return drip + 0.125 * persons * habit * hot * washing * mood * noise
    daily = (0.12 + 0.11 * persons) * habit * (persons > 0)
    pilot = 0.0 if persons else 0.002
    use = pilot + daily * _day_shape(_COOK_WORKDAY, _COOK_WEEKEND, hours, shift) * mood * noise
    if one(seed, 9, house) < 0.3 and persons:  # one flat in three heats its water with gas
        use = use + (0.35 * persons + 0.02 * cold) * mood * noise * washing
    return use


class Passed(Struct, frozen=True):
    """What was used in each hour and what passed the meter, millionths of the unit.

    `net` is what its main register counts: backflow is negative there; of electricity it is what was drawn, and
    `back` what was fed in. `volume` is the water that carried heat, `supply` and `returned` its temperatures
    (hundredths of a degree).
    """

    used: Ints
    net: Ints
    back: Ints
    volume: Ints
    supply: Ints
    returned: Ints


def passed(seed: int, profile: Profile, hours: Ints, weather: int | None = None) -> Passed:
    """What the meter sees of the use."""
    sky = seed if weather is None else weather
    used = net = hourly_use(seed, profile, hours, weather)
    none = np.zeros(len(hours), dtype=np.int64)
    back, volume, supply, returned = none, none, none, none
    if profile.panel:
        made = np.floor(sunshine(sky, hours) * profile.panel * 1_000).astype(np.int64)
        net, back = np.maximum(net - made, 0), np.maximum(made - net, 0)
    begins = hours * HOUR
    for event in profile.events:
        inside = (begins >= event.since) & (begins < event.until)
        if event.kind == "theft":
            net = np.where(inside, net * (1_000 - event.hourly) // 1_000, net)
        elif event.kind == "backflow":
            net = np.where(inside, net - event.hourly, net)
    if profile.medium == "heat":
        outside = temperature(sky, hours)
        supply = np.floor(100 * np.clip(52.0 - 0.9 * outside, 30.0, 70.0)).astype(np.int64)
        spread = np.floor(100 * np.clip(14.0 - 0.3 * outside, 4.0, 20.0)).astype(np.int64)
        returned = supply - spread
        volume = net * 100_000 // (WATER_CARRIES * spread)
    return Passed(used, net, back, volume, supply, returned)


class Registers:
    """Hourly registers of one meter over a window, computed once; hundredths of m3 or kWh.

    They are the truth that readings are held against; no meter reads them.
    """

    def __init__(self, seed: int, profile: Profile, until: int, weather: int | None = None) -> None:
        first = profile.origin_at // HOUR
        hours = np.arange(first, max(first + 1, -(-until // HOUR)), dtype=np.int64)
        self.origin_at = first * HOUR
        self._seen = passed(seed, profile, hours, weather)
        self.turned: list[int] = _running(self._seen.net)
        self.values: list[int] = [profile.initial + turned // MILLIONTHS for turned in self.turned]

    @cached_property
    def used(self) -> list[int]:
        """True use so far, in millionths: what the register would have counted had everything passed it."""
        return _running(self._seen.used)

    @cached_property
    def second(self) -> list[int]:
        """Millionths that the second transducer turned: energy fed in, or the volume that carried heat."""
        return _running(self._seen.volume if self._seen.volume.any() else self._seen.back)

    def at(self, at: int) -> int:
        """The register at an instant of the window; between whole hours that of the hour that began."""
        return self.values[self._index(at)]

    def before(self, at: int) -> int:
        """The register one hour before `at` (the window's first value at its beginning)."""
        return self.at(at - HOUR)

    def totals(self, channels: int, at: int) -> tuple[int, ...]:
        """What the transducer shows at an instant, millionths since `origin_at`; `channels` of them."""
        index, last = (at - self.origin_at) // HOUR, len(self.values) - 1
        into = (at - self.origin_at) % HOUR - FLOWS_FROM
        if into >= FLOWS:
            index, into = index + 1, 0
        if into <= 0 or not 0 <= index < last:
            index = min(max(index, 0), last)
            return (self.turned[index],) if channels == 1 else (self.turned[index], self.second[index])
        return tuple(
            series[index] + (series[index + 1] - series[index]) * into // FLOWS
            for series in ((self.turned,) if channels == 1 else (self.turned, self.second))
        )

    def watts(self, at: int) -> int:
        """Mean power that was drawn in the last full hour (electricity)."""
        index = self._index(at)
        return (self.turned[index] - self.turned[max(index - 1, 0)]) // 1_000

    def temperatures(self, at: int) -> tuple[int, int]:
        """Supply and return in the hour before an instant, hundredths of a degree."""
        index = min(max(self._index(at) - 1, 0), len(self._seen.supply) - 1)
        return int(self._seen.supply[index]), int(self._seen.returned[index])

    def _index(self, at: int) -> int:
        return min(max((at - self.origin_at) // HOUR, 0), len(self.values) - 1)


def _running(amounts: Ints) -> list[int]:
    running: list[int] = [0, *np.cumsum(amounts).tolist()]
    return running
