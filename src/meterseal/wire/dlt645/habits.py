"""Station wire, DL/T 645 habits: what one meter model does where the editions leave a choice or makers differ.

It is data: a profile states it, builders obey it, and nothing here changes what received bytes mean.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

HexByte = Annotated[str, Meta(pattern=r"^[0-9A-F]{2}$")]
HexBytes = Annotated[str, Meta(pattern=r"^([0-9A-F]{2}){1,16}$")]
HexIdentifier = Annotated[str, Meta(pattern=r"^([0-9A-F]{4}|[0-9A-F]{8})$")]


class Habits(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One model's choices; the defaults are what most captured frames do.

    `edition` is the one the meter speaks. `largest` is how many bytes behind the identifier one frame of an answer
    holds; longer answers come in pieces. `blank` is the byte of a value the meter has not. `tails` are bytes that
    the model adds behind the known layout of an identifier; `block_end`: a 1997 block ends with AA.
    """

    edition: Literal["2007", "1997"] = "2007"
    largest: Annotated[int, Meta(ge=8, le=195)] = 195
    blank: HexByte = "FF"
    tails: dict[HexIdentifier, HexBytes] = field(default_factory=dict)
    block_end: bool = False

    @property
    def width(self) -> int:
        """Bytes of an identifier."""
        return 2 if self.edition == "1997" else 4

    def tail(self, di: int) -> bytes:
        """What the model adds behind the layout of an identifier."""
        return bytes.fromhex(self.tails.get(f"{di:0{2 * self.width}X}", ""))
