"""Station wire, the scan: what a search asks at every 68 of a buffer, looked up instead of counted again.

It finds no frame and builds no Trial (codec does); it keeps a search in hostile bytes as cheap as in noise.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import cached_property
from itertools import accumulate
from typing import Final

from meterseal.wire.frame import END, START

PREAMBLE: Final = 0xFE
CHECKSUM, LENGTH, ENDED, BEYOND, TRUNCATED, ELSE = 60, 58, 55, 30, 25, 20
"""How much a fault looks like the frame that was meant, the likeliest first: only the checksum is wrong; another
length makes it whole; only the end byte is wrong; bytes beyond the length; the buffer ends; anything else."""

Ends = dict[int, list[int]]


class Scan:
    """One buffer with its running sums and its possible ends of frames. `at` is the offset of L from the 68."""

    def __init__(self, buf: bytes) -> None:
        self.buf = buf
        self.sums = list(accumulate(buf, initial=0))

    def whole(self, start: int, at: int) -> bool:
        """Whether a frame with the right end and checksum stands at `start`."""
        buf = self.buf
        if len(buf) - start <= at:
            return False
        end = start + at + 3 + buf[start + at]
        if end > len(buf) or buf[end - 1] != END:
            return False
        return (self.sums[end - 2] - self.sums[start]) & 0xFF == buf[end - 2]

    def likeness(self, start: int, at: int) -> int:
        """The weight of what is wrong at `start`, where no whole frame stands."""
        buf, size = self.buf, len(self.buf)
        if size - start <= at:
            return TRUNCATED
        first = start + at + 3
        end = first + buf[start + at]
        if end <= size and buf[end - 1] == END:
            return CHECKSUM
        if self._mended(start, first, end):
            return LENGTH
        if end > size:
            return TRUNCATED
        if buf[end - 2] == (self.sums[end - 2] - self.sums[start]) & 0xFF:
            return ENDED
        return BEYOND if end < size <= first + 255 and buf[-1] == END else ELSE

    def _mended(self, start: int, first: int, end: int) -> bool:
        """Whether another length makes the bytes at `start` a whole frame, for either checksum (`lengthened`)."""
        sent, right = self._ends
        base, last = self.sums[start], min(len(self.buf), first + 255)
        for ends in (sent.get(base & 0xFF), right.get((base + end) & 0xFF)):
            if ends:
                place = bisect_left(ends, first)
                if place < len(ends) and ends[place] == end:
                    place += 1
                if place < len(ends) and ends[place] <= last:
                    return True
        return False

    @cached_property
    def _ends(self) -> tuple[Ends, Ends]:
        """Ends before a 68, an FE or nothing, by the running sum in front of the frame that they would close.

        CS = sums[end - 2] - sums[start] for the length byte as sent; the second index adds the difference of
        the lengths, (end - first) - L.
        """
        sent: Ends = {}
        right: Ends = {}
        buf, sums = self.buf, self.sums
        place = buf.find(END, 2)
        while place >= 0:
            end = place + 1
            if end == len(buf) or buf[end] in (START, PREAMBLE):
                key = sums[end - 2] - buf[end - 2]
                sent.setdefault(key & 0xFF, []).append(end)
                right.setdefault((key + end) & 0xFF, []).append(end)
            place = buf.find(END, end)
        return sent, right
