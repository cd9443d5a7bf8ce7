"""Station edge, what an electricity meter states, by the names of the identifier table of DL/T 645.

It answers nothing and changes nothing; `electricity` does. Ints are digits as the table scales them, times Unix ms.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from meterseal.edge.metering.design import DAY, HOUR
from meterseal.edge.metering.state import MeterState
from meterseal.model import EXPORT, FAULT, MAIN
from meterseal.wire.dlt645.payloads import load_record
from meterseal.wire.fields import clock_at
from meterseal.wire.sheet import scaled
from meterseal.wire.values import Stated

if TYPE_CHECKING:
    from meterseal.edge.meter import Meter

VOLTAGE = 2_300
"""Tenths of a volt."""
TARIFFS = 4
MOST_LOADS = 12
"""Load records in one answer."""
HOURLY = 254
"""Hourly freezes that can be asked for, 01 to FE."""


def stated(meter: Meter, now: int) -> dict[str, Stated]:
    """Everything that the meter can be asked for, at this instant."""
    state = meter.state
    return {
        **_energies(meter, now),
        **_instant(meter, now),
        **_settings(meter, now),
        **_freezes(meter),
        **_status(state),
        "remaining_amount": max(0, state.account.balance) // 100,
        "overdraft_amount": max(0, -state.account.balance) // 100,
        "power_failures": state.power.failures,
        "trip_count": state.motion.closings,
        "cover_open_count": sum(event.kind == "cover-opened" for event in state.events),
        "magnetic_field_count": sum(event.kind == "magnet" for event in state.events),
    }


def _named(values: tuple[int, ...], suffix: str = "") -> dict[str, Stated]:
    """Registers by name: forward is also the combined energy, as its feature word says by default."""
    forward, reverse, *tariffs = values
    found: dict[str, Stated] = {
        f"combined_active_energy{suffix}": forward,
        f"forward_active_energy{suffix}": forward,
        f"reverse_active_energy{suffix}": reverse,
    }
    for number, value in enumerate(tariffs, start=1):
        found[f"forward_active_energy_tariff_{number}{suffix}"] = value
    return found


def _energies(meter: Meter, now: int) -> dict[str, Stated]:
    if meter.readings is not meter.own:
        return _named((meter.readings.register(MAIN, now), 0))
    own = meter.own.stored_readings
    found = _named(own.shown)
    for back, freeze in enumerate(reversed(meter.state.book.months), start=1):
        found |= _named(freeze.registers, f"_settlement_{back}")
    return found


def _freezes(meter: Meter) -> dict[str, Stated]:
    """Days, hours and instants, the newest first."""
    found: dict[str, Stated] = {}
    book = meter.state.book
    closed = [day for day in reversed(book.days) if day.closed]
    for back, day in enumerate(closed, start=1):
        found |= _named(day.closed, f"_daily_freeze_{back}")
        found[f"daily_freeze_{back}_time"] = day.start_at + DAY
    for back, freeze in enumerate(reversed(book.instants), start=1):
        found |= _named(freeze.registers, f"_instant_freeze_{back}")
        found[f"instant_freeze_{back}_time"] = freeze.at
    if book.days:
        for back in range(1, HOURLY + 1):
            at = book.through - (back - 1) * HOUR
            found[f"hourly_freeze_{back}_time"] = at
            for name, channel in _profiled(meter):
                found[f"{name}_hourly_freeze_{back}"] = meter.readings.stored(channel, at)
    return found


def loads(meter: Meter, di: int, wanted: bytes) -> dict[str, Stated] | None:
    """Load records of the energies (class 4), one an hour: the first, those from a time on, or the last; None for others.

    `wanted` is how many, in one byte, and from when, mm hh DD MM YY.
    """
    if di >> 16 & 0xFF != 4 or not meter.state.book.days:
        return None
    offset = meter.utc_offset
    hours = range(meter.state.book.days[0].start_at + HOUR, meter.state.book.through + 1, HOUR)
    since = clock_at(b"\0" + wanted[1:] + b"\x20", offset) if len(wanted) == 6 else None
    if di & 0xFF == 1:
        hours = (
            hours[0:0] if since is None else range(max(hours.start, since - since % -HOUR), hours.stop, HOUR)
        )
    elif di & 0xFF == 2:
        hours = hours[::-1]
    none = {"forward_active_energy": 0, "reverse_active_energy": 0}
    stored = (
        (at, {name: meter.readings.stored(channel, at) for name, channel in _profiled(meter)}) for at in hours
    )
    kept = ((at, registers) for at, registers in stored if None not in registers.values())
    most = min(wanted[0], MOST_LOADS) if wanted else 1
    records = [
        load_record(at, {**none, **registers}, meter.profile.dlt645, offset)
        for at, registers in islice(kept, most)
    ]
    return {"payload": b"".join(records)} if records else None


def _profiled(meter: Meter) -> list[tuple[str, int]]:
    """The registers of the load profile: the reverse one where the meter counts for a house with a generator."""
    named = (("forward_active_energy", MAIN), ("reverse_active_energy", EXPORT))
    return [(name, channel) for name, channel in named if channel in meter.profiled]


def _instant(meter: Meter, now: int) -> dict[str, Stated]:
    state = meter.state
    watts = state.load.watts
    if meter.readings is not meter.own:
        watts = (meter.readings.register(MAIN, now) - meter.readings.register(MAIN, now - HOUR)) * 10
    if state.valve != "open":
        watts = 0
    milliamperes = watts * 10_000 // VOLTAGE
    found: dict[str, Stated] = {
        "voltage_a": scaled(VOLTAGE, -1, "V"),  # with their units: the older edition has fewer decimals
        "current_a": scaled(milliamperes, -3, "A"),
        "frequency": 5_000,
        "internal_temperature": state.load.celsius * 10,
    }
    for name in ("active_power", "apparent_power"):
        found[name] = found[f"{name}_a"] = watts * 10
    for name in ("power_factor", "power_factor_a"):
        found[name] = 1_000
    return found


def _settings(meter: Meter, now: int) -> dict[str, Stated]:
    state, clock = meter.state, meter.clock(now)
    number = meter.device_id[2:].hex()
    found: dict[str, Stated] = {
        **dict.fromkeys(("date", "time", "date_time"), clock),
        "address": number,
        "meter_number": number,
        "tariffs": TARIFFS,
        "energy_decimals": 2,
        "power_decimals": 4,
        "rated_voltage": "220V",
        "settlement_day_1": f"{state.parameters.settlement_day:02d}00",
        "alarm_amount_1": state.account.alarm_amount,
        "overdraft_amount_limit": state.account.overdraft,
        "forward_power_limit": scaled(state.load.limit * 10, -4, "kW"),
    }
    for entry, (hour, tariff) in enumerate(periods(state.parameters.tariff_hours), start=1):
        found[f"zone_set_1_day_table_1_period_{entry}"] = f"{hour:02d}00{tariff:02d}"
    return found


def periods(hours: tuple[int, ...]) -> list[tuple[int, int]]:
    """Where the tariff of the day changes: hour and tariff from then on."""
    return [(hour, tariff) for hour, tariff in enumerate(hours) if hour == 0 or hours[hour - 1] != tariff]


def hours_of(changes: list[tuple[int, int]]) -> tuple[int, ...] | None:
    """The tariff of each hour; the last change lasts over midnight. None where hours do not rise."""
    begins = [hour for hour, _ in changes]
    if not begins or begins != sorted(set(begins)) or begins[-1] > 23:
        return None
    return tuple(
        next((tariff for begin, tariff in reversed(changes) if begin <= hour), changes[-1][1])
        for hour in range(24)
    )


def _status(state: MeterState) -> dict[str, Stated]:
    """Running status words: relay, overload, power failure; bits as `wire.dlt645.names` has them."""
    words = [0] * 7
    words[2] = (state.valve != "open") << 4
    words[3] = bool((state.alarms | state.raised) & FAULT) << 5
    words[6] = (not state.power.on) << 5
    return {f"status_word_{number}": word.to_bytes(2, "little") for number, word in enumerate(words, start=1)}
