"""Station VEE, the estimators: straight, a like day, the average of like days, last year, weather, class, neighbours.

Sources: California VEE (linear up to two hours, reference days beyond), AEMO and Western Australia (day table, methods 14,
15, 17, 23), Oracle Utilities MDM (proxy day by temperature, profile), Energy Sparks (5 K, 7.5 K when warm). Reference days
lie before the gap, so that what comes later never changes an estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from meterseal.mdms.vee.context import DAY, HOUR
from meterseal.mdms.vee.estimators.estimator import Estimator, Gap, Known, Shape
from meterseal.mdms.vee.estimators.profiles import PROFILES
from meterseal.mdms.vee.view import Floats, Ints

LIKE = {0: (0,), 1: (1, 2, 3), 2: (2, 1, 3), 3: (3, 2, 1), 4: (4,), 5: (5,), 6: (6,)}
"""Which weekday may stand for which, best first (Western Australia 2012): Monday to Sunday; a holiday is a Sunday."""
WEEKS = 4
YEAR = 364
"""Days: the same weekday a year ago."""


def linear(gap: Gap, known: Known) -> Shape | None:
    """The same in every interval. How much single intervals vary is taken from the same hours of the week before."""
    parts = gap.parts
    return Shape(np.ones(parts), _scatter(gap, known), 0)


def _scatter(gap: Gap, known: Known) -> Floats:
    """Variance of an interval's use against the mean of its time, over that mean squared, from the days before."""
    days = [use for back in range(1, 15) if (use := known.of_day(gap.ends, back)) is not None]
    if len(days) < 3 or not np.sum(days):
        return np.full(gap.parts, np.inf)
    seen = np.array(days, np.float64)
    return np.asarray(seen.var(axis=0, ddof=1) / max(float(seen.mean()), 1e-9) ** 2)


def like_day(gap: Gap, known: Known) -> Shape | None:
    """Each day as the nearest day of the day table that is known."""
    return _by_days(gap, known, lambda day, ends: _table(known, day, ends)[:1], least=1)


def average_like_days(gap: Gap, known: Known) -> Shape | None:
    """Each interval as the mean of the same one on the days of the day table in the four weeks before."""
    return _by_days(gap, known, lambda day, ends: _table(known, day, ends), least=3)


def _table(known: Known, day: int, ends: Ints) -> list[Ints]:
    """Use of the days that may stand for this one, best first: week by week backwards, in the order of the table."""
    found = []
    kinds = {back: known.kind(day - back) for back in range(1, 7 * WEEKS + 1)}
    for week in range(WEEKS):
        for kind in LIKE[known.kind(day)]:
            for back in range(7 * week + 1, 7 * week + 8):
                if kinds[back] == kind and (use := known.of_day(ends, back)) is not None:
                    found.append(use)
    return found


def prior_year(gap: Gap, known: Known) -> Shape | None:
    """As 52 weeks ago, with the weeks beside it."""

    def days(day: int, ends: Ints) -> list[Ints]:
        backs = (YEAR, YEAR - 7, YEAR + 7)
        return [use for back in backs if (use := known.of_day(ends, back)) is not None]

    return _by_days(gap, known, days, least=1)


def weather_adjusted(gap: Gap, known: Known) -> Shape | None:
    """Each day as the mean of up to five days alike (working or free) of the sixty before, nearest in temperature."""

    def days(day: int, ends: Ints) -> list[Ints]:
        outside = float(known.degrees(ends).mean())
        if np.isnan(outside):
            return []
        allowed = 7.5 if outside >= 20 else 5.0
        ranked = []
        for back in range(1, 61):
            apart = abs(float(known.degrees(ends - back * DAY).mean()) - outside)
            alike = (known.kind(day - back) >= 5) == (known.kind(day) >= 5)
            if alike and apart < allowed and (use := known.of_day(ends, back)) is not None:
                ranked.append((apart, back, use))
        return [use for _, _, use in sorted(ranked, key=lambda one: one[:2])[:5]]

    return _by_days(gap, known, days, least=3)


def _by_days(gap: Gap, known: Known, days: Callable[[int, Ints], list[Ints]], *, least: int) -> Shape | None:
    """Put the days of a gap together from what stands for each; None when one has too little."""
    if not known.per_day:
        return None
    weights, variance = np.empty(gap.parts), np.empty(gap.parts)
    sources = 0
    for day, part in known.pieces:
        found = days(day, gap.ends[part])
        if len(found) < least:
            return None
        seen = np.array(found, np.float64)
        weights[part] = seen.mean(axis=0)
        variance[part] = seen.var(axis=0, ddof=1) * (1 + 1 / len(found)) if len(found) >= 3 else np.nan
        sources = max(sources, len(found))
    if not weights.sum():
        return None
    if np.isnan(variance).any():
        mean = max(float(weights.mean()), 1e-9)
        variance = 2 * _scatter(gap, known) * mean**2
    return Shape(weights, variance, sources)


def class_profile(gap: Gap, known: Known) -> Shape | None:
    """As the class of customers uses it on working and on free days."""
    table = PROFILES.get((known.customer, known.medium))
    if table is None:
        return None
    middle = gap.ends - gap.interval // 2 + known.offset
    hours = (middle // HOUR) % 24
    free = known.calendar.of(middle // DAY) >= 5
    weights = np.where(free, np.array(table[1])[hours], np.array(table[0])[hours]).astype(np.float64)
    return Shape(weights, weights**2, 0)


def neighbour_group(gap: Gap, known: Known) -> Shape | None:
    """As three or more usage points alike used it in the same hours, each counting the same."""
    totals = known.neighbours.sum(axis=1)
    shares = known.neighbours[totals > 0] / totals[totals > 0, None]
    if len(shares) < 3:
        return None
    weights = shares.mean(axis=0)
    return Shape(weights, shares.var(axis=0, ddof=1), len(shares))


def flat(gap: Gap, known: Known) -> Shape | None:
    """The same in every interval, however long: all that is known is the register."""
    return linear(gap, known)


MONTH_AND_HALF = 45 * DAY
_ROWS: Iterable[Estimator] = (
    Estimator("linear", 2, linear, 2 * HOUR, 1.15, 1.15),
    Estimator("like-day", 2, like_day, MONTH_AND_HALF, 0.9, 2.3),
    Estimator("average-like-days", 2, average_like_days, MONTH_AND_HALF, 1.2, 2.3),
    Estimator("prior-year", 2, prior_year, MONTH_AND_HALF, 1.6, 2.8),
    Estimator("weather-adjusted", 2, weather_adjusted, MONTH_AND_HALF, 1.5, 2.1),
    Estimator("class-profile", 2, class_profile, MONTH_AND_HALF, 0.9, 2.2),
    Estimator("neighbour-group", 2, neighbour_group, MONTH_AND_HALF, 1.3, 1.5),
    Estimator("flat", 2, flat, MONTH_AND_HALF, 1.8, 3.0),
)
ESTIMATORS: dict[str, Estimator] = {row.name: row for row in _ROWS}
"""Every estimator by name; property tests are drawn from here."""
