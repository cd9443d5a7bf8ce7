"""Beside the path: a weather of no real place: temperature and sunshine by the hour, of a seed of its own.

A year near 31 degrees north with a hot summer and a cool winter. It knows no meter; use follows it (`profiles`). Hours
count from 1970 in UTC, local time is that of Asia/Shanghai.
"""

from __future__ import annotations

import numpy as np

from meterseal.kit.chance import Floats, Ints, uniform

LOCAL_HOURS = 8
"""Asia/Shanghai is UTC+8 the whole year."""
_PASSING, _CLOUDS = 900, 910


def local_day(hours: Ints) -> Ints:
    """Number of the local day since 1970."""
    return (hours + LOCAL_HOURS) // 24


def temperature(seed: int, hours: Ints) -> Floats:
    """Outdoor temperature in degC: season, day and night, passing weather."""
    day = local_day(hours)
    season = 12.5 - 15.5 * np.cos(2 * np.pi * ((day - 20) % 365.25) / 365.25)
    passing = sum(
        (uniform(seed, _PASSING, day // span) - 0.5) * 2 * size
        for span, size in ((1, 2.0), (3, 2.5), (7, 2.0))
    )
    hour = (hours + LOCAL_HOURS) % 24
    return np.asarray(season + passing + 4.0 * np.cos(2 * np.pi * (hour - 15) / 24), dtype=np.float64)


def sunshine(seed: int, hours: Ints) -> Floats:
    """What a panel gives of its peak power, 0 to 1: the sun's height by hour and season, and the clouds of the day."""
    day = local_day(hours)
    hour = (hours + LOCAL_HOURS) % 24 + 0.5
    declination = -23.44 * np.cos(2 * np.pi * ((day + 10) % 365.25) / 365.25)
    latitude = np.radians(31.0)
    height = np.sin(latitude) * np.sin(np.radians(declination)) + np.cos(latitude) * np.cos(
        np.radians(declination)
    ) * np.cos(np.pi * (hour - 12) / 12)
    clouds = 0.25 + 0.75 * np.sqrt(uniform(seed, _CLOUDS, day))
    passing = 0.8 + 0.2 * uniform(seed, _CLOUDS + 1, hours)
    return np.asarray(np.maximum(0.0, height) * clouds * passing, dtype=np.float64)
