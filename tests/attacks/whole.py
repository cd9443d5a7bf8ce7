"""A whole system in memory for attackers and faults: modules, agents, head-end, platform and security service, all real.

No socket and no process: what a link would carry travels as the same bytes, what crosses between processes as the same
msgpack. Any of the stations can lose its memory at any call or write and start again from what it had stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from msgspec import Struct

from meterseal.app import headend, keys, operator, platform
from meterseal.app.links import RemoteSessions
from meterseal.control import read
from meterseal.control.tables import sessions
from meterseal.crypto.handles import SymmetricKey
from meterseal.edge.agent import LinkAgent, Timing
from meterseal.edge.chip import Chip
from meterseal.edge.delivery import DailyOutbox
from meterseal.edge.electricity import ElectricityMeter
from meterseal.edge.making import personal
from meterseal.edge.meter import Meter
from meterseal.edge.module import Module
from meterseal.edge.nv import MemoryNv, SealedNv
from meterseal.edge.water import WaterMeter
from meterseal.errors import EngineError
from meterseal.headend.ports import StoredSession
from meterseal.mesh.authority import TlsDirectory
from meterseal.mesh.rpc import OPERATOR, InProcess, T
from meterseal.security.messages import Personalisation
from meterseal.security.passphrase import Stretching
from meterseal.security.service import SecurityService, provision
from meterseal.things.monitor import AuditLog
from tests.control_store import control_at

HOUR, DAY = 3_600_000, 86_400_000
SINCE = 1_779_033_600_000
"""2026-05-18 00:00 in Shanghai."""
DAYS = 3
MORNING = SINCE + DAYS * DAY + 9 * HOUR
PASSPHRASE = b"a passphrase of this test"
PROJECT = bytes.fromhex("1101000000000001aa01bb0200000001")
STORAGE = SymmetricKey.from_bytes(bytes(range(16)), "a test's storage key")
TIMING = Timing(repeat=1_000, slowest=8_000, backoff=500, window=8)

WATER = bytes.fromhex("1078330011223344")
ELECTRIC = bytes.fromhex("d700000000000161")
MASTER = bytes.fromhex("f000000000000001")
PLAIN = bytes.fromhex("1078330099887766")
SEALED = (WATER, ELECTRIC)
SUITES = {WATER: 1, ELECTRIC: 2, MASTER: 1}


def serial(device_id: bytes) -> bytes:
    """The module of a device."""
    return b"M" + device_id[1:]


class Clock:
    """One clock for everybody."""

    def __init__(self, now: int = MORNING) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


class PowerCut(Exception):
    """The supply went away in the middle of a write."""


class CutNv(MemoryNv):
    """Memory whose supply goes away at a write that was chosen, before or after it took effect."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 0
        self.after = False

    def write(self, pages: Any) -> None:
        if self.left:
            self.left -= 1
            if not self.left:
                if self.after:
                    super().write(pages)
                raise PowerCut
        super().write(pages)


class Counting:
    """A mechanism that counts three units an hour and lost one hour of its load profile."""

    def __init__(self, device_id: bytes) -> None:
        self._first = int.from_bytes(device_id[-2:], "big") * 100
        self.gap = SINCE + DAY + 5 * HOUR
        self.since, self.until = SINCE, SINCE + DAYS * DAY

    def register(self, channel: int, at: int) -> int:
        return self._first + (at - SINCE) // HOUR * 3

    def stored(self, channel: int, end_at: int) -> int | None:
        return None if end_at == self.gap else self.register(channel, end_at)


class Line:
    """A link's twin: keeps what the head-end sends."""

    def __init__(self, source: str = "192.0.2.1", concentrator_id: bytes = b"") -> None:
        self.source, self.concentrator_id = source, concentrator_id
        self.down: list[tuple[bytes, bytes]] = []

    def send(self, device_id: bytes, message: bytes) -> None:
        self.down.append((device_id, message))

    def taken(self) -> list[tuple[bytes, bytes]]:
        taken, self.down = self.down, []
        return taken


