"""One concentrator with a schedule on one bus in memory, and a platform that is there or not; time is a number."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime

from meterseal.edge.concentrator import Concentrator, MeterAt, Up
from meterseal.edge.meter import Meter
from meterseal.edge.metering.clock import strikes
from meterseal.edge.metering.counting import born
from meterseal.edge.metering.design import DESIGNS
from meterseal.edge.metering.inputs import Measured
from meterseal.edge.nv import MemoryNv, SealedNv
from meterseal.edge.poll import Pace
from meterseal.edge.schedule import DAY, MINUTE, Schedule
from meterseal.edge.watching import AlarmBits
from meterseal.link import control, records
from meterseal.wire import identifiers as ids
from meterseal.wire.frame import Frame
from meterseal.wire.meaning import interpret
from meterseal.wire.profile import Profile, profile_of
from tests.crypto.pki import NOW
from tests.edge.buses import Wire, exchange
from tests.edge.field import CONCENTRATOR, KINDS, TIMING
from tests.edge.platform import STORAGE, Platform

HOUR = 60 * MINUTE
PACE = Pace(answer=200, rest=20, longest_rest=100, silent=1_000)
FIRST, USE = 123_400, 350_000
"""Hundredths that a living meter begins with, and millionths that it turns an hour."""


class Timely(Platform):
    """It answers PING with its time, as the head-end does."""

    def record(self, message: bytes) -> list[bytes]:
        header = records.parse_header(message, up=True)
        session = self.sessions[header.session_id]
        if (
            header.control
            and control.open_control(session.granted.keys, header, message).kind == control.PING
        ):
            return [self.word(session, control.time(self.now, header.counter))]
        return super().record(message)


class Site:
    """The whole of it."""

    def __init__(
        self,
        devices: list[bytes],
        schedule: Schedule,
        sealed: list[bytes] | None = None,
        *,
        models: dict[bytes, str] | None = None,
        suite: int = 1,
        alarms: dict[str, AlarmBits] | None = None,
    ) -> None:
        self.alarms = alarms or {}
        self.wire = Wire(devices)
        self.devices, self.schedule = devices, schedule
        self.sealed, self.models = sealed or [], models or {}
        self.platform = Timely()
        self.memory, self.store = MemoryNv(), MemoryNv()
        self.up: deque[Up] = deque()
        self.now = NOW - NOW % DAY
        self.chip, _ = self.platform.module(CONCENTRATOR, b"concentr", suite, self.memory)
        self.power_on()
        self.online = True

    def power_on(self) -> None:
        """The concentrator begins anew on what its memory holds."""
        self.concentrator = Concentrator(
            device_id=CONCENTRATOR,
            chip=self.chip,
            store=SealedNv(self.store, STORAGE, b"held"),
            risers=[
                [
                    MeterAt(device_id=one, plain=one not in self.sealed, model=self.models.get(one, ""))
                    for one in self.devices
                ]
            ],
            pace=PACE,
            timing=TIMING,
            jitter=lambda: 0.5,
            send=self.up.append,
            schedule=self.schedule,
            alarms=self.alarms,
        )
        (self.riser,) = self.concentrator.risers

    def turn(self, step: int) -> None:
        """Some ms pass; then the bus is asked until it rests, and what waits goes up and is answered."""
        self.now += step
        self.platform.now = self.now
        self.concentrator.tick(self.now)
        while self.exchange() is not None:
            pass
        if not self.online:
            return
        self.concentrator.speak(self.now, 32)
        while self.up:
            up = self.up.popleft()
            for message in self.platform.receive(up.message):
                self.concentrator.receive(up.device_id, message, self.now)

    def exchange(self) -> Frame | None:
        """One request of the concentrator and what comes of it."""
        return exchange(self.riser, self.wire, self.now)

    def run(self, until: int, step: int = MINUTE) -> None:
        while self.now < until:
            self.turn(step)

    def begin(self) -> None:
        """Reach the platform and learn its time."""
        while not self.concentrator.clock.good(self.now) or len(self.concentrator.outbox):
            self.turn(100)
        assert self.concentrator.clock.good(self.now)
        assert len(self.concentrator.outbox) == 0

    def came(self, device: bytes) -> list[int]:
        """Times at which readings of a device stand, as they came."""
        found = []
        for _, frame in self.platform.frames:
            if frame.device_id == device:
                meaning = interpret(frame)
                if meaning.di in (ids.CLOCK, ids.CLOCK_645):
                    continue
                at = meaning.interval.start_at if meaning.interval else meaning.clock_at
                assert at is not None
                found.append(at)
        return found


class Alive:
    """A meter that lives: each hour something is used, and it freezes what its kind freezes."""

    def __init__(self, device: bytes, at: int, profile: Profile | None = None) -> None:
        medium = KINDS[device[0]].medium
        self.design = DESIGNS[medium]
        self.since = at - at % HOUR
        self.hours, self.used, self.powered = 0, 0, True
        self.truth: dict[int, int] = {}
        """What the register showed at every full hour."""
        self.meter: Meter = KINDS[device[0]](
            device,
            state=born(self.design, self.since, (FIRST,)),
            design=self.design,
            profile=profile or profile_of(device),
        )

    def power(self, now: int, *, on: bool) -> None:
        """Cut the electronics' power, or give it back: then the transducer is the first thing that they look at."""
        self.powered = on
        if on:
            self._look(now)

    @staticmethod
    def is_first(at: int) -> bool:
        """Whether that is the local midnight of a settlement day, the first of the month."""
        return datetime.fromtimestamp(at / 1000 + 8 * 3600, UTC).strftime("%d%H") == "0100"

    def live(self, until: int) -> None:
        """Let the hours up to `until` pass."""
        while self.since + (self.hours + 1) * HOUR <= until:
            self.hours += 1
            at = self.since + self.hours * HOUR
            self.used += self.powered or self.design.relay is None  # nothing is used without mains
            self.truth[at] = FIRST + self.used * USE // 10_000
            if self.powered:
                struck = strikes(self.meter.state, self.design, at - 10 * MINUTE)
                self._look(struck)

    def _look(self, now: int) -> None:
        totals = (self.used * USE, 0)[: 1 if len(self.design.registers) == 1 else 2]
        self.meter.feed(Measured(totals, 0), now)
