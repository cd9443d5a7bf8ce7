"""A tap between a bus master and simulated meters, over real sockets and a pair of serial ports."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from meterseal.edge.node import Node
from meterseal.edge.place import Place
from meterseal.edge.water import WaterMeter
from meterseal.errors import DataError, EngineError, LocalError
from meterseal.kit.bus import Bus, BusServer
from meterseal.kit.line.entries import MOST_BUFFERED, Cutter, Entry, load, save
from meterseal.kit.line.faults import FAULTS
from meterseal.kit.line.rehearsal import _Turning
from meterseal.kit.line.tap import Tap
from meterseal.wire import encode
from meterseal.wire.codec import search

DEVICE = bytes.fromhex("1078330011223344")
ASKED = encode.read_request(DEVICE, 0x901F).encode()
NOW = 1_795_000_000_000
BY_NAME = {fault.name: fault for fault in FAULTS}


class Ground:
    """A meter, the tap before it, and a bus master's connection."""

    def __init__(self) -> None:
        self.server = BusServer(Bus([Node(WaterMeter(DEVICE, _Turning()))]), lambda: NOW)
        self.tap = Tap(None, lambda: NOW)
        self._work: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        self.tap.place = Place(f"tcp:127.0.0.1:{await self.server.start('127.0.0.1', 0)}")
        port = await self.tap.listen("127.0.0.1", 0)
        self._work = asyncio.create_task(self.tap.run())
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        await self.until(lambda: self.tap.connected and self.tap.served)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.005)

    async def ask(self, raw: bytes = ASKED) -> bytes:
        self.writer.write(raw)
        async with asyncio.timeout(5):
            return await self.reader.read(4096)

    def entry(self, number: int) -> Entry:
        return self.tap.entries[number]

    async def end(self) -> None:
        self.writer.close()
        if self._work is not None:
            self._work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._work
        await self.server.stop()


@pytest.fixture
async def ground() -> AsyncIterator[Ground]:
    made = Ground()
    await made.begin()
    try:
        yield made
    finally:
        await made.end()


async def test_bytes_pass_as_they_came_and_the_answer_stands_beside_its_request(ground: Ground) -> None:
    answer = await ground.ask(b"\xfe\xfe" + ASKED)
    assert search(answer).frame is not None
    asked, answered = ground.entry(1), ground.entry(2)
    assert (asked.way, asked.raw, asked.sent) == ("down", b"\xfe\xfe" + ASKED, None)
    assert (answered.way, answered.raw, answered.answers, answered.sent) == ("up", answer, 1, None)


async def test_a_fault_meets_the_next_answer_and_no_other(ground: Ground) -> None:
    ground.tap.arm(BY_NAME["wrong checksum"])
    assert search(await ground.ask()).frame is None
    assert search(await ground.ask()).frame is not None
    met = ground.entry(2)
    assert met.note == "fault: wrong checksum"
    assert met.sent is not None
    assert met.sent[0] != met.raw
    assert not ground.tap.armed


async def test_a_stale_answer_is_the_real_one_of_before(ground: Ground) -> None:
    first = await ground.ask()
    ground.tap._clock = lambda: NOW
    ground.server._bus._nodes[b"\x10" + DEVICE[:0:-1]].meter.readings.register = lambda channel, at: 999  # type: ignore[attr-defined]
    ground.tap.arm(BY_NAME["stale counter"])
    assert await ground.ask() == first
    assert await ground.ask() != first


async def test_a_held_line_waits_for_release_edit_and_drop(ground: Ground) -> None:
    ground.tap.hold(True)
    ground.writer.write(ASKED + ASKED + ASKED)
    await ground.until(lambda: len(ground.tap.held) == 3)
    ground.tap.drop()
    ground.tap.release(ASKED[:-2] + bytes((ASKED[-2] ^ 1,)) + ASKED[-1:])  # nobody answers a wrong sum
    ground.tap.release()
    await ground.until(lambda: len(ground.tap.held) == 1)  # the one answer, held too
    assert ground.entry(1).sent == ()
    assert ground.entry(2).note == "edited"
    ground.tap.hold(False)
    assert search(await asyncio.wait_for(ground.reader.read(4096), 5)).frame is not None
    assert not ground.tap.held


async def test_what_is_sent_by_hand_is_answered_to_the_screen_and_the_master(ground: Ground) -> None:
    entry = ground.tap.say(ASKED)
    await ground.until(lambda: any(one.answers == entry.number for one in ground.tap.entries.values()))
    assert ground.entry(entry.number).note == "sent by hand"


async def test_noise_is_told_when_the_line_falls_silent(ground: Ground) -> None:
    ground.writer.write(b"\x01\x02\x03")
    await ground.until(lambda: bool(ground.tap.entries))
    assert ground.entry(1).raw == b"\x01\x02\x03"
    assert ground.entry(1).frame is None


