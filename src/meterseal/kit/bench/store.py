"""Beside the path: readings made durable by the column, and one usage point's year read back, in a store of any size.

It judges nothing. Every reading goes through the port of the store, in batches of exactly BATCH readings: packed, sealed,
written, synced, answered, judged, compacted into segments and merged, with the manifest's transactions. The clock stops
when the last of it lies in segments. The bound of ingest is bare SM4-GCM of as many bytes as went into journal and
segments, and their bare write and fsync, as often as the journal joins batches; both stand in rows of their own as well.
The bound of a year is its chunks, read from their files and opened, and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from meterseal.control import open_control, write
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import premises, usage_points
from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import EngineError
from meterseal.kit import series
from meterseal.kit.bench.timing import Case, Limit, Primitive, Watch
from meterseal.mdms.bulk import Bulk
from meterseal.mdms.service import Mdms
from meterseal.mdms.store.rows import Key, Words
from meterseal.mdms.store.segments import chunk_place
from meterseal.mdms.store.shelf import Shelf
from meterseal.mdms.verifier import each
from meterseal.model import MAIN

READINGS = 2_000_000
BATCH = 5_000
TOGETHER = 32
"""Batches that are under way at the same time; the journal joins about half of them into one fsync."""
JOINED = TOGETHER // 2
SLICE = 2_000_000
QUARTER = 900_000
A_DAY = 96
YEAR = 365
GOAL = 1_000_000.0
AT_REST = 6.0
YEARS = 50.0


class Ground:
    """A store of measurements of its own with a year of simulated 15-minute values, and what comes after them."""

    def __init__(self, root: Path, readings: int) -> None:
        self.points = max(1, readings // (YEAR * A_DAY))
        self._registers = _quarters(min(series.AT_MOST, self.points))
        self.names = tuple(f"up-e{number:07d}" for number in range(self.points))
        self._taken = 0
        self.root = root
        self.engine = open_control(root / "control.db")
        with write(self.engine) as connection:
            connection.execute(premises.insert().values(id="pr-1"))
            rows = [{"id": name, "premises_id": "pr-1", "medium": "electricity"} for name in self.names]
            connection.execute(usage_points.insert(), rows)
        self.loop = asyncio.new_event_loop()
        self.open()
        self.take(self.bulks(self.points * YEAR * A_DAY))

    def open(self) -> None:
        """Open the store as a start does."""
        self.mdms = Mdms.open(self.root / "measurements", self.engine, self.keys(), each(lambda *_: True))
        self._started = False

    def keys(self) -> KeyRing:
        """The data key of this store."""
        return KeyRing({1: SymmetricKey.from_bytes(bytes(range(16)), "bench key")}, 1)

    def take(self, bulks: Iterator[Bulk]) -> int:
        """Make readings durable, compacting beside it as a running store does, until all are in segments; how many."""

        async def running() -> int:
            if not self._started:
                self.mdms.start()
                self._started = True
            taken = await self._answered(bulks)
            await self.mdms.compact()
            return taken

        return self.loop.run_until_complete(running())

    def bulks(self, readings: int) -> Iterator[Bulk]:
        """The next readings, all meters' quarters of one day after those of the day before, BATCH at a time."""
        each_day = self.points * A_DAY
        while readings:
            numbers = np.arange(self._taken, self._taken + min(readings, BATCH))
            self._taken += len(numbers)
            readings -= len(numbers)
            day, rest = np.divmod(numbers, each_day)
            meter, quarter = np.divmod(rest, A_DAY)
            year, of_year = np.divmod(day, YEAR)
            whose = meter % len(self._registers)
            named, point = np.unique(meter, return_inverse=True)
            end_at = series.UNTIL + QUARTER * (1 + day * A_DAY + quarter)
            size = len(numbers)
            yield Bulk(
                "electricity",
                "sealed",
                True,
                int(end_at.max()) + 5_000,
                tuple(self.names[one] for one in named.tolist()),
                ("kWh",),
                point,
                np.full(size, MAIN),
                end_at,
                self._registers[whose, of_year * A_DAY + quarter] + year * self._registers[whose, -1],
                np.full(size, -2),
                np.zeros(size, np.int64),
                np.zeros(size, np.bool_),
            )

    def answer(self, bulks: Iterator[Bulk]) -> int:
        """Make readings durable until the last is answered; how many."""
        return self.loop.run_until_complete(self._answered(bulks))

    async def _answered(self, bulks: Iterator[Bulk]) -> int:
        async def one() -> int:
            taken = 0
            for bulk in bulks:
                await self.mdms.append(bulk)
                taken += len(bulk.point)
            return taken

        return sum(await asyncio.gather(*(one() for _ in range(TOGETHER))))

    def year(self, number: int) -> int:
        """Read the first year of a usage point; EngineError `bench.store` when it is not the one that came."""
        since = series.UNTIL + QUARTER
        found = self.mdms.registers(self.names[number], MAIN, since, series.UNTIL + QUARTER * YEAR * A_DAY)
        if not np.array_equal(found.register, self._registers[number % len(self._registers)]):
            raise EngineError("bench.store", "The store gives back other readings than it took; report this.")
        return len(found.register)

    def at_rest(self) -> tuple[int, int]:
        """Bytes of all segments, and rows in them."""
        found = self.mdms.segments()
        return sum(one.size for one in found), sum(one.rows for one in found)

    def close(self) -> None:
        """Let go."""
        self.loop.run_until_complete(self.mdms.close())
        self.loop.close()
        self.engine.dispose()


