"""Station wire, CJ/T 188 habits: what one meter model does where the editions leave a choice or makers differ.

It is data: a profile states it, builders obey it, and nothing here changes what received bytes mean.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

from meterseal.wire.asked import Reason
from meterseal.wire.catalogue import FIELDS, Kind

HexByte = Annotated[str, Meta(pattern=r"^[0-9A-F]{2}$")]
HexIdentifier = Annotated[str, Meta(pattern=r"^[0-9A-F]{4}$")]
WriteKey = Annotated[str, Meta(pattern=r"^([0-9A-F]{4}|any)$")]
Digits = Annotated[int, Meta(ge=1, le=8)]
Decimals = Annotated[int, Meta(ge=-6, le=6)]

ErrorLayout = Literal["error", "ser-error", "ser-status", "di-ser-error", "di-ser-status"]
"""The five layouts of an error answer that are met (section 5.3)."""

OTHER: Final = 0x01
CODES: Final[dict[Reason, int]] = {
    "other": OTHER,
    "no-such-data": 0x02,
    "not-authorised": 0x04,
    "bad-value": OTHER,
}
"""Error bytes; no source has a table of them, so these follow DL/T 645. Reasons that are not here are `other`."""


class FollowUp(Struct, frozen=True, forbid_unknown_fields=True):
    """How long answers come in pieces: D5 says that more follows (2018, one source), `function` asks for the rest.

    `largest` is how many payload bytes one piece holds. No source says how a master asks on; the model must.
    """

    largest: Annotated[int, Meta(ge=1, le=97)]
    function: HexByte


class Habits(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model's choices; the defaults are what most captured frames do.

    `asked_as`: the type T in requests, where answers come from another. `answer_order`: the order of identifiers in
    answers. `units_first`: units precede values. `clock_order` and `unset_clock`: how a clock is sent, and what is
    sent while it is not set. `blank`: the byte of a value the meter has not. `units`, `decimals` (exponents) and
    `rollover` (digits after which a register starts again at 0) are by field. `payloads` lists the fields of an
    identifier where the model has its own layout. `write_answers` gives L of write answers by identifier or for
    `any`. `functions` are control codes of requests where they are the maker's, `report` that of unrequested data.
    `address_in_data`: the address stands in the data of a read-address answer too; `address_ser`: such a request has a
    serial number. `ser`: whether a master counts. `valve`: codes of A017.
    """

    edition: Literal["2004", "2018"] | None = None
    asked_as: HexByte | None = None
    answer_order: Literal["echo", "high", "low"] = "echo"
    units_first: bool = False
    clock_order: Literal["low", "high"] = "low"
    unset_clock: HexByte = "00"
    blank: HexByte = "FF"
    units: dict[str, HexByte] = field(default_factory=dict)
    decimals: dict[str, Decimals] = field(default_factory=dict)
    rollover: dict[str, Digits] = field(default_factory=dict)
    payloads: dict[HexIdentifier, tuple[str, ...]] = field(default_factory=dict)
    error_layout: ErrorLayout = "ser-status"
    error_codes: dict[Reason, HexByte] = field(default_factory=dict)
    write_answers: dict[WriteKey, Literal[3, 4, 5]] = field(default_factory=dict)
    functions: dict[Kind, HexByte] = field(default_factory=dict)
    report: HexByte = "81"
    address_in_data: bool = False
    address_ser: bool = True
    ser: Literal["count", "constant"] = "count"
    valve: dict[str, HexByte] = field(default_factory=lambda: {"open": "55", "close": "99"})
    follow_up: FollowUp | None = None

    def strangers(self) -> list[str]:
        """Fields that these habits speak of and that no catalogue has."""
        named = [
            *self.units,
            *self.decimals,
            *self.rollover,
            *(n for names in self.payloads.values() for n in names),
        ]
        return sorted({name for name in named if name not in FIELDS})

    def function(self, kind: Kind) -> int | None:
        """The control code of requests of this kind, where it is the maker's own."""
        code = self.functions.get(kind)
        return None if code is None else int(code, 16)

    def payload_of(self, di: int) -> tuple[str, ...] | None:
        """The fields of an identifier's answer, where the model has its own layout."""
        return self.payloads.get(f"{di:04X}")
