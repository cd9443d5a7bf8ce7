"""What operators ask and are answered about forecasts through the web process: a struct each.

No behaviour, no name and no address; usage points are pseudonyms. Sessions, times and periods are as in `messages`.
"""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from meterseal.model import Medium


class OperatorForecast(Struct, frozen=True):
    """Ask what will probably be used: all of a medium, or `of` it a zone, or a usage point (of whatever medium); of a usage
    point also what it will feed in (`fed`).
    """

    session: str
    medium: Medium | None = None
    of: str = ""
    fed: bool = False


class Foreseen(Struct, frozen=True, kw_only=True):
    """A week from `begin` on, hour by hour in `unit`: for each of `levels` a quantile of every hour, and of every day's
    highest hour (`peaks`, empty where they were not forecast). Of all of a medium `usage_point` and `zone` are empty. Sums
    of which something is fed in are nets, with the lowest hour of every day (`lows`, else empty).
    """

    usage_point: str
    zone: str
    unit: str
    begin: int
    model: str
    levels: tuple[float, ...]
    quantiles: tuple[tuple[float, ...], ...]
    peaks: tuple[tuple[float, ...], ...]
    lows: tuple[tuple[float, ...], ...] = ()
    fed: bool = False


class ForecastScore(Struct, frozen=True, kw_only=True):
    """How good the last days' forecasts of usage points, of what they fed in (`fed`), or of sums, were over the first day
    of each, or over the rest of the week (`week`): errors over those of "the same hour a week before", and the shares of
    hours within the outer and the inner quantiles. `days` are forecasts.
    """

    sums: bool
    week: bool
    days: int
    series: int
    mase: float
    rmsse: float
    within_outer: float
    within_inner: float
    fed: bool = False


class PeakScore(Struct, frozen=True, kw_only=True):
    """How the highest hours of the last days were foreseen, or the lowest of nets (`back`): the shares within nine of ten
    and beyond, and how far the median was off, as a part of what came.
    """

    sums: bool
    days: int
    series: int
    within: float
    over: float
    error: float
    fed: bool = False
    back: bool = False


class PeakDay(Struct, frozen=True):
    """The highest hour of one day of all usage points of the medium together, or the lowest: foreseen, its band, and as it
    came.
    """

    begin: int
    foreseen: float
    low: float
    high: float
    came: float


class UnusualBill(Struct, frozen=True, kw_only=True):
    """A running bill that will probably be out of the ordinary: its use with the band it lies in nine times of ten, what it
    will probably cost (less `credit_fen`, for what is fed in), and the use that the `last` bill (id, total, since, until)
    and the change of all others let expect.
    """

    usage_point: str
    medium: Medium
    unit: str
    since: int
    until: int
    used: Decimal
    low: Decimal
    high: Decimal
    cost_fen: int
    credit_fen: int
    expected: float
    last: tuple[str, int, int, int]


class OperatorForecastPage(Struct, frozen=True, kw_only=True):
    """The media that have a forecast, the shown one with its zones, and the forecast, where there is one of what was asked
    for. `scores` is None until somebody has judged. `highest` and `lowest` (of nets) are newest first. `feeds`: of the
    shown usage point what it will feed in is forecast, too. `unusual`: bills of the medium, None until somebody has looked;
    `looking`: while somebody does for the first time, how many of all media were looked at, of how many.
    """

    media: tuple[Medium, ...]
    medium: Medium | None
    zones: tuple[str, ...]
    of: str
    found: Foreseen | None
    scores: tuple[ForecastScore, ...] | None
    peaks: tuple[PeakScore, ...] = ()
    highest: tuple[PeakDay, ...] = ()
    lowest: tuple[PeakDay, ...] = ()
    feeds: bool = False
    unusual: tuple[UnusualBill, ...] | None = None
    looking: tuple[int, int] | None = None
