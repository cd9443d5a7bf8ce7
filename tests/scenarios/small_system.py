"""A small whole system in memory: meters on a bus, a concentrator, head-ends, platform, security service; all of it real.

No socket and no process; a link is a queue, and calls between processes pass through their tables of methods.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from meterseal.app import headend, keys, operator, platform
from meterseal.app.commanding import CommandMeter, Outcomes, ReadMeter, WordQuery
from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.edge.agent import LinkAgent, Timing
from meterseal.edge.chip import Chip, PublicState
from meterseal.edge.concentrator import Concentrator, MeterAt, Up
from meterseal.edge.delivery import DailyOutbox
from meterseal.edge.electricity import ElectricityMeter
from meterseal.edge.firmware import Firmware
from meterseal.edge.firmware import Pace as FirmwarePace
from meterseal.edge.gas import GasMeter
from meterseal.edge.making import personal
from meterseal.edge.meter import Meter
from meterseal.edge.module import Module
from meterseal.edge.node import Node, Secured
from meterseal.edge.nv import MemoryNv, SealedNv
from meterseal.edge.poll import Pace
from meterseal.edge.schedule import Schedule
from meterseal.edge.water import WaterMeter
from meterseal.headend.revoked import Revocations
from meterseal.headend.uplink import Uplink
from meterseal.kit.bus import Bus
from meterseal.mesh.authority import TlsDirectory
from meterseal.mesh.rpc import OPERATOR, InProcess, T
from meterseal.model import Medium
from meterseal.security.enrolled import DEFAULT_ZONE
from meterseal.security.messages import DeviceFacts, FactsRequest, Personalisation
from meterseal.security.orders import (
    CommandOrder,
    Founding,
    OfficerList,
    OfficerSignature,
    card,
    encoded,
    fresh_request_id,
    sign,
)
from meterseal.security.sdk import SecuritySdk
from meterseal.security.service import SecurityService, provision
from meterseal.things.commands import Act
from meterseal.things.words import Outcome
from meterseal.wire.frame import Frame, parse_frame
from tests.attacks.whole import cheap_stretching
from tests.control_store import control_at

HOUR, DAY = 3_600_000, 86_400_000
SINCE = 1_779_033_600_000  # 2026-05-18 00:00 in Shanghai
DAYS = 2
MORNING = SINCE + DAYS * DAY + 9 * HOUR
PASSPHRASE = b"a passphrase of this test"
PROJECT = bytes.fromhex("1101000000000001aa01bb0200000001")
STORAGE = SymmetricKey.from_bytes(bytes(range(16)), "a test's storage key")
TIMING = Timing(repeat=1_000, slowest=8_000, backoff=500, window=8)
FIRMWARE = FirmwarePace(trial=120_000, repeat=2_000, slowest=20_000)
PACE = Pace(answer=200, rest=20, longest_rest=100)

WATER = bytes.fromhex("1078330011223344")
GAS = bytes.fromhex("3078330011223355")
ELECTRIC = bytes.fromhex("d700000000000161")
MASTER = bytes.fromhex("f000000000000001")
KINDS: dict[bytes, tuple[type[Meter], Medium, int]] = {
    WATER: (WaterMeter, "water", 1),
    GAS: (GasMeter, "gas", 2),
    ELECTRIC: (ElectricityMeter, "electricity", 1),
}


class Clock:
    """One clock for everybody."""

    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


class Counting:
    """A mechanism that counts three units an hour."""

    def __init__(self, device_id: bytes) -> None:
        self._first = int.from_bytes(device_id[-2:], "big") * 100
        self.since, self.until = SINCE, SINCE + DAYS * DAY

    def register(self, channel: int, at: int) -> int:
        return self._first + (at - SINCE) // HOUR * 3

    def stored(self, channel: int, end_at: int) -> int | None:
        return self.register(channel, end_at)


class Line:
    """The concentrator's link to one head-end; `up` is cut by taking it away."""

    def __init__(self, source: str) -> None:
        self.source, self.concentrator_id = source, MASTER
        self.down: deque[Up] = deque()

    def send(self, device_id: bytes, message: bytes) -> None:
        self.down.append(Up(device_id, message))


