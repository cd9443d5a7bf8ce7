"""Station MDMS, the daily forecasts: made from what is stored, kept sealed for some days, judged by what came.

It chooses no model (`forecast` does), prices nothing, and holds no name. A forecast begins at a local midnight and knows
nothing that was measured later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from meterseal.control.sealing import KeyRing
from meterseal.errors import DataError, LocalError
from meterseal.mdms.columns import Missed, Scan
from meterseal.mdms.forecast.bands import forecast, judged
from meterseal.mdms.forecast.doubtful import plausible
from meterseal.mdms.forecast.history import HOUR, LOCAL, bridged, calendar, from_nothing
from meterseal.mdms.forecast.scores import naive_scales
from meterseal.mdms.forecast.sums import ALL, Sums
from meterseal.mdms.forecast.task import HORIZON, LEVELS, WEEK, Floats, Task
from meterseal.mdms.forecast_files import Block, ForecastFiles, Places, parts
from meterseal.mdms.forecast_judging import Judged, ahead, judge, together
from meterseal.mdms.forecast_uses import Uses
from meterseal.mdms.multipliers import Stated
from meterseal.mdms.spans import Span
from meterseal.mdms.store.rows import Words
from meterseal.mdms.surroundings import Surroundings
from meterseal.model import EXPORT, MAIN, MEDIA, Medium

Factors = Callable[[Mapping[str, Sequence[int]]], tuple[bool, Mapping[str, Stated]]]
"""`Facts.multiplied`."""

DAY = 24 * HOUR
HISTORY = 12 * WEEK
KEPT = 10 * DAY
ARRIVED = 3 * HOUR
"""After midnight: meters have sent their freezes, and concentrators have read the others."""
KNOWN = 0.5
"""Share of the last four weeks' hours that must be known."""
SUMS_AT_ONCE = 256
LATELY = 72
"""Hours within which a usage point was heard that is new and counts in sums."""
_NOWHERE = -1, Places({}, whole=True)


class Forecasted(Struct, frozen=True, kw_only=True):
    """The forecast of one usage point's main channel, of what it will feed in (`fed`), of a zone, or of a medium as a whole
    (both empty), from `begin` on.

    `quantiles` are one list of hours for each of `levels`, in the unit of the medium, `peaks` one of days: the highest hour
    of each (empty in a forecast that was made before peaks were forecast). Where something is fed in, sums are nets, below
    nothing in hours in which more is fed in than used; `lows` are the lowest hours of their days, else empty.
    """

    usage_point: str
    zone: str
    medium: Medium
    begin: int
    model: str
    levels: tuple[float, ...]
    quantiles: tuple[tuple[float, ...], ...]
    peaks: tuple[tuple[float, ...], ...] = ()
    lows: tuple[tuple[float, ...], ...] = ()
    fed: bool = False


class Made(Struct, frozen=True, kw_only=True):
    """What a run forecast: series by medium, those left out for want of history, the zones, of how many usage points what
    they will feed in, and where it begins.

    `weather_missing` are hours it looked at whose weather nobody knows, where it therefore went without the weather.
    """

    begin: int
    series: dict[Medium, int]
    left_out: dict[Medium, int]
    zones: dict[Medium, int]
    weather_missing: int
    fed_in: int = 0
    unreadable: int = 0
    """Channels that have readings in damaged files, which were left out."""


