"""Beside the path: attacks on a running system, each by whoever is placed best for it: a concentrator in wrong hands.

It knows no key but what such an attacker would hold: the concentrator's own TLS identity, and what passed on the bus.
Every attack says what it tried, and proves by the operator's counts that nothing changed; the audit trail says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from meterseal.app import operator
from meterseal.errors import EngineError, LocalError
from meterseal.hostport import parted, written
from meterseal.kit.factory import copy_module
from meterseal.kit.field import Field
from meterseal.link.transport import MessageReader, frame_message, pack_envelope
from meterseal.mesh.rpc import Rpc

RECORD = b"MR"
CONTROL = 0x08


class Entry(Struct, frozen=True):
    """The audit entry that an attack left."""

    id: int
    code: str
    sentence: str
    device_id: str


class Outcome(Struct, frozen=True):
    """One attack: what was tried, whether it was refused without effect, and its audit entry."""

    name: str
    tried: str
    refused: bool
    entry: Entry | None


class Attacker:
    """A TLS link to the head-end with a concentrator's identity; sends what it likes in envelopes."""

    def __init__(self, field: Field, headend: str) -> None:
        self._field = field
        self._host, self._port = parted(headend) or ("", 0)
        self._messages = MessageReader()

    async def send(self, device_id: bytes, message: bytes, *, patience: float = 0.6) -> list[bytes]:
        """Send one message as if from a device; returns what came back within `patience` seconds."""
        reader, writer = await self._connected()
        answers: list[bytes] = []
        try:
            writer.write(frame_message(pack_envelope(device_id, message)))
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    while received := await reader.read(4096):
                        answers += self._messages.feed(received)
        finally:
            writer.close()
        return answers

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for _ in range(100):
            with contextlib.suppress(OSError):
                return await asyncio.open_connection(self._host, int(self._port), ssl=self._field.tls())
            await asyncio.sleep(0.1)
        raise EngineError(
            "kit.no-headend", f"The head-end does not answer at {written(self._host, self._port)}."
        )


async def run(field: Field, headend: str, desk: Rpc) -> list[Outcome]:
    """Play every attack; EngineError when the system cannot be asked."""
    attacker = Attacker(field, headend)
    outcomes = []
    for attack in (replayed, altered, copied):
        outcomes.append(await attack(field, attacker, desk))
    return outcomes


async def replayed(field: Field, attacker: Attacker, desk: Rpc) -> Outcome:
    """A recorded message is sent once more, byte for byte."""
    device_id, record = _a_record(field)
    return await _judge(
        "replay",
        f"a recorded message of meter {device_id.hex()}, sent once more byte for byte",
        {"link.replay"},
        lambda: attacker.send(device_id, record),
        desk,
    )


async def altered(field: Field, attacker: Attacker, desk: Rpc) -> Outcome:
    """One bit of a sealed reading is changed on the way."""
    device_id, record = _a_record(field)
    at = 20 + 14 + 3  # inside the first data field, behind record header and frame header
    changed = record[:at] + bytes((record[at] ^ 0x01,)) + record[at + 1 :]
    return await _judge(
        "alter",
        f"one bit of a reading of meter {device_id.hex()} changed on the way",
        {"link.tag"},
        lambda: attacker.send(device_id, changed),
        desk,
    )


async def copied(field: Field, attacker: Attacker, desk: Rpc) -> Outcome:
    """A module's memory, keys and all, is copied into another meter and calls the platform."""
    victim, other = field.plan.meters[0], field.plan.meters[4]
    with tempfile.TemporaryDirectory() as folder:
        chip = await asyncio.to_thread(
            copy_module, field.street, victim.module_id, other.device_id, Path(folder)
        )
        hello = chip.hello(time.time_ns() // 1_000_000)
        return await _judge(
            "copy",
            f"the module of meter {victim.device_id.hex()} copied into meter {other.device_id.hex()}",
            {"link.module-copied", "link.hello-mac", "link.unknown-module"},
            lambda: attacker.send(other.device_id, hello),
            desk,
        )


def _a_record(field: Field) -> tuple[bytes, bytes]:
    for device_id, message in reversed(field.recorded()):
        if message[:2] == RECORD and not message[3] & CONTROL:
            return device_id, message
    raise LocalError("kit.no-record", "No sealed record passed on the buses yet; let the street run first.")


async def _judge(
    name: str, tried: str, codes: set[str], attack: Callable[[], Awaitable[object]], desk: Rpc
) -> Outcome:
    before = await _counts(desk)
    newest = await _newest(desk)
    await attack()
    entry = await _entry(desk, newest.id if newest else 0, codes)
    after = await _counts(desk)
    unchanged = (before.readings, before.sessions, before.total_fen) == (
        after.readings,
        after.sessions,
        after.total_fen,
    )
    return Outcome(name, tried, entry is not None and unchanged, entry)


async def _counts(desk: Rpc) -> operator.Counts:
    return await desk.call("counts", operator.Page(), operator.Counts)


async def _entries(desk: Rpc) -> list[Entry]:
    answer = await desk.call("audit", operator.Page(limit=50), operator.Text)
    return msgspec.convert(msgspec.json.decode(answer.json)["entries"], list[Entry])


async def _newest(desk: Rpc) -> Entry | None:
    return next(iter(await _entries(desk)), None)


async def _entry(desk: Rpc, after: int, codes: set[str]) -> Entry | None:
    for _ in range(40):
        for entry in await _entries(desk):
            if entry.id > after and entry.code in codes:
                return entry
        await asyncio.sleep(0.05)
    return None


async def settled(check: Callable[[], Awaitable[bool]], within: float) -> None:
    """Wait until `check` holds; EngineError `kit.slow` when it does not within so many seconds."""
    try:
        async with asyncio.timeout(within):
            while not await check():
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise EngineError("kit.slow", f"The play did not come to its end within {within:.0f} s.") from None
