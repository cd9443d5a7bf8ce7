"""A small field in memory: meters on buses, a concentrator, the scripted platform; time is a number."""

from __future__ import annotations

from collections import deque
from random import Random

from meterseal.edge.agent import LinkAgent, Timing
from meterseal.edge.chip import Chip
from meterseal.edge.concentrator import Concentrator, MeterAt, Up
from meterseal.edge.delivery import DailyOutbox
from meterseal.edge.electricity import ElectricityMeter
from meterseal.edge.gas import GasMeter
from meterseal.edge.heat import HeatMeter
from meterseal.edge.meter import Meter
from meterseal.edge.module import Module
from meterseal.edge.node import Node, Secured
from meterseal.edge.nv import MemoryNv, SealedNv
from meterseal.edge.poll import Pace
from meterseal.edge.water import WaterMeter
from meterseal.errors import MetersealError
from meterseal.kit.bus import Bus
from meterseal.link import evidence
from meterseal.wire.frame import parse_frame
from meterseal.wire.meaning import interpret
from tests.crypto.pki import NOW
from tests.edge.platform import STORAGE, Platform

HOUR, DAY = 3_600_000, 86_400_000
SINCE = 1_779_033_600_000 - 16 * HOUR + 8 * HOUR  # 2026-05-18 00:00 +08, before the tests' NOW
KINDS: dict[int, type[Meter]] = {0x10: WaterMeter, 0x30: GasMeter, 0x20: HeatMeter, 0xD7: ElectricityMeter}
CONCENTRATOR = bytes.fromhex("f000000000000001")
TIMING = Timing(repeat=1_000, slowest=8_000, backoff=500, window=8)
PACE = Pace(answer=200, burst=4, rest=20, longest_rest=100, plain=60_000, silent=2_000)


class Counting:
    """A mechanism; the load profile of one meter in three lost an hour."""

    def __init__(self, device: bytes, days: int) -> None:
        self._first = int.from_bytes(device[-2:], "big") * 1_000
        self._gap = SINCE + DAY + 5 * HOUR if device[-1] % 3 == 0 else 0
        self.since, self.until = SINCE, SINCE + days * DAY

    def register(self, channel: int, at: int) -> int:
        return self._first + (at - SINCE) // HOUR * 3

    def stored(self, channel: int, end_at: int) -> int | None:
        return None if end_at == self._gap else self.register(channel, end_at)


