"""Registers to use: steps, holes, estimates, roll-over, series for charts, the running period."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterseal.errors import DataError
from meterseal.model import Medium, Quality
from meterseal.utility.calendar import HOUR, Period
from meterseal.utility.determinants import by_register, segment_uses
from meterseal.utility.readings import PLAUSIBLE_PER_HOUR, ROLL_OVER, hour_boundaries, steps, usable
from meterseal.utility.tariff import TariffBook
from meterseal.utility.usage import period_to_date, progress, usage_series
from tests.utility.test_tariff import POWER, SAMPLES, WATER
from tests.utility.twins import Channel, at, day

BEGIN = day("2026-06-01")
DAY = 24 * HOUR


def channel(*used: int, register: int = 0, medium: Medium = "water") -> Channel:
    made = Channel(medium)
    made.count(BEGIN, list(used), register)
    return made


def hourly(made: Channel) -> list[int | None]:
    last = max(made.registers)
    readings = usable(made.columns(BEGIN, last), made.medium)
    return list(usage_series("up", readings, "hour", hour_boundaries(BEGIN, last)).used)


hours = st.lists(st.integers(0, 1000), min_size=1, max_size=60)


@given(hours, st.integers(0, 10**8 - 1))
def test_hours_are_the_steps_and_add_up_to_the_boundary_difference(used: list[int], register: int) -> None:
    made = channel(*used, register=register)  # may roll over at any place
    assert hourly(made) == used
    readings = usable(made.columns(BEGIN, max(made.registers)), "water")
    whole = by_register(readings, BEGIN, BEGIN + len(used) * HOUR)
    assert whole.use.amount == Decimal(sum(used)).scaleb(-2)


@given(hours, st.data())
def test_a_hole_takes_away_its_two_hours_and_nothing_else(used: list[int], data: st.DataObject) -> None:
    made = channel(*used)
    hole = data.draw(st.integers(0, len(used)))
    bounds = hour_boundaries(BEGIN, max(made.registers))
    del made.registers[BEGIN + hole * HOUR]
    found = usage_series("up", usable(made.columns(BEGIN, int(bounds[-1])), "water"), "hour", bounds)
    expected = [None if hole in (k, k + 1) else step for k, step in enumerate(used)]
    assert list(found.used) == expected
    assert found.missing == expected.count(None)
    assert found.complete_to == (BEGIN + (hole - 1) * HOUR if hole > 1 else None)


@pytest.mark.parametrize("quality", [Quality.MISSING, Quality.SUSPECT])
def test_missing_and_suspect_registers_are_not_counted_with(quality: Quality) -> None:
    made = channel(5, 6, 7)
    made.quality[BEGIN + HOUR] = quality
    assert hourly(made) == [None, None, 7]


@pytest.mark.parametrize("quality", [Quality.ESTIMATED, Quality.EDITED])
def test_estimates_are_marked_on_both_hours_they_bound(quality: Quality) -> None:
    made = channel(5, 6, 7)
    made.quality[BEGIN + HOUR] = quality
    readings = usable(made.columns(BEGIN, BEGIN + 3 * HOUR), "water")
    found = usage_series("up", readings, "hour", hour_boundaries(BEGIN, BEGIN + 3 * HOUR))
    assert found.used == (5, 6, 7)
    assert found.quality == (Quality.ESTIMATED, Quality.ESTIMATED, Quality.MEASURED)
    assert found.estimated == 2


def test_an_estimate_inside_a_day_marks_the_day() -> None:
    made = channel(*[1] * 48)
    made.quality[BEGIN + 5 * HOUR] = Quality.ESTIMATED
    readings = usable(made.columns(BEGIN, BEGIN + 2 * DAY), "water")
    found = usage_series("up", readings, "day", np.array([BEGIN, BEGIN + DAY, BEGIN + 2 * DAY]))
    assert found.used == (24, 24)
    assert found.quality == (Quality.ESTIMATED, Quality.MEASURED)


@pytest.mark.parametrize("medium", PLAUSIBLE_PER_HOUR)
def test_a_fall_is_a_roll_over_only_up_to_the_plausible_use(medium: Medium) -> None:
    most = PLAUSIBLE_PER_HOUR[medium] * 100
    assert hourly(channel(most, register=ROLL_OVER - 1, medium=medium)) == [most]
    assert hourly(channel(most + 1, register=ROLL_OVER - 1, medium=medium)) == [None]


def test_a_fall_is_shown_as_suspect_not_as_use() -> None:
    made = channel(5, 5)
    made.registers[BEGIN + HOUR] = 50_000
    readings = usable(made.columns(BEGIN, BEGIN + 2 * HOUR), "water")
    found = usage_series("up", readings, "hour", hour_boundaries(BEGIN, BEGIN + 2 * HOUR))
    assert found.used == (50_000, None)
    assert found.quality == (Quality.MEASURED, Quality.SUSPECT)
    with pytest.raises(DataError) as caught:
        by_register(readings, BEGIN + HOUR, BEGIN + 2 * HOUR)
    assert caught.value.code == "bill.negative-use"


def test_no_readings_at_all_is_all_missing() -> None:
    readings = usable(Channel().columns(BEGIN, BEGIN + DAY), "water")
    found = usage_series("up", readings, "hour", hour_boundaries(BEGIN, BEGIN + DAY))
    assert found.used == (None,) * 24
    assert (found.latest_at, found.complete_to, found.missing) == (None, None, 24)
    assert steps(readings, np.array([BEGIN])).used.size == 0


def test_readings_between_the_hours_change_nothing() -> None:
    made = channel(5, 6)
    made.registers[BEGIN + HOUR // 2] = 3
    readings = usable(made.columns(BEGIN, BEGIN + 2 * HOUR), "water")
    found = usage_series("up", readings, "hour", hour_boundaries(BEGIN, BEGIN + 2 * HOUR))
    assert found.used == (5, 6)
    made.registers[BEGIN + 2 * HOUR + 1] = 11
    assert progress(usable(made.columns(BEGIN, BEGIN + DAY), "water"), BEGIN, BEGIN + DAY).latest_at == (
        BEGIN + 2 * HOUR
    )


def test_a_meter_in_another_unit_is_refused() -> None:
    made = channel(1, medium="heat")
    made.unit = "GJ"
    with pytest.raises(DataError) as caught:
        usable(made.columns(BEGIN, BEGIN + HOUR), "heat")
    assert caught.value.code == "usage.unit"


# --- determinants ------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 300), min_size=24, max_size=72))
def test_bands_add_up_to_the_boundary_difference(used: list[int]) -> None:
    whole_days = used[: len(used) // 24 * 24]
    made = channel(*whole_days, medium="electricity")
    end = BEGIN + len(whole_days) * HOUR
    (segment,) = TariffBook(POWER, [SAMPLES[POWER]]).segments(BEGIN, end)
    bands = segment_uses(usable(made.columns(BEGIN, end), "electricity"), segment)
    assert sum(one.use.amount for one in bands) == Decimal(sum(whole_days)).scaleb(-2)
    by_hand = sum(step for k, step in enumerate(whole_days) if k % 24 in (8, 9, 10, 18, 19, 20, 21))
    assert bands[0].use.amount == Decimal(by_hand).scaleb(-2)
    assert [one.measured for one in bands] == [n * len(whole_days) // 24 for n in (7, 9, 8)]


def test_a_missing_hour_is_named_and_not_guessed() -> None:
    made = channel(*[3] * 24, medium="electricity")
    del made.registers[at("2026-06-01T07:00:00")]
    (segment,) = TariffBook(POWER, [SAMPLES[POWER]]).segments(BEGIN, BEGIN + DAY)
    with pytest.raises(DataError, match=r"2 hours .* 2026-06-01 06:00") as caught:
        segment_uses(usable(made.columns(BEGIN, BEGIN + DAY), "electricity"), segment)
    assert caught.value.code == "bill.hours-missing"


def test_a_roll_over_inside_a_period_of_hours_is_counted() -> None:
    made = channel(*[3] * 24, register=ROLL_OVER - 10, medium="electricity")
    (segment,) = TariffBook(POWER, [SAMPLES[POWER]]).segments(BEGIN, BEGIN + DAY)
    bands = segment_uses(usable(made.columns(BEGIN, BEGIN + DAY), "electricity"), segment)
    assert sum(one.use.amount for one in bands) == Decimal("0.72")


# --- the running period ------------------------------------------------------------------------------------

JUNE = Period(BEGIN, day("2026-07-01"))
WATER_BOOK = TariffBook(WATER, [SAMPLES[WATER]])
POWER_BOOK = TariffBook(POWER, [SAMPLES[POWER]])


def test_the_running_period_is_rated_to_its_newest_reading() -> None:
    made = channel(*[10] * 60)  # two days and a half, 0.10 m3 an hour
    readings = usable(made.columns(*JUNE), "water")
    now = BEGIN + 70 * HOUR + 1234
    found = period_to_date(readings, JUNE, WATER_BOOK, Decimal(178), 1, now)
    assert found.as_of == BEGIN + 60 * HOUR
    assert found.used == 6
    assert [(line.tier, line.quantity) for line in found.lines] == [(1, 2), (2, 4)]
    assert found.cost_fen == 1000 + 2800
    assert found.projection is not None
    assert (found.projection.used, found.projection.days) == (72, 2)
    assert found.projection.cost_fen == 1000 + 70 * 700


def test_a_hole_does_not_hide_use_that_the_register_counted() -> None:
    made = channel(*[10] * 48)
    del made.registers[BEGIN + 30 * HOUR]
    found = period_to_date(
        usable(made.columns(*JUNE), "water"), JUNE, WATER_BOOK, Decimal(0), 1, BEGIN + 2 * DAY
    )
    assert (found.used, found.missing) == (Decimal("4.8"), 2)
    assert found.projection is not None
    assert found.projection.days == 1


def test_time_of_use_is_rated_up_to_the_first_hole() -> None:
    made = channel(*[10] * 48, medium="electricity")
    del made.registers[BEGIN + 30 * HOUR]
    readings = usable(made.columns(*JUNE), "electricity")
    found = period_to_date(readings, JUNE, POWER_BOOK, Decimal(0), 1, BEGIN + 2 * DAY)
    assert found.as_of == BEGIN + 29 * HOUR
    assert found.used == Decimal("2.9")
    assert [line.quantity for line in found.lines] == [Decimal("0.7"), Decimal("0.9"), Decimal("1.3")]
    assert found.projection is not None
    assert found.projection.used == 72


def test_the_projection_carries_each_hour_of_the_day_for_time_of_use() -> None:
    one_day = [0] * 8 + [100] * 3 + [0] * 13  # use in the morning peak alone
    made = channel(*one_day, *one_day[:9], medium="electricity")  # the second day until 09:00
    readings = usable(made.columns(*JUNE), "electricity")
    found = period_to_date(readings, JUNE, POWER_BOOK, Decimal(0), 1, BEGIN + 33 * HOUR)
    assert found.projection is not None
    assert found.projection.used == 90
    assert found.projection.cost_fen == 6825  # 90 kWh x 0.7583


def test_without_the_opening_register_no_cost_is_shown() -> None:
    made = channel(*[10] * 30)
    del made.registers[BEGIN]
    found = period_to_date(
        usable(made.columns(*JUNE), "water"), JUNE, WATER_BOOK, Decimal(0), 1, BEGIN + 2 * DAY
    )
    assert (found.as_of, found.used, found.cost_fen, found.projection) == (None, None, None, None)


def test_the_first_instant_of_a_period_shows_no_use() -> None:
    made = channel()
    found = period_to_date(usable(made.columns(*JUNE), "water"), JUNE, WATER_BOOK, Decimal(0), 1, BEGIN + 1)
    assert (found.used, found.cost_fen, found.lines) == (0, 0, ())


@given(st.lists(st.integers(0, 500), min_size=30, max_size=120), st.integers(0, 30_000))
def test_cost_so_far_never_falls_as_readings_arrive(used: list[int], accumulated: int) -> None:
    made = channel(*used)
    readings = usable(made.columns(*JUNE), "water")
    costs = [
        period_to_date(
            readings, JUNE, WATER_BOOK, Decimal(accumulated).scaleb(-2), 1, BEGIN + k * HOUR
        ).cost_fen
        for k in range(0, len(used), 13)
    ]
    assert costs == sorted(costs)  # type: ignore[type-var]
