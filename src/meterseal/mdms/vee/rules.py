"""Station VEE, the rules: pure functions from columns to a mask of the rows they object to.

No rule changes a value, reads a clock or remembers anything; thresholds are frozen parameters with defaults
per medium. Each looks back at most `before(parameters)` valid rows of the same series, so that a part of a
series with that much context gives the mask of the whole. A new rule is a function and a row in RULES.

Sources of the formulas: interval spike check of Oracle Utilities MDM and its third-highest peak,
consecutive-interval check, gap and negative checks of the California VEE rules; adapted to cumulative
registers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from msgspec import Struct

from meterseal.mdms.finding import Severity
from meterseal.mdms.vee.columns import HOUR, Columns, Mask, mask, steps
from meterseal.model import Medium


class Gap(Struct, frozen=True):
    """`expected`: milliseconds between readings of the load profile."""

    expected: int = HOUR


def gap(columns: Columns, parameters: Gap) -> Mask:
    """Rows that come later after the one before than the load profile promises."""
    found = steps(columns)
    return mask(columns, found.row[found.follows & (found.elapsed > parameters.expected)])


class NegativeStep(Struct, frozen=True):
    """`allowed`: how far a register may fall, in its last digits (0: not at all)."""

    allowed: int = 0


def negative_step(columns: Columns, parameters: NegativeStep) -> Mask:
    """Rows whose register is lower than the one before: registers only rise."""
    found = steps(columns)
    return mask(columns, found.row[found.follows & (found.step < -parameters.allowed)])


class Spike(Struct, frozen=True):
    """Consumption per hour above `largest` (thousandths of the unit) and above its history.

    The history is the `window` steps before; it counts once it has `least` of them. A step is a spike when
    it exceeds the third highest of them by more than `excess` percent.
    """

    largest: int
    excess: int = 180
    window: int = 168
    least: int = 24


def spike(columns: Columns, parameters: Spike) -> Mask:
    """Rows that end a step larger than the connection can carry and than the week before shows."""
    found = steps(columns)
    rate = np.zeros(len(found.row))
    np.divide(found.step * float(HOUR), found.elapsed, out=rate, where=found.follows)
    limit = parameters.largest / 1000 * 10.0 ** -columns.exponent[found.row].astype(np.float64)
    candidates = np.flatnonzero(found.follows & (rate > limit))
    flagged = [
        at
        for at in candidates.tolist()
        if _beyond_history(rate[max(0, at - _history(found.rank, at, parameters)) : at], rate[at], parameters)
    ]
    return mask(columns, found.row[flagged])


def _history(rank: Any, at: int, parameters: Spike) -> int:
    """How many steps before this one belong to its window; the first row of a series is no step."""
    return min(parameters.window, int(rank[at]) - 1)


def _beyond_history(history: Any, rate: float, parameters: Spike) -> bool:
    if len(history) < max(parameters.least, 3):
        return True
    third = float(np.partition(history, -3)[-3])
    return rate > third * (1 + parameters.excess / 100)


class Stuck(Struct, frozen=True):
    """`readings`: so many readings in a row with one register."""

    readings: int


def stuck(columns: Columns, parameters: Stuck) -> Mask:
    """Rows with which a register has stood still for `readings` readings or more."""
    found = steps(columns)
    place = np.arange(len(found.row))
    moved = ~found.follows | (found.step != 0)
    since = np.maximum.accumulate(np.where(moved, place, 0)) if len(place) else place
    return mask(columns, found.row[place - since + 1 >= parameters.readings])


class Rule(Struct, frozen=True):
    """One row of the registry. `version` rises with every change of what the function answers.

    A finding is made for every flagged row, or, where the objection is `lasting`, where it begins.
    """

    name: str
    version: int
    severity: Severity
    mask: Callable[[Columns, Any], Mask]
    lasting: bool
    defaults: Mapping[Medium, Struct]
    before: Callable[[Any], int]


def _alike(parameters: Struct) -> dict[Medium, Struct]:
    return dict.fromkeys(("water", "gas", "heat", "electricity"), parameters)


RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("gap", 1, "warning", gap, False, _alike(Gap()), lambda _: 1),
        Rule("negative-step", 1, "error", negative_step, False, _alike(NegativeStep()), lambda _: 1),
        Rule(
            "spike",
            1,
            "warning",
            spike,
            False,
            # What a dwelling's meter passes at most: DN 20 water, G4 gas, a 40 kW heat exchanger, 60 A.
            {"water": Spike(5_000), "gas": Spike(6_000), "heat": Spike(40_000), "electricity": Spike(14_000)},
            lambda parameters: parameters.window + 1,
        ),
        Rule(
            "stuck-register",
            1,
            "info",
            stuck,
            True,
            # A refrigerator shows every day; nobody cooks with gas or heats for weeks at a time.
            {
                "water": Stuck(14 * 24),
                "gas": Stuck(30 * 24),
                "heat": Stuck(90 * 24),
                "electricity": Stuck(2 * 24),
            },
            lambda parameters: parameters.readings,
        ),
    )
}
"""Every rule by name; property tests are drawn from here."""


def suspects(columns: Columns, masks: Mapping[str, Mask]) -> Mask:
    """Rows whose register is not to be billed on: a fall, or the single high reading that a fall takes back.

    A spike that stays (a burst pipe) is use: it is found, and not doubted.
    """
    found = steps(columns)
    fell = masks["negative-step"][found.row]
    jumped = masks["spike"][found.row]
    doubted = fell.copy()
    register = columns.register[found.row]
    for at in np.flatnonzero(fell).tolist():
        if found.rank[at] >= 2 and jumped[at - 1] and register[at] >= register[at - 2]:
            doubted[at - 1], doubted[at] = True, False
    return mask(columns, found.row[doubted])
