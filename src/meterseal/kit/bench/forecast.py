"""Beside the path: series forecast with quantiles, day-ahead and week-ahead, each chosen among all models.

The bound is what no choice of model can leave out: for each time the learned model is tried, the bare product of its
matrix with the hours of all series, and the bare sort of the errors that the quantiles are read from.
"""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np

from meterseal.kit.bench.timing import Case, Limit, Primitive, Watch
from meterseal.mdms.forecast.bands import AT_ONCE, TRIED, forecast
from meterseal.mdms.forecast.task import REST, SATURDAY, WEEK, WORKDAY, Task

UNIT = "series per CPU second"
WEEKS = 12
GOAL = 100_000 / 60 / 2
"""100,000 series day-ahead with quantiles in a minute on two cores."""
FEATURES = 108
HOLES = 0.02


def cases(stack: ExitStack, seconds: float) -> list[Case]:
    """The rows: series of one block, some hours of them unknown, from a fixed seed."""
    return [
        _case("day-ahead, five quantiles", 24, goal=GOAL),
        _case("week-ahead, five quantiles", WEEK),
    ]


def _case(name: str, horizon: int, goal: float | None = None) -> Case:
    asked = _task(horizon)
    matrix = np.ones((FEATURES, len(asked.use)), np.float32)
    use = np.nan_to_num(asked.use)
    errors = np.ascontiguousarray(use[: TRIED * WEEK * 3].T)

    def product(times: int) -> None:
        for _ in range(times):
            matrix @ use

    def ranked(times: int) -> None:
        for _ in range(times):
            np.sort(errors.reshape(AT_ONCE, 24, -1), axis=2)

    def work(watch: Watch) -> int:
        with watch:
            forecast(asked)
        return AT_ONCE

    limit = Limit(
        "bare products and sort",
        ((TRIED + 1, Primitive("product", product)), (1, Primitive("sort", ranked))),
        units=AT_ONCE,
    )
    return Case(name=name, unit=UNIT, work=work, limit=limit, goal=goal)


def _task(horizon: int) -> Task:
    dice = np.random.default_rng(2026)
    hours = np.arange(WEEKS * WEEK + horizon)
    weekday = hours // 24 % 7
    kind = np.where(weekday == 6, REST, np.where(weekday == 5, SATURDAY, WORKDAY)).astype(np.int8)
    course = 1 + np.sin(hours[: WEEKS * WEEK] * (2 * np.pi / 24))[:, None]
    use = (course * dice.gamma(1.0, 0.2, (WEEKS * WEEK, AT_ONCE))).astype(np.float32)
    use[dice.random(use.shape) < HOLES] = np.nan
    degrees = (10 + 8 * np.sin(hours / 700)).astype(np.float32)
    return Task(use, (hours % 24).astype(np.int8), kind, degrees)
