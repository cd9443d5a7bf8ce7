"""Forecasts as drawn: every path stays within its field, marks stand at their hours, days add up."""

from __future__ import annotations

import re
from decimal import Decimal

import msgspec
import pytest

from meterseal.model import Quality
from meterseal.people.edit_messages import Replaced
from meterseal.people.fleet_messages import ReadingRow
from meterseal.people.forecast_messages import Foreseen
from meterseal.people.portal import days
from meterseal.people.portal.curves import DAY, HOUR, curve, drawn, places

BEGIN = 1_795_276_800_000


def foreseen(scale: float = 1.0, *, peaks: bool = True) -> Foreseen:
    """A week whose median rises from 0 to 23 in each day, with a band of half and double of it."""
    middle = [scale * (at % DAY) for at in range(7 * DAY)]
    bounds = (0.0, 0.5, 1.0, 1.5, 2.0)
    return Foreseen(
        usage_point="",
        zone="",
        unit="kWh",
        begin=BEGIN,
        model="weather-week/1",
        levels=(0.05, 0.25, 0.5, 0.75, 0.95),
        quantiles=tuple(tuple(part * value for value in middle) for part in bounds),
        peaks=tuple(tuple(part * 24 * scale for _ in range(7)) for part in bounds) if peaks else (),
    )


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[0-9.]+) (-?[0-9.]+)", path)]


@pytest.mark.parametrize("scale", [0.0, 1e-6, 0.02, 1.0, 7.3, 5e6])
def test_every_curve_stays_within_its_field(scale: float) -> None:
    made = curve(foreseen(scale), DAY, 6)
    for path in (made.outer, made.inner, made.middle):
        assert all(0 <= x <= 1000 and -0.01 <= y <= 100.01 for x, y in points(path))
    assert len(points(made.middle)) == DAY
    assert len(points(made.outer)) == 2 * DAY
    assert scale * 46 <= made.top
    if scale >= 0.02:
        assert made.top < 2.1 * scale * 46
        highest = min(y for _, y in points(made.outer))
        assert highest == pytest.approx(100 - scale * 46 * 100 / made.top, abs=0.01)


def test_marks_stand_at_their_hours() -> None:
    assert curve(foreseen(), DAY, 6).across == tuple((25.0 * k, BEGIN + 6 * k * HOUR) for k in range(4))


def test_days_add_up_and_say_their_peaks() -> None:
    found = drawn(foreseen())
    assert [day.used for day in found.days] == [sum(range(24))] * 7
    assert found.days[2].peak_at == BEGIN + (2 * DAY + 23) * HOUR
    assert (found.days[0].peak, found.days[0].bound) == (24, 48)
    assert (found.hours[5].middle, found.hours[5].low, found.hours[5].high) == (5, 0, 10)
    old = drawn(foreseen(peaks=False))
    assert (old.days[0].peak, old.days[0].bound) == (None, None)
    assert [places(top) for top in (0.3, 2, 150, 2000)] == [3, 2, 1, 0]


def test_a_net_is_drawn_on_both_sides_of_nothing_and_says_what_is_fed_back() -> None:
    plain = foreseen()
    below = tuple(tuple(value - 12 for value in level) for level in plain.quantiles)
    lows = tuple((part - 2,) * 7 for part in (-12.0, -11.0, -10.0, 1.0, 3.0))
    net = msgspec.structs.replace(plain, quantiles=below, lows=lows)
    made = curve(net, DAY, 6)
    assert (made.top, made.bottom) == (40, -40)
    assert points(made.middle)[0][1] == pytest.approx(50 + 12 * 50 / 40, abs=0.01)
    assert points(made.middle)[12][1] == pytest.approx(50, abs=0.01), "nothing is in the middle"
    for path in (made.outer, made.inner, made.middle):
        assert all(-0.01 <= y <= 100.01 for _, y in points(path))
    (day, *_) = drawn(net).days
    assert (day.back, day.back_bound, day.back_at) == (12, 14, BEGIN)
    assert drawn(plain).days[0].back is None
    hardly = msgspec.structs.replace(net, lows=((0.5,) * 7,) * 5)
    assert (drawn(hardly).days[0].back, drawn(hardly).days[0].back_bound) == (None, None)
    turned = tuple(tuple(-value for value in level) for level in plain.quantiles[::-1])
    assert curve(msgspec.structs.replace(net, quantiles=turned), DAY, 6).bottom == -50


def test_a_day_is_drawn_as_bars_beside_what_an_edit_makes_of_it() -> None:
    """Heights are use, a gap of several hours is as high as its mean hour, and what falls is left out."""
    since = 0
    readings = [
        ReadingRow(at * days.HOUR, register, quality, "sealed")
        for at, register, quality in (
            (0, 100, Quality.MEASURED),
            (1, 110, Quality.MEASURED),
            (2, None, Quality.MISSING),
            (4, 140, Quality.ESTIMATED),
            (5, 130, Quality.SUSPECT),
            (6, 150, Quality.MEASURED),
        )
    ]
    bars = days.drawn(readings, -2, since, 8 * days.HOUR)
    assert [(bar.x, bar.width, bar.kind) for bar in bars.now] == [
        (0.0, 125.0, "measured"),
        (125.0, 375.0, "estimated"),
        (625.0, 125.0, "suspect"),
    ]
    assert [bar.height for bar in bars.now] == [round(use * 100 / bars.top, 2) for use in (0.1, 0.1, 0.2)]
    assert bars.then == ()
    edit = [Replaced(5 * days.HOUR, None, None, Decimal("1.45"))]
    assert [bar.kind for bar in days.drawn(readings, -2, since, 8 * days.HOUR, edit).then] == [
        "measured",
        "estimated",
        "estimated",
        "edited",
    ]
    assert days.drawn((), 0, since, days.HOUR).now == ()
