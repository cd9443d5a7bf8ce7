"""Station link, transport: messages on streams, and a concentrator's envelope (LINK section 5).

It moves no bytes and trusts none: an envelope's device id is a claim until a handshake or a tag proves it.
"""

from __future__ import annotations

from typing import Literal

from meterseal.errors import LocalError, PeerError
from meterseal.link.messages import LONGEST

ENVELOPE = b"MT\x01"
ENVELOPE_HEADER = 11
LONGEST_MESSAGE = LONGEST + ENVELOPE_HEADER
"""Most bytes of a message on a stream: a record in its envelope."""
LONGEST_BACKLOG = 1 << 20
"""Most bytes that a reader takes at once; more is no peer of ours."""
COAP_PATH, COAP_OCTETS = "ms", 42
"""Where a device posts its messages, and CoAP's content format application/octet-stream."""
_KINDS: dict[bytes, Literal["handshake", "record", "envelope"]] = {
    b"MS\x01": "handshake",
    b"MR\x01": "record",
    ENVELOPE: "envelope",
}


def kind_of(message: bytes) -> Literal["handshake", "record", "envelope"]:
    """What a message is by its first three bytes. Raises PeerError `link.header`."""
    kind = _KINDS.get(message[:3])
    if kind is None:
        raise PeerError(
            "link.header", "This is no message of link version 1; send 4D 53, 4D 52 or 4D 54, then 01."
        )
    return kind


def frame_message(message: bytes) -> bytes:
    """length 2 ‖ message, for a stream."""
    if not 0 < len(message) <= LONGEST_MESSAGE:
        raise LocalError(
            "link.length", f"A message of {len(message)} bytes was to be sent; 1..{LONGEST_MESSAGE} go."
        )
    return len(message).to_bytes(2, "big") + message


class MessageReader:
    """Messages out of a stream in any pieces; holds at most one message that is not whole yet."""

    __slots__ = ("_rest", "_wrong")

    def __init__(self) -> None:
        self._rest = b""
        self._wrong = False

    def feed(self, received: bytes) -> list[bytes]:
        """Take the next piece; the messages that it completes, in order.

        Raises PeerError `link.stream` for a length that no message has; a reader that raised stays closed,
        for a stream that lost its framing never finds it again.
        """
        if self._wrong or len(received) > LONGEST_BACKLOG:
            raise self._lost()
        stream = self._rest + received if self._rest else received
        messages, at, end = [], 0, len(stream)
        while end - at >= 2:
            size = int.from_bytes(stream[at : at + 2], "big")
            if not 0 < size <= LONGEST_MESSAGE:
                raise self._lost()
            if end - at - 2 < size:
                break
            messages.append(bytes(stream[at + 2 : at + 2 + size]))
            at += 2 + size
        self._rest = bytes(stream[at:])
        return messages

    def _lost(self) -> PeerError:
        self._wrong, self._rest = True, b""
        return PeerError(
            "link.stream", "The stream's framing is lost: no message has this length; connect again."
        )


def pack_envelope(device_id: bytes, message: bytes) -> bytes:
    """4D 54 01 ‖ device_id 8 ‖ message."""
    if len(device_id) != 8:
        raise LocalError("link.envelope", f"An envelope names a device id of 8 bytes, not {len(device_id)}.")
    return ENVELOPE + device_id + message


def unpack_envelope(envelope: bytes) -> tuple[bytes, bytes]:
    """The claimed device id and the message. Raises PeerError `link.envelope`."""
    if not ENVELOPE_HEADER < len(envelope) <= LONGEST_MESSAGE or envelope[:3] != ENVELOPE:
        raise PeerError(
            "link.envelope", "This is no envelope of a concentrator: 4D 54 01, device id, message."
        )
    return envelope[3:ENVELOPE_HEADER], envelope[ENVELOPE_HEADER:]
