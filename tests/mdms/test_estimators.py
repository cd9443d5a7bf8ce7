"""Every registered estimator keeps what the registers say; then each is shown what it is for."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterseal.mdms.method import Made, made, rounded_up
from meterseal.mdms.vee.context import CLASSES, DAY, HOUR, OFFSET, Calendar, Weather
from meterseal.mdms.vee.estimators import ESTIMATORS, ORDERS, Gap, Known, Override, bridge, order_for
from meterseal.mdms.vee.estimators.bridge import spread
from meterseal.mdms.vee.estimators.methods import LIKE

MONDAY = 20_598 * DAY - OFFSET
"""The local midnight at which a Monday begins."""
every_estimator = pytest.mark.parametrize("name", sorted(ESTIMATORS))


def history(days: int, use: object, *, until: int = MONDAY) -> tuple[np.ndarray, np.ndarray]:
    """Hourly readings of so many days up to a midnight; `use(day, hour)` digits, day 0 the one that ends there."""
    ends = until - np.arange(days * 24, -1, -1) * HOUR
    uses = [use(-1 - k // 24, 23 - k % 24) for k in range(days * 24)][::-1]  # type: ignore[operator]
    return ends, 1000 + np.cumsum([0, *uses])


def gap_of(hours: int, total: int, times: np.ndarray, registers: np.ndarray) -> Gap:
    first = int(registers[-1])
    return Gap(int(times[-1]), int(times[-1]) + hours * HOUR, HOUR, first, first + total)


def known(gap: Gap, times: np.ndarray, registers: np.ndarray, **about: object) -> Known:
    return Known.of(gap, times, registers, **about)


def uses(gap: Gap, registers: tuple[int, ...]) -> list[int]:
    return np.diff([gap.first, *registers, gap.last]).tolist()


@every_estimator
@pytest.mark.parametrize("seed", range(12))
def test_estimates_meet_the_registers_and_never_fall(name: str, seed: int) -> None:
    random = Random(seed)
    times, registers = history(random.choice((0, 3, 40, 400)), lambda day, hour: random.randrange(30))
    keep = np.array([random.random() < 0.97 for _ in times], np.bool_)
    keep[-1] = True
    gap = gap_of(
        random.choice((2, 5, 24, 80, 400)), random.choice((0, 1, 7, 10_000, 10**12)), times, registers
    )
    weather = Weather(
        int(times[0]) // HOUR, tuple(random.uniform(-5, 30) for _ in range(len(times) + gap.parts))
    )
    about = known(
        gap,
        times[keep],
        registers[keep],
        medium="gas",
        weather=weather,
        neighbours=np.array(
            [[random.randrange(9) for _ in range(gap.parts)] for _ in range(random.choice((0, 2, 4)))]
        ).reshape(-1, gap.parts),
    )
    found = bridge(gap, about, (name,))
    if found is None:
        assert name != "flat"
        return
    assert len(found.registers) == len(found.uncertainty) == gap.parts - 1
    assert min(uses(gap, found.registers)) >= 0
    assert sum(uses(gap, found.registers)) == gap.last - gap.first
    for register, half in zip(found.registers, found.uncertainty, strict=True):
        assert 0 <= half <= max(register - gap.first, gap.last - register)
    again = bridge(gap, about, (name,))
    assert again == found


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=40), st.integers(0, 10**15))
def test_what_is_cut_off_is_carried_so_no_sum_is_a_digit_off(weights: list[float], total: int) -> None:
    sums = spread(np.array(weights), total)
    assert sums[-1] == total
    whole = sum(weights)
    if whole > 0:
        shares = [total * sum(weights[: k + 1]) / whole for k in range(len(weights))]
        assert all(abs(a - b) <= 1 + 1e-6 * max(1, total) for a, b in zip(sums, shares, strict=True))


@pytest.mark.parametrize("weights", [[0, 0, 0], [float("nan"), 1, 2], [-1, 2, 3], [float("inf"), 1, 1]])
def test_weights_that_say_nothing_count_the_same(weights: list[float]) -> None:
    assert spread(np.array(weights), 9) == [3, 6, 9]


def test_two_hours_are_the_limit_of_a_straight_line() -> None:
    times, registers = history(1, lambda day, hour: 1)
    short, long = (gap_of(hours, 21, times, registers) for hours in (2, 3))
    assert uses(short, bridge(short, known(short, times, registers), ("linear",)).registers) == [10, 11]  # type: ignore[union-attr]
    assert bridge(long, known(long, times, registers), ("linear",)) is None
    falling = Gap(short.since, short.until, HOUR, 10, 9)
    assert bridge(falling, known(falling, times, registers), ("flat",)) is None


@pytest.mark.parametrize(("weekday", "stands_in"), [(0, 7), (1, 5), (2, 7), (4, 7), (5, 7)])
def test_a_like_day_follows_the_day_table(weekday: int, stands_in: int) -> None:
    """Each day uses its own number at its own hour; Tuesday's own day is missing, so Thursday stands for it."""
    until = MONDAY + weekday * DAY
    times, registers = history(21, lambda day, hour: -day if hour == -day % 24 else 0, until=until)
    if weekday == 1:  # of Tuesdays and Wednesdays nothing is known
        kinds = (times - 1 + OFFSET) // DAY
        keep = ~np.isin((kinds + 3) % 7, (1, 2))
        keep |= (times + OFFSET) % DAY == 0
        times, registers = times[keep], registers[keep]
    gap = gap_of(24, 70, times, registers)
    found = bridge(gap, known(gap, times, registers), ("like-day",))
    assert found is not None
    assert np.flatnonzero(uses(gap, found.registers)).tolist() == [stands_in]


