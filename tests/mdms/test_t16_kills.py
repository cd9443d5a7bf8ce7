"""T16: two hundred kills -9 at random moments of a process under load, starts, compactions and merges among them: what was
answered is there, and nothing is there twice. Every process sends again what it heard no answer to, as meters do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from meterseal.mdms.bulk import Bulk
from meterseal.mdms.reading import Limits
from meterseal.mdms.service import Mdms
from meterseal.model import MAIN, Batch, Opened, Series
from tests.control_store import control_at
from tests.mdms.fleet import FIRST, HOUR, UNITS, device, install, medium, open_store, point, register

KILLS = 200
METERS, DAYS, MONTHS = 5, 400, 60
CLIENTS = 6
RECORDS = METERS * DAYS * 4
"""Work is numbered: a record of six hours each, then a month before them as columns each."""
WORK = RECORDS + METERS * MONTHS
LIMITS = Limits(recent_rows=400, idle_seconds=0.01, gather_seconds=0.0)


def record(number: int) -> Opened:
    part, meter = divmod(number, METERS)
    start = FIRST + (1 + 6 * part) * HOUR
    return Opened(
        session_id=bytes(7) + bytes([meter]),
        counter=part + 1,
        device_id=device(meter),
        module_id=bytes(8),
        suite=1,
        origin="sealed",
        received_at=start + 6 * HOUR,
        digest=number.to_bytes(32),
        series=(
            Series(
                device_id=device(meter),
                channel=MAIN,
                unit=UNITS[medium(meter)],
                exponent=-2,
                start_at=start,
                step=HOUR,
                registers=tuple(register(meter, start + hour * HOUR) for hour in range(6)),
            ),
        ),
    )


def month(number: int) -> Bulk:
    before, meter = divmod(number - RECORDS, METERS)
    end_at = FIRST - 720 * HOUR * (before + 1) + HOUR * np.arange(1, 721)
    return Bulk(
        medium(meter), "sealed", True, FIRST, (point(meter),), (UNITS[medium(meter)],),
        np.zeros(720, np.int64), np.full(720, MAIN), end_at,
        np.array([register(meter, at) for at in end_at.tolist()]),
        np.full(720, -2), np.zeros(720, np.int64), np.zeros(720, np.bool_),
    )  # fmt: skip


def instants(number: int) -> tuple[int, list[int]]:
    """The meter and the times of a piece of work."""
    if number >= RECORDS:
        return (number - RECORDS) % METERS, month(number).end_at.tolist()
    (series,) = record(number).series
    return number % METERS, [series.start_at + hour * HOUR for hour in range(6)]


async def do(mdms: Mdms, number: int) -> None:
    if number < RECORDS:
        await mdms.publish(Batch((record(number),)))
    else:
        await mdms.append(month(number))


async def life(root: Path, todo: list[int], say: int) -> None:
    """One process until it is killed: several clients, one number on the pipe for each answer."""
    mdms, _ = open_store(root, limits=LIMITS)
    mdms.start()
    work = iter(todo)

    async def client() -> None:
        for number in work:
            await do(mdms, number)
            os.write(say, number.to_bytes(4))

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    await asyncio.sleep(60)


def killed(root: Path, todo: list[int], dice: random.Random) -> Iterator[int]:
    """Run one life, kill it at a random moment, and give the numbers that were answered."""
    hear, say = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.close(hear)
            asyncio.run(life(root, todo, say))
        os._exit(1)
    os.close(say)
    if dice.random() < 0.6:  # under load; else maybe while it starts
        select.select([hear], [], [], 60)
    time.sleep(dice.random() * 0.25)
    os.kill(child, signal.SIGKILL)
    with os.fdopen(hear, "rb") as pipe:
        heard = pipe.read()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    yield from (int.from_bytes(heard[at : at + 4]) for at in range(0, len(heard), 4))


def check(root: Path, answered: set[int]) -> None:
    """Every answered reading is there, as it was sent, and none of all is there twice."""
    mdms, engine = open_store(root)
    wanted: dict[int, list[int]] = {meter: [] for meter in range(METERS)}
    for number in answered:
        meter, times = instants(number)
        wanted[meter] += times
        if number < RECORDS:
            sent = record(number)
            assert sent.counter in mdms._consumed.of(sent.session_id)
    stored = 0
    for meter, times in wanted.items():
        assert len(times) == len(set(times))
        shown = mdms.registers(point(meter), MAIN, 0, 1 << 45)
        found = dict(zip(shown.end_at.tolist(), shown.register.tolist(), strict=True))
        assert all(found.get(at) == register(meter, at) for at in times)
        assert all(value == register(meter, at) for at, value in found.items())
        key = mdms._store.key(point(meter), MAIN, 0, 1 << 45)
        rows = mdms._store.rows(key, 0, 1 << 45) if key is not None else []
        assert len(rows) == len(found)  # not even as a second version
        stored += len(rows)
    counts = mdms.counts()
    assert (counts.readings, counts.conflicts) == (stored, 0)
    assert all(line.balanced for line in mdms.reconciled())
    asyncio.run(mdms.close())
    engine.dispose()


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_t16_two_hundred_kills_under_load_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    dice = random.Random(16)
    engine = control_at(tmp_path / "control.db")
    install(engine, METERS)
    engine.dispose()
    order = list(range(WORK))
    # Records in the order of their meters' counters, the months of years ago in between.
    order.sort(key=lambda number: dice.random() * RECORDS if number >= RECORDS else number)
    answered: set[int] = set()
    alive = 0
    for kill in range(KILLS):
        todo = [number for number in order if number not in answered]
        heard = list(killed(tmp_path, todo, dice))
        assert answered.isdisjoint(heard)
        answered.update(heard)
        alive += bool(heard)
        if kill % 20 == 19:
            check(tmp_path, answered)
    assert alive > KILLS // 3
    assert len(answered) > 10 * KILLS
    assert any(number >= RECORDS for number in answered)
    check(tmp_path, answered)
