"""What history is not learnt from: what came once and went, and what no connection lets pass; and that all else is."""

from __future__ import annotations

import numpy as np
import pytest

from meterseal.mdms.forecast.bands import forecast
from meterseal.mdms.forecast.doubtful import HOUR, carried, plausible
from meterseal.mdms.forecast.task import DAY, WEEK, Floats
from meterseal.mdms.spans import Span
from meterseal.mdms.store.rows import EVER
from tests.mdms.forecast.street import made

DAYS = 28
SINCE = 495_000 * HOUR


def usual(series: int, seed: int = 11) -> Floats:
    return np.random.default_rng(seed).gamma(2.0, 0.2, (DAYS * DAY, series)).astype(np.float32)


def unknown(use: Floats) -> list[int]:
    return np.flatnonzero(np.isnan(plausible(use)[:, 0])).tolist()


def with_hours(*spans: slice, times: float = 9, after: int = 0) -> Floats:
    """A dwelling with hours at so many times its highest; the last `after` hours are not known."""
    use = usual(1)
    highest = float(use.max())
    for span in spans:
        use[span] = times * highest
    use[len(use) - after :] = np.nan
    return use


def test_a_jump_of_the_register_is_nothing_to_learn_from_and_new_use_is() -> None:
    use = usual(4)
    highest = float(use.max())
    use[500, 0] = 50 * highest  # a jump
    use[[300, 301, 640], 1] = 9 * highest  # on two days
    use[-24:-18, 2] = 9 * highest  # a car that is charged since yesterday
    use[:20, 3] = np.nan
    found = plausible(use)
    assert np.isnan(found[:, 0]).nonzero()[0].tolist() == [500]
    assert np.isnan(found[:, 1]).nonzero()[0].tolist() == [300, 301, 640]
    for column in (2, 3):
        np.testing.assert_array_equal(found[:, column], use[:, column])
    left = ~np.isnan(found)
    np.testing.assert_array_equal(found[left], use[left])
    short = use[: 13 * 24]
    assert plausible(short) is short


@pytest.mark.parametrize("day", [0, 3, 20, 26])
@pytest.mark.parametrize("hours", [4, 10, 24])
def test_many_impossible_hours_of_a_day_that_is_over_are_left_out(day: int, hours: int) -> None:
    ran = slice(day * DAY, day * DAY + hours)
    assert unknown(with_hours(ran)) == list(range(ran.start, ran.stop))


def test_two_such_days_are_left_out_unless_they_are_a_habit() -> None:
    faults = slice(10 * DAY + 3, 10 * DAY + 9), slice(19 * DAY + 14, 19 * DAY + 20)
    assert unknown(with_hours(*faults)) == [*range(243, 249), *range(470, 476)]
    # Charged on two Saturdays, and the third is not here yet.
    saturdays = slice(15 * DAY + 18, 15 * DAY + 23), slice(22 * DAY + 17, 22 * DAY + 22)
    assert unknown(with_hours(*saturdays)) == []
    # It was due again and did not come.
    gone = slice(11 * DAY + 18, 11 * DAY + 23), slice(18 * DAY + 17, 18 * DAY + 22)
    assert len(unknown(with_hours(*gone))) == 10
    # It was due yesterday, and nobody knows of yesterday; once that is known it has ended.
    due = slice(13 * DAY + 18, 13 * DAY + 23), slice(20 * DAY + 17, 20 * DAY + 22)
    assert unknown(with_hours(*due, after=DAY)) == list(range(27 * DAY, 28 * DAY))
    assert len(unknown(with_hours(*due))) == 10
    other_hours = slice(15 * DAY + 2, 15 * DAY + 7), slice(22 * DAY + 17, 22 * DAY + 22)
    assert len(unknown(with_hours(*other_hours))) == 10


def test_what_goes_on_is_believed_from_its_first_day() -> None:
    yesterday, before = slice(27 * DAY + 2, 27 * DAY + 8), slice(26 * DAY + 2, 26 * DAY + 8)
    assert unknown(with_hours(yesterday)) == []
    assert unknown(with_hours(before, yesterday)) == []
    assert unknown(with_hours(slice(-3 * DAY, None))) == []
    # An old fault does not become believed by it.
    old = slice(5 * DAY, 5 * DAY + 6)
    assert unknown(with_hours(old, yesterday)) == list(range(old.start, old.stop))
    # Nobody has heard of the meter since.
    assert unknown(with_hours(before, after=DAY)) == list(range(27 * DAY, 28 * DAY))


def test_where_nothing_was_used_before_the_first_use_is_believed_while_it_lasts() -> None:
    use = np.zeros((DAYS * DAY, 2), np.float32)
    use[-20:-18, 0] = 1.0
    use[200:206, 1] = 4.0
    found = plausible(use)
    np.testing.assert_array_equal(found[:, 0], use[:, 0])
    assert np.flatnonzero(np.isnan(found[:, 1])).tolist() == list(range(200, 206))


def test_days_end_where_the_forecast_begins_at_whatever_hour_that_is() -> None:
    use = np.concatenate((usual(1)[:7], with_hours(slice(-DAY, -DAY + 6))))
    assert unknown(use) == []
    use[0:5] = 90.0
    assert unknown(use) == [0, 1, 2, 3, 4]


def test_a_register_that_ran_away_for_half_a_day_moves_neither_forecast_nor_band() -> None:
    clean = np.concatenate((usual(1), usual(1, seed=12)))
    ran = clean.copy()
    ran[-4 * DAY : -4 * DAY + 10] = 40 * clean.max()
    then, now = (forecast(made(plausible(use), WEEK)).quantiles for use in (clean, ran))
    believed = forecast(made(ran, WEEK)).quantiles
    assert np.abs(now - then).max() < 0.5 * clean.max()
    assert np.abs(believed - then).max() > 2 * clean.max()


def test_hours_above_what_the_connection_carries_are_not_known() -> None:
    use = usual(3)
    use[[100, 101, 102, 103, 104, -2], 0] = 11.5
    use[50, 1] = 11.5
    found = carried(use.copy(), SINCE, {0: [Span(0, EVER, "10")]})
    assert np.flatnonzero(np.isnan(found[:, 0])).tolist() == [100, 101, 102, 103, 104, len(use) - 2]
    np.testing.assert_array_equal(found[:, 1:], use[:, 1:])
    # At most a tenth more passes, and of hours before and after the statement it says nothing.
    assert not np.isnan(carried(use.copy(), SINCE, {0: [Span(0, EVER, "10.5")]})).any()
    late = carried(use.copy(), SINCE, {0: [Span(SINCE + 102 * HOUR, SINCE + 104 * HOUR, "1")]})
    assert np.flatnonzero(np.isnan(late[:, 0])).tolist() == [102, 103]


def test_a_connection_that_is_said_too_small_takes_no_history() -> None:
    use = usual(1)
    assert not np.isnan(carried(use.copy(), SINCE, {0: [Span(0, EVER, "0.2")]})).any()
    # Of one day alone, half of it is left out.
    use[-8:] = 3.0
    assert np.isnan(carried(use[-DAY:].copy(), SINCE, {0: [Span(0, EVER, "2.5")]})).sum() == 8
