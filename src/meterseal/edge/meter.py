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
from meterseal.model import MAIN, Medium
from meterseal.wire import encode
from meterseal.wire import identifiers as ids
from meterseal.wire.fields import to_bcd
from meterseal.wire.frame import Frame, address_of

OTHER_ERROR, NO_SUCH_DATA, NOT_AUTHORISED = 0x01, 0x02, 0x04
"""Error word of DL/T 645 (bits 0, 1, 2); CJ/T 188 answers carry it as the second byte of ST."""
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
        return self.stored_readings.register(channel - MAIN, at)

    def stored(self, channel: int, end_at: int) -> int | None:
        return self.stored_readings.stored(end_at) if channel == MAIN else None


class Meter(ABC):
    """One meter on a bus. Subclasses give the payloads of their medium.

    `readings` is a counting mechanism outside the meter's own state; without one the meter shows what it counted
    itself (`metering`). `keep` writes the state, whole and durably, before anything comes of a change.
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
    ) -> None:
        self.device_id = device_id
        self.protocol, _, self.wire_address = address_of(device_id)
        self.design = design or DESIGNS[self.medium]
        self.state = state or MeterState()
        self.own = OwnReadings(self)
        self.readings: Readings = self.own if readings is None else readings
        self.keep: Callable[[], None] | None = None

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
        """Is the frame for this meter: own T and address, or the wildcard AA in either."""
        if frame.protocol != self.protocol:
            return False
        own = frame.address == self.wire_address or frame.address == b"\xaa" * len(self.wire_address)
        return own and (self.protocol == "dlt645" or frame.meter_type in (self.device_id[0], 0xAA))

    def handle(self, frame: Frame, now: int, *, clear: bool) -> Frame | None:
        """The answer to an ordinary request in clear; None where a meter is silent (not for it, or an
        answer).

        `clear` says whether policy lets readings travel in clear; the address may always be asked for. What
        changes the meter is never done on a request in clear: that takes a guarded command (LINK section
        4).
        """
        if not self.addressed(frame) or frame.control & 0x80:
            return None
        if self.is_address_request(frame):
            return encode.read_address_answer(self.device_id, frame)
        if not self.is_read(frame):
            return self.refuse(frame, NOT_AUTHORISED)
        if not clear:
            return self.refuse(frame, NOT_AUTHORISED)
        return self.answer_read(frame, now)

    def answer_read(self, frame: Frame, now: int) -> Frame:
        """The answer to a read request, asked in clear or under the seal."""
        payload = self.read(frame, now)
        if payload is None:
            return self.refuse(frame, NO_SUCH_DATA)
        return encode.answer(self.device_id, frame, payload)

    def refuse(self, frame: Frame, word: int) -> Frame:
        """The error answer."""
        return encode.error_answer(self.device_id, frame, word)

    def is_address_request(self, frame: Frame) -> bool:
        return frame.control == (
            encode.READ_ADDRESS if self.protocol == "cjt188" else encode.READ_ADDRESS_645
        )

    def is_read(self, frame: Frame) -> bool:
        """Does the control code only read?"""
        return frame.control == (encode.READ if self.protocol == "cjt188" else encode.READ_645)

    @abstractmethod
    def read(self, frame: Frame, now: int) -> bytes | None:
        """Payload behind DI (and SER) for a read request; None when the meter does not know the
        identifier.
        """

    def act(self, frame: Frame, now: int) -> Frame:
        """Carry out a frame that the module found authorised; the answer. Reads are answered as well."""
        if self.is_read(frame) or self.is_address_request(frame):
            return self.answer_read(frame, now)
        if self.protocol == "cjt188" and frame.control == encode.WRITE and len(frame.data) == 4:
            di, _ = ids.read_di(frame.data)
            if di == ids.VALVE and frame.data[3] in (0x55, 0x99):
                self.turn_valve(opened=frame.data[3] == 0x55, now=now)
                return encode.answer(self.device_id, frame, self.status_word())
        return self.refuse(frame, OTHER_ERROR)

    # --- what is delivered ------------------------------------------------------------------------------

    @abstractmethod
    def reports(self, at: int) -> list[Frame]:
        """The unrequested answers that close a day: registers and state, with the instant `at` in them."""

    def interval_frames(self, since: int, until: int) -> list[Frame]:
        """The load profile in (since, until] of channel 1 as interval blocks, hourly (LINK section 4)."""
        most = encode.INTERVALS_PER_FRAME[self.protocol]
        ends = range(since + HOUR, until + 1, HOUR)
        return [
            encode.interval_block(
                self.device_id,
                start_at=ends[k],
                step_minutes=60,
                channel=MAIN,
                unit=self.unit,
                registers=[self.readings.stored(MAIN, end_at) for end_at in ends[k : k + most]],
                utc_offset_minutes=self.utc_offset,
            )
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

    def history(self, frame: Frame, now: int) -> bytes | None:
        """D120..D12B (历史计量数据): register at the settlement day, up to twelve months back, and unit."""
        di, _ = ids.read_di(frame.data)
        if not 0xD120 <= di <= 0xD12B:
            return None
        value = self.settled(self.clock(now), di - 0xD120)
        return None if value is None else value_field(value, self.unit)


def value_field(value: int, unit: int) -> bytes:
    """Four BCD bytes and the unit code."""
    return to_bcd(value, 4) + bytes((unit,))
