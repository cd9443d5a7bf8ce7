"""LINK section 5 on both ends of a bus as they are shipped: the meter's node and the concentrator's poll."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterseal.edge.line import Line
from meterseal.edge.node import Node
from meterseal.edge.poll import Pace, Riser
from meterseal.errors import PeerError
from meterseal.link.segments import SegmentReceiver
from meterseal.wire import encode
from meterseal.wire.frame import Frame, parse_frame
from tests.crypto.pki import NOW
from tests.edge.field import Field
from tests.link.parties import segment

WATER = bytes.fromhex("1078330000000001")
POWER = bytes.fromhex("d700000000000002")
LEAD = {WATER: 3, POWER: 4}
UP, DOWN = 80, {WATER: 40, POWER: 32}
LIMITS = {WATER: (100, 50), POWER: (200, 50)}
"""Largest L of an answer and of a write in the editions of 2004 (CJ/T 188) and 2007 (DL/T 645)."""
both = pytest.mark.parametrize("device", [WATER, POWER])


def node_of(device: bytes) -> Node:
    return Field([[device]], days=1).nodes[device]


def read(node: Node, device: bytes, offset: int) -> tuple[int, int, bytes]:
    """Total, offset and bytes of the answer to a read."""
    raw = node.answer(encode.segment_read_request(device, offset), NOW)
    frame, _ = parse_frame(raw)
    assert len(frame.data) <= LIMITS[device][0]
    place = frame.data[LEAD[device] :]
    return int.from_bytes(place[:2], "big"), int.from_bytes(place[2:4], "big"), place[4:]


def write(node: Node, device: bytes, total: int, offset: int, chunk: bytes) -> bool:
    """Did the meter take the segment?"""
    request = encode.segment_write_request(device, total, offset, chunk)
    assert len(request.data) <= LIMITS[device][1]
    frame, _ = parse_frame(node.answer(request, NOW))
    return not frame.control & 0x40


def received(node: Node) -> list[bytes]:
    """Whole messages that reach the agent from now on."""
    found: list[bytes] = []
    assert node.secured is not None
    node.secured.agent.receive = lambda message, now: found.append(message) or []  # type: ignore[method-assign,func-returns-value]
    return found


@both
def test_the_same_bytes_are_offered_until_the_last_segment_was_read_and_0_is_asked_anew(
    device: bytes,
) -> None:
    node = node_of(device)
    total, at, first = read(node, device, 0)
    assert (at, len(first)) == (0, UP)
    assert total > UP
    assert read(node, device, 0) == (total, 0, first)
    message = first
    while len(message) < total:
        size, at, piece = read(node, device, len(message))
        assert (size, at) == (total, len(message))
        message += piece
    assert read(node, device, total - total % UP)[2], "a lost last answer is asked for again"
    assert message[:4] == b"MS\x01\x01"
    # Read to its end and asked from 0: it is let go, and nothing else waits yet.
    assert read(node, device, 0) == (0, 0, b"")


@both
def test_a_read_that_was_not_finished_starts_over_with_the_same_message(device: bytes) -> None:
    node = node_of(device)
    total, _, first = read(node, device, 0)
    for offset in (total, total + 1, 0xFFFF):
        assert read(node, device, offset) == (0, 0, b"")
    assert read(node, device, 0) == (total, 0, first)


class Offering:
    """A node whose agent offers these messages, and begins again with those that did not arrive when it restarts."""

    def __init__(self, device: bytes, offered: list[bytes]) -> None:
        self.device, self.offered = device, offered
        self.arrived: list[bytes] = []
        self.first = node_of(device)
        self.restart()

    def restart(self) -> None:
        secured = self.first.secured
        assert secured is not None
        waiting = iter([one for one in self.offered if one not in self.arrived])
        secured.agent.offer = lambda now: next(waiting, None)  # type: ignore[method-assign]
        self.node = Node(self.first.meter, secured)

    def answer(self, offset: int) -> bytes:
        """The payload that answers a read."""
        frame, _ = parse_frame(self.node.answer(encode.segment_read_request(self.device, offset), NOW))
        return frame.data[LEAD[self.device] :]


texts = st.binary(min_size=1, max_size=400)
FAULTS = ("none", "none", "none", "lost", "master", "device")


@both
@settings(max_examples=25, deadline=None)
@given(
    offered=st.lists(texts, min_size=1, max_size=4, unique_by=len),
    faults=st.lists(st.sampled_from(FAULTS), max_size=40),
)
def test_reading_over_a_lossy_bus_with_restarts(
    device: bytes, offered: list[bytes], faults: list[str]
) -> None:
    """Answers get lost, either side restarts: only whole offered messages arrive.

    Each one does, but for those whose last segment was the lost answer (their records are repeated).
    """
    bus, receiver, risked = Offering(device, offered), SegmentReceiver(), set()
    for fault in faults + ["none"] * 60:
        if fault == "master":
            receiver = SegmentReceiver()
        if fault == "device":
            bus.restart()
        try:
            answer = bus.answer(receiver.received)
            if fault == "lost":
                risked |= {one for one in offered if answer == segment(one, (len(one) - 1) // UP * UP, UP)}
                receiver.reset()
                continue
            message = receiver.feed(answer)
        except PeerError:
            receiver.reset()
            continue
        if message is not None:
            assert message in offered
            bus.arrived.append(message)
    assert set(offered) - set(bus.arrived) <= risked


@both
@settings(max_examples=10, deadline=None)
@given(offered=st.lists(texts, min_size=1, max_size=4))
def test_reading_over_a_quiet_bus_loses_nothing(device: bytes, offered: list[bytes]) -> None:
    bus, receiver = Offering(device, offered), SegmentReceiver()
    for _ in range(40):
        message = receiver.feed(bus.answer(receiver.received))
        if message is not None:
            bus.arrived.append(message)
    assert bus.arrived == offered


@both
def test_the_longest_message_and_one_that_fills_its_last_segment_are_let_go_once(device: bytes) -> None:
    longest, full = bytes(range(256)) * 16, bytes(2 * UP)
    bus, receiver = Offering(device, [longest, full]), SegmentReceiver()
    while len(bus.arrived) < 2:
        message = receiver.feed(bus.answer(receiver.received))
        if message is not None:
            bus.arrived.append(message)
    assert bus.arrived == [longest, full]
    assert (bus.answer(0), bus.answer(1)) == (bytes(4), bytes(4))


@both
def test_a_written_message_arrives_whole_or_not_at_all(device: bytes) -> None:
    node, size = node_of(device), DOWN[device]
    found = received(node)
    message = bytes(range(3 * size - 7))
    total = len(message)
    pieces = [(at, message[at : at + size]) for at in range(0, total, size)]

    def sent(*which: int, of: int = total) -> list[bool]:
        return [write(node, device, of, *pieces[one]) for one in which]

    assert sent(0, 1) == [True, True]
    assert not write(node, device, total + 1, *pieces[2]), "a changed total drops it"
    assert sent(2) == [False]
    assert sent(0, 2) == [True, False], "any other offset than the next drops it"
    assert sent(1) == [False]
    assert sent(0, 1, 1) == [True, True, False], "a segment twice is no next one"
    assert sent(1, 2) == [False, False]
    assert found == []
    assert sent(0, 1) == [True, True]
    assert sent(0, 1, 2) == [True] * 3, "offset 0 starts over"
    assert found == [message]


@both
def test_no_frame_of_a_write_or_an_answer_is_longer_than_its_edition_allows(device: bytes) -> None:
    longest = encode.segment_write_request(device, 4096, 4000, bytes(DOWN[device]))
    assert len(longest.data) <= LIMITS[device][1]
    answer = encode.segment_read_answer(device, encode.segment_read_request(device, 0), 4096, 0, bytes(UP))
    assert len(answer.data) <= LIMITS[device][0]


class Master:
    """The concentrator's end, and what it fetched; `answers` are the meter's words, as (total, offset, bytes)."""

    def __init__(self, device: bytes) -> None:
        self.device = device
        self.up: list[bytes] = []
        pace = Pace(answer=200, burst=4, rest=20, longest_rest=100, plain=60_000, silent=2_000)
        self.riser = Riser(
            [Line(device, plain=False)], pace, lambda _, message: self.up.append(message), lambda *_: None
        )
        self.riser.open = True
        self.now = NOW

    def request(self) -> Frame:
        self.now += 1_000
        raw = self.riser.request(self.now)
        assert raw is not None
        return parse_frame(raw)[0]

    def asked(self) -> int:
        """The offset of the next read request."""
        self.last = self.request()
        return int.from_bytes(self.last.data[LEAD[self.device] :], "big")

    def told(self, total: int, offset: int, piece: bytes) -> None:
        answer = encode.segment_read_answer(self.device, self.last, total, offset, piece)
        assert self.riser.answer(answer.encode(), self.now)


@both
def test_the_master_drops_what_changes_its_total_or_offset_and_asks_from_0_again(device: bytes) -> None:
    message = bytes(range(200))
    for total, offset, piece in [
        (201, 80, message[80:160]),
        (200, 160, message[160:]),
        (200, 81, message[81:161]),
        (200, 80, b""),
        (200, 160, message[:80]),
        (0, 0, b""),
    ]:
        master = Master(device)
        assert master.asked() == 0
        master.told(200, 0, message[:80])
        assert master.asked() == 80
        master.told(total, offset, piece)
        assert master.asked() == 0, (total, offset)
        assert master.up == []
        master.told(200, 0, message[:80])
        for at in (80, 160):
            assert master.asked() == at
            master.told(200, at, message[at : at + 80])
        assert master.up == [message]


@both
def test_a_meter_that_starts_over_at_0_is_followed(device: bytes) -> None:
    """Its power went between two segments: what it offers now is another message."""
    master, message = Master(device), b"n" * 90
    assert master.asked() == 0
    master.told(200, 0, bytes(80))
    assert master.asked() == 80
    master.told(90, 0, message[:80])
    assert master.asked() == 80
    master.told(90, 80, message[80:])
    assert master.up == [message]


@both
def test_a_message_that_the_meter_forgot_half_of_is_written_once_more_from_0(device: bytes) -> None:
    """The meter's power went between two segments: it refuses the next, and the master does not lose the message."""
    field = Field([[device]], days=1)
    master, message = Master(device), bytes(range(100))
    master.riser.deliver(device, message)
    first = master.request()
    assert master.riser.answer(field.nodes[device].answer(first, NOW), NOW)
    field.power_on_meters()
    node = field.nodes[device]
    found = received(node)
    for _ in range(8):
        request = master.request()
        if node.meter.is_read(request):
            break
        assert master.riser.answer(node.answer(request, NOW), NOW)
    assert found == [message]


@both
def test_a_message_that_the_meter_never_takes_is_given_up(device: bytes) -> None:
    master, field = Master(device), Field([[device]], days=1)
    master.riser.deliver(device, bytes(100))
    for number in range(6):
        request = master.request()
        node = field.nodes[device]
        if node.meter.is_read(request):
            assert number == 4  # two times offset 0 was taken and the next refused
            return
        assert master.riser.answer(node.answer(request, NOW), NOW)
        field.power_on_meters()  # it forgets the beginning each time
    raise AssertionError("the master goes on with it")
