"""Station MDMS, what rules and estimators are told of the days and the weather: the stored tables as a context of VEE.

It judges nothing and stores nothing. One object is of one run: what it read first holds for all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from msgspec.structs import replace

from meterseal.mdms.store.rows import Key
from meterseal.mdms.surroundings import HOUR, Surroundings
from meterseal.mdms.vee.context import Calendar, Context, Weather
from meterseal.mdms.vee.engine import Nothing

MOST_HOURS = 3 * 366 * 24
"""Weather that a run is told at most: what lies further back than its longest look is of no use."""
SUNDAY, MIDWEEK = 6, 2


class Around(Nothing):
    """The surroundings of one run."""

    def __init__(self, tables: Surroundings) -> None:
        self._tables = tables

    def context(self, context: Context, keys: Sequence[Key]) -> Context:
        """The same context with the days and the weather that are stored."""
        return replace(context, calendar=self._calendar, weather=self._weather)

    @cached_property
    def _calendar(self) -> Calendar:
        """A holiday is a Sunday, a Saturday or Sunday that is worked a day in the middle of the week."""
        kinds = self._tables.days()
        if not kinds:
            return Calendar()
        first, last = min(kinds), max(kinds)
        table = [(day + 3) % 7 for day in range(first, last + 1)]
        for day, kind in kinds.items():
            table[day - first] = SUNDAY if kind == "holiday" else MIDWEEK
        return Calendar(first, tuple(table))

    @cached_property
    def _weather(self) -> Weather:
        known = self._tables.weather_known()
        if known is None:
            return Weather()
        first = max(known[0], known[1] - MOST_HOURS + 1)
        degrees = self._tables.weather(first * HOUR, known[1] - first + 1)
        return Weather(first, tuple(degrees.tolist()))
