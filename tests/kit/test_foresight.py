"""The back-test of forecasts: the same of the same seed, and blind to what came."""

from __future__ import annotations

import numpy as np
import pytest

from meterseal.kit import foresight
from meterseal.kit.foresight import FAULT_DAYS, SEASONS, Row, fault_rows, page, ran_away, rows
from meterseal.mdms.forecast import bands
from meterseal.mdms.forecast.task import Forecast, Task


def few(seed: int) -> list[Row]:
    return list(rows(seed, 2, SEASONS[:1], times=1))


def test_the_same_seed_gives_the_same_numbers_and_another_others() -> None:
    first = few(3)
    assert first == few(3)
    assert first != few(4)
    assert [(row.medium, row.horizon) for row in first][:2] == [
        ("water", "day-ahead"),
        ("water", "week-ahead"),
    ]
    assert {round(sum(row.chosen.values()), 6) for row in first} == {1.0}
    nets = [row for row in first if row.net]
    assert [(row.medium, row.horizon) for row in nets] == [
        ("electricity", "day-ahead"),
        ("electricity", "week-ahead"),
    ]
    assert all(row.lows is not None and 0 <= row.lows <= 1 for row in nets)
    assert {row.lows for row in first if not row.net} == {None}
    text = page(first, [], 3, 2)
    assert text.count("| electricity, net |") == 2
    assert text.count("\n|") == 2 + len(first) + 2
    assert "--seed 3 --dwellings 2" in text


def test_a_forecast_is_asked_for_without_the_hours_that_judge_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Task] = []

    def noted(task: Task) -> Forecast:
        asked.append(task)
        return bands.forecast(task)

    monkeypatch.setattr(foresight, "forecast", noted)
    found = few(3)
    assert len(asked) == len(found)
    for task, row in zip(asked, found, strict=True):
        assert len(task.use) == foresight.HISTORY
        assert task.horizon == foresight.HORIZONS[row.horizon]
        assert task.temperature is not None
        assert not np.isnan(task.temperature).any()


def test_what_faults_do_is_told_beside_what_they_would_do_if_they_were_believed() -> None:
    found = list(fault_rows(3, 2, SEASONS[:1], times=2))
    assert found == list(fault_rows(3, 2, SEASONS[:1], times=2))
    assert [one.medium for one in found] == ["water", "gas", "heat", "electricity"]
    for one in found:
        assert one.shipped.pinball < one.believed.pinball
    assert page([], found, 3, 2).count("\n|") == 2 + 2 + len(found)


def test_a_register_runs_away_once_in_each_home_within_four_weeks() -> None:
    use = np.random.default_rng(1).random((60 * 24, 40)).astype(np.float32)
    ran = ran_away(use, np.random.default_rng(2))
    changed = ran != use
    assert not changed[: -FAULT_DAYS * 24].any()
    hours = changed.sum(axis=0)
    assert (hours.min(), hours.max()) == (4, 10)
    for series in range(use.shape[1]):
        (where,) = changed[:, series].nonzero()
        assert np.ptp(where) == len(where) - 1
        assert (ran[where, series] >= 4.9 * use[:, series][-FAULT_DAYS * 24 :].max()).all()
