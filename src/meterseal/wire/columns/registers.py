"""Station wire, register columns: CJ/T 188 answers 901F of water, gas and heat meters, many at once and one alone.

It takes the standard layouts of 19 and 43 bytes with unit codes that are sure, whatever DI order; every other answer
is refused as OTHER or UNIT and belongs to `interpret`, which also reads the makers' own layouts.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from meterseal.errors import LocalError
from meterseal.units import CONFIRMED, UNITS
from meterseal.wire.columns.numbers import (
    FIRST_DAY,
    LAST_DAY,
    bcd_columns,
    clock_columns,
    to_bcd_columns,
    to_clock_columns,
)
from meterseal.wire.columns.stack import (
    UNSET,
    Bytes,
    Flags,
    Numbers,
    Stack,
    Why,
    close,
    device_column,
    faults,
    heads,
    one_frame,
    refuse,
)
from meterseal.wire.fields import is_bcd, to_bcd, to_clock
from meterseal.wire.frame import Frame, address_of
from meterseal.wire.meaning import interpret

ANSWER: Final = 0x81
HIGH, LOW = b"\x90\x1f", b"\x1f\x90"
DAY_MS: Final = 86_400_000

ENERGY: Final = frozenset(
    code for code in CONFIRMED if UNITS[code].symbol in ("J", "Wh", "kWh", "MWh", "kJ", "MJ", "GJ")
)
POWER: Final = frozenset(code for code in CONFIRMED if UNITS[code].symbol in ("W", "kW", "MW"))
RATE: Final = frozenset(code for code in CONFIRMED if UNITS[code].rate)
QUANTITY: Final = frozenset(code for code in CONFIRMED if UNITS[code].symbol in ("L", "m3"))


class Place(Struct, frozen=True):
    """A value of a layout: its reading's name, where it stands in the payload, its bytes, its unit codes.

    The unit byte follows a value of four bytes that has codes.
    """

    name: str
    at: int
    size: int
    codes: frozenset[int] = frozenset()


class Layout(Struct, frozen=True):
    """A standard payload of 901F: the high nibbles of T it belongs to, its bytes, its values, where the clock stands."""

    kinds: tuple[int, ...]
    size: int
    places: tuple[Place, ...]
    clock: int

    @property
    def frame_size(self) -> int:
        """Bytes of the whole frame."""
        return 16 + self.size


VOLUME: Final = Layout(
    (1, 3), 19, (Place("cumulative_volume", 0, 4, QUANTITY), Place("settlement_volume", 5, 4, QUANTITY)), 10
)
"""Water and gas."""
HEAT: Final = Layout(
    (2,),
    43,
    (
        Place("settlement_energy", 0, 4, ENERGY),
        Place("cumulative_energy", 5, 4, ENERGY),
        Place("power", 10, 4, POWER),
        Place("flow_rate", 15, 4, RATE),
        Place("cumulative_volume", 20, 4, QUANTITY),
        Place("supply_temperature", 25, 3),
        Place("return_temperature", 28, 3),
        Place("working_time", 31, 3),
    ),
    34,
)


class Registers(Struct, frozen=True):
    """Answers 901F of one layout, a row each; where `why` is not OK all else is 0 and `clock` UNSET.

    `device` is the device id as a number, `value` the registers by name, `unit` their codes (`units.UNITS` gives symbol
    and exponent; temperatures are hundredths of degC, the working time is in hours). `clock` is Unix ms, `status` ST
    in wire order, the first byte high. `high_first` is the order of the identifier.
    """

    why: Bytes
    device: NDArray[np.uint64]
    value: dict[str, Numbers]
    unit: dict[str, Bytes]
    clock: Numbers
    status: NDArray[np.uint16]
    ser: Bytes
    high_first: Flags

    def __len__(self) -> int:
        return len(self.why)


class RegisterAnswer(Struct, frozen=True):
    """One answer 901F: what a row of `Registers` holds. `clock` is None where it is no date."""

    device_id: bytes
    value: dict[str, int]
    unit: dict[str, int]
    clock: int | None
    status: bytes
    ser: int = 0
    high_first: bool = True


# --- from frames -------------------------------------------------------------------------------------------------


def registers(frames: Stack, layout: Layout = VOLUME, *, utc_offset_minutes: int = 480) -> Registers:
    """The columns of answers 901F of one layout; every other frame is a row that says why not."""
    rows = len(frames)
    why = faults(frames, "cjt188")
    result = Registers(
        why,
        np.zeros(rows, np.uint64),
        {place.name: np.zeros(rows, np.int64) for place in layout.places},
        {place.name: np.zeros(rows, np.uint8) for place in layout.places if place.codes},
        np.full(rows, UNSET),
        np.zeros(rows, np.uint16),
        np.zeros(rows, np.uint8),
        np.zeros(rows, np.bool_),
    )
    whole = why == 0
    fits = whole & (frames.sizes == layout.frame_size)
    why[whole & ~fits] = Why.OTHER
    if frames.raw.shape[1] >= layout.frame_size:
        _fill(result, frames.raw, np.flatnonzero(fits), layout, utc_offset_minutes)
    return result


def _fill(into: Registers, raw: Bytes, at: NDArray[np.intp], layout: Layout, utc_offset_minutes: int) -> None:
    """Judge the rows `at` and write those that hold into the columns."""
    all_rows = len(at) == len(raw)
    some = raw if all_rows else raw[at]
    high = (some[:, 11] == HIGH[0]) & (some[:, 12] == HIGH[1])
    low = (some[:, 11] == LOW[0]) & (some[:, 12] == LOW[1])
    kind = some[:, 1] >> 4
    right = (high | low) & (some[:, 9] == ANSWER) & np.isin(kind, layout.kinds)
    why = np.where(right, np.uint8(Why.OK), np.uint8(Why.OTHER))
    values: dict[str, Numbers] = {}
    digits = np.ones(len(some), np.bool_)
    for place in layout.places:
        begin = 14 + place.at
        if place.codes:
            known = _KNOWN[place.codes][some[:, begin + 4]]
            why = np.where((why == 0) & ~known, np.uint8(Why.UNIT), why)
        values[place.name], fine = bcd_columns(some[:, begin : begin + place.size])
        digits &= fine
    why = np.where((why == 0) & ~digits, np.uint8(Why.DIGITS), why)
    into.why[at] = why
    good = np.flatnonzero(why == 0)
    if len(good) != len(some):
        at, some, high = at[good], some[good], high[good]
        values = {name: column[good] for name, column in values.items()}
    for place in layout.places:
        into.value[place.name][at] = values[place.name]
        if place.codes:
            into.unit[place.name][at] = some[:, 18 + place.at]
    clock = 14 + layout.clock
    into.device[at] = device_column(some, "cjt188")
    into.clock[at] = clock_columns(some[:, clock : clock + 7], utc_offset_minutes, either=True)
    into.status[at] = some[:, clock + 7].astype(np.uint16) << 8 | some[:, clock + 8]
    into.ser[at] = some[:, 13]
    into.high_first[at] = high


def _codes(codes: frozenset[int]) -> Flags:
    known = np.zeros(256, np.bool_)
    known[sorted(codes)] = True
    return known


_KNOWN: Final = {codes: _codes(codes) for codes in (ENERGY, POWER, RATE, QUANTITY)}


def one_register_answer(
    raw: bytes, layout: Layout = VOLUME, *, utc_offset_minutes: int = 480
) -> RegisterAnswer | Why:
    """One answer 901F of a layout by `interpret`, or why it is none: what a row of `registers` says."""
    frame = one_frame(raw, "cjt188")
    if isinstance(frame, Why):
        return frame
    data = frame.data
    kind = frame.meter_type >> 4 in layout.kinds and frame.control == ANSWER
    if not kind or len(data) != 3 + layout.size or data[:2] not in (HIGH, LOW):
        return Why.OTHER
    if any(place.codes and data[7 + place.at] not in place.codes for place in layout.places):
        return Why.UNIT
    if not all(is_bcd(data[3 + place.at : 3 + place.at + place.size]) for place in layout.places):
        return Why.DIGITS
    meaning = interpret(frame, utc_offset_minutes)
    return RegisterAnswer(
        frame.device_id,
        {place.name: meaning.readings[place.name].register or 0 for place in layout.places},
        {place.name: data[7 + place.at] for place in layout.places if place.codes},
        meaning.clock_at,
        data[-2:],
        data[2],
        data[:2] == HIGH,
    )


# --- to frames ---------------------------------------------------------------------------------------------------


def register_frames(columns: Registers, layout: Layout = VOLUME, *, utc_offset_minutes: int = 480) -> Stack:
    """The frames of all rows. LocalError `wire.field` with the `row` for what no frame holds, and for a row not OK."""
    refuse(columns.why != 0, "it holds no answer")
    raw = heads(columns.device, "cjt188", ANSWER, 3 + layout.size, layout.frame_size)
    refuse(~np.isin(raw[:, 1] >> 4, layout.kinds), "meters of this type have another layout")
    raw[:, 11] = np.where(columns.high_first, HIGH[0], LOW[0])
    raw[:, 12] = np.where(columns.high_first, HIGH[1], LOW[1])
    raw[:, 13] = columns.ser
    for place in layout.places:
        begin = 14 + place.at
        raw[:, begin : begin + place.size] = to_bcd_columns(columns.value[place.name], place.size)
        if place.codes:
            refuse(~_KNOWN[place.codes][columns.unit[place.name]], f"its unit code is none of {place.name}")
            raw[:, begin + 4] = columns.unit[place.name]
    clock = 14 + layout.clock
    raw[:, clock : clock + 7] = to_clock_columns(columns.clock, utc_offset_minutes)
    raw[:, clock + 7] = columns.status >> 8
    raw[:, clock + 8] = columns.status & 0xFF
    return Stack(close(raw), np.full(len(raw), layout.frame_size))


def one_register_frame(
    one: RegisterAnswer, layout: Layout = VOLUME, *, utc_offset_minutes: int = 480
) -> bytes:
    """The frame of one answer. LocalError `wire.field` for what no frame holds."""
    protocol, meter_type, address = address_of(one.device_id)
    if protocol != "cjt188" or meter_type >> 4 not in layout.kinds:
        raise LocalError(
            "wire.field", f"{one.device_id.hex()} is no meter of this layout; use the other one."
        )
    body = bytearray(layout.size)
    for place in layout.places:
        try:
            body[place.at : place.at + place.size] = to_bcd(one.value[place.name], place.size)
        except OverflowError as error:
            raise LocalError("wire.field", f"{place.name}: {error}; scale it first.") from None
        if place.codes:
            if one.unit[place.name] not in place.codes:
                raise LocalError(
                    "wire.field", f"{one.unit[place.name]:02X} is no unit code of {place.name}; give one."
                )
            body[place.at + 4] = one.unit[place.name]
    body[layout.clock : layout.clock + 7] = _clock(one.clock, utc_offset_minutes)
    body[layout.clock + 7 :] = one.status
    lead = (HIGH if one.high_first else LOW) + bytes((one.ser,))
    return Frame("cjt188", meter_type, address, ANSWER, lead + bytes(body)).encode()


def _clock(at: int | None, utc_offset_minutes: int) -> bytes:
    if at is None:
        return bytes(7)
    if not FIRST_DAY <= (at + utc_offset_minutes * 60_000) // DAY_MS <= LAST_DAY:
        raise LocalError("wire.field", f"The clock {at} is not between 1900 and 2199; set it first.")
    return to_clock(at, utc_offset_minutes)
