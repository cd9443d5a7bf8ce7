"""Station edge, the concentrator (集中器): polls its risers, carries link messages, vouches for plain meters.

It cannot open what it carries for a sealed meter and keeps none of it: the meter does until it is
acknowledged. What it says itself it seals in a session of its own module. No sockets, no clock here;
`gateway` has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from meterseal.edge.agent import LinkAgent, Timing
from meterseal.edge.backfill import Backfill
from meterseal.edge.chip import Chip
from meterseal.edge.clocks import Clocks
from meterseal.edge.held import BACKLOG, HeldAnswers
from meterseal.edge.hunting import Hunt
from meterseal.edge.line import Line
from meterseal.edge.nv import SealedNv
from meterseal.edge.passing import Passing
from meterseal.edge.poll import Pace, Riser
from meterseal.edge.roster import MeterAt, Roster
from meterseal.edge.schedule import Schedule
from meterseal.edge.strangers import Strangers
from meterseal.edge.timekeeping import Timekeeping
from meterseal.edge.watching import AlarmBits, Watch
from meterseal.errors import LocalError
from meterseal.wire.frame import Frame
from meterseal.wire.roster import Listed

__all__ = ["Concentrator", "MeterAt", "Up"]


class Up(NamedTuple):
    """One message for the head-end, of this device."""

    device_id: bytes
    message: bytes


class Concentrator:
    """The whole concentrator without its sockets."""

    def __init__(
        self,
        *,
        device_id: bytes,
        chip: Chip,
        store: SealedNv,
        risers: list[list[MeterAt]],
        pace: Pace,
        timing: Timing,
        jitter: Callable[[], float],
        send: Callable[[Up], None],
        schedule: Schedule | None = None,
        alarms: Mapping[str, AlarmBits] | None = None,
    ) -> None:
        self.device_id = device_id
        self.outbox = HeldAnswers(store)
        self.agent = LinkAgent(chip, self.outbox, timing, jitter, direct=True)
        self._send = send
        self.carried_up = self.carried_down = self.misdirected = 0
        self.roster = Roster(store, risers)
        self.passing = Passing(self, chip, self.agent)
        self.risers = [
            Riser(
                [Line(meter.device_id, plain=meter.plain, model=meter.model) for meter in meters],
                pace,
                self._up,
                self._plain,
                schedule,
            )
            for meters in self.roster.risers
        ]
        self._scheduled = schedule is not None
        self.clock = Timekeeping(self.risers, schedule)
        self.hunt = Hunt(self.risers, schedule)
        self.backfill = Backfill(
            self.risers, schedule, self.outbox, lambda now: self.clock.good(now, BACKLOG)
        )
        self._place = {device: riser for riser in self.risers for device in riser.lines}
        self.strangers = Strangers(store, self.outbox, self._place.keys())
        self._told_at = [0] * len(self.risers)
        self._offset = 480 if schedule is None else schedule.utc_offset_minutes
        lines = {device: riser.lines[device] for device, riser in self._place.items()}
        self.watch = Watch(store, self.outbox, alarms or {}, self._offset, lines)
        self.clocks = Clocks(self.outbox, self._offset, self._own_good)

    def _up(self, device_id: bytes, message: bytes) -> None:
        self.carried_up += 1
        self._send(Up(device_id, message))

    def _plain(self, device_id: bytes, frame: Frame, now: int) -> None:
        timed = self._scheduled and self.clock.good(now, BACKLOG)
        self.outbox.take(device_id, frame, now, timed=timed, expected=self.backfill.expected)
        riser = self._place[device_id]
        self.watch.heard(riser, riser.lines[device_id], frame, now)
        self.clocks.heard(riser, riser.lines[device_id], frame, now)

    def _own_good(self, now: int) -> bool:
        """Whether other clocks may be held against its own."""
        return self._scheduled and self.clock.good(now)

    def find(self, device_id: str) -> tuple[Line, Riser]:
        """A plain meter by its device id in hex. LocalError `concentrator.unknown`, or `concentrator.sealed` for a meter
        that only the platform reads.
        """
        try:
            raw = bytes.fromhex(device_id)
        except ValueError:
            raw = b""
        riser = self._place.get(raw)
        if riser is None:
            raise LocalError(
                "concentrator.unknown", f"No meter {device_id[:16]} is behind this concentrator."
            )
        line = riser.lines[raw]
        if not line.plain:
            raise LocalError(
                "concentrator.sealed",
                f"Meter {device_id} has a module: its readings are for the platform alone.",
            )
        return line, riser

    # --- whom it reads ----------------------------------------------------------------------------------

    def riser_of(self, device_id: bytes) -> Riser | None:
        """The bus of a plain meter; None for any other device."""
        riser = self._place.get(device_id)
        return riser if riser is not None and riser.lines[device_id].plain else None

    def relist(self, device_id: bytes, listed: Listed, now: int) -> bool:
        """Change whom it reads, as the platform was told; False where that cannot be. What is held of a meter that goes
        is delivered all the same.
        """
        if self.roster.refuses(device_id, listed):
            return False
        self.roster.change(device_id, listed)
        if (former := self._place.pop(device_id, None)) is not None:
            former.remove(device_id)
            self.backfill.remove(former, device_id)
            self.watch.forget(device_id)
            self.clocks.forget(device_id)
        if listed.what != "remove":
            riser = self._place[device_id] = self.risers[listed.bus]
            line = Line(device_id, plain=listed.what == "add", model=listed.model)
            riser.add(line)
            self.strangers.forget(device_id)
            if line.plain:
                self.backfill.add(riser, line)
        return True

    def tick(self, now: int) -> None:
        """Look after what has a time of its own; ten times a second or so."""
        self.hunt.tick(now)
        self.clock.tick(now)
        self.passing.tick(now)
        self._tell(now)
        if self._scheduled and self.agent.phase == "open" and self.clock.wants(now):
            self.agent.ask_time()

    def _tell(self, now: int) -> None:
        """Tell the platform of meters that a search found, once the time is known by which they were."""
        if not self.clock.good(now, BACKLOG):
            return
        for bus, sought in enumerate(self.hunt.last):
            if sought.ended_at > self._told_at[bus]:
                self._told_at[bus] = sought.ended_at
                self.strangers.tell(bus, sought.unknown, now, utc_offset_minutes=self._offset)

    def reach(self, reachable: bool) -> None:
        """The head-end can, or cannot, take messages now."""
        for riser in self.risers:
            riser.open = reachable

    def speak(self, now: int, most: int = 8) -> None:
        """Send what the concentrator's own module has to say."""
        for _ in range(most):
            message = self.agent.offer(now)
            if message is None:
                return
            self._send(Up(self.device_id, message))

    def receive(self, device_id: bytes, message: bytes, now: int) -> Riser | None:
        """A message from the head-end: for a meter or for the concentrator. The riser that is to be woken is returned."""
        riser = self._place.get(device_id)
        if riser is not None:
            self.carried_down += 1
            riser.deliver(device_id, message)
        elif device_id == self.device_id:
            for order in self.agent.receive(message, now):
                riser = self.passing.take(order, now) or riser
            if at := self.agent.clock_to_set():
                self.clock.told(at, now)
        else:
            self.misdirected += 1
        return riser
