"""Station MDMS, the daily forecasts: made from what is stored, kept sealed for some days, judged by what came.

It chooses no model (`forecast` does), prices nothing, and holds no name. A forecast begins at a local midnight and knows
nothing that was measured later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from meterseal.control.sealing import KeyRing
from meterseal.errors import DataError, LocalError
from meterseal.mdms.columns import Columns, Missed, Scan
from meterseal.mdms.forecast.bands import forecast, judged
from meterseal.mdms.forecast.history import HOUR, LOCAL, bridged, calendar, hourly, multiplied, plausible
from meterseal.mdms.forecast.scores import (
    PeakScore,
    Score,
    mean,
    mean_peaks,
    naive_scales,
    peak_score,
    score,
)
from meterseal.mdms.forecast.sums import ALL, Sums
from meterseal.mdms.forecast.task import HORIZON, LEVELS, WEEK, Floats, Task
from meterseal.mdms.forecast_files import Block, ForecastFiles, Place, Series, parts
from meterseal.mdms.multipliers import Stated
from meterseal.mdms.store.rows import Key, Words
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


class Forecasted(Struct, frozen=True, kw_only=True):
    """The forecast of one usage point's main channel, of a zone, or of a medium as a whole (both empty), from `begin` on.

    `quantiles` are one list of hours for each of `levels`, in the unit of the medium, `peaks` one of days: the highest hour
    of each (empty in a forecast that was made before peaks were forecast).
    """

    usage_point: str
    zone: str
    medium: Medium
    begin: int
    model: str
    levels: tuple[float, ...]
    quantiles: tuple[tuple[float, ...], ...]
    peaks: tuple[tuple[float, ...], ...] = ()


class Fed(NamedTuple):
    """Usage points that fed in, and (hours, points) of what."""

    points: list[str]
    use: Floats


class Made(Struct, frozen=True, kw_only=True):
    """What a run forecast: series by medium, those left out for want of history, the zones, and where it begins.

    `weather_missing` are hours it looked at whose weather nobody knows, where it therefore went without the weather.
    """

    begin: int
    series: dict[Medium, int]
    left_out: dict[Medium, int]
    zones: dict[Medium, int]
    weather_missing: int
    unreadable: int = 0
    """Channels that have readings in damaged files, which were left out."""


class PeakDay(Struct, frozen=True):
    """The highest hour of a day of all usage points of a medium together, as its first forecast foresaw it: between `low`
    and `high` nine times of ten; and as it `came`.
    """

    begin: int
    foreseen: float
    low: float
    high: float
    came: float


class Judged(Struct, frozen=True, kw_only=True):
    """How good the kept forecasts of a medium were over their first day (`score`), and over the six days after it where
    those are over, too (`week`): those of usage points, or of sums. `peak` is of the first days' highest hours, and
    `highest` each of these of all together, newest first.
    """

    medium: Medium
    sums: bool
    days: int
    score: Score
    weeks: int = 0
    week: Score | None = None
    peak: PeakScore | None = None
    highest: tuple[PeakDay, ...] = ()


class _Seen(NamedTuple):
    """What one day of a forecast was worth, of usage points or of sums."""

    sums: bool
    day: int
    score: Score
    peak: PeakScore | None
    highest: PeakDay | None


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
    ) -> None:
        self._files = ForecastFiles(directory, store_id, keys)
        self._store = store
        self._words = words
        self._surroundings = surroundings
        self._replaced = replaced
        self._zones = zones
        self._factors = factors
        self._missed = missed
        """Told after each making what could not be read."""
        self._places: tuple[int, dict[Series, Place]] = (-1, {})
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

        What lies in a damaged file is not known. Forecasts older than KEPT are removed. Raises EngineError `mdms.full`,
        `mdms.disk`; then the forecasts before stand, and the next call does all of it again.
        """
        begin = midnight(now)
        since = begin - HISTORY * HOUR
        exceptions = self._surroundings.days()
        hour, kind = calendar(since, HISTORY + HORIZON, exceptions)
        degrees = self._surroundings.weather(since, HISTORY + HORIZON)
        asked = Task(np.empty((HISTORY, 0), np.float32), hour, kind, bridged(degrees))
        replaced, zones = self._replaced(), self._zones(begin)
        _, factors = self._factors(replaced)
        made, left_out, summed = (dict.fromkeys(MEDIA, 0) for _ in range(3))
        missed: Missed = {}
        self._files.begin()
        for medium in MEDIA:
            sums, number = Sums(HISTORY), 0
            for keys, columns in self._store.scan(medium, since, begin, missed):
                points, use, fed = self._used(keys, columns, since, HISTORY, replaced, factors)
                sums.less([zones.get(point, ALL) for point in fed.points], fed.use)
                use = plausible(use)
                good = known_enough(use)
                left_out[medium] += int((~good).sum())
                # Who is too new for a forecast of its own uses something all the same, about what the others do.
                new = ~good & ~np.isnan(use[-LATELY:]).all(axis=0)
                for kept in (good, new):
                    sums.add([zones.get(point, ALL) for point in _chosen(points, kept)], use[:, kept])
                points, use = _chosen(points, good), use[:, good]
                if points:
                    self._write(begin, medium, number, points, asked._replace(use=use))
                    made[medium] += len(points)
                    number += 1
            for names, use in _known(sums):
                self._write(begin, medium, number, names, asked._replace(use=use), sums=True)
                summed[medium] += len(names) - (ALL in names)
                number += 1
        self._files.finish(begin)
        self._files.forget(begin - KEPT)
        self._places = (-1, {})
        self._missed(missed, now)
        return Made(
            begin=begin,
            series=made,
            left_out=left_out,
            zones=summed,
            unreadable=len(missed),
            weather_missing=int(np.isnan(degrees).sum()) if asked.temperature is None else 0,
        )

    def _used(
        self,
        keys: Sequence[Key],
        columns: Columns,
        since: int,
        hours: int,
        replaced: Mapping[str, Sequence[int]],
        factors: Mapping[str, Stated],
    ) -> tuple[list[str], Floats, Fed]:
        """Usage points of the main channels and their (hours, points) of use: what the register counted, multiplied; and of
        those that fed in, the same of that.
        """
        points = [self._words.texts[key.point] for key in keys]
        exchanged = {at: replaced[point][1:] for at, point in enumerate(points) if point in replaced}
        use = hourly(columns, since, hours, exchanged)
        main = [at for at, key in enumerate(keys) if key.channel == MAIN]
        fed = [at for at, key in enumerate(keys) if key.channel == EXPORT]
        if factors:
            stated = {at: factors[points[at]] for at in (*main, *fed) if points[at] in factors}
            use = multiplied(use, since, stated)
        return [points[at] for at in main], use[:, main], Fed([points[at] for at in fed], use[:, fed])

    def _write(
        self,
        begin: int,
        medium: Medium,
        number: int,
        points: Sequence[str],
        asked: Task,
        *,
        sums: bool = False,
    ) -> None:
        found = forecast(asked)
        scale, packed = parts(found.quantiles)
        error, square = (one.astype("<f4").tobytes() for one in naive_scales(asked.use))
        peaks = found.peaks.astype("<f4").tobytes()
        block = Block(begin, medium, tuple(points), found.model, scale, packed, error, square, sums, peaks)
        self._files.write(block, number)

    # --- asking -----------------------------------------------------------------------------------

    def of(self, usage_point: str, medium: Medium) -> Forecasted:
        """The newest forecast of a usage point's main channel.

        Raises LocalError `forecast.none` while there is none, DataError `forecast.damaged` where it may have been in a file
        that does not open.
        """
        return self._newest(False, usage_point, medium)

    def whole(self, medium: Medium, zone: str = ALL) -> Forecasted:
        """The newest forecast of all usage points of a medium together, or of those in a zone.

        Raises LocalError `forecast.none`, `forecast.zone`, DataError `forecast.damaged`.
        """
        return self._newest(True, zone, medium)

    def _newest(self, sums: bool, name: str, medium: Medium) -> Forecasted:
        places = self._found()
        found = places.get((sums, name, medium))
        if found is None and (begins := self._files.begins()):
            self._files.require_whole(begins[-1])
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
        if found is None:
            raise LocalError(
                "forecast.none",
                "There is no forecast: it needs two weeks of hourly readings and is made once a day. "
                "Make it now with: meterseal forecast run",
            )
        block = self._files.open(found.name)
        quantiles = block.quantiles()[:, :, found.column]
        peaks = block.highest()
        return Forecasted(
            usage_point="" if sums else name,
            zone=name if sums else "",
            medium=medium,
            begin=block.begin,
            model=block.models[found.column],
            levels=LEVELS,
            quantiles=_rounded(quantiles),
            peaks=() if peaks is None else _rounded(peaks[:, :, found.column]),
        )

    def _found(self) -> dict[Series, Place]:
        """Where the newest forecast of each series is."""
        begins = self._files.begins()
        if not begins:
            return {}
        places = self._places
        if places[0] != begins[-1]:
            self._places = places = (begins[-1], self._files.find(begins[-1]))
        return places[1]

    def zones(self, medium: Medium) -> list[str]:
        """The zones that the newest forecast has of a medium; ALL is among them where there is one of all together."""
        return sorted(zone for sums, zone, of in self._found() if sums and of == medium)

    def look_back(self, now: int) -> None:
        """Judge the kept forecasts once after each run, into `lately`: it reads some days of everything."""
        newest = self._files.begins()[-1:]
        if self.lately is None or newest != self._looked:
            self.lately, self._looked = tuple(self.judged(now)), newest

    def judged(self, now: int) -> list[Judged]:
        """What the kept forecasts were worth over the first day of each, and over the rest of each week that is over, by
        medium, those of usage points and those of sums by themselves; days that are not over are left out.
        """
        found = []
        for medium in MEDIA:
            seen = [
                one
                for begin in self._files.begins()
                if (days := ahead(begin, now))
                for one in self._judge(begin, medium, days)
            ]
            for sums in (False, True):
                first = [one for one in seen if one.sums == sums and one.day == 0]
                later = [one.score for one in seen if one.sums == sums and one.day]
                if first:
                    peaks = [one.peak for one in first if one.peak is not None]
                    judged = Judged(
                        medium=medium,
                        sums=sums,
                        days=len(first),
                        score=mean([one.score for one in first]),
                        weeks=-(-len(later) // (HORIZON * HOUR // DAY - 1)),
                        week=mean(later) if later else None,
                        peak=mean_peaks(peaks),
                        highest=tuple(one.highest for one in reversed(first) if one.highest is not None),
                    )
                    found.append(judged)
        return found

    def _judge(self, begin: int, medium: Medium, days: Sequence[int]) -> Iterator[_Seen]:
        blocks = [block for block in self._files.blocks(begin) if block.medium == medium]
        if not blocks:
            return
        replaced, zones = self._replaced(), self._zones(begin)
        _, factors = self._factors(replaced)
        told = {point for block in blocks if not block.sums for point in block.points}
        for day in days:
            since = begin + day * DAY
            came: dict[str, Floats] = {}
            summed = Sums(24)
            for keys, columns in self._store.scan(medium, since, since + DAY):
                points, use, fed = self._used(keys, columns, since, 24, replaced, factors)
                came.update(zip(points, use.T, strict=True))
                summed.less([zones.get(point, ALL) for point in fed.points], fed.use)
            for block in blocks:
                if not block.sums:
                    summed.add([zones.get(point, ALL) for point in block.points], _beside(came, block.points))
            new = [point for point, use in came.items() if point not in told and not np.isnan(use).all()]
            if new:
                summed.add([zones.get(point, ALL) for point in new], _beside(came, new))
            for sums in (False, True):
                of = [block for block in blocks if block.sums == sums]
                names = [name for block in of for name in block.points]
                use = summed.wholes(names) if sums else _beside(came, names)
                seen = _seen(of, names, use, begin, day)
                if seen is not None:
                    yield seen

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


def ahead(begin: int, now: int) -> range:
    """Which days of a forecast are judged: none before the first is over, all once the week is."""
    whole = HORIZON * HOUR // DAY
    return range(whole if begin + whole * DAY <= now else int(begin + DAY <= now))


def _seen(of: Sequence[Block], names: Sequence[str], use: Floats, begin: int, day: int) -> _Seen | None:
    """Judge one day of these blocks by what came (24 hours, series)."""
    judged = score(
        np.concatenate([np.frombuffer(block.error, "<f4") for block in of]),
        np.concatenate([np.frombuffer(block.square, "<f4") for block in of]),
        use,
        np.concatenate([block.quantiles()[:, day * 24 : (day + 1) * 24] for block in of], axis=2),
    )
    if judged is None:
        return None
    sums, highest = of[0].sums, [block.highest() for block in of]
    peaks = [one[:, day] for one in highest if one is not None]
    if len(peaks) < len(of):  # made before peaks were forecast
        return _Seen(sums, day, judged, None, None)
    foreseen = np.concatenate(peaks, axis=1)
    whole = None
    if sums and ALL in names and not np.isnan(use[:, names.index(ALL)]).any():
        low, middle, high = (foreseen[at, names.index(ALL)] for at in (0, LEVELS.index(0.5), -1))
        came = use[:, names.index(ALL)].max()
        whole = PeakDay(begin, *(round(float(one), 4) for one in (middle, low, high, came)))
    return _Seen(sums, day, judged, peak_score(use, foreseen), whole)


def midnight(now: int) -> int:
    """The last local midnight."""
    return now - (now + LOCAL * HOUR) % DAY


def known_enough(use: Floats) -> NDArray[np.bool_]:
    """Which series have enough known hours in the last four weeks to be forecast, and a week that models are judged by."""
    known = ~np.isnan(use[-4 * WEEK :])
    return np.asarray((known.mean(axis=0) >= KNOWN) & judged(use).any(axis=0), np.bool_)


def _rounded(values: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in values.astype(np.float64).round(4).tolist())


def _known(sums: Sums) -> Iterator[tuple[list[str], Floats]]:
    """The sums that are known well enough to be forecast, some hundreds at once."""
    names = sums.names()
    for start in range(0, len(names), SUMS_AT_ONCE):
        use = sums.wholes(names[start : start + SUMS_AT_ONCE])
        good = known_enough(use)
        chosen = _chosen(names[start : start + SUMS_AT_ONCE], good)
        if chosen:
            yield chosen, use[:, good]


def _chosen(names: Sequence[str], kept: NDArray[np.bool_]) -> list[str]:
    return [name for name, one in zip(names, kept.tolist(), strict=True) if one]


def _beside(came: Mapping[str, Floats], points: Sequence[str]) -> Floats:
    """(hours, points) of a day, not known where nothing came."""
    nothing = np.full(24, np.nan, np.float32)
    return np.stack([came.get(point, nothing) for point in points], axis=1)
