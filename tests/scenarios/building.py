"""A building in memory through local time: its meters' world by the hour, their buses, a concentrator, a scripted platform.

The world turns the transducers and keeps the only log of what they turned (`Place.truth`); no meter reads it. What arrives
at the platform, through modules, agents, buses in segments and the concentrator, is held against that log as it arrives.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from random import Random

import numpy as np
from msgspec.structs import replace

from meterseal.edge.agent import LinkAgent, Timing
from meterseal.edge.chip import Chip
from meterseal.edge.concentrator import Concentrator, MeterAt, Up
from meterseal.edge.delivery import DailyOutbox
from meterseal.edge.meter import Meter
from meterseal.edge.metering.clock import strikes
from meterseal.edge.metering.counting import born
from meterseal.edge.metering.inputs import BatteryIn, BatteryOut, Input, Measured, Opened, Ordered
from meterseal.edge.module import Module
from meterseal.edge.node import Node, Secured
from meterseal.edge.nv import MemoryNv, SealedNv
from meterseal.edge.poll import Pace
from meterseal.kit.bus import Bus
from meterseal.kit.life import design_of
from meterseal.kit.plan import MeterPlan, StreetPlan
from meterseal.kit.profiles import passed
from meterseal.kit.street import METERS
from meterseal.link import evidence
from meterseal.model import REMOVED
from meterseal.wire.frame import Frame, parse_frame
from meterseal.wire.meaning import interpret
from tests.edge.platform import STORAGE, Platform

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
TIMING = Timing(repeat=60_000, slowest=120_000, backoff=10, window=24)
PACE = Pace(answer=200, burst=8, rest=20, longest_rest=40, silent=2_000)
MILLIONTHS = 10_000
LOST = -1
AT_ONCE = 96
"""Hours whose use is computed at once."""


def serial(device: bytes) -> bytes:
    return b"M" + device[1:]


class Place:
    """One meter on the wall: its world, and what it truly turned."""

    def __init__(self, planned: MeterPlan, since: int) -> None:
        self.planned, self.since = planned, since
        self.installed = since
        self.design = design_of(planned)
        self.device = planned.device_id
        self.wheel = [0] * (1 if len(self.design.registers) == 1 else 2)
        self.truth = array("q")
        """Register at every full hour since `installed`; LOST where the electronics were without power."""
        self.midnights: dict[int, int] = {}
        self.tampered: set[int] = set()
        """Local midnights that end a day on which the cover was open."""
        self.powered = True
        self.node: Node
        self.meter: Meter

    def stored(self, at: int) -> int | None:
        """What the meter must have stored for a full hour: None before it hung there and where it had no power."""
        index = (at - self.installed) // HOUR - 1
        found = self.truth[index] if 0 <= index < len(self.truth) else LOST
        return None if found == LOST else found

    @property
    def register(self) -> int:
        return (self.planned.profile.initial + self.wheel[0] // MILLIONTHS) % 10**8

    def hour(self, at: int, turned: tuple[int, ...], supply: int, back: int) -> None:
        """The hour that ends at `at`: something is used unless the supply is closed, then the meter's clock strikes."""
        electric = self.planned.medium == "electricity"
        if self.meter.state.valve == "open" and (self.powered or not electric):
            self.wheel = [total + more for total, more in zip(self.wheel, turned, strict=False)]
        self.truth.append(self.register if self.powered else LOST)
        if (at - self.since) % DAY == 0:
            self.midnights[at] = self.register
        if self.powered:
            struck = strikes(self.meter.state, self.design, at - 10 * MINUTE)
            assert abs(struck - at) < MINUTE
            self.meter.feed(Measured(tuple(self.wheel), 0, supply, back), struck)

    def happens(self, what: Input, at: int) -> None:
        """Something is done to the meter; what it was closed for is undone by a permission and a hand on the button."""
        self.meter.feed(what, at)
        if isinstance(what, Opened) and what.open:
            self.tampered.add(at + DAY - (at - self.since) % DAY)
        if isinstance(what, BatteryOut):
            self.powered = False
        if isinstance(what, BatteryIn):
            self.powered = True
            self.meter.feed(Measured(tuple(self.wheel)), at)  # the first thing it looks at
            if self.meter.state.valve == "closed":
                self.meter.feed(Ordered("open"), at)
                self.meter.press_button(at + MINUTE)
            assert self.meter.state.valve == "open"


