"""A concentrator's bus on a virtual serial pair: noise, silence, unknown meters, and who may ask the maintenance port."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from meterseal.edge.concentrator import Concentrator, MeterAt
from meterseal.edge.gateway import Address, Backoff, Gateway
from meterseal.edge.inquiry import Inquiry
from meterseal.edge.maintenance import LONGEST_LINE, MaintenancePort, ask
from meterseal.edge.nv import MemoryNv, SealedNv
from meterseal.edge.place import Place
from meterseal.edge.poll import Pace
from meterseal.edge.schedule import Schedule
from meterseal.errors import EngineError, LocalError
from tests.edge.buses import Pair, Wire
from tests.edge.field import CONCENTRATOR, TIMING
from tests.edge.platform import STORAGE, Platform

WATER, GAS, POWER = (
    bytes.fromhex(one) for one in ("1078330000000001", "3078330000000002", "d700003100000004")
)
SEALED = bytes.fromhex("1078330000000077")
NOISE = b"\x00\xff\x68\x68\xfe\x68\x10\x00"
SOON = 8.0


def now() -> int:
    return time.time_ns() // 1_000_000


async def until(there: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not there():
            await asyncio.sleep(0.02)


class Work:
    """A gateway on one pair, without a head-end."""

    def __init__(self, pair: Pair, known: list[bytes], *, schedule: Schedule | None = None) -> None:
        self.pair = pair
        store = MemoryNv()
        chip, _ = Platform().module(CONCENTRATOR, b"concentr", store=MemoryNv())
        self.gateway = Gateway(
            lambda send: Concentrator(
                device_id=CONCENTRATOR,
                chip=chip,
                store=SealedNv(store, STORAGE, b"held"),
                risers=[[MeterAt(device_id=one, plain=one != SEALED) for one in known]],
                pace=Pace(answer=60, plain=100, silent=300),
                timing=TIMING,
                jitter=lambda: 0.5,
                send=send,
                schedule=schedule,
            ),
            buses=[Place(pair.place)],
            headend=Address("127.0.0.1", 1),
            tls=None,
            backoff=Backoff(),
            clock=now,
            jitter=lambda: 0.5,
        )
        (self.riser,) = self.gateway.concentrator.risers

    def heard(self, device: bytes) -> int:
        return self.riser.lines[device].heard_at


@contextlib.asynccontextmanager
async def working(
    wire: Wire, known: list[bytes], bend: Callable[[bytes], bytes] = bytes, **more: Any
) -> AsyncIterator[Work]:
    pair = Pair(wire, now, bend)
    work = Work(pair, known, **more)
    running = asyncio.create_task(work.gateway.run())
    try:
        yield work
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        pair.close()


async def test_answers_are_found_in_noise_and_requests_go_with_their_wake_up_bytes() -> None:
    async with working(
        Wire([WATER, GAS, POWER]), [WATER, GAS, POWER], lambda raw: NOISE + raw + NOISE
    ) as work:
        await until(lambda: all(map(work.heard, (WATER, GAS, POWER))))
        assert len(work.gateway.concentrator.outbox) == 3
        assert work.pair.raw.startswith(b"\xfe\xfe\xfe\xfe\x68")


async def test_a_meter_that_goes_away_holds_nobody_up_and_is_heard_again() -> None:
    wire = Wire([WATER, GAS])
    wire.off.add(GAS)
    async with working(wire, [GAS, WATER]) as work:
        await until(lambda: work.heard(WATER) > 0 and work.riser.lines[GAS].failures >= 3)
        assert not work.heard(GAS)
        wire.off.clear()
        await until(lambda: work.heard(GAS) > 0)
        assert work.riser.lines[GAS].failures == 0


async def test_a_search_tells_of_a_meter_that_nobody_named() -> None:
    async with working(Wire([WATER]), [SEALED]) as work:
        work.gateway.concentrator.hunt.begin(0)
        hunt = work.gateway.concentrator.hunt
        await until(lambda: bool(hunt.last[0].ended_at))
        assert hunt.last[0].unknown == (WATER,)
        assert work.gateway.status()["unknown"] == 1


@contextlib.asynccontextmanager
async def port(work: Work, folder: Path, **more: Any) -> AsyncIterator[MaintenancePort]:
    opened = MaintenancePort(folder, Inquiry(work.gateway).ask, **more)
    await opened.start()
    try:
        yield opened
    finally:
        await opened.stop()


async def test_the_port_shows_and_reads_plain_meters_and_no_other(tmp_path: Path) -> None:
    async with working(Wire([WATER]), [WATER, SEALED]) as work, port(work, tmp_path) as opened:
        assert opened.path.stat().st_mode & 0o777 == 0o600
        await until(lambda: work.heard(WATER) > 0)
        said = await ask(tmp_path, {"ask": "status"})
        assert said["buses"] == 1
        rows = {row["device_id"]: row for row in await ask(tmp_path, {"ask": "meters"})}
        assert rows[WATER.hex()]["heard_at"] >= work.heard(WATER) - 10_000
        read = await ask(tmp_path, {"ask": "read", "device_id": WATER.hex()})
        assert read["readings"]["cumulative_volume"]["unit"] == "m3"
        asked = len(work.pair.wire.asked)
        for question, code in (
            ({"ask": "read", "device_id": SEALED.hex()}, "concentrator.sealed"),
            ({"ask": "read", "device_id": GAS.hex()}, "concentrator.unknown"),
            ({"ask": "valve", "device_id": WATER.hex()}, "concentrator.ask"),
            ({"ask": "status", "more": 1}, "concentrator.ask"),
            ({"ask": "search", "bus": 9}, "concentrator.unknown"),
            ({"ask": "backfill", "device_id": SEALED.hex(), "days": 3}, "concentrator.sealed"),
            ({"ask": "backfill", "device_id": WATER.hex(), "days": 3}, "concentrator.backfill"),
            ({"ask": "backfill", "device_id": WATER.hex(), "days": "3"}, "concentrator.ask"),
            ({"ask": "read", "device_id": WATER.hex(), "what": "demand"}, "concentrator.ask"),
            ({"ask": "read", "device_id": WATER.hex(), "what": "9A9A"}, "concentrator.silent"),
            ({}, "concentrator.ask"),
        ):
            with pytest.raises(LocalError) as error:
                await ask(tmp_path, question)
            assert error.value.code == code
        assert all(frame.control in (0x01, 0x11) for frame in work.pair.wire.asked[:asked])


async def test_who_is_neither_its_user_nor_root_gets_no_word(tmp_path: Path) -> None:
    async with working(Wire([]), [WATER]) as work:
        async with port(work, tmp_path, may=lambda uid: uid not in (os.geteuid(), 0)) as opened:
            with pytest.raises(EngineError) as error:
                await ask(tmp_path, {"ask": "status"})
            assert error.value.code == "concentrator.down"
            assert opened.refused == 1
        with pytest.raises(EngineError):
            await ask(tmp_path, {"ask": "status"})  # closed again


async def test_a_line_without_end_and_what_is_no_json_leave_the_port_alive(tmp_path: Path) -> None:
    async with working(Wire([]), [WATER]) as work, port(work, tmp_path, idle=0.2) as opened:
        for sent in (b"x" * (2 * LONGEST_LINE) + b"\n", b"\xff\xfe\n", b"[" * 3_000 + b"\n", b"1\n", b""):
            reader, writer = await asyncio.open_unix_connection(opened.path)
            writer.write(sent)
            line = await asyncio.wait_for(reader.read(LONGEST_LINE), SOON)
            assert not line or "error" in json.loads(line)
            writer.close()
        assert (await ask(tmp_path, {"ask": "status"}))["buses"] == 1
