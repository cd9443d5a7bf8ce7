"""Station link, segments: link messages in pieces over a bus, as payloads of E002 (LINK section 5).

It makes no frames (`wire` does) and moves no bytes. Totals and offsets are big-endian.

    write to the meter    total 2 ‖ offset 2 ‖ up to 40 bytes (DL/T 645: 32) read from the meter   request
    offset 2; answer total 2 ‖ offset 2 ‖ up to 80 bytes; total 0: nothing waiting
"""

from __future__ import annotations

from collections import deque

from meterseal.errors import LocalError, PeerError
from meterseal.link.messages import LONGEST
from meterseal.wire.frame import Protocol

DOWN_BYTES: dict[Protocol, int] = {"cjt188": 40, "dlt645": 32}
UP_BYTES = 80
NOTHING = bytes(4)
"""The answer when no message waits."""
_LEAD = 4


def split(message: bytes, size: int) -> list[bytes]:
    """The payloads that carry a message in order, `size` bytes in each."""
    if not 0 < len(message) <= LONGEST or size < 1:
        raise LocalError(
            "link.length", f"A message of {len(message)} bytes does not travel in segments of {size}."
        )
    return [segment(message, at, size) for at in range(0, len(message), size)]


def segment(message: bytes, offset: int, size: int) -> bytes:
    """total 2 ‖ offset 2 ‖ bytes of the segment at `offset`."""
    return len(message).to_bytes(2, "big") + offset.to_bytes(2, "big") + message[offset : offset + size]


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


class SegmentOffer:
    """What a device offers on a bus: the same bytes until the last segment was read and 0 is asked again."""

    __slots__ = ("_read", "_waiting")

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._read = False

    def put(self, message: bytes) -> None:
        """Offer a message behind those that wait."""
        if not 0 < len(message) <= LONGEST:
            raise LocalError("link.length", f"A message of {len(message)} bytes is not offered on a bus.")
        self._waiting.append(message)

    def __len__(self) -> int:
        """How many messages wait, one that was read but not yet let go included."""
        return len(self._waiting)

    def answer(self, offset: int) -> bytes:
        """The payload for a read at `offset`. Raises PeerError `link.segment` for one beyond the message."""
        if offset == 0 and self._read:
            self._waiting.popleft()
            self._read = False
        if not self._waiting:
            if offset == 0:
                return NOTHING
            raise PeerError("link.segment", "No message waits at this offset; ask for offset 0.")
        message = self._waiting[0]
        if offset >= len(message):
            raise PeerError("link.segment", "The offset lies beyond the message; ask for offset 0.")
        self._read = self._read or offset + UP_BYTES >= len(message)
        return segment(message, offset, UP_BYTES)
