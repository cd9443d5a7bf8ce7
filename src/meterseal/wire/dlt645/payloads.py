"""Station wire, DL/T 645 payloads built: named values become the bytes behind an identifier.

It reads nothing (`interpret` does) and knows no control code. Values that do not fit raise LocalError `wire.field`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from meterseal.wire.dlt645 import load, table, table1997
from meterseal.wire.dlt645.habits import Habits
from meterseal.wire.dlt645.items import Item, Quantity
from meterseal.wire.fields import to_bcd
from meterseal.wire.sheet import Value
from meterseal.wire.values import Stated, Values, unfit

_PRINTED: Final = {
    "YYMMDDhhmm": "%y%m%d%H%M",
    "YYMMDDhhmmss": "%y%m%d%H%M%S",
    "hhmmss": "%H%M%S",
    "MMDDhhmm": "%m%d%H%M",
    "DDhh": "%d%H",
    "hhmm": "%H%M",
}
"""Formats of times that an instant can be printed in; the weekday is put in by hand."""
_ESCAPE: Final = re.compile(r"\\x([0-9a-f]{2})")


def quantity_of(di: int, habits: Habits) -> Quantity | None:
    """What an identifier of the model's edition holds, or None for bytes that no table describes."""
    found = table1997.lookup(di) if habits.edition == "1997" else table.lookup(di)
    return None if found is None or found.items[0].kind == "bytes" else found


def pieces(di: int, values: Values, habits: Habits, utc_offset_minutes: int = 480) -> list[bytes]:
    """The payload of an identifier, cut between fields into pieces of at most `habits.largest` bytes.

    A block ends before its first field that has no value; every other field must be stated (None is sent blank).
    Where no layout is public the value is `payload`, as bytes.
    """
    found: list[bytes] = [b""]
    for part in _parts(di, values, habits, utc_offset_minutes):
        if found[-1] and len(found[-1]) + len(part) > habits.largest:
            found.append(b"")
        found[-1] += part
    return found


def payload(di: int, values: Values, habits: Habits, utc_offset_minutes: int = 480) -> bytes:
    """The same in one piece."""
    return b"".join(_parts(di, values, habits, utc_offset_minutes))


def load_record(at: int, values: Values, habits: Habits, utc_offset_minutes: int = 480) -> bytes:
    """A load record of the instant `at` (Unix ms) with the classes of which a value is stated, by its name in the class.

    What is not stated of such a class is sent blank; identifiers 06 cc 00 nn take records as `payload`.
    """
    unknown = set(values) - {item.name for items in load.CLASSES for item in items}
    if unknown:
        raise unfit(min(unknown), "load records do not hold it")
    parts = tuple(
        b"".join(item_bytes(item, values.get(item.name), habits) for item in items)
        if any(item.name in values for item in items)
        else b""
        for items in load.CLASSES
    )
    return load.record(item_bytes(load.TIME, at, habits, None, utc_offset_minutes), parts)


def _parts(di: int, values: Values, habits: Habits, utc_offset_minutes: int) -> list[bytes]:
    quantity = quantity_of(di, habits)
    if quantity is None:
        raw = values.get("payload")
        if not isinstance(raw, bytes):
            raise unfit("payload", f"{di:0{2 * habits.width}X} has no public layout, so it takes bytes")
        return [raw[place : place + habits.largest] for place in range(0, len(raw), habits.largest)]
    parts: list[bytes] = []
    for item in quantity.items:
        if item.name not in values:
            if quantity.block and parts:
                break
            raise unfit(item.name, "nothing is stated for it; give it, or None where the meter has none")
        parts.append(item_bytes(item, values[item.name], habits, values, utc_offset_minutes))
    tail = values.get("tail", habits.tail(di))
    if not isinstance(tail, bytes):
        raise unfit("tail", "it is bytes")
    if quantity.block and habits.block_end:
        tail = bytes((table1997.DELIMITER,)) + tail
    return [*parts, tail] if tail else parts


