"""Station VEE, the rule about a meter's own clock: it was measured to be off by more than its readings bear.

It measures nothing and re-times nothing. Which readings are in doubt for it, and what other rules said of them only because
the clock was off or was set, is said here too; `doubts` and the engine ask.

Source: device time check of the California monthly set, with the measured error in place of a guess from the readings.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from meterseal.mdms.vee.context import Clocked
from meterseal.mdms.vee.rules.rule import Found, Reach, Rule, by_medium
from meterseal.mdms.vee.view import View

NAME = "clock-error"
EXPLAINED = ("duplicate", "negative-step", "time")
"""What rules say of readings that a clock stamped which was off; and `gap`, where it is no longer than that."""

Ints = NDArray[np.int64]


class ClockError(Struct, frozen=True):
    """More than so many ms are found; from `percent` of the load profile's interval on, readings are in doubt."""

    allowed: int
    percent: int = 25


def clock_error(view: View, parameters: ClockError) -> Found:
    """The first reading of each time for which the clock was measured to be off by more than is allowed, for sure."""
    found: dict[int, Clocked] = {}
    for span in view.context.clocks:
        if abs(span.off) <= parameters.allowed:
            continue
        row, past = view.rows_until(span.channel, span.since), view.rows_until(span.channel, span.until)
        if row < past and (row not in found or abs(span.off) > abs(found[row].off)):
            found[row] = span
    if not found:
        return Found()
    rows = np.array(sorted(found), np.int64)
    spans = [found[row] for row in rows.tolist()]
    facts = {
        "seconds": np.array([span.off for span in spans]) / 1000,
        "least": np.array([span.least for span in spans]) / 1000,
        "most": np.array([span.most for span in spans]) / 1000,
        "doubted": np.array([int(in_doubt(span, parameters, view.context.interval)) for span in spans]),
    }
    return Found(rows, facts, rows)


def in_doubt(span: Clocked, parameters: ClockError, interval: int) -> bool:
    """Whether the clock was so far off that what it stamped belongs to other intervals."""
    far = abs(span.off) > parameters.allowed and abs(span.off) * 100 >= interval * parameters.percent
    return span.stamps and far


def stamped(span: Clocked, end_at: Ints, recorded_at: Ints) -> Ints:
    """The rows of a channel that may have been stamped while it was off: in its time; before it, where they came then,
    as one that fell back says again what was; after it, where they came then, as one that led says what was to come.
    """
    first, last = span.reach
    inside = (end_at > span.since) & (end_at <= span.until)
    before = (end_at > first) & (end_at <= span.since) & (recorded_at > span.since)
    after = (end_at > span.until) & (end_at <= last) & (recorded_at <= span.until)
    return np.flatnonzero(inside | before | after)


def explains(spans: Sequence[Clocked], rule: str, before: int, at: int, interval: int) -> bool:
    """Whether what `rule` says of a step from one instant to the next is the clock's doing, where it stamped one."""
    if rule in EXPLAINED:
        return True
    longest = max((max(abs(span.least), abs(span.most)) for span in spans), default=0)
    return rule == "gap" and at - before <= interval + longest


RULES = (
    Rule(
        NAME,
        1,
        "error",
        clock_error,
        by_medium(
            water=ClockError(120_000),
            gas=ClockError(120_000),
            heat=ClockError(120_000),
            electricity=ClockError(60_000),
        ),
        lambda _: Reach(0),
    ),
)
"""A meter of electricity has tariffs and quarter hours; the others are read by the hour."""