class Device:
    """A meter with its module and agent; `repower` starts both again from their memory."""

    def __init__(self, device_id: bytes, memory: dict[str, bytes], random: Random) -> None:
        self.device_id = device_id
        self.nv, self.pages = CutNv(), CutNv()
        self.nv.pages = dict(memory)
        self._random = random
        self.meter: Meter
        self.repower()

    def repower(self) -> None:
        self.nv.left = self.pages.left = 0
        self.chip = Chip(Module(SealedNv(self.nv, STORAGE, serial(self.device_id))))
        if self.device_id == MASTER:
            return  # a concentrator has a module and no meter of its own
        kind = ElectricityMeter if self.device_id == ELECTRIC else WaterMeter
        self.meter = kind(self.device_id, Counting(self.device_id))
        self.outbox = DailyOutbox(self.meter, self.chip, self.pages)
        self.agent = LinkAgent(self.chip, self.outbox, TIMING, self._random.random)

    @property
    def done(self) -> bool:
        return (
            self.outbox.through == SINCE + DAYS * DAY
            and not self.agent.waiting()
            and not self.chip.state().kept
        )


class Fault(Struct, frozen=True):
    """At call number `at` (from 1) between two processes, `who` dies, or (who = "line") the answer is lost."""

    who: str
    at: int
    after: bool = True


class Wire:
    """The way from one process to another, at whose calls either end may die."""

    def __init__(self, whole: Whole, caller: str, callee: str) -> None:
        self._whole, self._caller, self._callee = whole, caller, callee

    async def call(self, method: str, request: Struct, reply: type[T]) -> T:
        whole = self._whole
        whole.calls[method] += 1
        fault = None
        if self._caller == "headend":  # the platform's own upkeep asks by the wall clock
            whole.moment += 1
            fault = whole.faults.pop(whole.moment, None)
        generation = whole.generation[self._callee]
        if fault is not None and not fault.after:
            await whole.strike(fault, self._caller)
            raise _unreachable()
        offered = whole.offered.get(self._callee)
        if offered is None or generation != whole.generation[self._callee]:
            raise _unreachable()
        # A caller that dies does not stop what it asked for.
        act = asyncio.ensure_future(InProcess(offered, self._caller).call(method, request, reply))
        act.add_done_callback(lambda done: done.cancelled() or done.exception())
        answer = await asyncio.shield(act)
        if fault is not None:
            await whole.strike(fault, self._caller)
            raise _unreachable()
        if generation != whole.generation[self._callee]:
            raise _unreachable()
        return answer


def _unreachable() -> EngineError:
    return EngineError("mesh.unreachable", "The other process does not answer.")


