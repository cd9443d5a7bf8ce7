"""`meterseal forecast`: what will probably be used in the next hours and days, and how good earlier forecasts were.

It asks a running system over its Unix socket and formats; nothing is computed here but sums of what it prints.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from meterseal.app.forecasting import Asked
from meterseal.app.operator import Page, Text, as_json
from meterseal.cli.answers import plain, show
from meterseal.cli.arguments import Data, Json, between, device_id_of
from meterseal.cli.calls import LONG_RUN, ask
from meterseal.cli.times import at
from meterseal.errors import LocalError
from meterseal.model import Medium
from meterseal.utility.tariff import UNITS

HOUR = 3_600_000
LOW, MIDDLE, HIGH = 0.05, 0.5, 0.95
SHOWN = {"seasonal-naive/1": "the same hour a week ago", "average-week/1": "the mean of like hours"}


def run(*, data: Data, json: Json = False) -> int:
    """Make today's forecasts now: a week ahead for every usage point, each zone and each medium as a whole."""
    answer = ask(data, "forecast_run", Page(), Text, timeout=LONG_RUN, doing="forecasting")
    show(answer.json, as_json=json, lines=_made)
    return 0


def _made(made: dict[str, Any]) -> list[str]:
    lines = [f"forecasts of a week from {at(made['begin'])} on"]
    for medium, count in made["series"].items():
        left_out = made["left_out"][medium]
        without = f", {left_out} without enough readings of the last weeks" if left_out else ""
        zones = f", {made['zones'][medium]} zones" if made["zones"][medium] else ""
        lines.append(f"  {medium:<12} {count} usage points{zones}{without}")
    if made["fed_in"]:
        lines.append(f"  {'fed in':<12} {made['fed_in']} usage points, which zones and sums are net of")
    if made["unreadable"]:
        lines.append(
            f"{made['unreadable']} channels have readings in damaged files, which are left out. Run: meterseal store check"
        )
    if made["weather_missing"]:
        lines.append(
            f"without the weather: it is not known of {made['weather_missing']} of the hours from twelve weeks back to a "
            "week ahead (meterseal weather import)"
        )
    return lines


def forecast(
    meter: str = "",
    *,
    data: Data,
    medium: Medium | None = None,
    zone: str = "",
    fed_in: bool = False,
    hours: bool = False,
    json: Json = False,
) -> int:
    """What a meter's usage point, a zone, or a medium as a whole will probably use: by day, and the hour of its peak.

    Where homes feed in, zones and all together are net: below nothing more is fed back than drawn.

    Parameters
    ----------
    meter
        Device id of a meter.
    medium
        Everything of water, gas, heat or electricity together, as a system operator plans by.
    zone
        Of that medium the usage points of this zone (vee facts import states zones).
    fed_in
        Of the meter, what it will feed in.
    hours
        Every hour of the week with its quantiles.
    """
    if bool(meter) == bool(medium) or (zone and not medium):
        raise LocalError(
            "use.forecast",
            "Name a meter, or --medium water, gas, heat or electricity, of which --zone takes a part.",
        )
    if fed_in and not meter:
        raise LocalError(
            "use.forecast", "Name the meter with --fed-in. Zones and a medium as a whole are net of it."
        )
    asked = Asked(device_id=device_id_of(meter) if meter else b"", medium=medium, zone=zone, fed=fed_in)
    answer = ask(data, "forecast", asked, Text)
    show(answer.json, as_json=json, lines=_by_hour if hours else _by_day)
    return 0


def _head(found: dict[str, Any]) -> str:
    of = found["usage_point"] or (
        f"{found['medium']} of zone {plain(found['zone'])}" if found["zone"] else ""
    )
    of = of or f"all {found['medium']}"
    of += ", fed in" if found["fed"] else ", less what is fed in" if found["lows"] else ""
    return f"{of}, from {at(found['begin'])} on, by {SHOWN.get(found['model'], 'the learned week')}"


