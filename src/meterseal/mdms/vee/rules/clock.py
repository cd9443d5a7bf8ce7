"""Station VEE, rules about time: instants off the grid of the load profile, and two readings of one interval.

Source: device time check and duplicate check of the California monthly set and of Oracle Utilities MDM.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from meterseal.mdms.vee.rules.rule import Found, Reach, Rule, alike
from meterseal.mdms.vee.view import View


class Time(Struct, frozen=True):
    """Milliseconds that an instant may lie `off` the grid of the load profile."""

    off: int = 0


def time(view: View, parameters: Time) -> Found:
    """Rows from which on instants are none of the load profile's, by as much: the meter's clock is not to be trusted."""
    end_at, interval = view.end_at, view.context.interval
    if not len(end_at):
        return Found()
    local = view.context.offset % interval
    if not (len(view.odd) or bool(((end_at[view.heads] + local) % interval).any())):
        return Found()
    past = (end_at + local) % interval
    off = np.minimum(past, interval - past)
    begins = np.ones(len(past), np.bool_)
    begins[1:] = past[1:] != past[:-1]
    begins[view.heads] = True
    rows = np.flatnonzero(begins & (off > parameters.off))
    return Found(rows, {"off_seconds": off[rows] / 1000}, rows)


class Duplicate(Struct, frozen=True):
    """Two readings closer than `percent` of the load profile's interval are two of one."""

    percent: int = 50


def duplicate(view: View, parameters: Duplicate) -> Found:
    """Rows that follow the one before sooner than the load profile can: one interval was read twice."""
    odd = view.odd
    rows = odd[view.elapsed[odd] * 100 < view.context.interval * parameters.percent]
    channels = view.of(rows)
    facts = {
        "seconds": view.elapsed[rows] / 1000,
        "before": view.amount(view.register[rows - 1], channels),
        "after": view.amount(view.register[rows], channels),
    }
    return Found(rows, facts)


RULES = (
    Rule("time", 2, "warning", time, alike(Time()), lambda _: Reach(0), fed=True),
    Rule("duplicate", 1, "warning", duplicate, alike(Duplicate()), lambda _: Reach(0), fed=True),
)
