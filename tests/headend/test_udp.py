"""The UDP socket: garbage, sizes, very many addresses, a pause, a busy port."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from meterseal.errors import EngineError
from meterseal.headend.link import Link
from meterseal.headend.udp import UdpListener
from meterseal.link.messages import LONGEST


class Taken:
    def __init__(self) -> None:
        self.all: list[tuple[Link, bytes, bytes, bool]] = []

    def __call__(self, link: Link, claimed: bytes, message: bytes, *, proven: bool, way: str) -> None:
        self.all.append((link, claimed, message, proven))

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.all) < count:
                await asyncio.sleep(0.002)


@pytest.fixture
async def ground() -> Any:
    taken = Taken()
    listener = UdpListener(taken, "127.0.0.1", 0)
    host, _, port = (await listener.start()).rpartition(":")
    try:
        yield taken, listener, (host, int(port))
    finally:
        await listener.stop()


def client() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    made.settimeout(5)
    return made


async def test_a_datagram_is_a_message_that_proves_no_address(ground: Any) -> None:
    taken, _, place = ground
    with client() as one:
        one.sendto(b"hello", place)
        await taken.until(1)
        link, claimed, message, proven = taken.all[0]
        assert (claimed, message, proven, link.concentrator_id) == (b"", b"hello", False, b"")
        assert link.source == "127.0.0.1"
        link.send(b"", b"answer")
        assert await asyncio.to_thread(one.recv, 100) == b"answer"


async def test_the_same_address_is_the_same_way_and_another_port_another(ground: Any) -> None:
    taken, _, place = ground
    with client() as one, client() as other:
        for sender in (one, one, other):
            sender.sendto(b"m", place)
            await taken.until(len(taken.all) + (sender is one and len(taken.all) == 0))
        await taken.until(3)
    links = [link for link, *_ in taken.all]
    assert links[0] is links[1]
    assert links[2] is not links[0]


async def test_empty_and_oversized_datagrams_go_no_further(ground: Any) -> None:
    taken, listener, place = ground
    with client() as one:
        for size in (0, LONGEST + 1, 60_000, LONGEST):
            one.sendto(bytes(size), place)
        await taken.until(1)
    assert [len(message) for _, _, message, _ in taken.all] == [LONGEST]
    assert listener.dropped == 3


async def test_a_pause_drops_and_ends(ground: Any) -> None:
    taken, listener, place = ground
    with client() as one:
        listener.pause(True)
        one.sendto(b"lost", place)
        async with asyncio.timeout(5):
            while not listener.dropped:
                await asyncio.sleep(0.002)
        listener.pause(False)
        one.sendto(b"taken", place)
        await taken.until(1)
    assert [message for _, _, message, _ in taken.all] == [b"taken"]


async def test_very_many_addresses_are_not_all_remembered(
    ground: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, listener, _ = ground
    listener._links._most = 100
    for number in range(5_000):
        listener.datagram_received(b"m", ("198.51.100.7", number))
    assert len(listener._links) == 100
    listener.datagram_received(b"m", ("198.51.100.7", 4_999))
    assert taken.all[-1][0] is taken.all[-2][0]  # the newest are those that stay


async def test_a_busy_port_is_said(ground: Any) -> None:
    _, _, (host, port) = ground
    with pytest.raises(EngineError, match=f"UDP {host}:{port}") as error:
        await UdpListener(Taken(), host, port).start()
    assert error.value.code == "headend.port"


async def test_an_answer_after_the_end_goes_nowhere(ground: Any) -> None:
    taken, listener, place = ground
    with client() as one:
        one.sendto(b"m", place)
        await taken.until(1)
        await listener.stop()
        taken.all[0][0].send(b"", b"late")
        one.settimeout(0.1)
        with pytest.raises(TimeoutError):
            one.recv(10)
