"""The whole path in memory, street to bill: every station real, no socket, no process, and a clock that is a number.

Meters with modules and one without, their buses and the concentrator; in place of its link a queue to the head-end;
head-end, security service and platform put together as their processes do it (`app`), joined by calls inside this
process. What a socket would carry travels as the same bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import runpy
import sys
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec.structs import asdict, replace

from meterseal.app import headend, keys, operator, platform
from meterseal.edge.agent import Timing
from meterseal.edge.concentrator import Concentrator, MeterAt, Up
from meterseal.edge.delivery import REPORTED_FOR
from meterseal.edge.memories import Memories
from meterseal.edge.node import Node
from meterseal.edge.poll import Pace
from meterseal.edge.water import WaterMeter
from meterseal.kit import attacks
from meterseal.kit.bus import Bus
from meterseal.kit.demo import bills_plan
from meterseal.kit.field import Field
from meterseal.kit.incidents import Incident
from meterseal.kit.life import design_of, lived
from meterseal.kit.plan import StreetPlan, make_plan
from meterseal.kit.profiles import DAY, HOUR
from meterseal.kit.street import Street, StreetConfig, write_registers
from meterseal.mdms.store.rows import ORIGINS
from meterseal.mesh.authority import TlsDirectory
from meterseal.mesh.rpc import OPERATOR, InProcess, Rpc
from meterseal.security.service import SecurityService, provision
from meterseal.things import alarms
from meterseal.wire.frame import parse_frame
from tests.control_store import control_at

MORNING = 1_779_033_600_000 + 9 * HOUR  # 2026-05-18 09:00 in Shanghai
DAYS = 36
OPENED = 10 * DAY + 7 * HOUR
"""When the cover of the last meter is opened."""
PASSPHRASE = b"a passphrase of this test"
PROJECT = bytes.fromhex("1101000000000001aa01bb0200000001")
PLAIN = bytes.fromhex("1078330099887766")
PACE = Pace(answer=200, rest=20, longest_rest=100)
TIMING = Timing(repeat=20_000)


class Clock:
    """One clock for everybody."""

    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


class Wire:
    """A link's twin: keeps what the head-end sends."""

    def __init__(self, concentrator_id: bytes) -> None:
        self.concentrator_id = concentrator_id
        self.source = f"concentrator {concentrator_id.hex()}"
        self.down: deque[Up] = deque()

    def send(self, device_id: bytes, message: bytes) -> None:
        self.down.append(Up(device_id, message))


