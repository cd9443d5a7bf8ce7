"""Station wire, what a concentrator is told and says about a plain meter: our own identifiers E005 and E006 (ADR 0040).

E005 is whom it reads (抄表档案), E006 that a meter gave no answer to what was passed on to it. Both bear that meter's
number and never go on a bus. It authorises nothing.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from meterseal.errors import LocalError
from meterseal.wire.frame import Frame, address_of

ROSTER: Final = 0xE005
ROSTER_645: Final = 0xE0050000
SILENT: Final = 0xE006
SILENT_645: Final = 0xE0060000
_LEADS: Final = {
    "cjt188": (0x04, ROSTER.to_bytes(2, "little"), 3),
    "dlt645": (0x14, ROSTER_645.to_bytes(4, "little"), 12),
}
"""By protocol: control code, identifier as sent, and where the word begins (behind SER, or password and operator)."""
WORDS: Final[dict[What, int]] = {"add": 1, "add-sealed": 2, "remove": 3}
MOST_NAME = 24
"""Letters of a model's name."""

What = Literal["add", "add-sealed", "remove"]


class Listed(NamedTuple):
    """What is to become of a meter: read as plain on a bus (0 to 63), carried for as one with a module, or left alone.
    `model` is the name of its model where its number does not tell.
    """

    what: What
    bus: int = 0
    model: str = ""


def roster_frame(device_id: bytes, listed: Listed, ser: int) -> Frame:
    """The frame of such a word. LocalError `wire.field` for a bus or name that does not fit."""
    name = listed.model.encode("ascii", "replace")
    if not 0 <= listed.bus <= 63 or len(name) > MOST_NAME:
        raise LocalError(
            "wire.field", f"A bus has a number from 0 to 63, a model's name {MOST_NAME} letters at most."
        )
    protocol, meter_type, address = address_of(device_id)
    control, identifier, _ = _LEADS[protocol]
    lead = bytes((ser,)) if protocol == "cjt188" else bytes(8)
    return Frame(
        protocol,
        meter_type,
        address,
        control,
        identifier + lead + bytes((WORDS[listed.what], listed.bus)) + name,
    )


def is_roster(frame: Frame) -> bool:
    """Whether a frame, or the answer to it, is about whom a concentrator reads; by its identifier alone."""
    control, identifier, _ = _LEADS[frame.protocol]
    return frame.control & 0x3F == control and frame.data.startswith(identifier)


def listed_of(frame: Frame) -> Listed | None:
    """What such a frame says; None for any other, and for one that says nothing known."""
    control, identifier, at = _LEADS[frame.protocol]
    said = frame.data[at:]
    name = said[2:]
    if (
        frame.control != control
        or not frame.data.startswith(identifier)
        or not 2 <= len(said) <= 2 + MOST_NAME
    ):
        return None
    what = next((word for word, code in WORDS.items() if code == said[0]), None)
    if what is None or said[1] > 63 or not all(0x21 <= letter <= 0x7E for letter in name):
        return None
    return Listed(what, said[1], name.decode("ascii"))


def roster_answer(frame: Frame, *, done: bool) -> Frame:
    """The concentrator's answer: it repeats identifier and SER (CJ/T 188), and refuses with SER alone."""
    if not done:
        return refusal(frame)
    control, data = (0x94, frame.data[:4]) if frame.protocol == "dlt645" else (0x84, frame.data[:3])
    return Frame(frame.protocol, frame.meter_type, frame.address, control, data)


def refusal(asked: Frame) -> Frame:
    """The concentrator's own error answer to a request that went on no bus: SER (CJ/T 188), or other error (DL/T 645)."""
    data = b"\x01" if asked.protocol == "dlt645" else asked.data[2:3]
    return Frame(asked.protocol, asked.meter_type, asked.address, asked.control | 0xC0, data)


def silence(asked: Frame) -> Frame:
    """What a concentrator says when a meter gave no answer to this request: its SER (CJ/T 188) and its control code."""
    if asked.protocol == "dlt645":
        control, lead = 0x91, SILENT_645.to_bytes(4, "little")
    else:
        control, lead = 0x81, SILENT.to_bytes(2, "little") + asked.data[2:3]
    return Frame(asked.protocol, asked.meter_type, asked.address, control, lead + bytes((asked.control,)))
