"""Station wire, CJ/T 188 answers: what a meter of a model says to a request, and whether an answer is to a request.

It decides nothing about the meter: values, success and reasons are given. Reading what an answer says is `interpret`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from meterseal.errors import PeerError
from meterseal.wire import identifiers as ids
from meterseal.wire.asked import Match, Reason
from meterseal.wire.catalogue import BYTES, Layout, row_of
from meterseal.wire.cjt188.habits import CODES, OTHER, Habits
from meterseal.wire.cjt188.names import medium_of
from meterseal.wire.cjt188.payloads import payload
from meterseal.wire.frame import Frame, address_of
from meterseal.wire.sheet import Meaning, printed
from meterseal.wire.values import Stated, Values, unfit, values_of

ANSWER, ERROR, MORE, ANYBODY = 0x80, 0xC0, 0x20, 0xAA
LARGEST: Final = 100
"""Largest L of an answer to a read (64H)."""


def fields_of(di: int, habits: Habits, *, meter_type: int, up: bool = True) -> Layout:
    """The fields of an identifier for a meter type: the model's own, the catalogue's, or bytes."""
    own = habits.payload_of(di) if up else None
    row = row_of(di)
    if own is not None:
        return own
    return BYTES if row is None else row.layout(up=up, heat=medium_of(meter_type) == "heat")


def answer(
    device_id: bytes,
    request: Frame,
    values: Values,
    habits: Habits,
    *,
    high_first: bool,
    number: int = 0,
    utc_offset_minutes: int = 480,
) -> Frame:
    """The normal answer to a read request: DI in the model's order, SER echoed, the payload from `values`.

    `high_first` is the order in which the model is asked. Where it sends long answers in pieces this is the
    `number`-th, with D5 set while more follow. Raises LocalError `wire.field` for values that are missing or do not
    fit, and for a piece that there is not.
    """
    protocol, meter_type, address = address_of(device_id)
    di, _ = _identifier(request, high_first=high_first)
    fields = fields_of(di, habits, meter_type=meter_type)
    body = payload(fields, values, habits, utc_offset_minutes)
    control = request.control | ANSWER
    if habits.follow_up is not None:
        largest = habits.follow_up.largest
        pieces = max(1, -(-len(body) // largest))
        if not 0 <= number < pieces:
            raise unfit("number", f"the answer has {pieces} pieces, and number {number} is not among them")
        body = body[number * largest : (number + 1) * largest]
        control = control & ~MORE | (MORE if number + 1 < pieces else 0)
    if len(body) + 3 > LARGEST:
        raise unfit("payload", f"an answer takes {LARGEST} bytes with DI and SER, not {len(body) + 3}")
    return Frame(protocol, meter_type, address, control, _lead(request, habits, high_first=high_first) + body)


def report(
    device_id: bytes,
    di: int,
    values: Values,
    habits: Habits,
    *,
    high_first: bool,
    ser: int = 0,
    utc_offset_minutes: int = 480,
) -> Frame:
    """Data that nobody asked for, under the control code that the model uses for them."""
    protocol, meter_type, address = address_of(device_id)
    fields = fields_of(di, habits, meter_type=meter_type)
    lead = ids.write_di(di, high_first=_order(habits, asked=high_first)) + bytes((ser & 0xFF,))
    body = payload(fields, values, habits, utc_offset_minutes)
    return Frame(protocol, meter_type, address, int(habits.report, 16), lead + body)


def address_answer(device_id: bytes, request: Frame, habits: Habits, *, high_first: bool) -> Frame:
    """The answer to read-address: the address is the header's; some models repeat it in the data (section 5.1)."""
    protocol, meter_type, address = address_of(device_id)
    body = address if habits.address_in_data else b""
    return Frame(
        protocol,
        meter_type,
        address,
        request.control | ANSWER,
        _lead(request, habits, high_first=high_first) + body,
    )


def done(
    device_id: bytes,
    request: Frame,
    habits: Habits,
    *,
    high_first: bool,
    status: bytes = b"\x00\x00",
    values: Values | None = None,
) -> Frame:
    """A write was carried out: L = 03, 04 or 05 (section 5.4) by the model, else as captures and sources have it.

    With L = 04 the answer to a new key carries the key's version, any other the first byte of ST.
    """
    protocol, meter_type, address = address_of(device_id)
    di, _ = _identifier(request, high_first=high_first)
    size = habits.write_answers.get(f"{di:04X}", habits.write_answers.get("any", 0))
    row = row_of(di)
    up = row.up if row is not None else ()
    length = size or {(): 3, ("key_version",): 4}.get(up, 5)
    if len(status) != 2:
        raise unfit("status", f"ST has two bytes, not {len(status)}")
    tail = {3: b"", 4: status[:1]}.get(length, status)
    if length == 4 and up == ("key_version",):
        tail = payload(up, values if values else {"key_version": request.data[3:4]}, habits)
    return Frame(
        protocol,
        meter_type,
        address,
        request.control | ANSWER,
        _lead(request, habits, high_first=high_first) + tail,
    )


