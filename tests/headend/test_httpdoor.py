"""The HTTP under the door of carriers: who opens many connections, drips or says nothing pushes out but himself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from meterseal.errors import EngineError
from meterseal.headend import httpdoor
from meterseal.headend.httpdoor import Ask, Body, HttpDoor, network_of
from tests.headend.test_push import free

GOOD = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"


class Ground:
    def __init__(self) -> None:
        self.asked: list[tuple[Ask, bytes | None]] = []
        self.door = HttpDoor(self.answer)
        self.port = free()

    async def answer(self, asked: Ask, body: Body) -> int:
        content = await body(10)
        self.asked.append((asked, content))
        return 200 if content is not None else 413

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def says(self, content: bytes) -> bytes:
        reader, writer = await self.open()
        writer.write(content)
        async with asyncio.timeout(5):
            line = await reader.readline()
        writer.close()
        return line


@pytest.fixture
async def ground() -> AsyncIterator[Ground]:
    made = Ground()
    await made.door.start("127.0.0.1", made.port)
    yield made
    await made.door.stop()


async def ended(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(5):
            return await reader.read(1) == b""
    except ConnectionResetError:
        return True


async def test_a_connection_serves_one_request_after_the_other(ground: Ground) -> None:
    reader, writer = await ground.open()
    for _ in range(3):
        writer.write(GOOD)
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(2) == b"{}"
        assert head.startswith(b"HTTP/1.1 200")
    writer.close()
    assert [content for _, content in ground.asked] == [b"abc"] * 3
    assert (ground.asked[0][0].method, ground.asked[0][0].path) == ("POST", "/a")


async def test_whoever_waits_to_be_told_to_go_on_is_told(ground: Ground) -> None:
    head = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    assert (await ground.says(head)).startswith(b"HTTP/1.1 100")


async def test_one_address_has_a_bounded_number_of_connections(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(httpdoor, "MOST_OF_ONE", 3)
    held = [await ground.open() for _ in range(3)]
    await asyncio.sleep(0.05)
    reader, _ = await ground.open()
    assert await ended(reader)
    assert ground.door.refused == 1
    held[0][1].write(GOOD)
    async with asyncio.timeout(5):
        assert (await held[0][0].readline()).startswith(b"HTTP/1.1 200")
    held[1][1].close()
    await asyncio.sleep(0.05)
    assert (await ground.says(GOOD)).startswith(b"HTTP/1.1 200")


async def test_over_the_bound_of_all_the_most_crowded_address_gives_way(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(httpdoor, "MOST", 3)
    sources = iter(["198.51.100.1", "203.0.113.7", "203.0.113.7", "198.51.100.2"])
    monkeypatch.setattr(httpdoor, "network_of", lambda _: next(sources))
    defects: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: defects.append(about))
    opened = []
    for _ in range(4):
        opened.append(await ground.open())
        await asyncio.sleep(0.05)
    assert await ended(opened[1][0])  # the older one of the two
    for number in (0, 2, 3):
        opened[number][1].write(GOOD)
        async with asyncio.timeout(5):
            assert (await opened[number][0].readline()).startswith(b"HTTP/1.1 200")
    assert defects == [], "whoever opens connections would fill the log with tracebacks"


@pytest.mark.parametrize("content", [b"", b"POST /a HTTP/1.1\r\nHos", b"POST /a HTTP/1.1\r\nHost: x\r\n"])
async def test_a_head_that_does_not_come_is_not_waited_for(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(httpdoor, "HEAD_WITHIN", 0.1)
    reader, writer = await ground.open()
    writer.write(content)
    assert await ended(reader)
    assert ground.asked == []


@pytest.mark.parametrize(
    "content",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"nonsense\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nPOST /b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        b"POST /a HTTP/1.1\r\n\r\n",
    ],
    ids=[
        "TLS",
        "nonsense",
        "a head without end",
        "two lengths",
        "a length and a coding",
        "two codings",
        "no host",
    ],
)
async def test_what_is_no_http_reaches_nobody(ground: Ground, content: bytes) -> None:
    line = await ground.says(content)
    assert line == b"" or line.split()[1] in (b"400", b"501", b"431")
    assert ground.asked == []


async def test_a_body_that_is_too_long_ends_the_connection(ground: Ground) -> None:
    reader, writer = await ground.open()
    writer.write(b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"4\r\naaaa\r\n" * 4)
    async with asyncio.timeout(5):
        assert (await reader.readline()).startswith(b"HTTP/1.1 413")
        await reader.read()
    assert [content for _, content in ground.asked] == [None]


async def test_a_busy_port_is_said(ground: Ground) -> None:
    with pytest.raises(EngineError) as refused:
        await HttpDoor(ground.answer).start("127.0.0.1", ground.port)
    assert refused.value.code == "headend.port"


def test_a_host_commands_a_whole_network_of_ipv6() -> None:
    assert network_of("2001:db8:1:2::1") == network_of("2001:db8:1:2:ffff::9") == "2001:db8:1:2::"
    assert network_of("2001:db8:1:3::1") != network_of("2001:db8:1:2::1")
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1") == "192.0.2.1"
    assert network_of("fe80::1%eth0") == "fe80::"