async def test_meters_that_are_away_are_connected_again(ground: Ground) -> None:
    for line in list(ground.server._lines):
        assert line.transport is not None
        line.transport.abort()
    await ground.until(lambda: not ground.tap.connected)
    with pytest.raises(LocalError, match="not connected"):
        ground.tap.say(ASKED)
    await ground.until(lambda: ground.tap.connected)
    assert search(await ground.ask()).frame is not None


async def test_a_busy_port_is_said_by_the_tap(ground: Ground) -> None:
    assert ground.tap._server is not None
    port = ground.tap._server.sockets[0].getsockname()[1]
    with pytest.raises(EngineError, match="choose another port"):
        await Tap(None, lambda: NOW).listen("127.0.0.1", port)


async def test_a_serial_port_is_a_line_too() -> None:
    master, slave = os.openpty()
    tty.setraw(master)
    tap = Tap(Place(f"serial:{os.ttyname(slave)}:2400:N"), lambda: NOW)  # a virtual pair has no parity
    work = asyncio.create_task(tap.run())
    try:
        async with asyncio.timeout(5):
            while not tap.connected:
                await asyncio.sleep(0.01)
        tap.say(ASKED)
        assert await asyncio.to_thread(os.read, master, 100) == ASKED
        os.write(master, ASKED)
        async with asyncio.timeout(5):
            while len(tap.entries) < 2:
                await asyncio.sleep(0.01)
        assert tap.entries[2].way == "up"
    finally:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize(
    "said",
    [
        "",
        "tcp:",
        "tcp:host",
        "tcp:host:70000",
        "tcp:host:-1",
        "serial:",
        "serial:/dev/x:12",
        "serial:/dev/x:2400:X",
        "udp:a:1",
    ],
)
def test_a_place_that_is_none_is_refused(said: str) -> None:
    with pytest.raises(LocalError) as error:
        Place(said)
    assert error.value.code == "line.place"


def test_a_stream_without_frames_is_cut_and_kept_in_bounds() -> None:
    cutter = Cutter()
    units = [unit for _ in range(40) for unit in cutter.feed(b"\x68" * 1000)]
    assert sum(map(len, units)) + len(cutter.silence()) == 40_000
    assert max(map(len, units)) <= MOST_BUFFERED


async def test_a_session_is_saved_and_read_back(ground: Ground, tmp_path: Path) -> None:
    await ground.ask()
    ground.tap.arm(BY_NAME["empty"])
    ground.writer.write(ASKED)
    await ground.until(lambda: len(ground.tap.entries) == 4)
    ground.tap.mark(1)
    entries = list(ground.tap.entries.values())
    save(tmp_path / "session.jsonl", entries)
    assert load(tmp_path / "session.jsonl") == entries
    assert entries[0].marked
    assert entries[3].sent == ()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}\n",
        b'{"format":"another"}\n',
        b'{"format":"meterseal line 1"}\nno JSON\n',
        b'{"format":"meterseal line 1"}\n{"n":1,"at":2,"way":"sideways","hex":""}\n',
        b'{"format":"meterseal line 1"}\n{"n":1,"at":2,"way":"up","hex":"0"}\n',
        b'{"format":"meterseal line 1"}\n{"n":1,"at":2,"way":"up","hex":"","key":"x"}\n',
        b'{"format":"meterseal line 1"}\n{"n":0,"at":2,"way":"up","hex":"00"}\n',
        b'{"format":"meterseal line 1"}\n' + 2 * b'{"n":1,"at":2,"way":"up","hex":"00"}\n',
        b'{"format":"meterseal line 1"}\n{"n":1,"at":2,"way":"up","hex":"00","answers":1}\n',
    ],
    ids=range(10),
)
def test_a_file_that_is_no_session_is_refused_by_line(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "session").write_bytes(text)
    with pytest.raises(DataError) as error:
        load(tmp_path / "session")
    assert error.value.code == "line.session"


def test_a_note_in_a_session_gives_no_orders_to_a_terminal(tmp_path: Path) -> None:
    note = b'"\\u001b]0;title\\u0007 \\u001b[2Jheld\\u202e\\u009b"'
    line = b'{"n":1,"at":2,"way":"up","hex":"00","note":' + note + b"}\n"
    (tmp_path / "session").write_bytes(b'{"format":"meterseal line 1"}\n' + line)
    (entry,) = load(tmp_path / "session")
    assert entry.note == "]0;title [2Jheld"


def test_a_session_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="cannot be read"):
        load(tmp_path / "nowhere")
    with pytest.raises(LocalError, match="cannot be written"):
        save(tmp_path / "nowhere" / "file", [])
