"""Use, weather and the life of planned meters: believable, seeded, and true to the log that nobody reads back."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from msgspec.structs import replace

from meterseal.edge.metering.freezing import Stored
from meterseal.edge.metering.state import registers
from meterseal.errors import LocalError
from meterseal.kit.holidays import SPRING_FESTIVAL, is_holiday
from meterseal.kit.incidents import Incident
from meterseal.kit.life import design_of, lived
from meterseal.kit.plan import StreetPlan, make_plan
from meterseal.kit.profiles import DAY, HOUR, MILLIONTHS, Event, Profile, Registers, hourly_use, passed
from meterseal.kit.weather import sunshine, temperature
from meterseal.model import REMOVED
from meterseal.wire.profile import profile_of, profiles

SHANGHAI = timedelta(hours=8)


def hours_of(first: date, days: int) -> np.ndarray:  # type: ignore[type-arg]
    """Hours since 1970 (UTC) of so many local days."""
    begin = int((datetime(first.year, first.month, first.day, tzinfo=UTC) - SHANGHAI).timestamp()) // 3600
    return np.arange(begin, begin + days * 24, dtype=np.int64)


def test_summers_are_hot_winters_cool_and_afternoons_warmer_than_mornings() -> None:
    year = temperature(4, hours_of(date(2026, 1, 1), 365)).reshape(365, 24)
    assert -8 < year[:31].mean() < 4
    assert 24 < year[181:212].mean() < 32
    assert (year[:, 15] > year[:, 3]).all()
    assert (
        temperature(4, hours_of(date(2026, 1, 1), 3)) != temperature(5, hours_of(date(2026, 1, 1), 3))
    ).any()


def test_the_sun_shines_by_day_more_in_summer_and_never_beyond_a_panels_peak() -> None:
    year = sunshine(4, hours_of(date(2026, 1, 1), 365)).reshape(365, 24)
    assert (year[:, [0, 1, 2, 3, 21, 22, 23]] == 0).all()
    assert 0 < year.max() < 1
    assert year[150:240].sum() > 1.5 * (year[:45].sum() + year[-45:].sum())
    assert year.sum() == pytest.approx(1_300, rel=0.25)  # hours of full power in a year


@pytest.mark.parametrize("year", [2026, 2028])
def test_feasts_are_free_days_and_ordinary_mondays_are_not(year: int) -> None:
    epoch = date(1970, 1, 1)
    month, day = SPRING_FESTIVAL[year]
    free = [
        date(year, 1, 1),
        date(year, 5, 3),
        date(year, 10, 7),
        date(year, month, day),
        date(year, month, day) - timedelta(1),
    ]
    busy = [date(year, 3, 9), date(year, 6, 15), date(year, 10, 8), date(year, 12, 31)]
    found = is_holiday(np.array([(one - epoch).days for one in free + busy], dtype=np.int64))
    assert found.tolist() == [True] * len(free) + [False] * len(busy)


def test_a_feast_day_is_spent_like_a_weekend() -> None:
    """1 October 2026 is a Thursday: breakfast is later than on the Thursday before."""
    feast, plain = hours_of(date(2026, 10, 1), 1), hours_of(date(2026, 9, 24), 1)
    used = [
        np.sum([hourly_use(1, Profile("water", house, 3, 0, 0), hours) for house in range(200)], axis=0)
        for hours in (feast, plain)
    ]
    share = [one[6:8].sum() / one.sum() for one in used]
    assert share[0] < 0.7 * share[1]


def test_a_third_of_the_families_is_elsewhere_at_the_spring_festival() -> None:
    month, day = SPRING_FESTIVAL[2027]
    feast = hours_of(date(2027, month, day), 3)
    empty = sum(
        int(hourly_use(1, Profile("electricity", house, 3, 0, 0), feast).sum() < 72 * 80_000)
        for house in range(300)
    )
    assert 70 < empty < 130


def test_summer_raises_water_and_electricity_and_winter_heat_and_gas() -> None:
    summer, winter = hours_of(date(2026, 7, 1), 31), hours_of(date(2026, 1, 5), 31)

    def used(medium: str, hours: np.ndarray) -> int:  # type: ignore[type-arg]
        return sum(
            int(hourly_use(3, Profile(medium, house, 3, 0, 0), hours).sum())  # type: ignore[arg-type]
            for house in range(40)
        )

    for medium in ("water", "electricity"):
        assert used(medium, summer) > 1.02 * used(medium, winter)
    assert used("heat", winter) > 5 * used("heat", summer)
    assert used("gas", winter) > 1.02 * used("gas", summer)


def test_another_weather_changes_what_follows_it_and_nothing_else() -> None:
    hours = hours_of(date(2026, 1, 5), 10)
    for medium, follows in (("heat", True), ("electricity", False)):
        profile = Profile(medium, 7, 3, 0, 0)  # type: ignore[arg-type]
        same = (hourly_use(3, profile, hours, 8) == hourly_use(3, profile, hours, 9)).all()
        assert same != follows
    assert (
        hourly_use(3, Profile("heat", 7, 3, 0, 0), hours, 3)
        == hourly_use(3, Profile("heat", 7, 3, 0, 0), hours)
    ).all()


def test_what_is_stolen_is_used_and_does_not_pass_the_meter() -> None:
    hours = hours_of(date(2026, 3, 2), 10)
    since = int(hours[0]) * HOUR
    stolen = Event("theft", since + 2 * DAY, since + 5 * DAY, 600)
    profile = Profile("electricity", 3, 3, since, 0, (stolen,))
    seen = passed(1, profile, hours)
    assert (seen.used == hourly_use(1, replace(profile, events=()), hours)).all()
    inside = slice(48, 120)
    assert (seen.net[inside] == seen.used[inside] * 400 // 1_000).all()
    assert (np.delete(seen.net, inside) == np.delete(seen.used, inside)).all()


def test_a_panel_feeds_in_what_the_flat_does_not_use() -> None:
    hours = hours_of(date(2026, 6, 10), 10)
    profile = Profile("electricity", 3, 3, 0, 0, panel=4_000)
    seen, plain = passed(1, profile, hours), passed(1, replace(profile, panel=0), hours)
    made = np.floor(sunshine(1, hours) * 4_000_000).astype(np.int64)
    assert (seen.net - seen.back == seen.used - made).all()
    assert (np.minimum(seen.net, seen.back) == 0).all()
    assert seen.back.sum() > 0
    assert not plain.back.any()


def test_backflow_turns_a_register_back_and_an_absence_leaves_the_standby() -> None:
    hours = hours_of(date(2026, 3, 2), 6)
    since = int(hours[0]) * HOUR
    back = Event("backflow", since + 3 * HOUR, since + 4 * HOUR, 500_000)
    away = Event("away", since + 2 * DAY, since + 4 * DAY)
    water = Registers(1, Profile("water", 5, 3, since, 100, (back,)), since + 6 * DAY)
    assert water.at(since + 4 * HOUR) < water.at(since + 3 * HOUR)
    absent = hourly_use(1, Profile("electricity", 5, 3, since, 0, (away,)), hours)
    assert absent[48:96].max() < 80_000
    assert absent[:48].max() > 200_000


def test_heat_carries_itself_in_water_by_the_difference_of_temperatures() -> None:
    hours = hours_of(date(2026, 1, 5), 5)
    seen = passed(1, Profile("heat", 3, 3, 0, 0), hours)
    spread = (seen.supply - seen.returned) / 100
    assert (seen.supply > seen.returned).all()
    kwh = seen.volume / 1e6 * 1.163 * spread
    assert np.allclose(kwh, seen.net / 1e6, rtol=0.01, atol=1e-4)


def test_a_transducer_turns_in_the_middle_of_its_hour_and_ends_where_the_truth_is() -> None:
    since = 1_779_033_600_000
    registers_ = Registers(1, Profile("water", 3, 4, since, 0), since + DAY)
    for hour in range(1, 24):
        at = since + hour * HOUR
        for off in (-600_000, -30_000, 0, 30_000, 600_000):
            assert registers_.totals(1, at + off) == (registers_.turned[hour],)
        middle = registers_.totals(1, at - HOUR // 2)[0]
        assert middle == (registers_.turned[hour - 1] + registers_.turned[hour]) // 2


@pytest.fixture(scope="module")
def plan() -> StreetPlan:
    return make_plan(until=1_795_234_400_000, days=36, dwellings=14)


def test_a_lived_street_has_stored_what_was_true_and_lost_what_was_planned(plan: StreetPlan) -> None:
    for meter in plan.meters:
        state, design, truth = lived(plan, meter), design_of(meter), plan.registers(meter)
        stored = Stored(state, design)
        lost = {gap.since + hour * HOUR for gap in meter.gaps for hour in range(gap.hours)}
        assert (stored.since, stored.until) == (plan.since, plan.until)
        for at in range(plan.since + HOUR, plan.until + 1, HOUR):
            assert stored.stored(at) == (None if at in lost else truth.at(at))
        assert registers(state, design)[0] == truth.values[-1]
        if len(design.registers) > 1:
            assert registers(state, design)[1] == truth.second[-1] // MILLIONTHS
        assert state.battery_low == meter.battery_low
        assert state.valve == "open"


def test_an_opened_cover_is_in_the_freeze_of_its_day_and_in_no_other(plan: StreetPlan) -> None:
    (meter,) = [one for one in plan.meters if any(what.kind == "cover" for what in one.incidents)]
    stored = Stored(lived(plan, meter), design_of(meter))
    (incident,) = meter.incidents
    for end_at in range(plan.since + DAY, plan.until + 1, DAY):
        opened = end_at - DAY < incident.since <= end_at
        assert bool(stored.status(end_at) & REMOVED) == opened


@pytest.mark.parametrize("by", [-HOUR, HOUR])
def test_a_clock_that_jumped_says_registers_of_other_hours_until_it_was_set(
    plan: StreetPlan, by: int
) -> None:
    meter = next(one for one in plan.meters if one.medium == "water" and not one.gaps and not one.incidents)
    begins, ends = plan.since + 10 * DAY + HOUR // 2, plan.since + 12 * DAY + HOUR // 2
    jumped = replace(meter, incidents=(Incident("clock", begins, ends, by),))
    stored, truth = Stored(lived(plan, jumped), design_of(jumped)), plan.registers(meter)
    for at in range(plan.since + HOUR, plan.until + 1, HOUR):
        if begins + HOUR < at <= ends - HOUR:
            assert stored.stored(at) == truth.at(at - by)
        elif not begins - HOUR < at <= ends + HOUR:
            assert stored.stored(at) == truth.at(at)


def test_chosen_models_have_numbers_by_which_they_are_known() -> None:
    names = ["water-201707", "heat-25-1111", "electricity-9100"]
    chosen = make_plan(until=1_795_234_400_000, days=2, dwellings=30, models=names)
    assert len({meter.device_id for meter in chosen.meters}) == 120
    for meter in chosen.meters:
        if meter.medium == "gas":
            assert meter.model == ""
        else:
            assert meter.model in names
            assert profile_of(meter.device_id).name == meter.model
    for wrong in (["nothing"], ["water-201707", "water-1811"], ["electricity-161"]):
        with pytest.raises(LocalError) as refused:
            make_plan(until=1_795_234_400_000, days=2, dwellings=1, models=wrong)
        assert refused.value.code == "kit.models"


def test_most_models_can_make_a_street() -> None:
    made = 0
    for name in profiles():
        try:
            street = make_plan(until=1_795_234_400_000, days=2, dwellings=3, models=[name])
        except LocalError:
            continue
        made += 1
        assert len({meter.device_id for meter in street.meters}) == 12
    assert made > 15
