"""What operators are shown of forecasts: the newest of a medium, a zone or a usage point, and how good they were lately.

It forecasts and judges nothing (`mdms` does) and knows no customer; usage points are pseudonyms.
"""

from __future__ import annotations

import sqlalchemy as sa

from meterseal.control.engine import read
from meterseal.control.tables import usage_points
from meterseal.errors import LocalError
from meterseal.mdms.forecasts import Forecasted, Judged
from meterseal.model import MEDIA, Medium
from meterseal.people.fleet_messages import ForecastScore, Foreseen, OperatorForecastPage
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
        scores = self._foresight.lately
        return OperatorForecastPage(
            media=tuple(known),
            medium=shown,
            zones=tuple(zone for zone in zones[shown] if zone != ALL)[:MOST_ZONES] if shown else (),
            of=of,
            found=found,
            scores=None if scores is None else tuple(_score(one) for one in scores if one.medium == shown),
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


def _score(one: Judged) -> ForecastScore:
    of = one.score
    return ForecastScore(
        sums=one.sums,
        days=one.days,
        series=of.series,
        mase=of.mase,
        rmsse=of.rmsse,
        within_outer=of.coverage,
        within_inner=of.half,
    )
