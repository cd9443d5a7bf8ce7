"""Station VEE, the estimators: straight, a like day, the average of like days, last year, weather, class, neighbours.

Sources: California VEE (linear up to two hours, reference days beyond), AEMO and Western Australia (day table, methods 14,
15, 17, 23), Oracle Utilities MDM (proxy day by temperature, profile), Energy Sparks (5 K, 7.5 K when warm). Reference days
lie before the gap, so that what comes later never changes an estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from meterseal.mdms.vee.context import DAY, HOUR
from meterseal.mdms.vee.estimators.doubt import ENOUGH, FORTNIGHT, among, as_large, missed, scattered
from meterseal.mdms.vee.estimators.estimator import Estimator, Gap, Known, Shape
from meterseal.mdms.vee.estimators.profiles import PROFILES
from meterseal.mdms.vee.view import Ints

LIKE = {0: (0,), 1: (1, 2, 3), 2: (2, 1, 3), 3: (3, 2, 1), 4: (4,), 5: (5,), 6: (6,)}
"""Which weekday may stand for which, best first (Western Australia 2012): Monday to Sunday; a holiday is a Sunday."""
WEEKS = 4
YEAR = 364
"""Days: the same weekday a year ago."""


def linear(gap: Gap, known: Known) -> Shape | None:
    """The same in every interval. How far off that is the same hours of the two weeks before say."""
    weights = np.ones(gap.parts)
    return Shape(weights, missed(gap, known, weights), 0)


def like_day(gap: Gap, known: Known) -> Shape | None:
    """Each day as the nearest day of the day table that is known."""
    return _by_days(gap, known, lambda day, ends: _table(known, day, ends)[:1], least=1)


def average_like_days(gap: Gap, known: Known) -> Shape | None:
    """Each interval as the mean of the same one on the days of the day table in the four weeks before."""
    return _by_days(gap, known, lambda day, ends: _table(known, day, ends), least=3)


def _table(known: Known, day: int, ends: Ints) -> list[Ints]:
    """Use of the days that may stand for this one, best first: week by week backwards, in the order of the table. To the
    sun all days are alike, the nearest most.
    """
    if known.fed:
        backs = range(1, 7 * WEEKS + 1)
        return [use for back in backs if (use := known.of_day(ends, back)) is not None][:FORTNIGHT]
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
    seen = []
    for day, part in known.pieces:
        found = days(day, gap.ends[part])
        if len(found) < least:
            return None
        seen.append(np.array(found, np.float64))
    weights = np.concatenate([one.mean(axis=0) for one in seen])
    if not weights.sum():
        return None
    counts = [len(one) for one in seen]
    off = scattered(gap, seen, weights) if min(counts) >= ENOUGH else missed(gap, known, weights)
    return Shape(weights, off, max(counts))


def class_profile(gap: Gap, known: Known) -> Shape | None:
    """As the class of customers uses it on working and on free days."""
    table = PROFILES.get((known.customer, known.medium))
    if table is None:
        return None
    middle = gap.ends - gap.interval // 2 + known.offset
    hours = (middle // HOUR) % 24
    free = known.calendar.of(middle // DAY) >= 5
    weights = np.where(free, np.array(table[1])[hours], np.array(table[0])[hours]).astype(np.float64)
    off = missed(gap, known, weights)
    return Shape(weights, off if np.isfinite(off).all() else as_large(gap, weights), 0)


def neighbour_group(gap: Gap, known: Known) -> Shape | None:
    """As three or more usage points alike used it in the same hours, each counting the same."""
    totals = known.neighbours.sum(axis=1)
    shares = known.neighbours[totals > 0] / totals[totals > 0, None]
    if len(shares) < ENOUGH:
        return None
    weights = shares.mean(axis=0)
    return Shape(weights, among(gap, shares), len(shares))


def flat(gap: Gap, known: Known) -> Shape | None:
    """The same in every interval, however long: all that is known is the register."""
    return linear(gap, known)


MONTH_AND_HALF = 45 * DAY
_ROWS: Iterable[Estimator] = (
    Estimator("linear", 3, linear, 2 * HOUR, 1.2, 1.2),
    Estimator("like-day", 3, like_day, MONTH_AND_HALF, 1.2, 1.2),
    Estimator("average-like-days", 3, average_like_days, MONTH_AND_HALF, 1.15, 1.2),
    Estimator("prior-year", 3, prior_year, MONTH_AND_HALF, 1.8, 1.2),
    Estimator("weather-adjusted", 3, weather_adjusted, MONTH_AND_HALF, 1.3, 1.15),
    Estimator("class-profile", 3, class_profile, MONTH_AND_HALF, 1.2, 1.3),
    Estimator("neighbour-group", 3, neighbour_group, MONTH_AND_HALF, 1.3, 1.2),
    Estimator("flat", 3, flat, MONTH_AND_HALF, 1.25, 1.3),
)
ESTIMATORS: dict[str, Estimator] = {row.name: row for row in _ROWS}
"""Every estimator by name; property tests are drawn from here."""
