"""Forecasts: what every model must keep to, what each is for, and whether the stated quantiles are true."""

from __future__ import annotations

import numpy as np
import pytest

from meterseal.errors import DataError
from meterseal.mdms.forecast.bands import NAIVE, TRIED, errors, forecast, judged
from meterseal.mdms.forecast.models import MODELS, WEEKS, _week, weather_week
from meterseal.mdms.forecast.scores import Score, naive_scales, score
from meterseal.mdms.forecast.task import LEVELS, WEEK, Floats, Task
from meterseal.mdms.forecast.total import ORIGINS, total
from meterseal.model import Medium
from tests.mdms.forecast.street import WINTER, made, street, task

KNOWN = slice(24, 24 + 12 * WEEK)
MEDIA: list[Medium] = ["water", "gas", "heat", "electricity"]
USUAL = ((24, "water"), (24, "electricity"), (168, "gas"), (168, "heat"))
"""Each medium once and each horizon twice; the others take the same way."""


def electricity(horizon: int = 24, known: slice = KNOWN) -> Task:
    use, first = street("electricity")
    return task(use, first, known, horizon)


def holes(use: Floats, share: float, seed: int = 3) -> Floats:
    holed = use.copy()
    holed[np.random.default_rng(seed).random(use.shape) < share] = np.nan
    return holed


def judge(history: Floats, came: Floats, quantiles: Floats) -> Score:
    found = score(*naive_scales(history), came, quantiles)
    assert found is not None
    return found


