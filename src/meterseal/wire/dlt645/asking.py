"""Station wire, DL/T 645 requests: an Ask becomes a frame (master) and a frame an Ask (slave), strictly.

It sends nothing and answers nothing (`answering`). What a lenient reader shows (`interpret`) a slave does not act on:
lengths, digits and times have to be right. Nothing is known of what 03 (security) carries; it goes through as bytes.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from meterseal.errors import PeerError
from meterseal.wire import identifiers as ids
from meterseal.wire.asked import Ask, Credentials
from meterseal.wire.catalogue import Kind
from meterseal.wire.dlt645 import load, table, table1997
from meterseal.wire.dlt645.habits import Habits
from meterseal.wire.dlt645.interpret import interpret
from meterseal.wire.dlt645.items import Quantity
from meterseal.wire.dlt645.names import FUNCTION, RATES, RELAY, SECURITY
from meterseal.wire.dlt645.payloads import payload, quantity_of
from meterseal.wire.fields import clock_at, is_bcd, to_clock
from meterseal.wire.frame import Frame, address_of
from meterseal.wire.sheet import Segment, printed
from meterseal.wire.values import Stated, unfit

FROM_METER, ANYBODY = 0x80, 0xAA
EVERYBODY: Final = b"\x99" * 6
"""Broadcast: carried out, never answered."""
LARGEST_WRITE: Final = 50
"""Most data bytes of a request that writes."""

CODES: Final[dict[str, dict[Kind, int]]] = {
    "2007": {
        "time": 0x08,
        "read": 0x11,
        "intervals": 0x11,
        "follow-up": 0x12,
        "read-address": 0x13,
        "write": 0x14,
        "write-address": 0x15,
        "freeze": 0x16,
        "baud-rate": 0x17,
        "password": 0x18,
        "clear-demand": 0x19,
        "clear-meter": 0x1A,
        "clear-events": 0x1B,
        "relay": 0x1C,
        "security": SECURITY,
    },
    "1997": {
        "read": 0x01,
        "follow-up": 0x02,
        "write": 0x04,
        "time": 0x08,
        "write-address": 0x0A,
        "baud-rate": 0x0C,
        "password": 0x0F,
        "clear-demand": 0x10,
    },
}
"""Function by kind of request and edition. Reading again (1997, 03) is not asked for: a master repeats its read."""
KINDS: Final[dict[str, dict[int, Kind]]] = {
    edition: {code: kind for kind, code in reversed(codes.items())} for edition, codes in CODES.items()
}
LEVELS: Final[dict[Kind, int]] = {
    "write": 4,
    "clear-demand": 4,
    "clear-meter": 2,
    "clear-events": 2,
    "relay": 2,
}
"""The lowest level of password that may do it, 0 being the highest; every captured relay command shows 02."""
GUARDED: Final = ("clear-demand", "clear-meter", "clear-events", "relay")
"""Requests of 2007 that begin with password and operator."""


def ask_of(frame: Frame, habits: Habits, *, utc_offset_minutes: int = 480) -> Ask:
    """What a request asks for.

    Raises PeerError `wire.request` (an answer; data too short or too long for the identifier; digits that are no
    BCD; an impossible time) and `wire.function` (a function that the meter's edition does not have).
    """
    if frame.control & FROM_METER:
        raise _wrong("an answer is no request")
    kind = KINDS[habits.edition].get(frame.control) if frame.control == frame.control & FUNCTION else None
    if kind is None:
        raise PeerError(
            "wire.function",
            f"The function {frame.control:02X} is not in DL/T 645-{habits.edition}; use one that the meter has.",
        )
    base = Ask(
        kind=kind,
        control=frame.control,
        broadcast=frame.address == EVERYBODY,
        wildcard=ANYBODY in frame.address,
    )
    body = frame.data
    if kind in ("read", "follow-up", "write", "security"):
        return _identified(frame, base, habits, utc_offset_minutes)
    if habits.edition == "2007" and kind in GUARDED:
        credentials, body = _credentials(body)
        base = replace(base, credentials=credentials, payload=body)
    if kind == "read-address":
        return _sized(base, body, 0)
    if kind == "write-address":
        _sized(base, body, 6)
        if not is_bcd(body):
            raise _wrong(f"the address {printed(body)} is no BCD number")
        return replace(base, payload=body, values={"new_address": printed(body)})
    if kind == "time":
        return replace(_sized(base, body, 6), payload=body, at=_at(body, utc_offset_minutes))
    if kind == "freeze":
        return _freeze(_sized(base, body, 4), body)
    if kind == "baud-rate":
        _sized(base, body, 1)
        rates = [rate for bit, rate in RATES.items() if body[0] == 1 << bit]
        if not rates:
            raise _wrong(f"{body[0]:02X} is no baud rate")
        return replace(base, payload=body, values={"baud_rate": rates[0]})
    if kind == "password":
        return _password(base, body, habits)
    if kind == "clear-events":
        return replace(_sized(base, body, 4), di=int.from_bytes(body, "little"))
    if kind == "relay":
        _sized(base, body, 8)
        action = RELAY.get(body[0], (None, ""))[0]
        until = None if body[2:] == bytes(6) else _at(body[2:], utc_offset_minutes)
        return replace(base, action=action, at=until)
    if habits.edition == "2007":
        _sized(base, body, 0)
    return replace(base, payload=body)


def request(device_id: bytes, ask: Ask, habits: Habits, *, utc_offset_minutes: int = 480) -> Frame:
    """The frame of a request of the model's edition; a broadcast goes to 99 99 99 99 99 99.

    Raises LocalError `wire.field` where the Ask lacks what its function needs, or the edition has no such function.
    """
    _, _, address = address_of(device_id)
    kind: Kind = ask.kind
    if kind == "segment" and ask.segment is not None:
        kind = "read" if ask.segment.total is None else "write"
    control = CODES[habits.edition].get(kind)
    if control is None:
        raise unfit("kind", f"DL/T 645-{habits.edition} has no request to {kind}")
    body = _body(ask, habits, utc_offset_minutes)
    if kind not in ("read", "follow-up", "security") and len(body) > LARGEST_WRITE:
        raise unfit("payload", f"a request takes {LARGEST_WRITE} data bytes, not {len(body)}")
    return Frame("dlt645", 0, EVERYBODY if ask.broadcast else address, control, body)


def level_suffices(ask: Ask) -> bool:
    """Whether the level of a 2007 request's password is high enough for what it asks; the password is the meter's matter.

    98 and 99 are no password levels: they leave the decision to the meter's security module, so they never suffice here.
    """
    needed = LEVELS.get(ask.kind)
    return needed is None or (ask.credentials is not None and ask.credentials.level <= needed)


# --- taking apart ------------------------------------------------------------------------------------------------


def _identified(frame: Frame, base: Ask, habits: Habits, utc_offset_minutes: int) -> Ask:
    """Requests that begin with an identifier."""
    width, body = habits.width, frame.data
    if len(body) < width:
        raise _wrong(f"{len(body)} data bytes hold no identifier")
    di, rest = int.from_bytes(body[:width], "little"), body[width:]
    base = replace(base, di=di)
    if base.kind == "security":
        return replace(base, payload=rest, opaque=True)
    if di == ids.SEGMENTS_645 and habits.edition == "2007":
        return _segment(frame, base, rest)
    if base.kind == "follow-up":
        if habits.edition == "1997":
            return _sized(base, rest, 0)
        _sized(base, rest, 1)
        return replace(base, number=rest[0])
    found = table1997.lookup(di) if habits.edition == "1997" else table.lookup(di)
    if base.kind == "write":
        return _written(frame, base, rest, found, habits, utc_offset_minutes)
    if found is not None and found.access == "w":
        raise _wrong(f"{di:0{2 * width}X} can only be written")
    if rest and not (di >> 24 == load.GROUP and len(rest) in (1, 6) and is_bcd(rest[1:])):
        raise _wrong(f"{len(rest)} bytes follow the identifier, where a request to read has none")
    kind: Kind = "intervals" if di == ids.INTERVALS_645 and width == 4 else "read"
    return replace(base, kind=kind, payload=rest)


def _segment(frame: Frame, base: Ask, rest: bytes) -> Ask:
    """A piece of a link message, or the place from which the master reads on."""
    writes = base.kind == "write"
    if base.kind == "follow-up" or (not writes and len(rest) != 2) or (writes and len(rest) < 12):
        raise _wrong("the segment's head does not fit its bytes")
    meaning = interpret(frame)
    credentials = _credentials(rest)[0] if writes else None
    return replace(base, kind="segment", segment=meaning.segment, credentials=credentials)


def _written(
    frame: Frame, base: Ask, rest: bytes, found: Quantity | None, habits: Habits, utc_offset_minutes: int
) -> Ask:
    """A write: password (and in 2007 operator), then a payload that its layout must fit."""
    if habits.edition == "1997":
        if len(rest) < 4:
            raise _wrong("the password is missing")
        credentials, body = Credentials(rest[0], rest[1:4]), rest[4:]
    else:
        credentials, body = _credentials(rest)
    base = replace(base, credentials=credentials, payload=body)
    if found is None or found.items[0].kind == "bytes":
        return replace(base, opaque=True)
    if "w" not in found.access:
        raise _wrong(f"{base.di:0{2 * habits.width}X} can only be read")
    sizes, whole = {0}, 0
    for item in found.items:
        whole += item.size
        sizes.add(whole)
    if len(body) not in (sizes - {0} if found.block else {whole}):
        raise _wrong(f"{base.di:0{2 * habits.width}X} takes {whole} bytes, not {len(body)}")
    meaning = interpret(frame, utc_offset_minutes)
    for name, value in meaning.readings.items():
        if value.register is None and value.text is None:
            raise _wrong(f"{name} is no BCD number")
    return replace(base, values=dict[str, Stated](meaning.readings))


def _freeze(base: Ask, body: bytes) -> Ask:
    """MMDDhhmm, 99 for any: a moment, or an hour, day or month that comes again."""
    if not is_bcd(body):
        raise _wrong(f"{printed(body)} is no time of a freeze")
    minute, hour, day, month = (int(f"{byte:02x}") for byte in body)
    for value, low, high in ((minute, 0, 59), (hour, 0, 23), (day, 1, 31), (month, 1, 12)):
        if value != 99 and not low <= value <= high:
            raise _wrong(f"{printed(body)} is no time of a freeze")
    return replace(base, payload=body, values={"freeze_time": printed(body)})


def _password(base: Ask, body: bytes, habits: Habits) -> Ask:
    """Old and new password; 2007 puts the identifier of the level in front."""
    lead = 4 if habits.edition == "2007" else 0
    _sized(base, body, lead + 8)
    old = Credentials(body[lead], body[lead + 1 : lead + 4])
    di = int.from_bytes(body[:4], "little") if lead else None
    return replace(base, di=di, credentials=old, payload=body[lead + 4 :])


def _credentials(body: bytes) -> tuple[Credentials, bytes]:
    if len(body) < 8:
        raise _wrong("password and operator are missing")
    return Credentials(body[0], body[1:4], body[4:8]), body[8:]


def _sized(base: Ask, body: bytes, size: int) -> Ask:
    if len(body) != size:
        raise _wrong(f"a request to {base.kind} has {size} bytes here, not {len(body)}")
    return base


def _at(raw: bytes, utc_offset_minutes: int) -> int:
    """Unix ms of six BCD bytes ss mm hh DD MM YY of this century."""
    at = clock_at(raw + b"\x20", utc_offset_minutes)
    if at is None:
        raise _wrong(f"{raw.hex()} is no time")
    return at


def _wrong(why: str) -> PeerError:
    return PeerError(
        "wire.request", f"The request cannot be carried out: {why}; send it again as the edition has it."
    )


# --- building ----------------------------------------------------------------------------------------------------


def _body(ask: Ask, habits: Habits, utc_offset_minutes: int) -> bytes:
    kind, new = ask.kind, habits.edition == "2007"
    if kind == "segment":
        return _segment_body(ask, habits)
    if kind in ("read", "intervals", "security"):
        return _identifier(ask, habits) + ask.payload
    if kind == "follow-up":
        return _identifier(ask, habits) + (bytes((ask.number & 0xFF,)) if new else b"")
    if kind == "write":
        return (
            _identifier(ask, habits) + _guard(ask, operator=new) + _content(ask, habits, utc_offset_minutes)
        )
    if kind == "password":
        lead = _identifier(ask, habits) if new else b""
        return lead + _guard(ask, operator=False) + _bytes(ask, 4)
    if kind == "time" and ask.at is not None:
        return to_clock(ask.at, utc_offset_minutes)[:6]
    if kind == "write-address":
        return _digits("new_address", ask.values.get("new_address"), 6)
    if kind == "freeze":
        return _digits("freeze_time", ask.values.get("freeze_time"), 4)
    if kind == "baud-rate":
        return _rate(ask.values.get("baud_rate"))
    if kind in GUARDED and new:
        return _guard(ask, operator=True) + _command(ask, habits, utc_offset_minutes)
    if kind in ("read-address", "clear-demand"):
        return ask.payload
    raise unfit(kind, "it says neither what nor when")


def _segment_body(ask: Ask, habits: Habits) -> bytes:
    segment: Segment | None = ask.segment
    if segment is None or habits.edition != "2007":
        raise unfit("segment", "segments of link messages are asked for with their place, of 2007 meters")
    lead, place = ids.SEGMENTS_645.to_bytes(4, "little"), segment.offset.to_bytes(2, "big")
    if segment.total is None:
        return lead + place
    return lead + _guard(ask, operator=True) + segment.total.to_bytes(2, "big") + place + segment.chunk


def _command(ask: Ask, habits: Habits, utc_offset_minutes: int) -> bytes:
    if ask.kind == "clear-events":
        return _identifier(ask, habits)
    if ask.kind != "relay":
        return b""
    code = next((code for code, (action, _) in RELAY.items() if action == ask.action), None)
    if code is None:
        code = ask.payload[0] if ask.action is None and ask.payload else None
    if code is None:
        raise unfit("action", f"a relay does not {ask.action}")
    until = bytes(6) if ask.at is None else to_clock(ask.at, utc_offset_minutes)[:6]
    return bytes((code, ask.payload[1] if len(ask.payload) > 1 else 0)) + until


def _identifier(ask: Ask, habits: Habits) -> bytes:
    if ask.di is None:
        raise unfit("di", f"a request to {ask.kind} names its identifier")
    if ask.di >> 8 * habits.width:
        raise unfit("di", f"{ask.di:X} is no identifier of DL/T 645-{habits.edition}")
    return ask.di.to_bytes(habits.width, "little")


def _content(ask: Ask, habits: Habits, utc_offset_minutes: int) -> bytes:
    if ask.di is not None and quantity_of(ask.di, habits) is not None and ask.values:
        return payload(ask.di, ask.values, habits, utc_offset_minutes)
    return ask.payload


def _guard(ask: Ask, *, operator: bool) -> bytes:
    given = ask.credentials or Credentials()
    if len(given.password) != 3 or len(given.operator) != 4:
        raise unfit("credentials", "a password has three bytes behind its level, an operator four")
    return bytes((given.level & 0xFF,)) + given.password + (given.operator if operator else b"")


def _bytes(ask: Ask, size: int) -> bytes:
    if len(ask.payload) != size:
        raise unfit("payload", f"it takes {size} bytes, not {len(ask.payload)}")
    return ask.payload


def _digits(name: str, stated: Stated, size: int) -> bytes:
    if (
        not isinstance(stated, str)
        or len(stated) != 2 * size
        or not (stated.isascii() and stated.isdecimal())
    ):
        raise unfit(name, f"it is {2 * size} digits")
    return bytes.fromhex(stated)[::-1]


def _rate(stated: Stated) -> bytes:
    for bit, rate in RATES.items():
        if rate == stated:
            return bytes((1 << bit,))
    raise unfit("baud_rate", f"{stated!r} is none of {', '.join(map(str, RATES.values()))}")
