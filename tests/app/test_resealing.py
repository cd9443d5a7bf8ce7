"""New data keys under load: everything moves, nothing is lost, the count reaches zero, the old key opens no more."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from meterseal.app import resealing
from meterseal.app.resealing import Resealing
from meterseal.control import read, write
from meterseal.control.rings import BILLS, FLEET, MEASUREMENTS, RINGS, DataKeys, begin_version, open_ring
from meterseal.control.sealed import CONCENTRATORS, UNDER
from meterseal.control.sealing import VERSION, KeyRing
from meterseal.control.tables import agreements, concentrators, customers, data_keys, segments
from meterseal.crypto.expose import expose
from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.sm2 import verify
from meterseal.errors import EngineError, TrustError
from meterseal.link.evidence import signed_bytes
from meterseal.mdms.service import Mdms
from meterseal.mdms.verifier import each
from meterseal.model import MAIN, Batch
from meterseal.utility.agreements import add_agreement, all_terms
from meterseal.utility.customers import Customers, NewCustomer, Person
from tests.control_store import control_at
from tests.mdms.fleet import DAY, FIRST, KEY, days, install, point, register

METERS = 6


class LastingKeys:
    """Wraps data keys for real under one fixed key per version, so that a later process opens them."""

    def __init__(self, version: int = 1) -> None:
        self.version = version
        self.away = False

    def _under(self, version: int) -> SymmetricKey:
        return SymmetricKey.from_bytes(bytes([version]) * 16, "wrapping key of a test")

    async def new(self, purpose: str, key_id: str) -> tuple[SymmetricKey, bytes, int]:
        if self.away:
            raise EngineError("mesh.unreachable", "Away.")
        key = SymmetricKey.generate("data key")
        sealed = self._under(self.version).gcm_seal(expose(key), f"{purpose}|{key_id}".encode())
        return key, self.version.to_bytes(2) + sealed, self.version

    async def open(self, purpose: str, key_id: str, version: int, wrapped: bytes) -> SymmetricKey:
        raw = self._under(int.from_bytes(wrapped[:2])).gcm_open(wrapped[2:], f"{purpose}|{key_id}".encode())
        return SymmetricKey.from_bytes(raw, "data key")

    async def newest(self) -> int:
        if self.away:
            raise EngineError("mesh.unreachable", "Away.")
        return self.version


class Ground:
    """One platform's stores with something sealed in each kind of place."""

    def __init__(self, folder: Path, engine: sa.Engine, rings: dict[str, KeyRing], keys: DataKeys) -> None:
        self.folder, self.engine, self.rings = folder, engine, rings
        verifier = each(
            lambda _, statement, signature, __: verify(KEY.public_point, signed_bytes(statement), signature)
        )
        self.mdms = Mdms.open(folder / "measurements", engine, rings[MEASUREMENTS], verifier)
        self.customers = Customers(engine, keys)

    def resealing(self, keys: LastingKeys) -> Resealing:
        return Resealing(self.engine, self.rings, self.mdms, self.customers, keys, keys.newest, lambda: FIRST)

    async def close(self) -> None:
        await self.mdms.close()
        self.engine.dispose()

    async def fill(self, first: int = 0, last: int = 3) -> None:
        for number, day in enumerate(days(METERS, last)):
            if number >= first:
                await self.mdms.publish(Batch(tuple(day)))
        await self.mdms.settle()

    def readable(self) -> None:
        """Everything that was stored opens."""
        with read(self.engine) as connection:
            rows = {
                (name, table.table.name): connection.execute(sa.select(table.table)).all()
                for name, tables in UNDER.items()
                for table in tables
            }
        for (name, table_name), found in rows.items():
            (table,) = (one for one in UNDER[name] if one.table.name == table_name)
            for row in found:
                for column in table.columns:
                    table.open(self.rings[name], row, column)
        self.mdms.findings()
        self.mdms.quarantine()

    def counted(self, day_count: int) -> None:
        """The readings are exactly those that were delivered."""
        for number in range(METERS):
            found = self.mdms.registers(point(number), MAIN, FIRST, FIRST + day_count * DAY)
            wanted = [register(number, at) for at in found.end_at.tolist()]
            assert found.register.tolist() == wanted
            assert len(found.end_at) == 24 * day_count


async def ground(folder: Path, keys: LastingKeys, *, fresh: bool = True) -> Ground:
    engine = control_at(folder / "control.db")
    if fresh:
        install(engine, METERS)
    rings = {name: await open_ring(engine, name, keys, FIRST) for name in RINGS}
    made = Ground(folder, engine, rings, keys)
    if fresh:
        with write(engine) as connection:
            for number in range(5):
                row = {"device_id": b"\xf0" + number.to_bytes(7), "sealed_name": b"riser %d" % number}
                connection.execute(concentrators.insert().values(CONCENTRATORS.seal(rings[FLEET], row)))
        await made.customers.add(NewCustomer(Person("名", "址"), "c1"), FIRST)
        add_agreement(
            engine, "a1", "c1", point(0), "t", FIRST, 1, opening_accumulation=1700, keys=rings[BILLS]
        )
    return made