@cache
def _provisioned(now: int) -> tuple[tuple[Path, int, bytes], ...]:
    """Every file with its rights that a first start leaves; the passphrase is stretched for them at its full cost."""
    with TemporaryDirectory() as folder, cheap_stretching():
        root = Path(folder)
        provision(root / "keys", PASSPHRASE, PROJECT, now)
        TlsDirectory(root / "tls").provision(PASSPHRASE, now)
        files = sorted(path for path in root.rglob("*") if path.is_file())
        return tuple((path.relative_to(root), path.stat().st_mode, path.read_bytes()) for path in files)


def provisioned(root: Path, now: int) -> None:
    """Keys of the services and of their TLS as a first start at this moment makes them: made once, copied since."""
    for path, mode, content in _provisioned(now):
        (root / path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        (root / path).write_bytes(content)
        (root / path).chmod(mode)


class Centre:
    """Security service, platform and two head-ends; any of them starts again from what it stored."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self.root, self.clock = root, clock
        provisioned(root, clock())
        self.uplinks: list[Uplink] = []
        self._works: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self.service = SecurityService.open(self.root / "keys", PASSPHRASE, clock=self.clock)
        self.offered = keys.methods(self.service, TlsDirectory(self.root / "tls"), PASSPHRASE, self.clock)
        self.engine = control_at(self.root / "control.db")
        self.parts = await platform.assemble(
            self.engine, self.root / "measurements", InProcess(self.offered, "platform"), self.clock
        )
        self.desk = InProcess(self.parts.operator, OPERATOR)
        self.start_headends()

    def start_headends(self) -> None:
        self.uplinks = [
            headend.assemble(
                InProcess(self.offered, "headend"),
                InProcess(self.parts.methods, "headend"),
                self.clock,
                lambda paused: None,
            )
            for _ in range(2)
        ]
        security = SecuritySdk(InProcess(self.offered, "headend"))
        self.revocations = [Revocations(security, one.sessions, one.downlink) for one in self.uplinks]
        for uplink in self.uplinks:
            works = (uplink.run(), *headend.beside(uplink, InProcess(self.offered, "headend")))
            self._works += [asyncio.create_task(work) for work in works]

    async def stop_headends(self) -> None:
        works, self._works = self._works, []
        for work in works:
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work

    async def stop(self) -> None:
        await self.stop_headends()
        await self.parts.mdms.close()
        self.service.close()
        self.engine.dispose()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def service_call(self, method: str, request: Any, reply: type[T], caller: str = OPERATOR) -> T:
        return await InProcess(self.offered, caller).call(method, request, reply)


class System:
    """The centre, an officer, and a riser of three meters behind a concentrator; `profiles` are security profiles of
    meters that have another one than ours.
    """

    schedule: Schedule | None = None

    def __init__(self, root: Path, profiles: dict[bytes, str] | None = None) -> None:
        self.profiles = profiles or {}
        self.clock = Clock(MORNING)
        self.centre = Centre(root, self.clock)
        self.officer = Sm2PrivateKey.generate("an officer of a test")
        self.other_officer = Sm2PrivateKey.generate("another officer of a test")
        self.third_officer = Sm2PrivateKey.generate("an officer of a test who commands nothing")
        self.nv = {device_id: MemoryNv() for device_id in (*KINDS, MASTER)}
        self.pages = {device_id: MemoryNv() for device_id in KINDS}
        self.held = MemoryNv()
        self.random = Random(1)
        self.at = 0
        self.line = Line("concentrator")
        self.up: deque[Up] = deque()
        self.heard: list[Up] = []
        self.said: list[Up] = []
        self.cut = False

    @property
    def desk(self) -> InProcess:
        return self.centre.desk

    async def start(self) -> None:
        await self.centre.start()
        await self._found()
        await self._enrol()
        self.power_on()
        self.connect()

    # --- enrolment --------------------------------------------------------------------------------------

    async def _found(self) -> None:
        cards = (
            card("li", ("command", "enrol", "keys"), self.officer),
            card("wang", ("command", "enrol", "keys"), self.other_officer),
            card("zhou", ("enrol", "keys"), self.third_officer),
        )
        await InProcess(self.centre.offered, OPERATOR).call(
            "found_officers", Founding(cards=cards), OfficerList
        )

    def chip(self, device_id: bytes) -> Chip:
        serial = b"M" + device_id[1:]
        return Chip(Module(SealedNv(self.nv[device_id], STORAGE, serial)))

    async def _enrol(self) -> None:
        points = {device_id: self.chip(device_id).make_key(b"M" + device_id[1:]) for device_id in self.nv}
        master = await self.desk.call(
            "enrol_concentrator",
            operator.EnrolConcentrator(
                device_id=MASTER,
                name="riser",
                module_id=b"M" + MASTER[1:],
                module_point=points[MASTER],
                key_password=b"a password of a key",
            ),
            operator.ConcentratorIdentity,
        )
        supplies = tuple(
            operator.Supply(
                device_id=device_id,
                medium=medium,
                protocol="dlt645" if medium == "electricity" else "cjt188",
                profile=f"{medium}-generic",
                since=SINCE,
                concentrator_id=MASTER,
                suite=suite,
                module_id=b"M" + device_id[1:],
                module_point=points[device_id],
                security_profile=self.profiles.get(device_id, "meterseal-1"),
            )
            for device_id, (_, medium, suite) in KINDS.items()
        )
        home = operator.NewPremises(name="", address="", supplies=supplies)
        answer = await self.desk.call("enrol", operator.Enrol(premises=(home,)), operator.EnrolReply)
        given = {one.device_id: one.personalisation for one in answer.meters}
        for device_id, packed in (given | {MASTER: master.personalisation}).items():
            what = msgspec.msgpack.decode(packed, type=Personalisation)
            self.chip(device_id).personalise(personal(what))

    # --- the field --------------------------------------------------------------------------------------

    def power_on(self) -> None:
        """Meters and concentrator start from what they stored."""
        self.nodes: dict[bytes, Node] = {}
        for device_id, (kind, medium, _) in KINDS.items():
            meter, chip = kind(device_id, Counting(device_id)), self.chip(device_id)
            outbox = DailyOutbox(meter, chip, self.pages[device_id])
            agent = LinkAgent(chip, outbox, TIMING, self.random.random)
            pages = self.pages[device_id]
            firmware = Firmware(chip, pages, model=f"{medium}-generic", pace=FIRMWARE)
            self.nodes[device_id] = Node(meter, Secured(chip, agent, outbox, firmware))
        self.bus = Bus(list(self.nodes.values()))
        self.concentrator = Concentrator(
            device_id=MASTER,
            chip=self.chip(MASTER),
            store=SealedNv(self.held, STORAGE, b"held"),
            risers=[self.behind()],
            pace=PACE,
            timing=TIMING,
            jitter=self.random.random,
            send=self.up.append,
            schedule=self.schedule,
        )
        self.concentrator.reach(True)

    def behind(self) -> list[MeterAt]:
        """Whom the concentrator was set up with."""
        return [MeterAt(device_id=device_id) for device_id in KINDS]

    def move_to(self, head_end: int) -> None:
        """The concentrator connects to another head-end; what was under way on the old link is lost."""
        self.centre.uplinks[self.at].downlink.parted(self.line)  # type: ignore[arg-type]
        self.at, self.line = head_end, Line("concentrator")
        self.up.clear()
        self.connect()

    def connect(self) -> None:
        self.centre.uplinks[self.at].downlink.joined(self.line)  # type: ignore[arg-type]

    async def turn(self) -> None:
        """Some exchanges on the bus; then what the link carries, both ways."""
        for _ in range(16):
            self.clock.now += 10
            now = self.clock.now
            self.concentrator.tick(now)
            for riser in self.concentrator.risers:
                request = riser.request(now)
                if request is not None and not riser.answer(
                    self.bus.answer(parse_frame(request)[0], now), now
                ):
                    riser.timeout(now)
            self.concentrator.speak(now)
        while self.up:
            one = self.up.popleft()
            self.heard.append(one)
            if not self.cut:
                self.centre.uplinks[self.at].receive(self.line, one.device_id, one.message)  # type: ignore[arg-type]
        await asyncio.sleep(0.002)
        while self.line.down:
            one = self.line.down.popleft()
            self.said.append(one)
            if not self.cut:
                self.concentrator.receive(one.device_id, one.message, self.clock.now)

    def chip_state(self, device_id: bytes) -> PublicState:
        secured = self.nodes[device_id].secured
        assert secured is not None
        return secured.chip.state()

    async def facts(self, device_id: bytes) -> DeviceFacts:
        asked = FactsRequest(device_id=device_id)
        return await self.centre.service_call("device_facts", asked, DeviceFacts, "platform")

    async def until(self, condition: Any, what: str = "that", turns: int = 2_000) -> None:
        for _ in range(turns):
            if condition():
                return
            await self.turn()
        raise AssertionError(f"It never came to {what}.")

    def agent(self, device_id: bytes) -> LinkAgent:
        secured = self.nodes[device_id].secured
        assert secured is not None
        return secured.agent

    async def readings(self, device_id: bytes) -> dict[int, int]:
        """The stored readings of a meter's main channel by their instant; a conflict is a failure."""
        shown = await self.desk.call("readings", operator.BillQuery(device_id=device_id), operator.Text)
        found = msgspec.json.decode(shown.json)
        assert self.centre.parts.mdms.counts().conflicts == 0
        assert len(set(found["end_at"])) == len(found["end_at"])
        return dict(zip(found["end_at"], found["register"], strict=True))

    async def check_complete(self) -> None:
        """Every hour of every meter once, with its register."""
        for device_id, node in self.nodes.items():
            found = await self.readings(device_id)
            due = range(SINCE + HOUR, SINCE + DAYS * DAY + 1, HOUR)
            assert {at: found.get(at) for at in due} == {
                at: node.meter.readings.register(1, at) for at in due
            }

    def quiet(self) -> bool:
        """Every meter has a session and nothing left to deliver."""
        return all(
            node.secured is not None
            and node.secured.agent.phase == "open"
            and node.secured.outbox.through == SINCE + DAYS * DAY
            and not node.secured.agent.waiting()
            and not node.secured.agent._ping
            for node in self.nodes.values()
        )

    async def settle(self) -> None:
        await self.until(self.quiet, "rest")
        for _ in range(10):  # what is still on its way down
            await self.turn()

    # --- the desk ---------------------------------------------------------------------------------------

    async def read(self, frame: Frame, lasts: int = HOUR) -> Outcome:
        asked = ReadMeter(device_id=frame.device_id, frame=frame.encode(), not_after=self.clock.now + lasts)
        return await self.desk.call("read_meter", asked, Outcome)

    def order(self, frame: Frame, lasts: int = HOUR) -> bytes:
        return encoded(
            CommandOrder(
                request_id=fresh_request_id(),
                device_id=frame.device_id,
                zone=DEFAULT_ZONE,
                frame=frame.encode(),
                not_after=self.clock.now + lasts,
                reason="a reason of a test",
                project_id=PROJECT,
            )
        )

    def signed(self, order: bytes) -> tuple[OfficerSignature, ...]:
        """By both officers who may command."""
        return (
            sign("li", self.officer, "command", order),
            sign("wang", self.other_officer, "command", order),
        )

    async def command(self, frame: Frame, act: Act, lasts: int = HOUR) -> Outcome:
        order = self.order(frame, lasts)
        asked = CommandMeter(order=order, act=act, signatures=self.signed(order))
        return await self.desk.call("command_meter", asked, Outcome)

    async def outcome(self, word: Outcome) -> Outcome:
        found = await self.desk.call("words", WordQuery(word_id=word.id), Outcomes)
        return found.words[0]

    async def until_ended(self, word: Outcome, turns: int = 2_000) -> Outcome:
        for _ in range(turns):
            found = await self.outcome(word)
            if found.state not in ("waiting", "sent"):
                return found
            await self.turn()
        raise AssertionError(f"Word {word.id} stayed {found.state} after {found.attempts} attempts.")
