"""Station edge, what a meter keeps through any cut: one frozen struct, written whole and at once.

It holds no rule; who may change what stands beside each part (`counting`, `freezing`, `valve`, `power`, `account`,
`loads`). Counts are millionths of the unit, never rolled over; times are Unix ms.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from meterseal.edge.metering.design import MILLIONTHS, Design, Valve

EventKind = Literal[
    "battery-in",
    "battery-low",
    "battery-minimum",
    "battery-out",
    "clock-set",
    "closing-refused",
    "cover-opened",
    "events-cleared",
    "field",
    "low-balance",
    "magnet",
    "overdraft",
    "overload",
    "parameters",
    "permitted",
    "power-off",
    "power-on",
    "purchase",
    "read-anew",
    "reverse-flow",
    "static",
    "valve-closed",
    "valve-opened",
    "valve-stuck",
    "valve-worn",
]

TARIFF_HOURS: Final = (4,) * 7 + (3,) + (2,) * 3 + (3,) * 7 + (2,) + (1,) * 2 + (2,) + (3, 4)
"""Tariff of each local hour: 1 sharp (尖), 2 peak (峰), 3 flat (平), 4 valley (谷)."""


class Event(Struct, frozen=True, array_like=True):
    """One entry of the event log, at the time that the meter's own clock showed."""

    at: int
    kind: EventKind


class Day(Struct, frozen=True, array_like=True):
    """A local day of the load profile: the main register at the end of each hour, None where it was lost.

    `closed` are all registers as frozen at its end (日冻结), empty while the day runs; `status` is the alarms it saw,
    `supply` and `back` the temperatures at its end (hundredths of a degree). `fed` is what `hours` is, of the second
    register, where the load profile has it.
    """

    start_at: int
    hours: tuple[int | None, ...] = ()
    closed: tuple[int, ...] = ()
    status: int = 0
    supply: int = 0
    back: int = 0
    fed: tuple[int | None, ...] = ()


class Freeze(Struct, frozen=True, array_like=True):
    """All registers as frozen at an instant."""

    at: int
    registers: tuple[int, ...]


class Book(Struct, frozen=True, array_like=True):
    """Stored readings: `through` is the last full hour that was dealt with, of the meter's own clock."""

    through: int = 0
    days: tuple[Day, ...] = ()
    months: tuple[Freeze, ...] = ()
    instants: tuple[Freeze, ...] = ()


class Power(Struct, frozen=True, array_like=True):
    """`on`: the electronics work. `drained` is the charge drawn from the battery until `drained_at`, 0 for a battery
    that nothing has drawn on yet.
    """

    on: bool = True
    drained: int = 0
    drained_at: int = 0
    at_minimum: bool = False
    failures: int = 0


class Motion(Struct, frozen=True, array_like=True):
    """The valve's mechanism: `jammed` is a fault of it that nobody knows of before it is moved.

    `closed_for` says what closed it last, "" when it is open or a person or an order closed it.
    """

    openings: int = 0
    closings: int = 0
    jammed: bool = False
    closed_for: Literal["", "arrears", "battery", "disturbance", "overload"] = ""


class Account(Struct, frozen=True, array_like=True):
    """Prepayment. Money is fen, `balance` hundredths of a fen; prices are fen per unit, steps whole units.

    `charged` is the count in hundredths of the unit that has been paid, `began` that of the beginning of the steps'
    month. An `alarm_volume` or `alarm_amount` of 0 never warns.
    """

    prepaid: bool = False
    serial: int = 0
    amount: int = 0
    bought: int = 0
    balance: int = 0
    prices: tuple[int, int, int] = (0, 0, 0)
    steps: tuple[int, int] = (0, 0)
    start_day: int = 1
    charged: int = 0
    began: int = 0
    alarm_amount: int = 0
    alarm_volume: int = 0
    overdraft: int = 0


class Load(Struct, frozen=True, array_like=True):
    """Load control of an electricity meter. `limit` is the ordered one, 0 for none; `backfed`: voltage comes from the
    house while the relay is open.
    """

    watts: int = 0
    limit: int = 0
    tripped_at: int = 0
    celsius: int = 25
    backfed: bool = False
    kept: bool = False
    alarmed: bool = False


class Parameters(Struct, frozen=True, array_like=True):
    """What can be set: `enabled` ends the production phase (出厂启用)."""

    settlement_day: int = 1
    reading_day: int = 1
    enabled: bool = False
    verifying: bool = False
    key_version: int = 0
    address: bytes = b""
    communication: int = 0
    freezing: bytes = b"\x00\x00\x00\x00"
    tariff_hours: tuple[int, ...] = TARIFF_HOURS


class MeterState(Struct, frozen=True, array_like=True):
    """Everything a meter keeps through a power cut.

    `permit_until` is the end of a permission to open by hand, 0 when there is none. The clock shows `clock_offset`
    more than the instant `clock_set_at` at which it was set, and drifts from there. `seen` is what the transducer
    showed last, so that nothing is counted twice; `counts` is what was counted. `battery_low` sets D2 of ST; `alarms`
    are the causes that last, `raised` those of the running day.
    """

    valve: Valve = "open"
    permit_until: int = 0
    battery_low: bool = False
    clock_offset: int = 0
    clock_set_at: int = 0
    counts: tuple[int, ...] = ()
    seen: tuple[int, ...] = ()
    counted_at: int = 0
    alarms: int = 0
    raised: int = 0
    supply: int = 0
    back: int = 0
    events: tuple[Event, ...] = ()
    book: Book = Book()
    power: Power = Power()
    motion: Motion = Motion()
    account: Account = Account()
    load: Load = Load()
    parameters: Parameters = Parameters()


def registers(state: MeterState, design: Design) -> tuple[int, ...]:
    """What the meter shows: hundredths of the unit, beginning at 0 again beyond its digits."""
    capacity = design.capacity
    return tuple(count // MILLIONTHS % capacity for count in state.counts)