# --- every model -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_a_series_is_forecast_the_same_alone_and_among_others(name: str) -> None:
    whole = electricity()
    among = MODELS[name](whole)
    for column in (0, 7, among.shape[1] - 1):
        alone = MODELS[name](whole.part(column, column + 1))
        np.testing.assert_allclose(alone[:, 0], among[:, column], rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("name", MODELS)
def test_a_forecast_is_finite_never_below_zero_and_of_the_asked_length(name: str) -> None:
    for horizon in (1, 24, 168, 31 * 24):
        whole = electricity(horizon)
        for use in (whole.use, holes(whole.use, 0.3), np.full_like(whole.use, np.nan)):
            ahead = MODELS[name](whole._replace(use=use))
            assert ahead.shape == (horizon, whole.use.shape[1])
            assert np.isfinite(ahead).all()
            assert (ahead >= 0).all()


@pytest.mark.parametrize("name", MODELS)
def test_twice_the_use_is_twice_the_forecast(name: str) -> None:
    whole = electricity()
    once, twice = MODELS[name](whole), MODELS[name](whole._replace(use=whole.use * 2))
    np.testing.assert_allclose(twice, once * 2, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_written_into_what_was_given(name: str) -> None:
    whole = electricity()
    given = holes(whole.use, 0.1)
    before = given.copy()
    MODELS[name](whole._replace(use=given))
    np.testing.assert_array_equal(given, before)


@pytest.mark.parametrize("name", MODELS)
def test_what_repeats_every_week_is_forecast_to_two_parts_of_a_hundred(name: str) -> None:
    shape = (np.arange(24) % 24 + 1.0)[:, None] * np.array([1.0, 0.1, 0.0])
    use = np.tile(shape, (7 * 9, 1))
    ahead = MODELS[name](made(use, 168))
    np.testing.assert_allclose(ahead, np.tile(shape, (7, 1)), rtol=0.02, atol=0.002)


@pytest.mark.parametrize("hours", [1, 94, WEEK, 2 * WEEK + 94, 5 * WEEK + 30])
def test_like_hours_against_a_slow_count(hours: int) -> None:
    rng = np.random.default_rng(hours)
    use = rng.random((hours, 3)).astype(np.float32)
    use[-1] = 0.5
    use[:-1][rng.random(use[:-1].shape) < 0.4] = np.nan
    whole = made(use, 200)
    naive, mean = MODELS[NAIVE](whole), MODELS["average-week/1"](whole)
    for series in range(3):
        for hour in range(200):
            like = [
                use[at, series]
                for week in range(1, WEEKS + 1)
                if (at := len(use) + hour % WEEK - week * WEEK) >= 0 and not np.isnan(use[at, series])
            ]
            if like:
                assert naive[hour, series] == pytest.approx(like[0], rel=1e-5)
                assert mean[hour, series] == pytest.approx(np.mean(like), rel=1e-5)
            else:
                assert naive[hour, series] == pytest.approx(np.nanmean(use[:, series]), rel=1e-5)


def test_the_factors_of_a_calendar_are_made_once_and_not_mistaken_for_those_of_another() -> None:
    whole = electricity()
    alone = whole.part(0, 1)
    other = alone._replace(kind=np.roll(alone.kind, 24))
    colder = alone._replace(temperature=None if alone.temperature is None else alone.temperature - 20)
    shorter = alone._replace(use=alone.use[:-24])
    _week.cache_clear()
    first = [weather_week(one) for one in (alone, other, colder, shorter)]
    assert _week.cache_info().misses == 4
    again = [weather_week(one) for one in (alone, other, colder, shorter)]
    assert _week.cache_info().misses == 4
    for before, after in zip(first, again, strict=True):
        np.testing.assert_array_equal(before, after)
    for apart in first[1:3]:
        assert np.abs(apart - first[0]).max() > 1e-3
    for one in range(3):
        weather_week(whole.part(one, one + 1))
    assert _week.cache_info().misses == 4


# --- choice and quantiles --------------------------------------------------------------------------------


def test_quantiles_rise_with_their_level_and_stay_above_zero() -> None:
    found = forecast(electricity(168)).quantiles
    assert found.shape[:2] == (len(LEVELS), 168)
    assert (np.diff(found, axis=0) >= 0).all()
    assert (found >= 0).all()


def test_a_model_sees_nothing_of_the_weeks_it_is_judged_by() -> None:
    whole = electricity()
    changed = whole.use.copy()
    changed[-WEEK:] += 5
    for name in MODELS:
        then = errors(whole, name, 1)
        now = errors(whole._replace(use=changed), name, 1)
        np.testing.assert_allclose(now, then + 5, rtol=1e-4, atol=1e-4)


def test_heat_takes_the_model_with_the_weather_and_noise_keeps_the_naive_one_out() -> None:
    use, first = street("heat", WINTER)
    found = forecast(task(use, first, slice(24 * 40, 24 * 40 + 12 * WEEK), 24))
    assert found.model.count("weather-week/1") > len(found.model) * 0.6


def test_a_series_that_changes_every_week_keeps_the_naive_model() -> None:
    weeks = 10
    shape = np.random.default_rng(5).random((WEEK, 1))
    use = np.concatenate([shape * (1.6**week) for week in range(weeks)])
    found = forecast(made(use, 24))
    assert found.model == (NAIVE,)
    assert set(found.scores) == set(MODELS)
    assert all(found.scores[NAIVE] <= found.scores[name] for name in MODELS)


def test_fewer_than_three_weeks_are_refused_and_three_are_enough() -> None:
    use = np.ones((3 * WEEK, 2))
    assert forecast(made(use, 24)).quantiles.shape == (5, 24, 2)
    with pytest.raises(DataError, match="3 weeks") as refused:
        forecast(made(use[1:], 24))
    assert refused.value.code == "forecast.history"


@pytest.mark.parametrize("weeks", [2, 3])
def test_a_meter_of_a_few_weeks_is_forecast_at_the_level_of_its_use(weeks: int) -> None:
    """Models are not judged by weeks before which they knew nothing: what they missed there was all of the use."""
    use, first = street("electricity")
    asked = task(use, first, KNOWN, 24)
    young = asked.use.copy()
    young[: -weeks * WEEK] = np.nan
    came = use[KNOWN.stop : KNOWN.stop + 24]
    found = forecast(asked._replace(use=young)).quantiles
    assert 0.75 < found[2].sum() / came.sum() < 1.25
    assert judge(asked.use, came, found).mase < 1
    assert found[4].sum() < 2 * forecast(asked).quantiles[4].sum()


def test_weeks_that_can_judge_have_others_before_them_and_are_mostly_known() -> None:
    use = np.ones((4 * WEEK, 4), np.float32)
    use[: 2 * WEEK, 1] = np.nan  # two weeks old
    use[: 3 * WEEK, 2] = np.nan  # one week old
    use[-WEEK : -WEEK // 3, 3] = np.nan  # the last week mostly missing
    assert judged(use, 3).T.tolist() == [[True] * 3, [False, False, True], [False] * 3, [True, True, False]]


def test_the_stated_peaks_are_true() -> None:
    """In nine days of ten the highest hour lies between the outer bounds; no bound of an hour's says that of a day."""
    use, first = street("electricity")
    groups = np.stack([use[:, start::6].sum(axis=1) for start in range(6)], axis=1)
    for series in (use, groups):
        above, below, naive, days = 0, 0, 0, 0
        for start in range(10):
            known = slice(24 * 14 + start * 48, 24 * 14 + start * 48 + 12 * WEEK)
            found = forecast(task(series, first, known, 168))
            assert found.peaks.shape == (len(LEVELS), 7, series.shape[1])
            assert (np.diff(found.peaks, axis=0) >= 0).all()
            bounds = found.quantiles.reshape(len(LEVELS), 7, 24, -1).max(axis=2)
            assert (found.peaks >= bounds).all()
            peak = series[known.stop : known.stop + 168].reshape(7, 24, -1).max(axis=1)
            above += int((peak > found.peaks[-1]).sum())
            below += int((peak < found.peaks[0]).sum())
            naive += int((peak > bounds[-1]).sum())
            days += peak.size
        assert 0.01 < above / days < 0.09
        assert 0.01 < below / days < 0.09
        assert naive / days > 0.12


def test_the_peak_of_a_day_mostly_missing_judges_nothing() -> None:
    whole = electricity()
    holed = whole.use.copy()
    for day in range(-25, 0):  # the evenings are gone, three days are whole
        holed[day * 24 + 17 : day * 24 + 24 or None] = np.nan
    found = forecast(whole._replace(use=holed))
    assert np.isfinite(found.peaks).all()
    assert found.peaks[-1].mean() > 0.7 * forecast(whole).peaks[-1].mean()


@pytest.mark.parametrize(
    ("horizon", "medium"),
    [
        pytest.param(horizon, medium, marks=() if (horizon, medium) in USUAL else pytest.mark.soak)
        for horizon in (24, 168)
        for medium in MEDIA
    ],
)
def test_the_stated_quantiles_are_true_on_days_that_no_threshold_was_chosen_by(
    medium: Medium, horizon: int
) -> None:
    """Nine hours of ten lie within the outer quantiles, five within the inner ones, over ten forecasts of summer."""
    use, first = street(medium)
    judged = []
    for start in range(10):
        known = slice(24 * 14 + start * 24, 24 * 14 + start * 24 + 12 * WEEK)
        asked = task(use, first, known, horizon)
        came = use[known.stop : known.stop + horizon]
        judged.append(judge(asked.use, came, forecast(asked).quantiles))
    assert 0.84 < np.mean([one.coverage for one in judged]) < 0.96
    assert 0.40 < np.mean([one.half for one in judged]) < 0.62
    assert np.mean([one.mase for one in judged]) < 0.95


def test_scores_by_hand() -> None:
    history = np.zeros((2 * WEEK, 1), np.float32)
    history[WEEK:] = 2.0
    came = np.array([[4.0], [1.0], [np.nan]], np.float32)
    levels = np.array([0.0, 1.0, 2.0, 3.0, 5.0], np.float32)[:, None, None] * np.ones((1, 3, 1), np.float32)
    found = judge(history, came, levels)
    assert (found.series, found.hours) == (1, 2)
    assert found.mase == pytest.approx((2 + 1) / 2 / 2)
    assert found.rmsse == pytest.approx(np.sqrt((4 + 1) / 2 / 4))
    assert found.coverage == pytest.approx(1.0)
    assert found.half == pytest.approx(0.5)
    by_hand = [
        max(level * (c - q), (level - 1) * (c - q))
        for level, q in zip(LEVELS, [0, 1, 2, 3, 5], strict=True)
        for c in (4, 1)
    ]
    assert found.pinball == pytest.approx(np.mean(by_hand))


# --- sums ------------------------------------------------------------------------------------------------


def test_the_band_of_a_sum_holds_what_came_about_nine_times_of_ten() -> None:
    inside = count = 0
    for medium in ("water", "electricity"):
        use, first = street(medium)
        for start in range(0, 50, 7):
            known = slice(start * 24, start * 24 + 12 * WEEK)
            asked = task(use, first, known, 20 * 24)
            came = use[known.stop : known.stop + 20 * 24].sum(axis=0)
            found = total(asked)
            inside += int(((came >= found.low) & (came <= found.high)).sum())
            count += len(came)
    assert 0.80 < inside / count < 0.99


def test_a_sum_is_of_its_hours_and_lies_within_its_band() -> None:
    found = total(electricity(20 * 24))
    middle = found.hours.sum(axis=0)
    assert (found.low <= middle).all()
    assert (middle <= found.high).all()
    assert (found.low < found.high).all()
    assert found.origins == ORIGINS


def test_a_hole_in_the_weeks_that_judge_makes_no_band_narrow() -> None:
    """Weeks of which nothing is known were taken for weeks without any error: the band was a third too narrow."""
    whole = electricity(7 * 24)
    holed = whole.use.copy()
    holed[-7 * WEEK : -3 * WEEK] = np.nan
    one, other = total(whole), total(whole._replace(use=holed))
    assert other.origins == 3, "the last three weeks"
    widths = (other.high - other.low).mean() / (one.high - one.low).mean()
    assert widths > 0.8
    with pytest.raises(DataError) as refused:
        total(
            whole._replace(
                use=np.where(np.arange(len(holed))[:, None] >= len(holed) - 8 * WEEK, np.nan, whole.use)
            )
        )
    assert refused.value.code == "forecast.history"


def test_a_sum_over_more_days_than_the_history_can_judge_is_refused() -> None:
    use = np.ones((5 * WEEK, 1))
    assert total(made(use, 2 * WEEK)).origins == 2
    with pytest.raises(DataError) as refused:
        total(made(use, 2 * WEEK + 1))
    assert refused.value.code == "forecast.history"


def test_no_more_weeks_are_tried_than_stated() -> None:
    whole = made(np.random.default_rng(1).random((20 * WEEK, 1)), 24)
    far = whole.use.copy()
    far[: -(TRIED + WEEKS + 1) * WEEK] *= 3
    naive = forecast(whole).scores[NAIVE]
    assert forecast(whole._replace(use=far)).scores[NAIVE] == pytest.approx(naive)
