"""Station wire, interval columns: blocks E001 and E0010000 (LINK section 4), many at once and one alone.

It takes blocks whose head and values agree to the byte; everything else is refused as OTHER and belongs to `interpret`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from meterseal.errors import LocalError
from meterseal.units import UNITS
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
from meterseal.wire.encode import INTERVALS_PER_FRAME, interval_block
from meterseal.wire.frame import OFFSET_33H, Protocol
from meterseal.wire.meaning import interpret

CONTROL: Final[dict[Protocol, int]] = {"cjt188": 0x81, "dlt645": 0x91}
IDENTIFIER: Final[dict[Protocol, bytes]] = {"cjt188": b"\x01\xe0", "dlt645": b"\x00\x00\x01\xe0"}
BODY: Final = 14
"""Where the head begins, in both protocols: behind the identifier and, with CJ/T 188, the serial number."""
HEAD: Final = 12
MISSING: Final = 0xFFFFFFFF
MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000
_KNOWN: Final = np.array([code in UNITS for code in range(256)], np.bool_)


class Intervals(Struct, frozen=True):
    """Interval blocks, a row each, and their registers behind one another; where `why` is not OK all else is 0.

    `device` is the device id as a number, `unit` a code of `units.UNITS`, `start` Unix ms of the first register and
    `step` ms between two. The registers of row k are `value[first[k] : first[k] + count[k]]`; where `missing` is set
    the meter has none.
    """

    why: Bytes
    device: NDArray[np.uint64]
    channel: Bytes
    unit: Bytes
    status: Bytes
    start: Numbers
    step: Numbers
    count: Numbers
    first: Numbers
    value: Numbers
    missing: Flags
    ser: Bytes

    def __len__(self) -> int:
        return len(self.why)

    def row_of_value(self) -> NDArray[np.intp]:
        """The row that each register belongs to."""
        return np.repeat(np.arange(len(self.why)), self.count)

    def at(self) -> Numbers:
        """Unix ms at which each register was read."""
        rows = self.row_of_value()
        return self.start[rows] + (np.arange(len(self.value)) - self.first[rows]) * self.step[rows]


class IntervalBlock(Struct, frozen=True):
    """One block: what a row of `Intervals` holds, with its registers."""

    device_id: bytes
    channel: int
    unit: int
    status: int
    start: int
    step: int
    registers: tuple[int | None, ...]
    ser: int = 0


def intervals(frames: Stack, protocol: Protocol, *, utc_offset_minutes: int = 480) -> Intervals:
    """The columns of interval blocks; every other frame is a row that says why not."""
    rows = len(frames)
    why = faults(frames, protocol)
    result = _empty(why, 0)
    whole = np.flatnonzero(why == 0)
    fixed = BODY + HEAD + 2
    counts = np.zeros(rows, np.int64)
    registers: dict[int, tuple[NDArray[np.intp], Numbers, Flags]] = {}
    why[whole] = Why.OTHER
    for size in np.unique(frames.sizes[whole]).tolist():
        count, rest = divmod(size - fixed, 4)
        if count < 1 or rest:
            continue
        at = whole[frames.sizes[whole] == size]
        good, value, missing = _fill(result, frames.raw[at, :size], at, protocol, count, utc_offset_minutes)
        counts[good] = count
        registers[count] = (good, value, missing)
    result.count[:] = counts
    result.first[:] = np.cumsum(counts) - counts
    value = np.zeros(int(counts.sum()), np.int64)
    missing = np.zeros(len(value), np.bool_)
    for count, (good, values, gone) in registers.items():
        places = (result.first[good][:, None] + np.arange(count)).ravel()
        value[places], missing[places] = values.ravel(), gone.ravel()
    return _with(result, value, missing)


def _empty(why: Bytes, total: int) -> Intervals:
    rows = len(why)
    small = [np.zeros(rows, np.uint8) for _ in range(4)]
    large = [np.zeros(rows, np.int64) for _ in range(4)]
    return Intervals(
        why,
        np.zeros(rows, np.uint64),
        small[0],
        small[1],
        small[2],
        large[0],
        large[1],
        large[2],
        large[3],
        np.zeros(total, np.int64),
        np.zeros(total, np.bool_),
        small[3],
    )


def _with(one: Intervals, value: Numbers, missing: Flags) -> Intervals:
    return Intervals(
        one.why,
        one.device,
        one.channel,
        one.unit,
        one.status,
        one.start,
        one.step,
        one.count,
        one.first,
        value,
        missing,
        one.ser,
    )


def _fill(
    into: Intervals,
    some: Bytes,
    at: NDArray[np.intp],
    protocol: Protocol,
    count: int,
    utc_offset_minutes: int,
) -> tuple[NDArray[np.intp], Numbers, Flags]:
    """Judge rows of one size; the rows that hold, and their registers."""
    data = some[:, 10:-2] - np.uint8(OFFSET_33H) if protocol == "dlt645" else some[:, 11:-2]
    lead = IDENTIFIER[protocol]
    head = data[:, BODY - (10 if protocol == "dlt645" else 11) :]
    control = some[:, 8 if protocol == "dlt645" else 9]
    right = control == CONTROL[protocol]
    for place, byte in enumerate(lead):
        right &= data[:, place] == byte
    start = clock_columns(head[:, :7], utc_offset_minutes, either=False)
    right &= (start != UNSET) & (head[:, 7] > 0) & _KNOWN[head[:, 9]] & (head[:, 11] == count)
    words = np.ascontiguousarray(head[:, HEAD:]).reshape(-1, 4)
    value, digits = bcd_columns(words)
    gone = words.view("<u4")[:, 0] == MISSING
    fine = (digits | gone).reshape(-1, count).all(axis=1)
    why = np.where(right, np.where(fine, np.uint8(Why.OK), np.uint8(Why.DIGITS)), np.uint8(Why.OTHER))
    into.why[at] = why
    good = np.flatnonzero(why == 0)
    rows = at[good]
    into.device[rows] = device_column(some[good], protocol)
    into.channel[rows] = head[good, 8]
    into.unit[rows] = head[good, 9]
    into.status[rows] = head[good, 10]
    into.start[rows] = start[good]
    into.step[rows] = head[good, 7].astype(np.int64) * MINUTE_MS
    if protocol == "cjt188":
        into.ser[rows] = some[good, 13]
    return rows, np.where(gone, 0, value).reshape(-1, count)[good], gone.reshape(-1, count)[good]


def one_interval_block(
    raw: bytes, protocol: Protocol, *, utc_offset_minutes: int = 480
) -> IntervalBlock | Why:
    """One block by `interpret`, or why it is none: what a row of `intervals` says."""
    frame = one_frame(raw, protocol)
    if isinstance(frame, Why):
        return frame
    lead = IDENTIFIER[protocol]
    body = BODY - (10 if protocol == "dlt645" else 11)
    if frame.control != CONTROL[protocol] or not frame.data.startswith(lead) or len(frame.data) < body + HEAD:
        return Why.OTHER
    meaning = interpret(frame, utc_offset_minutes)
    block = meaning.interval
    if block is None or len(frame.data) != body + HEAD + 4 * len(block.registers):
        return Why.OTHER
    if any(note.startswith("not-bcd") for note in meaning.anomalies):
        return Why.DIGITS
    return IntervalBlock(
        frame.device_id,
        block.channel,
        block.unit_code,
        block.status,
        block.start_at,
        block.step,
        block.registers,
        meaning.ser or 0,
    )


def interval_frames(columns: Intervals, protocol: Protocol, *, utc_offset_minutes: int = 480) -> Stack:
    """The frames of all rows. LocalError `wire.field` with the `row` for what no frame holds, and for a row not OK."""
    refuse(columns.why != 0, "it holds no block")
    refuse(
        (columns.count < 1) | (columns.count > INTERVALS_PER_FRAME[protocol]),
        "a frame does not hold so many registers",
    )
    minutes, rest = np.divmod(columns.step, MINUTE_MS)
    refuse((rest != 0) | (minutes < 1) | (minutes > 255), "its step is not 1 to 255 minutes")
    refuse(~_KNOWN[columns.unit], "its unit code is not known")
    clock = to_clock_columns(columns.start, utc_offset_minutes)
    refuse(columns.start == UNSET, "its start is not set")
    value = np.where(columns.missing, 0, columns.value)
    wrong = np.zeros(len(columns), np.bool_)
    wrong[columns.row_of_value()[(value < 0) | (value >= 10**8)]] = True
    refuse(wrong, "a register does not fit in 8 BCD digits")
    words = to_bcd_columns(value, 4)
    words[columns.missing] = 0xFF
    fixed = BODY + HEAD + 2
    sizes = fixed + 4 * columns.count
    raw = np.zeros((len(columns), int(sizes.max(initial=fixed))), np.uint8)
    for count in np.unique(columns.count).tolist():
        at = np.flatnonzero(columns.count == count)
        size = fixed + 4 * count
        length = size - (12 if protocol == "dlt645" else 13)
        part = heads(columns.device[at], protocol, CONTROL[protocol], length, size)
        lead = IDENTIFIER[protocol]
        part[:, BODY - len(lead) - (protocol == "cjt188") :][:, : len(lead)] = np.frombuffer(lead, np.uint8)
        if protocol == "cjt188":
            part[:, 13] = columns.ser[at]
        part[:, BODY : BODY + 7] = clock[at]
        for place, column in enumerate((minutes, columns.channel, columns.unit, columns.status), start=7):
            part[:, BODY + place] = column[at]
        part[:, BODY + 11] = count
        places = (columns.first[at][:, None] + np.arange(count)).ravel()
        part[:, BODY + HEAD : -2] = words[places].reshape(len(at), 4 * count)
        if protocol == "dlt645":
            part[:, 10:-2] += np.uint8(OFFSET_33H)
        raw[at, :size] = close(part)
    return Stack(raw, sizes)


def one_interval_frame(one: IntervalBlock, *, utc_offset_minutes: int = 480) -> bytes:
    """The frame of one block. LocalError `wire.field` for what no frame holds."""
    minutes, rest = divmod(one.step, MINUTE_MS)
    if rest or not 1 <= minutes <= 255:
        raise LocalError("wire.field", f"A step of {one.step} ms is not 1 to 255 minutes; use another.")
    if not FIRST_DAY <= (one.start + utc_offset_minutes * MINUTE_MS) // DAY_MS <= LAST_DAY:
        raise LocalError("wire.field", f"The start {one.start} is not between 1900 and 2199; set it first.")
    if one.unit not in UNITS:
        raise LocalError("wire.field", f"{one.unit:02X} is no unit code; give one of `units.UNITS`.")
    return interval_block(
        one.device_id,
        start_at=one.start,
        step_minutes=minutes,
        channel=one.channel,
        unit=one.unit,
        registers=one.registers,
        status=one.status,
        ser=one.ser,
        utc_offset_minutes=utc_offset_minutes,
    ).encode()
