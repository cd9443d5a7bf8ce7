"""Beside the path: believable use of water, gas, heat and electricity by the hour, as registers of a meter.

It keeps no state and reads no clock: a register is a pure function of (seed, profile, time), so that a
meter program that was killed computes the same numbers again. Hourly use is an integer in millionths of the
unit; the register is the floor of its running sum in hundredths, as a counting mechanism shows it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from meterseal.model import Medium

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

HOUR = 3_600_000
DAY = 24 * HOUR
LOCAL = 8 * HOUR
"""Asia/Shanghai is UTC+8 the whole year."""

MILLIONTHS = 10_000
"""Millionths of the unit in one count of the register (hundredths)."""

MEDIUM_STREAM: dict[Medium, int] = {"water": 1, "gas": 2, "heat": 3, "electricity": 4}


class Event(Struct, frozen=True):
    """Something out of the ordinary in [since, until): `leak` and `burst` add use, `stuck` takes all of it
    away.

    `hourly` is in millionths of the unit and counts for leak and burst only.
    """

    kind: Literal["leak", "burst", "stuck"]
    since: int
    until: int
    hourly: int = 0


class Profile(Struct, frozen=True):
    """One meter's use. `household` numbers the flat (its habits), `initial` is the register at `origin_at`.

    `origin_at` is a whole hour, Unix ms; `occupancy` is 0 for an empty flat, else persons.
    """

    medium: Medium
    household: int
    occupancy: int
    origin_at: int
    initial: int
    events: tuple[Event, ...] = ()


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """splitmix64: every input bit reaches every output bit."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniform(seed: int, stream: int, index: Ints) -> Floats:
    """Numbers in [0, 1), one for each index, the same for the same (seed, stream, index) everywhere."""
    key = np.full(1, seed & 0xFFFFFFFFFFFFFFFF, dtype=np.uint64)
    with np.errstate(over="ignore"):
        key = _mix(_mix(key) ^ np.uint64(stream & 0xFFFFFFFF))
        bits = _mix(index.astype(np.uint64) ^ key)
    return (bits >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def _one(seed: int, stream: int, index: int) -> float:
    return float(uniform(seed, stream, np.array([index], dtype=np.int64))[0])


def temperature(seed: int, hours: Ints) -> Floats:
    """Outdoor temperature in degC of each hour (hours since 1970, UTC): season, day and night, passing
    weather.
    """
    local = hours + LOCAL // HOUR
    day = local // 24
    season = 12.5 - 15.5 * np.cos(2 * np.pi * ((day - 20) % 365.25) / 365.25)
    weather = sum(
        (uniform(seed, 900, day // span) - 0.5) * 2 * size for span, size in ((1, 2.0), (3, 2.5), (7, 2.0))
    )
    return np.asarray(season + weather + 4.0 * np.cos(2 * np.pi * ((local % 24) - 15) / 24), dtype=np.float64)


_WATER_WORKDAY = (2, 1, 1, 1, 2, 6, 14, 16, 8, 4, 3, 5, 8, 5, 3, 3, 4, 9, 14, 15, 16, 14, 9, 4)
_WATER_WEEKEND = (3, 2, 1, 1, 1, 2, 5, 9, 13, 14, 12, 10, 10, 8, 6, 6, 7, 9, 13, 14, 14, 12, 9, 5)
_COOK_WORKDAY = (0, 0, 0, 0, 0, 2, 9, 8, 2, 1, 3, 12, 10, 1, 1, 1, 3, 14, 18, 9, 3, 2, 1, 0)
_COOK_WEEKEND = (0, 0, 0, 0, 0, 1, 3, 7, 8, 4, 6, 15, 14, 4, 2, 2, 4, 14, 18, 10, 4, 2, 1, 0)
_POWER_WORKDAY = (4, 3, 3, 3, 3, 4, 7, 9, 6, 5, 5, 7, 8, 6, 5, 5, 6, 9, 14, 16, 16, 14, 10, 6)
_POWER_WEEKEND = (5, 4, 3, 3, 3, 3, 4, 6, 8, 9, 9, 10, 10, 9, 8, 8, 8, 10, 13, 15, 15, 13, 10, 7)


def _day_shape(workday: tuple[int, ...], weekend: tuple[int, ...], hours: Ints, shift: int) -> Floats:
    """Share of the day's use that falls into each hour; `shift` moves late risers by hours."""
    local = hours + LOCAL // HOUR
    weekday = (local // 24 + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
    tables = np.array([workday, weekend], dtype=np.float64)
    tables /= tables.sum(axis=1, keepdims=True)
    return np.asarray(tables[(weekday >= 5).astype(np.int64), (local - shift) % 24], dtype=np.float64)


def hourly_use(seed: int, profile: Profile, hours: Ints) -> Ints:
    """Millionths of m3 or kWh used in each hour that begins at hours[k] (hours since 1970, UTC)."""
    house, stream = profile.household, 16 * profile.household + MEDIUM_STREAM[profile.medium]
    day = (hours + LOCAL // HOUR) // 24
    shift = int(_one(seed, 7, house) * 3) - 1
    habit = 0.7 + 0.6 * _one(seed, 8, house)
    mood = 0.65 + 0.7 * uniform(seed, stream + (1 << 20), day)
    noise = -np.log1p(-0.98 * uniform(seed, stream, hours))
    persons = profile.occupancy
    cold = np.maximum(0.0, 17.0 - temperature(seed, hours))
    if profile.medium == "water":
        daily = 0.125 * persons * habit
        drip = 0.0 if persons else 0.0008  # an empty flat still has a toilet valve
        use = drip + daily * _day_shape(_WATER_WORKDAY, _WATER_WEEKEND, hours, shift) * mood * noise
    elif profile.medium == "gas":
        daily = (0.12 + 0.11 * persons) * habit * (persons > 0)
        pilot = 0.0 if persons else 0.002
        use = pilot + daily * _day_shape(_COOK_WORKDAY, _COOK_WEEKEND, hours, shift) * mood * noise
        if _one(seed, 9, house) < 0.3 and persons:  # one flat in three heats its water with gas
            use = use + (0.35 * persons + 0.02 * cold) * mood * noise * _day_shape(
                _WATER_WORKDAY, _WATER_WEEKEND, hours, shift
            )
    elif profile.medium == "heat":
        comfort = (0.10 + 0.08 * habit) if persons else 0.03
        use = comfort * cold * (0.9 + 0.2 * noise / 2) + (0.05 * persons * mood * noise)
    else:
        standby = 0.045 + 0.02 * habit
        daily = (1.3 + 1.25 * persons) * habit * (persons > 0)
        use = standby + daily * _day_shape(_POWER_WORKDAY, _POWER_WEEKEND, hours, shift) * mood * (
            0.4 + 0.6 * noise
        )
        if persons:
            use = use + 0.03 * np.maximum(0.0, temperature(seed, hours) - 26.0) * habit
    counts = np.floor(use * 1_000_000).astype(np.int64)
    begins = hours * HOUR
    for event in profile.events:
        inside = (begins >= event.since) & (begins < event.until)
        counts = np.where(inside, 0 if event.kind == "stuck" else counts + event.hourly, counts)
    return np.maximum(counts, 0)


class Registers:
    """Hourly registers of one meter over a window, computed once; hundredths of m3 or kWh."""

    def __init__(self, seed: int, profile: Profile, until: int) -> None:
        first = profile.origin_at // HOUR
        hours = np.arange(first, max(first + 1, -(-until // HOUR)), dtype=np.int64)
        running = np.concatenate(([0], np.cumsum(hourly_use(seed, profile, hours))))
        self.origin_at = first * HOUR
        self.values: list[int] = (profile.initial + running // MILLIONTHS).tolist()

    def at(self, at: int) -> int:
        """The register at an instant of the window; between whole hours that of the hour that began."""
        index = (at - self.origin_at) // HOUR
        return self.values[min(max(index, 0), len(self.values) - 1)]

    def before(self, at: int) -> int:
        """The register one hour before `at` (the window's first value at its beginning)."""
        return self.at(at - HOUR)
