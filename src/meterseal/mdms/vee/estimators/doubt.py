"""Station VEE, how sure an estimate is: the variance of what has run through at each inner instant of a gap.

It chooses no shape and states no interval (`bridge` does). What is off in one hour is off in the next one too: a day with
little sun has little of it all day long, a straight line lies below a bell all morning. So variances are told from running
sums as they were seen, and never by adding up those of single hours. All of a gap is what the registers say: sums are
parts of the whole, and those at both ends are sure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from meterseal.mdms.vee.context import DAY
from meterseal.mdms.vee.estimators.estimator import Gap, Known
from meterseal.mdms.vee.view import Floats

ENOUGH = 3
"""Samples from which a variance is told."""
FORTNIGHT = 14
"""Days that are looked at for how far off a shape was."""


def missed(gap: Gap, known: Known, weights: Floats) -> Floats:
    """By how much such a shape would have missed the same hours of the days before, those with more use counting more.

    Infinite where too few of them are known.
    """
    first = -(-(gap.until - gap.since) // DAY)
    days = [
        use for back in range(first, first + FORTNIGHT) if (use := known.of_day(gap.ends, back)) is not None
    ]
    seen = np.array(days, np.float64).reshape(-1, gap.parts) * gap.inside
    totals = seen.sum(axis=1, keepdims=True)
    seen, totals = seen[totals[:, 0] > 0], totals[totals[:, 0] > 0]
    if len(seen) < ENOUGH:
        return np.full(gap.parts - 1, np.inf)
    apart = np.cumsum(seen / totals, axis=1) - _running(gap, weights)
    found: Floats = np.average(apart**2, axis=0, weights=totals[:, 0])[:-1]
    return np.asarray(found * _few(len(seen)), np.float64)


def among(gap: Gap, shares: Floats) -> Floats:
    """How far apart shapes are of which the mean is taken, one in each row."""
    inside = shares * gap.inside
    sums = np.cumsum(inside / np.maximum(inside.sum(axis=1, keepdims=True), 1e-300), axis=1)
    return np.asarray(_few(len(shares)) * _variance(sums)[:-1], np.float64)


def scattered(gap: Gap, seen: Sequence[Floats], weights: Floats) -> Floats:
    """As `among`, where each local day of a gap has samples of its own (rows) and days are off one by one.

    At an instant, what days before, this one and those after it add to the running sum less its part of the whole.
    """
    edges = np.cumsum([0, *[one.shape[1] for one in seen]])
    running, inside = _running(gap, weights), gap.inside
    parts = [one * inside[first:last] for one, first, last in zip(seen, edges[:-1], edges[1:], strict=True)]
    days = np.array([_variance(one.sum(axis=1)) for one in parts])
    off = np.empty(gap.parts)
    for k, one in enumerate(parts):
        share = running[edges[k] : edges[k + 1]]
        sums = np.cumsum(one, axis=1)
        own = _variance(sums - share * sums[:, -1:])
        off[edges[k] : edges[k + 1]] = (
            (1 - share) ** 2 * days[:k].sum() + own + share**2 * days[k + 1 :].sum()
        )
    whole = float((weights * inside).sum())
    found: Floats = off[:-1] / max(whole, 1e-300) ** 2
    return np.asarray(found * _few(min(len(one) for one in seen)), np.float64)


def as_large(gap: Gap, weights: Floats) -> Floats:
    """Where nothing was seen: every hour is off by as much as it is large, one by one."""
    inside = weights * gap.inside
    before = np.cumsum(inside**2)
    after = before[-1] - before
    off = before * after / max(float(before[-1]), 1e-300) / max(float(inside.sum()), 1e-300) ** 2
    return np.asarray(off[:-1], np.float64)


def _running(gap: Gap, weights: Floats) -> Floats:
    inside = weights * gap.inside
    return np.cumsum(inside / max(float(inside.sum()), 1e-300))


def _variance(samples: Floats) -> Floats:
    """Of one more sample against the mean of these."""
    return np.asarray(samples.var(axis=0, ddof=1) * (1 + 1 / len(samples)))


def _few(count: int) -> float:
    """Of so few samples a variance is not sure: by how much the square of Student's nine in ten exceeds the normal one
    (Cornish and Fisher's series, a hundredth off at most).
    """
    free = count - 1
    return float(((1.645 + 1.524 / free + 1.42 / free**2 + 0.98 / free**3) / 1.645) ** 2)
