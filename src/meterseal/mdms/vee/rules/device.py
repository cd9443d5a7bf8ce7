"""Station VEE, rules about what the meter is or says of itself: its unit, and its own alarms.

Source: unit-of-measure and event checks of Oracle Utilities MDM; kinds of events after HM 7.2 and the meters' status.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from meterseal.mdms.vee.rules.rule import Found, Reach, Rule, alike
from meterseal.mdms.vee.view import View


class Unit(Struct, frozen=True):
    """It has no threshold."""


def unit(view: View, parameters: Unit) -> Found:
    """Rows whose unit or decimal point is another than before although the store knows of no other meter."""
    rows = np.setdiff1d(view.rescaled, view.exchanged, assume_unique=True)
    exponents = view.raw_exponent
    facts = {
        "unit_changed": (view.unit[rows] != view.unit[rows - 1]).astype(np.int64),
        "exponent_before": exponents[rows - 1].astype(np.int64),
        "exponent_after": exponents[rows].astype(np.int64),
    }
    return Found(rows, facts)


class Flags(Struct, frozen=True):
    """The kinds of events that count."""

    kinds: tuple[str, ...]


def flags(view: View, parameters: Flags) -> Found:
    """Rows of intervals in which the meter reported such an event."""
    seen: dict[int, list[int]] = {}
    for event in view.context.events:
        if event.kind not in parameters.kinds:
            continue
        first, last = int(view.starts[event.channel]), int(view.starts[event.channel + 1])
        row = view.rows_until(event.channel, event.at - 1)
        if first < row < last:
            seen.setdefault(row, []).append(event.at)
    rows = sorted(seen)
    facts = {
        "events": np.array([len(seen[row]) for row in rows], np.int64),
        "first_at": np.array([min(seen[row]) for row in rows], np.int64),
    }
    return Found(np.array(rows, np.int64), facts)


RULES = (
    Rule("unit", 1, "error", unit, alike(Unit()), lambda _: Reach(0), fed=True),
    Rule("tamper", 2, "error", flags, alike(Flags(("magnet", "removed"))), lambda _: Reach(0)),
    Rule(
        "device-flag",
        2,
        "warning",
        flags,
        alike(Flags(("battery", "fault", "reverse"))),
        lambda _: Reach(0),
    ),
)
