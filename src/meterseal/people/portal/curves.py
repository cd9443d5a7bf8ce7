"""Forecasts as pages draw them: paths of bands in a field of 1000 by 100, the marks beside it, and a line for each day.

Pure. It formats no number and knows no language.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from meterseal.people.forecast_messages import Foreseen

HOUR = 3_600_000
DAY = 24
WIDTH, HEIGHT = 1000, 100
LOW, HIGH, MIDDLE = 0.05, 0.95, 0.5
INNER = (0.25, 0.75)


class Curve(NamedTuple):
    """`outer`, `inner` and `middle` are SVG paths; `across` are instants with their place (0 to 100), `top` and `bottom`
    (0, or the other sign of `top`) are what the upper and the lower edge stand for, `places` how many decimals its numbers
    have.
    """

    outer: str
    inner: str
    middle: str
    across: tuple[tuple[float, int], ...]
    top: float
    places: int
    bottom: float


class Day(NamedTuple):
    """What one day will probably come to; `peak` and `bound` (hardly more) are None where peaks are not forecast. Of a net
    `back` and `back_bound` are what is fed back at most in an hour, None where that is hardly anything.
    """

    begin: int
    used: float
    peak_at: int
    peak: float | None
    bound: float | None
    back_at: int
    back: float | None
    back_bound: float | None


class Hour(NamedTuple):
    """One hour: its median, and what it lies between nine times of ten."""

    begin: int
    middle: float
    low: float
    high: float


class Drawn(NamedTuple):
    """A forecast as its page shows it: the first day and the week as curves, every day, the hours of the first."""

    day: Curve
    week: Curve
    days: list[Day]
    hours: list[Hour]


def drawn(found: Foreseen) -> Drawn:
    """All that is shown of a forecast of whole days."""
    return Drawn(
        curve(found, DAY, 6), curve(found, len(found.quantiles[0]), 2 * DAY), days(found), first_day(found)
    )


def curve(found: Foreseen, hours: int, every: int) -> Curve:
    """The first `hours` with a mark at `every` so many."""
    level = _levels(found, hours)
    top, bottom = _edges(max(level(HIGH)), min(level(LOW)))

    def points(values: Sequence[float]) -> list[str]:
        return [
            f"{(at + 0.5) * WIDTH / hours:.1f} {(top - value) * HEIGHT / (top - bottom):.2f}"
            for at, value in enumerate(values)
        ]

    def band(low: float, high: float) -> str:
        return "M" + "L".join(points(level(high)) + points(level(low))[::-1]) + "Z"

    return Curve(
        outer=band(LOW, HIGH),
        inner=band(*INNER),
        middle="M" + "L".join(points(level(MIDDLE))),
        across=tuple((at * 100 / hours, found.begin + at * HOUR) for at in range(0, hours, every)),
        top=top,
        places=places(top),
        bottom=bottom,
    )


def days(found: Foreseen) -> list[Day]:
    """Every whole day that was forecast."""
    middle = _levels(found, len(found.quantiles[0]))(MIDDLE)
    made = []
    for day in range(len(middle) // DAY):
        hours = middle[day * DAY : (day + 1) * DAY]
        peak, bound = (
            (found.peaks[found.levels.index(level)][day] if found.peaks else None) for level in (MIDDLE, HIGH)
        )
        begin = found.begin + day * DAY * HOUR
        peak_at, back_at = (begin + hours.index(of(hours)) * HOUR for of in (max, min))
        made.append(Day(begin, sum(hours), peak_at, peak, bound, back_at, *_back(found, day)))
    return made


def _back(found: Foreseen, day: int) -> tuple[float | None, float | None]:
    """What a net feeds back at most in an hour of a day, and hardly more than."""
    if not found.lows:
        return None, None
    lowest, bound = (found.lows[found.levels.index(level)][day] for level in (MIDDLE, LOW))
    return (max(-lowest, 0.0), -bound) if bound < 0 else (None, None)


def first_day(found: Foreseen) -> list[Hour]:
    """The hours of the first day."""
    level = _levels(found, DAY)
    return [
        Hour(found.begin + at * HOUR, *values)
        for at, values in enumerate(zip(level(MIDDLE), level(LOW), level(HIGH), strict=True))
    ]


def _edges(highest: float, lowest: float) -> tuple[float, float]:
    """What the upper and the lower edge stand for: nothing is the lower one, or the middle where it is passed."""
    top = rounded_up(max(highest, -lowest, 1e-3))
    return top, -top if lowest < 0 else 0.0


def places(largest: float) -> int:
    """Decimals that tell numbers up to this one apart."""
    return 0 if largest >= 1000 else 1 if largest >= 100 else 2 if largest >= 1 else 3


def _levels(found: Foreseen, hours: int) -> Callable[[float], Sequence[float]]:
    """Quantiles by their level, cut to so many hours."""
    return lambda level: found.quantiles[found.levels.index(level)][:hours]


def rounded_up(value: float) -> float:
    """The next of 1, 1.5, 2, 3, 4, 5, 6, 8 times a power of ten: its half is short, and the curve fills the field."""
    power = 1.0
    while power > value:
        power /= 10
    while power * 10 < value:
        power *= 10
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= value)