class Forecasts:
    """The forecasts of one store. Calls may come from any thread; the caller sees to it that one at a time writes."""

    def __init__(
        self,
        directory: Path,
        store_id: str,
        keys: KeyRing,
        store: Scan,
        words: Words,
        surroundings: Surroundings,
        replaced: Callable[[], Mapping[str, Sequence[int]]],
        zones: Callable[[int], Mapping[str, str]],
        missed: Callable[[Missed, int], None] = lambda _missed, _now: None,
        factors: Factors = lambda _: (False, {}),
        sizes: Callable[[], Mapping[str, Sequence[Span]]] = dict,
    ) -> None:
        self._files = ForecastFiles(directory, store_id, keys)
        self._store = store
        self._words = words
        self._surroundings = surroundings
        self._replaced = replaced
        self._zones = zones
        self._factors = factors
        self._sizes = sizes
        self._missed = missed
        """Told after each making what could not be read."""
        self._places = _NOWHERE
        self._looked: list[int] = []
        self.lately: tuple[Judged, ...] | None = None
        """How good the kept forecasts were when `look_back` was last asked; None before."""

    # --- making -----------------------------------------------------------------------------------

    def due(self, now: int) -> bool:
        """Is there no forecast yet from the last local midnight on, and has the day before had its time to arrive?"""
        return now - midnight(now) >= ARRIVED and midnight(now) not in self._files.begins()

    def make(self, now: int) -> Made:
        """Forecast every usage point's main channel, each zone and each medium as a whole from the last local midnight on;
        a zone is those usage points that belong to it at that midnight, in all of their history.

        What lies in a damaged file is not known. Forecasts older than KEPT, and of days to come, are removed. Raises
        EngineError `mdms.full`, `mdms.disk`; then the forecasts before stand, and the next call does all of it again.
        """
        begin = midnight(now)
        since = begin - HISTORY * HOUR
        exceptions = self._surroundings.days()
        hour, kind = calendar(since, HISTORY + HORIZON, exceptions)
        degrees = self._surroundings.weather(since, HISTORY + HORIZON)
        asked = Task(np.empty((HISTORY, 0), np.float32), hour, kind, bridged(degrees))
        uses, zones = self._uses(), self._zones(begin)
        made, left_out, summed = (dict.fromkeys(MEDIA, 0) for _ in range(3))
        fed_in = 0
        missed: Missed = {}
        self._files.begin()
        for medium in MEDIA:
            sums, number = Sums(HISTORY), 0
            for part in uses.scan(medium, since, HISTORY, missed):
                for channel, (points, counted) in part.items():
                    if not points:
                        continue
                    use = plausible(counted)
                    good = known_enough(use)
                    # Who is too new for a forecast of its own uses something all the same, about what the others do.
                    new = ~good & ~np.isnan(use[-LATELY:]).all(axis=0)
                    if channel == EXPORT:  # of meters that count it everywhere most feed in nothing
                        feeds = (use > 0).any(axis=0)
                        good, new = good & feeds, new & feeds
                    _sum(sums, zones, channel, points, use, good | new)
                    chosen, use = _chosen(points, good), use[:, good]
                    if chosen:
                        self._write(begin, medium, number, chosen, asked._replace(use=use), channel=channel)
                        number += 1
                    if channel == MAIN:
                        made[medium] += len(chosen)
                        left_out[medium] += len(points) - len(chosen)
                    else:
                        fed_in += len(chosen)
            for names, use, net in _known(sums):
                self._write(begin, medium, number, names, asked._replace(use=use, net=net), sums=True)
                summed[medium] += len(names) - (ALL in names)
                number += 1
        self._files.finish(begin)
        # What begins later was made while the clock here was wrong, and would be taken for the newest.
        self._files.forget(begin - KEPT, begin)
        self._places = _NOWHERE
        self._missed(missed, now)
        return Made(
            begin=begin,
            series=made,
            left_out=left_out,
            zones=summed,
            fed_in=fed_in,
            unreadable=len(missed),
            weather_missing=int(np.isnan(degrees).sum()) if asked.temperature is None else 0,
        )

    def _uses(self) -> Uses:
        replaced = self._replaced()
        _, factors = self._factors(replaced)
        return Uses(self._store, self._words, replaced, factors, self._sizes())

    def _write(
        self,
        begin: int,
        medium: Medium,
        number: int,
        points: Sequence[str],
        asked: Task,
        *,
        sums: bool = False,
        channel: int = MAIN,
    ) -> None:
        found = forecast(asked)
        scale, packed, least = parts(found.quantiles)
        error, square = (one.astype("<f4").tobytes() for one in naive_scales(asked.use))
        peaks = found.peaks.astype("<f4").tobytes()
        block = Block(
            begin=begin,
            medium=medium,
            points=tuple(points),
            models=found.model,
            scale=scale,
            parts=packed,
            error=error,
            square=square,
            sums=sums,
            peaks=peaks,
            lows=b"" if found.lows is None else found.lows.astype("<f4").tobytes(),
            least=least,
            channel=channel,
        )
        self._files.write(block, number)

    # --- asking -----------------------------------------------------------------------------------

    def of(self, usage_point: str, medium: Medium, *, fed: bool = False) -> Forecasted:
        """The newest forecast of a usage point's main channel, or of what it will feed in.

        Raises LocalError `forecast.none` while there is none, DataError `forecast.damaged` where it may have been in a file
        that does not open.
        """
        return self._newest(False, usage_point, medium, EXPORT if fed else MAIN)

    def whole(self, medium: Medium, zone: str = ALL) -> Forecasted:
        """The newest forecast of all usage points of a medium together, or of those in a zone, less what they feed in.

        Raises LocalError `forecast.none`, `forecast.zone`, DataError `forecast.damaged`.
        """
        return self._newest(True, zone, medium)

    def _newest(self, sums: bool, name: str, medium: Medium, channel: int = MAIN) -> Forecasted:
        begin, (places, whole) = self._found()
        found = places.get((sums, name, medium, channel))
        if found is None and not whole:
            self._files.require_whole(begin)
        if found is None and sums and (zones := self.zones(medium)):
            known = ", ".join(zones[1:21])
            others = (
                f"Zones with one: {known}."
                if known
                else "No zone is stated; do so with: meterseal vee facts import FILE.csv"
            )
            raise LocalError(
                "forecast.zone", f"There is no forecast of {medium} for zone `{name[:40]}`. {others}"
            )
        if found is None and channel == EXPORT and (sums, name, medium, MAIN) in places:
            raise LocalError(
                "forecast.none",
                "There is no forecast of what this usage point feeds in: no meter told two weeks of it by the hour.",
            )
        if found is None:
            raise LocalError(
                "forecast.none",
                "There is no forecast: it needs two weeks of hourly readings and is made once a day. "
                "Make it now with: meterseal forecast run",
            )
        block = self._files.open(found.name)
        quantiles = block.quantiles()[:, :, found.column]
        peaks, lows = block.highest(), block.lowest()
        return Forecasted(
            usage_point="" if sums else name,
            zone=name if sums else "",
            medium=medium,
            begin=block.begin,
            model=block.models[found.column],
            levels=LEVELS,
            quantiles=_rounded(quantiles),
            peaks=() if peaks is None else _rounded(peaks[:, :, found.column]),
            lows=() if lows is None else _rounded(lows[:, :, found.column]),
            fed=channel == EXPORT,
        )

    def _found(self) -> tuple[int, Places]:
        """From when on the newest forecast is, and where each of its series."""
        begins = self._files.begins()
        if not begins:
            return _NOWHERE
        places = self._places
        if places[0] != begins[-1]:
            self._places = places = (begins[-1], self._files.find(begins[-1]))
        return places

    def zones(self, medium: Medium) -> list[str]:
        """The zones that the newest forecast has of a medium; ALL is among them where there is one of all together."""
        return sorted(zone for sums, zone, of, _ in self._found()[1].found if sums and of == medium)

    def look_back(self, now: int) -> None:
        """Judge the kept forecasts once after each run, into `lately`: it reads some days of everything."""
        newest = self._files.begins()[-1:]
        if self.lately is None or newest != self._looked:
            self.lately, self._looked = tuple(self.judged(now)), newest

    def judged(self, now: int) -> list[Judged]:
        """What the kept forecasts were worth over the first day of each, and over the rest of each week that is over, by
        medium, those of usage points and those of sums by themselves; days that are not over are left out.
        """
        found: list[Judged] = []
        for medium in MEDIA:
            seen = [
                one
                for begin in self._files.begins()
                if (days := ahead(begin, now))
                and (blocks := [block for block in self._files.blocks(begin) if block.medium == medium])
                for one in judge(blocks, self._uses(), self._zones(begin), medium, days)
            ]
            found += together(medium, seen)
        return found

    def opened(self) -> Iterator[tuple[str, DataError | None]]:
        """Every file, and what is wrong with it."""
        return self._files.opened()

    # --- moving to a newer data key -----------------------------------------------------------------

    def older(self) -> int:
        """Files under an older key version."""
        return self._files.older()

    def reseal(self) -> int:
        """Move one file to the newest key version; 0 when none is left."""
        return self._files.reseal()


