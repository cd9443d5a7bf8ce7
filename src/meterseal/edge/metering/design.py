"""Station edge, a meter's design: the figures its maker chose, which no input changes.

It holds no state. Charge is counted in microampere milliseconds, voltage in mV, power in W.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from meterseal.model import Medium

Valve = Literal["open", "closed", "abnormal"]
Stop = Literal["none", "remote", "by-hand", "relay"]
"""What interrupts the supply: nothing; a valve that orders turn both ways; a valve that a person on site opens
(HM-7.2.11); the relay of an electricity meter."""
Disturbance = Literal["magnet", "static", "field"]
"""静磁场, 静电放电, 辐射电磁场 (HM-6.2.7)."""

HOUR: Final = 3_600_000
DAY: Final = 24 * HOUR
YEAR: Final = 365 * DAY
MILLIONTHS: Final = 10_000
"""Millionths of the unit in one step of a register (hundredths)."""


class Battery(Struct, frozen=True):
    """A battery and what draws on it. `replaceable` ones can be taken out by anyone who opens the lid.

    The voltage stays at `nominal` until `knee` thousandths of the charge are left, then falls evenly to half of it.
    """

    charge: int = 4_000_000_000_000
    quiescent: int = 9
    send: int = 240_000_000
    move: int = 1_250_000_000
    nominal: int = 3_600
    knee: int = 150
    under: int = 3_100
    """Design under-voltage (设计欠压值): below it the meter warns."""
    minimum: int = 2_700
    """Design minimum voltage (设计最低工作电压)."""
    replaceable: bool = False


class Relay(Struct, frozen=True):
    """Limits that an electricity meter keeps by itself, whatever it is ordered."""

    most_load: int = 13_800
    hottest: int = 85
    """Degrees at the terminals above which the relay is not closed, and is opened."""
    rest: int = 5 * 60_000
    """How long it stays open after an overload, in ms."""


class Design(Struct, frozen=True):
    """One construction. `registers` names the registers in their order; `digits` is how many digits each shows.

    `feeds`: it counts for a house with a generator, so its load profile has the second register too. `drift` is the
    oscillator's error in parts per thousand million. `permit` is how long a permission to open by hand
    lasts. `closed_by` are the disturbances that make it close; under any other it keeps to its figures (HM-6.2.7).
    """

    medium: Medium
    registers: tuple[str, ...] = ("volume",)
    digits: int = 8
    stop: Stop = "remote"
    battery: Battery | None = Battery()
    relay: Relay | None = None
    closes_at_minimum: bool = False
    closes_without_power: bool = False
    closed_by: tuple[Disturbance, ...] = ()
    permit: int = HOUR
    endurance: int = 5_000
    """Openings, and as many closings, that the valve is made for (HM-7.2.9)."""
    drift: int = 0
    feeds: bool = False
    utc_offset: int = 480
    days: int = 62
    months: int = 13
    instants: int = 8
    events: int = 64

    @property
    def capacity(self) -> int:
        """One step more than the register can show: there it begins at 0 again."""
        return int(10**self.digits)


WATER: Final = Design("water")
GAS: Final = Design(
    "gas",
    stop="by-hand",
    battery=Battery(replaceable=True),
    closes_at_minimum=True,
    closes_without_power=True,
    closed_by=("magnet",),
)
HEAT: Final = Design("heat", ("energy", "volume"))
ELECTRICITY: Final = Design(
    "electricity",
    ("forward", "reverse", "tariff 1", "tariff 2", "tariff 3", "tariff 4"),
    stop="relay",
    battery=None,
    relay=Relay(),
    permit=24 * HOUR,
)
DESIGNS: Final[dict[Medium, Design]] = {one.medium: one for one in (WATER, GAS, HEAT, ELECTRICITY)}
