"""Station edge, what all meters share: address, clock, valve, battery, and the ordinary requests of a bus.

It holds no key and seals nothing (`agent` does), and it reads no clock: (state, input, now) -> answer. What
differs by medium is in `water`, `gas`, `heat` and `electricity`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import UTC, datetime
from typing import ClassVar, Literal

from msgspec import Struct
from msgspec.structs import replace

from meterseal.edge.readings import Readings
from meterseal.model import MAIN, Medium
from meterseal.wire import encode
from meterseal.wire import identifiers as ids
from meterseal.wire.fields import to_bcd
from meterseal.wire.frame import Frame, address_of

HOUR = 3_600_000
DAY = 24 * HOUR
OTHER_ERROR, NO_SUCH_DATA, NOT_AUTHORISED = 0x01, 0x02, 0x04
"""Error word of DL/T 645 (bits 0, 1, 2); CJ/T 188 answers carry it as the second byte of ST."""

Valve = Literal["open", "closed", "abnormal"]


class MeterState(Struct, frozen=True, array_like=True):
    """What a meter keeps through a power cut besides its registers.

    `permit_until` is the end of a permission to open by hand (gas, relay); 0 when there is none.
    `clock_offset` is what setting the clock added to the oscillator, in ms. `battery_low` sets D2 of the
    status word.
    """

    valve: Valve = "open"
    permit_until: int = 0
    battery_low: bool = False
    clock_offset: int = 0


class Meter(ABC):
    """One meter on a bus. Subclasses give the payloads of their medium.

    `utc_offset` is that of the meter's local clock, in minutes.
    """

    medium: ClassVar[Medium]
    unit: ClassVar[int]
    """Code of the unit of channel 1 (section 6.4)."""

    def __init__(
        self, device_id: bytes, readings: Readings, state: MeterState | None = None, *, utc_offset: int = 480
    ) -> None:
        self.device_id = device_id
        self.protocol, _, self.wire_address = address_of(device_id)
        self.readings = readings
        self.state = state or MeterState()
        self.utc_offset = utc_offset

    def clock(self, now: int) -> int:
        """What the meter believes the time is."""
        return now + self.state.clock_offset

    def set_clock(self, at: int, now: int) -> None:
        """Set the clock so that it shows `at` at the instant `now`."""
        self.state = replace(self.state, clock_offset=at - now)

    def status_word(self) -> bytes:
        """ST: valve in D1 D0, battery in D2 of the first byte (section 6.5)."""
        valve = {"open": 0, "closed": 1, "abnormal": 3}[self.state.valve]
        return bytes((valve | (4 if self.state.battery_low else 0), 0))

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

    def turn_valve(self, *, opened: bool, now: int) -> None:
        """Turn the valve by an authorised command."""
        self.state = replace(self.state, valve="open" if opened else "closed", permit_until=0)

    def press_button(self, now: int) -> bool:
        """A person at the meter asks to open; True when the valve is open afterwards."""
        if self.state.valve == "closed" and now < self.state.permit_until:
            self.state = replace(self.state, valve="open", permit_until=0)
        return self.state.valve == "open"

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
        """Register at local 00:00 of the first day of the month, `months_back` ago; None before the first
        day stored.
        """
        moment = _month_start(at, self.utc_offset)
        for _ in range(months_back):
            moment = _month_start(moment - HOUR, self.utc_offset)
        return None if moment < self.readings.since else self.readings.register(MAIN, moment)

    def history(self, frame: Frame, now: int) -> bytes | None:
        """D120..D12B (历史计量数据): register at the beginning of the month, up to twelve months back, and
        unit.
        """
        di, _ = ids.read_di(frame.data)
        if not 0xD120 <= di <= 0xD12B:
            return None
        value = self.settled(self.clock(now), di - 0xD120)
        return None if value is None else value_field(value, self.unit)


def value_field(value: int, unit: int) -> bytes:
    """Four BCD bytes and the unit code."""
    return to_bcd(value, 4) + bytes((unit,))


def _month_start(at: int, utc_offset: int) -> int:
    """Local 00:00 of the first day of the month that `at` falls into."""
    local = at + utc_offset * 60_000
    day = datetime.fromtimestamp(local / 1000, UTC).day
    return (local // DAY - day + 1) * DAY - utc_offset * 60_000
