"""Every row of the fault menu on captured answers: what goes on is what the row says, and nothing else is touched."""

from __future__ import annotations

import pytest

from meterseal.kit.line.faults import BETWEEN, FAULTS, LATE, Case
from meterseal.wire.codec import search
from meterseal.wire.decode import decode_bytes

WATER = bytes.fromhex("FEFEFEFE68104433221100337881161F9000007766552C007766552C3101221105152021841316")
ASKED = bytes.fromhex("FEFEFEFE68104433221100337801031F90008016")
POWER = bytes.fromhex("6861010000000068910833333433593333338A16")
POWER_ASKED = bytes.fromhex("68610100000000681104333334331416")
BEFORE = bytes.fromhex("68104433221100337881161F9000007666552C007766552C3101221105152021841216")
BY_NAME = {fault.name: fault for fault in FAULTS}


def case(unit: bytes = WATER, request: bytes = ASKED, before: bytes = b"", seed: int = 1) -> Case:
    return Case(unit, request, before, seed)


def only(name: str, at: Case) -> bytes:
    ((pause, raw),) = BY_NAME[name].act(at)
    assert pause == 0.0
    return raw


@pytest.mark.parametrize(("unit", "asked"), [(WATER, ASKED), (POWER, POWER_ASKED)], ids=["cjt188", "dlt645"])
def test_an_error_is_a_whole_error_answer_of_that_meter(unit: bytes, asked: bytes) -> None:
    decoded = decode_bytes(only("error", case(unit, asked)))
    assert decoded.meaning is not None
    assert decoded.meaning.error
    frame, real = search(only("error", case(unit, asked))).frame, search(unit).frame
    assert frame is not None
    assert real is not None
    assert frame.address == real.address


def test_a_delay_an_empty_and_a_split_answer() -> None:
    assert BY_NAME["delay"].act(case()) == [(LATE, WATER)]
    assert BY_NAME["empty"].act(case()) == []
    (first, one), (second, other) = BY_NAME["split"].act(case())
    assert (first, second, one + other) == (0.0, BETWEEN, WATER)
    assert one
    assert other


def test_stray_bytes_stand_around_a_frame_that_is_still_found() -> None:
    raw = only("stray", case())
    assert WATER in raw
    assert not raw.startswith(WATER)
    assert not raw.endswith(WATER)


def test_a_truncated_answer_and_a_wrong_sum_are_no_frames() -> None:
    assert WATER.startswith(only("truncated", case()))
    wrong = decode_bytes(only("wrong checksum", case())).answer
    assert wrong["error"]["code"] == "wire.checksum"
    assert only("wrong checksum", case())[:-2] == WATER[:-2]


@pytest.mark.parametrize("seed", range(40))
def test_a_bit_flip_is_one_bit_of_the_data(seed: int) -> None:
    raw = only("bit flip", case(seed=seed))
    changed = [(at, a ^ b) for at, (a, b) in enumerate(zip(raw, WATER, strict=True)) if a != b]
    ((at, bits),) = changed
    assert bits.bit_count() == 1
    frame = search(WATER).frame
    assert frame is not None
    assert len(WATER) - 2 - len(frame.data) <= at < len(WATER) - 2


def test_a_stale_answer_is_the_one_before_or_itself() -> None:
    assert only("stale counter", case(before=BEFORE)) == BEFORE
    assert only("stale counter", case()) == WATER


def test_a_wrong_key_changes_the_tag_of_a_sealed_record_in_a_whole_frame_and_nothing_of_another() -> None:
    from meterseal.wire import encode
    from meterseal.wire.frame import address_of

    device = bytes.fromhex("1078330011223344")
    request = encode.segment_read_request(device, 0)
    answer = encode.segment_read_answer(device, request, 60, 0, bytes(range(60)))
    unit = answer.encode()
    frame = search(only("wrong key", case(unit))).frame
    assert frame is not None
    assert address_of(device)[2] == frame.address
    assert frame.data[:-16] == answer.data[:-16]
    assert frame.data[-16:] != answer.data[-16:]
    assert only("wrong key", case()) == WATER


def test_a_duplicate_address_is_a_second_whole_answer_that_says_something_else() -> None:
    raw = only("duplicate address", case())
    assert raw.startswith(WATER)
    other = search(raw[len(WATER) :]).frame
    first = search(WATER).frame
    assert other is not None
    assert first is not None
    assert other.address == first.address
    assert other.data != first.data


@pytest.mark.parametrize(
    "unit", [b"", b"\x00", b"\x68", WATER[:9], b"\xff" * 300], ids=lambda unit: str(len(unit))
)
@pytest.mark.parametrize("name", BY_NAME)
def test_no_fault_falls_over_what_is_no_frame(name: str, unit: bytes) -> None:
    BY_NAME[name].act(case(unit, b"", b""))
