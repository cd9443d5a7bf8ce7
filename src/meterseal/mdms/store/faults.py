"""Station MDMS, what of a journal cannot be read: entries that no file has, and bytes that are not what was written.

It opens nothing (`journal` does) and gives nothing up (`mdms.giving_up` does). A frame is found again behind damage by its
header, of which the check sum and a number that fits are right: by chance one in 2^60 places is.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

HEADER = struct.Struct(">IQII")
"""Of a frame: length of the sealed entry, sequence, key version, CRC-32 of these."""


class Fault(Struct, frozen=True):
    """Entries from `first` to `last` (0: nobody knows it) that cannot be read: missing, or damaged in a `file` from byte
    `offset` up to `end`, of which `check` is the CRC-32.
    """

    first: int
    last: int
    file: str = ""
    offset: int = 0
    end: int = 0
    check: int = 0

    @property
    def damaged(self) -> bool:
        """Is there something, and not what was written?"""
        return bool(self.file)

    @property
    def entries(self) -> str:
        """Which, as a person reads it."""
        if self.first == self.last:
            return f"entry {self.first}"
        return f"entries {self.first} to {self.last or 'an unknown one'}"


def gives(given: Sequence[tuple[int, int]], first: int, last: int) -> bool:
    """Was each of these entries given up? `last` 0 is where the journal ends, which nobody knows."""
    if not last:
        return (first, 0) in given
    for begin, end in sorted(given):
        if begin <= first <= end:
            first = end + 1
    return first > last


def next_frame(content: bytes, offset: int, after: int) -> tuple[int, int] | None:
    """(offset, sequence) of the first sound header behind `offset`, of an entry later than `after`; None for none."""
    count = len(content) - HEADER.size - offset
    if count <= 0:
        return None
    there = np.frombuffer(content, np.uint8)[offset + 1 :]
    # The upper half of a number is the same for four milliards of entries: few places are left to look at.
    upper = after >> 32
    likely = np.ones(count, np.bool_)
    for place in range(4):
        likely &= there[4 + place : 4 + place + count] == (upper >> 8 * (3 - place)) & 0xFF
    for at in (np.flatnonzero(likely) + offset + 1).tolist():
        length, sequence, _, check = HEADER.unpack_from(content, at)
        fits = at + HEADER.size + length <= len(content)
        if sequence > after and fits and zlib.crc32(content[at : at + 16]) == check:
            return at, sequence
    return None