def _quarters(dwellings: int) -> NDArray[np.int64]:
    """Registers at every quarter of an hour of a year, one row a meter: each simulated hour is shared by its quarters."""
    dice = np.random.default_rng(188)
    profiles = series.street(188, dwellings, YEAR + 1, lossy=False)["electricity"]
    hours = np.stack([one.register[-(YEAR * 24 + 1) :] for one in profiles])
    left = np.diff(hours, axis=1)
    shares = np.empty((*left.shape, 4), np.int64)
    for quarter in range(3):
        shares[..., quarter] = dice.binomial(left, 1 / (4 - quarter))
        left = left - shares[..., quarter]
    shares[..., 3] = left
    found: NDArray[np.int64] = hours[:, :1] + np.cumsum(shares.reshape(len(hours), -1), axis=1)
    return found


class Chunk(NamedTuple):
    """Where one sealed chunk stands."""

    path: Path
    offset: int
    size: int
    where: bytes


def chunks_of(ground: Ground, number: int) -> list[Chunk]:
    """The chunks that hold the first year of a usage point, under names that no merge takes away."""
    kept = ground.root / "bare"
    kept.mkdir(exist_ok=True)
    words = Words()
    shelf = Shelf(ground.root / "measurements" / "segments", ground.keys(), words)
    key = Key(words.code(ground.names[number]), MAIN)
    found = []
    for segment in ground.mdms.segments():
        index = shelf.index(segment)
        entry = index.find(key)
        if entry is None or index.first[entry] > series.UNTIL + QUARTER * YEAR * A_DAY:
            continue
        path = kept / segment.path
        path.unlink(missing_ok=True)
        path.hardlink_to(ground.root / "measurements" / "segments" / segment.path)
        found += [
            Chunk(
                path,
                int(index.offsets[at]),
                int(index.sizes[at]),
                chunk_place(segment, at),
            )
            for at in index.chunks(entry)
        ]
    return found


def cases(stack: ExitStack, seconds: float, readings: int = READINGS) -> list[Case]:
    """The rows, over a store that holds `readings` before the clock runs.

    EngineError `bench.at-rest` when a reading takes more bytes at rest than it may.
    """
    root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    ground = Ground(root, readings)
    stack.callback(ground.close)
    return cases_over(ground)


