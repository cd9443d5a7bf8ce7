"""Beside the path: readings made durable by the column, and one usage point's year read back, in a store of any size.

It judges nothing. Every reading goes through the port of the store: packed, sealed, written, synced, compacted into
segments and merged, with the manifest's transactions. The bound of ingest is bare SM4-GCM over the bytes that were
written, journal and segments; a row of its own writes and syncs as many bytes and does nothing else.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

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
from meterseal.mdms.verifier import each
from meterseal.model import MAIN

READINGS = 2_000_000
BATCH = 5_000
TOGETHER = 16
"""Batches that wait for their commit at the same time."""
SLICE = 400_000
QUARTER = 900_000
A_DAY = 96
YEAR = 365
GOAL = 1_000_000.0
AT_REST = 6.0


class Ground:
    """A store of measurements of its own with a year of simulated 15-minute values, and what comes after them."""

    def __init__(self, root: Path, readings: int) -> None:
        self.points = max(1, readings // (YEAR * A_DAY))
        self._registers = _quarters(min(series.AT_MOST, self.points))
        self._names = tuple(f"up-e{number:07d}" for number in range(self.points))
        self._day = 0
        self.root = root
        self.engine = open_control(root / "control.db")
        with write(self.engine) as connection:
            connection.execute(premises.insert().values(id="pr-1"))
            rows = [{"id": name, "premises_id": "pr-1", "medium": "electricity"} for name in self._names]
            connection.execute(usage_points.insert(), rows)
        self.loop = asyncio.new_event_loop()
        self.open()
        self.take(YEAR)

    def open(self) -> None:
        """Open the store as a start does."""
        keys = KeyRing({1: SymmetricKey.from_bytes(bytes(range(16)), "bench key")}, 1)
        self.mdms = Mdms.open(self.root / "measurements", self.engine, keys, each(lambda *_: True))

    def take(self, days: int) -> int:
        """Make so many further days of every usage point durable and compact them; returns how many readings."""
        bulks = self._bulks(days)
        taken = 0

        async def one() -> None:
            nonlocal taken
            for bulk in bulks:
                await self.mdms.append(bulk)
                taken += len(bulk.point)

        async def all_() -> None:
            await asyncio.gather(*(one() for _ in range(TOGETHER)))
            await self.mdms.compact()

        self.loop.run_until_complete(all_())
        return taken

    def _bulks(self, days: int) -> Iterator[Bulk]:
        at_once = BATCH // A_DAY
        for day in range(self._day, self._day + days):
            year, of_year = divmod(day, YEAR)
            steps = slice(of_year * A_DAY, (of_year + 1) * A_DAY)
            end_at = series.UNTIL + QUARTER * (1 + day * A_DAY + np.arange(A_DAY, dtype=np.int64))
            for first in range(0, self.points, at_once):
                names = self._names[first : first + at_once]
                whose = np.arange(first, first + len(names)) % len(self._registers)
                size = len(names) * A_DAY
                yield Bulk(
                    "electricity",
                    "sealed",
                    True,
                    int(end_at[-1]) + 5_000,
                    names,
                    ("kWh",),
                    np.repeat(np.arange(len(names)), A_DAY),
                    np.full(size, MAIN),
                    np.tile(end_at, len(names)),
                    (self._registers[whose, steps] + year * self._registers[whose, -1:]).ravel(),
                    np.full(size, -2),
                    np.zeros(size, np.int64),
                    np.zeros(size, np.bool_),
                )
        self._day += days

    def year(self, number: int) -> int:
        """Read the first year of a usage point; EngineError `bench.store` when it is not the one that came."""
        since = series.UNTIL + QUARTER
        found = self.mdms.registers(self._names[number], MAIN, since, series.UNTIL + QUARTER * YEAR * A_DAY)
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


def cases(stack: ExitStack, seconds: float, readings: int = READINGS) -> list[Case]:
    """The rows, over a store that holds `readings` before the clock runs.

    EngineError `bench.at-rest` when a reading takes more bytes at rest than it may.
    """
    root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    ground = Ground(root, readings)
    stack.callback(ground.close)
    days = max(1, SLICE // (ground.points * A_DAY))
    bytes_, rows = ground.at_rest()
    if bytes_ > AT_REST * rows:
        raise EngineError(
            "bench.at-rest", f"A reading takes {bytes_ / rows:.2f} bytes at rest, more than {AT_REST:.0f}."
        )
    for_each = ground.mdms.written / rows
    dice = np.random.default_rng(7)

    def ingest(watch: Watch) -> int:
        with watch:
            taken = ground.take(days)
        return taken

    def write_bare(watch: Watch) -> int:
        content = os.urandom(int(for_each * BATCH))
        path = root / "bare"
        with path.open("wb", buffering=0) as file, watch:
            for _ in range(20):
                file.write(content)
                os.fdatasync(file.fileno())
        path.unlink()
        return 20 * BATCH

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

    size = int(for_each * BATCH)
    of = f"{ground.points * YEAR * A_DAY:,} readings"
    return [
        Case(
            name=f"durable in batches of {BATCH:,}, compacted and merged, in a store of {of}",
            unit="readings per second",
            work=ingest,
            clock="wall",
            goal=GOAL,
            limit=Limit(
                f"SM4-GCM of the {for_each:.2f} B a reading that are written", ((1, _gcm(size)),), units=BATCH
            ),
        ),
        Case(
            name=f"as many bytes written and synced {BATCH:,} readings at a time, nothing else",
            unit="readings per second",
            work=write_bare,
            clock="wall",
        ),
        Case(
            name=f"a usage point's year of 15 minutes after a start, in a store of {of}",
            unit="years per second",
            work=cold,
            clock="wall",
            goal=50.0,
        ),
        Case(
            name="the same of a store that is being asked",
            unit="years per second",
            work=warm,
            clock="wall",
            goal=50.0,
        ),
        Case(
            name=f"scanned in blocks of whole channels, {bytes_ / rows:.2f} bytes a reading at rest",
            unit="readings per second",
            work=scan,
            clock="wall",
        ),
    ]


def _gcm(size: int) -> Primitive:
    key, content = SymmetricKey.generate("bench"), os.urandom(size)

    def run(times: int) -> None:
        for _ in range(times):
            key.gcm_seal(content, b"")

    return Primitive("SM4-GCM", run)
