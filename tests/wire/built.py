"""Answers of meters built field by field as the reference prints them, apart from the layouts of the product."""

from __future__ import annotations

from meterseal.units import unit_code
from meterseal.wire import identifiers as ids
from meterseal.wire.encode import ANSWER, READ, READ_645
from meterseal.wire.fields import to_bcd, to_clock
from meterseal.wire.frame import Frame, address_of


def volume_payload(
    volume: int,
    settlement: int,
    at: int,
    status: bytes = b"\x00\x00",
    *,
    unit: int = 0x2C,
    utc_offset_minutes: int = 480,
) -> bytes:
    """The 19 bytes behind DI and SER of a water or gas 901F: two volumes in hundredths, the clock, ST."""
    one = bytes((unit,))
    clock = to_clock(at, utc_offset_minutes)
    return to_bcd(volume, 4) + one + to_bcd(settlement, 4) + one + clock + status


def heat_payload(
    energy: int,
    settlement: int,
    at: int,
    status: bytes = b"\x00\x00",
    *,
    power: int = 0,
    flow: int = 0,
    volume: int = 0,
    supply: int = 0,
    back: int = 0,
    hours: int = 0,
    unit: int = 0x05,
    utc_offset_minutes: int = 480,
) -> bytes:
    """The 43 bytes behind DI and SER of a heat 901F.

    Hundredths of `unit`, of kW (`power`), of m3 and of degC (`supply`, `back`); ten-thousandths of m3/h
    (`flow`); whole `hours`.
    """
    energies = to_bcd(settlement, 4) + bytes((unit,)) + to_bcd(energy, 4) + bytes((unit,))
    rates = to_bcd(power, 4) + bytes((unit_code("kW"),)) + to_bcd(flow, 4) + bytes((unit_code("m3/h"),))
    total = to_bcd(volume, 4) + bytes((unit_code("m3"),))
    rest = to_bcd(supply, 3) + to_bcd(back, 3) + to_bcd(hours, 3)
    return energies + rates + total + rest + to_clock(at, utc_offset_minutes) + status


def current_data_answer(device_id: bytes, payload: bytes, ser: int = 0, *, high_first: bool = True) -> Frame:
    """A 901F report of a CJ/T 188 meter: an answer that nobody asked for (LINK section 4)."""
    protocol, meter_type, address = address_of(device_id)
    lead = ids.write_di(ids.METERING, high_first=high_first) + bytes((ser & 0xFF,))
    return Frame(protocol, meter_type, address, READ | ANSWER, lead + payload)


def energy_answer(device_id: bytes, register: int, di: int = 0x00010000) -> Frame:
    """A DL/T 645 energy answer: `register` in hundredths of kWh; by default forward active energy."""
    protocol, meter_type, address = address_of(device_id)
    return Frame(
        protocol, meter_type, address, READ_645 | ANSWER, di.to_bytes(4, "little") + to_bcd(register, 4)
    )
