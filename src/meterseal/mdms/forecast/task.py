"""Station forecast, what a model is given and what it answers: hours in rows, series in columns.

No behaviour beyond cutting a task to an earlier moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Codes = NDArray[np.int8]

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles of every forecast; the outer two enclose nine hours of ten."""
DAY, WEEK = 24, 168
"""Hours."""
HORIZON = WEEK
"""Hours that a daily forecast looks ahead."""
WORKDAY, SATURDAY, REST = 0, 1, 2
"""Kinds of days: a public holiday counts as a Sunday, a Saturday that is worked as a workday."""


class Task(NamedTuple):
    """`use` (hours, series): what was used in each hour, NaN where nobody knows; the hours end where the forecast begins.

    `hour` (local, 0 to 23), `kind` (of the local day) and `temperature` (degC, None when there is no weather) are of
    the hours of `use` and of those to come, one after the other without a gap. `net`: the series are what was used less
    what was fed in, which may be below nothing.
    """

    use: Floats
    hour: Codes
    kind: Codes
    temperature: Floats | None
    net: bool = False

    @property
    def horizon(self) -> int:
        """How many hours are to be forecast."""
        return len(self.hour) - len(self.use)

    @property
    def floor(self) -> np.float32:
        """What no forecast is below: nothing, and of a net there is no such bound."""
        return np.float32(-np.inf if self.net else 0)

    def before(self, hours: int, horizon: int) -> Task:
        """The task as it stood so many hours ago, with another horizon; what came since is not in it."""
        known = len(self.use) - hours
        stop = known + horizon
        return Task(
            self.use[:known],
            self.hour[:stop],
            self.kind[:stop],
            None if self.temperature is None else self.temperature[:stop],
            self.net,
        )

    def part(self, start: int, stop: int) -> Task:
        """The series start <= k < stop."""
        return self._replace(use=self.use[:, start:stop])


class Model(Protocol):
    """One way to forecast: from what is known to one value for each hour to come and series."""

    def __call__(self, task: Task) -> Floats:
        """(horizon, series), never below `task.floor` and never NaN."""


class Forecast(NamedTuple):
    """`quantiles` (levels, hours, series) of LEVELS, rising with the level; `peaks` (levels, whole days, series) those
    of the highest hour of each 24, `lows` those of the lowest, which of a net is the most that is fed back (None where the
    series are none); `model` is the name that each series took.
    """

    quantiles: Floats
    peaks: Floats
    lows: Floats | None
    model: tuple[str, ...]
    scores: Mapping[str, Floats]
    """Mean absolute error of every model that was tried, by series, over the weeks that it was tried on."""
