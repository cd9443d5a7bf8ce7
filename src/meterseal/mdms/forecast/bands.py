"""Station forecast, quantiles and choice: every model forecasts weeks that are known by now, and is judged by them.

Pure. A band is not assumed to be normal: it is what the model was wrong by, at that hour of the day, in those weeks.
"""

from __future__ import annotations

import numpy as np

from meterseal.errors import DataError
from meterseal.mdms.forecast.models import MODELS
from meterseal.mdms.forecast.task import LEVELS, WEEK, Floats, Forecast, Task

TRIED = 4
"""Weeks that a model is tried on."""
LEAST = 2
"""Weeks of history before the first of them."""
AT_ONCE = 2_000
"""Series whose hours are worked on at once, so that they stay in the cache of a core or near it."""
WORTH = 0.99
"""A model takes the place of the naive one when its error is below this part of the naive one's."""
GROWTH = (1.0, 2.5)
"""Bounds of how much a band widens with the forecast; what was uncertain does not become certain by being little."""
NAIVE = "seasonal-naive/1"


def forecast(task: Task) -> Forecast:
    """Quantiles for every hour to come, by the model that each series did best with.

    Raises DataError `forecast.history` with less than three weeks of hours.
    """
    weeks = min(TRIED, len(task.use) // WEEK - LEAST)
    if weeks < 1:
        raise DataError(
            "forecast.history",
            f"A forecast needs {LEAST + 1} weeks of hourly use and has {len(task.use)} hours. Wait, or ask for it later.",
        )
    parts = [
        _forecast(task.part(start, start + AT_ONCE), weeks) for start in range(0, task.use.shape[1], AT_ONCE)
    ]
    return Forecast(
        np.concatenate([part.quantiles for part in parts], axis=2),
        tuple([name for part in parts for name in part.model]),
        {name: np.concatenate([part.scores[name] for part in parts]) for name in MODELS},
    )


def errors(task: Task, name: str, weeks: int, horizon: int = WEEK) -> Floats:
    """(weeks, horizon, series): what came less what the model would have forecast at the beginning of each of the last
    weeks, oldest first; NaN where nobody knows what came.
    """
    found = []
    for week in range(weeks, 0, -1):
        start = len(task.use) - week * WEEK
        then = task.before(week * WEEK, horizon)
        came = task.use[start : start + horizon]
        found.append(came - MODELS[name](then)[: len(came)])
    return np.stack(found)


def _forecast(task: Task, weeks: int) -> Forecast:
    wrong = {name: errors(task, name, weeks) for name in MODELS}
    scores = {name: _mean_absolute(error) for name, error in wrong.items()}
    best = np.zeros(task.use.shape[1], np.int64)
    names = list(MODELS)
    least = scores[NAIVE] * WORTH
    for code, name in enumerate(names):
        if name != NAIVE:
            better = scores[name] < least
            best[better] = code
            least = np.where(better, scores[name], least)
    best[scores[NAIVE] <= least] = names.index(NAIVE)
    came = task.use[-weeks * WEEK :].reshape(weeks, WEEK, -1)
    quantiles = np.empty((len(LEVELS), task.horizon, task.use.shape[1]), np.float32)
    first_hour = (int(task.hour[len(task.use)]) - weeks * WEEK) % 24
    for code, name in enumerate(names):
        chosen = np.flatnonzero(best == code)
        if len(chosen):
            point = MODELS[name](task._replace(use=task.use[:, chosen]))
            off = _by_hour(wrong[name][:, :, chosen], first_hour)
            off *= _growth(point, came[:, :, chosen] - wrong[name][:, :, chosen])
            quantiles[:, :, chosen] = np.maximum(point + off[:, task.hour[len(task.use) :]], 0)
    return Forecast(quantiles, tuple([names[code] for code in best.tolist()]), scores)


def _growth(point: Floats, before: Floats) -> Floats:
    """How much larger what is forecast now is than what was forecast in the tried weeks: errors grow with what they are
    errors of, such as heat when winter comes.
    """
    good = ~np.isnan(before)
    usual = np.where(good, before, 0).sum(axis=(0, 1)) / np.maximum(good.sum(axis=(0, 1)), 1)
    growth: Floats = np.clip(point.mean(axis=0) / np.maximum(usual, 1e-6), *GROWTH).astype(np.float32)
    return np.where(usual > 0, growth, np.float32(1))


def _mean_absolute(error: Floats) -> Floats:
    good = ~np.isnan(error)
    total = np.where(good, np.abs(error), 0).sum(axis=(0, 1))
    mean: Floats = (total / np.maximum(good.sum(axis=(0, 1)), 1)).astype(np.float32)
    return mean


def _by_hour(error: Floats, first_hour: int) -> Floats:
    """(levels, 24, series): quantiles of the errors at each local hour and its neighbours."""
    weeks, hours, series = error.shape
    days = error.reshape(weeks * hours // 24, 24, series)
    days = np.roll(days, first_hour, axis=1)  # now column k is local hour k
    found = np.empty((len(LEVELS), 24, series), np.float32)
    for hour in range(24):
        near = days[:, [(hour - 1) % 24, hour, (hour + 1) % 24]].reshape(-1, series)
        found[:, hour] = _quantiles(np.ascontiguousarray(near.T))
    return found


def _quantiles(values: Floats) -> Floats:
    """(levels, series) of (series, values), NaN left out; 0 where nothing is known."""
    ranked = np.sort(values, axis=1)  # NaN last
    count = (~np.isnan(ranked)).sum(axis=1)
    place = np.arange(len(values))
    found = np.zeros((len(LEVELS), len(values)), np.float32)
    for index, level in enumerate(LEVELS):
        at = level * np.maximum(count - 1, 0)
        low = at.astype(np.int64)
        high = np.minimum(low + 1, np.maximum(count - 1, 0))
        part = (at - low).astype(np.float32)
        value = ranked[place, low] * (1 - part) + ranked[place, high] * part
        found[index] = np.where(count > 0, value, 0)
    return found
