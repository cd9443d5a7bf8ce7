"""Station edge, electricity meter (电能表): forward energy in hundredths of kWh over DL/T 645-2007, and its
relay.

It knows no tariff: peak, flat and valley are made from hourly registers behind the head-end.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar, Literal

from meterseal.edge.meter import HOUR, OTHER_ERROR, Meter
from meterseal.edge.metering.inputs import Ordered
from meterseal.model import MAIN, Medium
from meterseal.units import unit_code
from meterseal.wire import encode
from meterseal.wire.fields import to_bcd
from meterseal.wire.frame import Frame

VOLTAGE = 2300
"""Tenths of a volt."""
RELAY = 0x1C
"""Control code of relay commands."""
RELAY_ORDERS: dict[int, Literal["close", "permit", "open", "alarm", "alarm-off", "keep", "keep-off"]] = {
    0x1A: "close",
    0x1B: "permit",
    0x1C: "open",
    0x2A: "alarm",
    0x2B: "alarm-off",
    0x3A: "keep",
    0x3B: "keep-off",
}
"""Trip, permit closing by hand, close, alarm, keep power: an open circuit is a closed supply."""


class ElectricityMeter(Meter):
    """A single-phase meter."""

    medium: ClassVar[Medium] = "electricity"
    unit: ClassVar[int] = unit_code("kWh")

    def read(self, frame: Frame, now: int) -> bytes | None:
        """A 4-byte identifier's value; instantaneous power is the mean of the last full hour."""
        if len(frame.data) != 4:
            return None
        energy = self.readings.register(MAIN, now)
        watts = (energy - self.readings.register(MAIN, now - HOUR)) * 10 if self.state.valve == "open" else 0
        local = datetime.fromtimestamp((self.clock(now) + self.utc_offset * 60_000) / 1000, UTC)
        match int.from_bytes(frame.data, "little"):
            case 0x00000000 | 0x00010000:  # total and forward active energy
                return to_bcd(energy, 4)
            case 0x00020000:  # reverse
                return bytes(4)
            case 0x02010100:  # voltage A
                return to_bcd(VOLTAGE, 2)
            case 0x02020100:  # current A
                return to_bcd(watts * 10_000 // VOLTAGE, 3)
            case 0x02030000 | 0x02030100:  # active power
                return to_bcd(watts * 10, 3)
            case 0x02800002:  # frequency
                return to_bcd(5000, 2)
            case 0x04000101:  # date and weekday
                return bytes.fromhex(local.strftime("%y%m%d") + f"{local.isoweekday() % 7:02d}")[::-1]
            case 0x04000102:  # time
                return bytes.fromhex(local.strftime("%H%M%S"))[::-1]
            case 0x04000401:  # address
                return self.wire_address
            case _:
                return None

    def reports(self, at: int) -> list[Frame]:
        # An energy answer carries no clock: sealed again after a power cut it would stand at another time, and
        # count twice. The load profile ends with the same register, at a time of its own.
        return []

    def act(self, frame: Frame, now: int) -> Frame:
        """Relay commands 1C as well: trip, permit to close by hand, close."""
        if frame.control != RELAY or len(frame.data) < 9:
            return super().act(frame, now)
        order = RELAY_ORDERS.get(frame.data[8])
        if order is None or self.feed(Ordered(order), now).refused:
            return self.refuse(frame, OTHER_ERROR)
        return encode.answer(self.device_id, frame)
