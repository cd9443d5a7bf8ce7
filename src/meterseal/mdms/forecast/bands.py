"""Station forecast, quantiles and choice: every model forecasts weeks that are known by now, and is judged by them.

Pure. A band is not assumed to be normal: it is what the model was wrong by, at that hour of the day, in those weeks.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from meterseal.errors import DataError
from meterseal.mdms.forecast.models import MODELS
from meterseal.mdms.forecast.task import DAY, LEVELS, WEEK, Floats, Forecast, Task

TRIED = 4
"""Weeks that a model is tried on."""
LEAST = 2
"""Weeks of history before the first of them."""
SEEN = WEEK
"""Hours of a series that must be known before a week for models to be judged by it: before that they forecast out of
nothing, and their errors would be the use itself."""
HALF = 0.5
"""Share of such a week's hours that must be known, too."""
MOSTLY = 18
"""Hours of a day that must be known for its peak to be."""
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
        np.concatenate([part.peaks for part in parts], axis=2),
        np.concatenate([part.lows for part in parts if part.lows is not None], axis=2) if task.net else None,
        tuple([name for part in parts for name in part.model]),
        {name: np.concatenate([part.scores[name] for part in parts]) for name in MODELS},
    )


def judged(use: Floats, weeks: int = TRIED) -> NDArray[np.bool_]:
    """(weeks, series): which of the last weeks of (hours, series) can judge a model, oldest first."""
    known = ~np.isnan(use)
    start = max(len(use) - weeks * WEEK, 0)
    weekly = known[start:].reshape(-1, WEEK, use.shape[1]).sum(axis=1)
    before = known[:start].sum(axis=0) + np.cumsum(weekly, axis=0) - weekly
    found: NDArray[np.bool_] = (before >= SEEN) & (weekly >= WEEK * HALF)
    return found


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
    _forget(wrong.values(), judged(task.use, weeks))
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
    peaks = np.empty((len(LEVELS), task.horizon // DAY, task.use.shape[1]), np.float32)
    lows = np.empty_like(peaks) if task.net else None
    first_hour = (int(task.hour[len(task.use)]) - weeks * WEEK) % 24
    for code, name in enumerate(names):
        chosen = np.flatnonzero(best == code)
        if len(chosen):
            point = MODELS[name](task._replace(use=task.use[:, chosen]))
            off = _by_hour(wrong[name][:, :, chosen], first_hour)
            thought = came[:, :, chosen] - wrong[name][:, :, chosen]
            growth = _growth(point, thought)
            off *= growth
            hours = np.maximum(point + off[:, task.hour[len(task.use) :]], task.floor)
            quantiles[:, :, chosen] = hours
            peaks[:, :, chosen] = _highest(point, hours, came[:, :, chosen], thought, growth)
            if lows is not None:
                # The lowest hour is the highest one of the other sign, and its quantiles come the other way round.
                turned = _highest(-point, -hours[::-1], -came[:, :, chosen], -thought, growth)
                lows[:, :, chosen] = -turned[::-1]
    return Forecast(quantiles, peaks, lows, tuple([names[code] for code in best.tolist()]), scores)


def _highest(point: Floats, hours: Floats, came: Floats, thought: Floats, growth: Floats) -> Floats:
    """(levels, days, series): quantiles of each day's highest hour, from those of its `hours` (levels, hours, series)."""
    highest = _days(point).max(axis=1) + _off_peak(came, thought)[:, None] * growth
    # No day's peak is below any of its hours: whatever bounds an hour from above bounds the peak no lower.
    bound: Floats = np.maximum(highest, np.stack([_days(level).max(axis=1) for level in hours]))
    return bound


def _forget(wrong: Iterable[Floats], good: NDArray[np.bool_]) -> None:
    """Leave out the weeks that judge nothing, of series that have any others."""
    out = ~good & good.any(axis=0)
    if out.any():
        for error in wrong:
            error.transpose(0, 2, 1)[out] = np.nan


def _days(hours: Floats) -> Floats:
    """(whole days, 24, series) of (hours, series)."""
    days = len(hours) // DAY
    return hours[: days * DAY].reshape(days, DAY, -1)


def _off_peak(came: Floats, thought: Floats) -> Floats:
    """(levels, series): quantiles of how far the peaks of days that came were from those that were thought, over (weeks,
    hours, series) each. The peak of a day is above that of its median hours: some hour is always the unlikely one.
    """
    there, then = (
        np.fmax.reduce(np.where(np.isnan(thought), np.nan, of).reshape(-1, DAY, of.shape[-1]), axis=1)
        for of in (came, thought)
    )
    known = (~np.isnan(thought)).reshape(-1, DAY, thought.shape[-1]).sum(axis=1) >= MOSTLY
    return _quantiles(np.ascontiguousarray(np.where(known, there - then, np.nan).T), few=True)


def _growth(point: Floats, before: Floats) -> Floats:
    """How much larger what is forecast now is than what was forecast in the tried weeks, whichever way it flows: errors
    grow with what they are errors of, such as heat when winter comes.
    """
    usual = _mean_absolute(before)
    growth: Floats = np.clip(np.abs(point).mean(axis=0) / np.maximum(usual, 1e-6), *GROWTH).astype(np.float32)
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


def _quantiles(values: Floats, *, few: bool = False) -> Floats:
    """(levels, series) of (series, values), NaN left out; 0 where nothing is known. Of `few` values the outer quantiles are
    taken further out, for the next value lies beyond all n of them twice in n + 1 times.
    """
    ranked = np.sort(values, axis=1)  # NaN last
    count = (~np.isnan(ranked)).sum(axis=1)
    place = np.arange(len(values))
    found = np.zeros((len(LEVELS), len(values)), np.float32)
    for index, level in enumerate(LEVELS):
        most = np.maximum(count - 1, 0)
        at = np.clip(level * (count + 1) - 1, 0, most) if few else level * most
        low = at.astype(np.int64)
        high = np.minimum(low + 1, most)
        part = (at - low).astype(np.float32)
        value = ranked[place, low] * (1 - part) + ranked[place, high] * part
        found[index] = np.where(count > 0, value, 0)
    return found
