"""Meters on one bus are all found: alone, together, garbled, drowned, behind gateways that add bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterseal.errors import LocalError
from meterseal.wire import roles
from meterseal.wire.bus_search import BusSearch
from meterseal.wire.frame import Frame, Protocol
from meterseal.wire.profile import profile_of
from tests.wire import built

from .households import CALM

WATER = [
    bytes.fromhex("10") + bytes.fromhex(f"7833{number:010d}") for number in (1, 2, 101, 4711, 9_999_999_999)
]
POWER = [b"\xd7\x00" + bytes.fromhex(f"{number:012d}") for number in (161, 261, 162, 999_999_999_999)]

Line = Callable[[Sequence[bytes]], bytes]
"""What a bus makes of answers that are sent at once."""


def wired_and(answers: Sequence[bytes]) -> bytes:
    """Dominant zeros: bits of all senders are combined, the longest goes on alone."""
    line = bytearray(b"\xff" * max(map(len, answers), default=0))
    for sent in answers:
        for at, byte in enumerate(sent):
            line[at] &= byte
    return bytes(line)


def garbled(answers: Sequence[bytes]) -> bytes:
    """Nothing whole gets through when two send."""
    return answers[0] if len(answers) == 1 else b"\x00\x5a\xff" * bool(answers)


def loudest(answers: Sequence[bytes]) -> bytes:
    """The nearest meter drowns the others without a trace."""
    return min(answers, default=b"")


def in_turn(answers: Sequence[bytes]) -> bytes:
    return b"".join(answers)


def address_answer(device_id: bytes, request: Frame) -> bytes:
    return roles.address_answer(device_id, request, profile_of(device_id)).encode()


def answer(device_id: bytes, request: Frame, *, whole_wildcards_only: bool = False) -> bytes:
    """A meter's answer, or nothing; `whole_wildcards_only` meters know no narrowed address."""
    protocol = "dlt645" if device_id[0] == 0xD7 else "cjt188"
    address = device_id[:1:-1] if protocol == "dlt645" else device_id[:0:-1]
    wild = request.address == b"\xaa" * len(address)
    if request.protocol != protocol or request.meter_type not in (0, 0xAA, device_id[0]):
        return b""
    if whole_wildcards_only and not wild and request.address != address:
        return b""
    if any(asked not in (0xAA, byte) for asked, byte in zip(request.address, address, strict=True)):
        return b""
    return b"\xfe\xfe" + address_answer(device_id, request)


def run(search: BusSearch, meters: Sequence[bytes], line: Line, *, dumb: bool = False) -> BusSearch:
    while (step := search.step()) is not None:
        assert step == search.step()
        sent = [answer(meter, step.frame, whole_wildcards_only=dumb) for meter in meters]
        search.heard(line([one for one in sent if one]))
    return search


@pytest.mark.parametrize("meters", [WATER, POWER, WATER[:1], POWER[:2], []], ids=len)
@pytest.mark.parametrize("line", [wired_and, garbled, loudest, in_turn])
def test_a_thorough_search_finds_every_meter_on_any_bus(meters: list[bytes], line: Line) -> None:
    protocol: Protocol = "dlt645" if meters and meters[0][0] == 0xD7 else "cjt188"
    search = run(BusSearch(protocol, narrowing=True, thorough=True), meters, line)
    assert set(search.found) == set(meters)
    assert search.unresolved == ()


@given(st.sets(st.integers(0, 10**12 - 1), max_size=5), st.sampled_from([garbled, in_turn]))
@settings(CALM, max_examples=15)
def test_narrowing_finds_every_meter_where_answers_at_once_are_noticed(numbers: set[int], line: Line) -> None:
    meters = [b"\xd7\x00" + bytes.fromhex(f"{number:012d}") for number in numbers]
    search = run(BusSearch("dlt645", narrowing=True), meters, line)
    assert set(search.found) == set(meters)
    assert search.unresolved == ()
    assert search.asked <= 2 + 700 * len(meters)


@given(st.sets(st.integers(0, 10**6 - 1), max_size=4).map(sorted))
@settings(CALM, max_examples=15)
def test_no_meter_is_found_that_is_not_there(numbers: list[int]) -> None:
    meters = [b"\x10" + bytes.fromhex(f"{number:014d}") for number in numbers]
    for narrowing in (True, False):
        search = run(BusSearch("cjt188", narrowing=narrowing), meters, wired_and)
        assert set(search.found) <= set(meters)
        assert search.found or search.unresolved or not meters


def test_a_meter_that_two_answers_together_look_like_is_asked_alone_and_not_believed() -> None:
    request = BusSearch("cjt188", narrowing=False).step()
    assert request is not None

    def sent(number: int) -> bytes:
        return answer(b"\x10" + bytes.fromhex(f"{number:014d}"), request.frame)

    one, other, ghost = next(
        (one, other, ghost)
        for one in range(100)
        for other in range(one)
        for ghost in [int(f"{int(str(one), 16) & int(str(other), 16):x}")]
        if ghost not in (one, other) and wired_and([sent(one), sent(other)]) == sent(ghost)
    )
    there = [b"\x10" + bytes.fromhex(f"{number:014d}") for number in (one, other)]
    alone = run(BusSearch("cjt188", narrowing=False), there, wired_and)
    assert (alone.found, alone.unresolved) == ((), (b"\xaa" * 7,)), ghost
    narrowed = run(BusSearch("cjt188", narrowing=True), there, wired_and)
    assert set(narrowed.found) == set(there)


