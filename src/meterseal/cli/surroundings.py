"""`meterseal weather` and `meterseal calendar`: what is around the meters, read from CSV files that others publish.

It stores nothing itself; a file is taken whole or not at all.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any, cast

import numpy as np

from meterseal.app.forecasting import Days, WeatherHours
from meterseal.app.operator import Page, Text
from meterseal.cli.answers import show
from meterseal.cli.arguments import Data, Json
from meterseal.cli.calls import ask
from meterseal.cli.csv_rows import rows, wrong
from meterseal.cli.times import at, instant
from meterseal.mdms.surroundings import COLDEST, HOUR, WARMEST, Kind

_EPOCH = date(1970, 1, 1).toordinal()
KINDS = ("holiday", "workday")


def weather_import(file: Path, *, data: Data, json: Json = False) -> int:
    """Take temperatures from a CSV with the columns `at` and `temperature`: outdoors, degC, whole hours.

    Hours to come are the weather forecast, and are replaced when the file is imported again. `at` is ISO 8601 with its
    offset, such as 2026-11-21T13:00+08:00.

    Parameters
    ----------
    file
        The CSV file.
    """
    hours: dict[int, float] = {}
    for line, row in rows(file, ("at", "temperature")):
        hour, degrees = _hour(row["at"]), _degrees(row["temperature"])
        if hour is None or degrees is None:
            raise wrong(file, line, "a whole hour such as 2026-11-21T13:00+08:00 and degC between -60 and 60")
        hours[hour] = degrees
    asked = WeatherHours(
        hours=np.fromiter(hours.keys(), "<i4", len(hours)).tobytes(),
        degrees=np.fromiter(hours.values(), "<f4", len(hours)).tobytes(),
    )
    answer = ask(data, "weather_put", asked, Text)
    show(answer.json, as_json=json, lines=lambda said: [f"{said['hours']} hours of weather taken"])
    return 0


def weather_show(*, data: Data, json: Json = False) -> int:
    """From when to when the weather is known."""
    answer = ask(data, "weather_known", Page(), Text)
    show(answer.json, as_json=json, lines=_known)
    return 0


def _known(said: dict[str, Any]) -> list[str]:
    if said["since"] is None:
        return ["no weather is known; take some with: meterseal weather import FILE.csv"]
    holes = f", without {said['missing']} hours of it" if said["missing"] else ""
    return [f"weather from {at(said['since'])} to {at(said['until'])}{holes}"]


def calendar_import(file: Path, *, data: Data, json: Json = False) -> int:
    """Take days that are not what their weekday says from a CSV with the columns `day` and `kind`.

    `kind` is holiday for a public holiday, workday for a Saturday or Sunday that is worked in exchange (调休).

    Parameters
    ----------
    file
        The CSV file.
    """
    kinds: dict[int, Kind] = {}
    for line, row in rows(file, ("day", "kind")):
        try:
            day = date.fromisoformat(row["day"].strip()).toordinal() - _EPOCH
        except ValueError:
            day = -1
        kind = row["kind"].strip()
        if day < 0 or kind not in KINDS:
            raise wrong(file, line, "a day such as 2026-10-01 and `holiday` or `workday`")
        kinds[day] = cast(Kind, kind)
    answer = ask(data, "days_put", Days(kinds=kinds), Text)
    show(answer.json, as_json=json, lines=lambda said: [f"{said['days']} days taken"])
    return 0


def calendar_show(*, data: Data, json: Json = False) -> int:
    """The days that are not what their weekday says."""
    answer = ask(data, "days", Page(), Text)
    show(answer.json, as_json=json, lines=_days)
    return 0


def _days(said: list[dict[str, Any]]) -> list[str]:
    if not said:
        return ["no holidays are known; take some with: meterseal calendar import FILE.csv"]
    return [f"{date.fromordinal(one['day'] + _EPOCH).isoformat()}  {one['kind']}" for one in said]


def _hour(text: str) -> int | None:
    """Hours since 1970 UTC, None for what is no whole hour with an offset."""
    when = instant(text)
    if when is None:
        return None
    hour, odd = divmod(when, HOUR)
    return None if odd else hour


def _degrees(text: str) -> float | None:
    try:
        degrees = float(text)
    except ValueError:
        return None
    return degrees if COLDEST <= degrees <= WARMEST else None
