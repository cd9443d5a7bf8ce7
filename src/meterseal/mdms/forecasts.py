"""Station MDMS, the daily forecasts: made from what is stored, kept sealed for some days, judged by what came.

It chooses no model (`forecast` does), prices nothing, and holds no name. A forecast begins at a local midnight and knows
nothing that was measured later.

Files: one for each block of channels, `<begin>-<medium>-<block>.forecast`, sealed under the store's data key and bound
to the store and its own name. Values are kept as 16 bits of each channel's largest one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from meterseal.control.sealing import KeyRing, place
from meterseal.errors import DataError, LocalError, TrustError
from meterseal.mdms.columns import Columns, Scan
from meterseal.mdms.forecast.bands import forecast
from meterseal.mdms.forecast.history import HOUR, LOCAL, calendar, hourly
from meterseal.mdms.forecast.scores import Score, mean, naive_scales, score
from meterseal.mdms.forecast.task import LEVELS, WEEK, Floats, Task
from meterseal.mdms.store.files import disk, place_file
from meterseal.mdms.store.rows import Key, Words
from meterseal.mdms.surroundings import Surroundings
from meterseal.model import MAIN, Medium

DAY = 24 * HOUR
HISTORY = 12 * WEEK
HORIZON = WEEK
KEPT = 10 * DAY
ARRIVED = 3 * HOUR
"""After midnight: meters have sent their freezes, and concentrators have read the others."""
KNOWN = 0.5
"""Share of the last four weeks' hours that must be known."""
SUFFIX = ".forecast"
TOGETHER = ""
"""The usage point under which the sum of a medium's usage points is forecast: what a system operator plans by."""
LARGEST = 65_535
MEDIA: tuple[Medium, ...] = ("water", "gas", "heat", "electricity")


class Block(Struct, frozen=True, array_like=True):
    """A file's content: quantiles (levels, hours, series) as 16-bit parts of `scale` (float32 a series)."""

    begin: int
    medium: Medium
    points: tuple[str, ...]
    models: tuple[str, ...]
    scale: bytes
    parts: bytes
    error: bytes
    square: bytes

    def quantiles(self) -> Floats:
        """(levels, hours, series)."""
        parts = np.frombuffer(self.parts, "<u2").reshape(len(LEVELS), HORIZON, len(self.points))
        scale = np.frombuffer(self.scale, "<f4") / np.float32(LARGEST)
        return (parts * scale).astype(np.float32, copy=False)


class Forecasted(Struct, frozen=True, kw_only=True):
    """The forecast of one usage point's main channel, or of a medium as a whole (`usage_point` empty), from `begin` on.

    `quantiles` are one list of hours for each of `levels`, in the unit of the medium.
    """

    usage_point: str
    medium: Medium
    begin: int
    model: str
    levels: tuple[float, ...]
    quantiles: tuple[tuple[float, ...], ...]


class Made(Struct, frozen=True, kw_only=True):
    """What a run forecast: series by medium, those left out for want of history, and where it begins."""

    begin: int
    series: dict[Medium, int]
    left_out: dict[Medium, int]


class Judged(Struct, frozen=True, kw_only=True):
    """How good the kept forecasts of a medium were over their first day."""

    medium: Medium
    days: int
    score: Score


