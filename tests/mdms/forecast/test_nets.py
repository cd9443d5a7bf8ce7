"""Forecasts of nets: signed, with true quantiles on both sides of nothing, and no other for the sign that is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterseal.kit.weather import sunshine
from meterseal.mdms.forecast.bands import forecast
from meterseal.mdms.forecast.history import from_nothing
from meterseal.mdms.forecast.models import MODELS
from meterseal.mdms.forecast.scores import low_score, naive_scales, peak_score, score
from meterseal.mdms.forecast.task import DAY, LEVELS, WEEK, Floats, Task
from meterseal.mdms.forecast.total import total
from tests.mdms.forecast.street import SUMMER, made, street, task

KNOWN = slice(24, 24 + 12 * WEEK)
PANELS = 4.0
"""kW on each roof: at noon of a summer's day all zones feed back."""


def zones(panels: float = PANELS) -> tuple[Floats, int]:
    """(hours, 6) of zones of five homes each with panels, net, each under a sky of its own; the first hour since 1970."""
    use, first = street("electricity", SUMMER)
    hours = np.arange(first, first + len(use))
    made = [5 * panels * sunshine(77 + k, hours) for k in range(6)]
    return np.stack([use[:, k::6].sum(axis=1) - made[k] for k in range(6)], axis=1).astype(np.float32), first


def net(horizon: int = 24, known: slice = KNOWN) -> Task:
    use, first = zones()
    return task(use, first, known, horizon)._replace(net=True)


@pytest.mark.parametrize("name", MODELS)
def test_a_net_of_the_other_sign_has_the_forecast_of_the_other_sign(name: str) -> None:
    """Nothing is special about drawing: what is fed back is forecast as well as what is drawn."""
    asked = net(168)
    ahead = MODELS[name](asked)
    assert (ahead < 0).any()
    assert (ahead > 0).any()
    np.testing.assert_allclose(MODELS[name](asked._replace(use=-asked.use)), -ahead, rtol=1e-4, atol=1e-4)


def test_quantiles_of_the_other_sign_come_the_other_way_round_and_so_do_peaks() -> None:
    asked = net(168)
    found, turned = forecast(asked), forecast(asked._replace(use=-asked.use))
    assert found.lows is not None
    assert turned.lows is not None
    np.testing.assert_allclose(turned.quantiles, -found.quantiles[::-1], rtol=1e-3, atol=2e-3)
    np.testing.assert_allclose(turned.peaks, -found.lows[::-1], rtol=1e-3, atol=2e-3)
    np.testing.assert_allclose(turned.lows, -found.peaks[::-1], rtol=1e-3, atol=2e-3)


def test_the_stated_quantiles_and_peaks_of_nets_are_true_on_both_sides() -> None:
    use, first = zones()
    held, halves, peaks, lows, mase = [], [], [], [], []
    for start in range(0, 50, 5):
        known = slice(24 * 14 + start * 24, 24 * 14 + start * 24 + 12 * WEEK)
        asked = task(use, first, known, 24)._replace(net=True)
        came, found = use[known.stop : known.stop + 24], forecast(asked)
        judged = score(*naive_scales(asked.use), came, found.quantiles)
        assert judged is not None
        assert found.lows is not None
        held.append(judged.coverage)
        halves.append(judged.half)
        mase.append(judged.mase)
        for into, one in (
            (peaks, peak_score(came, found.peaks[:, 0])),
            (lows, low_score(came, found.lows[:, 0])),
        ):
            assert one is not None
            into.append(one.within)
        assert (came.min(axis=0) < -5).any(), "they feed back"
    assert 0.8 < np.mean(held) < 0.97
    assert 0.35 < np.mean(halves) < 0.65
    assert 0.75 < np.mean(peaks) <= 1
    assert 0.75 < np.mean(lows) <= 1
    assert np.mean(mase) < 1


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(3 * WEEK, 8 * WEEK),
    st.sampled_from([1e-3, 1.0, 1e6]),
    st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    st.booleans(),
)
def test_whatever_a_series_is_its_quantiles_are_ordered_finite_and_within_its_peaks(
    seed: int, hours: int, scale: float, lost: float, signed: bool
) -> None:
    """Series of noise, of nothing, of one value, of nothing drawn and only fed back, with holes up to no hour known."""
    dice = np.random.default_rng(seed)
    noise = dice.gamma(0.5, scale, (hours, 6))
    use = np.stack(
        [
            noise[:, 0],
            0 * noise[:, 1],
            np.full(hours, scale),
            -noise[:, 3],
            noise[:, 4] - noise[:, 5],
            -noise[:, 5],
        ],
        axis=1,
    )
    use = use if signed else np.maximum(use, 0)
    use[dice.random(use.shape) < lost] = np.nan
    found = forecast(made(use, 48)._replace(net=signed))
    for part in (found.quantiles, found.peaks, *(() if found.lows is None else (found.lows,))):
        assert np.isfinite(part).all()
        assert (np.diff(part, axis=0) >= 0).all()
    assert (found.lows is not None) == signed
    by_day = found.quantiles.reshape(len(LEVELS), 2, DAY, -1)
    assert (found.peaks >= by_day.max(axis=2)).all()
    if found.lows is not None:
        assert (found.lows <= by_day.min(axis=2)).all()
        assert (found.lows <= found.peaks).all()
    else:
        assert (found.quantiles >= 0).all()


