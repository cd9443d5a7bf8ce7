"""Series to forecast: hours of a simulated street with its weather and feasts, and made ones whose answer is known."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from meterseal.kit.holidays import is_holiday
from meterseal.kit.plan import make_plan
from meterseal.kit.weather import local_day, temperature
from meterseal.mdms.forecast.task import REST, SATURDAY, WORKDAY, Codes, Floats, Task
from meterseal.model import Medium

HOUR = 3_600_000
SUMMER, WINTER = ((day * 24 - 8) * HOUR for day in (20_634, 20_850))
"""Midnight of Asia/Shanghai before 2026-06-30 and 2027-02-01, at which a street's days end."""


def calendar(hours: np.ndarray[tuple[int], np.dtype[np.int64]]) -> tuple[Codes, Codes]:
    """Local hour and kind of day of hours since 1970 UTC."""
    day = local_day(hours)
    weekday = (day + 3) % 7
    rest = (weekday == 6) | is_holiday(day)
    kind = np.where(rest, REST, np.where(weekday == 5, SATURDAY, WORKDAY))
    return ((hours + 8) % 24).astype(np.int8), kind.astype(np.int8)


@lru_cache(maxsize=4)
def street(medium: Medium, until: int = SUMMER, days: int = 160) -> tuple[Floats, int]:
    """(hours, meters) of true use in the unit of the medium, and the first hour since 1970."""
    plan = make_plan(until=until, days=days, dwellings=30, seed=77)
    columns = [
        np.diff(np.asarray(plan.registers(meter).values)) / 100
        for meter in plan.meters
        if meter.profile.medium == medium
    ]
    return np.asarray(columns, np.float32).T, plan.since // HOUR


def task(use: Floats, first: int, known: slice, horizon: int, *, weather: bool = True) -> Task:
    """The hours `known` of a street and what follows them."""
    hours = np.arange(first + known.start, first + known.stop + horizon)
    hour, kind = calendar(hours)
    degrees = temperature(77, hours).astype(np.float32) if weather else None
    return Task(use[known], hour, kind, degrees)


def made(use: Floats, horizon: int) -> Task:
    """Series of our own from a Monday on, no feast and no weather."""
    hours = np.arange(len(use) + horizon)
    weekday = hours // 24 % 7
    kind = np.where(weekday == 6, REST, np.where(weekday == 5, SATURDAY, WORKDAY)).astype(np.int8)
    return Task(np.asarray(use, np.float32), (hours % 24).astype(np.int8), kind, None)
