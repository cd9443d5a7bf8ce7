"""Station VEE, estimation: registers for short gaps, straight between the good ones on both sides.

Pure. It invents nothing outside of two good registers, so an estimate never adds to what the meter counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from msgspec import Struct

HOUR = 3_600_000
METHOD = "linear/1"


class Linear(Struct, frozen=True):
    """`longest`: milliseconds between two good registers that may be bridged (California VEE: two hours)."""

    longest: int = 2 * HOUR


class Estimate(NamedTuple):
    """One estimated register."""

    end_at: int
    register: int


def linear(times: Sequence[int], registers: Sequence[int], step: int, parameters: Linear) -> list[Estimate]:
    """Registers at every `step` inside the gaps between good readings (sorted), whole digits, rounded down.

    A gap is bridged when it lasts at most `longest`, is a whole number of steps, and the register does not
    fall.
    """
    found = []
    for (since, first), (until, last) in pairwise(zip(times, registers, strict=True)):
        parts, odd = divmod(until - since, step)
        if odd or parts < 2 or until - since > parameters.longest or last < first:
            continue
        found += [Estimate(since + k * step, first + (last - first) * k // parts) for k in range(1, parts)]
    return found
