"""Beside the path: the public holidays that change what a Chinese household does, as local days.

Only the days of the feasts themselves; that some Saturdays are worked in exchange is left out.
"""

from __future__ import annotations

from datetime import date
from typing import Final

import numpy as np

from meterseal.kit.chance import Ints

_EPOCH: Final = date(1970, 1, 1).toordinal()

SPRING_FESTIVAL: Final = {
    2020: (1, 25),
    2021: (2, 12),
    2022: (2, 1),
    2023: (1, 22),
    2024: (2, 10),
    2025: (1, 29),
    2026: (2, 17),
    2027: (2, 6),
    2028: (1, 26),
    2029: (2, 13),
    2030: (2, 3),
    2031: (1, 23),
    2032: (2, 11),
    2033: (1, 31),
    2034: (2, 19),
    2035: (2, 8),
}
"""New Year's day of the Chinese calendar (春节), month and day."""


def _days(year: int) -> set[int]:
    """Days since 1970 that are holidays in this year: New Year, Spring Festival, Labour Day, National Day."""
    found = {date(year, 1, 1).toordinal()}
    found |= {date(year, 5, day).toordinal() for day in range(1, 6)}
    found |= {date(year, 10, day).toordinal() for day in range(1, 8)}
    if year in SPRING_FESTIVAL:
        first = date(year, *SPRING_FESTIVAL[year]).toordinal()
        found |= set(range(first - 1, first + 7))
    return {ordinal - _EPOCH for ordinal in found}


def spring_festival(year: int) -> int | None:
    """Days since 1970 of the first day of the Chinese year, where the table knows it."""
    return None if year not in SPRING_FESTIVAL else date(year, *SPRING_FESTIVAL[year]).toordinal() - _EPOCH


def is_holiday(days: Ints) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether each local day (since 1970) is one."""
    if not len(days):
        return np.zeros(0, dtype=np.bool_)
    years = range(
        date.fromordinal(int(days.min()) + _EPOCH).year, date.fromordinal(int(days.max()) + _EPOCH).year + 1
    )
    known = np.array(sorted(set().union(*(_days(year) for year in years))), dtype=np.int64)
    return np.asarray(np.isin(days, known))
