"""Station VEE, from a gap to registers: asks the estimators of an order in turn and meets the registers on both sides.

It chooses no gap and stores nothing. Whatever the method, the sum of what it fills in is the register's difference to
the last digit, and no register falls.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from meterseal.mdms.vee.context import CLASSES
from meterseal.mdms.vee.estimators.estimator import Estimator, Gap, Known, Shape
from meterseal.mdms.vee.estimators.methods import ESTIMATORS
from meterseal.mdms.vee.view import Floats
from meterseal.model import Medium

NINETY = 1.645
"""Standard deviations on both sides that hold nine in ten."""

_BY_DAYS = ("average-like-days", "like-day", "prior-year", "neighbour-group", "class-profile", "flat")
_BY_WEATHER = ("linear", "weather-adjusted", *_BY_DAYS)
_ORDERS: dict[Medium, tuple[str, ...]] = {
    "water": ("linear", *_BY_DAYS),
    "gas": _BY_WEATHER,
    "heat": _BY_WEATHER,
    "electricity": ("linear", *_BY_DAYS[:2], "weather-adjusted", *_BY_DAYS[2:]),
}
ORDERS: dict[tuple[str, Medium], tuple[str, ...]] = {
    (customer, medium): order for customer in CLASSES for medium, order in _ORDERS.items()
}
"""Which method is asked first, by class and medium."""
FED_IN = ("neighbour-group", "average-like-days", "like-day", "prior-year", "linear", "flat")
"""The same for what was fed in: the neighbours have the same sky, and no class of customers has habits in it. A straight
line comes late however short the gap, for the sun draws none.
"""


class Override(Struct, frozen=True):
    """An operator's order of methods for gaps that begin in since <= t < until, and why: a feast, a lockdown, a cold spell.

    Of one medium, or of every one where `medium` is None; of one zone, or of all where `zone` is empty. An
    empty order is that of the table again. Which days to take for reference is the estimators' own business.
    """

    since: int
    until: int
    order: tuple[str, ...]
    reason: str
    medium: Medium | None = None
    zone: str = ""
    number: int = 0


class Bridge(NamedTuple):
    """What a gap is filled with: registers at its inner instants, how far each may be off (nine in ten), the method,
    and from how many days or neighbours it comes.
    """

    estimator: Estimator
    registers: tuple[int, ...]
    uncertainty: tuple[int, ...]
    sources: int


def order_for(
    gap: Gap, medium: Medium, customer: str, overrides: Sequence[Override] = (), zone: str = ""
) -> tuple[str, ...]:
    """The methods for a gap, first one first; the last override that fits wins over the table."""
    for override in reversed(overrides):
        here = override.medium in (None, medium) and override.zone in ("", zone)
        if here and override.since <= gap.since < override.until:
            return override.order or ORDERS[customer, medium]
    return ORDERS[customer, medium]


def can_fill(gap: Gap, order: Sequence[str]) -> bool:
    """May any of these methods fill it? Asks none of them."""
    whole = gap.parts > 1 and gap.last >= gap.first and (gap.until - gap.since) % gap.interval == 0
    return whole and any(gap.until - gap.since <= ESTIMATORS[name].longest for name in order)


def bridge(gap: Gap, known: Known, order: Sequence[str]) -> Bridge | None:
    """Fill a gap by the first method that can; None when none can or there is nothing to fill."""
    if not can_fill(gap, order):
        return None
    for name in order:
        estimator = ESTIMATORS[name]
        if gap.until - gap.since > estimator.longest:
            continue
        shape = estimator.shape(gap, known)
        if shape is not None:
            return _meet(gap, shape, estimator)
    return None


def _meet(gap: Gap, shape: Shape, estimator: Estimator) -> Bridge:
    registers = spread(shape.weights * gap.inside, gap.last - gap.first)[:-1]
    halves = _halves(gap, shape, estimator.scale(gap.until - gap.since), np.array(registers, np.float64))
    return Bridge(
        estimator,
        tuple(gap.first + register for register in registers),
        tuple(halves.tolist()),
        shape.sources,
    )


def spread(weights: Floats, total: int) -> list[int]:
    """Running sums that end with `total`, each within one digit of its share: what is cut off is carried to the next.

    Exact: weights are taken as the fractions they are. Weights that say nothing count the same.
    """
    if not np.isfinite(weights).all() or weights.min() < 0 or weights.sum() <= 0:
        weights = np.ones(len(weights))
    exact = [Fraction(float(weight)) for weight in weights]
    whole = sum(exact)
    running, sums = Fraction(0), []
    for weight in exact:
        running += weight
        sums.append(int(running * total // whole))
    return sums


def _halves(
    gap: Gap, shape: Shape, calibration: float, inner: Floats
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Half-widths of nine in ten for the inner registers, never more than what the registers on both sides allow."""
    total = gap.last - gap.first
    bound = np.maximum(inner, total - inner)
    with np.errstate(invalid="ignore", over="ignore"):
        half = calibration * NINETY * np.sqrt(shape.off) * total + 0.5
    half = np.where(np.isfinite(half), np.minimum(half, bound), bound)
    return np.ceil(half).astype(np.int64)
