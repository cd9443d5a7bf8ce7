"""Faults at the edges of the link's smaller parts that the other tests let through, each shown here."""

from __future__ import annotations

import pytest

from meterseal.errors import LocalError, PeerError
from meterseal.link import identities, segments, transport
from meterseal.link.messages import LONGEST
from meterseal.link.segments import NOTHING, SegmentOffer, SegmentReceiver, split
from tests.crypto.pki import DAY
from tests.link.parties import DEVICE, MODULE, SINCE, refuses, tree

# --- identities ---------------------------------------------------------------------------------------------


def test_devices_that_are_no_cjt_188_meter_have_the_first_bytes_of_link_section_1() -> None:
    assert (identities.CONCENTRATOR, identities.COLLECTOR, identities.ELECTRICITY) == (0xF0, 0xF1, 0xD7)


def test_a_renewed_chain_that_begins_after_the_bound_of_time_is_taken() -> None:
    """The bound runs behind the clock: only the end of a chain is compared with it."""
    leaf = identities.check_renewed_chain(
        tree().device_chain, root=tree().root, device_id=DEVICE, module_id=MODULE,
        point=tree().device_key.public_point, until=SINCE, bound=SINCE - DAY,
    )  # fmt: skip
    assert leaf.since > SINCE - DAY


# --- streams and envelopes ----------------------------------------------------------------------------------


def test_the_sizes_of_streams_and_envelopes_are_those_of_link_section_5() -> None:
    assert transport.pack_envelope(DEVICE, b"x") == b"MT\x01" + DEVICE + b"x"
    assert transport.LONGEST_MESSAGE == 4096 + 11
    longest = transport.pack_envelope(DEVICE, bytes(LONGEST))
    assert transport.unpack_envelope(longest) == (DEVICE, bytes(LONGEST))


def test_a_reader_takes_a_mebibyte_at_once_and_not_a_byte_more() -> None:
    one = transport.frame_message(bytes(1022))
    whole = one * 1024
    assert len(whole) == 2**20
    assert transport.MessageReader().feed(whole) == [bytes(1022)] * 1024
    refuses("link.stream", lambda: transport.MessageReader().feed(whole + b"\0"))


# --- segments -----------------------------------------------------------------------------------------------


def test_the_longest_message_travels_in_segments_and_is_offered() -> None:
    message = bytes(range(256)) * 16
    receiver = SegmentReceiver()
    *parts, last = split(message, 80)
    assert [receiver.feed(one) for one in parts] == [None] * 51
    assert receiver.feed(last) == message
    offer = SegmentOffer()
    offer.put(message)
    assert offer.answer(0) == len(message).to_bytes(2, "big") + bytes(2) + message[:80]
    for act in (lambda: split(message + b"x", 80), lambda: offer.put(message + b"x"), lambda: offer.put(b"")):
        with pytest.raises(LocalError):
            act()


def test_a_segment_may_carry_a_single_byte() -> None:
    assert split(b"abc", 1) == [b"\0\3\0\0a", b"\0\3\0\1b", b"\0\3\0\2c"]
    with pytest.raises(LocalError):
        split(b"abc", 0)


def test_offset_0_in_the_middle_of_a_message_starts_over() -> None:
    receiver = SegmentReceiver()
    first, second, _ = split(bytes(100), 40)
    assert receiver.feed(first) is None
    assert receiver.feed(second) is None
    begun = split(b"another message", 10)
    assert [receiver.feed(one) for one in begun] == [None, b"another message"]


def test_a_message_that_fills_its_last_segment_is_let_go_when_0_is_asked_again() -> None:
    offer = SegmentOffer()
    offer.put(bytes(2 * segments.UP_BYTES))
    offer.answer(0)
    offer.answer(segments.UP_BYTES)
    assert offer.answer(0) == NOTHING
    assert len(offer) == 0
    with pytest.raises(PeerError):
        offer.answer(1)
