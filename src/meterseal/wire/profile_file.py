"""Station wire, a meter model's data file: its shape, and the checks that make its claims true.

It finds no model for a meter (profile does), reads no file from a disk, and never changes what bytes mean: a model
says limits, habits and how it is told from others.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct, field

from meterseal.errors import DataError, LocalError, PeerError
from meterseal.model import Medium
from meterseal.wire import identifiers as ids
from meterseal.wire.cjt188.habits import Habits, HexByte
from meterseal.wire.dlt645.habits import Habits as Habits645
from meterseal.wire.fields import is_bcd
from meterseal.wire.frame import Frame, Protocol, parse_frame
from meterseal.wire.meaning import interpret
from meterseal.wire.rehearsal import rehearse

LARGEST: Final[dict[Protocol, tuple[int, int]]] = {"cjt188": (100, 50), "dlt645": (200, 50)}
"""Largest L up and down that the editions allow (LINK section 4); a profile stays within."""
PREAMBLE: Final = b"\xfe"


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """Largest L of a frame whose data field is cipher text, from the meter (`up`) and to it (`down`)."""

    up: Annotated[int, Meta(ge=16, multiple_of=16)]
    down: Annotated[int, Meta(ge=16, multiple_of=16)]


class Timing(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How such a meter is spoken to: bytes FE in front of frames to it and from it, speed, waits in ms, repeats.

    The editions give 2400 8E1 and two to four bytes FE; no source agrees on a wait, so those defaults are ours.
    """

    preamble_down: Annotated[int, Meta(ge=0, le=32)] = 4
    preamble_up: Annotated[int, Meta(ge=0, le=32)] = 0
    baud: Literal[300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 115200] = 2400
    answer_ms: Annotated[int, Meta(ge=20, le=60_000)] = 1_000
    gap_ms: Annotated[int, Meta(ge=5, le=10_000)] = 100
    repeats: Annotated[int, Meta(ge=0, le=10)] = 2


