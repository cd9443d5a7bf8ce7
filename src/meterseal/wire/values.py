"""Station wire, stated values: what a frame states, by name, so that the same frame can be built from it again.

It knows no layout and builds no bytes; the protocols do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from meterseal.errors import LocalError
from meterseal.wire.sheet import Meaning, Value

Stated = Value | int | str | bytes | None
"""One value: a reading with its unit; an int, digits as the register holds them or Unix ms where a time stands; text
(a clock as `decode` prints it, an address in printed order, an action); bytes as they are sent; None where the
meter has none."""
Values = Mapping[str, Stated]

_PARTS: Final = {"payload": "payload", "more bytes": "tail", "new key": "new_key"}
"""Parts of a Meaning that are kept as bytes, and the names of their values."""


def values_of(meaning: Meaning) -> dict[str, Stated]:
    """What a frame states, by the names of its readings and of the other fields.

    `clock` is its text, None where the meter's clock is not set; `status` the bytes of ST; `payload` bytes without a
    public layout; `tail` bytes behind a known one.
    """
    values: dict[str, Stated] = dict(meaning.readings)
    for part in meaning.parts:
        if part.name in ("clock", "standard time"):
            values["clock"] = meaning.clock
        elif part.name in _PARTS:
            values[_PARTS[part.name]] = part.raw
    if meaning.status is not None:
        values["status"] = bytes.fromhex(meaning.status.raw)
    if meaning.new_address is not None:
        values["new_address"] = meaning.new_address
    if meaning.action is not None:
        values["action"] = meaning.action
    return values


def unfit(name: str, why: str) -> LocalError:
    """The LocalError `wire.field` for a value that a frame cannot carry."""
    return LocalError("wire.field", f"The value of {name} cannot be sent: {why}.")
