"""Station VEE, doubts: which delivered readings nobody should count with, from what the rules objected to.

It writes nothing and changes no reading; `versions` has the doubts kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from meterseal.mdms.vee.judge import Objection

FALL = "negative-step"
SENTINEL = "sentinel"
JUMPS = ("spike", SENTINEL, "overload")
HIGH_FOR = 24
"""Readings in a row that a fall takes back at most; what stays high for longer was use, and the fall is the fault."""


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
