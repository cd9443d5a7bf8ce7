"""Beside the path: how good forecasts are over a simulated street and its weather, on days that chose nothing.

It forecasts with the shipped models as the platform would have done at each midnight, and only then looks at what came.
Anyone gets the same numbers of the same seed. The simulator's households are believable, not real: the figures say
whether the models and their quantiles are sound, not what a city will see.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from meterseal.kit.holidays import is_holiday
from meterseal.kit.plan import StreetPlan, make_plan
from meterseal.kit.weather import LOCAL_HOURS, local_day, temperature
from meterseal.mdms.forecast.bands import forecast
from meterseal.mdms.forecast.doubtful import plausible
from meterseal.mdms.forecast.history import HOUR, calendar
from meterseal.mdms.forecast.models import MODELS
from meterseal.mdms.forecast.scores import Score, mean, naive_scales, score, within
from meterseal.mdms.forecast.task import LEVELS, WEEK, Floats, Task
from meterseal.model import MEDIA, Medium

DAY = 24 * HOUR
HISTORY = 12 * WEEK
HORIZONS = {"day-ahead": 24, "week-ahead": WEEK}
ZONE = 10
"""Homes of a zone that feeds back."""
EVERY = 9
"""Days between two forecasts: not a week, so that they begin on every weekday."""
FAULT_DAYS, FAULT_HOURS, FAULT_TIMES = 28, (4, 10), (5.0, 20.0)
"""When a register ran away, for how long, and to how many times the highest hour before."""


class Season(Struct, frozen=True):
    """A part of the year that is judged: the last local day of its street, days since 1970."""

    name: str
    last_day: int


SEASONS = (Season("summer", 20_669), Season("heating begins", 20_789), Season("winter", 20_850))
"""Ends on 2026-08-04, 2026-12-02 and 2027-02-01."""


class Row(Struct, frozen=True, kw_only=True):
    """One line of the table: the chosen models' score, the error of the naive one, the share of each model chosen, and the
    share of days whose peak lay between its outer quantiles; of zones that feed back (`net`) also that of the lowest hours.
    """

    medium: Medium
    season: str
    horizon: str
    forecasts: int
    score: Score
    naive_mase: float
    peaks: float
    chosen: dict[str, float]
    net: bool = False
    lows: float | None = None


class FaultRow(Struct, frozen=True, kw_only=True):
    """What faults in the history do to forecasts of a medium: scores without any, with one in each home that is believed,
    and with the same as forecasts take it in.
    """

    medium: Medium
    season: str
    horizon: str
    clean: Score
    believed: Score
    shipped: Score


def rows(seed: int, dwellings: int, seasons: Sequence[Season] = SEASONS, times: int = 5) -> Iterator[Row]:
    """Every medium, season and horizon, each over `times` forecasts; and electricity of zones with a panel on each roof."""
    for season in seasons:
        until, days = season.last_day * DAY - LOCAL_HOURS * HOUR, HISTORY // 24 + 7 + EVERY * times
        plan = make_plan(seed=seed, until=until, days=days, dwellings=dwellings)
        for medium in MEDIA:
            use = _used(plan, medium)
            for name, horizon in HORIZONS.items():
                yield _row(medium, season, name, horizon, use, plan.since, seed, times)
        nets = _nets(make_plan(seed=seed, until=until, days=days, dwellings=dwellings, solar=dwellings))
        for name, horizon in HORIZONS.items():
            yield _row("electricity", season, name, horizon, nets, plan.since, seed, times, net=True)


def fault_rows(
    seed: int, dwellings: int, seasons: Sequence[Season] = SEASONS, times: int = 5
) -> Iterator[FaultRow]:
    """Every medium and season, a day ahead, with a register that ran away once in the last weeks of each home."""
    for season in seasons:
        until, days = season.last_day * DAY - LOCAL_HOURS * HOUR, HISTORY // 24 + 7 + EVERY * times
        plan = make_plan(seed=seed, until=until, days=days, dwellings=dwellings)
        for medium in MEDIA:
            use = _used(plan, medium)
            dice = np.random.default_rng([seed, season.last_day, MEDIA.index(medium)])
            found: list[list[Score]] = [[], [], []]
            for time in range(times):
                start = time * EVERY * 24
                asked = _task(use, plan.since, start, 24, seed)
                came = use[start + HISTORY : start + HISTORY + 24]
                scales = naive_scales(asked.use)
                ran = ran_away(asked.use, dice)
                for scores, history in zip(found, (plausible(asked.use), ran, plausible(ran)), strict=True):
                    judged = score(*scales, came, forecast(asked._replace(use=history)).quantiles)
                    if judged is not None:
                        scores.append(judged)
            clean, believed, shipped = map(mean, found)
            yield FaultRow(
                medium=medium,
                season=season.name,
                horizon="day-ahead",
                clean=clean,
                believed=believed,
                shipped=shipped,
            )


def ran_away(use: Floats, dice: np.random.Generator) -> Floats:
    """(hours, series) with FAULT_HOURS hours of a day of the last four weeks in each, at FAULT_TIMES its highest hour of
    these weeks; the register stays where that took it, so that no rule doubts a reading.
    """
    ran = use.copy()
    for series in range(use.shape[1]):
        hours = int(dice.integers(*FAULT_HOURS, endpoint=True))
        day, first = int(dice.integers(FAULT_DAYS)), int(dice.integers(24 - hours, endpoint=True))
        begin = len(use) - (day + 1) * 24 + first
        highest = max(float(use[-FAULT_DAYS * 24 :, series].max()), 0.05)
        ran[begin : begin + hours, series] = highest * dice.uniform(*FAULT_TIMES)
    return ran


def _used(plan: StreetPlan, medium: Medium) -> Floats:
    """(hours, meters) of true use."""
    columns = [
        np.diff(np.asarray(plan.registers(meter).values)) / 100
        for meter in plan.meters
        if meter.profile.medium == medium
    ]
    return np.asarray(columns, np.float32).T


def _nets(plan: StreetPlan) -> Floats:
    """(hours, zones): what zones of about ZONE homes draw less what they feed in, kWh."""
    homes = []
    for meter in plan.meters:
        if meter.profile.medium == "electricity":
            registers = plan.registers(meter)
            homes.append(np.diff(registers.values) / 100 - np.diff(registers.second) / 1e6)
    zones = max(len(homes) // ZONE, 1)
    return np.asarray([np.sum(homes[k::zones], axis=0) for k in range(zones)], np.float32).T


def _row(
    medium: Medium,
    season: Season,
    name: str,
    horizon: int,
    use: Floats,
    since: int,
    seed: int,
    times: int,
    *,
    net: bool = False,
) -> Row:
    scores: list[Score] = []
    naive: list[float] = []
    peaks: list[float] = []
    lows: list[float] = []
    chosen = dict.fromkeys(MODELS, 0)
    for time in range(times):
        start = time * EVERY * 24
        asked = _task(use, since, start, horizon, seed)._replace(net=net)
        came = use[start + HISTORY : start + HISTORY + horizon]
        found = forecast(asked)
        scales = naive_scales(asked.use)
        judged = score(*scales, came, found.quantiles)
        plain = MODELS["seasonal-naive/1"](asked)
        alone = score(*scales, came, np.stack([plain] * len(LEVELS)))
        if judged is not None and alone is not None:
            scores.append(judged)
            naive.append(alone.mase)
        peaks.append(within(came, found.peaks))
        if found.lows is not None:
            lows.append(within(-came, -found.lows[::-1]))
        for model in found.model:
            chosen[model] += 1
    return Row(
        medium=medium,
        season=season.name,
        horizon=name,
        forecasts=times,
        score=mean(scores),
        naive_mase=float(np.mean(naive)),
        peaks=float(np.mean(peaks)),
        chosen={model: count / sum(chosen.values()) for model, count in chosen.items()},
        net=net,
        lows=float(np.mean(lows)) if lows else None,
    )


def _task(use: Floats, since: int, start: int, horizon: int, seed: int) -> Task:
    hours: NDArray[np.int64] = since // HOUR + start + np.arange(HISTORY + horizon)
    days = np.unique(local_day(hours))
    feasts: dict[int, Literal["holiday", "workday"]] = {
        int(day): "holiday" for day, feast in zip(days, is_holiday(days), strict=True) if feast
    }
    hour, kind = calendar(since + start * HOUR, HISTORY + horizon, feasts)
    return Task(use[start : start + HISTORY], hour, kind, temperature(seed, hours).astype(np.float32))


def page(found: Sequence[Row], faults: Sequence[FaultRow], seed: int, dwellings: int) -> str:
    """The documentation's page of these rows, in Markdown."""
    lines = [
        "# How good forecasts are",
        "",
        f"Made by `meterseal forecast backtest --seed {seed} --dwellings {dwellings} --page docs/forecasts.md`. Simulated",
        "households and weather, twelve weeks of history, the weather of the days to come known, forecasts nine days",
        "apart. MASE and RMSSE are errors of the median over those of the same hour a week before in the history; the",
        "naive column is that forecast's own MASE on the same days. Half of all hours should lie within the inner",
        "quantiles, nine of ten within the outer ones, and the highest hour of nine days of ten within those stated for",
        "peaks. No model or bound was chosen by this seed's street.",
        "",
        f"Net are zones of about {ZONE} homes with panels on each roof, under one sky: what they draw less what they feed",
        "in, with the lowest hour of each day, in which most is fed back, beside the highest. Nobody foresees clouds here:",
        "a forecast knows no more of them than the weeks before tell, and all zones are off on the same days.",
        "",
        "| medium | season | horizon | MASE | naive | RMSSE | pinball | within 50 % | within 90 % | peaks | fed back "
        "| learned |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in found:
        of = row.score
        lines.append(
            f"| {row.medium}{', net' if row.net else ''} | {row.season} | {row.horizon} | {of.mase:.2f} "
            f"| {row.naive_mase:.2f} | {of.rmsse:.2f} | {of.pinball:.4f} | {of.half:.0%} | {of.coverage:.0%} "
            f"| {row.peaks:.0%} | {'-' if row.lows is None else f'{row.lows:.0%}'} | {row.chosen['weather-week/1']:.0%} |"
        )
    least, most = FAULT_HOURS
    lines += [
        "",
        "## With a fault in every history",
        "",
        f"The same homes a day ahead, when once in the last four weeks each register ran away for {least} to {most} hours,",
        f"to {FAULT_TIMES[0]:.0f} to {FAULT_TIMES[1]:.0f} times the highest hour, and stayed there: "
        "errors without that fault, with it believed, and as",
        "forecasts are made. What ran away on the very last day is believed, for it may go on.",
        "",
        "| medium | season | MASE without | believed | as made | pinball without | believed | as made | within 90 % |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in faults:
        three = one.clean, one.believed, one.shipped
        lines.append(
            f"| {one.medium} | {one.season} | {' | '.join(f'{of.mase:.2f}' for of in three)} "
            f"| {' | '.join(f'{of.pinball:.4f}' for of in three)} | {one.shipped.coverage:.0%} |"
        )
    return "\n".join(lines) + "\n"
