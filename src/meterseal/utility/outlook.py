"""Station utility, the rest of a running period: from the hours before it to the hours to come, with a band.

Pure. It prices nothing; how a forecast is made is `mdms.forecast`'s, who may see it is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from meterseal.errors import DataError
from meterseal.mdms.forecast.doubtful import plausible
from meterseal.mdms.forecast.history import bridged, calendar
from meterseal.mdms.forecast.task import WEEK, Task
from meterseal.mdms.forecast.total import total
from meterseal.mdms.surroundings import Kind
from meterseal.model import Quality
from meterseal.utility.calendar import HOUR
from meterseal.utility.readings import Readings, Steps, hour_boundaries, steps

HISTORY = 12 * WEEK * HOUR
"""How far back a forecast looks, ms; never before the agreement, for that was somebody else's use."""
LEAST = 0.5
"""Share of the hours that must be known."""


class Around(Protocol):
    """Days that are not what their weekday says, and the weather."""

    def days(self) -> Mapping[int, Kind]:
        """Kind of such days, by local days since 1970."""

    def weather(self, since: int, hours: int) -> NDArray[np.float32]:
        """degC of so many hours from `since` on, NaN where none is known."""


class Outlook(NamedTuple):
    """Use of each hour to come, scaled by `exponent`; the sum lies between `low` and `high` times it nine times of ten."""

    hours: tuple[Fraction, ...]
    low: Fraction
    high: Fraction
    exponent: int

    def course(self, readings: Readings) -> Sequence[Fraction]:
        """The hours as `readings` count use: these may know fewer decimals than the weeks before had."""
        finer = self.exponent - readings.use_exponent
        return [hour * Fraction(10) ** finer for hour in self.hours] if finer else self.hours


def outlook(readings: Readings, since: int, as_of: int, until: int, around: Around) -> Outlook | None:
    """Forecast the hours from `as_of` to `until` by those from `since` on; None when too few of them are known.

    All three are whole hours. Nothing is learnt from estimates, which tell what others told already and would make every
    band narrow; but where too little is left without them they are better than no forecast.
    """
    ahead = (until - as_of) // HOUR
    if as_of - since < WEEK * HOUR or ahead < 1:
        return None
    found = steps(readings, hour_boundaries(since, as_of))
    measured = found.known & ~_estimated(readings, since, as_of)
    foreseen = _foreseen(readings, since, ahead, measured, found, around)
    if foreseen is None and (measured != found.known).any():
        foreseen = _foreseen(readings, since, ahead, found.known, found, around)
    return foreseen


def _foreseen(
    readings: Readings, since: int, ahead: int, told: NDArray[np.bool_], found: Steps, around: Around
) -> Outlook | None:
    """So many hours ahead by the hours that are `told`, of those from `since` on; None when these are too few."""
    if told.mean() < LEAST:
        return None
    # Before the first reading there is nothing to forecast from, and so nothing to judge forecasts by.
    first = int(told.argmax())
    use = np.where(told, found.used, np.nan).astype(np.float32)[first:, None]
    use, since, known = plausible(use), since + first * HOUR, len(use)
    hour, kind = calendar(since, known + ahead, around.days())
    degrees = around.weather(since, known + ahead)
    try:
        course = total(Task(use, hour, kind, bridged(degrees)))
    except DataError:
        return None
    middle = float(course.hours.sum())
    if middle <= 0:
        return None
    return Outlook(
        tuple([Fraction(value) for value in course.hours[:, 0].tolist()]),
        Fraction(float(course.low[0]) / middle),
        Fraction(float(course.high[0]) / middle),
        readings.use_exponent,
    )


def _estimated(readings: Readings, since: int, as_of: int) -> NDArray[np.bool_]:
    """Which hours begin or end with an estimate."""
    guessed = np.isin(
        hour_boundaries(since, as_of), readings.end_at[np.equal(readings.quality, Quality.ESTIMATED)]
    )
    hours: NDArray[np.bool_] = guessed[:-1] | guessed[1:]
    return hours