def item_bytes(
    item: Item, stated: Stated, habits: Habits, values: Values | None = None, utc_offset_minutes: int = 480
) -> bytes:
    """One field. An int is a register, or Unix ms where the field is a time; a text is as `decode` prints it."""
    if stated is None or (isinstance(stated, Value) and stated.shown is None):
        return bytes.fromhex(habits.blank) * item.size
    if isinstance(stated, bytes):
        if len(stated) != item.size:
            raise unfit(item.name, f"it takes {item.size} bytes, not {len(stated)}")
        return stated
    if item.kind == "number":
        return _number(item, stated)
    said = stated.text if isinstance(stated, Value) else stated
    if isinstance(said, int):
        said = _printed(item, said, utc_offset_minutes)
    if said is None:
        raise unfit(item.name, "it is text, not a number")
    return _text(item, said, values or {})


def _number(item: Item, stated: Value | int | str) -> bytes:
    if isinstance(stated, Value):
        if stated.register is None:
            raise unfit(item.name, f"{stated.shown} is no number")
        if stated.unit not in (None, item.unit):
            raise unfit(item.name, f"it is sent in {item.unit or 'no unit'}, not in {stated.unit}")
        register = _cut(stated.register, stated.exponent - item.exponent)
    elif isinstance(stated, int):
        register = stated
    else:
        raise unfit(item.name, f"{stated!r} is no number")
    try:
        raw = to_bcd(abs(register), item.size)
    except OverflowError:
        raise unfit(item.name, f"{register} has more than {2 * item.size} digits") from None
    if not item.signed:
        if register < 0:
            raise unfit(item.name, "it has no sign")
        return raw
    if raw[-1] & 0x80:
        raise unfit(item.name, f"{register} reaches into the sign bit")
    return raw[:-1] + bytes((raw[-1] | (0x80 if register < 0 else 0),))


def _cut(register: int, shift: int) -> int:
    """Digits moved by so many places; what the meter has no decimals for is cut off, as its display does."""
    if shift >= 0:
        return register * int(10**shift)
    return abs(register) // int(10**-shift) * (-1 if register < 0 else 1)


def _printed(item: Item, at: int, utc_offset_minutes: int) -> str:
    """The digits of an instant in local time."""
    try:
        local = datetime.fromtimestamp(at / 1000, UTC) + timedelta(minutes=utc_offset_minutes)
    except (ValueError, OverflowError, OSError):
        raise unfit(item.name, f"{at} is no time") from None
    weekday = f"{local.isoweekday() % 7:02d}"
    if item.form == "YYMMDDWW":
        return local.strftime("%y%m%d") + weekday
    if item.form == "YYMMDDWWhhmmss":
        return local.strftime("%y%m%d") + weekday + local.strftime("%H%M%S")
    if item.form not in _PRINTED:
        raise unfit(item.name, f"an instant does not say its {item.form or 'text'}")
    return local.strftime(_PRINTED[item.form])


def _text(item: Item, said: str, values: Values) -> bytes:
    if item.kind == "ascii":
        raw = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), said).encode("latin-1", "replace")
        if len(raw) > item.size:
            raise unfit(item.name, f"it takes {item.size} characters, not {len(raw)}")
        return raw.rjust(item.size, b" ")[::-1] if len(raw) < item.size else raw[::-1]
    digits = "".join(char for char in said if char not in "-:T ")
    if item.kind == "time" and item.form.startswith("YY"):
        digits = _with_weekday(item, digits, said, values)
    try:
        raw = bytes.fromhex(digits)[::-1]
    except ValueError:
        raise unfit(item.name, f"{said!r} is not {item.form or 'digits'}") from None
    if len(raw) != item.size or (item.kind != "bits" and not digits.isdecimal()):
        raise unfit(item.name, f"{said!r} is not {item.form or f'{2 * item.size} digits'}")
    return raw


def _with_weekday(item: Item, digits: str, said: str, values: Values) -> str:
    """Digits as sent: without the century, and with the weekday, which `decode` gives apart."""
    if "-" in said:
        digits = digits[2:]
    if "WW" not in item.form or len(digits) == len(item.form):
        return digits
    stated = values.get("weekday")
    day = stated.text if isinstance(stated, Value) else stated
    if day is None:
        try:
            day = str(datetime.strptime(digits[:6], "%y%m%d").replace(tzinfo=UTC).isoweekday() % 7)
        except ValueError:
            raise unfit(item.name, f"{said!r} is no date") from None
    return f"{digits[:6]}{str(day).zfill(2)}{digits[6:]}"
