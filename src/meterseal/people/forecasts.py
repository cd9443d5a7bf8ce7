"""What operators are shown of forecasts: the newest of a medium, a zone or a usage point, and how good they were lately.

It forecasts and judges nothing (`mdms` does) and knows no customer; usage points are pseudonyms.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from meterseal.control.engine import read
from meterseal.control.tables import usage_points
from meterseal.errors import DataError, LocalError
from meterseal.mdms import forecast_judging
from meterseal.mdms.forecast_judging import Judged
from meterseal.mdms.forecasts import Forecasted
from meterseal.model import MEDIA, Medium
from meterseal.people.forecast_messages import (
    ForecastScore,
    Foreseen,
    OperatorForecastPage,
    PeakDay,
    PeakScore,
)
from meterseal.people.ports import Foresight
from meterseal.utility.tariff import UNITS

MOST_ZONES = 500
ALL = ""


class Outlooks:
    """Reads for operators; `engine` is the control store."""

    def __init__(self, engine: sa.Engine, foresight: Foresight) -> None:
        self._engine = engine
        self._foresight = foresight

    def page(self, medium: Medium | None, of: str, *, fed: bool = False) -> OperatorForecastPage:
        """`of` is a zone of the medium or a usage point of any, of which `fed` is what it will feed in; without a medium,
        the first that has a forecast.
        """
        point = self._medium_of(of) if of else None
        zones = {one: self._foresight.zones(one) for one in MEDIA}
        known = [one for one in MEDIA if zones[one]]
        shown = point or medium or (known[0] if known else None)
        asked = None if shown is None else self._asked(shown, of, is_point=point is not None, fed=fed)
        judged = self._foresight.lately
        own = [one for one in judged or () if one.medium == shown]
        return OperatorForecastPage(
            media=tuple(known),
            medium=shown,
            zones=tuple(zone for zone in zones[shown] if zone != ALL)[:MOST_ZONES] if shown else (),
            of=of,
            found=None if asked is None else _foreseen(asked),
            feeds=point is not None and self._feeds(point, of),
            scores=None if judged is None else tuple(score for one in own for score in _scores(one)),
            peaks=tuple(peak for one in own for peak in _peaks(one)),
            highest=tuple(_day(day) for one in own for day in one.highest),
            lowest=tuple(_day(day) for one in own for day in one.lowest),
        )

    def _medium_of(self, usage_point: str) -> Medium | None:
        with read(self._engine) as db:
            medium: Medium | None = db.execute(
                sa.select(usage_points.c.medium).where(usage_points.c.id == usage_point)
            ).scalar()
        return medium

    def _asked(self, medium: Medium, of: str, *, is_point: bool, fed: bool) -> Forecasted | None:
        try:
            if is_point:
                return self._foresight.of(of, medium, fed=fed)
            return self._foresight.whole(medium, of)
        except LocalError as error:
            if error.code not in ("forecast.none", "forecast.zone"):
                raise
            return None

    def _feeds(self, medium: Medium, usage_point: str) -> bool:
        """Whether there is a forecast of what it will feed in; where the file of it may be damaged the page stays."""
        try:
            return self._asked(medium, usage_point, is_point=True, fed=True) is not None
        except DataError as error:
            if error.code != "forecast.damaged":
                raise
            return False


def _foreseen(one: Forecasted) -> Foreseen:
    return Foreseen(
        usage_point=one.usage_point,
        zone=one.zone,
        unit=UNITS[one.medium],
        begin=one.begin,
        model=one.model,
        levels=one.levels,
        quantiles=one.quantiles,
        peaks=one.peaks,
        lows=one.lows,
        fed=one.fed,
    )


def _scores(one: Judged) -> Iterator[ForecastScore]:
    for week, days, of in ((False, one.days, one.score), (True, one.weeks, one.week)):
        if of is not None:
            yield ForecastScore(
                sums=one.sums,
                fed=one.fed,
                week=week,
                days=days,
                series=of.series,
                mase=of.mase,
                rmsse=of.rmsse,
                within_outer=of.coverage,
                within_inner=of.half,
            )


def _peaks(one: Judged) -> Iterator[PeakScore]:
    for back, of in ((False, one.peak), (True, one.back)):
        if of is not None:
            yield PeakScore(
                sums=one.sums,
                fed=one.fed,
                back=back,
                days=of.days,
                series=of.series,
                within=of.within,
                over=of.over,
                error=of.error,
            )


def _day(of: forecast_judging.PeakDay) -> PeakDay:
    return PeakDay(of.begin, of.foreseen, of.low, of.high, of.came)
