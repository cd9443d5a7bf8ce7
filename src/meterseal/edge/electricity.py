"""Station edge, electricity meter (电能表) on DL/T 645: what its writes mean, and its relay.

What it can be asked for is in `energies`; its tariffs are counted in the meter, bills are made from hourly registers
behind the head-end.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from meterseal.edge import energies
from meterseal.edge.meter import Meter
from meterseal.edge.metering.inputs import (
    AlarmsSet,
    ClockSet,
    DaysSet,
    EventsCleared,
    FrozenNow,
    Input,
    LoadLimited,
    Ordered,
    ParametersSet,
)
from meterseal.model import Medium
from meterseal.units import unit_code
from meterseal.wire.asked import Ask, Reason
from meterseal.wire.dlt645 import load
from meterseal.wire.fields import clock_at, is_bcd, to_clock
from meterseal.wire.frame import Frame
from meterseal.wire.sheet import Value
from meterseal.wire.values import Values

RELAY_ORDERS: dict[str, Literal["close", "permit", "open", "alarm", "alarm-off", "keep", "keep-off"]] = {
    "trip": "close",
    "permit-close": "permit",
    "close": "open",
    "alarm": "alarm",
    "alarm-off": "alarm-off",
    "keep-power": "keep",
    "keep-power-off": "keep-off",
}
"""Orders to the relay: an open circuit is a closed supply."""
NOW = "99999999"
"""The time of a freeze that is wanted at once."""


class ElectricityMeter(Meter):
    """A single-phase meter."""

    medium: ClassVar[Medium] = "electricity"
    unit: ClassVar[int] = unit_code("kWh")

    def stated(self, ask: Ask, now: int) -> Values | None:
        if ask.di is not None and ask.di >> 24 == load.GROUP:
            return energies.loads(self, ask.di, ask.payload)
        return None if ask.di is None else energies.stated(self, now)

    def reports(self, at: int) -> list[Frame]:
        # An energy answer carries no clock: sealed again after a power cut it would stand at another time, and
        # count twice. The load profile ends with the same register, at a time of its own.
        return []

    def wanted(self, ask: Ask, now: int) -> Input | Reason:
        match ask.kind:
            case "relay":
                order = RELAY_ORDERS.get(ask.action or "")
                expired = ask.at is not None and self.clock(now) > ask.at
                return "other" if order is None or expired else Ordered(order)
            case "write" if ask.di is not None:
                return self._parameter(ask.di, ask, now)
            case "time" if ask.at is not None:
                return ClockSet(ask.at)
            case "freeze":
                return FrozenNow() if ask.values.get("freeze_time") == NOW else "other"
            case "clear-events":
                return EventsCleared()
            case "baud-rate":
                return "baud-rate"
            case "write-address":
                # A module is bound to the address (LINK section 1): only a meter without one is given another.
                address = ask.values.get("new_address")
                if not self.clear_writes or not isinstance(address, str):
                    return "not-authorised"
                return ParametersSet(address=bytes.fromhex(address))
            case (
                "clear-meter" | "password" | "security"
            ):  # a meter that bills is not cleared; keys are the module's
                return "not-authorised"
            case _:
                return "other"

    def _parameter(self, di: int, ask: Ask, now: int) -> Input | Reason:
        raw, clock = ask.payload, to_clock(self.clock(now), self.utc_offset)
        match di:
            case 0x0400010C:  # date, weekday and time
                return self._clock(raw[:3] + raw[4:])
            case 0x04000101:  # date and weekday
                return self._clock(clock[:3] + raw[1:])
            case 0x04000102:  # time
                return self._clock(raw + clock[3:6])
            case 0x04000B01:  # settlement day, at hour 0
                return DaysSet(settlement=_bcd(raw[1:]) or 99) if raw[:1] == b"\x00" else "bad-value"
            case 0x04000E01:  # limit of load
                return LoadLimited(_digits(ask, "forward_power_limit") // 10)
            case 0x04001001:  # when to warn
                return AlarmsSet(amount=_digits(ask, "alarm_amount_1"))
            case 0x04001003:  # how far to go below zero
                return AlarmsSet(overdraft=_digits(ask, "overdraft_amount_limit"))
            case 0x04010001:  # first day table
                return self._periods(raw)
            case _:
                return "no-such-data"

    def _clock(self, low_first: bytes) -> Input | Reason:
        at = clock_at(low_first + b"\x20", self.utc_offset)
        return "bad-value" if at is None else ClockSet(at)

    def _periods(self, raw: bytes) -> Input | Reason:
        """The first day table: tariff, minute and hour of each change; whole hours only."""
        entries = [raw[place : place + 3] for place in range(0, len(raw), 3)]
        if not all(is_bcd(entry) and entry[1] == 0 for entry in entries):
            return "day-periods"
        hours = energies.hours_of([(_bcd(entry[2:]), _bcd(entry[:1])) for entry in entries])
        if hours is None:
            return "day-periods"
        return ParametersSet(tariff_hours=hours) if set(hours) <= {1, 2, 3, 4} else "tariffs"


def _bcd(raw: bytes) -> int:
    return int(raw[::-1].hex()) if is_bcd(raw) and raw else 0


def _digits(ask: Ask, name: str) -> int:
    value = ask.values.get(name)
    return value.register if isinstance(value, Value) and value.register is not None else -1
