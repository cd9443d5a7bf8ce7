"""Station forecast, the models: the same hour a week ago, the mean of such hours, and a learned week with its weather.

Pure, and each the same for one series as for many. A new model is a function and a row of MODELS, and is back-tested,
chosen and measured like the others.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from meterseal.mdms.forecast.task import REST, WEEK, Codes, Floats, Model, Task

WEEKS = 4
"""Weeks that a like hour is looked for, and averaged over."""
HALF_LIFE = 6 * WEEK
"""Hours after which an hour of the past weighs half."""
HEATING, COOLING = 18.0, 26.0
"""Outdoor degC below which is heated, and above which is cooled."""
INERTIA = 24
"""Hours of weather that a building remembers."""
BELIEVED = 2 / 3
"""Part of what the last week was off by that is taken for the level to come."""
PENALTY_LEVEL, PENALTY = 0.5, 12.0
"""Ridge penalties, in weighted hours of evidence: of the hour of the day, and of every departure from it."""
CALENDARS = 14
"""Calendars whose factors are remembered, 2 MB each: a predicted bill looks at seven, its own and those it is tried by."""


def seasonal_naive(task: Task) -> Floats:
    """The same hour of the newest week in which it is known (what every forecast must beat)."""
    return _like_hours(task)[0]


def average_week(task: Task) -> Floats:
    """The mean of the same hour in the last weeks."""
    return _like_hours(task)[1]


def weather_week(task: Task) -> Floats:
    """Ridge regression on the hour of the day, the kind of the day and the degrees to heat and to cool, newer hours
    weighing more, brought to the level of the last week: by a factor what was used, by a difference a net, which has no
    level above nothing.

    All series share one matrix, so one factorisation serves them all; where an hour is not known the mean of like hours
    stands in.
    """
    use = _filled(task)
    rows, hours = use.shape[0], len(task.hour)
    features, weighted, inverse = _week(
        rows,
        task.hour.astype(np.int8).tobytes(),
        task.kind.astype(np.int8).tobytes(),
        None if task.temperature is None else task.temperature.astype(np.float32).tobytes(),
    )
    solved = (inverse @ (weighted @ use).astype(np.float64)).astype(np.float32)
    fitted = features @ solved
    last = slice(max(0, rows - WEEK), rows)
    if task.net:
        return np.asarray(fitted[rows:hours] + (use[last] - fitted[last]).mean(axis=0) * BELIEVED, np.float32)
    usual = use.mean(axis=0) * (last.stop - last.start) / 2
    level = (use[last].sum(axis=0) + usual) / np.maximum(
        np.maximum(fitted[last], 0).sum(axis=0) + usual, 1e-6
    )
    ahead: Floats = np.maximum(fitted[rows:hours] * np.clip(level, 0.5, 2.0), 0)
    return ahead


MODELS: dict[str, Model] = {
    "seasonal-naive/1": seasonal_naive,
    "average-week/1": average_week,
    "weather-week/1": weather_week,
}


def _like_hours(task: Task) -> tuple[Floats, Floats]:
    """(horizon, series): the newest known value of the same hour of the week, and the mean of those of WEEKS weeks."""
    rows, series = task.use.shape
    at = np.arange(task.horizon) % WEEK
    newest = np.full((WEEK, series), np.nan, np.float32)
    total = np.zeros((WEEK, series), np.float32)
    count = np.zeros((WEEK, series), np.float32)
    for week in range(1, WEEKS + 1):
        start = rows - week * WEEK
        values = task.use[max(start, 0) : max(start + WEEK, 0)]
        if not len(values):
            break
        there = slice(WEEK - len(values), WEEK)
        good = ~np.isnan(values)
        newest[there] = np.where(np.isnan(newest[there]), values, newest[there])
        total[there] += np.where(good, values, 0)
        count[there] += good
    otherwise = _mean(task.use)
    mean = np.where(count > 0, total / np.maximum(count, 1), otherwise).astype(np.float32)
    newest = np.where(np.isnan(newest), mean, newest)
    return np.maximum(newest[at], task.floor), np.maximum(mean[at], task.floor)


def _mean(use: Floats) -> Floats:
    """Mean of the known hours of each series, 0 where none is."""
    good = ~np.isnan(use)
    mean: Floats = np.where(good, use, 0).sum(axis=0) / np.maximum(good.sum(axis=0), 1)
    return mean.astype(np.float32)


def _filled(task: Task) -> Floats:
    """The history with the mean of like hours in its holes."""
    use = task.use
    holes = np.isnan(use)
    if not holes.any():
        return use
    filled = use.copy()
    of_week = (np.arange(len(use)) - len(use)) % WEEK
    good = ~holes
    kept = np.where(good, use, 0)
    total = np.zeros((WEEK, use.shape[1]), np.float32)
    count = np.zeros((WEEK, use.shape[1]), np.float32)
    for start in range(len(use) % WEEK - WEEK, len(use), WEEK):
        here = slice(max(start, 0), start + WEEK)
        there = slice(WEEK - (here.stop - here.start), WEEK)
        total[there] += kept[here]
        count[there] += good[here]
    like = np.where(count > 0, total / np.maximum(count, 1), _mean(use))
    filled[holes] = like[of_week][holes]
    return filled


class _Week(NamedTuple):
    """What of the learned week is the same for every series: `features` (hours, features), those of the known hours with
    their weights (features, rows), and the inverse of their penalised products.
    """

    features: Floats
    weighted: Floats
    inverse: NDArray[np.float64]


@lru_cache(maxsize=CALENDARS)
def _week(rows: int, hour: bytes, kind: bytes, temperature: bytes | None) -> _Week:
    """Of a calendar and its weather, as bytes, whose first `rows` hours are known. A street is asked for by the same hours,
    series by series, for a day of bills; the factors are nearly all of the work.
    """
    features, penalty = _features(
        np.frombuffer(hour, np.int8),
        np.frombuffer(kind, np.int8),
        None if temperature is None else np.frombuffer(temperature, np.float32),
    )
    known = features[:rows]
    weight = np.exp2((np.arange(rows) - rows) / HALF_LIFE).astype(np.float32)[:, None]
    weighted = np.ascontiguousarray((known * weight).T)
    gram = weighted.astype(np.float64) @ known.astype(np.float64) + np.diag(penalty)
    return _Week(features, weighted, np.asarray(np.linalg.inv(gram), np.float64))


def _features(hour: Codes, kind: Codes, temperature: Floats | None) -> tuple[Floats, NDArray[np.float64]]:
    """(hours, features) of the known hours and those to come, and the ridge penalty of each feature."""
    hours = len(hour)
    at = np.arange(hours)
    kinds = REST + 1
    features = np.zeros((hours, 24 + 24 * kinds), np.float32)
    features[at, hour] = 1
    features[at, 24 + 24 * kind.astype(np.int64) + hour] = 1
    columns = [features]
    if temperature is not None:
        felt = _remembered(temperature)
        block = hour.astype(np.int64) // 4
        for degrees in (np.maximum(HEATING - felt, 0) / 10, np.maximum(felt - COOLING, 0) / 10):
            by_block = np.zeros((hours, 6), np.float32)
            by_block[at, block] = degrees
            columns.append(by_block)
    joined = np.concatenate(columns, axis=1)
    penalty = np.full(joined.shape[1], PENALTY)
    penalty[:24] = PENALTY_LEVEL
    return joined, penalty


def _remembered(temperature: Floats) -> NDArray[np.float64]:
    """Mean of the last INERTIA hours, of as many as there are at the beginning."""
    sums = np.concatenate(([0.0], np.cumsum(temperature, dtype=np.float64)))
    at = np.arange(1, len(sums))
    first = np.maximum(at - INERTIA, 0)
    return (sums[at] - sums[first]) / (at - first)
