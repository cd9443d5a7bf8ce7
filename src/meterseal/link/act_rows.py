"""Station link, what a row of the table of commands says: the act, its forms on the wire, what a person gives to it.

It holds no row (`acts` does).
"""

from __future__ import annotations

from typing import Literal, get_args

from msgspec import Struct

from meterseal.model import Medium
from meterseal.wire.catalogue import Kind
from meterseal.wire.frame import Protocol

Act = Literal[
    "read",
    "time",
    "freeze",
    "freeze-parameters",
    "settlement-day",
    "reading-day",
    "alarm-volume",
    "alarm-amount",
    "overdraft",
    "communication",
    "price",
    "day-table",
    "purchase",
    "verification-enter",
    "verification-leave",
    "address",
    "valve-open",
    "valve-permit",
    "valve-close",
    "relay-trip",
    "relay-permit",
    "relay-close",
    "relay-alarm",
    "relay-alarm-off",
    "relay-keep",
    "relay-keep-off",
    "load-limit",
    "roster-add",
    "roster-seal",
    "roster-remove",
    "firmware",
    "write",
]
ACTS: tuple[Act, ...] = get_args(Act)

Shape = Literal["number", "time", "digits", "hex", "hours", "name"]
"""A decimal number; a local time; digits of an address; bytes; hours with their tariffs; a name."""
EVERY_DEVICE = 5000
"""Most devices of one bulk order, whatever it says."""


class Given(Struct, frozen=True):
    """What a person gives to a command: `least` and `most` in units of 10**`exponent` of `unit`; of digits and bytes, how
    many. `needed` False: it has a default. `sent` is its name in the frame, where that is another one.
    """

    name: str
    english: str
    chinese: str
    least: int = 0
    most: int = 0
    shape: Shape = "number"
    exponent: int = 0
    unit: str = ""
    needed: bool = True
    sent: str = ""


class Form(Struct, frozen=True):
    """How a command looks in a protocol: control code, identifier, how many bytes follow it (behind SER, or behind
    password and operator), and their first byte where that says what is done. `kind` builds it (`wire.roles`), with
    `action` where its kind has one; `name` is that of its one value where the protocol calls it otherwise.
    """

    kind: Kind
    control: int
    di: int | None = None
    size: int | None = None
    first: int | None = None
    action: str | None = None
    name: str = ""


class Command(Struct, frozen=True, kw_only=True):
    """One row.

    `officers` is the least protection: 0 is a question, 1 a guarded command with an officer's signature, 2 one with two
    different officers'. `media` are the meters that it is for, by medium; none for all. `seen` is the identifier that shows
    afterwards what became of it, by protocol; the normal answer of the meter itself confirms every row, a question's with
    the value, a write's by repeating what was asked (`things.answers`). `lasts` bounds how long it may wait for its meter
    (ms; 0: as long as any). `bulk` is how many devices one bulk order may name, `supply` says that it cuts or gives
    somebody's supply and counts by the limits for that.
    """

    act: Act
    english: str
    chinese: str
    officers: int
    forms: dict[Protocol, Form]
    media: tuple[Medium, ...] = ()
    given: tuple[Given, ...] = ()
    seen: dict[Protocol, int] = {}
    lasts: int = 0
    bulk: int = EVERY_DEVICE
    supply: bool = False
