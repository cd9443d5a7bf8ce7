"""A concentrator's own module over each further door of the head-end: what it found (E003), that a meter kept silent (E006)
and what a meter raised the alarm about (E007) come up through real sockets, and words for plain meters go down.

Sealed meters behind it are no part of this: a door without a connection of the concentrator's has no envelopes.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from meterseal.app import operator
from meterseal.app.commanding import ReadMeter
from meterseal.edge.concentrator import MeterAt
from meterseal.edge.direct import CoapWay, Hear, MqttWay, UdpWay, Way
from meterseal.edge.passing import PATIENCE
from meterseal.headend.coap import CoapListener
from meterseal.headend.httpdoor import Ask, Body, HttpDoor
from meterseal.headend.link import Listener
from meterseal.headend.mqtt import Broker, MqttListener
from meterseal.headend.push import Carrier, PushListener
from meterseal.headend.udp import UdpListener
from meterseal.things.words import Outcome
from meterseal.wire import encode
from meterseal.wire import identifiers as ids
from meterseal.wire.frame import parse_frame
from tests.patience import Patience
from tests.scenarios.small_system import HOUR, MASTER
from tests.scenarios.test_ways import BASE, Running, Wall, free_port, mosquitto
from tests.scenarios.test_words_to_plain_meters import GAS, PLAIN, POWER, WATER, Riser, told
from tests.security.conftest import cheap_stretching

__all__ = ["cheap_stretching"]

STRANGER = bytes.fromhex("1078330099001122")
HOME = "127.0.0.1"


class Far(Riser):
    """The riser of plain meters whose concentrator has no connection, and speaks over a way of single messages."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._wall = Wall(self)
        self._works: list[asyncio.Task[None]] = []

    def connect(self) -> None:
        """Nobody is connected."""

    def behind(self) -> list[MeterAt]:
        return [MeterAt(device_id=one, plain=True) for one in PLAIN]

    def begin(self, way: Way) -> None:
        self._works = [asyncio.create_task(one) for one in (way.run(self.hear), self._carry(way))]

    def hear(self, message: bytes) -> None:
        self.concentrator.receive(MASTER, message, self._wall())

    async def _carry(self, way: Way) -> None:
        (riser,) = self.concentrator.risers
        while True:
            now = self._wall()
            self.concentrator.tick(now)
            request = riser.request(now)
            if request is not None and not riser.answer(self.bus.answer(parse_frame(request)[0], now), now):
                riser.timeout(now)
            self.concentrator.speak(now)
            while self.up:
                way.send(self.up.popleft().message)
            await asyncio.sleep(0.01)

    async def by(self, condition: Any, what: str) -> None:
        patience = Patience(60)
        while not await condition():
            for work in self._works:
                assert not work.done() or work.result() is None
            assert not patience.over(), f"It never came to {what}: {await told(self)}"
            await asyncio.sleep(0.05)

    async def rest(self) -> None:
        works, self._works = self._works, []
        for work in works:
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work

    async def everything_is_told(self, listener: Listener, way: Way) -> None:
        """The three reports up, and a question and a command down, whoever had the first word."""
        try:
            await listener.start()
            self.begin(way)

            async def opened() -> bool:
                return self.concentrator.agent.phase == "open"

            await self.by(opened, "a session")
            self.concentrator.strangers.tell(0, [STRANGER], self.clock.now, utc_offset_minutes=480)
            alarm = encode.alarm_report(POWER, b"\x00\x20", self.clock.now)
            assert self.concentrator.outbox.hold([alarm], self.clock.now, beside={})

            async def written() -> bool:
                return set(await told(self)) == {(STRANGER, "meter.unknown"), (POWER, "meter.removed")}

            await self.by(written, "an entry of the stranger and one of the alarm")

            self.silent = {WATER}
            self.lay()
            word = await self.tell(WATER, "valve-close")

            async def under_way() -> bool:
                return (await self.outcome(word)).state == "sent" and bool(self.concentrator.passing._asked)

            await self.by(under_way, "the command at the concentrator")
            self.clock.now += PATIENCE

            async def unknown() -> bool:
                return (await self.outcome(word)).state == "unknown"

            await self.by(unknown, "the word that the meter kept silent")
            frame = encode.read_request(GAS, ids.METERING, 7).encode()
            asked = ReadMeter(device_id=MASTER, frame=frame, not_after=self.clock.now + HOUR)
            read = await self.desk.call("read_meter", asked, Outcome)

            async def answered() -> bool:
                return (await self.outcome(read)).state == "done"

            await self.by(answered, "an answer to the question")
        finally:
            await self.rest()
            await listener.stop()
        shown = await self.desk.call("readings", operator.BillQuery(device_id=GAS), operator.Text)
        assert msgspec.json.decode(shown.json)["register"]
        await self.centre.parts.mdms.settle()
        assert self.centre.parts.mdms.quarantine() == []


