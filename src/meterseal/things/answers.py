"""Which answer frame belongs to which request, by the rules of both protocols. Pure.

CJ/T 188 repeats identifier and serial number (SER); DL/T 645 repeats the identifier of a read and nothing of anything
else, so no two of the same function may be under way at once.
"""

from __future__ import annotations

from typing import Literal

from meterseal.errors import PeerError
from meterseal.wire.frame import Frame, Protocol, parse_frame
from meterseal.wire.roster import silence

ANSWER, ERROR, MORE = 0x80, 0xC0, 0x20


def answers(
    protocol: Protocol, request: bytes, answer: bytes
) -> Literal["done", "refused", "unknown"] | None:
    """Whether `answer` is that request's: `done` a normal one, `refused` an error, `unknown` where a concentrator says that
    the meter gave none; None for another's.

    Both are complete frames in clear, 68 … 16.
    """
    try:
        asked, _ = parse_frame(request, 0, protocol)
        came, _ = parse_frame(answer, 0, protocol)
    except PeerError:
        return None
    if came.address != asked.address or came.meter_type != asked.meter_type:
        return None
    if came.data == silence(asked).data:
        return "unknown"
    if came.control == asked.control | ERROR:
        return "refused" if _same_number(asked, came) else None
    if came.control & ~(MORE if protocol == "dlt645" else 0) != asked.control | ANSWER:
        return None
    return "done" if came.data.startswith(_repeated(asked)) else None


def _same_number(asked: Frame, came: Frame) -> bool:
    return asked.protocol == "dlt645" or came.data[:1] == asked.data[2:3]


def _repeated(asked: Frame) -> bytes:
    """What a normal answer repeats at its beginning."""
    if asked.protocol == "cjt188":
        return asked.data[:3]
    return asked.data[:4] if asked.control in (0x11, 0x12) else b""
