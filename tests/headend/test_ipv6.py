"""IPv6 hosts, over real sockets of ::1: everywhere a head-end listens, and in brackets wherever a place is written."""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest

from meterseal.app.transports import Coap, Push, Transports, Udp, settled
from meterseal.edge.direct import CoapWay, UdpWay
from meterseal.edge.place import Place
from meterseal.errors import LocalError
from meterseal.headend.coap import CoapListener
from meterseal.headend.link import Link
from meterseal.headend.mqtt import Broker, checked
from meterseal.headend.push import PushListener
from meterseal.headend.tcp import Listener
from meterseal.headend.udp import UdpListener
from meterseal.hostport import parted, written
from meterseal.link.transport import frame_message
from tests.headend.test_push import CARRIER, TOKEN, body


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


real = pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")


class Taken:
    def __init__(self) -> None:
        self.all: list[tuple[Link, bytes]] = []
        self.came = asyncio.Event()

    def __call__(self, link: Link, claimed: bytes, message: bytes, *, proven: bool, way: str) -> None:
        self.all.append((link, message))
        link.send(b"", b"answer")
        self.came.set()


def free(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET6, kind) as probe:
        probe.bind(("::1", 0))
        return int(probe.getsockname()[1])


@real
async def test_a_datagram_over_ipv6() -> None:
    taken = Taken()
    listener = UdpListener(taken, "::1", 0)
    place = parted(await listener.start())
    assert place is not None
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    way = UdpWay(*place)
    running = asyncio.create_task(way.run(heard.put_nowait))
    try:
        async with asyncio.timeout(5):
            while heard.empty():
                way.send(b"hello")
                await asyncio.sleep(0.02)
        assert heard.get_nowait() == b"answer"
        assert taken.all[0][0].source == "::1"
    finally:
        running.cancel()
        await listener.stop()


@real
async def test_coap_over_ipv6() -> None:
    taken = Taken()
    port = free(socket.SOCK_DGRAM)
    listener = CoapListener(taken, "::1", port)
    assert await listener.start() == f"coap://[::1]:{port}/ms"
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    way = CoapWay("::1", port, every=0.5)
    way.send(b"hello")
    running = asyncio.create_task(way.run(heard.put_nowait))
    try:
        async with asyncio.timeout(10):
            assert await heard.get() == b"answer"
        assert (taken.all[0][0].source, taken.all[0][1]) == ("::1", b"hello")
    finally:
        running.cancel()
        await listener.stop()


@real
async def test_a_carrier_pushes_over_ipv6() -> None:
    taken = Taken()
    listener = PushListener(taken, "::1", free(socket.SOCK_STREAM), (CARRIER,))
    url = await listener.start()
    assert url.startswith("http://[::1]:")
    try:
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"{url}/push/alpha", content=body(), headers={"authorization": TOKEN})
        assert answer.status_code == 200
        assert taken.all[0][1] == b"a message"
    finally:
        await listener.stop()


@real
async def test_a_stream_over_ipv6_and_its_busy_port() -> None:
    taken: list[bytes] = []
    listener = Listener(lambda link, claimed, message: taken.append(message), tls=None)
    port = await listener.start("::1", 0)
    _, writer = await asyncio.open_connection("::1", port)
    writer.write(frame_message(b"hello"))
    async with asyncio.timeout(5):
        while not taken:
            await asyncio.sleep(0.01)
    assert taken == [b"hello"]
    assert {link.source for link in listener.links} == {"::1"}
    writer.close()
    await listener.stop()


@real
def test_ports_are_chosen_on_an_ipv6_host() -> None:
    chosen = settled(Transports(udp=Udp(), coap=Coap(port=0), push=Push(carrier=(CARRIER,))), "::1")
    assert chosen.udp is not None
    assert chosen.push is not None
    assert chosen.udp.port > 0 < chosen.push.port


@real
async def test_a_bus_behind_a_serial_server_over_ipv6() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(10))

    server = await asyncio.start_server(echo, "::1", 0)
    port = server.sockets[0].getsockname()[1]
    made: list[asyncio.Transport] = []
    heard = asyncio.get_running_loop().create_future()

    class Bus(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            made.append(transport)
            transport.write(b"68")

        def data_received(self, data: bytes) -> None:
            heard.set_result(data)

    await Place(f"tcp:[::1]:{port}").connect(Bus)
    async with asyncio.timeout(5):
        assert await heard == b"68"
    made[0].close()
    server.close()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("127.0.0.1:7687", ("127.0.0.1", 7687)),
        ("headend.example:1", ("headend.example", 1)),
        ("[::1]:7687", ("::1", 7687)),
        ("[fe80::1%eth0]:65535", ("fe80::1%eth0", 65535)),
        ("::1:7687", None),
        ("[::1]", None),
        ("[::1]:", None),
        ("[::1]:65536", None),
        ("[host]:1", None),
        ("host", None),
        (":1", None),
        ("a b:1", None),
        ("user@host:1", None),
        ("host:1\n", None),
        ("host:٣", None),
    ],
)
def test_a_place_is_read_as_it_is_written(text: str, found: tuple[str, int] | None) -> None:
    assert parted(text) == found
    if found is not None:
        assert written(*found) == text


def test_a_broker_and_a_line_on_ipv6_are_written_in_brackets() -> None:
    assert checked(Broker(url="mqtts://[2001:db8::1]:8883")).address == "[2001:db8::1]:8883"
    for said in ("tcp:::1:7000", "tcp:[::1]", "tcp:[::1]:99999"):
        with pytest.raises(LocalError):
            Place(said)
    assert Place("tcp::7000").baud == Place("tcp:[::1]:7000").baud == 0