class Arrived:
    """What came to the platform, judged as it comes: every hour once and as it truly was."""

    def __init__(self, places: dict[bytes, Place]) -> None:
        self.places = places
        self.hours: dict[bytes, bytearray] = {}
        """One byte for each full hour since the meter hung there, set when its reading came."""
        self.alarmed: dict[bytes, set[int]] = {}

    def __iadd__(self, came: Iterable[tuple[bytes, Frame]]) -> Arrived:
        for device, frame in came:
            meaning = interpret(frame)
            place = self.places[device]
            seen = self.hours.setdefault(device, bytearray())
            for k, value in enumerate(meaning.interval.registers if meaning.interval else ()):
                assert meaning.interval is not None
                at = meaning.interval.start_at + k * HOUR
                assert place.stored(at) == value, (device.hex(), at)
                index = (at - place.installed) // HOUR - 1
                if index < 0:
                    continue
                seen += bytes(max(0, index + 1 - len(seen)))
                assert not seen[index]
                seen[index] = 1
            status, clock = meaning.status, meaning.clock_at
            if status is not None and clock is not None and int(status.raw, 16) & REMOVED:
                self.alarmed.setdefault(device, set()).add(clock)
        return self


class Proved:
    """The signed freezes, judged as they come: in sequence, chained over the truth, alarms in their status."""

    def __init__(self, platform: Platform, arrived: Arrived) -> None:
        self.platform, self.arrived = platform, arrived
        self.heads: dict[bytes, tuple[int, bytes]] = {}
        self.registers: dict[bytes, int] = {}

    def append(self, proof: tuple[bytes, bytes]) -> None:
        said = evidence.unpack(proof[0])
        device = said.device_id
        place = self.arrived.places[device]
        assert self.platform.statement_holds(device, *proof)
        sequence, head = self.heads.get(device, (0, evidence.GENESIS))
        hours = range(said.end_at - DAY + HOUR, said.end_at + 1, HOUR)
        stored = [(at, value) for at in hours if (value := place.stored(at)) is not None]
        head = evidence.chain(head, 1, stored)
        assert (said.sequence, said.head) == (sequence + 1, head)
        self.heads[device] = said.sequence, head
        assert said.register == place.midnights[said.end_at], device.hex()
        self.registers[device] = said.register
        if said.status & REMOVED:
            self.arrived.alarmed.setdefault(device, set()).add(said.end_at)


