"""Station wire, CJ/T 188 requests: an Ask becomes a frame (master) and a frame an Ask (slave), strictly.

It sends nothing and answers nothing (answering). What a lenient reader shows (interpret) a slave does not act on:
lengths, digits and times have to be right.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from meterseal.errors import PeerError
from meterseal.wire import identifiers as ids
from meterseal.wire.asked import Ask
from meterseal.wire.catalogue import (
    BYTES,
    FIELDS,
    READ,
    READ_ADDRESS,
    READ_KEY,
    ROWS,
    WRITE,
    Identifier,
    Kind,
    row_of,
)
from meterseal.wire.cjt188.habits import Habits
from meterseal.wire.cjt188.interpret import interpret
from meterseal.wire.cjt188.payloads import payload
from meterseal.wire.fields import clock_at
from meterseal.wire.frame import Frame, address_of
from meterseal.wire.sheet import Meaning, Segment
from meterseal.wire.values import Stated, unfit, values_of

FROM_METER: Final = 0x80
ANYBODY: Final = 0xAA
EVERYBODY: Final = b"\x99" * 7
"""Broadcast without an answer; known from one source only."""
STATES: Final[dict[str, int]] = {"enter": 0xA101, "leave": 0xA102}
"""Verification mode: action and identifier."""
STANDARD: Final = frozenset(row.function for row in ROWS)
READING: Final = (READ, READ_ADDRESS, READ_KEY)
DAYS: Final = ("settlement_day", "reading_day", "start_day")
DEFAULT: Final[dict[Kind, int]] = {
    row.kind: row.di for row in reversed(ROWS) if row.kind not in ("read", "intervals", "found", "alarm")
}
"""The identifier of a kind of request that has one; where there are two, the one that stands first."""


def ask_of(frame: Frame, habits: Habits, *, high_first: bool, utc_offset_minutes: int = 480) -> Ask:
    """What a request asks for; `high_first` is the model's order, which decides where an identifier reads both ways.

    Raises PeerError `wire.request` (an answer; data too short or too long for the identifier; digits that are no
    BCD; an impossible time) and `wire.function` (a function that neither the editions nor the model have).
    """
    if frame.control & FROM_METER:
        raise _wrong("an answer is no request")
    if len(frame.data) < 2:
        raise _wrong(f"{len(frame.data)} data bytes hold no identifier")
    di, as_sent = ids.read_di(frame.data, high_first=high_first)
    row = _row(di, habits)
    if row is not None and row.edition == "own" and as_sent:
        raise _wrong(f"{di:04X} goes low byte first (LINK section 4)")
    kind = _kind(frame, row, habits)
    if len(frame.data) < 3 and kind != "read-address":
        raise _wrong("the serial number (SER) is missing")
    body = frame.data[3:]
    base = Ask(
        kind=kind,
        di=di,
        ser=frame.data[2] if len(frame.data) > 2 else None,
        high_first=as_sent,
        control=frame.control,
        broadcast=frame.address == EVERYBODY,
        wildcard=frame.meter_type == ANYBODY or ANYBODY in frame.address,
        payload=body,
        opaque=row is None or row.down == BYTES,
    )
    if kind == "segment":
        return replace(base, segment=_segment(frame))
    if row is None:
        return base
    if not row.writes or kind == "follow-up":
        if body:
            raise _wrong(
                f"{len(body)} bytes follow the serial number, where a request to read {di:04X} has none"
            )
        return base
    if row.kind == "verification":
        base = replace(base, action="enter" if di == STATES["enter"] else "leave")
    if row.down == BYTES:
        if row.opaque and len(body) != row.opaque:
            raise _wrong(f"{di:04X} takes {row.opaque} bytes, not {len(body)}")
        return base
    return _written(frame, base, row, habits, utc_offset_minutes)


def request(
    device_id: bytes, ask: Ask, habits: Habits, *, high_first: bool, utc_offset_minutes: int = 480
) -> Frame:
    """The frame of a request, the model's way; `high_first` is its order where the Ask names none.

    Raises LocalError `wire.field` where the Ask lacks what its identifier needs or names none.
    """
    protocol, meter_type, address = address_of(device_id)
    di = _identifier(ask)
    row = row_of(di)
    order = high_first if ask.high_first is None else ask.high_first
    ser = bytes((ask.ser & 0xFF,)) if ask.ser is not None else bytes(1)
    if ask.ser is None and ask.kind == "read-address" and (ask.control or not habits.address_ser):
        ser = b""
    control = ask.control or _control(ask, row, habits)
    body = _body(ask, row, habits, utc_offset_minutes)
    if habits.asked_as is not None and meter_type != ANYBODY:
        meter_type = int(habits.asked_as, 16)
    return Frame(protocol, meter_type, address, control, ids.write_di(di, high_first=order) + ser + body)


def _identifier(ask: Ask) -> int:
    """The identifier that an Ask names, or the one that its kind has."""
    if ask.di is not None:
        return ask.di
    di = STATES.get(ask.action or "") if ask.kind == "verification" else DEFAULT.get(ask.kind)
    if di is None:
        raise unfit("di", f"a request to {ask.kind} names its identifier")
    return di


def _control(ask: Ask, row: Identifier | None, habits: Habits) -> int:
    """The function: the model's own, the catalogue's, else plain reading or writing."""
    if ask.kind == "follow-up" and habits.follow_up is not None:
        return int(habits.follow_up.function, 16)
    own = habits.function(ask.kind)
    if own is not None:
        return own
    if row is None or ask.kind == "segment":
        reads = ask.kind in ("read", "follow-up") or (ask.segment is not None and ask.segment.total is None)
        return READ if reads else WRITE
    return row.function


def _body(ask: Ask, row: Identifier | None, habits: Habits, utc_offset_minutes: int) -> bytes:
    if ask.segment is not None:
        place = ask.segment.offset.to_bytes(2, "big")
        total = ask.segment.total
        return place if total is None else total.to_bytes(2, "big") + place + ask.segment.chunk
    if ask.kind == "follow-up":
        return b""
    if row is None or row.down == BYTES:
        if row is not None and row.opaque and len(ask.payload) != row.opaque:
            raise unfit("payload", f"{row.di:04X} takes {row.opaque} bytes, not {len(ask.payload)}")
        return ask.payload
    values: dict[str, Stated] = dict(ask.values)
    if ask.at is not None:
        values.setdefault("clock", ask.at)
    if ask.action is not None:
        values.setdefault("action", ask.action)
    elif row.kind == "valve" and ask.payload:
        values.setdefault("action", ask.payload)
    return payload(row.down, values, habits, utc_offset_minutes)


def _row(di: int, habits: Habits) -> Identifier | None:
    """The row of an identifier, if the model's edition has it."""
    row = row_of(di)
    if row is None or habits.edition is None or row.edition not in ("2004", "2018"):
        return row
    return row if row.edition == habits.edition else None


