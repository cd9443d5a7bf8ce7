"""Station forecast, how good it was: errors against the naive forecast, pinball loss and coverage.

Pure. No percentage of the value: that breaks where nothing was used.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from meterseal.mdms.forecast.task import DAY, LEVELS, WEEK, Floats


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


class PeakScore(Struct, frozen=True, kw_only=True):
    """How the highest hour of a day was foreseen: `within` is the share of days on which it lay between the outer levels
    (0.9 when that is right), `over` above them (0.05), `error` how far the median was off in all, as a part of what came,
    whichever way that flowed.
    """

    series: int
    days: int
    within: float
    over: float
    error: float
    came: float = 1.0
    """What the highest hours came to in all, by which days are weighed: hardly anything tells nothing of the error."""


def naive_scales(history: Floats) -> tuple[Floats, Floats]:
    """Mean absolute and mean square of "the same hour a week before" over (hours, series) of history; 0 where it never
    moved or nobody knows.
    """
    step = history[WEEK:] - history[:-WEEK]
    return _mean(np.abs(step)), _mean(step**2)


def score(error_scale: Floats, square_scale: Floats, came: Floats, quantiles: Floats) -> Score | None:
    """Judge (levels, hours, series) by what came (hours, series); the mean of the series that can be judged.

    The scales are those of `naive_scales`. A series is judged when its history moves at all and something of it came;
    None when there is none such.
    """
    error = came - quantiles[LEVELS.index(0.5)]
    known = ~np.isnan(error)
    judged = (known.sum(axis=0) > 0) & (error_scale > 0)
    if not judged.any():
        return None
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
        mase=float((_mean(np.abs(error))[judged] / error_scale[judged]).mean()),
        rmsse=float(np.sqrt(_mean(error**2)[judged] / square_scale[judged]).mean()),
        pinball=float(np.nanmean(loss[:, :, judged])),
        coverage=float(inside[:, judged][every].mean()),
        half=float(inner[:, judged][every].mean()),
    )


def peak_score(came: Floats, peaks: Floats) -> PeakScore | None:
    """Judge (levels, series) of a day's highest hour by what came (24 hours, series), of the series whose hours are all
    known; None when there is none such.
    """
    known = ~np.isnan(came).any(axis=0)
    if not known.any():
        return None
    highest, foreseen = came[:, known].max(axis=0), peaks[:, known]
    off = np.abs(highest - foreseen[LEVELS.index(0.5)]).sum()
    return PeakScore(
        series=int(known.sum()),
        days=1,
        within=float(((highest >= foreseen[0]) & (highest <= foreseen[-1])).mean()),
        over=float((highest > foreseen[-1]).mean()),
        error=float(off / max(flowed := float(np.abs(highest).sum()), 1e-9)),
        came=flowed,
    )


def low_score(came: Floats, lows: Floats) -> PeakScore | None:
    """The same of a day's lowest hour, as the highest of the other sign: `over` is more fed back than the outer level."""
    return peak_score(-came, -lows[::-1])


def mean_peaks(scores: Sequence[PeakScore]) -> PeakScore | None:
    """The mean of the scores of days, None of none; `series` is the most of them."""
    if not scores:
        return None
    return PeakScore(
        series=max(one.series for one in scores),
        days=sum(one.days for one in scores),
        within=float(np.mean([one.within for one in scores])),
        over=float(np.mean([one.over for one in scores])),
        error=sum(one.error * one.came for one in scores)
        / max(came := sum(one.came for one in scores), 1e-9),
        came=came,
    )


def within(came: Floats, peaks: Floats) -> float:
    """Share of days whose highest hour lies between the outer levels of (levels, days, series); `came` are known (hours,
    series).
    """
    highest = came[: peaks.shape[1] * DAY].reshape(peaks.shape[1], DAY, -1).max(axis=1)
    return float(((highest >= peaks[0]) & (highest <= peaks[-1])).mean())


def mean(scores: Sequence[Score]) -> Score:
    """The mean of scores (at least one): the hours are added up, `series` is the most of them."""
    return Score(
        series=max(one.series for one in scores),
        hours=sum(one.hours for one in scores),
        **{
            name: float(np.mean([getattr(one, name) for one in scores]))
            for name in ("mase", "rmsse", "pinball", "coverage", "half")
        },
    )


def _mean(values: Floats) -> Floats:
    good = ~np.isnan(values)
    mean: Floats = np.where(good, values, 0).sum(axis=0) / np.maximum(good.sum(axis=0), 1)
    return mean
