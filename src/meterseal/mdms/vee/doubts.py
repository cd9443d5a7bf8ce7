"""Station VEE, doubts: which delivered readings nobody should count with, from what the rules objected to.

It writes nothing and changes no reading; `versions` has the doubts kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from meterseal.mdms.columns import Columns
from meterseal.mdms.store.rows import Rows
from meterseal.mdms.vee.context import Clocked, Context
from meterseal.mdms.vee.judge import Objection
from meterseal.mdms.vee.rules import Rule, clocks
from meterseal.mdms.vee.settings import Settings

FALL = "negative-step"
SENTINEL = "sentinel"
JUMPS = ("spike", SENTINEL, "overload")


class Clocks(NamedTuple):
    """Rows of a channel that its clock stamped while it was too far off, and how it was."""

    rows: set[int]
    spans: list[Clocked]


HIGH_FOR = 24
"""Readings in a row that a fall takes back at most; what stays high for longer was use, and the fall is the fault."""


def by_clocks(
    channels: Sequence[Rows], context: Context, settings: Settings, rules: Mapping[str, Rule]
) -> dict[int, Clocks]:
    """Of rows by channel, those that a clock stamped which was too far off, by what held at their instants."""
    found: dict[int, Clocks] = {}
    if (rule := rules.get(clocks.NAME)) is None:
        return found
    for span in context.clocks:
        end_at = channels[span.channel]["end_at"].astype(np.int64)
        rows = clocks.stamped(span, end_at, channels[span.channel]["recorded_at"].astype(np.int64))
        if not len(rows):
            continue
        held = settings.held_in(rule, context, int(end_at[rows[0]]), int(end_at[rows[-1]]))
        far = [
            row
            for row in rows.tolist()
            for parameters, times in held.items()
            if isinstance(parameters, clocks.ClockError)
            and clocks.in_doubt(span, parameters, context.interval)
            and any(since <= end_at[row] < until for since, until in times)
        ]
        if far:
            mine = found.setdefault(span.channel, Clocks(set(), []))
            mine.rows.update(far)
            mine.spans.append(span)
    return found


def unexplained(
    objections: Sequence[Objection], stamped: Mapping[int, Clocks], columns: Columns, interval: int
) -> list[Objection]:
    """Without what is said only because a clock was off: of a step to or from a reading that it stamped."""
    if not stamped:
        return list(objections)
    starts, end_at = columns.starts.tolist(), columns.end_at
    kept = []
    for one in objections:
        mine, first = stamped.get(one.channel), starts[one.channel]
        row = one.row - first
        beside = mine is not None and (row in mine.rows or row - 1 in mine.rows)
        if beside and mine is not None and row:
            before, at = int(end_at[one.row - 1]), int(end_at[one.row])
            if clocks.explains(mine.spans, one.rule, before, at, interval):
                continue
        kept.append(one)
    return kept


def doubted(registers: Sequence[int], objections: Sequence[tuple[str, int]]) -> dict[int, str]:
    """Rows of one channel not to be counted with, and the rule for which: a number that no meter shows, the high readings
    that a fall takes back, else the fall.

    `objections` are (rule, row). A step that stays (a burst pipe) is use: it is found, and not doubted.
    """
    jumped = {row for rule, row in objections if rule in JUMPS}
    found: dict[int, str] = {}
    for row in sorted(row for rule, row in objections if rule == FALL):
        first = _rise(registers, row)
        taken_back = first in jumped and row - first <= HIGH_FOR
        found |= dict.fromkeys(range(first, row) if taken_back else (row,), FALL)
    return found | {row: SENTINEL for rule, row in objections if rule == SENTINEL}


def _rise(registers: Sequence[int], row: int) -> int:
    """Where the register rose above what it shows at a row; 0 where it stood above it all along."""
    first = row
    while first and row - first <= HIGH_FOR and registers[first - 1] > registers[row]:
        first -= 1
    return first


def by_channel(objections: Sequence[Objection], starts: Sequence[int]) -> Mapping[int, list[tuple[str, int]]]:
    """What leads to doubts, by channel, with rows counted from the channel's first."""
    found: dict[int, list[tuple[str, int]]] = {}
    for one in objections:
        if one.rule == FALL or one.rule in JUMPS:
            found.setdefault(one.channel, []).append((one.rule, one.row - starts[one.channel]))
    return found
