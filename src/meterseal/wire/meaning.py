"""Station wire, meaning: one frame of either protocol becomes a Meaning.

It chooses the protocol and nothing else; it reads no bytes from noise (codec) and prints nothing (decode).
"""

from __future__ import annotations

from meterseal.wire import cjt188, dlt645
from meterseal.wire.frame import Frame
from meterseal.wire.sheet import Interval, Meaning, Part, Segment, Status, Value

__all__ = ["Interval", "Meaning", "Part", "Segment", "Status", "Value", "interpret"]


def interpret(frame: Frame, utc_offset_minutes: int = 480) -> Meaning:
    """What a frame says; clocks in it are local time at `utc_offset_minutes` from UTC (480: Asia/Shanghai).

    Never raises. Whoever needs a whole and known answer looks at `recognised`.
    """
    read = cjt188.interpret if frame.protocol == "cjt188" else dlt645.interpret
    return read(frame, utc_offset_minutes)
