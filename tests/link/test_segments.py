"""Messages in segments over a bus that loses, repeats and restarts: whole, in order, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterseal.errors import PeerError
from meterseal.link import records
from meterseal.link.segments import SegmentReceiver
from tests.link.parties import refuses, segment, split
from tests.link.test_records import KEYS

texts = st.binary(min_size=1, max_size=400)


@given(texts, st.sampled_from([32, 40, 80]))
def test_split_segments_come_together_again(message: bytes, size: int) -> None:
    receiver = SegmentReceiver()
    pieces = split(message, size)
    assert all(len(piece) <= 4 + size for piece in pieces)
    results = [receiver.feed(piece) for piece in pieces]
    assert results[:-1] == [None] * (len(pieces) - 1)
    assert results[-1] == message
    assert receiver.received == 0


@given(st.lists(st.tuples(texts, st.integers(0, 12)), min_size=1, max_size=6))
def test_what_comes_together_is_one_message_from_its_beginning(runs: list[tuple[bytes, int]]) -> None:
    """Senders that stop anywhere and start over, also with another message: the last whole one arrives."""
    receiver = SegmentReceiver()
    for message, stop in runs:
        pieces = split(message, 40)
        for piece in pieces[: min(stop, len(pieces) - 1)]:
            assert receiver.feed(piece) is None
    message = runs[-1][0]
    *most, last = split(message, 40)
    for piece in most:
        assert receiver.feed(piece) is None
    assert receiver.feed(last) == message


@given(texts, st.lists(st.integers(0, 9), max_size=30))
def test_any_other_offset_than_the_next_drops_the_transfer(message: bytes, order: list[int]) -> None:
    receiver = SegmentReceiver()
    pieces = split(message, 40)
    expected: int | None = 0
    for at in order:
        if at >= len(pieces):
            continue
        if at in (0, expected):
            found = receiver.feed(pieces[at])
            expected = at + 1
            if expected == len(pieces):
                assert found == message
                expected = 0
            else:
                assert found is None
        else:
            refuses("link.segment", lambda at=at: receiver.feed(pieces[at]))
            assert receiver.received == 0
            expected = 0


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\x00\x64\x00",
        segment(bytes(101), 40, 40),
        segment(bytes(100), 80, 40),
        b"\x00\x64\x00\x28",
        b"\x00\x64\x00\x28" + bytes(61),
        b"\x00\x00\x00\x28",
    ],
)
def test_a_bad_segment_drops_what_was_gathered(bad: bytes) -> None:
    receiver = SegmentReceiver()
    assert receiver.feed(segment(bytes(100), 0, 40)) is None
    refuses("link.segment", lambda: receiver.feed(bad))
    assert receiver.received == 0
    refuses("link.segment", lambda: receiver.feed(segment(bytes(100), 40, 40)))


def test_totals_beyond_the_longest_message_are_refused() -> None:
    refuses("link.segment", lambda: SegmentReceiver().feed(b"\x10\x01\x00\x00" + bytes(40)))
    refuses("link.segment", lambda: SegmentReceiver().feed(b"\x00\x00\x00\x00x"))
    assert SegmentReceiver().feed(bytes(4)) is None


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_any_bytes_end_in_a_peer_error_or_gather_within_bounds(noise: list[bytes]) -> None:
    receiver = SegmentReceiver()
    for payload in noise:
        try:
            receiver.feed(payload)
        except PeerError:
            assert receiver.received == 0
        assert receiver.received <= 4096


@settings(max_examples=150)
@given(
    st.lists(texts, min_size=1, max_size=3, unique_by=len),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 10)), max_size=60),
)
def test_the_receiver_is_the_rule_of_the_page_over_any_segments(
    sent: list[bytes], order: list[tuple[int, int]]
) -> None:
    """Next to a model that keeps only which message is under way and how far."""
    receiver, under_way = SegmentReceiver(), (-1, 0)
    for which, at in order:
        message = sent[which % len(sent)]
        offset = at * 32
        if offset >= len(message):
            continue
        payload = segment(message, offset, 32)
        if offset and under_way != (which % len(sent), offset):
            refuses("link.segment", lambda payload=payload: receiver.feed(payload))
            under_way = (-1, 0)
            continue
        found = receiver.feed(payload)
        done = offset + 32 >= len(message)
        assert found == (message if done else None)
        under_way = (-1, 0) if done else (which % len(sent), offset + 32)
        assert receiver.received == under_way[1]


def test_a_message_mixed_from_two_of_one_length_is_neither_and_its_tag_refuses_it() -> None:
    """Segments carry no mac: two messages of equal length can be mixed on the bus, and nothing comes of it."""
    frame = b"\x68\x10" + bytes(7) + b"\x81\x03abc"
    frame += bytes((sum(frame) & 0xFF, 0x16))
    one, other = (records.seal_record(KEYS, bytes(8), n, [frame] * 3, up=True) for n in (1, 2))
    receiver, mixed = SegmentReceiver(), None
    for at in range(0, len(one), 80):
        mixed = receiver.feed(segment(one if at == 0 else other, at, 80))
    assert mixed not in (None, one, other)
    assert not records.check_tag(KEYS, mixed or b"")
