"""Station MDMS, a fact: what an operator states of a usage point, as it travels to where it is kept.

No behaviour, and no memory of what was stated before; `facts` keeps them.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from meterseal.mdms.ever import EVER

Stated = Literal["class", "size", "main", "group", "zone", "heats", "limit", "multiplier", "plant"]
"""What an operator states: class of customer, what the connection carries (unit an hour), the main meter's usage point,
the group of neighbours, the zone that supplies it, `gas` where gas heats, (of all) the mean of a day in degC under
which it is heated, by what the register is multiplied (`multipliers`), the kW of a generator that feeds in (`plants`)."""
STATED: tuple[Stated, ...] = (
    "class",
    "size",
    "main",
    "group",
    "zone",
    "heats",
    "limit",
    "multiplier",
    "plant",
)
MOST = 50_000
"""Facts in one call."""


class Fact(Struct, frozen=True, kw_only=True):
    """One thing stated of a usage point (empty: of all) for since <= t < until; an empty value takes it back."""

    usage_point: str
    kind: Stated
    value: str
    since: int = 0
    until: int = EVER