def _by_day(found: dict[str, Any]) -> list[str]:
    unit = UNITS[found["medium"]]
    low, half, high = (found["levels"].index(level) for level in (LOW, MIDDLE, HIGH))
    middle, lows = found["quantiles"][half], found["lows"]
    highest = [found["peaks"][level] for level in (half, high)] if found["peaks"] else None
    lines = [_head(found)]
    for day in range(len(middle) // 24):
        here = range(day * 24, day * 24 + 24)
        peak = max(here, key=lambda hour: middle[hour])
        lines.append(
            f"  {at(found['begin'] + day * 24 * HOUR)[:10]}  {sum(middle[hour] for hour in here):>12.2f} {unit}"
            f"   peak about {at(found['begin'] + peak * HOUR)[11:]}"
            + (f": {highest[0][day]:.2f}, hardly above {highest[1][day]:.2f}" if highest else "")
            + (_back(found["begin"], here, middle, lows[half][day], lows[low][day]) if lows else "")
        )
    return lines


def _back(begin: int, here: range, middle: list[float], lowest: float, least: float) -> str:
    """The most that is fed back in an hour of a day; nothing where that is hardly to be."""
    if least >= 0:
        return ""
    when = at(begin + min(here, key=lambda hour: middle[hour]) * HOUR)[11:]
    said = f"{-lowest:.2f}" if lowest < 0 else "nothing"
    return f"   fed back about {when}: {said}, hardly above {-least:.2f}"


def _by_hour(found: dict[str, Any]) -> list[str]:
    head = "  ".join(f"{level:>10.0%}" for level in found["levels"])
    lines = [_head(found), f"  {'hour from':<16}  {head}  {UNITS[found['medium']]}"]
    for hour in range(len(found["quantiles"][0])):
        values = "  ".join(f"{level[hour]:>10.3f}" for level in found["quantiles"])
        lines.append(f"  {at(found['begin'] + hour * HOUR)}  {values}")
    return lines


def score(*, data: Data, json: Json = False) -> int:
    """How good the forecasts of the last days were over the first day of each and the rest of its week, against what came;
    and how each day's highest hour was foreseen.
    """
    answer = ask(data, "forecast_scores", Page(), Text, timeout=LONG_RUN, doing="judging earlier forecasts")
    show(answer.json, as_json=json, lines=_scores)
    return 0


def _scores(found: list[dict[str, Any]]) -> list[str]:
    if not found:
        return ["no forecast is a day old yet"]
    lines = [f"{'':<34} made  series   MASE  RMSSE   pinball  within 90 %  within 50 %"]
    for one in found:
        what = _whose(one)
        for when, made, of in (
            ("first day", one["days"], one["score"]),
            ("rest of week", one["weeks"], one["week"]),
        ):
            if of is not None:
                lines.append(
                    f"{what + ', ' + when:<34} {made:>4} {of['series']:>7} {of['mase']:>6.2f} {of['rmsse']:>6.2f}"
                    f" {of['pinball']:>9.4f}  {of['coverage']:>11.1%} {of['half']:>12.1%}"
                )
    lines.append(
        "MASE and RMSSE below 1 are better than the same hour a week before; summed: zones, and all together."
    )
    for one in found:
        for peak, which, beyond, days in (
            (one["peak"], "highest", "above", one["highest"]),
            (one["back"], "lowest", "below", one["lowest"]),
        ):
            if peak is not None:
                lines.append(
                    f"{_whose(one)}: a day's {which} hour was off by {peak['error']:.0%}, {peak['within']:.0%} within nine "
                    f"of ten, {peak['over']:.0%} {beyond}"
                )
            lines += [
                f"  {at(day['begin'])[:10]}: all together {day['foreseen']:.2f} {UNITS[one['medium']]} foreseen "
                f"({day['low']:.2f} to {day['high']:.2f}), {day['came']:.2f} came"
                for day in days
            ]
    return lines


def _whose(one: dict[str, Any]) -> str:
    return f"{one['medium']}, summed" if one["sums"] else f"{one['medium']}{', fed in' if one['fed'] else ''}"


def backtest(
    *,
    seed: int = 188,
    dwellings: Annotated[int, between(2, 500)] = 60,
    page: Path | None = None,
    json: Json = False,
) -> int:
    """How good forecasts are over a simulated street: every medium, three seasons, a day and a week ahead, and a day ahead
    with a fault in every history.

    It needs no running system, and gives the same numbers of the same seed.

    Parameters
    ----------
    seed
        The street and its weather.
    dwellings
        How many households.
    page
        Write the documentation's page here as well.
    """
    from meterseal.kit import foresight

    found = list(foresight.rows(seed, dwellings))
    faults = list(foresight.fault_rows(seed, dwellings))
    text = foresight.page(found, faults, seed, dwellings)
    if page is not None:
        page.write_text(text, encoding="utf-8")
    show(
        as_json({"rows": found, "faults": faults}),
        as_json=json,
        lines=lambda _: [line for line in text.splitlines() if line.startswith("|")],
    )
    return 0
