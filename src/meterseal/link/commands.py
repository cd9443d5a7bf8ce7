"""Station link, commands: guarded commands, which no head-end or concentrator can make (LINK section 4).

It grants nothing: the security service decides who may command, the module keeps the last number and acts.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from meterseal.crypto.symmetric import equal
from meterseal.errors import PeerError, TrustError
from meterseal.link import records
from meterseal.link.profiles import OURS, SecurityProfile
from meterseal.link.records import DOWN, GUARDED, HEADER, Header
from meterseal.link.schedule import MAC, LinkKey, TrafficKeys
from meterseal.wire.frame import Frame, Protocol, parse_frame

READS: dict[Protocol, frozenset[int]] = {
    "cjt188": frozenset({0x01, 0x03, 0x09}),
    "dlt645": frozenset({0x11, 0x12, 0x13}),
}
"""Control codes that read; every other one is carried out only inside a guarded command."""
_LEAD = 8 + 8 + MAC


class Guarded(Struct, frozen=True):
    """A guarded command as it arrived: `frame` is in clear again; nothing of it is authorised yet."""

    number: int
    not_after: int
    authorisation: bytes
    frame: Frame


def is_read(frame: Frame) -> bool:
    """Does this request only read?"""
    return frame.control in READS[frame.protocol]


def authorise(command_key: LinkKey, device_id: bytes, number: int, not_after: int, frame: bytes) -> bytes:
    """The authorisation, 16 bytes, of one frame in clear (68 … 16); made by the security service under
    K_cmnd."""
    times = number.to_bytes(8, "big") + not_after.to_bytes(8, "big")
    return command_key.mac(b"ms1 command", device_id, times, frame)[:MAC]


def seal_guarded(
    keys: TrafficKeys,
    session_id: bytes,
    counter: int,
    *,
    number: int,
    not_after: int,
    authorisation: bytes,
    frame: bytes,
    profile: SecurityProfile = OURS,
) -> bytes:
    """The record of an authorised command; an undelivered one is sealed again, same number, new counter."""
    parsed, _ = parse_frame(frame)
    lead = number.to_bytes(8, "big") + not_after.to_bytes(8, "big") + authorisation
    body = lead + records.encrypt_frames(keys.down, counter, [parsed], up=False, profile=profile)
    return records.finish(keys.down, GUARDED | DOWN, session_id, counter, body, profile)


def open_guarded(
    keys: TrafficKeys,
    header: Header,
    record: bytes,
    device_id: bytes,
    protocol: Protocol | None = None,
    profile: SecurityProfile = OURS,
) -> Guarded:
    """The command of a guarded record for this device, after its tag.

    Raises PeerError `wire.*`, `link.length`, `link.control` and TrustError `link.address`, `link.padding`.
    """
    body = record[HEADER : HEADER + header.length]
    if not header.guarded:
        raise PeerError("link.control", "The record is no guarded command; refused.")
    if len(body) <= _LEAD:
        raise PeerError("link.length", f"A guarded command of {len(body)} bytes has no frame; refused.")
    sealed, end = parse_frame(body[_LEAD:], 0, protocol)
    if end != len(body) - _LEAD:
        raise PeerError("link.length", "A guarded command carries exactly one frame; refused.")
    records.check_addresses(header, [sealed], device_id)
    (frame,) = records.open_frames(keys, header, [sealed], profile)
    number, not_after = int.from_bytes(body[:8], "big"), int.from_bytes(body[8:16], "big")
    return Guarded(number, not_after, body[16:_LEAD], frame)


def judge(
    command_key: LinkKey,
    device_id: bytes,
    command: Guarded,
    *,
    last_number: int,
    last_authorisation: bytes,
    clock: int,
    bound: int,
) -> Literal["act", "repeat"]:
    """What the module does with a command: `act` (after it stored the number), or `repeat` its stored answer.

    `clock` and `bound` are the device's clock and its lower bound of time, Unix ms. Raises TrustError
    `link.authorisation`, `link.command-number` or `link.command-late`.
    """
    expected = authorise(command_key, device_id, command.number, command.not_after, command.frame.encode())
    if not equal(expected, command.authorisation):
        raise TrustError(
            "link.authorisation", "The security service did not authorise this command; refused."
        )
    if command.number == last_number and equal(command.authorisation, last_authorisation):
        return "repeat"
    if command.number <= last_number:
        raise TrustError(
            "link.command-number", "The command's number does not rise; it is a replay. Refused."
        )
    if command.not_after <= max(clock, bound):
        raise TrustError("link.command-late", "The command's time is over; refused.")
    return "act"
