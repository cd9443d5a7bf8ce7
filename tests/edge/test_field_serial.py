"""A concentrator on a serial pair with a meter that nobody here wrote, of the package `dlt645`: back-fill, and requests."""

from __future__ import annotations

import asyncio
import os
import select
import time
import tty
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from unittest.mock import patch

import pytest
from dlt645 import Demand, MeterServerService
from serial import PosixPollSerial

from meterseal.edge.concentrator import Concentrator, MeterAt
from meterseal.edge.gateway import Address, Backoff, Gateway
from meterseal.edge.held import HEAD, HELD
from meterseal.edge.inquiry import Inquiry
from meterseal.edge.marks import SEEN, Mark, Marks
from meterseal.edge.metering.clock import local, settlement
from meterseal.edge.nv import MemoryNv, SealedNv
from meterseal.edge.place import Place
from meterseal.edge.poll import Pace
from meterseal.edge.schedule import DAY, Schedule
from meterseal.wire.codec import Reader
from meterseal.wire.meaning import interpret
from tests.edge.field import CONCENTRATOR, TIMING
from tests.edge.platform import STORAGE, Platform

DEVICE = bytes.fromhex("d700003100000004")
BEGAN = 1_791_735_600_000  # 2026-10-12 00:20 +08
LAST = {back: settlement(BEGAN, 1, 480, back) for back in range(3)}
SET = {1: 1_234.56, 2: 1_100.25, 3: 987.01}
"""The package's registers of the last three settlement days, in kWh."""


class Pair:
    """Two serial ports joined by a line; on the way back to `near` there is `noise` around whatever comes."""

    def __init__(self, noise: bytes) -> None:
        self._noise = noise
        self._near, self._far = os.openpty(), os.openpty()
        for end in (*self._near, *self._far):
            tty.setraw(end)
        self.near, self.far = os.ttyname(self._near[1]), os.ttyname(self._far[1])
        loop = asyncio.get_running_loop()
        loop.add_reader(self._near[0], lambda: os.write(self._far[0], os.read(self._near[0], 512)))
        loop.add_reader(self._far[0], self._back)

    def _back(self) -> None:
        os.write(self._near[0], self._noise + os.read(self._far[0], 512))

    def close(self) -> None:
        for end in (self._near[0], self._far[0]):
            asyncio.get_running_loop().remove_reader(end)
        for end in (*self._near, *self._far):
            os.close(end)


class ManyFiles(PosixPollSerial):
    """The package's port where more files are open than select takes: a long run of tests has more than 1,024."""

    def read(self, size: int = 1) -> bytes:
        """The library's own fails where nothing comes in time, and the server ends at that."""
        news = select.poll()
        news.register(self.fd, select.POLLIN)
        return os.read(self.fd, size) if news.poll(100) else b""

    def write(self, data: bytes) -> int:
        return os.write(self.fd, data)


class Work:
    """A gateway, without a head-end, on one end of the pair, and the package's server on the other."""

    def __init__(self, noise: bytes = b"") -> None:
        self.pair, begin = Pair(noise), time.monotonic()
        self.server = MeterServerService.new_rtu_server(self.pair.far, 8, 1, 9600, "N", 5.0)
        self.server.set_address(DEVICE[:1:-1].hex())
        with patch("serial.Serial", ManyFiles):
            assert self.server.start()
        self.store = SealedNv(MemoryNv(), STORAGE, b"held")
        name, page = Marks(self.store, ()).page(DEVICE, Mark(read_at=BEGAN - 60 * DAY))
        self.store.write({name: page})
        chip, _ = Platform().module(CONCENTRATOR, b"concentr", 2, MemoryNv())
        self.gateway = Gateway(
            lambda send: Concentrator(
                device_id=CONCENTRATOR,
                chip=chip,
                store=self.store,
                risers=[[MeterAt(device_id=DEVICE, plain=True)]],
                pace=Pace(answer=1_000),
                timing=TIMING,
                jitter=lambda: 0.5,
                send=send,
                schedule=Schedule(every_minutes=15),
            ),
            buses=[Place(f"serial:{self.pair.near}:9600:N")],
            headend=Address("127.0.0.1", 1),
            tls=None,
            backoff=Backoff(),
            clock=lambda: BEGAN + int((time.monotonic() - begin) * 1_000),
            jitter=lambda: 0.5,
        )
        self.gateway.concentrator.clock.told(BEGAN, BEGAN)

    async def while_running(self, there: Callable[[], Awaitable[bool]]) -> None:
        running = asyncio.create_task(self.gateway.run())
        try:
            async with asyncio.timeout(20):
                while not await there():
                    await asyncio.sleep(0.05)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            self.server.stop()
            self.pair.close()


@pytest.mark.parametrize("noise", [b"", b"\x00\xff\x68\xfe"])
async def test_settlement_days_of_a_meter_that_nobody_here_wrote_are_read_back_over_a_serial_line(
    noise: bytes,
) -> None:
    work = Work(noise)
    server, store = work.server, work.store
    at = local(BEGAN, 480)
    assert server.set_04(0x04000101, at.strftime("%y%m%d") + "01")
    assert server.set_04(0x04000102, at.strftime("%H%M%S"))
    assert server.set_04(0x04000B01, "0100")
    for back, register in SET.items():
        assert server.set_00(0x00010000 + back, register)

    async def missing() -> bool:
        return bool(work.gateway.status()["missing"])

    await work.while_running(missing)
    assert work.gateway.status()["to_read_back"] == 0
    reader = Reader("dlt645")
    for name in store.names():
        if name.startswith(HELD):
            reader.feed((store.read(name) or b"")[HEAD:])
    found: dict[int, int | None] = {}
    while (frame := reader.next_frame()) is not None:
        block = interpret(frame).interval
        if block is not None:
            found |= {block.start_at + k * block.step: value for k, value in enumerate(block.registers)}
    given = {moment: value for moment, value in found.items() if value is not None and moment < BEGAN}
    assert given == {LAST[back - 1]: round(SET[back] * 100) for back in (1, 2)}
    assert list(found.values()).count(None) == 58 == work.gateway.status()["missing"]
    assert [name for name in store.names() if name.startswith(SEEN)]


async def test_demands_and_events_of_a_meter_that_nobody_here_wrote_are_read_on_request() -> None:
    work = Work()
    assert work.server.set_01(0x01010000, Demand(1.5, datetime(2024, 5, 12, 13, 45)))
    assert work.server.set_03(0x03110001, ["240511220131", "240511230000"])
    said: dict[str, Any] = {}

    async def asked() -> bool:
        inquiry = Inquiry(work.gateway)
        if not work.gateway.status()["buses"]:
            return False
        for what in ("demand", "events", "02010100"):
            said[what] = await inquiry.ask({"ask": "read", "device_id": DEVICE.hex(), "what": what})
        return True

    await work.while_running(asked)
    demand = said["demand"]["answers"][0]["readings"]
    assert demand["forward_active_maximum_demand"] == {
        "register": 15_000,
        "exponent": -4,
        "unit": "kW",
        "text": None,
    }
    assert demand["forward_active_maximum_demand_time"]["text"] == "2024-05-12T13:45"
    events = {one["di"]: one["readings"] for one in said["events"]["answers"]}
    assert events["03110001"]["power_failure_1_start"]["text"] == "2024-05-11T22:01:31"
    assert said["02010100"]["answers"][0]["readings"]["voltage_a"]["unit"] == "V"
    assert len(work.gateway.concentrator.outbox) <= 1  # what is read on request goes nowhere else
