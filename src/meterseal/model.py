"""The nouns that travel the whole path: frozen structs that are bus message, schema and documentation at once.

No behaviour beyond small derived values, no input or output, no clock.

Times are Unix milliseconds UTC (int) and called `…_at`; periods are half-open, `since` <= t < `until`.
Register values are scaled integers: value = register * 10**exponent, in `unit`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Literal, get_args

from msgspec import Struct

Medium = Literal["water", "gas", "heat", "electricity"]
"""What a usage point measures: cold water 冷水, gas 燃气, heat 热量, electricity 电."""
MEDIA: Final[tuple[Medium, ...]] = get_args(Medium)

METER_TYPE: dict[Medium, int] = {"water": 0x10, "heat": 0x20, "gas": 0x30, "electricity": 0xD7}
"""First byte of the device ids of a medium: CJ/T 188 type T, of which the high nibble counts, and D7 for DL/T 645 meters
(LINK section 1)."""


_MEDIUM_BY_HEAD: dict[int, Medium] = {
    low | kind & 0xF0: medium
    for medium, kind in METER_TYPE.items()
    if medium != "electricity"
    for low in range(16)
} | {METER_TYPE["electricity"]: "electricity"}


def medium_of(device_id: bytes) -> Medium | None:
    """What a device id says that its meter measures; None when it says nothing."""
    return _MEDIUM_BY_HEAD.get(device_id[0]) if device_id else None


Origin = Literal["sealed", "vouched"]
"""Who vouches for a reading: the meter's own module, or a concentrator's for a meter without one."""

MAIN = 1
"""Channel of the billed register: volume (water, gas) or energy (heat, electricity)."""
HEAT_VOLUME = 2
"""Channel of a heat meter's cumulative volume."""
EXPORT = 3
"""Channel of what was fed into the grid: reverse active energy 反向有功电能, OBIS 1-0:2.8.0 (electricity)."""

KEPT: Final[dict[Medium, dict[str, int]]] = {
    "water": {"cumulative_volume": MAIN},
    "gas": {"cumulative_volume": MAIN},
    "heat": {"cumulative_energy": MAIN, "cumulative_volume": HEAT_VOLUME},
    "electricity": {"forward_active_energy": MAIN, "reverse_active_energy": EXPORT},
}
"""Registers that are kept, by the names of the meters' protocols, and as which channel."""


def kept_of(device_id: bytes) -> dict[str, int]:
    """Which registers of a meter are kept, and as which channel; the volume where its id does not say what it measures."""
    return KEPT[medium_of(device_id) or "water"]


MAGNET, FAULT, REMOVED, REVERSE, BALANCE = 0x08, 0x10, 0x20, 0x40, 0x80
"""Alarms of a meter with a module: bits of the second status byte, in its reports and in what it signs (ADR 0024). A
magnet, a fault, its cover or place, flow backwards, credit at its end. Other makers' meters use that byte as they like.
"""


class Quality(IntEnum):
    """Quality of a stored value; the reason stands in the finding that set it."""

    MEASURED = 0
    ESTIMATED = 1
    EDITED = 2
    MISSING = 3
    SUSPECT = 4


class Series(Struct, frozen=True, array_like=True):
    """Consecutive register readings of one channel of one meter, as a record carried them.

    Reading k was taken at `start_at + k * step` (milliseconds, which is its end_at); step is 0 for a single
    reading. A register that the meter marked missing is None.
    """

    device_id: bytes
    channel: int
    unit: str
    exponent: int
    start_at: int
    step: int
    registers: tuple[int | None, ...]


class Status(Struct, frozen=True, array_like=True):
    """Valve and battery state as a meter reported it with a reading."""

    device_id: bytes
    at: int
    valve: str
    battery_low: bool
    raw: str


class Evidence(Struct, frozen=True, array_like=True):
    """A settlement freeze signed in the module (LINK section 4): raw statement (65 bytes) and its signature.

    `signature` is r || s (64 bytes) under suite 1 and an HMAC-SM3 (32 bytes) under suite 2.
    """

    device_id: bytes
    statement: bytes
    signature: bytes


def off_for_sure(least: int, most: int) -> int:
    """How far off a clock is that leads by `least` to `most`: above 0 it leads, below it lags, 0 where it may be right."""
    return max(least, 0) + min(most, 0)


class ClockSeen(Struct, frozen=True, array_like=True):
    """Somebody with a good clock saw a meter's at `at`: it leads by `least` to `most` ms, negative where it lags.

    Until `since` it was known to stand as was told before; equal to `at` where nobody knows. `stamps`: readings of the
    meter stand at the times of this clock, and not at those of whoever reads it.
    """

    device_id: bytes
    since: int
    at: int
    least: int
    most: int
    stamps: bool

    @property
    def off(self) -> int:
        """How far off it is for sure (ms): above 0 it leads, below it lags, 0 where it may be right."""
        return off_for_sure(self.least, self.most)


class HeatSeen(Struct, frozen=True, array_like=True):
    """What a heat meter showed of its water at `at`: temperatures of supply and return in centikelvin above 0 degC, the
    volume counted up to then in litres (-1: not known), and whether water flowed.
    """

    device_id: bytes
    at: int
    supply: int
    back: int
    volume: int
    flows: bool


class Opened(Struct, frozen=True, array_like=True):
    """One record that the head-end proved, opened and decoded; committing it consumes its counter."""

    session_id: bytes
    counter: int
    device_id: bytes
    module_id: bytes
    suite: int
    origin: Origin
    received_at: int
    digest: bytes
    series: tuple[Series, ...] = ()
    statuses: tuple[Status, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    clocks: tuple[ClockSeen, ...] = ()
    heats: tuple[HeatSeen, ...] = ()


class Quarantined(Struct, frozen=True, array_like=True):
    """One record with a good tag that does not decode, breaks policy or names an unknown meter (LINK: REJECT)."""

    session_id: bytes
    counter: int
    device_id: bytes
    received_at: int
    reject_class: int
    code: str
    record: bytes


class Batch(Struct, frozen=True, array_like=True):
    """What the head-end hands to the bus at once; answered only when all of it is durably committed."""

    opened: tuple[Opened, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()


class Refusal(Struct, frozen=True, array_like=True):
    """One entry of the audit trail about a message that changed nothing.

    `code` says which check refused (`link.tag`, `link.counter`, `link.hello-mac`); `sentence` says what a person
    should know. From outside every refusal looks the same.
    """

    at: int
    code: str
    sentence: str
    device_id: bytes = b""
    session_id: bytes = b""
    counter: int = 0
    source: str = ""
