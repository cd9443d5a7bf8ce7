"""What a frame would do to a meter, and whether the platform sends it at all. Pure: policy, no queue and no signature.

The security service judges who ordered it and how many there are; the module and the meter have the last word.
"""

from __future__ import annotations

from typing import Literal, get_args

from meterseal.errors import LocalError, PeerError
from meterseal.link.commands import is_read
from meterseal.model import Medium, medium_of
from meterseal.wire import encode
from meterseal.wire import identifiers as ids
from meterseal.wire.frame import Frame, address_of, parse_frame

Act = Literal[
    "read", "valve-open", "valve-permit", "valve-close", "relay-close", "relay-permit", "relay-trip", "write"
]
ACTS: tuple[Act, ...] = get_args(Act)

OPEN, CLOSE = 0x55, 0x99
"""Data of A017, valve control."""
RELAY = 0x1C
_RELAY_ACTS: dict[int, Act] = {0x1A: "relay-trip", 0x1B: "relay-permit", 0x1C: "relay-close"}
MOST_DATA = 47
"""Bytes of a data field that still fit a down record, padding included (LINK section 4)."""


def act_of(frame: Frame, medium: Medium) -> Act:
    """What the frame does to a meter of this medium.

    55 opens a water or heat meter's valve; a gas meter's it only permits a person on site to open (HM 7.2.11).
    """
    if is_read(frame):
        return "read"
    if frame.protocol == "cjt188" and frame.control == encode.WRITE and len(frame.data) == 4:
        di, _ = ids.read_di(frame.data)
        if di == ids.VALVE and frame.data[3] in (OPEN, CLOSE):
            opened: Act = "valve-permit" if medium == "gas" else "valve-open"
            return opened if frame.data[3] == OPEN else "valve-close"
    if frame.protocol == "dlt645" and frame.control == RELAY and len(frame.data) > 8:
        return _RELAY_ACTS.get(frame.data[8], "write")
    return "write"


def _turns_otherwise(frame: Frame, act: Act) -> bool:
    """Is the frame about a valve or relay in a form that is neither the known permission nor the known closing?

    What some maker's meter takes such a form for is not known, and must not be found out on a gas valve.
    """
    if act in ("read", "valve-permit", "valve-close"):
        return False
    named = {frame.data[:2], frame.data[1::-1]}
    return frame.protocol == "dlt645" or ids.VALVE.to_bytes(2) in named


def check(device_id: bytes, medium: Medium, frame: bytes, claimed: Act) -> Frame:
    """The frame, if it is that device's own and does what the operator says.

    LocalError `command.frame`, `command.gas-valve`, `command.act`.
    """
    try:
        parsed, end = parse_frame(frame, 0, address_of(device_id)[0])
    except PeerError as error:
        raise LocalError("command.frame", f"The command is no complete frame: {error.message}") from None
    if end != len(frame) or parsed.device_id != device_id or len(parsed.data) > MOST_DATA:
        raise LocalError(
            "command.frame",
            f"A command is one frame with its own device's address and at most {MOST_DATA} data bytes; make it anew.",
        )
    # What a meter says of itself counts beside what it was enrolled as.
    gas = "gas" in (medium, medium_of(parsed.device_id))
    act = act_of(parsed, "gas" if gas else medium)
    if gas and (claimed == "valve-open" or _turns_otherwise(parsed, act)):
        raise LocalError(
            "command.gas-valve",
            "Nobody opens a gas valve from afar: permit it, and let a person at the meter press its button within the "
            "hour (valve permit).",
        )
    if act != claimed:
        raise LocalError(
            "command.act",
            f"The frame would do `{act}` to this meter and not `{claimed}`; say what is meant.",
        )
    return parsed