class Fingerprint(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What frames show of a model besides its number: a model with one is known only by frames that show all of it.

    `di_order` of every answer; `lengths` that answers with 901F (DL/T 645: 00010000) have; a control code of
    `controls` in some frame.
    """

    di_order: Literal["high", "low"] | None = None
    lengths: tuple[Annotated[int, Meta(ge=0, le=255)], ...] = ()
    controls: tuple[HexByte, ...] = ()

    def shown_by(self, frames: Sequence[Frame]) -> bool:
        """Whether these frames of one meter show every trait and none against it."""
        answers = [frame for frame in frames if frame.control & 0x80 and len(frame.data) > 1]
        orders = {"high" if ids.read_di(frame.data)[1] else "low" for frame in answers}
        metering = {len(frame.data) for frame in answers if _is_register(frame)}
        return (
            (self.di_order is None or orders == {self.di_order})
            and (not self.lengths or (bool(metering) and metering.issubset(self.lengths)))
            and (not self.controls or any(f"{frame.control:02X}" in self.controls for frame in frames))
        )

    def excludes(self, other: Fingerprint) -> bool:
        """Whether no frames can show both."""
        orders = {self.di_order, other.di_order} == {"high", "low"}
        lengths = bool(self.lengths and other.lengths) and not set(self.lengths) & set(other.lengths)
        return orders or lengths


def _is_register(frame: Frame) -> bool:
    """Whether a frame answers the question that every meter of its protocol is asked."""
    if frame.protocol == "dlt645":
        return frame.data.startswith(b"\x00\x00\x01\x00")
    return ids.read_di(frame.data)[0] == ids.METERING


class FieldDoc(Struct, frozen=True, forbid_unknown_fields=True):
    """A sentence about one reading of this model."""

    doc: Annotated[str, Meta(min_length=10)]


class Vector(Struct, frozen=True, forbid_unknown_fields=True):
    """A frame captured from or for such a meter and what it says: its readings as `value unit`, clock and ST.

    A clock that is no date is `unset`, `status` hex as sent. `synthetic` frames were made by hand, not captured.
    """

    hex: str
    readings: dict[str, str] = field(default_factory=dict)
    clock: str | None = None
    status: str | None = None
    synthetic: bool = False
    origin: str | None = None


class Profile(Struct, frozen=True, forbid_unknown_fields=True):
    """One meter model.

    `detect` holds patterns of the first digits of a device id in hex, `?` for any digit; what frames show besides is
    the `fingerprint`. `di_order` is the byte order in which requests send identifiers (`high` byte first or `low`).
    `security` names the link's profile for such meters, `valve` says whether there is one. The table named like the
    protocol holds the model's habits.
    """

    name: Annotated[str, Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
    title: str
    medium: Medium
    protocol: Protocol
    detect: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[0-9A-F?]{2,16}$")], ...], Meta(min_length=1, max_length=16)
    ]
    di_order: Literal["high", "low"]
    limits: Limits
    fields: dict[str, FieldDoc]
    vectors: Annotated[tuple[Vector, ...], Meta(min_length=1)]
    doc: str = ""
    fingerprint: Fingerprint | None = None
    timing: Timing = Timing()
    security: str = "meterseal-1"
    valve: bool = False
    cjt188: Habits = Habits()
    dlt645: Habits645 = Habits645()

    @property
    def high_first(self) -> bool:
        """Whether requests send identifiers high byte first."""
        return self.di_order == "high"

    def detects(self, device_id: bytes) -> bool:
        """Whether a device id may belong to this model."""
        return self.closeness(device_id) > 0

    def closeness(self, device_id: bytes) -> int:
        """How many digits of the device id this model fixes; 0 when the id is not one of its."""
        digits = device_id.hex().upper()
        return max((_fixed(pattern) for pattern in self.detect if _fits(pattern, digits)), default=0)


def _fits(pattern: str, digits: str) -> bool:
    return len(digits) >= len(pattern) and all(
        wanted in ("?", digit) for wanted, digit in zip(pattern, digits, strict=False)
    )


def _fixed(pattern: str) -> int:
    return sum(digit != "?" for digit in pattern)


def ambiguous(one: Profile, other: Profile) -> bool:
    """Whether some meter could be of both models, with nothing to tell which is meant."""
    if one.fingerprint is not None and other.fingerprint is not None:
        if one.fingerprint.excludes(other.fingerprint):
            return False
    elif (one.fingerprint is None) is not (other.fingerprint is None):
        return False
    return any(
        _fixed(left) == _fixed(right)
        and all(a == b or "?" in (a, b) for a, b in zip(left, right, strict=False))
        for left in one.detect
        for right in other.detect
    )


def parse_profile(text: str) -> Profile:
    """A profile from its TOML text, checked whole: shape, limits, and each vector decoded and made again.

    Raises DataError `wire.profile` with the place of the fault.
    """
    try:
        document = tomllib.loads(text)
        profile = msgspec.convert(document, Profile)
    except (
        ValueError,
        RecursionError,
        msgspec.ValidationError,
    ) as error:  # tomllib: long numbers, deep nesting
        raise DataError(
            "wire.profile", f"The meter profile is not well formed: {error}; correct the file."
        ) from None
    _check_tables(profile, document)
    for vector in profile.vectors:
        _check(profile, vector)
    return profile


def _check_tables(profile: Profile, document: dict[str, Any]) -> None:
    up, down = LARGEST[profile.protocol]
    if profile.limits.up > up or profile.limits.down > down:
        raise _bad(
            profile, f"its limits are above {up} up or {down} down, the most that {profile.protocol} allows"
        )
    other: Protocol = "dlt645" if profile.protocol == "cjt188" else "cjt188"
    if other in document:
        raise _bad(profile, f"it speaks {profile.protocol} and has habits of {other}")
    strangers = profile.cjt188.strangers()
    if strangers:
        raise _bad(profile, f"its habits speak of {', '.join(strangers)}, which no payload has")


def _check(profile: Profile, vector: Vector) -> None:
    said = f"vector {vector.hex[:24]}…"
    try:
        raw = bytes.fromhex(vector.hex)
        bare = raw.lstrip(PREAMBLE)
        frame, end = parse_frame(bare)
    except (ValueError, PeerError) as error:
        raise _bad(profile, f"{said} is no frame ({error})") from None
    if end != len(bare):
        raise _bad(profile, f"{said} has bytes behind its frame")
    nobody = not is_bcd(frame.address) and 0xAA not in frame.address
    if nobody or not (_anybody(frame) or profile.detects(frame.device_id)):
        raise _bad(profile, f"its own {said} is not detected")
    meaning = interpret(frame)
    read = {name: f"{value.shown} {value.unit or ''}".rstrip() for name, value in meaning.readings.items()}
    opaque = profile.cjt188.payload_of(meaning.di or 0) == ("payload",)
    if read != vector.readings and not (opaque and not vector.readings):
        raise _bad(profile, f"{said} reads {read}")
    missing = [name for name in vector.readings if name not in profile.fields]
    if missing:
        raise _bad(profile, f"the readings {missing} have no sentence under `fields`")
    status = meaning.status.raw if meaning.status is not None else None
    for name, wanted, got in (
        ("clock", vector.clock, meaning.clock if meaning.clock_at is not None else "unset"),
        ("status", vector.status, status),
    ):
        if wanted is not None and wanted != got:
            raise _bad(profile, f"the {name} of {said} is {got}")
    _check_made(profile, frame, len(raw) - len(bare), said)


def _anybody(frame: Frame) -> bool:
    return not frame.control & 0x80 and 0xAA in (frame.meter_type, *frame.address)


def _check_made(profile: Profile, frame: Frame, preamble: int, said: str) -> None:
    """A model that can be simulated: what its frames state becomes the same frames again."""
    try:
        made = rehearse(frame, profile)
    except (LocalError, PeerError) as error:
        raise _bad(profile, f"its habits do not make {said} ({error})") from None
    if made != frame:
        raise _bad(profile, f"its habits make {made.encode().hex().upper()} of {said}")
    usual = profile.timing.preamble_up if frame.control & 0x80 else profile.timing.preamble_down
    if preamble not in (0, usual):
        raise _bad(profile, f"{said} has {preamble} bytes FE in front, and its timing says {usual}")


def _bad(profile: Profile, why: str) -> DataError:
    return DataError(
        "wire.profile", f"The meter profile {profile.name} does not hold: {why}; correct the file."
    )
