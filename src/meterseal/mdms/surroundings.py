"""Station MDMS, what is around the meters: the weather by the hour, and days that are not what their weekday says.

It judges no reading and forecasts nothing; rules, estimators and forecasts ask it. What it holds is nobody's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from meterseal.control.engine import read, write
from meterseal.control.tables import day_kinds, weather
from meterseal.errors import LocalError
from meterseal.mdms.store.rows import EVER

HOUR = 3_600_000
COLDEST, WARMEST = -60.0, 60.0
"""Bounds of what a weather can be, in degC."""
MOST = 200_000
"""Hours or days in one call: more than 22 years of hours."""
MOST_HOURS = 3 * 366 * 24
"""Weather that a run is told at most: what lies further back than its longest look is of no use."""
REMEMBERED = 16
"""Stretches of weather that are remembered: bills ahead of a city ask for the same ones again and again."""
LAST_HOUR, LAST_DAY = 1_200_000, 50_000
"""The year 2106: nothing beyond it is taken."""

Kind = Literal["holiday", "workday"]
"""A public holiday on what would be a workday, or a Saturday or Sunday that is worked in exchange (调休)."""


class Surroundings:
    """The tables `weather` and `day_kinds`; `upto` asks for what their rows up to that number say (`seen`)."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._told: dict[tuple[int, int, int], NDArray[np.float32]] = {}
        """Weather that was asked for, by its first hour, how many, and the newest row that tells of any."""

    def put_weather(self, degrees: Mapping[int, float]) -> int:
        """Store mean outdoor temperatures (degC) by hour since 1970 UTC; what is said last of an hour holds.

        Returns how many. LocalError `surroundings.weather` for hours or degrees that cannot be, with nothing stored.
        """
        if len(degrees) > MOST or any(not 0 <= hour <= LAST_HOUR for hour in degrees):
            raise LocalError(
                "surroundings.weather",
                f"Weather is taken for at most {MOST} hours at once, from 1970 to 2106.",
            )
        if any(not COLDEST <= value <= WARMEST for value in degrees.values()):
            raise LocalError(
                "surroundings.weather",
                f"A temperature is not between {COLDEST:.0f} and {WARMEST:.0f} degC; give degrees Celsius.",
            )
        told = {hour: round(value * 100) for hour, value in degrees.items()}
        query = sa.select(weather.c.hour, weather.c.centidegrees).order_by(weather.c.id)
        query = query.where(weather.c.hour.between(min(told, default=0), max(told, default=0)))
        with write(self._engine) as connection:
            known = {row.hour: row.centidegrees for row in connection.execute(query)}
            new = [
                {"hour": hour, "centidegrees": mean} for hour, mean in told.items() if known.get(hour) != mean
            ]
            if new:
                connection.execute(weather.insert(), new)
        return len(told)

    def weather(self, since: int, hours: int, upto: int = EVER) -> NDArray[np.float32]:
        """Temperatures of so many hours from `since` (Unix ms, a whole hour) on; NaN where none is known."""
        first = since // HOUR
        query = sa.select(weather.c.hour, weather.c.centidegrees).where(
            weather.c.hour >= first, weather.c.hour < first + hours, weather.c.id <= upto
        )
        with read(self._engine) as db:
            newest = (
                db.execute(sa.select(sa.func.max(weather.c.id)).where(weather.c.id <= upto)).scalar() or 0
            )
            found = self._told.get((first, hours, newest))
            if found is None:
                found = np.full(hours, np.nan, np.float32)
                for hour, centidegrees in db.execute(query.order_by(weather.c.id)):
                    found[hour - first] = centidegrees / 100
                if len(self._told) >= REMEMBERED:
                    self._told.clear()
                self._told[first, hours, newest] = found
        return found.copy()

    def weather_known(self, upto: int = EVER) -> tuple[int, int] | None:
        """First and last known hour since 1970 UTC."""
        with read(self._engine) as connection:
            first, last = connection.execute(
                sa.select(sa.func.min(weather.c.hour), sa.func.max(weather.c.hour)).where(
                    weather.c.id <= upto
                )
            ).one()
        return None if first is None else (first, last)

    def put_days(self, kinds: Mapping[int, Kind]) -> int:
        """Store what local days (since 1970) are, against their weekday; what is said last of a day holds.

        Returns how many. LocalError `surroundings.days` for days that cannot be, with nothing stored.
        """
        if len(kinds) > MOST or any(not 0 <= day <= LAST_DAY for day in kinds):
            raise LocalError(
                "surroundings.days", f"At most {MOST} days are taken at once, from 1970 to 2106."
            )
        with write(self._engine) as connection:
            known = _days(connection, EVER)
            new = [{"day": day, "kind": kind} for day, kind in kinds.items() if known.get(day) != kind]
            if new:
                connection.execute(day_kinds.insert(), new)
        return len(kinds)

    def days(self, upto: int = EVER) -> dict[int, Kind]:
        """Every day that is not what its weekday says."""
        with read(self._engine) as connection:
            return _days(connection, upto)


def _days(connection: sa.Connection, upto: int) -> dict[int, Kind]:
    query = sa.select(day_kinds.c.day, day_kinds.c.kind).where(day_kinds.c.id <= upto)
    return {row.day: row.kind for row in connection.execute(query.order_by(day_kinds.c.id))}
