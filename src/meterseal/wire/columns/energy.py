"""Station wire, energy columns: DL/T 645-2007 answers with one energy register, many at once and one alone.

It takes answers (91) whose identifier stands for a single register of four bytes (00 xx xx xx) and that hold nothing
behind it; blocks, longer answers and everything else are refused as OTHER and belong to `interpret`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from meterseal.errors import LocalError
from meterseal.wire.columns.numbers import bcd_columns, to_bcd_columns
from meterseal.wire.columns.stack import (
    Bytes,
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
from meterseal.wire.dlt645 import table
from meterseal.wire.dlt645.items import Item
from meterseal.wire.fields import to_bcd
from meterseal.wire.frame import OFFSET_33H, Frame, address_of
from meterseal.wire.meaning import interpret

ANSWER: Final = 0x91
LENGTH: Final = 8
SIZE: Final = 12 + LENGTH
UNITS: Final = ("", "kWh", "kvarh", "kVAh", "CNY")
"""Units by their number in a column; registers are hundredths."""
SIGN: Final = 0x80


class Energies(Struct, frozen=True):
    """Energy answers, a row each; where `why` is not OK all else is 0.

    `device` is the device id as a number, `di` the identifier, `value` the register in hundredths of `UNITS[unit]`.
    """

    why: Bytes
    device: NDArray[np.uint64]
    di: NDArray[np.uint32]
    value: Numbers
    unit: Bytes

    def __len__(self) -> int:
        return len(self.why)


class EnergyAnswer(Struct, frozen=True):
    """One energy answer: what a row of `Energies` holds."""

    device_id: bytes
    di: int
    value: int
    unit: str


def register_of(di: int) -> Item | None:
    """The one register of four bytes that an identifier of group 00 stands for, or None."""
    quantity = table.lookup(di) if di >> 24 == 0 else None
    return None if quantity is None or quantity.block else quantity.items[0]


def energies(frames: Stack) -> Energies:
    """The columns of energy answers; every other frame is a row that says why not."""
    rows = len(frames)
    why = faults(frames, "dlt645")
    result = Energies(
        why,
        np.zeros(rows, np.uint64),
        np.zeros(rows, np.uint32),
        np.zeros(rows, np.int64),
        np.zeros(rows, np.uint8),
    )
    whole = why == 0
    fits = whole & (frames.sizes == SIZE)
    why[whole & ~fits] = Why.OTHER
    if frames.raw.shape[1] >= SIZE:
        _fill(result, frames.raw, np.flatnonzero(fits))
    return result


def _fill(into: Energies, raw: Bytes, at: NDArray[np.intp]) -> None:
    some = raw if len(at) == len(raw) else raw[at]
    body = some[:, 10:18] - np.uint8(OFFSET_33H)
    di = np.ascontiguousarray(body[:, :4]).view("<u4")[:, 0].astype(np.uint32)
    known, place = np.unique(di, return_inverse=True)
    items = [register_of(one) for one in known.tolist()]
    right = np.array([item is not None for item in items], np.bool_)[place] & (some[:, 8] == ANSWER)
    unit = np.array([UNITS.index(item.unit or "") if item else 0 for item in items], np.uint8)[place]
    signed = np.array([item is not None and item.signed for item in items], np.bool_)[place]
    negative = signed & (body[:, 7] & SIGN != 0)
    body[:, 7] &= np.where(signed, np.uint8(0x7F), np.uint8(0xFF))
    value, digits = bcd_columns(body[:, 4:])
    why = np.where(right, np.where(digits, np.uint8(Why.OK), np.uint8(Why.DIGITS)), np.uint8(Why.OTHER))
    into.why[at] = why
    good = why == 0
    into.device[at] = np.where(good, device_column(some, "dlt645"), np.uint64(0))
    into.di[at] = np.where(good, di, np.uint32(0))
    into.value[at] = np.where(good, np.where(negative, -value, value), 0)
    into.unit[at] = np.where(good, unit, np.uint8(0))


def one_energy(raw: bytes) -> EnergyAnswer | Why:
    """One energy answer by `interpret`, or why it is none: what a row of `energies` says."""
    frame = one_frame(raw, "dlt645")
    if isinstance(frame, Why):
        return frame
    di = int.from_bytes(frame.data[:4], "little")
    if frame.control != ANSWER or len(frame.data) != LENGTH or register_of(di) is None:
        return Why.OTHER
    ((_, value),) = interpret(frame).readings.items()
    if value.register is None:
        return Why.DIGITS
    return EnergyAnswer(frame.device_id, di, value.register, value.unit or "")


def energy_frames(columns: Energies) -> Stack:
    """The frames of all rows. LocalError `wire.field` with the `row` for what no frame holds, and for a row not OK."""
    refuse(columns.why != 0, "it holds no answer")
    known, place = np.unique(columns.di, return_inverse=True)
    items = [register_of(one) for one in known.tolist()]
    refuse(
        np.array([item is None for item in items], np.bool_)[place], "its identifier is no energy register"
    )
    signed = np.array([item is not None and item.signed for item in items], np.bool_)[place]
    value = columns.value
    refuse(~signed & (value < 0), "its register has no sign")
    digits = to_bcd_columns(np.abs(value), 4)
    refuse(signed & (digits[:, 3] & SIGN != 0), "its register reaches into the sign bit")
    raw = heads(columns.device, "dlt645", ANSWER, LENGTH, SIZE)
    raw[:, 10:14] = columns.di.astype("<u4").view(np.uint8).reshape(-1, 4)
    raw[:, 14:18] = digits
    raw[:, 17] |= np.where(value < 0, np.uint8(SIGN), np.uint8(0))
    raw[:, 10:18] += np.uint8(OFFSET_33H)
    return Stack(close(raw), np.full(len(raw), SIZE))


def one_energy_frame(one: EnergyAnswer) -> bytes:
    """The frame of one answer. LocalError `wire.field` for what no frame holds."""
    protocol, meter_type, address = address_of(one.device_id)
    item = register_of(one.di)
    if protocol != "dlt645" or item is None:
        raise LocalError(
            "wire.field", f"{one.di:08X} of {one.device_id.hex()} is no energy register; give another."
        )
    try:
        digits = bytearray(to_bcd(abs(one.value), 4))
    except OverflowError as error:
        raise LocalError("wire.field", f"{error}; scale it first.") from None
    if (one.value < 0 and not item.signed) or (item.signed and digits[3] & SIGN):
        raise LocalError(
            "wire.field", f"{one.value} does not fit beside the sign of {item.name}; scale it first."
        )
    digits[3] |= SIGN if one.value < 0 else 0
    return Frame(protocol, meter_type, address, ANSWER, one.di.to_bytes(4, "little") + bytes(digits)).encode()