def _kind(frame: Frame, row: Identifier | None, habits: Habits) -> Kind:
    """What a function with this identifier is about; the model's own functions count as well."""
    control = frame.control
    if habits.follow_up is not None and control == int(habits.follow_up.function, 16):
        return "follow-up"
    if row is None:
        own = next((kind for kind, code in habits.functions.items() if int(code, 16) == control), None)
        if own is None and control not in STANDARD:
            raise _unknown(frame)
        return own or ("read" if control in READING else "vendor")
    if row.kind == "segment" and control in (READ, WRITE):
        return row.kind
    if control not in (row.function, habits.function(row.kind)):
        if control in STANDARD:
            raise _wrong(f"function {control:02X} does not go with the identifier {row.di:04X}")
        raise _unknown(frame)
    return row.kind


def _segment(frame: Frame) -> Segment:
    """A piece of a link message, or the place from which the master reads on."""
    meaning = interpret(frame)
    if meaning.segment is None or (frame.control == READ and len(frame.data) != 5):
        raise _wrong("the segment's head does not fit its bytes")
    return meaning.segment


def _written(frame: Frame, base: Ask, row: Identifier, habits: Habits, utc_offset_minutes: int) -> Ask:
    """A write whose layout is known: whole, in digits, with a time that exists."""
    size = sum(FIELDS[name].size for name in row.down)
    if len(base.payload) != size:
        raise _wrong(f"{row.di:04X} takes {size} bytes behind the serial number, not {len(base.payload)}")
    if row.kind == "time":
        raw = base.payload if habits.clock_order == "low" else base.payload[::-1]
        at = clock_at(raw, utc_offset_minutes)
        if at is None:
            raise _wrong(f"{base.payload.hex()} is no time")
        return replace(base, at=at)
    meaning = interpret(frame, utc_offset_minutes)
    if row.kind == "valve":
        said = f"{base.payload[0]:02X}"
        return replace(base, action=next((name for name, code in habits.valve.items() if code == said), None))
    _digits(meaning)
    return replace(base, values=values_of(meaning))


def _digits(meaning: Meaning) -> None:
    for name, value in meaning.readings.items():
        if value.register is None:
            raise _wrong(f"{name} is no BCD number")
        if name in DAYS and not 1 <= value.register <= 31:
            raise _wrong(f"{name} is {value.register}, which is no day of a month")


def _wrong(why: str) -> PeerError:
    return PeerError(
        "wire.request", f"The request cannot be carried out: {why}; send it again as the edition has it."
    )


def _unknown(frame: Frame) -> PeerError:
    return PeerError(
        "wire.function",
        f"The function {frame.control:02X} is in neither edition and not in the meter's model; use one that it has.",
    )