@pytest.fixture
async def far(tmp_path: Path, cheap_stretching: None) -> AsyncIterator[Far]:
    made = Far(tmp_path)
    await made.start()
    yield made
    await made.centre.stop()


async def test_a_concentrator_tells_all_of_it_over_udp(far: Far) -> None:
    listener = UdpListener(far.centre.uplinks[0].receive, HOME, port := free_port(socket.SOCK_DGRAM))
    await far.everything_is_told(listener, UdpWay(HOME, port))


async def test_a_concentrator_tells_all_of_it_over_coap(far: Far) -> None:
    listener = CoapListener(far.centre.uplinks[0].receive, HOME, port := free_port(socket.SOCK_DGRAM))
    await far.everything_is_told(listener, CoapWay(HOME, port, every=0.2))


async def test_a_concentrator_tells_all_of_it_over_a_broker(far: Far, tmp_path: Path) -> None:
    port = free_port()
    running = Running(mosquitto(tmp_path, port), port)
    running.start()
    try:
        listener = MqttListener(far.centre.uplinks[0].receive, Broker(url=f"mqtt://{HOME}:{port}"))
        await far.everything_is_told(listener, MqttWay(HOME, port, f"{BASE}/concentrator", MASTER))
    finally:
        running.stop()


class Carried:
    """A carrier's platform of one device: it pushes what that sends, and is posted what goes down."""

    def __init__(self, url: str, token: str) -> None:
        self._url, self._headers = url, {"authorization": token}
        self._up: asyncio.Queue[bytes] = asyncio.Queue()
        self._door = HttpDoor(self._down)
        self.port = free_port()

    def send(self, message: bytes) -> None:
        self._up.put_nowait(message)

    async def run(self, hear: Hear) -> None:
        self._hear = hear
        await self._door.start(HOME, self.port)
        try:
            async with httpx.AsyncClient() as client:
                while True:
                    said = {"IMEI": "866", "data": base64.b64encode(await self._up.get()).decode()}
                    with contextlib.suppress(
                        httpx.TransportError
                    ):  # its answer is lost; the device sends again
                        answer = await client.post(self._url, json=said, headers=self._headers)
                        assert answer.status_code == 200, answer.text
        finally:
            await self._door.stop()

    async def _down(self, asked: Ask, read: Body) -> int:
        body = msgspec.json.decode(await read(64 * 1024) or b"")
        assert body["device"] == "866"
        self._hear(base64.b64decode(body["payload"]))
        return 200


async def test_a_concentrator_tells_all_of_it_over_a_carriers_pushes(far: Far) -> None:
    port, token = free_port(), "the token of a carrier"
    way = Carried(f"http://{HOME}:{port}/push/carrier", token)
    carrier = Carrier(
        name="carrier", token=token, device="IMEI", payload="data", down_url=f"http://{HOME}:{way.port}/down"
    )
    await far.everything_is_told(PushListener(far.centre.uplinks[0].receive, HOME, port, (carrier,)), way)
