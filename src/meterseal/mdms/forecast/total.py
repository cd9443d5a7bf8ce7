"""Station forecast, sums over days: what a whole rest of a period will probably come to, with a band.

Pure. The quantiles of hours do not add up to the quantile of their sum, so the sum is judged by itself: by what the
model would have been wrong by over as many hours, had it been asked in each of the weeks before.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from meterseal.errors import DataError
from meterseal.mdms.forecast.bands import LEAST
from meterseal.mdms.forecast.models import MODELS
from meterseal.mdms.forecast.task import WEEK, Floats, Task

ORIGINS = 6
"""Earlier moments at most, a week apart, at which the model is asked for the same sum."""
FEWEST = 2
NORMAL_95 = 1.645
"""Standard deviations between the median and the 0.95 quantile, widened below for the few moments it is taken from."""


class Total(NamedTuple):
    """`hours` (horizon, series) is the course, `low` and `high` are the 0.05 and 0.95 quantiles of its sum; `origins` how
    many earlier forecasts the band is taken from, `model` by which.
    """

    hours: Floats
    low: Floats
    high: Floats
    origins: int
    model: str


def total(task: Task) -> Total:
    """The sum over the horizon of the model with the least error in sums.

    Raises DataError `forecast.history` while fewer than FEWEST earlier moments are as long ago as the horizon is long,
    have two weeks before them, and were followed by hours half of which are known.
    """
    back = -(-task.horizon // WEEK)
    origins = min(ORIGINS, len(task.use) // WEEK - LEAST - back + 1)
    if origins < FEWEST:
        raise DataError(
            "forecast.history",
            f"A forecast over {task.horizon} hours needs {(back + LEAST + FEWEST - 1) * WEEK} hours of use and has "
            f"{len(task.use)}. Wait, or ask for fewer.",
        )
    wrong = {name: _errors(task, name, origins, back) for name in MODELS}
    told = (~np.isnan(wrong[next(iter(MODELS))])).sum(axis=0)
    if told.min(initial=origins) < FEWEST:
        raise DataError(
            "forecast.history",
            f"A forecast over {task.horizon} hours needs {FEWEST} times as many hours of use, a week apart, of which half "
            "are known. Wait, or ask for fewer.",
        )
    best = min(wrong, key=lambda name: float(np.nanmean(wrong[name] ** 2)))
    hours = MODELS[best](task)
    # Few sums tell little of their spread: Student's factor for so many, near enough above FEWEST.
    spread = np.sqrt(np.nanmean(wrong[best] ** 2, axis=0)) * NORMAL_95 * np.sqrt(1 + 2 / told)
    middle = hours.sum(axis=0)
    return Total(hours, np.maximum(middle - spread, 0), middle + spread, int(told.min(initial=origins)), best)


def _errors(task: Task, name: str, origins: int, back: int) -> Floats:
    """(origins, series): the sum that came less the sum forecast, at moments a week apart, as if the hours that nobody
    knows had been missed by as much as the others; NaN where fewer than half are known, which tells nothing.
    """
    found = []
    for origin in range(origins):
        ago = (back + origin) * WEEK
        start = len(task.use) - ago
        came = task.use[start : start + task.horizon]
        thought = MODELS[name](task.before(ago, task.horizon))
        known = ~np.isnan(came)
        hours = known.sum(axis=0)
        off = np.where(known, came - thought, 0).sum(axis=0) * len(came) / np.maximum(hours, 1)
        found.append(np.where(hours * 2 >= len(came), off, np.nan))
    return np.stack(found)
