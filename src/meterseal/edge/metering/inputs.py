"""Station edge, what can happen to a meter: what it measures, what people do to it, what it is ordered.

It decides nothing (`behaviour` does). An order is given after its right was proved elsewhere (module, access).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from meterseal.edge.metering.design import Disturbance
from meterseal.edge.metering.state import EventKind, MeterState

Refusal = Literal["", "other", "not-authorised", "bad-value"]
"""Why an order was refused, in the words of `wire.asked.Reason`; empty when it was not."""


class Measured(Struct, frozen=True):
    """The transducer shows these totals in millionths of the unit: volume; energy, volume; forward, reverse energy.

    Absolute, so that a meter which was cut off and asks again counts nothing twice. `watts` is the load of an
    electricity meter; temperatures are hundredths of a degree.
    """

    totals: tuple[int, ...]
    watts: int = 0
    supply: int = 0
    back: int = 0


class Ordered(Struct, frozen=True):
    """An authorised order about the supply: open, close, permit opening by hand, or the standing ones of load control."""

    action: Literal["open", "close", "permit", "keep", "keep-off", "alarm", "alarm-off"]


class Pressed(Struct, frozen=True):
    """A person at the meter presses its button."""


class Jammed(Struct, frozen=True):
    """The valve's mechanism is blocked, or free again."""

    blocked: bool


class BatteryOut(Struct, frozen=True):
    """The battery, or the mains of an electricity meter, is taken away."""


class BatteryIn(Struct, frozen=True):
    """Power is back; `fresh`: with a new battery."""

    fresh: bool = False


class Sent(Struct, frozen=True):
    """The meter used its radio or modem once."""


class Disturbed(Struct, frozen=True):
    """A disturbance begins or ends."""

    kind: Disturbance
    present: bool = True


class Opened(Struct, frozen=True):
    """The meter was taken off or its cover opened (拆表), or it is whole again."""

    open: bool = True


class Sensed(Struct, frozen=True):
    """Temperature of an electricity meter's terminals, and whether its load side has voltage of its own."""

    celsius: int
    backfed: bool = False


class ClockSet(Struct, frozen=True):
    """Set the clock to this instant."""

    at: int


class RegisterSet(Struct, frozen=True):
    """Electromechanical synchronisation (机电同步): the main register shows this from now on."""

    register: int


class FrozenNow(Struct, frozen=True):
    """Freeze all registers now (瞬时冻结)."""


class EventsCleared(Struct, frozen=True):
    """Clear the event log; that it was cleared stays in it."""


class DaysSet(Struct, frozen=True):
    """Settlement day and meter-reading day of the month, 1 to 28; 0 leaves one as it is."""

    settlement: int = 0
    reading: int = 0


class Priced(Struct, frozen=True):
    """A price table: fen per unit in three steps, whole units where the second and third begin, and the day of the
    month on which the steps begin anew.
    """

    prices: tuple[int, int, int]
    steps: tuple[int, int]
    start_day: int = 1


class Purchased(Struct, frozen=True):
    """Credit bought: the serial number of the purchase and fen."""

    serial: int
    amount: int


class AlarmsSet(Struct, frozen=True):
    """Where to warn: what remains in hundredths of the unit, in fen; how far to go below zero. None leaves as it is."""

    volume: int | None = None
    amount: int | None = None
    overdraft: int | None = None


class Prepaying(Struct, frozen=True):
    """Prepayment begins or ends."""

    on: bool = True


class LoadLimited(Struct, frozen=True):
    """The ordered limit of load in W; 0 for none."""

    watts: int


class ParametersSet(Struct, frozen=True):
    """What only needs keeping; None leaves as it is. An address is taken in the production phase alone."""

    enabled: bool | None = None
    verifying: bool | None = None
    key_version: int | None = None
    address: bytes | None = None
    communication: int | None = None
    freezing: bytes | None = None
    tariff_hours: tuple[int, ...] | None = None


Input: TypeAlias = (
    Measured
    | Ordered
    | Pressed
    | Jammed
    | BatteryOut
    | BatteryIn
    | Sent
    | Disturbed
    | Opened
    | Sensed
    | ClockSet
    | RegisterSet
    | FrozenNow
    | EventsCleared
    | DaysSet
    | Priced
    | Purchased
    | AlarmsSet
    | Prepaying
    | LoadLimited
    | ParametersSet
)


class Outcome(Struct, frozen=True):
    """The state after an input, to be written before anything else happens; why an order was refused, "" when it was
    not; and what was noted in the event log.
    """

    state: MeterState
    refused: Refusal = ""
    noted: tuple[EventKind, ...] = ()
