"""Station head-end, what a concentrator tells of meters without a module: those that it found on a bus and nobody enrolled,
and what those that it reads raised the alarm about.

Pure. It enrols nobody: a person does, or takes the meter off the bus. A concentrator tells of each once.
"""

from __future__ import annotations

from typing import Final

from meterseal.headend import meteralarms
from meterseal.wire import identifiers as ids
from meterseal.wire.frame import Frame
from meterseal.wire.meaning import interpret

CODE: Final = "meter.unknown"
_OWN: Final = ids.write_di(ids.FOUND, high_first=False), ids.FOUND_645.to_bytes(4, "little")
_ALARM: Final = ids.write_di(ids.ALARM, high_first=False), ids.ALARM_645.to_bytes(4, "little")
"""Our identifiers as they travel, low byte first."""


_LEAD: Final = {"cjt188": 3, "dlt645": 4}
_TIMED: Final = 2 + 7
"""Two status bytes and the time."""


def is_one(frame: Frame) -> bool:
    """Whether a frame says no more than that its meter was found. Readings are told apart by their first bytes."""
    if not frame.data.startswith(_OWN):
        return False
    meaning = interpret(frame)
    return meaning.direction == "up" and meaning.recognised and meaning.di in (ids.FOUND, ids.FOUND_645)


def bus(frame: Frame) -> int:
    """On which bus it was found."""
    return interpret(frame).readings["bus"].register or 0


def sentence(frame: Frame, concentrator_id: bytes) -> str:
    """What is written of it: which meter, of which kind, where, and since when."""
    readings = interpret(frame).readings
    kind = "DL/T 645" if frame.protocol == "dlt645" else f"CJ/T 188, type {frame.meter_type:02X}"
    return (
        f"Concentrator {concentrator_id.hex()} found meter {frame.device_id.hex()} ({kind}) on its bus "
        f"{readings['bus'].register}, first at {readings['first_seen'].text or 'an unknown time'} by its own clock; "
        "nobody named it. Enrol it, or look who put it there."
    )


def is_alarm(frame: Frame) -> bool:
    """Whether a frame says no more than what a plain meter raised the alarm about."""
    if not frame.data.startswith(_ALARM):
        return False
    meaning = interpret(frame)
    known = meaning.recognised and meaning.di in (ids.ALARM, ids.ALARM_645)
    return meaning.direction == "up" and known and len(frame.data) == _LEAD[frame.protocol] + _TIMED


def raised(frame: Frame, concentrator_id: bytes) -> list[tuple[str, str]]:
    """Code and sentence of each alarm in such a frame."""
    at = interpret(frame).readings["alarm_at"].text or "an unknown time"
    status = int.from_bytes(frame.data[-_TIMED:][:2], "big")
    return [
        (
            code,
            f"Meter {frame.device_id.hex()}, which has no module, said so to concentrator {concentrator_id.hex()} at {at} "
            f"by the concentrator's clock: {sentence}",
        )
        for code, sentence in meteralarms.sayings(status)
    ]