class Whole:
    """Security service, platform and one or more head-ends; each dies and starts again on its own."""

    def __init__(self, root: Path, clock: Clock, *, headends: int = 1) -> None:
        self.root, self.clock = root, clock
        self.offered: dict[str, Any] = {}
        self.generation = Counter[str]()
        self.calls = Counter[str]()
        self.moment = 0
        self.faults: dict[int, Fault] = {}
        self.dead: set[str] = set()
        self.put_back: Path | None = None
        self.points: dict[bytes, str] = {}
        self.uplinks: list[Any] = [None] * headends
        self._works: list[asyncio.Task[None] | None] = [None] * headends
        self._own: set[asyncio.Task[Any]] = set()
        self._keys_at = root / "keys"

    # --- life -------------------------------------------------------------------------------------------

    async def start(self) -> None:
        self._own = {task for task in asyncio.all_tasks()}
        self._start_keys()
        await self._start_platform()
        for at in range(len(self.uplinks)):
            self._start_headend(at)

    def _start_keys(self) -> None:
        self.service = SecurityService.open(self._keys_at, PASSPHRASE, clock=self.clock)
        self.offered["keys"] = keys.methods(
            self.service, TlsDirectory(self.root / "tls"), PASSPHRASE, self.clock
        )

    async def _start_platform(self) -> None:
        self.engine = control_at(self.root / "control.db")
        before = asyncio.all_tasks()
        self.parts = await platform.assemble(
            self.engine, self.root / "measurements", Wire(self, "platform", "keys"), self.clock
        )
        self._own |= asyncio.all_tasks() - before
        self.mdms = self.parts.mdms
        self.offered["platform"] = self.parts.methods
        self.desk = InProcess(self.parts.operator, OPERATOR)

    def _start_headend(self, at: int) -> None:
        uplink = headend.assemble(
            Wire(self, "headend", "keys"), Wire(self, "headend", "platform"), self.clock, lambda paused: None
        )
        task = asyncio.ensure_future(uplink.run())
        self._own.add(task)
        self.uplinks[at], self._works[at] = uplink, task

    async def strike(self, fault: Fault, caller: str) -> None:
        """Let a station die at this very call; whoever asked learns that nobody answers."""
        if fault.who == "line":
            return
        self.dead.add(fault.who)
        if fault.who in ("keys", "platform"):
            self.generation[fault.who] += 1
            self.offered.pop(fault.who, None)
        elif caller == "headend":
            await asyncio.Event().wait()  # the dead do not go on; `revive` ends the task

    async def revive(self) -> None:
        """Start again what died, from what it had stored."""
        while self.dead:
            who = self.dead.pop()
            if who == "headend":
                await self._stop_headends()
                for at in range(len(self.uplinks)):
                    self._start_headend(at)
            elif who == "keys":
                await self.crash_keys()
            else:
                self.offered.pop("platform", None)
                await self.settle()
                await self.mdms.close()
                self.engine.dispose()
                self._put_back()
                await self._start_platform()

    def _put_back(self) -> None:
        """The platform's files of an older copy, if one is to be put back."""
        if self.put_back is None:
            return
        for name in self.root.iterdir():
            if name.name.startswith(("control.db", "measurements")):
                shutil.rmtree(name) if name.is_dir() else name.unlink()
        for name in self.put_back.iterdir():
            if name.name.startswith("control.db"):
                shutil.copy(name, self.root / name.name)
            elif name.name == "measurements":
                shutil.copytree(name, self.root / name.name)
        self.put_back = None

    @property
    def audit(self) -> AuditLog:
        """The platform's audit log."""
        return AuditLog(self.engine)

    async def crash_keys(self) -> None:
        """The security service loses everything that is not on its disk."""
        self.offered.pop("keys", None)
        self.generation["keys"] += 1
        old, place = self.service, self.root / f"keys-{self.generation['keys']}"
        shutil.copytree(self._keys_at, place)
        old.close()
        self._keys_at = place
        self._start_keys()

    async def restart(self, *who: str) -> None:
        self.dead |= set(who)
        await self.revive()

    async def _stop_headends(self) -> None:
        for task in self._works:
            assert task is not None
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for _ in range(100):  # what it asked of others goes on to its end; nobody cancels that
            working = self._working()
            if not working:
                return
            await asyncio.wait(working, timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
        raise AssertionError(f"A head-end does not end: {[task.get_stack() for task in self._working()]}")

    async def stop(self) -> None:
        await self._stop_headends()
        await self.mdms.close()
        self.service.close()
        self.engine.dispose()

    async def settle(self) -> None:
        """Return once no station has anything left to do for what it was sent."""
        for _ in range(3):
            await asyncio.sleep(0)
        for _ in range(200):
            if "headend" in self.dead:
                return
            working = self._working()
            if not working:
                await asyncio.sleep(0)
                if not self._working():
                    return
                continue
            await asyncio.wait(working, timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
        raise AssertionError(f"A station does not come to rest: {[task.get_stack() for task in working]}")

    def _working(self) -> set[asyncio.Task[Any]]:
        """What runs because of what was sent; not the loops of the stations, nor their waiting for work."""
        tasks = asyncio.all_tasks() - self._own - {asyncio.current_task()}
        return {task for task in tasks if getattr(task.get_coro(), "__qualname__", "") != "Event.wait"}

    # --- messages ---------------------------------------------------------------------------------------

    async def send(
        self, message: bytes, claimed: bytes = b"", line: Line | None = None, at: int = 0
    ) -> list[bytes]:
        """One message to a head-end; what it sent back."""
        line = line or Line()
        self.uplinks[at].receive(line, claimed, message)
        await self.settle()
        await self.revive()
        return [sent for _, sent in line.taken()]

    async def shake(self, device: Device) -> bytes:
        """A whole handshake; the session's id."""
        now = self.clock.now
        (answer,) = await self.send(device.chip.hello(now))
        (session,) = await self.send(device.chip.platform(answer, now))
        return device.chip.session(session, now).session_id

    async def deliver(self, device: Device, *, within: int = 2_000) -> None:
        """Let a device deliver all it has over a good network."""
        for _ in range(within):
            self.clock.now += 250
            message = device.agent.offer(self.clock.now)
            if message is not None:
                for answer in await self.send(message):
                    device.agent.receive(answer, self.clock.now)
            elif device.done:
                return
        raise AssertionError(f"{device.device_id.hex()} did not deliver")

    async def asked(self, method: str, request: Any) -> Any:
        return msgspec.json.decode((await self.desk.call(method, request, operator.Text)).json)

    async def latest(self, device_id: bytes) -> StoredSession | None:
        """The session of a device that is not replaced, as any head-end would fetch it."""
        return await RemoteSessions(InProcess(self.parts.methods, "headend")).latest(device_id)

    def in_force(self) -> int:
        """How many sessions nothing has replaced."""
        with read(self.engine) as connection:
            found = connection.execute(
                sa.select(sessions.c.session_id).where(sessions.c.replaced_at.is_(None))
            )
            return len(found.all())

    async def counts(self) -> operator.Counts:
        await self.mdms.settle()
        return await self.desk.call("counts", operator.Page(), operator.Counts)

    async def refusals(self) -> list[str]:
        """Codes of the platform's audit log, oldest first."""
        said = await self.asked("audit", operator.Page(limit=500))
        return [entry["code"] for entry in reversed(said["entries"])]


# --- a template that was provisioned and enrolled once ------------------------------------------------------


class Template(Struct):
    """Directory of an enrolled system, and the memory of its modules."""

    directory: Path
    memories: dict[bytes, dict[str, bytes]]
    points: dict[bytes, str]


def supplies(points: dict[bytes, bytes]) -> operator.Enrol:
    made = [
        operator.Supply(
            device_id=WATER, medium="water", protocol="cjt188", profile="water-generic", since=SINCE,
            suite=SUITES[WATER], module_id=serial(WATER), module_point=points[WATER],
        ),
        operator.Supply(
            device_id=ELECTRIC, medium="electricity", protocol="dlt645", profile="electricity-generic",
            since=SINCE, suite=SUITES[ELECTRIC], module_id=serial(ELECTRIC), module_point=points[ELECTRIC],
        ),
        operator.Supply(
            device_id=PLAIN, medium="water", protocol="cjt188", profile="water-generic", since=SINCE,
            concentrator_id=MASTER,
        ),
    ]  # fmt: skip
    return operator.Enrol(premises=(operator.NewPremises(name="", address="", supplies=tuple(made)),))


async def _enrolled(root: Path) -> Template:
    clock = Clock(SINCE + 8 * HOUR)
    provision(root / "keys", PASSPHRASE, PROJECT, clock())
    TlsDirectory(root / "tls").provision(PASSPHRASE, clock())
    whole = Whole(root, clock)
    await whole.start()
    stores = {device_id: MemoryNv() for device_id in SUITES}
    chips = {
        device_id: Chip(Module(SealedNv(store, STORAGE, serial(device_id))))
        for device_id, store in stores.items()
    }
    points = {device_id: chip.make_key(serial(device_id)) for device_id, chip in chips.items()}
    identity = await whole.desk.call(
        "enrol_concentrator",
        operator.EnrolConcentrator(
            device_id=MASTER,
            name="street",
            module_id=serial(MASTER),
            module_point=points[MASTER],
            key_password=b"a password of a key",
        ),
        operator.ConcentratorIdentity,
    )
    answer = await whole.desk.call("enrol", supplies(points), operator.EnrolReply)
    given = {meter.device_id: meter.personalisation for meter in answer.meters} | {
        MASTER: identity.personalisation
    }
    for device_id, packed in given.items():
        if packed:
            what = msgspec.msgpack.decode(packed, type=Personalisation)
            chips[device_id].personalise(personal(what))
    await whole.settle()
    await whole.stop()
    return Template(
        directory=root,
        memories={device_id: dict(store.pages) for device_id, store in stores.items()},
        points={meter.device_id: meter.usage_point for meter in answer.meters},
    )


@contextlib.contextmanager
def cheap_stretching() -> Iterator[None]:
    """Argon2id at a small cost: the cost is stored beside what it seals, so later opens follow it."""

    def cheap() -> Stretching:
        return Stretching(os.urandom(16), passes=1, memory=64, lanes=1)

    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.startswith("meterseal.security") and hasattr(module, "fresh_stretching"):
                patch.setattr(module, "fresh_stretching", cheap)
        yield


def make_template(root: Path) -> Template:
    """Provision and enrol once; what tests copy."""
    with cheap_stretching():
        return asyncio.run(_enrolled(root))


@contextlib.asynccontextmanager
async def running(
    template: Template, root: Path, *, headends: int = 1, now: int = MORNING
) -> AsyncIterator[Whole]:
    """A fresh copy of the template, running."""
    shutil.copytree(template.directory, root)
    whole = Whole(root, Clock(now), headends=headends)
    whole.points = template.points
    await whole.start()
    try:
        yield whole
    finally:
        whole.faults.clear()
        await whole.revive()
        await whole.stop()
