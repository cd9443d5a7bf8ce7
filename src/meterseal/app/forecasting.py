"""The operator's desk for what will probably be used, and for what is around the meters: weather and feasts.

It forecasts nothing itself (`mdms.forecasts` does).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
from msgspec import Struct

from meterseal.app import operator as ask
from meterseal.errors import LocalError
from meterseal.mdms.forecasts import Forecasts
from meterseal.mdms.surroundings import HOUR, Kind, Surroundings
from meterseal.mesh.rpc import OPERATOR, Methods, offered_to
from meterseal.model import Medium
from meterseal.things.fleet import Fleet


class Asked(Struct, frozen=True, kw_only=True):
    """The newest forecast of a meter's usage point, or of what it will feed in, or of everything of a medium, or of that in
    a zone.
    """

    device_id: bytes = b""
    medium: Medium | None = None
    zone: str = ""
    fed: bool = False


class WeatherHours(Struct, frozen=True, kw_only=True):
    """Mean outdoor temperatures: hours since 1970 UTC (little-endian int32) and degC (float32), of one length."""

    hours: bytes
    degrees: bytes


class Days(Struct, frozen=True, kw_only=True):
    """Local days (since 1970) that are not what their weekday says."""

    kinds: dict[int, Kind]


class ForecastDesk:
    """Answers off the event loop: forecasts and scans take a while."""

    def __init__(
        self, forecasts: Forecasts, surroundings: Surroundings, fleet: Fleet, clock: Callable[[], int]
    ) -> None:
        self._forecasts = forecasts
        self._surroundings = surroundings
        self._fleet = fleet
        self._clock = clock
        self._making = asyncio.Lock()

    def methods(self) -> Methods:
        """The table that the Unix socket serves."""
        return offered_to(
            OPERATOR,
            {
                "forecast_run": (self.run, ask.Page),
                "forecast": (self.forecast, Asked),
                "forecast_scores": (self.scores, ask.Page),
                "weather_put": (self.weather_put, WeatherHours),
                "weather_known": (self.weather_known, ask.Page),
                "days_put": (self.days_put, Days),
                "days": (self.days, ask.Page),
            },
        )

    async def daily(self) -> None:
        """Make today's forecasts when there are none yet, and judge the earlier ones. Errors as `Forecasts.make`."""
        async with self._making:
            if await asyncio.to_thread(self._forecasts.due, self._clock()):
                await asyncio.to_thread(self._forecasts.make, self._clock())
            await asyncio.to_thread(self._forecasts.look_back, self._clock())

    async def run(self, _: str, asked: ask.Page) -> ask.Text:
        """Make today's forecasts now, again if need be."""
        async with self._making:
            made = await asyncio.to_thread(self._forecasts.make, self._clock())
        return ask.Text(json=ask.as_json(made))

    async def forecast(self, _: str, asked: Asked) -> ask.Text:
        """One forecast. LocalError `forecast.none`, `forecast.zone`, `fleet.unknown`."""
        if asked.device_id:
            device = self._fleet.device(asked.device_id)
            found = await asyncio.to_thread(
                self._forecasts.of, device.usage_point, device.medium, fed=asked.fed
            )
        elif asked.medium:
            found = await asyncio.to_thread(self._forecasts.whole, asked.medium, asked.zone)
        else:
            raise LocalError("use.forecast", "Name a meter, or a medium: water, gas, heat or electricity.")
        return ask.Text(json=ask.as_json(found))

    async def scores(self, _: str, asked: ask.Page) -> ask.Text:
        """How good the kept forecasts were, by medium."""
        found = await asyncio.to_thread(self._forecasts.judged, self._clock())
        return ask.Text(json=ask.as_json(found))

    async def weather_put(self, _: str, asked: WeatherHours) -> ask.Text:
        """Store weather. LocalError `surroundings.weather`."""
        if len(asked.hours) != len(asked.degrees) or len(asked.hours) % 4:
            raise LocalError("surroundings.weather", "Hours and degrees are not of one length.")
        hours, degrees = np.frombuffer(asked.hours, "<i4"), np.frombuffer(asked.degrees, "<f4")
        by_hour = dict(zip(hours.tolist(), degrees.tolist(), strict=True))
        stored = await asyncio.to_thread(self._surroundings.put_weather, by_hour)
        return ask.Text(json=ask.as_json({"hours": stored}))

    async def weather_known(self, _: str, asked: ask.Page) -> ask.Text:
        """First and last hour of the stored weather (Unix ms; null: there is none), and how many between are not known."""
        return ask.Text(json=ask.as_json(await asyncio.to_thread(self._weather_known)))

    def _weather_known(self) -> dict[str, int | None]:
        known = self._surroundings.weather_known()
        if known is None:
            return {"since": None, "until": None, "missing": 0}
        since, until = known[0] * HOUR, (known[1] + 1) * HOUR
        degrees = self._surroundings.weather(since, known[1] + 1 - known[0])
        return {"since": since, "until": until, "missing": int(np.isnan(degrees).sum())}

    async def days_put(self, _: str, asked: Days) -> ask.Text:
        """Store kinds of days. LocalError `surroundings.days`."""
        stored = await asyncio.to_thread(self._surroundings.put_days, asked.kinds)
        return ask.Text(json=ask.as_json({"days": stored}))

    async def days(self, _: str, asked: ask.Page) -> ask.Text:
        """Every day that is not what its weekday says."""
        found = await asyncio.to_thread(self._surroundings.days)
        return ask.Text(json=ask.as_json([{"day": day, "kind": found[day]} for day in sorted(found)]))
