"""Station edge, what all meters share on a bus: an address, ordinary requests, and the behaviour behind them.

It holds no key and seals nothing (`agent` does), and it reads no clock: (state, input, now) -> answer. How a meter
behaves is `metering`'s; what differs by medium is in `water`, `gas`, `heat` and `electricity`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from msgspec.structs import replace

from meterseal.edge.metering import clock
from meterseal.edge.metering.behaviour import behave
from meterseal.edge.metering.design import DAY, DESIGNS, HOUR, Design
from meterseal.edge.metering.freezing import Stored
from meterseal.edge.metering.inputs import ClockSet, Input, Ordered, Outcome, Pressed
from meterseal.edge.metering.state import MeterState
from meterseal.edge.readings import Readings
from meterseal.errors import LocalError, PeerError
from meterseal.model import EXPORT, HEAT_VOLUME, MAIN, Medium
from meterseal.wire import encode, roles
from meterseal.wire.asked import Ask, Reason
from meterseal.wire.frame import Frame, address_of
from meterseal.wire.profile import Profile, profile_of
from meterseal.wire.values import Values

READS = ("read", "read-key-version", "follow-up")
"""Requests that change nothing."""
REGISTER = {MAIN: 0, HEAT_VOLUME: 1, EXPORT: 1}
"""The number of the register that a channel is, among those of a design."""
MEDIUM_ALONE = 2
"""Digits of a number that say no more than the kind of meter."""
VALVES = {"open": 0, "closed": 1, "abnormal": 3}
"""D1 D0 of ST."""

__all__ = ["DAY", "HOUR", "Meter", "MeterState"]


class OwnReadings:
    """What a meter stored by itself."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._of: tuple[MeterState, Stored] | None = None

    @property
    def stored_readings(self) -> Stored:
        """The readings of the state as it is."""
        state = self._meter.state
        if self._of is None or self._of[0] is not state:
            self._of = state, Stored(state, self._meter.design)
        return self._of[1]

    @property
    def since(self) -> int:
        return self.stored_readings.since

    @property
    def until(self) -> int:
        return self.stored_readings.until

    def register(self, channel: int, at: int) -> int:
        return self.stored_readings.register(REGISTER[channel], at)

    def stored(self, channel: int, end_at: int) -> int | None:
        return self.stored_readings.stored(end_at, REGISTER[channel]) if channel != HEAT_VOLUME else None


