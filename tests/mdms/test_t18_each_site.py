"""T18: a real disk without room at each place where a store writes: what is refused says why, nothing that was there is
lost, and the same call does its work once there is room."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import EngineError
from meterseal.mdms.ledger import files
from meterseal.mdms.service import Mdms
from meterseal.mdms.store import compact as compactor
from meterseal.mdms.verifier import each
from meterseal.model import MAIN, Batch
from tests.control_store import control_at
from tests.mdms.fleet import DAY, FIRST, HOUR, day_record, install, keys, point, register
from tests.mdms.test_rollup import of
from tests.mdms.test_store_contract import bulk_of
from tests.small_disk import SmallDisk, small_disk

FULL = {"mdms.full", "control.full"}
ROOM = (0, 4, 8, 16, 32, 64, 128)
"""KiB that are left."""
WEEKS = 5
USED = (3, 7)
"""Meters of electricity with weeks of readings in segments, one of water beside them."""


class World:
    """A store on a small disk, and what it was answered for."""

    def __init__(self, disk: SmallDisk) -> None:
        self.disk = disk
        self.keys = keys()
        engine = control_at(disk.path / "control.db")
        install(engine, USED[-1] + 1)
        engine.dispose()
        self.days = 0
        self.open()

    def open(self) -> None:
        self.engine = control_at(self.disk.path / "control.db")
        try:
            self.mdms = Mdms.open(
                self.disk.path / "measurements", self.engine, self.keys, each(lambda *_: True)
            )
        except BaseException:
            self.engine.dispose()
            raise

    async def close(self) -> None:
        await self.mdms.close()
        self.engine.dispose()

    async def fill(self) -> None:
        """Weeks of readings of two meters, in segments."""
        dice = np.random.default_rng(3)
        for number in USED:
            registers: list[int | None] = [*np.cumsum(dice.integers(20, 90, 24 * 7 * WEEKS)).tolist()]
            await self.mdms.append(bulk_of(number, 1, registers))
        await self.mdms.compact()

    async def day(self) -> None:
        """A day of one meter, answered."""
        await self.mdms.publish(Batch((day_record(0, self.days, self.days + 1),)))
        self.days += 1

    def check(self) -> None:
        """Every reading that was answered stands there."""
        shown = self.mdms.registers(point(0), MAIN, 0, 1 << 45)
        kept = [FIRST + hour * HOUR for hour in range(1, 24 * self.days + 1)]
        assert shown.register.tolist() == [register(0, at) for at in kept]
        for number in USED:
            assert len(self.mdms.registers(point(number), MAIN, 0, 1 << 45).end_at) == 24 * 7 * WEEKS


async def begun(world: World) -> None:
    """A journal file is begun, and its first entry written."""
    await asyncio.to_thread(world.mdms._journal.rotate)
    await world.day()


async def compacted(world: World) -> None:
    """Segments, leaves, tree and manifest are written, small segments merged."""
    await world.mdms.compact()


async def forecast(world: World) -> None:
    """Files of forecasts are written."""
    made = await asyncio.to_thread(world.mdms.forecasts.make, FIRST + WEEKS * 7 * DAY + DAY // 4)
    assert made.series["electricity"] == len(USED)


async def judged(world: World) -> None:
    """Findings, and what rules estimate, are written."""
    await world.mdms.run_vee(FIRST + 90 * DAY)


async def moved(world: World) -> None:
    """Every piece is sealed again under a newer key."""
    while await world.mdms.reseal():
        pass


async def rolled(world: World) -> None:
    """A month is written anew without what goes by rule: here nothing that the others count on, gas."""
    await world.mdms.roll_up([of("gas", FIRST + world.days * DAY)])


SITES: tuple[Callable[[World], Awaitable[None]], ...] = (begun, compacted, forecast, judged, moved, rolled)


async def prepared(world: World, turn: int) -> None:
    """Something to do for every site."""
    await world.day()
    await world.mdms.append(bulk_of(1, 24 * turn + 1, [*range(24)]))  # of gas
    world.keys.add(turn + 2, SymmetricKey.generate(f"key {turn}"))


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.__name__)
async def test_a_disk_without_room_at_each_place_where_a_store_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: Callable[[World], Awaitable[None]]
) -> None:
    monkeypatch.setattr(compactor, "FAN", 2)
    monkeypatch.setattr(files, "FULL", 8)
    with small_disk(tmp_path / "disk", 16_000) as disk:
        world = World(disk)
        await world.fill()
        refused: list[str] = []
        for turn, room in enumerate(ROOM if site is not forecast else ROOM[::4]):
            await prepared(world, turn)
            disk.fill(room * 1024)
            try:
                await site(world)
            except EngineError as error:
                refused.append(error.code)
            world.check()
            disk.free()
            await site(world)
            world.check()
            found = await world.mdms.integrity()
            assert found.good, found.damages
        assert set(refused) <= FULL
        assert refused
        await world.close()
        world.open()
        world.check()
        await world.close()
        assert not list((disk.path / "measurements").rglob("*.new"))


async def test_a_start_on_a_disk_without_room_is_refused_in_a_sentence_or_a_start(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 16_000) as disk:
        world = World(disk)
        await world.fill()
        refused: list[str] = []
        for room in ROOM:
            await world.day()
            await world.close()
            disk.fill(room * 1024)
            try:
                world.open()
            except EngineError as error:
                refused.append(error.code)
            else:
                world.check()
                await world.close()
            disk.free()
            world.open()
            world.check()
        assert set(refused) <= FULL
        assert (await world.mdms.integrity()).good
        await world.close()