def key_versions(engine: sa.Engine) -> dict[str, list[int]]:
    with read(engine) as connection:
        rows = connection.execute(sa.select(data_keys).order_by(data_keys.c.version)).all()
    return {name: [row.version for row in rows if row.id == name] for name in RINGS}


async def finish(work: Resealing) -> list[int]:
    """Step to the end; what remained before each step."""
    counts = [await work.remaining()]
    while await work.step():
        counts.append(await work.remaining())
    return counts


async def test_everything_moves_to_zero_and_the_old_keys_are_gone(tmp_path: Path) -> None:
    keys = LastingKeys()
    own = await ground(tmp_path, keys)
    await own.fill(0, 2)
    await own.mdms.compact()
    await own.fill(2, 3)  # some of it in the journal
    with read(own.engine) as connection:
        sizes = {
            t.name: connection.execute(sa.select(sa.func.count()).select_from(t)).scalar() for t in TABLES
        }
    work = own.resealing(keys)
    assert await work.remaining() == 0
    keys.version = 2
    assert await work.follow()
    assert not await work.follow()
    counts = await finish(work)
    assert counts[0] > 20
    assert counts == sorted(counts, reverse=True)
    assert await work.remaining() == counts[-1] == 0
    assert key_versions(own.engine) == {name: [2] for name in RINGS}
    assert all(ring.versions == (2,) for ring in own.rings.values())
    own.readable()
    own.counted(3)
    with read(own.engine) as connection:
        for table in TABLES:
            assert (
                connection.execute(sa.select(sa.func.count()).select_from(table)).scalar()
                == sizes[table.name]
            )
        wrapped = connection.execute(sa.select(customers.c.wrapped_key)).scalars().all()
        assert [one[:2] for one in wrapped] == [b"\x00\x02"]
    person = await own.customers.open("c1")
    assert person is not None
    assert person.name == "名"
    (terms,) = all_terms(own.engine, own.rings[BILLS])
    assert terms.openings[0].amount == 17
    await own.close()


TABLES = (concentrators, agreements, customers, *(table.table for table in UNDER[MEASUREMENTS][2:4]))


async def test_after_the_cut_off_an_old_copy_opens_nowhere(tmp_path: Path) -> None:
    keys = LastingKeys()
    own = await ground(tmp_path, keys)
    await own.fill()
    await own.mdms.compact()
    with read(own.engine) as connection:
        old_row = connection.execute(sa.select(concentrators)).first()
        old_segments = connection.execute(sa.select(segments).order_by(segments.c.id)).mappings().all()
    kept = {
        row["path"]: (tmp_path / "measurements" / "segments" / row["path"]).read_bytes()
        for row in old_segments
    }
    await own.resealing(keys).begin()
    await finish(own.resealing(keys))
    assert old_row is not None
    with pytest.raises(TrustError) as caught:
        CONCENTRATORS.open(own.rings[FLEET], old_row)
    assert caught.value.code == "sealing.key"
    await own.close()
    # an old segment, and the manifest's row for it, put back
    row = dict(old_segments[0])
    engine = control_at(tmp_path / "control.db")
    with write(engine) as connection:
        connection.execute(segments.delete().where(segments.c.id.like(row["id"] + ".%")))
        connection.execute(segments.insert().values(**row))
    (tmp_path / "measurements" / "segments" / row["path"]).write_bytes(kept[row["path"]])
    engine.dispose()
    with pytest.raises(TrustError) as caught:
        await ground(tmp_path, keys, fresh=False)
    assert caught.value.code == "sealing.key"


