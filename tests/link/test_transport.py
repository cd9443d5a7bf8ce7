"""Streams in any pieces give the same messages; lengths that no message has end the stream; envelopes."""

from __future__ import annotations

import pytest
from aiocoap.numbers import ContentFormat
from hypothesis import given
from hypothesis import strategies as st

from meterseal.errors import LocalError, PeerError
from meterseal.link import transport
from meterseal.link.transport import (
    LONGEST_MESSAGE,
    MessageReader,
    frame_message,
    pack_envelope,
    unpack_envelope,
)
from tests.link.parties import DEVICE, refuses

texts = st.binary(min_size=1, max_size=200)


@given(st.lists(texts, max_size=8), st.lists(st.integers(1, 60), max_size=40))
def test_messages_do_not_depend_on_how_the_stream_is_cut(messages: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(frame_message(one) for one in messages)
    reader, found, at = MessageReader(), [], 0
    for size in cuts:
        found += reader.feed(stream[at : at + size])
        at += size
    found += reader.feed(stream[at:])
    assert found == messages
    byte_by_byte = MessageReader()
    assert [one for byte in stream for one in byte_by_byte.feed(bytes((byte,)))] == messages


@pytest.mark.parametrize("size", [0, LONGEST_MESSAGE + 1, 0xFFFF])
def test_a_length_that_no_message_has_ends_the_stream(size: int) -> None:
    reader = MessageReader()
    refuses("link.stream", lambda: reader.feed(size.to_bytes(2, "big")))
    refuses("link.stream", lambda: reader.feed(frame_message(b"good again?")))


def test_the_longest_message_passes_and_a_flood_at_once_does_not() -> None:
    assert MessageReader().feed(frame_message(bytes(LONGEST_MESSAGE))) == [bytes(LONGEST_MESSAGE)]
    refuses("link.stream", lambda: MessageReader().feed(bytes(transport.LONGEST_BACKLOG + 1)))
    for message in (b"", bytes(LONGEST_MESSAGE + 1)):
        with pytest.raises(LocalError):
            frame_message(message)


@given(st.lists(st.binary(max_size=80), max_size=8))
def test_any_stream_gives_messages_or_a_peer_error_and_keeps_little(pieces: list[bytes]) -> None:
    reader = MessageReader()
    for piece in pieces:
        try:
            for message in reader.feed(piece):
                assert 0 < len(message) <= LONGEST_MESSAGE
        except PeerError:
            break
        assert len(reader._rest) <= 2 + LONGEST_MESSAGE


@given(st.binary(min_size=8, max_size=8), texts)
def test_an_envelope_opens_to_what_was_packed(device_id: bytes, message: bytes) -> None:
    assert unpack_envelope(pack_envelope(device_id, message)) == (device_id, message)


@pytest.mark.parametrize("envelope", [b"", b"MT\x01" + bytes(8), b"MT\x02" + bytes(9), b"MR\x01" + bytes(9)])
def test_what_is_no_envelope_is_refused(envelope: bytes) -> None:
    refuses("link.envelope", lambda: unpack_envelope(envelope))
    refuses("link.envelope", lambda: unpack_envelope(pack_envelope(DEVICE, bytes(4096)) + b"\0"))
    with pytest.raises(LocalError):
        pack_envelope(DEVICE[:-1], b"x")


def test_a_message_over_coap_is_an_octet_stream_by_the_registry_of_content_formats() -> None:
    assert ContentFormat.OCTETSTREAM == transport.COAP_OCTETS


def test_kinds_of_messages() -> None:
    assert transport.kind_of(b"MS\x01\x01") == "handshake"
    assert transport.kind_of(b"MR\x01") == "record"
    assert transport.kind_of(pack_envelope(DEVICE, b"x")) == "envelope"
    for other in (b"", b"MS", b"MS\x02", b"hello"):
        refuses("link.header", lambda other=other: transport.kind_of(other))
