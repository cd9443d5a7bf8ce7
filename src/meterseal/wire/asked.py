"""Station wire, the ask: what a master wants of a meter, in words that no protocol owns.

It is what a meter acts on and what a master fills in; roles turn it into frames and back. It carries out nothing.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from meterseal.wire.catalogue import Kind
from meterseal.wire.sheet import Segment
from meterseal.wire.values import Stated

Reason = Literal[
    "other",
    "no-such-data",
    "not-authorised",
    "bad-value",
    "baud-rate",
    "year-zones",
    "day-periods",
    "tariffs",
]
"""Why a meter refuses a request; the last four are electricity meters'."""


class Match(Struct, frozen=True):
    """Whether a frame answers a request; `why` says what speaks against it. A wrong SER is told, not refused."""

    answers: bool
    why: str = ""
    ser_differs: bool = False


class Credentials(Struct, frozen=True):
    """What a DL/T 645 write shows: the level and three bytes of its password, and four bytes of the operator."""

    level: int = 0
    password: bytes = bytes(3)
    operator: bytes = bytes(4)

    def __repr__(self) -> str:
        """No password belongs in a log."""
        return f"Credentials(level={self.level})"


class Ask(Struct, frozen=True, kw_only=True):
    """One request, taken apart or to be made.

    `di` is high byte first; `high_first` the order in which a CJ/T 188 request sent it (None: the model's). `ser` is
    its serial number. `control` is C as sent; 0 leaves the choice to the model. `values` are what is written, by the
    names of readings; `payload` is what stands behind identifier, serial number and credentials, as sent. `opaque`
    says that its layout is not public. `at` is a time to set, or the end or instant of a command (Unix ms). `action`
    is a valve's, a relay's or a state's; None for a code nobody knows. `broadcast` requests are carried out and never
    answered, `wildcard` ones are answered by every meter. `number` counts follow-up frames.
    """

    kind: Kind
    di: int | None = None
    ser: int | None = None
    high_first: bool | None = None
    control: int = 0
    values: dict[str, Stated] = field(default_factory=dict)
    at: int | None = None
    action: str | None = None
    number: int = 0
    segment: Segment | None = None
    credentials: Credentials | None = None
    broadcast: bool = False
    wildcard: bool = False
    payload: bytes = b""
    opaque: bool = False