def cases_over(ground: Ground) -> list[Case]:
    """The rows over a store that is there."""
    root = ground.root
    bytes_, rows = ground.at_rest()
    if bytes_ > AT_REST * rows:
        raise EngineError(
            "bench.at-rest", f"A reading takes {bytes_ / rows:.2f} bytes at rest, more than {AT_REST:.0f}."
        )
    dice = np.random.default_rng(7)

    def ingest(watch: Watch) -> int:
        bulks = list(ground.bulks(SLICE))  # whoever sends readings has them
        with watch:
            taken = ground.take(iter(bulks))
        return taken

    def answered(watch: Watch) -> int:
        bulks = list(ground.bulks(SLICE // 4))
        with watch:
            taken = ground.answer(iter(bulks))
        ground.take(iter(()))
        return taken

    def warm(watch: Watch) -> int:
        number = int(dice.integers(ground.points))
        with watch:
            ground.year(number)
        return 1

    def cold(watch: Watch) -> int:
        ground.loop.run_until_complete(ground.mdms.close())
        ground.open()
        return warm(watch)

    def scan(watch: Watch) -> int:
        seen = 0
        with watch:
            for _, columns in ground.mdms.scan("electricity", 0, series.UNTIL + QUARTER * YEAR * A_DAY):
                seen += len(columns.end_at)
                if seen >= SLICE:
                    break
        return seen

    for_each = ground.mdms.written / rows
    size = int(for_each * BATCH)
    gcm, write_ = _gcm(size * JOINED), _write(root / "written", size * JOINED)
    opened = _opened(chunks_of(ground, 0), ground.keys())
    of = f"{ground.points * YEAR * A_DAY:,} readings"
    bare = f"SM4-GCM, write and fsync of the {for_each:.2f} B a reading that are written, {JOINED} batches at once"
    return [
        Case(
            name=f"durable in batches of {BATCH:,}, compacted and merged, in a store of {of}",
            unit="readings per second",
            work=ingest,
            clock="wall",
            goal=GOAL,
            limit=Limit(bare, ((1, gcm), (1, write_)), units=BATCH * JOINED),
        ),
        Case(
            name="the same until the last answer, compaction after it",
            unit="readings per second",
            work=answered,
            clock="wall",
        ),
        Case(
            name="bare SM4-GCM of as many bytes",
            unit="readings per second",
            work=_alone(gcm),
            clock="wall",
        ),
        Case(
            name=f"bare write and fsync of as many bytes, {JOINED} batches at once",
            unit="readings per second",
            work=_alone(write_),
            clock="wall",
        ),
        Case(
            name=f"a usage point's year of 15 minutes after a start, in a store of {of}",
            unit="years per second",
            work=cold,
            clock="wall",
            goal=YEARS,
            limit=Limit(
                "the chunks of that year read from their files and opened by SM4-GCM", ((1, opened),)
            ),
        ),
        Case(
            name="the same of a store that is being asked",
            unit="years per second",
            work=warm,
            clock="wall",
            goal=YEARS,
            limit=Limit(
                "the chunks of that year read from their files and opened by SM4-GCM", ((1, opened),)
            ),
        ),
        Case(
            name=f"scanned in blocks of whole channels, {bytes_ / rows:.2f} bytes a reading at rest",
            unit="readings per second",
            work=scan,
            clock="wall",
        ),
    ]


def _alone(primitive: Primitive) -> Callable[[Watch], int]:
    """A bare operation over JOINED batches as a row of its own."""

    def work(watch: Watch) -> int:
        with watch:
            primitive.run(5)
        return 5 * BATCH * JOINED

    return work


def _gcm(size: int) -> Primitive:
    key, content = SymmetricKey.generate("bench"), os.urandom(size)

    def run(times: int) -> None:
        for _ in range(times):
            key.gcm_seal(content, b"")

    return Primitive("SM4-GCM", run)


def _write(path: Path, size: int) -> Primitive:
    content = os.urandom(size)

    def run(times: int) -> None:
        with path.open("wb", buffering=0) as file:
            for _ in range(times):
                file.write(content)
                os.fdatasync(file.fileno())
        path.unlink()

    return Primitive("write and fsync", run)


def _opened(chunks: list[Chunk], keys: KeyRing) -> Primitive:
    def run(times: int) -> None:
        for _ in range(times):
            for one in chunks:
                descriptor = os.open(one.path, os.O_RDONLY)
                try:
                    keys.open(os.pread(descriptor, one.size, one.offset), one.where, keys.version)
                finally:
                    os.close(descriptor)

    return Primitive("read and opened", run)
