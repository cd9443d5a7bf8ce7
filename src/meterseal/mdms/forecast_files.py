"""Station MDMS, the files of forecasts: sealed under the store's data key, bound to the store and their own name.

It makes and judges none (`forecasts` does). One file for each block of series, `<begin>-<medium>-<number>.forecast`;
values are kept as 16 bits of each series' largest one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import msgspec
import numpy as np
import structlog
from msgspec import Struct

from meterseal.control.sealing import KeyRing
from meterseal.errors import DataError, EngineError, TrustError
from meterseal.mdms.forecast.task import DAY, HORIZON, LEVELS, Floats
from meterseal.mdms.store.files import disk, place_file, sync_directory
from meterseal.model import MAIN, Medium
from meterseal.places import place

SUFFIX = ".forecast"
UNFINISHED = ".unfinished"
"""Behind the name of a file whose run has not come to its end: it is nobody's forecast yet."""
LARGEST = 65_535

log = structlog.get_logger()


class Block(Struct, frozen=True, array_like=True):
    """A file's content: quantiles (levels, hours, series) as 16-bit parts of `scale` above `least` (float32 a series each;
    `least` is 0 where it is empty).

    `points` are usage points, or, where the series are sums, the zones summed. `peaks` (levels, days, series) are float32,
    and so are `lows` of sums some of which are nets. Of usage points `channel` says what is forecast.
    """

    begin: int
    medium: Medium
    points: tuple[str, ...]
    models: tuple[str, ...]
    scale: bytes
    parts: bytes
    error: bytes
    square: bytes
    sums: bool = False
    peaks: bytes = b""
    lows: bytes = b""
    least: bytes = b""
    channel: int = MAIN

    def quantiles(self) -> Floats:
        """(levels, hours, series)."""
        parts = np.frombuffer(self.parts, "<u2").reshape(len(LEVELS), HORIZON, len(self.points))
        scale = np.frombuffer(self.scale, "<f4") / np.float32(LARGEST)
        above = (parts * scale).astype(np.float32, copy=False)
        return above + np.frombuffer(self.least, "<f4") if self.least else above

    def highest(self) -> Floats | None:
        """`peaks`; None in a file from before they were forecast."""
        return self._days(self.peaks)

    def lowest(self) -> Floats | None:
        """`lows`; None where no series is a net."""
        return self._days(self.lows)

    def _days(self, content: bytes) -> Floats | None:
        if not content:
            return None
        return np.frombuffer(content, "<f4").reshape(len(LEVELS), HORIZON // DAY, len(self.points))


def parts(quantiles: Floats) -> tuple[bytes, bytes, bytes]:
    """`scale`, `parts` and `least` of a block that holds these quantiles (levels, hours, series)."""
    least = np.minimum(quantiles.min(axis=(0, 1)), 0).astype("<f4")
    scale = np.maximum(quantiles.max(axis=(0, 1)) - least, 1e-9).astype("<f4")
    packed = np.rint((quantiles - least) / scale * LARGEST).astype("<u2")
    return scale.tobytes(), packed.tobytes(), least.tobytes() if least.any() else b""


class Place(NamedTuple):
    """Where a series is: a file, and its place in it."""

    name: str
    column: int


Series = tuple[bool, str, Medium, int]
"""Is it a sum; the zone or usage point; the medium; the channel."""


class Places(NamedTuple):
    """Where series are, and whether these are all: every file that may have more of them opened."""

    found: dict[Series, Place]
    whole: bool


class ForecastFiles:
    """The files of one store's forecasts. Calls may come from any thread.

    Reading raises DataError `forecast.damaged` for a file that is not what was kept; EngineError `mdms.full`, `mdms.disk`.
    """

    def __init__(self, directory: Path, store_id: str, keys: KeyRing) -> None:
        self._directory = directory
        self._store_id = store_id
        self._keys = keys
        self._writing = Lock()
        """A forecast may be made while older ones move to a newer key: neither takes the other's file away."""
        with disk(directory):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # A run that was cut off is made again as a whole, and its day counts as not forecast until then.
            cut = {left.name.partition("-")[0] for left in directory.glob(f"*{UNFINISHED}")}
            for left in directory.glob(f"*{SUFFIX}*"):
                if left.name.partition("-")[0] in cut or left.suffix == ".new":
                    left.unlink()

    def begin(self) -> None:
        """A run begins: what one that failed has left is no part of it."""
        with self._writing, disk(self._directory):
            for left in self._directory.glob(f"*{UNFINISHED}"):
                left.unlink()

    def write(self, block: Block, number: int) -> None:
        """Write one block, the `number`-th of its medium and begin; it counts once its run is finished."""
        name = f"{block.begin:014d}-{block.medium}-{number:05d}{SUFFIX}"
        with self._writing:
            self._seal(f"{name}{UNFINISHED}", msgspec.msgpack.encode(block))

    def finish(self, begin: int) -> None:
        """From now on what was written for `begin` is the forecast, and what an earlier run wrote for it is gone."""
        with self._writing, disk(self._directory):
            made = sorted(self._directory.glob(f"{begin:014d}-*{UNFINISHED}"))
            names = {path.name.removesuffix(UNFINISHED) for path in made}
            for name in self._names():
                if _begin(name) == begin and name not in names:
                    (self._directory / name).unlink(missing_ok=True)
            for path in made:
                path.replace(path.with_name(path.name.removesuffix(UNFINISHED)))
            sync_directory(self._directory)

    def _names(self) -> list[str]:
        return sorted(path.name for path in self._directory.glob(f"*{SUFFIX}"))

    def begins(self) -> list[int]:
        """When the kept forecasts begin, rising."""
        return sorted({_begin(name) for name in self._names()})

    def blocks(self, begin: int) -> Iterator[Block]:
        """All that begins then and opens."""
        for _, block in self._opening(begin):
            yield block

    def find(self, begin: int) -> Places:
        """Where each series is that begins then and opens."""
        found: dict[Series, Place] = {}
        opened = set()
        for name, block in self._opening(begin):
            opened.add(name)
            for column, point in enumerate(block.points):
                found[block.sums, point, block.medium, block.channel] = Place(name, column)
        return Places(found, opened.issuperset(name for name in self._names() if _begin(name) == begin))

    def _opening(self, begin: int) -> Iterator[tuple[str, Block]]:
        for name in self._names():
            if _begin(name) == begin:
                try:
                    yield name, self.open(name)
                except DataError as error:
                    log.warning("forecast.damaged", file=name, message=str(error))

    def require_whole(self, begin: int) -> None:
        """DataError `forecast.damaged` when a file does not open of what begins then."""
        for name in self._names():
            if _begin(name) == begin:
                self._content(name)

    def forget(self, before: int, after: int) -> None:
        """Remove what begins earlier than the one, or later than the other."""
        with self._writing:
            for name in self._names():
                if not before <= _begin(name) <= after:
                    with disk(self._directory):
                        (self._directory / name).unlink(missing_ok=True)

    def open(self, name: str) -> Block:
        """One file."""
        return msgspec.msgpack.decode(self._content(name), type=Block)

    def _seal(self, name: str, content: bytes) -> None:
        version = self._keys.version
        sealed = self._keys.seal(content, self._bound(name), version)
        place_file(self._directory / name, version.to_bytes(4) + sealed)

    def _bound(self, name: str) -> bytes:
        return place(self._store_id, "forecast", name.removesuffix(UNFINISHED))

    def _content(self, name: str) -> bytes:
        path = self._directory / name
        with disk(path):
            sealed = path.read_bytes()
        try:
            if len(sealed) > 4:
                return self._keys.open(sealed[4:], self._bound(name), int.from_bytes(sealed[:4]))
        except TrustError as error:
            if error.code not in ("crypto.tag", "sealing.key"):  # the number of a key is the file's own word
                raise
        raise DataError(
            "forecast.damaged",
            f"{path} is not the forecast that was kept there. Delete it; forecasts are made anew every day.",
        )

    def opened(self) -> Iterator[tuple[str, DataError | None]]:
        """Every file, and what is wrong with it."""
        for name in self._names():
            try:
                self._content(name)
            except DataError as error:
                yield name, error
            except EngineError as error:
                if not isinstance(error.__cause__, FileNotFoundError):  # else it was forgotten meanwhile
                    raise
            else:
                yield name, None

    # --- moving to a newer data key -----------------------------------------------------------------

    def older(self) -> int:
        """Files under an older key version."""
        with self._writing:
            return len(self._older())

    def _older(self) -> list[str]:
        version = self._keys.version.to_bytes(4)
        found = []
        unfinished = sorted(path.name for path in self._directory.glob(f"*{UNFINISHED}"))
        for name in [*self._names(), *unfinished]:
            with disk(self._directory), (self._directory / name).open("rb") as file:
                if file.read(4) != version:
                    found.append(name)
        return found

    def reseal(self) -> int:
        """Move one file to the newest key version; 0 when none is left. DataError `forecast.damaged` when only damaged ones
        are.
        """
        with self._writing:
            damage: DataError | None = None
            for name in self._older():
                try:
                    content = self._content(name)
                except DataError as error:
                    damage = damage or error
                    continue
                self._seal(name, content)
                return 1
        if damage is not None:
            raise damage
        return 0


def _begin(name: str) -> int:
    return int(name.partition("-")[0])