async def test_writers_go_on_while_everything_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resealing, "ROWS", 3)
    monkeypatch.setattr(resealing, "PAUSE", 0)
    keys = LastingKeys()
    own = await ground(tmp_path, keys)
    work = own.resealing(keys)
    done = asyncio.Event()

    async def deliver() -> None:
        for number, day in enumerate(days(METERS, 12)):
            for record in day:
                await own.mdms.publish(Batch((record,)))
            await own.mdms.settle()
            if number % 3 == 2:
                await own.mdms.compact()
        done.set()

    async def enrol() -> None:
        number = 100
        while not done.is_set():
            row = {"device_id": b"\xf0" + number.to_bytes(7), "sealed_name": b"new %d" % number}
            with write(own.engine) as connection:
                connection.execute(concentrators.insert().values(CONCENTRATORS.seal(own.rings[FLEET], row)))
            number += 1
            await asyncio.sleep(0.005)

    async def rotate() -> int:
        rounds = 0
        while not done.is_set():
            await work.begin()
            rounds += 1
            while await work.step():
                await asyncio.sleep(0)
        return rounds

    _, _, rounds = await asyncio.gather(deliver(), enrol(), rotate())
    assert rounds >= 2
    while await work.step():
        pass
    assert await work.remaining() == 0
    own.readable()
    own.counted(12)
    versions = {len(found) for found in key_versions(own.engine).values()}
    assert versions == {1}
    await own.close()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_crash_around_the_switch_of_a_segment_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    keys = LastingKeys()
    own = await ground(tmp_path, keys)
    await own.fill()
    await own.mdms.compact()
    folder = tmp_path / "measurements" / "segments"
    count = len(list(folder.iterdir()))
    await own.resealing(keys).begin()
    exchange = own.mdms._manifest.exchange

    def cut_off(*arguments: object) -> None:
        if when == "after":
            exchange(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(own.mdms._manifest, "exchange", cut_off)
    with pytest.raises(KeyboardInterrupt):
        own.mdms._turning.move()
    assert len(list(folder.iterdir())) == count + 1
    await own.close()
    again = await ground(tmp_path, keys, fresh=False)
    again.counted(3)
    assert len(list(folder.iterdir())) == count
    await finish(again.resealing(keys))
    assert await again.resealing(keys).remaining() == 0
    again.counted(3)
    await again.close()


async def test_a_start_between_new_key_and_first_row_goes_on(tmp_path: Path) -> None:
    keys = LastingKeys()
    own = await ground(tmp_path, keys)
    await own.fill()
    await begin_version(own.engine, FLEET, own.rings[FLEET], keys, FIRST)
    await own.close()
    again = await ground(tmp_path, keys, fresh=False)
    work = again.resealing(keys)
    assert await work.remaining() == 5
    await finish(work)
    assert key_versions(again.engine)[FLEET] == [2]
    await again.close()


async def test_an_absent_service_begins_nothing_and_moves_what_began(tmp_path: Path) -> None:
    keys = LastingKeys()
    own = await ground(tmp_path, keys)
    work = own.resealing(keys)
    keys.away = True
    with pytest.raises(EngineError):
        await work.follow()
    with pytest.raises(EngineError):
        await work.begin()
    assert key_versions(own.engine) == {name: [1] for name in RINGS}
    keys.away = False
    await work.begin()
    keys.away = True
    while await work.step():
        pass
    assert await work.remaining() == 0
    await own.close()


async def test_the_work_runs_by_itself_and_outlives_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resealing, "WATCH", 0.01)
    keys = LastingKeys()
    own = await ground(tmp_path, keys)
    work = own.resealing(keys)
    keys.away = True
    task = asyncio.create_task(work.run())
    await asyncio.sleep(0.05)
    keys.away, keys.version = False, 2
    async with asyncio.timeout(20):
        while key_versions(own.engine) != {name: [2] for name in RINGS} or await work.remaining():
            await asyncio.sleep(0.02)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await own.close()


# --- kill -9 between and inside steps ----------------------------------------------------------------

KILLED = """
import asyncio, sys
from pathlib import Path
from meterseal.app import resealing
from meterseal.model import Batch
from tests.app.test_resealing import LastingKeys, METERS, ground
from tests.mdms.fleet import days

async def main(folder, first, last):
    resealing.ROWS, resealing.PAUSE = 2, 0
    keys = LastingKeys()
    own = await ground(folder, keys, fresh=False)
    work = own.resealing(keys)
    async def rotate():
        while True:
            await work.begin()
            while await work.step():
                await asyncio.sleep(0)
    task = asyncio.create_task(rotate())
    for number, day in enumerate(days(METERS, last)):
        if number >= first:
            await own.mdms.publish(Batch(tuple(day)))
            print("day", number, flush=True)
            await own.mdms.compact()
    await asyncio.sleep(60)

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
"""


def said(line: bytes) -> int:
    """How many days a line of the child says are acknowledged; 0 for a line of its log."""
    assert line, "the child ended by itself"
    word, _, number = line.partition(b" ")
    return int(number) + 1 if word == b"day" else 0


async def test_kill_9_while_keys_rotate_loses_nothing_acknowledged(tmp_path: Path) -> None:
    keys = LastingKeys()
    own = await ground(tmp_path, keys)
    await own.close()
    chance = random.Random(20261121)
    day = 0
    for _ in range(5):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path), str(day), str(day + 30)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert child.stdout is not None
        wanted = day + chance.randint(1, 3)
        while day < wanted:
            day = max(day, said(child.stdout.readline()))
        await asyncio.sleep(chance.random() / 10)
        child.send_signal(signal.SIGKILL)
        day = max([day, *map(said, child.stdout.read().splitlines())])
        child.wait()
    again = await ground(tmp_path, keys, fresh=False)
    work = again.resealing(keys)
    await finish(work)
    assert await work.remaining() == 0
    assert {len(found) for found in key_versions(again.engine).values()} == {1}
    again.readable()
    for number in range(METERS):
        found = again.mdms.registers(point(number), MAIN, FIRST, FIRST + day * DAY)
        assert found.register.tolist() == [register(number, at) for at in found.end_at.tolist()]
        assert len(found.end_at) == 24 * day
    with read(again.engine) as connection:
        newest = again.rings[MEASUREMENTS].version
        stored = connection.execute(sa.select(segments.c[VERSION])).scalars().all()
        assert set(stored) <= {newest}
    await again.close()
