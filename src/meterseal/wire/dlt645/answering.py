"""Station wire, DL/T 645 answers: what a meter says to a request, and whether an answer is to a request.

It decides nothing about the meter: values, success and reasons are given. Reading what an answer says is `interpret`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from meterseal.errors import PeerError
from meterseal.wire.asked import Match, Reason
from meterseal.wire.dlt645.asking import ANYBODY, CODES, EVERYBODY
from meterseal.wire.dlt645.habits import Habits
from meterseal.wire.dlt645.names import FUNCTION
from meterseal.wire.dlt645.payloads import payload, pieces, quantity_of
from meterseal.wire.frame import Frame, address_of
from meterseal.wire.sheet import Meaning
from meterseal.wire.values import Stated, Values, unfit, values_of

ANSWER, ERROR, MORE = 0x80, 0xC0, 0x20

BITS: Final[dict[Reason, int]] = {
    "other": 0x01,
    "no-such-data": 0x02,
    "not-authorised": 0x04,
    "bad-value": 0x01,
    "baud-rate": 0x08,
    "year-zones": 0x10,
    "day-periods": 0x20,
    "tariffs": 0x40,
}
"""The error word of 2007. That of 1997 has 01 for illegal data and 02 for a wrong identifier, and no bit 3."""


def answer(
    device_id: bytes,
    request: Frame,
    values: Values,
    habits: Habits,
    *,
    number: int = 0,
    utc_offset_minutes: int = 480,
) -> Frame:
    """The normal answer to a read request: the identifier and the payload from `values`, D5 set while more follows.

    A request for a follow-up frame says its number itself in 2007 (1, 2 …); in 1997 `number` does. Raises LocalError
    `wire.field` for values that are missing or do not fit, and for a piece that there is not.
    """
    _, _, address = address_of(device_id)
    width = habits.width
    if len(request.data) < width:
        raise unfit("di", "the request has no identifier to answer")
    follows = request.control & FUNCTION == CODES[habits.edition]["follow-up"]
    if follows and habits.edition == "2007":
        number = request.data[width] if len(request.data) > width else 0
    parts = pieces(int.from_bytes(request.data[:width], "little"), values, habits, utc_offset_minutes)
    if not 0 <= number < len(parts) or follows is not (number > 0):
        raise unfit("number", f"the answer has {len(parts)} pieces, and number {number} is not among them")
    more = MORE if number + 1 < len(parts) else 0
    sequence = bytes((number,)) if follows and habits.edition == "2007" else b""
    body = request.data[:width] + parts[number] + sequence
    return Frame("dlt645", 0, address, request.control | ANSWER | more, body)


def report(
    device_id: bytes, di: int, values: Values, habits: Habits, *, utc_offset_minutes: int = 480
) -> Frame:
    """Data that nobody asked for: the answer to a read."""
    _, _, address = address_of(device_id)
    body = di.to_bytes(habits.width, "little") + payload(di, values, habits, utc_offset_minutes)
    return Frame("dlt645", 0, address, CODES[habits.edition]["read"] | ANSWER, body)


def address_answer(device_id: bytes, request: Frame, habits: Habits) -> Frame:
    """The answer to read-address: the address in the header and in the data."""
    _, _, address = address_of(device_id)
    return Frame("dlt645", 0, address, request.control | ANSWER, address)


def done(device_id: bytes, request: Frame, habits: Habits) -> Frame:
    """A request was carried out: no data, but the rate byte for a new baud rate and the new password for one.

    Raises LocalError `wire.field` for a broadcast, which nobody answers.
    """
    _, _, address = address_of(device_id)
    if request.address == EVERYBODY:
        raise unfit("request", "a broadcast is never answered")
    code, codes = request.control & FUNCTION, CODES[habits.edition]
    data = b""
    if code == codes["baud-rate"]:
        data = request.data
    elif code == codes["password"]:
        data = request.data[-4:]
    return Frame("dlt645", 0, address, request.control | ANSWER, data)


def refuse(device_id: bytes, request: Frame, reason: Reason, habits: Habits) -> Frame:
    """The error answer: one byte, a bit for the reason."""
    _, _, address = address_of(device_id)
    code = BITS[reason]
    if habits.edition == "1997":
        code = {"no-such-data": 0x02, "not-authorised": 0x04}.get(reason, code if code > 0x08 else 0x01)
    return Frame("dlt645", 0, address, request.control | ERROR, bytes((code,)))


def joined(answers: Sequence[Frame]) -> Frame:
    """An answer and its follow-up frames as one answer. Raises PeerError `wire.pieces` where one is missing."""
    first = answers[0]
    old = first.control & FUNCTION == CODES["1997"]["read"]
    codes, width, numbered = CODES["1997" if old else "2007"], 2 if old else 4, not old
    wanted = [codes["read"], *(codes["follow-up"] for _ in answers[1:])]
    fits = all(
        piece.control & FUNCTION == code
        and piece.control & ERROR == ANSWER
        and bool(piece.control & MORE) is (place + 1 < len(answers))
        and piece.data[:width] == first.data[:width]
        and len(piece.data) >= width
        and piece.device_id == first.device_id
        and (not (numbered and place) or piece.data[width:][-1:] == bytes((place & 0xFF,)))
        for place, (piece, code) in enumerate(zip(answers, wanted, strict=True))
    )
    if not fits:
        raise PeerError(
            "wire.pieces", "The pieces of the answer do not belong together; read the meter again."
        )
    rest = b"".join(piece.data[width : -1 if numbered else None] for piece in answers[1:])
    return Frame("dlt645", 0, first.address, first.control & ~MORE, first.data + rest)


def matches(request: Frame, got: Frame, habits: Habits) -> Match:
    """Whether a frame answers a request: address but for wildcards, function, identifier, number of a follow-up.

    Whoever was given another address may answer under either.
    """
    if got.protocol != request.protocol or not got.control & ANSWER:
        return Match(answers=False, why="it is no answer of this protocol")
    if request.address == EVERYBODY:
        return Match(answers=False, why="a broadcast is never answered")
    codes, code, width = CODES[habits.edition], request.control & FUNCTION, habits.width
    renamed = code == codes["write-address"] and got.address == request.data
    other = any(
        asked not in (ANYBODY, byte) for asked, byte in zip(request.address, got.address, strict=True)
    )
    if other and not renamed:
        return Match(answers=False, why="it is of another meter")
    if (request.control ^ got.control) & FUNCTION:
        return Match(answers=False, why="it answers another function")
    if got.control & 0x40 or code not in (codes["read"], codes["follow-up"]):
        return Match(answers=True)
    if got.data[:width] != request.data[:width] or len(got.data) < width:
        return Match(answers=False, why="its identifier is another one")
    numbered = habits.edition == "2007" and code == codes["follow-up"]
    if numbered and got.data[width:][-1:] != request.data[width : width + 1]:
        return Match(answers=False, why="it is another follow-up frame")
    return Match(answers=True)


def stated(frame: Frame, meaning: Meaning, habits: Habits) -> dict[str, Stated]:
    """What a frame states, ready to be built again: bytes where no layout is public or where no digits are."""
    if meaning.di is not None and not meaning.error and quantity_of(meaning.di, habits) is None:
        return {"payload": frame.data[habits.width :]}
    unreadable = {name for name, value in meaning.readings.items() if value.shown is None}
    raw = {part.name: part.raw for part in meaning.parts if part.name in unreadable}
    return {**values_of(meaning), **raw}
