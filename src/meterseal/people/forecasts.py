"""What operators are shown of forecasts: the newest of a medium, a zone or a usage point, and how good they were lately.

It forecasts and judges nothing (`mdms` does) and knows no customer; usage points are pseudonyms.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from meterseal.control.engine import read
from meterseal.control.tables import usage_points
from meterseal.errors import LocalError
from meterseal.mdms.forecast import scores
from meterseal.mdms.forecasts import Forecasted, Judged
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

    def page(self, medium: Medium | None, of: str) -> OperatorForecastPage:
        """`of` is a zone of the medium or a usage point of any; without a medium, the first that has a forecast."""
        point = self._medium_of(of) if of else None
        zones = {one: self._foresight.zones(one) for one in MEDIA}
        known = [one for one in MEDIA if zones[one]]
        shown = point or medium or (known[0] if known else None)
        found = None if shown is None else self._found(shown, of, is_point=point is not None)
        judged = self._foresight.lately
        own = [one for one in judged or () if one.medium == shown]
        return OperatorForecastPage(
            media=tuple(known),
            medium=shown,
            zones=tuple(zone for zone in zones[shown] if zone != ALL)[:MOST_ZONES] if shown else (),
            of=of,
            found=found,
            scores=None if judged is None else tuple(score for one in own for score in _scores(one)),
            peaks=tuple(_peak(one.sums, one.peak) for one in own if one.peak is not None),
            highest=tuple(
                PeakDay(day.begin, day.foreseen, day.low, day.high, day.came)
                for one in own
                for day in one.highest
            ),
        )

    def _medium_of(self, usage_point: str) -> Medium | None:
        with read(self._engine) as db:
            medium: Medium | None = db.execute(
                sa.select(usage_points.c.medium).where(usage_points.c.id == usage_point)
            ).scalar()
        return medium

    def _found(self, medium: Medium, of: str, *, is_point: bool) -> Foreseen | None:
        try:
            one = self._foresight.of(of, medium) if is_point else self._foresight.whole(medium, of)
        except LocalError as error:
            if error.code not in ("forecast.none", "forecast.zone"):
                raise
            return None
        return _foreseen(one, medium)


def _foreseen(one: Forecasted, medium: Medium) -> Foreseen:
    return Foreseen(
        usage_point=one.usage_point,
        zone=one.zone,
        unit=UNITS[medium],
        begin=one.begin,
        model=one.model,
        levels=one.levels,
        quantiles=one.quantiles,
        peaks=one.peaks,
    )


def _scores(one: Judged) -> Iterator[ForecastScore]:
    for week, days, of in ((False, one.days, one.score), (True, one.weeks, one.week)):
        if of is not None:
            yield ForecastScore(
                sums=one.sums,
                week=week,
                days=days,
                series=of.series,
                mase=of.mase,
                rmsse=of.rmsse,
                within_outer=of.coverage,
                within_inner=of.half,
            )


def _peak(sums: bool, of: scores.PeakScore) -> PeakScore:
    return PeakScore(
        sums=sums, days=of.days, series=of.series, within=of.within, over=of.over, error=of.error
    )