class _Place(NamedTuple):
    name: str
    column: int


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
    ) -> None:
        self._directory = directory
        self._store_id = store_id
        self._keys = keys
        self._store = store
        self._words = words
        self._surroundings = surroundings
        self._replaced = replaced
        self._places: tuple[int, dict[tuple[str, Medium], _Place]] = (-1, {})
        with disk(directory):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for left in directory.glob(f"*{SUFFIX}.new"):
                left.unlink()

    # --- making -----------------------------------------------------------------------------------

    def due(self, now: int) -> bool:
        """Is there no forecast yet from the last local midnight on, and has the day before had its time to arrive?"""
        return now - midnight(now) >= ARRIVED and midnight(now) not in self._begins()

    def make(self, now: int) -> Made:
        """Forecast every usage point's main channel and each medium as a whole from the last local midnight on.

        Forecasts older than KEPT are removed. Raises DataError `mdms.segment-damaged`, EngineError `mdms.full`,
        `mdms.disk`; what was written before stays, and the next call does all of it again.
        """
        begin = midnight(now)
        since = begin - HISTORY * HOUR
        exceptions = self._surroundings.days()
        hour, kind = calendar(since, HISTORY + HORIZON, exceptions)
        degrees = self._surroundings.weather(since, HISTORY + HORIZON)
        asked = Task(
            np.empty((HISTORY, 0), np.float32), hour, kind, None if np.isnan(degrees).any() else degrees
        )
        replaced = self._replaced()
        made, left_out = dict.fromkeys(MEDIA, 0), dict.fromkeys(MEDIA, 0)
        for medium in MEDIA:
            summed, known = np.zeros(HISTORY), np.zeros(HISTORY)
            number = 0
            for keys, columns in self._store.scan(medium, since, begin):
                points, use = self._main(keys, columns, since, HISTORY, replaced)
                good = known_enough(use)
                left_out[medium] += int((~good).sum())
                points = [point for point, kept in zip(points, good.tolist(), strict=True) if kept]
                use = use[:, good]
                if points:
                    summed += np.nansum(use, axis=1, dtype=np.float64)
                    known += (~np.isnan(use)).sum(axis=1)
                    self._write(begin, medium, number, points, asked._replace(use=use))
                    made[medium] += len(points)
                    number += 1
            if made[medium]:
                whole = _whole(summed, known, made[medium])
                self._write(begin, medium, number, [TOGETHER], asked._replace(use=whole))
        self._forget(begin - KEPT)
        self._places = (-1, {})
        return Made(begin=begin, series=made, left_out=left_out)

    def _main(
        self,
        keys: Sequence[Key],
        columns: Columns,
        since: int,
        hours: int,
        replaced: Mapping[str, Sequence[int]],
    ) -> tuple[list[str], Floats]:
        """Usage points of the main channels and their (hours, points) of use."""
        points = [self._words.texts[key.point] for key in keys]
        exchanged = {at: replaced[point][1:] for at, point in enumerate(points) if point in replaced}
        use = hourly(columns, since, hours, exchanged)
        main = [at for at, key in enumerate(keys) if key.channel == MAIN]
        return [points[at] for at in main], use[:, main]

    def _write(self, begin: int, medium: Medium, number: int, points: Sequence[str], asked: Task) -> None:
        found = forecast(asked)
        scale = np.maximum(found.quantiles.max(axis=(0, 1)), 1e-9)
        error, square = naive_scales(asked.use)
        block = Block(
            begin,
            medium,
            tuple(points),
            found.model,
            scale.astype("<f4").tobytes(),
            np.rint(found.quantiles / scale * LARGEST).astype("<u2").tobytes(),
            error.astype("<f4").tobytes(),
            square.astype("<f4").tobytes(),
        )
        name = f"{begin:014d}-{medium}-{number:05d}{SUFFIX}"
        self._seal(name, msgspec.msgpack.encode(block))

    # --- asking -----------------------------------------------------------------------------------

    def of(self, usage_point: str, medium: Medium) -> Forecasted:
        """The newest forecast of a usage point's main channel.

        Raises LocalError `forecast.none` while there is none.
        """
        begins = self._begins()
        if begins and self._places[0] != begins[-1]:
            self._places = (begins[-1], dict(self._find(begins[-1])))
        found = self._places[1].get((usage_point, medium)) if begins else None
        if found is None:
            raise LocalError(
                "forecast.none",
                "There is no forecast: it needs three weeks of hourly readings and is made once a day. "
                "Make it now with: meterseal forecast run",
            )
        block = self._open(found.name)
        quantiles = block.quantiles()[:, :, found.column]
        return Forecasted(
            usage_point=usage_point,
            medium=medium,
            begin=block.begin,
            model=block.models[found.column],
            levels=LEVELS,
            quantiles=tuple(tuple(row) for row in quantiles.astype(np.float64).round(4).tolist()),
        )

    def whole(self, medium: Medium) -> Forecasted:
        """The newest forecast of all usage points of a medium together. Errors as `of`."""
        return self.of(TOGETHER, medium)

    def judged(self, now: int) -> list[Judged]:
        """What the kept forecasts were worth over the first day of each, by medium; days that are not over are left out."""
        found = []
        for medium in MEDIA:
            scores = [
                judged
                for begin in self._begins()
                if begin + DAY <= now and (judged := self._judge(begin, medium)) is not None
            ]
            if scores:
                found.append(Judged(medium=medium, days=len(scores), score=mean(scores)))
        return found

    def _judge(self, begin: int, medium: Medium) -> Score | None:
        came: dict[str, Floats] = {}
        replaced = self._replaced()
        for keys, columns in self._store.scan(medium, begin, begin + DAY):
            points, use = self._main(keys, columns, begin, 24, replaced)
            came.update(zip(points, use.T, strict=True))
        nothing = np.full(24, np.nan, np.float32)
        blocks = [
            block for block in self._blocks(begin) if block.medium == medium and block.points != (TOGETHER,)
        ]
        if not blocks:
            return None
        return score(
            np.concatenate([np.frombuffer(block.error, "<f4") for block in blocks]),
            np.concatenate([np.frombuffer(block.square, "<f4") for block in blocks]),
            np.stack([came.get(point, nothing) for block in blocks for point in block.points], axis=1),
            np.concatenate([block.quantiles()[:, :24] for block in blocks], axis=2),
        )

    # --- files ------------------------------------------------------------------------------------

    def _names(self) -> list[str]:
        return sorted(path.name for path in self._directory.glob(f"*{SUFFIX}"))

    def _begins(self) -> list[int]:
        return sorted({int(name.partition("-")[0]) for name in self._names()})

    def _blocks(self, begin: int) -> Iterator[Block]:
        for name in self._names():
            if int(name.partition("-")[0]) == begin:
                yield self._open(name)

    def _find(self, begin: int) -> Iterator[tuple[tuple[str, Medium], _Place]]:
        for name in self._names():
            if int(name.partition("-")[0]) == begin:
                block = self._open(name)
                for column, point in enumerate(block.points):
                    yield (point, block.medium), _Place(name, column)

    def _forget(self, before: int) -> None:
        for name in self._names():
            if int(name.partition("-")[0]) < before:
                with disk(self._directory):
                    (self._directory / name).unlink(missing_ok=True)

    def _seal(self, name: str, content: bytes) -> None:
        version = self._keys.version
        sealed = self._keys.seal(content, place(self._store_id, "forecast", name), version)
        place_file(self._directory / name, version.to_bytes(4) + sealed)

    def _content(self, name: str) -> bytes:
        path = self._directory / name
        with disk(path):
            sealed = path.read_bytes()
        try:
            if len(sealed) > 4:
                return self._keys.open(
                    sealed[4:], place(self._store_id, "forecast", name), int.from_bytes(sealed[:4])
                )
        except TrustError as error:
            if error.code != "crypto.tag":
                raise
        raise DataError(
            "forecast.damaged",
            f"{path} is not the forecast that was kept there. Delete it; forecasts are made anew every day.",
        )

    def _open(self, name: str) -> Block:
        return msgspec.msgpack.decode(self._content(name), type=Block)

    # --- moving to a newer data key -----------------------------------------------------------------

    def older(self) -> int:
        """Files under an older key version."""
        return len(self._older())

    def _older(self) -> list[str]:
        version = self._keys.version.to_bytes(4)
        found = []
        for name in self._names():
            with disk(self._directory), (self._directory / name).open("rb") as file:
                if file.read(4) != version:
                    found.append(name)
        return found

    def reseal(self) -> int:
        """Move one file to the newest key version; 0 when none is left."""
        older = self._older()
        if not older:
            return 0
        self._seal(older[0], self._content(older[0]))
        return 1


def midnight(now: int) -> int:
    """The last local midnight."""
    return now - (now + LOCAL * HOUR) % DAY


def known_enough(use: Floats) -> NDArray[np.bool_]:
    """Which series have enough known hours in the last four weeks to be forecast."""
    known = ~np.isnan(use[-4 * WEEK :])
    return np.asarray(known.mean(axis=0) >= KNOWN, np.bool_)


def _whole(summed: NDArray[np.float64], known: NDArray[np.float64], points: int) -> Floats:
    """(hours, 1): what all points used together, those that are not known in an hour taken to use what the others do;
    not known itself where fewer than half of them are.
    """
    whole = np.where(known * 2 >= points, summed / np.maximum(known, 1) * points, np.nan)
    return whole[:, None].astype(np.float32)