class Building:
    """All of it; `plan` says who lives there, times are those of its window."""

    def __init__(self, plan: StreetPlan, seed: int = 5) -> None:
        self.plan, self.random = plan, Random(seed)
        self.now = plan.since
        self.platform = Platform()
        self.places: dict[bytes, Place] = {}
        self.standing: list[Place] = []
        self.removed: list[Place] = []
        arrived = self.arrived = Arrived(self.places)
        self.proved = Proved(self.platform, arrived)
        self.platform.frames = arrived  # type: ignore[assignment]
        self.platform.statements = self.proved  # type: ignore[assignment]
        self.up: list[Up] = []
        self.down: list[Up] = []
        self.reachable = True
        self.risers: list[list[Place]] = [[] for _ in range(plan.risers)]
        for planned in plan.meters:
            self.install(planned)
        self.replace_concentrator(1)

    # --- the building -------------------------------------------------------------------------------------

    def install(self, planned: MeterPlan) -> Place:
        """Put a meter up now, with a module of suite 2."""
        place = Place(planned, self.plan.since)
        place.installed = self.now
        place.meter = METERS[planned.medium](
            planned.device_id,
            state=born(place.design, self.now, (planned.profile.initial,)),
            design=place.design,
        )
        memory = MemoryNv()
        self.platform.module(planned.device_id, serial(planned.device_id), 2, memory)
        chip = Chip(Module(SealedNv(memory, STORAGE, serial(planned.device_id))))
        outbox = DailyOutbox(place.meter, chip, Forgetting())
        place.meter.keep = None
        agent = LinkAgent(chip, outbox, TIMING, self.random.random)
        place.node = Node(place.meter, Secured(chip, agent, outbox))
        self.places[planned.device_id] = place
        self.standing.append(place)
        self.risers[planned.riser].append(place)
        return place

    def swap(self, place: Place, device: bytes) -> Place:
        """Take a meter down and put another up; what the old one shows is read off it."""
        index = self.risers[place.planned.riser].index(place)
        self.removed.append(place)
        self.standing.remove(place)
        fresh = replace(
            place.planned, device_id=device, profile=replace(place.planned.profile, initial=0), gaps=()
        )
        new = self.install(fresh)
        self.risers[place.planned.riser].remove(new)
        self.risers[place.planned.riser][index] = new
        self._wire()
        return new

    def replace_concentrator(self, number: int) -> None:
        """Another concentrator: a module, an identity and a store of its own; it knows nothing of the one before."""
        self.identity = bytes.fromhex("f0000000000000") + bytes((number,))
        self.platform.module(self.identity, serial(self.identity), 2, memory := MemoryNv())
        self._concentrator_memory = memory
        self._wire()

    def _wire(self) -> None:
        self.buses = [Bus([place.node for place in riser]) for riser in self.risers]
        chip = Chip(Module(SealedNv(self._concentrator_memory, STORAGE, serial(self.identity))))
        self.concentrator = Concentrator(
            device_id=self.identity,
            chip=chip,
            store=SealedNv(MemoryNv(), STORAGE, b"held"),
            risers=[[MeterAt(device_id=place.device) for place in riser] for riser in self.risers],
            pace=PACE,
            timing=TIMING,
            jitter=self.random.random,
            send=self.up.append,
        )
        self.concentrator.reach(True)

    # --- time ---------------------------------------------------------------------------------------------

    def live(self, days: int) -> None:
        """Let days pass."""
        self.live_hours(days * 24)

    def live_until(self, hour: int) -> None:
        """Let hours pass until it is that hour."""
        self.live_hours((hour - (self.now - self.plan.since) // HOUR) % 24)

    def live_hours(self, count: int) -> None:
        """Let hours pass."""
        while count > 0:
            self._live(min(count, AT_ONCE))
            count -= AT_ONCE

    def _live(self, count: int) -> None:
        """Let some hours pass, and after each midnight deliver unless the way is cut."""
        since = self.now
        hours = np.arange(since // HOUR, since // HOUR + count, dtype=np.int64)
        use = {
            place.device: passed(self.plan.seed, place.planned.profile, hours, self.plan.weather)
            for place in self.standing
        }
        lists = {
            device: list(
                zip(
                    seen.net.tolist(),
                    (seen.volume if seen.volume.any() else seen.back).tolist(),
                    seen.supply.tolist(),
                    seen.returned.tolist(),
                    strict=True,
                )
            )
            for device, seen in use.items()
        }
        for index in range(count):
            at = since + (index + 1) * HOUR
            for place in self.standing:
                net, second, supply, back = lists[place.device][index]
                place.hour(at, (net, second), supply, back)
            self.now = at
            if (at - self.plan.since) % DAY == 0 and self.reachable:
                self.deliver()

    def deliver(self) -> None:
        """Let the concentrator poll until every meter has delivered every day that it has."""
        began, self.now = self.now, self.now + 5 * MINUTE
        for _ in range(400_000):
            for _ in range(20):
                self._exchange()
            if self._done():
                break
        assert self._done()
        assert self.now < began + 40 * MINUTE
        self.now = began

    def _done(self) -> bool:
        return all(
            secured.outbox.through == place.meter.readings.until and not secured.agent.waiting()
            for place in self.standing
            if (secured := place.node.secured) is not None
        )

    def _exchange(self) -> None:
        self.now += 10
        now = self.platform.now = self.now
        for riser, bus in zip(self.concentrator.risers, self.buses, strict=True):
            request = riser.request(now)
            if request is not None and not riser.answer(bus.answer(parse_frame(request)[0], now), now):
                riser.timeout(now)
        if self.up:
            came, self.up[:] = list(self.up), []
            for up in came:
                for answer in self.platform.receive(up.message):
                    self.concentrator.receive(up.device_id, answer, now)


class Forgetting:
    """A controller's memory that nobody reads again: no program ends here, which the cut-power tests are about."""

    def read(self, name: str) -> bytes | None:
        return None

    def write(self, pages: object) -> None:
        return None
