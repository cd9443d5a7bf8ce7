"""The carriers' HTTP door, over real sockets: who is believed, what is refused, what goes down, and how much waits."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from msgspec import structs

from meterseal.errors import EngineError, LocalError
from meterseal.headend import push
from meterseal.headend.link import Link
from meterseal.headend.push import LONGEST_BODY, Carrier, PushListener, checked
from meterseal.link.messages import LONGEST

TOKEN = "Bearer a-token-of-a-test"  # of a test
CARRIER = Carrier(name="alpha", token=TOKEN, device="IMEI", payload="payload.APPdata")
HEX = Carrier(
    name="beta",
    token="another-token-of-a-test",
    header="x-token",
    device="msg.dev",
    payload="msg.value",
    encoding="hex",
)


class Taken:
    def __init__(self) -> None:
        self.all: list[tuple[Link, bytes, bool]] = []

    def __call__(self, link: Link, claimed: bytes, message: bytes, *, proven: bool, way: str) -> None:
        assert claimed == b""
        self.all.append((link, message, proven))


def free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Door:
    def __init__(self, down: str = "") -> None:
        self.taken = Taken()
        alpha = structs.replace(CARRIER, down_url=down, down_token="for the carrier") if down else CARRIER
        self.listener = PushListener(self.taken, "127.0.0.1", free(), (alpha, HEX))
        self.client = httpx.AsyncClient()

    async def open(self) -> None:
        self.client.base_url = httpx.URL(await self.listener.start())

    async def post(self, content: bytes, token: str | None = TOKEN, path: str = "/push/alpha") -> int:
        headers = {} if token is None else {"authorization": token}
        return (await self.client.post(path, content=content, headers=headers)).status_code

    async def close(self) -> None:
        await self.client.aclose()
        await self.listener.stop()


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    made = Door()
    await made.open()
    yield made
    await made.close()


def body(message: bytes = b"a message", device: Any = "866123045678901") -> bytes:
    return json.dumps({"IMEI": device, "payload": {"APPdata": base64.b64encode(message).decode()}}).encode()


async def test_a_push_is_a_message_that_proves_no_way(door: Door) -> None:
    assert await door.post(body()) == 200
    link, message, proven = door.taken.all[0]
    assert (message, proven, link.concentrator_id) == (b"a message", False, b"")
    assert await door.post(body(b"more")) == 200
    assert door.taken.all[1][0] is link
    assert await door.post(body(device=866123045678901)) == 200  # some carriers write it as a number


async def test_the_other_form_has_its_own_places_header_and_digits(door: Door) -> None:
    content = json.dumps({"msg": {"dev": "n-1", "value": b"\x01\x02".hex()}}).encode()
    answer = await door.client.post("/push/beta", content=content, headers={"x-token": HEX.token})
    assert answer.status_code == 200
    assert door.taken.all[0][1] == b"\x01\x02"


@pytest.mark.parametrize("token", [None, "", "Bearer", TOKEN + "x", TOKEN[:-1], HEX.token])
async def test_a_push_without_the_carriers_token_is_refused(door: Door, token: str | None) -> None:
    assert await door.post(body(), token) == 401
    assert not door.taken.all


async def test_another_path_or_method_is_refused(door: Door) -> None:
    assert await door.post(body(), path="/push/gamma") == 404
    assert await door.post(body(), path="/") == 404
    assert (await door.client.get("/push/alpha", headers={"authorization": TOKEN})).status_code == 405
    assert not door.taken.all


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="no JSON"),
        pytest.param(b"[1]", id="a list"),
        pytest.param(b"[" * 5000, id="deep"),
        pytest.param(b'{"a":' * 3000 + b"1" + b"}" * 3000, id="deep objects"),
        pytest.param(b"\xff\xfe", id="no UTF-8"),
        pytest.param(json.dumps({"IMEI": "1"}).encode(), id="no payload"),
        pytest.param(json.dumps({"payload": {"APPdata": "AA=="}}).encode(), id="no device"),
        pytest.param(body(b""), id="empty"),
        pytest.param(body(bytes(LONGEST + 1)), id="long"),
        pytest.param(body(device="a/../b"), id="a path"),
        pytest.param(body(device=".."), id="a step up"),
        pytest.param(body(device="."), id="a step in place"),
        pytest.param(body(device="x" * 65), id="a long name"),
        pytest.param(body(device=True), id="true"),
        pytest.param(body().replace(b"YSBt", b"YS m"), id="no base64"),
    ],
)
async def test_a_body_that_is_none_is_refused(door: Door, content: bytes) -> None:
    assert await door.post(content) == 400
    assert not door.taken.all


async def test_a_body_without_end_is_refused_before_it_is_kept(door: Door) -> None:
    assert await door.post(bytes(LONGEST_BODY + 1)) == 413
    assert not door.taken.all


async def test_a_slow_body_is_given_up(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "BODY_WITHIN", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", door.listener._place[1])
    writer.write(
        f"POST /push/alpha HTTP/1.1\r\nhost: a\r\nauthorization: {TOKEN}\r\ncontent-length: 50\r\n\r\n{{".encode()
    )
    async with asyncio.timeout(5):
        assert b"413" in await reader.readline()
    writer.close()


async def test_a_body_that_drips_does_not_hold_up_the_end() -> None:
    door = Door()
    await door.open()
    _, writer = await asyncio.open_connection("127.0.0.1", door.listener._place[1])
    writer.write(
        f"POST /push/alpha HTTP/1.1\r\nhost: a\r\nauthorization: {TOKEN}\r\ncontent-length: 50\r\n\r\n{{".encode()
    )
    async with asyncio.timeout(4):  # the supervisor's patience is 5 s
        while not door.listener._reading:
            await asyncio.sleep(0.01)
        await door.close()
    writer.close()


async def test_a_pause_asks_to_push_again(door: Door) -> None:
    door.listener.pause(True)
    assert await door.post(body()) == 503
    door.listener.pause(False)
    assert await door.post(body()) == 200


async def test_what_goes_down_is_posted_to_the_carrier_in_its_own_form() -> None:
    heard: list[tuple[str, str, Any]] = []

    async def carrier(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        size = int(
            next(line for line in head.lower().splitlines() if line.startswith("content-length")).split(":")[
                1
            ]
        )
        content = json.loads(await reader.readexactly(size))
        heard.append((head.splitlines()[0], head, content))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(carrier, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    door = Door(f"http://127.0.0.1:{port}/devices/{{device}}/commands")
    await door.open()
    try:
        assert await door.post(body(device="a:b")) == 200
        door.taken.all[0][0].send(b"", b"down it goes")
        async with asyncio.timeout(5):
            while not heard:
                await asyncio.sleep(0.01)
    finally:
        await door.close()
        server.close()
    line, head, content = heard[0]
    assert line == "POST /devices/a%3Ab/commands HTTP/1.1"
    assert "authorization: for the carrier" in head.lower()
    assert content == {"device": "a:b", "payload": base64.b64encode(b"down it goes").decode()}


async def test_a_carrier_that_is_away_costs_the_message_and_nothing_else() -> None:
    door = Door(f"http://127.0.0.1:{free()}/")
    await door.open()
    try:
        assert await door.post(body()) == 200
        for _ in range(push.WAITING_DOWN + 100):
            door.taken.all[0][0].send(b"", b"m")
        async with asyncio.timeout(20):
            while door.listener.undelivered < push.WAITING_DOWN:
                await asyncio.sleep(0.05)
        assert await door.post(body()) == 200
    finally:
        await door.close()


async def test_a_carrier_that_answers_without_end_keeps_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "DOWN_WITHIN", 0.3)
    ended: list[int] = []

    async def carrier(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        sent = 0
        with contextlib.suppress(OSError):
            while True:
                writer.write(b"1000\r\n" + bytes(0x1000) + b"\r\n")
                await writer.drain()
                sent += 0x1000
                await asyncio.sleep(0 if len(ended) % 2 else 0.02)  # one without measure, one drop by drop
        ended.append(sent)

    server = await asyncio.start_server(carrier, "127.0.0.1", 0)
    door = Door(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    await door.open()
    try:
        assert await door.post(body()) == 200
        for number in range(2 * push.AT_ONCE):
            door.taken.all[0][0].send(b"", bytes((number,)))
        async with asyncio.timeout(10):
            while len(ended) < 2 * push.AT_ONCE:
                await asyncio.sleep(0.02)
    finally:
        await door.close()
        server.close()


async def test_http_2_is_not_spoken(door: Door) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.listener._place[1])
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
    async with asyncio.timeout(5):
        assert not (await reader.read(9)).startswith(bytes((0, 0)))  # no SETTINGS frame
    writer.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"down_body": "payload"},
        {"down_body": "[]"},
        {"down_url": "http://carrier.example/"},
        {"down_url": "ftp://carrier.example/"},
        {"down_url": "http://127.0.0.1.carrier.example/"},
        {"down_url": "http://127.0.0.1@carrier.example/"},
        {"down_url": "http://localhost.carrier.example/"},
        {"down_url": "https://{device}/commands"},
        {"down_url": "https://{device}.carrier.example/commands"},
        {"down_url": "https://carrier.example:{device}/"},
        {"down_url": "https://"},
        {"down_url": "https://[::1/"},
        {"down_url": "https://carrier.example:99999/"},
        {"down_url": "https://carrier.example/\n"},
        {"down_token": "Gebühr"},
        {"down_token": "two\nlines"},
        {"token": "no header can say übung"},
    ],
    ids=str,
)
def test_a_carrier_that_cannot_be_one_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(LocalError) as error:
        checked(structs.replace(CARRIER, **wrong))
    assert error.value.code == "headend.push"


async def test_a_busy_http_port_is_said(door: Door) -> None:
    with pytest.raises(EngineError) as error:
        await PushListener(Taken(), *door.listener._place, (CARRIER,)).start()
    assert error.value.code == "headend.port"


def test_a_token_is_not_shown() -> None:
    assert TOKEN not in repr(CARRIER)
