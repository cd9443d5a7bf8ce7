"""Beside the path: how good estimates are where the truth is known: known hours hidden, and estimated by every method.

It neither puts faults in nor writes a page. Gaps of several lengths are cut where the seed says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from meterseal.kit.backtest.ground import DAYS, Ground, Truth
from meterseal.mdms.vee.context import DAY, HOUR
from meterseal.mdms.vee.estimators import ESTIMATORS, FED_IN, ORDERS, Gap, Known, bridge
from meterseal.model import Medium

LENGTHS = (2, 6, 24, 72, 168)
"""Hours between the two good registers of a gap."""
IN_ORDER = "(order)"
"""The row of the methods in the order in which a run asks them."""
_TRIES = 20


class Score(Struct, frozen=True, kw_only=True):
    """One line: gaps of one length, medium (or of what was `fed` in) and method. `hourly` is the mean absolute error of an
    hour and `inner` of the inner registers, both as percent of the mean use of an hour and of the gap; `peak` that of the
    highest hour, percent of it; `energy` the largest error of the sum in last digits; `held` how many inner registers lie
    within the interval that was stated to hold nine in ten.
    """

    medium: Medium
    hours: int
    method: str
    gaps: int
    hourly: float
    inner: float
    peak: float
    energy: int
    held: float
    fed: bool = False


def scores(ground: Ground, lengths: Sequence[int] = LENGTHS, times: int | None = None) -> Iterator[Score]:
    """Every medium, length and method over so many gaps of each usage point."""
    for truths in (*ground.profiles.values(), ground.fed):
        for hours in lengths:
            gaps = [
                (one, begin) for one in truths for begin in _begins(ground, one, hours, times or ground.times)
            ]
            asked = FED_IN if truths is ground.fed else ESTIMATORS
            for method in (IN_ORDER, *[name for name in ESTIMATORS if name in asked]):
                if hours * HOUR <= (ESTIMATORS[method].longest if method in ESTIMATORS else DAYS * DAY):
                    found = [got for one, begin in gaps if (got := gap_of(ground, one, begin, hours, method))]
                    if found:
                        yield _score(truths[0], hours, method, np.array(found))


def _begins(ground: Ground, truth: Truth, hours: int, times: int) -> list[int]:
    """Rows at which gaps begin: an hour of the last days by chance of the seed, where all that is hidden is known."""
    random = Random(f"{ground.seed}/{truth.name}/{truth.medium}/{hours}{'/fed' if truth.fed else ''}")
    last, known = len(truth.end_at) - 1, np.cumsum(truth.whole)
    early, late = (last - days * 24 for days in ground.gaps)
    found: list[int] = []
    for _ in range(_TRIES * times):
        begin = random.randrange(early, late - hours)
        if known[begin + hours] - known[begin] == hours:
            found.append(begin)
        if len(found) == times:
            break
    return found


def gap_of(
    ground: Ground, truth: Truth, begin: int, hours: int, method: str
) -> tuple[float, float, float, float, float, float] | None:
    """(error of hours, inner registers, peak, sum, held, use) of one gap; None where the method says nothing."""
    end_at, register = truth.end_at, truth.register
    gap = Gap(
        int(end_at[begin]),
        int(end_at[begin + hours]),
        HOUR,
        int(register[begin]),
        int(register[begin + hours]),
    )
    beside = [np.diff(other.register[begin : begin + hours + 1]) for other in ground.beside(truth)]
    known = Known.of(
        gap,
        end_at[: begin + 1],
        register[: begin + 1],
        medium=truth.medium,
        calendar=truth.around.calendar,
        weather=truth.around.weather,
        neighbours=np.array(beside, np.int64).reshape(-1, hours),
        fed=truth.fed,
    )
    order: tuple[str, ...] = (method,)
    if method == IN_ORDER:
        order = FED_IN if truth.fed else ORDERS["dwelling", truth.medium]
    filled = bridge(gap, known, order)
    if filled is None or gap.last == gap.first:
        return None
    real = register[begin + 1 : begin + hours]
    estimate = np.array(filled.registers, np.int64)
    hourly, used = (np.diff([gap.first, *inner.tolist(), gap.last]) for inner in (estimate, real))
    off = np.abs(estimate - real)
    return (
        float(np.abs(hourly - used).mean()),
        float(off.mean()),
        abs(float(hourly.max() - used.max())) / float(used.max()),
        float(abs(hourly.sum() - used.sum())),
        float((off <= np.array(filled.uncertainty)).mean()),
        float(gap.last - gap.first),
    )


def _score(truth: Truth, hours: int, method: str, found: NDArray[np.float64]) -> Score:
    hourly, inner, peak, energy, held, use = found.T
    return Score(
        medium=truth.medium,
        fed=truth.fed,
        hours=hours,
        method=method,
        gaps=len(found),
        hourly=round(100 * float(hourly.sum() / (use / hours).sum()), 1),
        inner=round(100 * float(inner.sum() / use.sum()), 2),
        peak=round(100 * float(peak.mean()), 1),
        energy=int(energy.max()),
        held=round(float(held.mean()), 3),
    )