def test_a_holiday_is_a_sunday_and_sunday_stands_for_it() -> None:
    times, registers = history(21, lambda day, hour: 10 if hour == (5 if day % 7 == 6 else 9) else 0)
    gap = gap_of(24, 50, times, registers)  # a Monday; day -1 is Sunday
    number = (gap.until - 1 + OFFSET) // DAY
    holiday = Calendar(number, (6,))
    plain = bridge(gap, known(gap, times, registers), ("like-day",))
    feast = bridge(gap, known(gap, times, registers, calendar=holiday), ("like-day",))
    assert plain is not None
    assert feast is not None
    assert np.flatnonzero(uses(gap, plain.registers)).tolist() == [9]
    assert np.flatnonzero(uses(gap, feast.registers)).tolist() == [5]


def test_the_average_takes_all_like_days_and_says_how_sure_it_is() -> None:
    steady, restless = (
        history(28, lambda day, hour, scatter=scatter: 10 + (scatter * ((day * 7 + hour * 3) % 5)))
        for scatter in (0, 9)
    )
    halves = []
    for times, registers in (steady, restless):
        gap = gap_of(24, 480, times, registers)
        found = bridge(gap, known(gap, times, registers), ("average-like-days",))
        assert found is not None
        assert found.sources == 4
        halves.append(max(found.uncertainty))
    assert halves[0] <= 1 < halves[1]


def test_last_year_is_taken_from_the_same_weekday_and_the_weather_from_days_as_cold() -> None:
    times, registers = history(380, lambda day, hour: 50 if day in (-364, -3) and hour == 4 else 1)
    gap = gap_of(24, 73, times, registers)
    found = bridge(gap, known(gap, times, registers), ("prior-year",))
    assert found is not None
    assert int(np.argmax(uses(gap, found.registers))) == 4
    cold = {-3, -4, -5, -10, -12}
    degrees = [0.0 if (k // 24) - 380 in cold or k >= 380 * 24 else 15.0 for k in range(381 * 24)]
    first = int(times[0]) // HOUR
    weather = known(gap, times, registers, weather=Weather(first, tuple(degrees)))
    found = bridge(gap, weather, ("weather-adjusted",))
    assert found is not None
    assert found.sources >= 3
    assert int(np.argmax(uses(gap, found.registers))) == 4
    assert bridge(gap, known(gap, times, registers), ("weather-adjusted",)) is None


def test_neighbours_count_alike_and_a_class_has_its_evening() -> None:
    times, registers = history(1, lambda day, hour: 1)
    gap = gap_of(24, 240, times, registers)
    rows = np.ones((3, 24), np.int64)
    rows[0], rows[:, 20] = 1000, 20
    rows[0, 20] = 20_000
    found = bridge(gap, known(gap, times, registers, neighbours=rows), ("neighbour-group",))
    assert found is not None
    assert int(np.argmax(uses(gap, found.registers))) == 20
    assert bridge(gap, known(gap, times, registers, neighbours=rows[:2]), ("neighbour-group",)) is None
    for medium in ("water", "gas", "electricity"):
        shaped = bridge(gap, known(gap, times, registers, medium=medium), ("class-profile",))
        assert shaped is not None
        assert sum(uses(gap, shaped.registers)[17:22]) > sum(uses(gap, shaped.registers)[:6])


def test_an_operators_order_holds_for_its_time_and_medium() -> None:
    gap = Gap(10 * DAY, 11 * DAY, HOUR, 0, 5)
    feast = Override(9 * DAY, 12 * DAY, ("like-day", "flat"), "Spring Festival", "gas")
    assert order_for(gap, "gas", "dwelling", (feast,)) == ("like-day", "flat")
    assert order_for(gap, "water", "dwelling", (feast,)) == ORDERS["dwelling", "water"]
    assert (
        order_for(Gap(12 * DAY, 13 * DAY, HOUR, 0, 5), "gas", "dwelling", (feast,))
        == ORDERS["dwelling", "gas"]
    )


def test_every_order_names_estimators_and_ends_with_one_that_always_can() -> None:
    assert {customer for customer, _ in ORDERS} == set(CLASSES)
    for order in ORDERS.values():
        assert set(order) <= set(ESTIMATORS)
        assert order[-1] == "flat"
    assert all(day in LIKE[day] for day in range(7))


@pytest.mark.parametrize("text", ["linear/1:gap/2~11", "doubt/1:negative-step/1", "like-day/3:gap/2~120000"])
def test_a_method_says_what_it_said(text: str) -> None:
    read = made(text)
    assert read is not None
    assert read.text == text


def test_an_uncertainty_is_rounded_up_and_nonsense_is_none() -> None:
    assert [rounded_up(half) for half in (0, 7, 99, 100, 101, 12_345)] == [0, 7, 99, 100, 110, 13_000]
    assert Made("flat", 1, "gap/2", 1_234).text == "flat/1:gap/2~1300"
    assert [made(text) for text in ("", "linear", "linear/x:gap", "linear/1:gap~z")] == [None] * 4
