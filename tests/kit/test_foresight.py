"""The back-test of forecasts: the same of the same seed, and blind to what came."""

from __future__ import annotations

import numpy as np
import pytest

from meterseal.kit import foresight
from meterseal.kit.foresight import SEASONS, Row, page, rows
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
    text = page(first, 3, 2)
    assert text.count("| electricity, net |") == 2
    assert text.count("\n|") == 2 + len(first)
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
