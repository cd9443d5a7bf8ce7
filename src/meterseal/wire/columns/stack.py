"""Station wire, the stack: many frames as one array of bytes, and what is wrong with each of them, at once.

It knows framing only; what frames of one kind hold stands in `registers`, `energy` and `intervals`. The faults are those
of `frame.parse_frame`, in its order, so that one frame alone is refused for the same reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from meterseal.errors import LocalError, PeerError
from meterseal.wire.frame import END, LENGTH_AT, START, Frame, Protocol, parse_frame

Bytes = NDArray[np.uint8]
Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]

UNSET: Final = np.iinfo(np.int64).min
"""A clock that is no date, in a column of Unix ms."""
LONGEST: Final = 13 + 255


class Why(IntEnum):
    """What became of a frame: 0 it was taken, else the first thing that speaks against it."""

    OK = 0
    NO_FRAME = 1
    TRUNCATED = 2
    END = 3
    CHECKSUM = 4
    BEHIND = 5
    """Bytes follow the frame."""
    OTHER = 6
    """A whole frame of another kind or form."""
    UNIT = 7
    """A unit code that this kind does not have for sure."""
    DIGITS = 8
    """A value that is no BCD number."""

    @property
    def code(self) -> str:
        """The code of the error that says the same of one frame; empty for OK."""
        return _CODES.get(self, "")


_CODES: Final[dict[Why, str]] = {
    Why.NO_FRAME: "wire.no-frame",
    Why.TRUNCATED: "wire.truncated",
    Why.END: "wire.end",
    Why.CHECKSUM: "wire.checksum",
    Why.BEHIND: "wire.behind",
    Why.OTHER: "wire.other-kind",
    Why.UNIT: "wire.unit",
    Why.DIGITS: "wire.digits",
}
_OF_CODE: Final = {code: why for why, code in _CODES.items()}


class Stack(Struct, frozen=True):
    """`raw` (n, width) holds one frame a row, zeros behind it; `sizes` (n) how many bytes each has."""

    raw: Bytes
    sizes: Numbers

    def __len__(self) -> int:
        return len(self.sizes)


def stack(frames: Sequence[bytes]) -> Stack:
    """Frames 68 … 16 without preamble, one a row. Bytes beyond what any frame has are cut off, and so refused."""
    sizes = np.fromiter(map(len, frames), np.int64, len(frames))
    width = int(min(sizes.max(initial=1), LONGEST + 1))
    if len(frames) and sizes.min() == width == sizes.max():
        joined = b"".join(frames)
    else:
        joined = b"".join(frame[:width].ljust(width, b"\0") for frame in frames)
    return Stack(np.frombuffer(joined, np.uint8).reshape(len(frames), width), sizes)


def faults(frames: Stack, protocol: Protocol) -> Bytes:
    """`Why` of each row as far as framing goes; OK for exactly one whole frame."""
    raw, sizes, at = frames.raw, frames.sizes, LENGTH_AT[protocol]
    rows, width = raw.shape
    why = np.zeros(rows, np.uint8)
    length = raw[:, at].astype(np.int64) if width > at else np.zeros(rows, np.int64)
    end = length + at + 3
    there = (sizes > at) & (sizes >= end)
    why[~there] = Why.TRUNCATED
    no_frame = (sizes == 0) | (raw[:, 0] != START)
    if protocol == "dlt645" and width > 7:
        no_frame |= (sizes > 7) & (raw[:, 7] != START)
    why[no_frame] = Why.NO_FRAME
    judged = np.flatnonzero(why == 0)
    if len(judged) == rows > 0:
        return _closed(raw, end, sizes)
    if len(judged):
        why[judged] = _closed(raw[judged], end[judged], sizes[judged])
    return why


def _closed(raw: Bytes, end: Numbers, sizes: Numbers) -> Bytes:
    """END, CHECKSUM, BEHIND or OK of rows that have all the bytes their length asks for."""
    rows = np.arange(len(raw))
    if bool((end == end[0]).all()):
        size = int(end[0])
        sums = np.add.reduce(raw[:, : size - 2], axis=1, dtype=np.uint8)
        found, last = raw[:, size - 2], raw[:, size - 1]
    else:
        sums = np.cumsum(raw, axis=1, dtype=np.uint8)[rows, end - 3]
        found, last = raw[rows, end - 2], raw[rows, end - 1]
    why = np.where(sizes > end, np.uint8(Why.BEHIND), np.uint8(Why.OK))
    why = np.where(found != sums, np.uint8(Why.CHECKSUM), why)
    return np.where(last != END, np.uint8(Why.END), why)


def one_frame(raw: bytes, protocol: Protocol) -> Frame | Why:
    """The frame that these bytes are, or why they are not exactly one."""
    try:
        frame, end = parse_frame(raw, 0, protocol)
    except PeerError as error:
        return _OF_CODE[error.code]
    return frame if end == len(raw) else Why.BEHIND


def device_column(raw: Bytes, protocol: Protocol) -> NDArray[np.uint64]:
    """Device ids (LINK section 1) of rows, as the number that their 8 bytes are, high byte first."""
    out = np.zeros((len(raw), 8), np.uint8)
    if protocol == "cjt188":
        out[:, :7] = raw[:, 2:9]
        out[:, 7] = raw[:, 1]
    else:
        out[:, :6] = raw[:, 1:7]
        out[:, 7] = 0xD7
    return out.view("<u8")[:, 0].astype(np.uint64)


def heads(devices: NDArray[np.uint64], protocol: Protocol, control: int, length: int, width: int) -> Bytes:
    """Rows of `width` zeros with start, address, control code and length filled in.

    LocalError `wire.field` with the `row` where a device id is none of this protocol.
    """
    little = devices.astype("<u8").view(np.uint8).reshape(len(devices), 8)
    kind, second = little[:, 7], little[:, 6]
    if protocol == "cjt188":
        refuse((kind == 0xD7) | (kind == 0xF0) | (kind == 0xF1), "the device id is none of a CJ/T 188 meter")
    else:
        refuse((kind != 0xD7) | (second != 0), "the device id is none of a DL/T 645 meter")
    raw = np.zeros((len(devices), width), np.uint8)
    raw[:, 0] = START
    if protocol == "cjt188":
        raw[:, 1] = kind
        raw[:, 2:9] = little[:, :7]
        raw[:, 9], raw[:, 10] = control, length
    else:
        raw[:, 1:7] = little[:, :6]
        raw[:, 7] = START
        raw[:, 8], raw[:, 9] = control, length
    return raw


def close(raw: Bytes) -> Bytes:
    """Checksum and end byte into the last two columns; the same array."""
    raw[:, -2] = np.add.reduce(raw[:, :-2], axis=1, dtype=np.uint8)
    raw[:, -1] = END
    return raw


def refuse(wrong: Flags, why: str) -> None:
    """LocalError `wire.field` for the first row that is wrong, with its number as the fact `row`."""
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise LocalError(
            "wire.field", f"Row {row} cannot be sent: {why}; correct it and build again.", row=row
        )
