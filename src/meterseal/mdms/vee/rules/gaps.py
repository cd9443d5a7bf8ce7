"""Station VEE, rules about what is not there: readings, use, movement.

Sources: missing-interval and consecutive-interval checks of Oracle Utilities MDM, zero check of the California VEE rules.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from meterseal.mdms.vee.context import DAY, HOUR
from meterseal.mdms.vee.rules.rule import Found, Reach, Rule, alike, by_medium, nth
from meterseal.mdms.vee.view import NONE, View


class Gap(Struct, frozen=True):
    """`allowed`: milliseconds that a reading may be later than the load profile promises."""

    allowed: int = 0


def gap(view: View, parameters: Gap) -> Found:
    """Rows that come later after the one before, of the same meter, than the load profile promises."""
    odd = np.setdiff1d(view.odd, view.exchanged, assume_unique=True)
    rows = odd[view.elapsed[odd] > view.context.interval + parameters.allowed]
    return Found(
        rows, {"hours": view.elapsed[rows] / HOUR, "missing": view.elapsed[rows] // view.context.interval}
    )


class Stuck(Struct, frozen=True):
    """`lasting`: milliseconds that a register may stand still."""

    lasting: int


def stuck(view: View, parameters: Stuck) -> Found:
    """The row with which a register has stood still for so long; while it goes on it is the same objection."""
    if not len(view.step) or not _stands(view, parameters.lasting):
        return Found()
    moved = view.step != 0
    moved[view.heads] = True
    moves = np.flatnonzero(moved)
    ends = np.append(moves[1:], len(moved)) - 1
    long = view.end_at[ends] - view.end_at[moves] >= parameters.lasting
    since, ends = moves[long], ends[long]
    rows = np.array(
        [
            first
            + int(np.searchsorted(view.end_at[first : last + 1], view.end_at[first] + parameters.lasting))
            for first, last in zip(since.tolist(), ends.tolist(), strict=True)
        ],
        np.int64,
    )
    channels = view.of(rows)
    return Found(
        rows,
        {
            "hours": (view.end_at[rows] - view.end_at[since]) / HOUR,
            "register": view.amount(view.register[rows], channels),
        },
        since,
    )


def _stands(view: View, lasting: int) -> bool:
    """Can any register have stood still for so long? Looks at few rows; never says no where one has."""
    if len(view.odd) and bool((view.step[view.odd] == 0).any()):
        return True
    apart = max(1, lasting // view.context.interval // 2)
    seen = view.register[::apart]
    return len(seen) < 3 or bool((seen[1:] == seen[:-1]).any())


class Zero(Struct, frozen=True):
    """`days` in a row without any use, where of the 28 days before the first at least `known` are known, none was
    without use, and their mean was above `least` thousandths of the unit.
    """

    days: int = 1
    known: int = 14
    least: int = 0


def zero(view: View, parameters: Zero) -> Found:
    """The close of the day with which a usage point that is always in use has used nothing for so many days."""
    days = view.days
    none = days.use == 0
    empty = np.flatnonzero(none)
    last = empty[nth(days.key[empty], parameters.days)]
    first = last - (parameters.days - 1)
    known, total = view.window(~none, 28)
    seen, _ = view.window(np.ones(len(none), np.bool_), 28)
    enough = (known[first] >= parameters.known) & (seen[first] == known[first])
    mean = total[first] / np.maximum(known[first], 1)
    found = enough & (mean > view.limit(parameters.least, days.channel[first]))
    last, first, mean = last[found], first[found], mean[found]
    facts = {
        "days": np.full(len(last), parameters.days),
        "mean": view.amount(mean, days.channel[last]),
    }
    return Found(days.closes[last], facts, days.opens[first])


class Constant(Struct, frozen=True):
    """`intervals` in a row with one and the same use of at least `least` digits."""

    intervals: int = 12
    least: int = 20


def constant(view: View, parameters: Constant) -> Found:
    """The row with which so many intervals in a row show one use to the last digit: nobody lives like that."""
    use, count = view.use, parameters.intervals
    apart = max(1, count // 4)
    seen = use[::apart]
    same = (seen[1:] == seen[:-1]) & (seen[1:] >= parameters.least)
    # Of so many equal intervals in a row at least `inside` are among those seen, one after the other.
    inside = min(count // apart - 1, 3)
    hit = same[: len(same) - inside + 1].copy() if inside >= 1 else np.ones(1, np.bool_)
    for k in range(1, inside):
        hit &= same[k : len(same) - inside + 1 + k]
    if not hit.any():
        return Found()
    equal = np.zeros(len(use), np.bool_)
    equal[1:] = (use[1:] == use[:-1]) & (use[1:] >= parameters.least)
    for broken in (view.unknown, view.odd):
        equal[broken] = False
        equal[broken[broken + 1 < len(use)] + 1] = False
    place = np.arange(len(use))
    since = np.maximum.accumulate(np.where(equal, 0, place))
    rows = np.flatnonzero(place - since == count - 1)
    rows = rows[equal[rows]] if count > 1 else NONE
    channels = view.of(rows)
    facts = {"intervals": np.full(len(rows), count), "use": view.amount(use[rows], channels)}
    return Found(rows, facts, since[rows] - 1)


RULES = (
    Rule("gap", 2, "warning", gap, alike(Gap()), lambda _: Reach(0), fed=True),
    Rule(
        "stuck-register",
        2,
        "info",
        stuck,
        # A refrigerator shows every day; nobody is without gas for weeks; a summer without heating is long.
        by_medium(
            water=Stuck(14 * DAY), gas=Stuck(30 * DAY), heat=Stuck(180 * DAY), electricity=Stuck(2 * DAY)
        ),
        lambda p: Reach(p.lasting),
    ),
    Rule(
        "zero",
        1,
        "info",
        zero,
        by_medium(
            water=Zero(days=3, least=50),
            gas=Zero(days=3, least=50),
            heat=Zero(days=3, least=5_000),
            electricity=Zero(least=500),
        ),
        lambda p: Reach((p.days + 30) * DAY),
    ),
    Rule(
        "constant", 1, "warning", constant, alike(Constant()), lambda p: Reach((p.intervals + 1) * 24 * HOUR)
    ),
)
