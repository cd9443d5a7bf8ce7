"""Station wire, CJ/T 188 payloads built: named values become the bytes behind DI and SER, the model's way.

It reads nothing (layouts do) and knows no control code. Values that do not fit raise LocalError `wire.field`.
"""

from __future__ import annotations

from typing import Final

from meterseal.errors import LocalError
from meterseal.units import CODES, UNITS, Unit, unit_code
from meterseal.wire.catalogue import FIELDS, Field, Layout
from meterseal.wire.cjt188.habits import Habits
from meterseal.wire.fields import to_bcd, to_clock
from meterseal.wire.sheet import Value
from meterseal.wire.values import Stated, Values, unfit

KEYS: Final = {
    "standard time": "clock",
    "valve action": "action",
    "new address": "new_address",
    "new key": "new_key",
}
"""Fields whose values go by another name."""
TWINS: Final = {
    "cumulative_volume": "cumulative_energy",
    "settlement_volume": "settlement_energy",
    "cumulative_energy": "cumulative_volume",
    "settlement_energy": "settlement_volume",
}
"""What may stand in the place of a quantity: its unit says which of the two it is."""


def payload(names: Layout, values: Values, habits: Habits, utc_offset_minutes: int = 480) -> bytes:
    """The fields in order, then `tail` where one is stated. Every field must be stated; None is sent as blank."""
    body = b"".join(_field(FIELDS[name], values, habits, utc_offset_minutes) for name in names)
    tail = values.get("tail", b"")
    if not isinstance(tail, bytes):
        raise unfit("tail", "it is bytes")
    return body if "tail" in names else body + tail


def clock_bytes(stated: Stated, name: str, habits: Habits, utc_offset_minutes: int = 480) -> bytes:
    """Seven clock bytes of Unix ms, of a text as `decode` prints it, or of None (not set)."""
    if stated is None:
        return bytes.fromhex(habits.unset_clock) * 7
    if isinstance(stated, Value):
        return clock_bytes(stated.text, name, habits, utc_offset_minutes)
    try:
        if isinstance(stated, int):
            low_first = to_clock(stated, utc_offset_minutes)
        elif isinstance(stated, str):
            low_first = bytes.fromhex(stated.translate(_NO_MARKS))[::-1]
        else:
            low_first = stated
    except (ValueError, OverflowError, OSError):
        raise unfit(name, f"{stated!r} is no time") from None
    if len(low_first) != 7:
        raise unfit(name, f"{stated!r} is no time of seven bytes")
    return low_first if habits.clock_order == "low" or isinstance(stated, bytes) else low_first[::-1]


_NO_MARKS: Final = {ord(mark): None for mark in "-:T "}


def _field(row: Field, values: Values, habits: Habits, utc_offset_minutes: int) -> bytes:
    key = KEYS.get(row.name, row.name)
    if key not in values and key in TWINS and TWINS[key] in values:
        key = TWINS[key]
        row = FIELDS[key]
    if key == "payload" and key not in values:
        return b""
    if key not in values:
        raise unfit(key, "nothing is stated for it; give it, or None where the meter has none")
    stated = values[key]
    if row.kind in ("clock", "moment"):
        return clock_bytes(stated, key, habits, utc_offset_minutes)
    if row.kind == "bytes" or row.kind == "status":
        return _bytes(row, stated)
    if isinstance(stated, bytes):
        if len(stated) != row.size:
            raise unfit(key, f"it takes {row.size} bytes, not {len(stated)}")
        return stated
    if row.kind == "address":
        return _address(stated)
    if row.kind == "action":
        return _action(stated, habits)
    if row.kind == "count":
        return _count(row, stated)
    return _number(row, stated, habits)


def _bytes(row: Field, stated: Stated) -> bytes:
    if not isinstance(stated, bytes):
        raise unfit(row.name, "it is bytes")
    if (row.kind == "status" and not 1 <= len(stated) <= 2) or (
        row.kind == "bytes" and row.size not in (0, len(stated))
    ):
        raise unfit(row.name, f"it takes {row.size} bytes, not {len(stated)}")
    return stated


def _address(stated: Stated) -> bytes:
    try:
        address = bytes.fromhex(stated)[::-1] if isinstance(stated, str) else b""
    except ValueError:
        address = b""
    if len(address) != 7:
        raise unfit("new_address", "an address is 14 digits")
    return address


def _action(stated: Stated, habits: Habits) -> bytes:
    if isinstance(stated, int) and 0 <= stated <= 255:
        return bytes((stated,))
    if isinstance(stated, str) and stated in habits.valve:
        return bytes.fromhex(habits.valve[stated])
    raise unfit(
        "action", f"this model's valve knows {', '.join(habits.valve) or 'no action'}, not {stated!r}"
    )


def _count(row: Field, stated: Stated) -> bytes:
    register = stated.register if isinstance(stated, Value) else stated
    if not isinstance(register, int) or not 0 <= register <= 255:
        raise unfit(row.name, "it is a number from 0 to 255")
    return bytes((register,))


def _number(row: Field, stated: Stated, habits: Habits) -> bytes:
    """A BCD number, and its unit byte where it has one."""
    if isinstance(stated, str | bytes):
        raise unfit(row.name, "it is a number")
    size = 4 if row.kind == "quantity" else row.size
    code, own = _unit(row, stated, habits)
    register = _register(row, stated, own)
    if register is None:
        digits = bytes.fromhex(habits.blank) * size
    else:
        width = habits.rollover.get(row.name)
        try:
            digits = to_bcd(register % 10**width if width else register, size)
        except OverflowError:
            raise LocalError(
                "wire.field",
                f"The value {register} of {row.name} does not fit in {2 * size} digits; scale it first.",
            ) from None
    if row.kind != "quantity":
        return digits
    unit = bytes((code,))
    return unit + digits if habits.units_first else digits + unit


def _unit(row: Field, stated: Value | int | None, habits: Habits) -> tuple[int, Unit]:
    """The unit code to send and what it means; a value in another unit than the model's keeps its own."""
    chosen = habits.units.get(row.name)
    code = int(chosen, 16) if chosen else unit_code(row.unit) if row.kind == "quantity" and row.unit else 0
    known = UNITS.get(code)
    exponent = known.exponent if known else row.exponent
    own = Unit(code, known.symbol if known else row.unit or "", habits.decimals.get(row.name, exponent))
    if row.kind == "quantity" and isinstance(stated, Value) and stated.unit not in (None, own.symbol):
        other = CODES.get((stated.unit or "", stated.exponent))
        if other is None:
            raise unfit(row.name, f"no unit code means {stated.unit} with {-stated.exponent} decimals")
        return other, UNITS[other]
    return code, own


def _register(row: Field, stated: Value | int | None, own: Unit) -> int | None:
    """The digits to send: a value's, with as many decimals as the model shows; a meter cuts, it does not round."""
    if stated is None or isinstance(stated, int):
        return stated
    if stated.register is None or stated.unit is None:
        return stated.register
    if row.kind != "quantity" and row.unit is not None and stated.unit != row.unit:
        raise unfit(row.name, f"it is in {row.unit or 'no unit'}, not in {stated.unit}")
    shift = stated.exponent - own.exponent
    scale = int(10 ** abs(shift))
    return stated.register * scale if shift >= 0 else stated.register // scale