class Platform:
    """Security service, platform and head-end, each reached through its table of methods and by its own name."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self._root, self._clock = root, clock
        provision(root / "keys", PASSPHRASE, PROJECT, clock())
        TlsDirectory(root / "tls").provision(PASSPHRASE, clock())
        self._service = SecurityService.open(root / "keys", PASSPHRASE, clock=clock)
        self.engine = control_at(root / "control.db")

    async def start(self) -> None:
        offered = keys.methods(self._service, TlsDirectory(self._root / "tls"), PASSPHRASE, self._clock)
        self._parts = await platform.assemble(
            self.engine, self._root / "measurements", InProcess(offered, "platform"), self._clock
        )
        self.mdms = self._parts.mdms
        self.desk = InProcess(self._parts.operator, OPERATOR)
        self.uplink = headend.assemble(
            InProcess(offered, "headend"),
            InProcess(self._parts.methods, "headend"),
            self._clock,
            lambda paused: None,
        )
        self._work = asyncio.create_task(self.uplink.run())

    async def stop(self) -> None:
        self._work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._work
        await self._parts.mdms.close()
        self._service.close()
        self.engine.dispose()


class Ground:
    """A street on its buses, its concentrator, and queues where its link would be."""

    def __init__(self, field: Field, platform_: Platform, clock: Clock) -> None:
        plan = field.plan
        self.clock, self.platform = clock, platform_
        self.wire = Wire(plan.concentrator_id)
        self.up: deque[Up] = deque()
        config = StreetConfig(dir=str(field.street), plan=str(field.directory / "plan.json"), timing=TIMING)
        self.street = Street(config, clock)
        self.plain = plain_meter(plan)
        self._buses = [*self.street.buses, Bus([Node(self.plain)])]
        risers = [
            [MeterAt(device_id=meter.device_id) for meter in plan.meters if meter.riser == riser]
            for riser in range(plan.risers)
        ]
        self._memories = Memories(field.concentrator)
        self._concentrator = Concentrator(
            device_id=plan.concentrator_id,
            chip=self._memories.chip(plan.concentrator_module, plan.concentrator_id),
            store=self._memories.held(plan.concentrator_module),
            risers=[*risers, [MeterAt(device_id=PLAIN, plain=True)]],
            pace=PACE,
            timing=TIMING,
            jitter=Random(1).random,
            send=self.up.append,
        )
        self._concentrator.reach(True)

    async def play(self) -> None:
        """Let the concentrator poll until every day of every meter is delivered and acknowledged."""
        async with asyncio.timeout(60):
            while not self._delivered():
                for _ in range(16):
                    self._exchange()
                await self._carry()

    def _exchange(self) -> None:
        """Ten milliseconds: one request and its answer on each bus."""
        self.clock.now += 10
        now = self.clock.now
        for riser, bus in zip(self._concentrator.risers, self._buses, strict=True):
            request = riser.request(now)
            if request is not None and not riser.answer(bus.answer(parse_frame(request)[0], now), now):
                riser.timeout(now)
        self._concentrator.speak(now)

    async def _carry(self) -> None:
        """What the link would: up to the head-end, and down what it has said by now."""
        while self.up:
            device_id, message = self.up.popleft()
            self.platform.uplink.receive(self.wire, device_id, message)  # type: ignore[arg-type]
        await asyncio.sleep(0.002)
        while self.wire.down:
            device_id, message = self.wire.down.popleft()
            self._concentrator.receive(device_id, message, self.clock.now)

    def _delivered(self) -> bool:
        said = self.street.progress()
        vouched = self._concentrator.agent
        return (
            said["days"] == said["of"]
            and not said["waiting"]
            and vouched.handshakes > 0
            and not vouched.waiting()
            and not len(self._concentrator.outbox)
        )

    async def send(self, device_id: bytes, message: bytes) -> list[bytes]:
        """The attacks' way in: one message over the concentrator's link; what came back."""
        self.wire.down.clear()
        self.platform.uplink.receive(self.wire, device_id, message)  # type: ignore[arg-type]
        await asyncio.sleep(0.2)
        return [sent for _, sent in self.wire.down]

    def close(self) -> None:
        self._memories.close()
        self.street.memories.close()


def small_street() -> StreetPlan:
    """Two dwellings of four meters, one of them with modules of suite 2."""
    plan = make_plan(until=MORNING, days=DAYS, dwellings=2)
    opened = Incident("cover", plan.since + OPENED, plan.since + OPENED + HOUR)
    meters = [replace(meter, suite=1 + meter.dwelling % 2) for meter in plan.meters]
    meters[-1] = replace(meters[-1], incidents=(opened,))
    return replace(plan, meters=tuple(meters))


def plain_meter(plan: StreetPlan) -> WaterMeter:
    """A water meter without a module, of a third household that nobody bills."""
    planned = replace(plan.meters[0], profile=replace(plan.meters[0].profile, household=2), gaps=())
    return WaterMeter(PLAIN, state=lived(plan, planned), design=design_of(planned))


async def enrol_plain(plan: StreetPlan, desk: Rpc) -> None:
    supply = operator.Supply(
        device_id=PLAIN,
        medium="water",
        protocol="cjt188",
        profile="water-generic",
        since=plan.since,
        concentrator_id=plan.concentrator_id,
    )
    premises = operator.NewPremises(name="", address="", supplies=(supply,))
    await desk.call("enrol", operator.Enrol(premises=(premises,)), operator.EnrolReply)


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[tuple[Field, Ground]]:
    clock = Clock(MORNING)
    platform_ = Platform(tmp_path, clock)
    await platform_.start()
    field = Field(tmp_path / "field", small_street())
    await field.enrol(platform_.desk)
    await enrol_plain(field.plan, platform_.desk)
    made = Ground(field, platform_, clock)
    yield field, made
    made.close()
    await platform_.stop()


async def asked(desk: Rpc, method: str, request: Any) -> Any:
    return json.loads((await desk.call(method, request, operator.Text)).json)


async def counts(desk: Rpc) -> operator.Counts:
    return await desk.call("counts", operator.Page(), operator.Counts)


def recalculated(field: Field, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The bills in fen by usage point, added up by the separate program, which shares no code with ours."""
    write_registers(field.plan, field.joined.usage_points, field.registers)
    asked_for = field.directory / "recalculate.json"
    asked_for.write_text(json.dumps({"agreements": bills_plan(field)}))
    monkeypatch.setattr(sys, "argv", ["recalculate", str(field.registers), str(asked_for)])
    capsys.readouterr()
    runpy.run_module("meterseal.kit.recalculate")
    return json.loads(capsys.readouterr().out)