def midnight(now: int) -> int:
    """The last local midnight."""
    return now - (now + LOCAL * HOUR) % DAY


def known_enough(use: Floats) -> NDArray[np.bool_]:
    """Which series have enough known hours in the last four weeks to be forecast, and a week that models are judged by."""
    known = ~np.isnan(use[-4 * WEEK :])
    return np.asarray((known.mean(axis=0) >= KNOWN) & judged(use).any(axis=0), np.bool_)


def _rounded(values: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in (values.astype(np.float64).round(4) + 0.0).tolist())  # no -0


def _sum(
    sums: Sums,
    zones: Mapping[str, str],
    channel: int,
    points: Sequence[str],
    use: Floats,
    kept: NDArray[np.bool_],
) -> None:
    """Add what these points used, or take off what they fed in."""
    belong, counted = [zones.get(point, ALL) for point in _chosen(points, kept)], use[:, kept]
    if channel == MAIN:
        sums.add(belong, counted)
    else:
        sums.less(belong, from_nothing(counted))


def _known(sums: Sums) -> Iterator[tuple[list[str], Floats, bool]]:
    """The sums that are known well enough to be forecast, some hundreds at once, and whether these are nets."""
    names = np.array(sums.names(), object)
    nets = sums.nets(names.tolist())
    for net in (False, True):
        of = names[nets == net].tolist()
        for start in range(0, len(of), SUMS_AT_ONCE):
            use = sums.wholes(of[start : start + SUMS_AT_ONCE])
            good = known_enough(use)
            chosen = _chosen(of[start : start + SUMS_AT_ONCE], good)
            if chosen:
                yield chosen, use[:, good], net


def _chosen(names: Sequence[str], kept: NDArray[np.bool_]) -> list[str]:
    return [name for name, one in zip(names, kept.tolist(), strict=True) if one]
