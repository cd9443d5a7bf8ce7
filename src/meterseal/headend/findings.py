"""Station head-end, meters that a concentrator found on a bus and nobody enrolled: what is written of them.

Pure. It enrols nobody: a person does, or takes the meter off the bus. A concentrator tells of each once.
"""

from __future__ import annotations

from typing import Final

from meterseal.wire import identifiers as ids
from meterseal.wire.frame import Frame
from meterseal.wire.meaning import interpret

CODE: Final = "meter.unknown"
_OWN: Final = ids.write_di(ids.FOUND, high_first=False), ids.FOUND_645.to_bytes(4, "little")
"""Our identifiers as they travel, low byte first."""


def is_one(frame: Frame) -> bool:
    """Whether a frame says no more than that its meter was found. Readings are told apart by their first bytes."""
    if not frame.data.startswith(_OWN):
        return False
    meaning = interpret(frame)
    return meaning.direction == "up" and meaning.recognised and meaning.di in (ids.FOUND, ids.FOUND_645)


def sentence(frame: Frame, concentrator_id: bytes) -> str:
    """What is written of it: which meter, of which kind, where, and since when."""
    readings = interpret(frame).readings
    kind = "DL/T 645" if frame.protocol == "dlt645" else f"CJ/T 188, type {frame.meter_type:02X}"
    return (
        f"Concentrator {concentrator_id.hex()} found meter {frame.device_id.hex()} ({kind}) on its bus "
        f"{readings['bus'].register}, first at {readings['first_seen'].text or 'an unknown time'} by its own clock; "
        "nobody named it. Enrol it, or look who put it there."
    )