def test_one_meter_alone_is_found_with_two_questions_and_asked_alone() -> None:
    search = run(BusSearch("cjt188", narrowing=False), WATER[:1], garbled)
    assert (search.found, search.asked) == ((WATER[0],), 2)
    assert run(BusSearch("cjt188", narrowing=False), [], garbled).asked == 1


def test_without_narrowing_meters_that_garble_one_another_are_told_and_not_invented() -> None:
    search = run(BusSearch("cjt188", narrowing=False, repeats=2), WATER, garbled)
    assert (search.found, search.unresolved, search.asked) == ((), (b"\xaa" * 7,), 3)
    taken_in_turn = run(BusSearch("cjt188", narrowing=False), WATER, in_turn)
    assert set(taken_in_turn.found) == set(WATER)
    assert taken_in_turn.unresolved == ()


@pytest.mark.parametrize("thorough", [True, False])
def test_meters_that_know_no_narrowed_address_are_said_to_be_there(thorough: bool) -> None:
    pair = run(BusSearch("cjt188", narrowing=True, thorough=thorough), WATER[:2], garbled, dumb=True)
    assert (pair.found, pair.unresolved) == ((), (b"\xaa" * 7,))
    one = run(BusSearch("cjt188", narrowing=True, thorough=thorough), WATER[:1], garbled, dumb=True)
    assert one.found == (WATER[0],)
    assert one.unresolved == ((b"\xaa" * 7,) if thorough else ())


def test_two_meters_of_one_address_are_unresolved() -> None:
    twins = [WATER[0], WATER[0]]
    search = run(BusSearch("cjt188", narrowing=True), twins, garbled)
    assert search.found == ()
    assert search.unresolved == (WATER[0][:0:-1],)


def test_bytes_that_a_gateway_adds_do_not_hide_a_meter() -> None:
    def gateway(answers: Sequence[bytes]) -> bytes:
        return b"CTRL:12" + answers[0] + b"\xb5" if len(answers) == 1 else garbled(answers)

    search = run(BusSearch("dlt645", narrowing=True), POWER, gateway)
    assert set(search.found) == set(POWER)


def test_only_answers_to_the_question_count() -> None:
    search = BusSearch("cjt188", narrowing=False, meter_type=0x10, repeats=0)
    step = search.step()
    assert step is not None
    assert (step.frame.meter_type, step.frame.data.hex()) == (0x10, "810a00")
    stray = built.current_data_answer(WATER[0], bytes(19)).encode()
    heat = address_answer(b"\x25" + WATER[0][1:], step.frame)
    for received in (step.frame.encode(), stray, heat):
        search = BusSearch("cjt188", narrowing=False, meter_type=0x10, repeats=0)
        search.heard(received)
        assert (search.found, search.unresolved) == ((), (b"\xaa" * 7,))


def test_bytes_in_front_of_an_answer_and_late_answers_of_others_are_noise() -> None:
    search = BusSearch("cjt188", narrowing=True)
    first = search.step()
    assert first is not None
    search.heard(b"\x00\x5a" + answer(WATER[1], first.frame))
    narrowed = search.step()
    assert narrowed is not None
    assert narrowed.frame.address == b"\x00" + b"\xaa" * 6, (
        "something garbled came in front: others may be there"
    )
    search.heard(answer(WATER[1], first.frame))
    assert search.found == (), "its address does not begin with 00, so it answers something asked before"
    deeper = search.step()
    assert deeper is not None
    assert deeper.frame.address == b"\x00\x00" + b"\xaa" * 5


def test_an_electricity_meters_data_must_agree_with_its_header() -> None:
    search = BusSearch("dlt645", narrowing=False, repeats=0)
    search.heard(Frame("dlt645", 0, bytes(6), 0x93, b"\x01" * 6).encode())
    assert (search.found, search.unresolved) == ((), (b"\xaa" * 6,))


def test_a_search_stops_after_so_many_questions_and_says_what_is_left() -> None:
    search = run(BusSearch("dlt645", narrowing=True, most=5), POWER, garbled)
    assert search.asked == 5
    assert len(search.unresolved) > 90
    with pytest.raises(LocalError, match="over"):
        search.heard(b"")
    with pytest.raises(LocalError, match="thorough"):
        BusSearch("dlt645", narrowing=False, thorough=True)


@given(st.lists(st.binary(max_size=40), max_size=30))
@settings(CALM)
def test_noise_is_never_a_meter_and_never_an_error(heard: list[bytes]) -> None:
    search = BusSearch("cjt188", narrowing=True, most=20)
    for received in heard:
        if search.step() is None:
            break
        search.heard(received)
    assert search.found == ()
