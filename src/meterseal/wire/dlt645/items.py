"""Station wire, DL/T 645 fields: what one field of an identifier is, from the format the standard prints for it.

It knows no identifier (`table`, `table1997`) and reads no bytes (`interpret`).
"""

from __future__ import annotations

import re
from typing import Final, Literal

from msgspec import Struct

FieldKind = Literal["number", "ascii", "digits", "time", "bits", "bytes"]
Access = Literal["r", "w", "rw"]
Mark = Literal["A", "B", "C", "U"]
"""How sure a row is: captured frames confirm it, two public sources agree, one says so, no public source at all."""


class Item(Struct, frozen=True):
    """One field: `size` bytes; numbers carry exponent, unit and whether the top bit is their sign.

    Kinds: `number` BCD; `ascii` text, low byte first; `digits` BCD digits kept as text; `time` BCD digits in
    printed order, YYMMDDhhmm or parts of it; `bits` hex of a status word; `bytes` whatever is left, whose layout
    is not public (`size` 0). `form` is the format of a time, in letters.
    """

    name: str
    chinese: str
    size: int
    exponent: int = 0
    unit: str | None = None
    signed: bool = False
    kind: FieldKind = "number"
    form: str = ""


class Quantity(Struct, frozen=True):
    """An identifier's fields in order. In a `block` the fields repeat what single identifiers name.

    `chinese` names the whole; `access` is what the standard's table allows a master to do.
    """

    items: tuple[Item, ...]
    block: bool = False
    chinese: str = ""
    access: Access = "r"
    mark: Mark = "B"

    @property
    def size(self) -> int:
        """Bytes of all fields together."""
        return sum(item.size for item in self.items)


_NUMBER: Final = re.compile(r"(-?)([XN]+)(?:\.([XN]+))?")
_TIME: Final = re.compile(r"[YMDWhms]+N*")
_SIZED: Final = re.compile(r"(ascii|digits|bits) (\d+)")


def item(name: str, chinese: str, form: str, unit: str | None = None, *, signed: bool = False) -> Item:
    """The field of a format: `XXXXXX.XX` (with `-` in front: signed), `YYMMDDhhmm`, `ascii 32`, `digits 6`, `bits 2`.

    ValueError for any other form, which is a mistake in a table.
    """
    if form == "bytes":
        return Item(name, chinese, 0, kind="bytes")
    if (sized := _SIZED.fullmatch(form)) is not None:
        kind: FieldKind = "ascii" if sized[1] == "ascii" else "digits" if sized[1] == "digits" else "bits"
        return Item(name, chinese, int(sized[2]), kind=kind)
    if (number := _NUMBER.fullmatch(form)) is not None:
        decimals = len(number[3] or "")
        size = (len(number[2]) + decimals) // 2
        return Item(name, chinese, size, -decimals, unit or "", signed or number[1] == "-")
    if _TIME.fullmatch(form) is not None and len(form) % 2 == 0:
        return Item(name, chinese, len(form) // 2, kind="time", form=form)
    raise ValueError(f"{form} is no format of a field")
