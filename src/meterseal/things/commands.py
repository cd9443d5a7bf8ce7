"""Whether the platform sends a frame to a meter at all. Pure: policy, no queue and no signature.

What a frame does is `link.acts`'. The security service judges who ordered it and how many there are; the module and the
meter have the last word.
"""

from __future__ import annotations

from collections.abc import Sequence

from meterseal.errors import LocalError, PeerError
from meterseal.link.acts import ACTS, COMMANDS, Act, act_of
from meterseal.model import Medium, medium_of
from meterseal.wire import identifiers as ids
from meterseal.wire.frame import Frame, address_of, parse_frame

__all__ = ["ACTS", "MOST_DATA", "Act", "act_of", "check", "timely", "unbought"]

MOST_DATA = 47
"""Bytes of a data field that still fit a down record, padding included (LINK section 4)."""


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


def timely(act: Act, not_after: int, now: int) -> None:
    """LocalError `command.late` where a command could reach its meter too late to do what it says."""
    lasts = COMMANDS[act].lasts
    if lasts and not_after > now + lasts:
        raise LocalError(
            "command.late",
            f"The command to {COMMANDS[act].english} waits for its meter at most {lasts // 60_000} minutes: later it "
            "would say something that is not so any more.",
        )


def unbought(frame: bytes, ordered: Sequence[tuple[int, str, bytes]]) -> None:
    """LocalError `command.purchase` where a purchase with the serial number of this frame was ordered before: id, state and
    frame of those that the meter may have taken. A meter answers a serial number that it has as done, and credits nothing.
    """
    serial = frame[_SERIAL : _SERIAL + 1]
    for word_id, state, earlier in ordered:
        if earlier[_SERIAL : _SERIAL + 1] == serial:
            raise LocalError(
                "command.purchase",
                f"A purchase with serial number {serial[0]} was ordered before (word {word_id}: {state}). Read the meter "
                "(read 8105) and take the number above its last.",
            )


_SERIAL = 14
"""Where the serial number stands in the frame of a purchase: behind address, control, length, identifier and SER."""
