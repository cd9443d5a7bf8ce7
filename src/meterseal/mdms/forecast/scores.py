"""Station forecast, how good it was: errors against the naive forecast, pinball loss and coverage.

Pure. No percentage of the value: that breaks where nothing was used.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from meterseal.mdms.forecast.task import LEVELS, WEEK, Floats


class Score(Struct, frozen=True, kw_only=True):
    """`mase` and `rmsse` are errors of the median over those of "the same hour a week before" in the history; below 1 is
    better than that. `pinball` is the mean loss over all levels in the unit of the series, `coverage` the share of hours
    between the outer levels (0.9 when it is right), `half` between the inner ones (0.5).
    """

    series: int
    hours: int
    mase: float
    rmsse: float
    pinball: float
    coverage: float
    half: float


def score(history: Floats, came: Floats, quantiles: Floats) -> Score:
    """Judge (levels, hours, series) by what came (hours, series); the mean of the series that can be judged.

    A series is judged when its history moves at all and something of it came.
    """
    step = history[WEEK:] - history[:-WEEK]
    scale, scale_square = _mean(np.abs(step)), _mean(step**2)
    error = came - quantiles[LEVELS.index(0.5)]
    known = ~np.isnan(error)
    judged = (known.sum(axis=0) > 0) & (scale > 0)
    loss = np.stack(
        [
            np.maximum(level * (came - value), (level - 1) * (came - value))
            for level, value in zip(LEVELS, quantiles, strict=True)
        ]
    )
    inside = (came >= quantiles[0]) & (came <= quantiles[-1])
    inner = (came >= quantiles[1]) & (came <= quantiles[-2])
    every = known[:, judged]
    return Score(
        series=int(judged.sum()),
        hours=int(every.sum()),
        mase=float((_mean(np.abs(error))[judged] / scale[judged]).mean()),
        rmsse=float(np.sqrt(_mean(error**2)[judged] / scale_square[judged]).mean()),
        pinball=float(np.nanmean(loss[:, :, judged])),
        coverage=float(inside[:, judged][every].mean()),
        half=float(inner[:, judged][every].mean()),
    )


def _mean(values: Floats) -> Floats:
    good = ~np.isnan(values)
    mean: Floats = np.where(good, values, 0).sum(axis=0) / np.maximum(good.sum(axis=0), 1)
    return mean
