"""Station wire, meter models: one small data file each, with what tells the model and what it can take.

It decodes no frame itself; a profile never changes what bytes mean, only limits and habits (LINK section 4).
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from meterseal.errors import DataError, PeerError
from meterseal.model import Medium
from meterseal.wire.fields import is_bcd
from meterseal.wire.frame import Protocol, parse_frame
from meterseal.wire.meaning import interpret

LARGEST: Final[dict[Protocol, tuple[int, int]]] = {"cjt188": (100, 50), "dlt645": (200, 50)}
"""Largest L up and down that the editions allow (LINK section 4); a profile stays within."""


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """Largest L of a frame whose data field is cipher text, from the meter (`up`) and to it (`down`)."""

    up: Annotated[int, Meta(ge=16, multiple_of=16)]
    down: Annotated[int, Meta(ge=16, multiple_of=16)]


class FieldDoc(Struct, frozen=True, forbid_unknown_fields=True):
    """A sentence about one reading of this model."""

    doc: Annotated[str, Meta(min_length=10)]


class Vector(Struct, frozen=True, forbid_unknown_fields=True):
    """A frame captured from such a meter and what its readings are, as `value unit`."""

    hex: str
    readings: dict[str, str]
    origin: str | None = None


class Profile(Struct, frozen=True, forbid_unknown_fields=True):
    """One meter model.

    `detect` holds patterns of the first byte of a device id in hex, `?` for any digit. `di_order` is the byte
    order in which requests send identifiers (`high` byte first or `low`).
    """

    name: str
    title: str
    medium: Medium
    protocol: Protocol
    detect: Annotated[tuple[Annotated[str, Meta(pattern=r"^[0-9A-F?]{2}$")], ...], Meta(min_length=1)]
    di_order: Literal["high", "low"]
    limits: Limits
    fields: dict[str, FieldDoc]
    vectors: Annotated[tuple[Vector, ...], Meta(min_length=1)]

    def detects(self, device_id: bytes) -> bool:
        """Whether a device id belongs to this model."""
        first = device_id[:1].hex().upper()
        return any(
            len(first) == 2
            and all(wanted in ("?", digit) for wanted, digit in zip(pattern, first, strict=True))
            for pattern in self.detect
        )


def parse_profile(text: str) -> Profile:
    """A profile from its TOML text, checked whole: shape, limits, and each vector decoded to its readings.

    Raises DataError `wire.profile` with the place of the fault.
    """
    try:
        profile = msgspec.convert(tomllib.loads(text), Profile)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise DataError(
            "wire.profile", f"The meter profile is not well formed: {error}; correct the file."
        ) from None
    up, down = LARGEST[profile.protocol]
    if profile.limits.up > up or profile.limits.down > down:
        raise _bad(
            profile, f"its limits are above {up} up or {down} down, the most that {profile.protocol} allows"
        )
    for vector in profile.vectors:
        _check(profile, vector)
    return profile


def _check(profile: Profile, vector: Vector) -> None:
    try:
        frame, _ = parse_frame(bytes.fromhex(vector.hex).lstrip(b"\xfe"))
    except (ValueError, PeerError) as error:
        raise _bad(profile, f"vector {vector.hex[:24]}… is no frame ({error})") from None
    if not profile.detects(frame.device_id) or not is_bcd(frame.address):
        raise _bad(profile, f"its own vector {vector.hex[:24]}… is not detected")
    read = {
        name: f"{value.shown} {value.unit or ''}".rstrip()
        for name, value in interpret(frame).readings.items()
    }
    if read != vector.readings:
        raise _bad(profile, f"vector {vector.hex[:24]}… reads {read}")
    missing = [name for name in read if name not in profile.fields]
    if missing:
        raise _bad(profile, f"the readings {missing} have no sentence under `fields`")


def _bad(profile: Profile, why: str) -> DataError:
    return DataError(
        "wire.profile", f"The meter profile {profile.name} does not hold: {why}; correct the file."
    )


@cache
def profiles() -> dict[str, Profile]:
    """All meter models that come with the package, by name."""
    found = [
        parse_profile(entry.read_text("utf-8"))
        for entry in files("meterseal.wire").joinpath("profiles").iterdir()
        if entry.name.endswith(".toml")
    ]
    return {profile.name: profile for profile in sorted(found, key=lambda profile: profile.name)}


def profile_of(device_id: bytes) -> Profile:
    """The model of a meter by its device id. Raises DataError `wire.profile` when none fits."""
    for profile in profiles().values():
        if profile.detects(device_id):
            return profile
    raise DataError(
        "wire.profile",
        f"No meter profile detects {device_id.hex()}; add one under wire/profiles for this type.",
    )


def largest_data(device_id: bytes, *, up: bool) -> int:
    """Largest L of an encrypted data field for this meter; a meter without profile has its protocol's."""
    for profile in profiles().values():
        if profile.detects(device_id):
            return profile.limits.up if up else profile.limits.down
    return (192 if device_id[:1] == b"\xd7" else 96) if up else 48
