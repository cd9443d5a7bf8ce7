"""Station wire, the builders: requests, answers and reports of both protocols as frames.

It sends nothing and chooses no content; edge and concentrator give the values, link and bus carry the bytes. What a
meter model does its own way is `roles`'.
A `device_id` is the 8 bytes of LINK section 1; register values are scaled integers in the exponent of the
unit (m3, kWh: hundredths). Fields that do not fit raise LocalError `wire.field`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from meterseal.errors import LocalError
from meterseal.wire import identifiers as ids
from meterseal.wire.fields import to_bcd, to_clock
from meterseal.wire.frame import Frame, address_of

READ, READ_ADDRESS, WRITE, WRITE_ADDRESS = 0x01, 0x03, 0x04, 0x15
"""Functions of CJ/T 188 (control code D4..D0)."""
READ_645, READ_ADDRESS_645, WRITE_645, RELAY_645 = 0x11, 0x13, 0x14, 0x1C
"""Functions of DL/T 645-2007."""
ANSWER = 0x80

INTERVALS_PER_FRAME: Final = {"cjt188": 20, "dlt645": 43}
SEGMENT_DOWN: Final = {"cjt188": 40, "dlt645": 32}
SEGMENT_UP: Final = 80
NO_CREDENTIALS = bytes(8)
"""Password and operator of a DL/T 645 write that needs none: the link guards what it carries."""

ANY_CJT188 = b"\xaa" * 8
ANY_DLT645 = b"\xd7\x00" + b"\xaa" * 6
"""Wildcard device ids, for point-to-point requests only."""


def _refuse(sentence: str) -> LocalError:
    return LocalError("wire.field", sentence)


def _digits(value: int, size: int) -> bytes:
    try:
        return to_bcd(value, size)
    except OverflowError:
        raise _refuse(f"The value {value} does not fit in {2 * size} BCD digits; scale it first.") from None


def _frame(device_id: bytes, control: int, control_645: int, data: bytes) -> Frame:
    protocol, meter_type, address = address_of(device_id)
    return Frame(protocol, meter_type, address, control if protocol == "cjt188" else control_645, data)


def _lead(device_id: bytes, di: int, di_645: int, ser: int, *, high_first: bool = True) -> bytes:
    """DI and SER (CJ/T 188), or the four DI bytes low first (DL/T 645)."""
    if address_of(device_id)[0] == "dlt645":
        return di_645.to_bytes(4, "little")
    return ids.write_di(di, high_first=high_first) + bytes((ser & 0xFF,))


def read_request(device_id: bytes, di: int, ser: int = 0, *, high_first: bool = True) -> Frame:
    """A read request (C = 01, DL/T 645: 11) for `di`; 2 or 4 bytes wide as the protocol has it.

    `high_first` is the per-meter order of CJ/T 188 identifiers; DL/T 645 has no SER and no choice of order.
    """
    return _frame(device_id, READ, READ_645, _lead(device_id, di, di, ser, high_first=high_first))


def read_address_request(device_id: bytes = ANY_CJT188, ser: int = 0, *, high_first: bool = True) -> Frame:
    """A read-address request (C = 03 with 810A, DL/T 645: 13 without data), by default to any meter."""
    protocol = address_of(device_id)[0]
    data = (
        b""
        if protocol == "dlt645"
        else ids.write_di(ids.ADDRESS, high_first=high_first) + bytes((ser & 0xFF,))
    )
    return _frame(device_id, READ_ADDRESS, READ_ADDRESS_645, data)


def answer(device_id: bytes, request: Frame, payload: bytes = b"") -> Frame:
    """The normal answer of a meter: C with D7, the request's identifier bytes and SER as sent, the payload.

    A DL/T 645 write (14) or relay (1C) answer has no data; a payload for one is refused.
    """
    protocol, meter_type, address = address_of(device_id)
    lead = request.data[:3]
    if protocol == "dlt645":
        reads = request.control in (READ_645, 0x12)
        if payload and not reads:
            raise _refuse("A DL/T 645 answer to anything but a read carries no data; leave the payload out.")
        lead = request.data[:4] if reads else b""
    return Frame(protocol, meter_type, address, request.control | ANSWER, lead + payload)


def write_request(
    device_id: bytes, di: int, payload: bytes, ser: int = 0, *, high_first: bool = True
) -> Frame:
    """A write request (C = 04 or, for A018, 15; DL/T 645: 14 with password and operator zero)."""
    protocol, _, _ = address_of(device_id)
    lead = _lead(device_id, di, di, ser, high_first=high_first)
    if protocol == "dlt645":
        return _frame(device_id, WRITE, WRITE_645, lead + NO_CREDENTIALS + payload)
    return _frame(device_id, WRITE_ADDRESS if di == ids.WRITE_ADDRESS else WRITE, WRITE_645, lead + payload)


def valve_request(device_id: bytes, *, opened: bool, ser: int = 0, high_first: bool = True) -> Frame:
    """Valve control A017 (阀门控制): 55 opens, 99 closes."""
    return write_request(device_id, ids.VALVE, b"\x55" if opened else b"\x99", ser, high_first=high_first)


def relay_request(device_id: bytes, action: int, until: int, *, utc_offset_minutes: int = 480) -> Frame:
    """Relay control of DL/T 645 (1C): 1A trips, 1B permits closing by hand, 1C closes; good until `until` (Unix ms)."""
    if address_of(device_id)[0] != "dlt645":
        raise _refuse("Relay control belongs to DL/T 645; give a device id that starts with D7 00.")
    order = bytes((action, 0)) + to_clock(until, utc_offset_minutes)[:6]
    return _frame(device_id, RELAY_645, RELAY_645, NO_CREDENTIALS + order)


def interval_block(
    device_id: bytes,
    *,
    start_at: int,
    step_minutes: int,
    channel: int,
    unit: int,
    registers: Sequence[int | None],
    status: int = 0,
    ser: int = 0,
    utc_offset_minutes: int = 480,
) -> Frame:
    """One frame E001 / E0010000 (LINK section 4): register k was read at `start_at` + k * `step_minutes`.

    At most 20 (CJ/T 188) or 43 (DL/T 645) registers; None is sent as FF FF FF FF, missing.
    """
    protocol, _, _ = address_of(device_id)
    most = INTERVALS_PER_FRAME[protocol]
    if not 1 <= len(registers) <= most or not 1 <= step_minutes <= 255:
        raise _refuse(
            f"An interval block takes 1 to {most} registers and steps of 1 to 255 min; split the day."
        )
    head = to_clock(start_at, utc_offset_minutes) + bytes(
        (step_minutes, channel, unit, status, len(registers))
    )
    values = b"".join(b"\xff" * 4 if value is None else _digits(value, 4) for value in registers)
    lead = _lead(device_id, ids.INTERVALS, ids.INTERVALS_645, ser)
    return _frame(device_id, READ | ANSWER, READ_645 | ANSWER, lead + head + values)


def found_report(
    device_id: bytes, bus: int, first_seen: int, ser: int = 0, *, utc_offset_minutes: int = 480
) -> Frame:
    """What a concentrator says of a meter that it found and does not know: on which of its buses (0 to 255), since when."""
    if not 0 <= bus <= 255:
        raise _refuse(f"A bus has a number from 0 to 255, not {bus}.")
    lead = _lead(device_id, ids.FOUND, ids.FOUND_645, ser)
    body = bytes((bus,)) + to_clock(first_seen, utc_offset_minutes)
    return _frame(device_id, READ | ANSWER, READ_645 | ANSWER, lead + body)


def alarm_report(
    device_id: bytes, status: bytes, at: int, ser: int = 0, *, utc_offset_minutes: int = 480
) -> Frame:
    """What a concentrator saw a plain meter raise the alarm about: two status bytes (`headend.meteralarms`), since when."""
    lead = _lead(device_id, ids.ALARM, ids.ALARM_645, ser)
    return _frame(
        device_id, READ | ANSWER, READ_645 | ANSWER, lead + status + to_clock(at, utc_offset_minutes)
    )


def clock_report(device_id: bytes, shown: int, asked: int, answered: int, agreed: int, ser: int = 0) -> Frame:
    """What a plain meter's clock showed between two moments of its concentrator's, and until when it was known to stand as
    was told before (`asked` where nobody knows). Unix ms, sent to the second in UTC+8; the answer's is rounded up.
    """
    lead = _lead(device_id, ids.CLOCK, ids.CLOCK_645, ser)
    body = b"".join(to_clock(at, 480) for at in (shown, asked, answered + 999, agreed))
    return _frame(device_id, READ | ANSWER, READ_645 | ANSWER, lead + body)


def _place(total: int, offset: int) -> bytes:
    if not (0 <= offset <= total <= 0xFFFF):
        raise _refuse(
            f"A segment at {offset} of {total} bytes is outside its message; start over at offset 0."
        )
    return total.to_bytes(2, "big") + offset.to_bytes(2, "big")


def segment_write_request(device_id: bytes, total: int, offset: int, chunk: bytes, ser: int = 0) -> Frame:
    """A segment of a link message to the meter: at most 40 bytes (CJ/T 188) or 32 (DL/T 645)."""
    protocol, _, _ = address_of(device_id)
    if len(chunk) > SEGMENT_DOWN[protocol]:
        raise _refuse(
            f"A segment to a {protocol} meter takes {SEGMENT_DOWN[protocol]} bytes, not {len(chunk)}."
        )
    lead = _lead(device_id, ids.SEGMENTS, ids.SEGMENTS_645, ser)
    guard = NO_CREDENTIALS if protocol == "dlt645" else b""
    return _frame(device_id, WRITE, WRITE_645, lead + guard + _place(total, offset) + chunk)


def segment_write_answer(device_id: bytes, request: Frame) -> Frame:
    """The meter took the segment: DI and SER echoed (CJ/T 188), no data (DL/T 645)."""
    return answer(device_id, request)


def segment_read_request(device_id: bytes, offset: int, ser: int = 0) -> Frame:
    """Ask the meter for the bytes of its waiting link message from `offset` on."""
    lead = _lead(device_id, ids.SEGMENTS, ids.SEGMENTS_645, ser)
    return _frame(device_id, READ, READ_645, lead + _place(0xFFFF, offset)[2:])


def segment_read_answer(
    device_id: bytes, request: Frame, total: int, offset: int, chunk: bytes = b""
) -> Frame:
    """Up to 80 bytes of the waiting message at `offset`; total 0 says that nothing waits."""
    if len(chunk) > SEGMENT_UP:
        raise _refuse(f"A segment from a meter takes {SEGMENT_UP} bytes, not {len(chunk)}.")
    return answer(device_id, request, _place(total, offset) + chunk)
