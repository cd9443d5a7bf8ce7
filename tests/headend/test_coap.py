"""The CoAP socket, asked by the library's own client and by hand: blocks, sizes, what waits, floods, a pause."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from meterseal.errors import EngineError
from meterseal.headend import coap
from meterseal.headend.coap import ASSEMBLED, RATE, WAITING_DOWN, CoapListener, Polled
from meterseal.headend.limits import Buckets
from meterseal.headend.link import Link
from meterseal.link.messages import LONGEST
from meterseal.link.transport import MessageReader, frame_message


class Taken:
    """Takes messages; `echo` answers each with itself."""

    def __init__(self) -> None:
        self.all: list[tuple[Link, bytes, bool]] = []
        self.echo = True

    def __call__(self, link: Link, claimed: bytes, message: bytes, *, proven: bool, way: str) -> None:
        assert claimed == b""
        self.all.append((link, message, proven))
        if self.echo:
            link.send(b"", message)


def free() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Ground:
    def __init__(self, taken: Taken, listener: CoapListener, port: int, client: Any) -> None:
        self.taken, self.listener, self.port, self.client = taken, listener, port, client

    async def post(self, payload: bytes, path: str = "ms") -> Any:
        from aiocoap import POST, Message

        uri = f"coap://127.0.0.1:{self.port}/{path}"
        return await self.client.request(Message(code=POST, uri=uri, payload=payload)).response


@pytest.fixture
async def ground(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ground]:
    from aiocoap import Context

    monkeypatch.setattr(coap, "ANSWER_WITHIN", 0.3)
    taken, port = Taken(), free()
    listener = CoapListener(taken, "127.0.0.1", port)
    await listener.start()
    client = await Context.create_client_context(transports=["udp6"])
    try:
        yield Ground(taken, listener, port, client)
    finally:
        await client.shutdown()
        await listener.stop()


@pytest.mark.parametrize("size", [1, 500, 1024, 1025, LONGEST])
async def test_a_message_of_any_size_travels_both_ways_in_blocks(ground: Ground, size: int) -> None:
    message = bytes(number % 251 for number in range(size))
    answer = await ground.post(message)
    assert str(answer.code) == "2.04 Changed"
    assert MessageReader().feed(answer.payload) == [message]
    assert [(one, proven) for _, one, proven in ground.taken.all] == [(message, False)]


async def test_a_longer_one_is_refused_while_it_comes(ground: Ground) -> None:
    answer = await ground.post(bytes(LONGEST + 1))
    assert str(answer.code).startswith("4.13")
    assert not ground.taken.all


async def test_what_goes_down_later_waits_for_the_next_post_in_order(ground: Ground) -> None:
    ground.taken.echo = False
    assert (await ground.post(b"first")).payload == b""
    link = ground.taken.all[0][0]
    for number in range(3):
        link.send(b"", bytes((number + 1,)))
    answer = await ground.post(b"")
    assert answer.payload == b"".join(frame_message(bytes((number + 1,))) for number in range(3))
    assert len(ground.taken.all) == 1  # an empty question says nothing
    assert (await ground.post(b"")).payload == b""


async def test_what_waits_is_bounded_and_an_answer_too(ground: Ground) -> None:
    link = Polled("198.51.100.7")
    for number in range(2 * WAITING_DOWN):
        link.send(b"", bytes((number,)) * 1000)
    found: list[bytes] = []
    while one := await link.collect(0.01):
        assert len(one) <= LONGEST
        found += MessageReader().feed(one)
    assert [message[0] for message in found] == list(range(WAITING_DOWN, 2 * WAITING_DOWN))


async def test_another_path_is_not_found_and_a_get_not_allowed(ground: Ground) -> None:
    from aiocoap import GET, Message

    assert str((await ground.post(b"m", path="other")).code).startswith("4.04")
    request = Message(code=GET, uri=f"coap://127.0.0.1:{ground.port}/ms")
    assert str((await ground.client.request(request).response).code).startswith("4.05")
    assert not ground.taken.all


async def test_a_pause_answers_5_03_and_ends(ground: Ground) -> None:
    ground.listener.pause(True)
    assert str((await ground.post(b"m")).code).startswith("5.03")
    assert not ground.taken.all
    ground.listener.pause(False)
    assert str((await ground.post(b"m")).code).startswith("2.04")


def block(number: int, mid: int, *, size: int = 1024) -> bytes:
    """A confirmable POST to /ms with one block of a message that goes on, by hand (RFC 7252, RFC 7959)."""
    option = (number << 4) | 8 | (6 if size == 1024 else 0)
    length = 1 if option < 256 else 2
    head = bytes((0x41, 0x02)) + mid.to_bytes(2) + b"\x07"
    return (
        head
        + b"\xb2ms"
        + bytes((0xD0 | length, 27 - 11 - 13))
        + option.to_bytes(length)
        + b"\xff"
        + bytes(size)
    )


async def test_begun_messages_that_never_end_are_bounded(ground: Ground) -> None:
    sockets = []
    try:
        for number in range(ASSEMBLED + 50):
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sockets.append(one)
            one.sendto(block(0, number), ("127.0.0.1", ground.port))
            await asyncio.sleep(0.001)
        (resource,) = (
            one for path, one in ground.listener._context.serversite._resources.items() if path == ("ms",)
        )
        async with asyncio.timeout(5):
            while len(resource._block1._assemblies) < ASSEMBLED:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert len(resource._block1._assemblies) == ASSEMBLED
    finally:
        for one in sockets:
            one.close()
    assert not ground.taken.all


async def test_a_flood_is_dropped_before_the_library_remembers_it(ground: Ground) -> None:
    now = [0.0]
    ground.listener._clock = lambda: now[0]
    ground.listener._rate = Buckets(rate=RATE, burst=200, keys=1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        for number in range(2 * 200):
            one.sendto(block(0, number, size=16), ("127.0.0.1", ground.port))
            await asyncio.sleep(0)
        await asyncio.sleep(0.2)
    messages = ground.listener._context.request_interfaces[0].token_interface
    assert len(messages._recent_messages) == 200
    assert ground.listener.dropped > 0
    now[0] = 60.0
    assert str((await ground.post(b"m")).code).startswith("2.04")


async def test_garbage_changes_nothing(ground: Ground) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        for junk in (b"", b"\x00", b"\xff" * 40, b"\x40\x02", bytes(5000), b"\x4f\x02\x00\x01" + bytes(3)):
            one.sendto(junk, ("127.0.0.1", ground.port))
        await asyncio.sleep(0.1)
    assert str((await ground.post(b"m")).code).startswith("2.04")


async def test_a_busy_port_is_said_for_coap(ground: Ground) -> None:
    with pytest.raises(EngineError) as error:
        await CoapListener(Taken(), "127.0.0.1", ground.port).start()
    assert error.value.code == "headend.port"


async def test_a_question_under_somebody_elses_address_brings_him_one_answer(ground: Ground) -> None:
    ground.taken.echo = False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim:
        victim.bind(("127.0.0.1", 0))
        victim.setblocking(False)
        question = bytes((0x40, 0x02, 0x12, 0x34)) + b"\xb2ms" + b"\xffX"
        victim.sendto(question, ("127.0.0.1", ground.port))
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(5):
            found = [await loop.sock_recv(victim, 2000), await loop.sock_recv(victim, 2000)]
    assert [one[0] >> 4 & 3 for one in found] == [2, 1]  # an empty acknowledgement, and one that wants none
    messages = ground.listener._context.request_interfaces[0].token_interface
    assert not messages._active_exchanges  # nothing that would be sent again
    assert not messages._backlogs
