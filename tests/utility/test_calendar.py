"""Local time, half-open periods and billing days at the ends of months."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterseal.errors import DataError
from meterseal.utility.calendar import (
    HOUR,
    Period,
    billing_period,
    billing_periods,
    billing_start,
    clock_hours,
    days,
    is_billing_start,
    local_day,
    midnight,
    year_start,
)
from tests.utility.twins import at, day

instants = st.integers(min_value=day("2000-01-01"), max_value=day("2100-01-01"))


def test_local_midnight_is_sixteen_hours_utc_of_the_day_before() -> None:
    assert midnight(date(2026, 11, 21)) == 1_795_190_400_000
    assert local_day(1_795_190_400_000 - 1) == date(2026, 11, 20)


def test_the_year_begins_at_local_midnight() -> None:
    assert year_start(at("2026-01-01T00:00:00")) == day("2026-01-01")
    assert year_start(day("2026-01-01") - 1) == day("2025-01-01")


@pytest.mark.parametrize(
    ("billing_day", "begins"),
    [(1, "2026-02-01"), (28, "2026-02-28"), (29, "2026-02-28"), (31, "2026-02-28")],
)
def test_days_29_to_31_clamp_to_the_end_of_the_month(billing_day: int, begins: str) -> None:
    assert billing_start(2026, 2, billing_day) == date.fromisoformat(begins)


def test_a_clamped_period_runs_from_month_end_to_month_end() -> None:
    assert billing_period(at("2026-02-28T00:00:00"), 31) == Period(day("2026-02-28"), day("2026-03-31"))
    assert billing_period(at("2026-02-27T23:59:59"), 31) == Period(day("2026-01-31"), day("2026-02-28"))
    assert billing_period(at("2028-02-29T12:00:00"), 30) == Period(day("2028-02-29"), day("2028-03-30"))


def test_a_day_outside_the_month_is_refused() -> None:
    for wrong in (0, 32, -1):
        with pytest.raises(DataError) as caught:
            billing_period(day("2026-01-01"), wrong)
        assert caught.value.code == "bill.billing-day"


@given(instants, st.integers(1, 31))
def test_a_period_contains_its_instant_and_the_next_begins_where_it_ends(
    instant: int, billing_day: int
) -> None:
    period = billing_period(instant, billing_day)
    assert period.since <= instant < period.until
    assert billing_period(period.until, billing_day).since == period.until
    assert is_billing_start(period.since, billing_day)


@given(instants, st.integers(1, 800), st.integers(1, 31))
def test_the_periods_of_an_agreement_cover_it_without_hole_or_overlap(
    since: int, length: int, billing_day: int
) -> None:
    until = since + length * 24 * HOUR
    periods = billing_periods(since, until, billing_day)
    assert periods[0].since == since
    assert periods[-1].until == until
    assert all(a.until == b.since for a, b in pairwise(periods))
    assert all(is_billing_start(period.since, billing_day) for period in periods[1:])


def test_days_and_hours_of_a_day() -> None:
    today = Period(day("2026-03-01"), day("2026-03-02"))
    assert days(*today) == (today,)
    assert clock_hours(*today) == tuple(range(24))
    assert days(today.since + HOUR, today.until + HOUR) == (
        (today.since + HOUR, today.until),
        (today.until, today.until + HOUR),
    )