class Field:
    """Meters of `devices` (suite 1, every other suite 2), plain meters, one riser for each list."""

    def __init__(
        self,
        risers: list[list[bytes]],
        plain: list[bytes] | None = None,
        *,
        days: int = 3,
        seed: int = 1,
        platform: Platform | None = None,
        timing: Timing = TIMING,
    ) -> None:
        self.platform = platform or Platform()
        self.random = Random(seed)
        self.now = NOW
        self.days, self.timing = days, timing
        self.layout = risers
        self.plain = set(plain or [])
        self.memory: dict[bytes, MemoryNv] = {}
        self.pages: dict[bytes, MemoryNv] = {}
        for number, device in enumerate([*(d for riser in risers for d in riser), CONCENTRATOR]):
            if device in self.plain:
                continue
            self.memory[device], self.pages[device] = MemoryNv(), MemoryNv()
            suite = 2 if number % 2 and device != CONCENTRATOR else 1
            self.platform.module(device, self.serial(device), suite, self.memory[device])
        self.held = MemoryNv()
        self.to_platform: deque[Up] = deque()
        self.to_field: deque[Up] = deque()
        self.heard: list[Up] = []
        self.power_on_meters()
        self.power_on_concentrator()

    @staticmethod
    def serial(device: bytes) -> bytes:
        return b"M" + device[1:]

    def chip(self, device: bytes) -> Chip:
        return Chip(Module(SealedNv(self.memory[device], STORAGE, self.serial(device))))

    def power_on_meters(self) -> None:
        self.nodes: dict[bytes, Node] = {}
        self.buses: list[Bus] = []
        for riser in self.layout:
            nodes = []
            for device in riser:
                meter = KINDS[device[0]](device, Counting(device, self.days))
                secured = None
                if device not in self.plain:
                    chip = self.chip(device)
                    outbox = DailyOutbox(meter, chip, self.pages[device])
                    secured = Secured(chip, LinkAgent(chip, outbox, self.timing, self.random.random), outbox)
                self.nodes[device] = Node(meter, secured)
                nodes.append(self.nodes[device])
            self.buses.append(Bus(nodes))

    def power_on_concentrator(self) -> None:
        self.concentrator = Concentrator(
            device_id=CONCENTRATOR,
            chip=self.chip(CONCENTRATOR),
            store=SealedNv(self.held, STORAGE, b"held"),
            risers=[[MeterAt(device_id=d, plain=d in self.plain) for d in riser] for riser in self.layout],
            pace=PACE,
            timing=self.timing,
            jitter=self.random.random,
            send=self.to_platform.append,
        )
        self.concentrator.reach(True)

    def step(self, *, loss: float = 0.0) -> None:
        """Ten milliseconds: one exchange on each bus, whatever the platform has to say."""
        self.now += 10
        self.platform.now = self.now
        for riser, bus in zip(self.concentrator.risers, self.buses, strict=True):
            request = riser.request(self.now)
            if request is None:
                continue
            answer = b"" if self.random.random() < loss else bus.answer(parse_frame(request)[0], self.now)
            if not answer or self.random.random() < loss or not riser.answer(answer, self.now):
                riser.timeout(self.now)
        self.concentrator.speak(self.now)
        while self.to_platform:
            up = self.to_platform.popleft()
            self.heard.append(up)
            if self.random.random() < loss:
                continue
            try:
                answers = self.platform.receive(up.message)
            except (MetersealError, KeyError) as error:
                self.platform.refused.append(str(error))
                continue
            self.to_field.extend(Up(up.device_id, one) for one in answers if self.random.random() >= loss)
        while self.to_field:
            down = self.to_field.popleft()
            self.concentrator.receive(down.device_id, down.message, self.now)

    def run(self, steps: int, *, loss: float = 0.0, until_done: bool = True) -> int:
        for number in range(steps):
            self.step(loss=loss)
            if until_done and number % 20 == 0 and self.done():
                return number
        return steps

    def done(self) -> bool:
        meters = [node.secured for node in self.nodes.values() if node.secured]
        end = SINCE + self.days * DAY
        return all(one.outbox.through == end and not one.agent.waiting() for one in meters)

    def readings(self, device: bytes) -> dict[int, int | None]:
        """Interval readings of a device as the platform got them; a different double is a failure."""
        found: dict[int, int | None] = {}
        for sender, frame in self.platform.frames:
            block = interpret(frame).interval if sender == device else None
            for k, value in enumerate(block.registers if block else ()):
                assert block is not None
                at = block.start_at + k * HOUR
                assert found.setdefault(at, value) == value
        return found

    def check_complete(self) -> None:
        """Every reading once and right, every freeze proved and chained."""
        for device, node in self.nodes.items():
            if node.secured is None:
                continue
            readings = node.meter.readings
            expected = {at: readings.stored(1, at) for at in range(SINCE + HOUR, readings.until + 1, HOUR)}
            assert self.readings(device) == expected, device.hex()
            head, sequence = evidence.GENESIS, 0
            statements = {
                evidence.unpack(one).sequence: (one, signature)
                for one, signature in self.platform.statements
                if one[:8] == device
            }
            for day in range(self.days):
                hours = range(SINCE + day * DAY + HOUR, SINCE + (day + 1) * DAY + 1, HOUR)
                stored = [(at, value) for at in hours if (value := expected[at]) is not None]
                head, sequence = evidence.chain(head, 1, stored), sequence + 1
                statement, signature = statements[sequence]
                said = evidence.unpack(statement)
                assert self.platform.statement_holds(device, statement, signature)
                assert (said.head, said.end_at) == (head, SINCE + (day + 1) * DAY)
                assert said.register == readings.register(1, said.end_at)
            assert len(statements) == self.days