class Meter(ABC):
    """One meter on a bus. Subclasses give the payloads of their medium.

    `readings` is a counting mechanism outside the meter's own state; without one the meter shows what it counted
    itself (`metering`). `keep` writes the state, whole and durably, before anything comes of a change. `profile` is its
    model, by default that of its number; `clear_writes` lets a bench write to it in clear.
    """

    medium: ClassVar[Medium]
    unit: ClassVar[int]
    """Code of the unit of channel 1 (section 6.4)."""

    def __init__(
        self,
        device_id: bytes,
        readings: Readings | None = None,
        state: MeterState | None = None,
        *,
        design: Design | None = None,
        profile: Profile | None = None,
        clear_writes: bool = False,
    ) -> None:
        self._made_as = device_id
        self.profile = profile or profile_of(device_id)
        self.clear_writes = clear_writes
        self._piece = 0
        self.design = design or DESIGNS[self.medium]
        self.state = state or MeterState()
        self.own = OwnReadings(self)
        self.readings: Readings = self.own if readings is None else readings
        self.keep: Callable[[], None] | None = None
        self.protocol = address_of(device_id)[0]

    @property
    def device_id(self) -> bytes:
        """Its identity: as made, or with the address that it was given in the production phase."""
        address = self.state.parameters.address
        return self._made_as[: -len(address)] + address if address else self._made_as

    @property
    def wire_address(self) -> bytes:
        """The address as frames carry it, low byte first."""
        return address_of(self.device_id)[2]

    @property
    def profiled(self) -> tuple[int, ...]:
        """Channels of its load profile, each signed by its module at the end of the day."""
        return (MAIN, EXPORT) if self.design.feeds else (MAIN,)

    @property
    def utc_offset(self) -> int:
        """That of the meter's local clock, in minutes."""
        return self.design.utc_offset

    # --- behaviour --------------------------------------------------------------------------------------

    def feed(self, what: Input, now: int) -> Outcome:
        """Let something happen to the meter. The new state is written before it counts: one write for one input."""
        before = self.state
        outcome = behave(self.design, before, what, now)
        if outcome.state is not before:
            self.state = outcome.state
            if self.keep is not None:
                try:
                    self.keep()
                except BaseException:
                    self.state = before
                    raise
        return outcome

    def take_up(self, older: MeterState) -> None:
        """Take valve, permission, battery and clock from the state that an earlier version kept."""
        self.state = replace(
            self.state,
            valve=older.valve,
            permit_until=older.permit_until,
            battery_low=older.battery_low,
            clock_offset=older.clock_offset,
        )

    def clock(self, now: int) -> int:
        """What the meter believes the time is."""
        return clock.shown(self.state, self.design, now)

    def set_clock(self, at: int, now: int) -> None:
        """Set the clock so that it shows `at` at the instant `now`."""
        self.feed(ClockSet(at), now)

    def turn_valve(self, *, opened: bool, now: int) -> Outcome:
        """Turn the valve by an authorised command, as far as the design lets a command do it."""
        return self.feed(Ordered("open" if opened else "close"), now)

    def press_button(self, now: int) -> bool:
        """A person at the meter asks to open; True when the valve is open afterwards."""
        self.feed(Pressed(), now)
        return self.state.valve == "open"

    def status_word(self, at: int | None = None) -> bytes:
        """ST: valve in D1 D0, battery in D2 of the first byte (section 6.5); alarms in the second, those of the day
        that ended at `at` where that is asked.
        """
        state = self.state
        first = VALVES[state.valve] | (4 if state.battery_low else 0)
        alarms = state.alarms | state.raised if at is None else self.own.stored_readings.status(at)
        return bytes((first, alarms))

    # --- on the bus -------------------------------------------------------------------------------------

    def addressed(self, frame: Frame) -> bool:
        """Is the frame for this meter: own T (or one by which its model is asked) and address, AA for any digit."""
        if frame.protocol != self.protocol:
            return False
        if any(asked not in (0xAA, own) for asked, own in zip(frame.address, self.wire_address, strict=True)):
            return False
        if self.protocol == "dlt645" or frame.meter_type in (self.device_id[0], 0xAA):
            return True
        asked_as = bytes((frame.meter_type,)) + self.device_id[1:]
        return self.profile.closeness(asked_as) > MEDIUM_ALONE

    def handle(self, frame: Frame, now: int, *, clear: bool) -> Frame | None:
        """The answer to an ordinary request in clear; None where a meter is silent (not for it, or an
        answer).

        `clear` says whether policy lets readings travel in clear; the address may always be asked for. What
        changes the meter is never done on a request in clear: that takes a guarded command (LINK section
        4). A meter without a module on a bench (`clear_writes`) takes writes as its model does.
        """
        if not self.addressed(frame) or frame.control & 0x80:
            return None
        ask = self._ask(frame)
        if ask is not None and ask.kind == "read-address":
            return self.tell_address(frame)
        if ask is None or ask.kind not in READS:
            if ask is not None and self.clear_writes:
                return self.write(frame, ask, now)
            return self.refuse(frame, "other" if clear and ask is None else "not-authorised")
        if not clear:
            return self.refuse(frame, "not-authorised")
        return self.answer_read(frame, ask, now)

    def act(self, frame: Frame, now: int) -> Frame:
        """Carry out a frame that the module found authorised; the answer. Reads are answered as well."""
        ask = self._ask(frame)
        if ask is None:
            return self.refuse(frame, "other")
        if ask.kind == "read-address":
            return self.tell_address(frame)
        return self.answer_read(frame, ask, now) if ask.kind in READS else self.write(frame, ask, now)

    def _ask(self, frame: Frame) -> Ask | None:
        """What the frame asks for; None for what no meter of this model can act on."""
        try:
            return roles.ask_of(frame, self.profile, utc_offset_minutes=self.utc_offset)
        except PeerError:
            return None

    def tell_address(self, frame: Frame) -> Frame:
        """The answer to a request for the address."""
        return roles.address_answer(self.device_id, frame, self.profile)

    def answer_read(self, frame: Frame, ask: Ask, now: int) -> Frame:
        """The answer to a read request, asked in clear or under the seal. A piece of a long answer follows the piece
        before it.
        """
        values = self.stated(ask, now)
        if values is None:
            return self.refuse(frame, "no-such-data")
        self._piece = self._piece + 1 if ask.kind == "follow-up" else 0
        try:
            return roles.answer(
                self.device_id,
                frame,
                values,
                self.profile,
                number=self._piece,
                utc_offset_minutes=self.utc_offset,
            )
        except LocalError:  # the model's layout has a field that this meter does not measure
            return self.refuse(frame, "no-such-data")

    def write(self, frame: Frame, ask: Ask, now: int) -> Frame:
        """Carry out a write; the answer says whether it was."""
        if ask.kind == "valve" and ask.action in ("open", "close"):
            refused: Reason | None = self.turn_valve(opened=ask.action == "open", now=now).refused or None
        else:
            wanted = self.wanted(ask, now)
            refused = wanted if isinstance(wanted, str) else self.feed(wanted, now).refused or None
        if refused is not None:
            return self.refuse(frame, refused)
        return roles.done(self.device_id, frame, self.profile, status=self.status_word())

    def refuse(self, frame: Frame, reason: Reason) -> Frame:
        """The error answer, the model's way."""
        return roles.refuse(self.device_id, frame, reason, self.profile)

    def is_read(self, frame: Frame) -> bool:
        """Does the control code only read?"""
        return frame.control == (encode.READ if self.protocol == "cjt188" else encode.READ_645)

    @abstractmethod
    def stated(self, ask: Ask, now: int) -> Values | None:
        """What the meter states when it is asked for this, by the names of readings; None when it has no such data."""

    @abstractmethod
    def wanted(self, ask: Ask, now: int) -> Input | Reason:
        """What a write other than one to the valve asks of the meter, or why it is refused."""

    # --- what is delivered ------------------------------------------------------------------------------

    @abstractmethod
    def reports(self, at: int) -> list[Frame]:
        """The unrequested answers that close a day: registers and state, with the instant `at` in them."""

    def interval_frames(self, since: int, until: int) -> list[Frame]:
        """The load profile in (since, until] as interval blocks, hourly, channel by channel (LINK section 4)."""
        most = encode.INTERVALS_PER_FRAME[self.protocol]
        ends = range(since + HOUR, until + 1, HOUR)
        return [
            encode.interval_block(
                self.device_id,
                start_at=ends[k],
                step_minutes=60,
                channel=channel,
                unit=self.unit,
                registers=[self.readings.stored(channel, end_at) for end_at in ends[k : k + most]],
                utc_offset_minutes=self.utc_offset,
            )
            for channel in self.profiled
            for k in range(0, len(ends), most)
        ]

    def settled(self, at: int, months_back: int = 0) -> int | None:
        """Register at local 00:00 of the settlement day at or before `at`, or of one months before; None where it was
        not frozen.
        """
        day = self.state.parameters.settlement_day
        moment = clock.settlement(at, day, self.utc_offset, months_back)
        if self.readings is self.own:
            closed = self.own.stored_readings.closed(moment)
            return closed[0] if closed else None
        return None if moment < self.readings.since else self.readings.register(MAIN, moment)