def test_a_home_that_draws_nothing_and_feeds_in_all_day_is_forecast_to_do_so() -> None:
    """Panels and a battery: the net is never above nothing, and the highest hour of its days is none."""
    hours = np.arange(8 * WEEK)
    sun = np.maximum(np.sin((hours % 24 - 6) * np.pi / 12), 0)
    use = -(3 * sun * (1 + 0.2 * np.random.default_rng(2).standard_normal(len(hours)))).clip(0)[:, None]
    found = forecast(made(use, 24)._replace(net=True))
    assert found.lows is not None
    assert found.quantiles[2].sum() == pytest.approx(use[-WEEK:].sum() / 7, rel=0.1)
    assert (found.quantiles[:3] <= 0.05).all()
    assert (found.quantiles <= 0.5).all(), "at dawn errors of the hours beside count"
    assert found.peaks[2, 0, 0] == pytest.approx(0, abs=0.05)
    assert -4.5 < found.lows[0, 0, 0] < -3 < found.lows[-1, 0, 0] < -2.5


def test_mase_and_rmsse_know_no_sign_and_no_level() -> None:
    """They are errors over errors: neither where nothing lies nor which way is counted changes them."""
    asked = net()
    use, _ = zones()
    came = use[KNOWN.stop : KNOWN.stop + 24]
    quantiles = forecast(asked).quantiles
    one = score(*naive_scales(asked.use), came, quantiles)
    assert one is not None
    assert 0 < one.mase < 5
    for history, then, levels in (
        (-asked.use, -came, -quantiles[::-1]),
        (asked.use - 50, came - 50, quantiles - 50),
    ):
        other = score(*naive_scales(history), then, levels)
        assert other is not None
        for name in ("mase", "rmsse", "pinball", "coverage", "half"):
            assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-3), name


def test_how_far_a_peak_was_off_is_a_part_of_what_flowed_whichever_way() -> None:
    came = np.full((24, 2), -1.0, np.float32)
    came[12] = [-4.0, -6.0]
    lows = np.array([-8, -6, -5, -4, -3], np.float32)[:, None] * np.ones((1, 2), np.float32)
    found = low_score(came, lows)
    assert found is not None
    assert (found.within, found.over) == (1.0, 0.0)
    assert found.error == pytest.approx((1 + 1) / 10)
    more = low_score(came * 2, lows)
    assert more is not None
    assert (more.within, more.over) == (0.5, 0.5), "12 is more than hardly above 8"
    highest = peak_score(came, np.zeros((5, 2), np.float32))
    assert highest is not None
    assert highest.error == pytest.approx(1), "off by 1 of 1, though that is fed back"


def test_a_net_has_no_floor_and_what_is_used_has_one() -> None:
    asked = net()
    assert (forecast(asked).quantiles < 0).any()
    assert (forecast(asked._replace(net=False)).quantiles >= 0).all()
    assert (total(asked._replace(net=False)).hours >= 0).all()


def test_before_the_first_hour_known_nothing_was_fed_in_and_a_hole_later_stays_one() -> None:
    fed = np.array([[np.nan, np.nan], [np.nan, 1], [2, np.nan], [np.nan, 3]], np.float32)
    np.testing.assert_array_equal(from_nothing(fed), [[0, 0], [0, 1], [2, np.nan], [np.nan, 3]])