def refuse(
    device_id: bytes,
    request: Frame,
    reason: Reason,
    habits: Habits,
    *,
    high_first: bool,
    status: bytes = b"\x00\x00",
) -> Frame:
    """The error answer, in the model's layout (section 5.3); ST is the first byte of `status` and the error."""
    protocol, meter_type, address = address_of(device_id)
    own = habits.error_codes.get(reason)
    code = bytes((int(own, 16) if own is not None else CODES.get(reason, OTHER),))
    ser = request.data[2:3] or bytes(1)
    lead = (
        _lead(request, habits, high_first=high_first)[:2] + ser if len(request.data) > 1 else bytes(2) + ser
    )
    data = {
        "error": code,
        "ser-error": ser + code,
        "ser-status": ser + status[:1] + code,
        "di-ser-error": lead + code,
        "di-ser-status": lead + status[:1] + code,
    }[habits.error_layout]
    return Frame(protocol, meter_type, address, request.control | ERROR, data)


def joined(answers: Sequence[Frame]) -> Frame:
    """The answer that came in pieces, as one frame without D5. Raises PeerError `wire.pieces` where one is missing."""
    first, last = answers[0], answers[-1]
    whole = all(piece.control & MORE for piece in answers[:-1]) and not last.control & MORE
    if not whole or any(
        piece.data[:2] != first.data[:2] or piece.device_id != first.device_id for piece in answers
    ):
        raise PeerError(
            "wire.pieces", "The pieces of the answer do not belong together; read the meter again."
        )
    return Frame(
        first.protocol,
        first.meter_type,
        first.address,
        last.control,
        first.data + b"".join(piece.data[3:] for piece in answers[1:]),
    )


def matches(request: Frame, got: Frame, habits: Habits) -> Match:
    """Whether a frame answers a request (rule 4): type and address but for wildcards, function, identifier, SER.

    Identifiers match in either order, except where the swapped one is another identifier.
    """
    why = _against(request, got, habits)
    if why:
        return Match(answers=False, why=why)
    failed = got.control & ERROR == ERROR
    if failed and len(got.data) in (1, 2, 3):
        ser = got.data[:1] if len(got.data) > 1 else b""
    else:
        ser = got.data[2:3]
        if len(got.data) < 2 or not _same(request.data[:2], got.data[:2], habits):
            return Match(answers=False, why="its identifier is another one")
    return Match(answers=True, ser_differs=bool(ser) and ser != request.data[2:3])


def _against(request: Frame, got: Frame, habits: Habits) -> str:
    if got.protocol != request.protocol or not got.control & ANSWER:
        return "it is no answer of this protocol"
    asked_as = habits.asked_as is not None and request.meter_type == int(habits.asked_as, 16)
    if request.meter_type not in (ANYBODY, got.meter_type) and not asked_as:
        return "it is of another type of meter"
    if any(asked not in (ANYBODY, byte) for asked, byte in zip(request.address, got.address, strict=True)):
        return "it is of another meter"
    kept = 0x1F if habits.follow_up is not None else 0x3F
    if (request.control ^ got.control) & kept:
        return "it answers another function"
    return ""


def _same(asked: bytes, got: bytes, habits: Habits) -> bool:
    """One identifier in either order; `D2 D3` and `D3 D2` are two, and the model's order tells them apart."""
    if asked == got:
        return not ids.AMBIGUOUS.issuperset(asked) or habits.answer_order == "echo" or asked[0] == asked[1]
    if ids.AMBIGUOUS.issuperset(asked) and habits.answer_order == "echo":
        return False
    return asked == got[::-1]


def stated(frame: Frame, meaning: Meaning, habits: Habits) -> dict[str, Stated]:
    """What a frame states, ready to be built again; the payload as bytes where the model's layout is not public."""
    if meaning.di is not None and habits.payload_of(meaning.di) == BYTES and frame.control & ANSWER != 0:
        return {"payload": frame.data[3:]}
    return values_of(meaning)


def _identifier(request: Frame, *, high_first: bool) -> tuple[int, bool]:
    if len(request.data) < 2:
        raise unfit("di", f"the request {printed(request.data)} has no identifier to answer")
    return ids.read_di(request.data, high_first=high_first)


def _order(habits: Habits, *, asked: bool) -> bool:
    return asked if habits.answer_order == "echo" else habits.answer_order == "high"


def _lead(request: Frame, habits: Habits, *, high_first: bool) -> bytes:
    """DI in the model's order, and SER as asked."""
    di, as_sent = _identifier(request, high_first=high_first)
    return ids.write_di(di, high_first=_order(habits, asked=as_sent)) + request.data[2:3]
