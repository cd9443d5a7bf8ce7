"""Station link, segments: link messages in pieces over a bus, as payloads of E002 (LINK section 5).

It makes no frames and cuts no message (`wire.encode` does), offers none (`edge.node` does) and moves no bytes. Totals
and offsets are big-endian.

    write to the meter    total 2 ‖ offset 2 ‖ up to 40 bytes (DL/T 645: 32) read from the meter   request
    offset 2; answer total 2 ‖ offset 2 ‖ up to 80 bytes; total 0: nothing waiting
"""

from __future__ import annotations

from meterseal.errors import PeerError
from meterseal.link.messages import LONGEST

_LEAD = 4


class SegmentReceiver:
    """Puts one message together. A wrong segment drops what was gathered; offset 0 starts over."""

    __slots__ = ("_gathered", "_total")

    def __init__(self) -> None:
        self._gathered = bytearray()
        self._total = 0

    @property
    def received(self) -> int:
        """Bytes gathered so far: the offset that must come next; 0 when nothing is under way."""
        return len(self._gathered)

    def reset(self) -> None:
        """Drop what was gathered."""
        self._gathered.clear()
        self._total = 0

    def feed(self, payload: bytes) -> bytes | None:
        """Take total 2 ‖ offset 2 ‖ bytes; the whole message with its last segment, else None.

        None with `received` 0 means that nothing waits (total 0). Raises PeerError `link.segment` after
        dropping what was gathered: another offset than the next, a changed total, no bytes, or more than the
        total.
        """
        if len(payload) < _LEAD:
            raise self._wrong("is shorter than its total and offset")
        total, offset = int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:_LEAD], "big")
        piece = payload[_LEAD:]
        if offset == 0:
            self.reset()
            if total == 0 and not piece:
                return None
            self._total = total
        if total > LONGEST or total != self._total:
            raise self._wrong("names another total than the first or too long a one")
        if offset != len(self._gathered):
            raise self._wrong("does not follow the one before")
        if not piece or offset + len(piece) > total:
            raise self._wrong("is empty or reaches beyond its total")
        self._gathered += piece
        if len(self._gathered) < total:
            return None
        message = bytes(self._gathered)
        self.reset()
        return message

    def _wrong(self, what: str) -> PeerError:
        self.reset()
        return PeerError("link.segment", f"The segment {what}; start over at offset 0.")
