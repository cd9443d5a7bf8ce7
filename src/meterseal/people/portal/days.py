"""A day of readings as its page draws it: a bar for each interval, beside what an edit would make of it, and the axis.

Pure. It formats no number, knows no language and judges no reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

from meterseal.model import Quality
from meterseal.people.edit_messages import Replaced
from meterseal.people.fleet_messages import ReadingRow
from meterseal.people.portal.curves import HEIGHT, WIDTH, places, rounded_up

HOUR = 3_600_000
GOOD = frozenset({Quality.MEASURED, Quality.ESTIMATED, Quality.EDITED})
MARKS = 4


class Bar(NamedTuple):
    """One interval of a field of 1000 by 100; `kind` is the worse quality of its two registers, or "edit"."""

    x: float
    y: float
    width: float
    height: float
    kind: str


class Bars(NamedTuple):
    """`now` and, with an edit, `then`; `across` are instants with their place (0 to 100), `top` is what the upper edge
    stands for, `places` how many decimals its numbers have.
    """

    now: tuple[Bar, ...]
    then: tuple[Bar, ...]
    across: tuple[tuple[float, int], ...]
    top: float
    places: int


class Step(NamedTuple):
    since: int
    until: int
    used: Decimal
    kind: str


def drawn(
    readings: Sequence[ReadingRow], exponent: int, since: int, until: int, edited: Iterable[Replaced] = ()
) -> Bars:
    """A day, and the same with an edit where there is one."""
    now = {
        one.end_at: (Decimal(one.register).scaleb(exponent), one.quality)
        for one in readings
        if one.register is not None
    }
    changed = {one.end_at: (one.after, Quality.EDITED) for one in edited if since <= one.end_at <= until}
    first, second = _steps(now), _steps(now | changed) if changed else []
    top = rounded_up(max([float(one.used) for one in [*first, *second]] + [1e-3]))
    marks = range(MARKS + 1)
    return Bars(
        now=tuple(_bar(one, since, until, top) for one in first),
        then=tuple(_bar(one, since, until, top) for one in second),
        across=tuple((at * 100 / MARKS, since + at * (until - since) // MARKS) for at in marks),
        top=top,
        places=places(top),
    )


def _steps(registers: Mapping[int, tuple[Decimal, Quality]]) -> list[Step]:
    rows = sorted(registers.items())
    return [
        Step(before, after, used, max(was, becomes, key=_worse).name.lower())
        for (before, (low, was)), (after, (high, becomes)) in pairwise(rows)
        if (used := high - low) >= 0
    ]


def _worse(quality: Quality) -> tuple[bool, bool]:
    return (quality not in GOOD, quality != Quality.MEASURED)


def _bar(one: Step, since: int, until: int, top: float) -> Bar:
    whole = until - since
    height = float(one.used) * HEIGHT / top * _share(one)
    return Bar(
        round((one.since - since) * WIDTH / whole, 1),
        round(HEIGHT - height, 2),
        round((one.until - one.since) * WIDTH / whole, 1),
        round(height, 2),
        one.kind,
    )


def _share(one: Step) -> float:
    """A step of several hours is drawn as high as its mean hour, so that areas can be compared."""
    return HOUR / max(one.until - one.since, HOUR)