def expected_readings(field: Field) -> int:
    """How many distinct readings the store must hold.

    The truth log has one row an hour from the beginning of the window to its end, both included. A meter's load profile
    is all of them but the first, which no interval ends with, and but the hours that the plan loses (gaps). A closing
    report of a day repeats the last reading of that day's profile and adds none, except with a heat meter: its volume
    (channel 2) is a reading of its own, one for each day young enough for a closing report when it was delivered. The
    meter without a module is read once.
    """
    with field.registers.open() as file:
        rows = sum(1 for _ in csv.DictReader(file))
    meters = field.plan.meters
    assert rows == len(meters) * (DAYS * 24 + 1)
    lost = sum(gap.hours for meter in meters for gap in meter.gaps)
    assert lost > 0
    volumes = sum(meter.medium == "heat" for meter in meters) * (REPORTED_FOR // DAY)
    return rows - len(meters) - lost + volumes + 1


async def test_a_street_from_meter_to_bill_in_memory(
    ground: tuple[Field, Ground], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    field, street = ground
    desk, meters = street.platform.desk, len(field.plan.meters)
    await street.play()
    report = await asked(desk, "bills_run", operator.BillRun())
    assert report["held"] == []

    truth = recalculated(field, capsys, monkeypatch)
    bills = await asked(desk, "bills", operator.BillQuery())
    assert {bill["usage_point"]: bill["total_fen"] for bill in bills} == truth["usage_points"]
    assert len(bills) == meters
    proved = {1: "meter-signed", 2: "platform-attested"}
    points = field.joined.usage_points
    assert {bill["usage_point"]: bill["assurance"] for bill in bills} == {
        # A band's hours lie inside the signed chain; everything else is a difference of signed registers.
        points[meter.device_id.hex()]: "meter-chained"
        if (meter.medium, meter.suite) == ("electricity", 1)
        else proved[meter.suite]
        for meter in field.plan.meters
    }

    found = await counts(desk)
    assert found.total_fen == truth["total_fen"] > 0
    assert found.evidence == found.evidence_good == meters * DAYS
    assert found.readings == expected_readings(field)
    # Each sealed meter has one session and the concentrator one more; the meter without a module has none.
    assert found.sessions == meters + 1
    assert (found.meters, found.refused, found.quarantined) == (meters + 1, 0, 0)

    said = {one.code: one for one in alarms.counts(street.platform.engine)}
    assert (said["meter.removed"].alarm, said["meter.removed"].count) == ("tamper", 1)
    assert said["meter.removed"].last_at == field.plan.since + 11 * DAY

    shown = await asked(desk, "readings", operator.BillQuery(device_id=PLAIN))
    assert [ORIGINS[origin] for origin in shown["origin"]] == ["vouched"]
    assert shown["register"] == [street.plain.readings.register(1, shown["end_at"][0])]

    street.street.write_recorded(field.record)
    codes = {
        attacks.replayed: "link.replay",
        attacks.altered: "link.tag",
        attacks.copied: "link.module-copied",
    }
    for attack, code in codes.items():
        outcome = await attack(field, street, desk)  # type: ignore[arg-type]
        assert outcome.refused, outcome
        assert outcome.entry is not None
        assert outcome.entry.code == code
    after = await counts(desk)
    assert asdict(after) == asdict(found) | {"refused": found.refused + len(codes)}
    assert (await asked(desk, "bills", operator.BillQuery())) == bills
