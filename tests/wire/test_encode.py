"""What the builders make is what the reader understands, byte for byte and field for field."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterseal.errors import LocalError
from meterseal.wire import encode
from meterseal.wire.fields import bcd, clock_at, to_bcd
from meterseal.wire.frame import Frame, address_of, parse_frame, parse_frames
from meterseal.wire.meaning import interpret
from tests.wire import built

from .frames import VALID

WATER = bytes.fromhex("1078330011223344")
HEAT = bytes.fromhex("2078330011223344")
POWER = bytes.fromhex("d700000000000161")
RUNS = json.loads((Path(__file__).parent.parent / "vectors" / "link_runs.json").read_text("utf-8"))["runs"]
NOON = 1_780_000_000_000 // 3_600_000 * 3_600_000

devices = st.sampled_from([WATER, HEAT, POWER])
registers = st.one_of(st.none(), st.integers(0, 99_999_999))


def test_frames_of_the_link_runs_are_made_byte_for_byte() -> None:
    for run in RUNS:
        block, report = (bytes.fromhex(text) for text in run["records"][1]["frames"])
        data = parse_frame(block)[0].data
        values = [bcd(data[15 + 4 * index : 19 + 4 * index]) for index in range(20)]
        start = clock_at(data[3:10])
        assert start is not None
        made = encode.interval_block(
            WATER, start_at=start, step_minutes=15, channel=1, unit=0x2C, registers=values, ser=2
        )
        assert made.encode() == block
        at = clock_at(parse_frame(report)[0].data[13:20])
        assert at is not None
        assert built.current_data_answer(WATER, built.volume_payload(123456, 0, at), 1).encode() == report
        valve = encode.valve_request(WATER, opened=False, ser=7, high_first=False).encode()
        assert valve.hex() == "681044332211003378040417a007992c16"


def test_requests_of_the_captures_are_made_byte_for_byte() -> None:
    assert (
        encode.read_request(WATER, 0x901F, high_first=False).encode().hex()
        == "68104433221100337801031f90008016"
    )
    assert encode.read_address_request().encode().hex() == "68aaaaaaaaaaaaaaaa0303810a004916"
    assert encode.read_address_request(encode.ANY_DLT645).encode().hex() == "68aaaaaaaaaaaa681300df16"
    assert encode.read_request(POWER, 0x00010000).encode().hex() == "68610100000000681104333334331416"
    assert built.energy_answer(POWER, 26).encode().hex() == "6861010000000068910833333433593333338a16"


@given(
    device=devices,
    start=st.integers(0, 200_000).map(lambda hours: NOON + hours * 3_600_000),
    step=st.integers(1, 255),
    channel=st.integers(0, 255),
    values=st.lists(registers, min_size=1, max_size=20),
)
def test_interval_blocks_come_back(
    device: bytes, start: int, step: int, channel: int, values: list[int | None]
) -> None:
    frame = encode.interval_block(
        device, start_at=start, step_minutes=step, channel=channel, unit=0x2C, registers=values
    )
    meaning = interpret(parse_frame(frame.encode())[0])
    assert meaning.recognised
    assert meaning.interval is not None
    assert meaning.interval.registers == tuple(values)
    assert (meaning.interval.start_at, meaning.interval.step) == (start, step * 60_000)
    assert (meaning.interval.channel, meaning.interval.unit, meaning.interval.exponent) == (channel, "m3", -2)
    assert frame.device_id == device


def test_interval_blocks_fit_the_largest_cipher_data() -> None:
    for device, most, largest in ((WATER, 20, 96), (POWER, 43, 192)):
        block = encode.interval_block(
            device, start_at=NOON, step_minutes=60, channel=1, unit=5, registers=[1] * most
        )
        assert len(block.data) // 16 * 16 + 16 == largest
        with pytest.raises(LocalError, match="split the day"):
            encode.interval_block(
                device, start_at=NOON, step_minutes=60, channel=1, unit=5, registers=[1] * (most + 1)
            )


@given(
    energy=st.integers(0, 99_999_999),
    volume=st.integers(0, 99_999_999),
    flow=st.integers(0, 99_999_999),
    hours=st.integers(0, 999_999),
    status=st.binary(min_size=2, max_size=2),
    high_first=st.booleans(),
)
def test_heat_reports_come_back(
    energy: int, volume: int, flow: int, hours: int, status: bytes, high_first: bool
) -> None:
    payload = built.heat_payload(
        energy, 7, NOON, status, power=150, flow=flow, volume=volume, supply=2679, back=2664, hours=hours
    )
    meaning = interpret(built.current_data_answer(HEAT, payload, 9, high_first=high_first))
    read = {name: value.register for name, value in meaning.readings.items()}
    assert read == {
        "settlement_energy": 7,
        "cumulative_energy": energy,
        "power": 150,
        "flow_rate": flow,
        "cumulative_volume": volume,
        "supply_temperature": 2679,
        "return_temperature": 2664,
        "working_time": hours,
    }
    assert (meaning.clock_at, meaning.ser, meaning.anomalies, meaning.recognised) == (NOON, 9, (), True)
    assert meaning.status is not None
    assert meaning.status.raw == status.hex()


@given(
    volume=st.integers(0, 99_999_999), settlement=st.integers(0, 99_999_999), at=st.integers(0, 2_000_000_000)
)
def test_volume_reports_come_back(volume: int, settlement: int, at: int) -> None:
    payload = built.volume_payload(volume, settlement, at * 1000)
    meaning = interpret(built.current_data_answer(WATER, payload))
    assert [value.register for value in meaning.readings.values()] == [volume, settlement]
    assert [value.unit for value in meaning.readings.values()] == ["m3", "m3"]
    assert meaning.clock_at == at * 1000
    assert meaning.anomalies == ()


@given(device=devices, total=st.integers(1, 4096), offset=st.integers(0, 4096), chunk=st.binary(max_size=32))
def test_segments_come_back(device: bytes, total: int, offset: int, chunk: bytes) -> None:
    offset = min(offset, total)
    chunk = chunk[: total - offset]
    down = encode.segment_write_request(device, total, offset, chunk, ser=3)
    ask = encode.segment_read_request(device, offset)
    up = encode.segment_read_answer(device, ask, total, offset, chunk)
    for frame, expected in (
        (down, (total, offset, chunk)),
        (ask, (None, offset, b"")),
        (up, (total, offset, chunk)),
    ):
        segment = interpret(parse_frame(frame.encode())[0]).segment
        assert segment is not None
        assert (segment.total, segment.offset, segment.chunk) == expected
        assert len(frame.data) <= (50 if frame is down else 100)
    taken = encode.segment_write_answer(device, down)
    assert interpret(taken).recognised
    assert taken.control == down.control | 0x80


def test_segments_and_fields_that_do_not_fit_are_refused() -> None:
    ask = encode.segment_read_request(WATER, 0)
    for wrong in (
        lambda: encode.segment_write_request(WATER, 100, 0, bytes(41)),
        lambda: encode.segment_write_request(POWER, 100, 0, bytes(33)),
        lambda: encode.segment_read_answer(WATER, ask, 100, 0, bytes(81)),
        lambda: encode.segment_write_request(WATER, 10, 11, b""),
        lambda: encode.read_request(bytes.fromhex("f000000000000001"), 0x901F),
        lambda: Frame("cjt188", 16, bytes(6), 1, b"").encode(),
        lambda: Frame("dlt645", 0, bytes(6), 1, bytes(256)).encode(),
    ):
        with pytest.raises(LocalError) as caught:
            wrong()
        assert caught.value.code == "wire.field"


def test_answers_echo_the_request() -> None:
    request = encode.read_request(WATER, 0x901F, ser=200, high_first=False)
    got = encode.answer(WATER, request, built.volume_payload(1, 0, NOON))
    assert got.data[:3] == bytes.fromhex("1f90c8")
    assert got.control == 0x81
    with pytest.raises(LocalError):
        encode.answer(POWER, encode.write_request(POWER, 0x04000103, b"\x15"), b"\x00")


@given(
    device=devices,
    control=st.integers(0, 255),
    data=st.binary(max_size=255),
    more=st.integers(0, 3),
)
def test_any_frame_survives_encode_and_parse(device: bytes, control: int, data: bytes, more: int) -> None:
    protocol, meter_type, address = address_of(device)
    frame = Frame(protocol, meter_type, address, control, data)
    body = frame.encode() * (more + 1)
    assert parse_frames(body, protocol) == [frame] * (more + 1)
    assert parse_frame(frame.encode() + b"\x68rest")[1] == len(frame.encode())


@given(st.integers(0, 10**12 - 1))
def test_bcd_round_trip(value: int) -> None:
    assert bcd(to_bcd(value, 6)) == value


def test_device_ids_of_captured_frames_name_their_meters() -> None:
    for vector in VALID:
        frame = parse_frame(bytes.fromhex(vector["hex"]).lstrip(b"\xfe"))[0]
        assert address_of(frame.device_id) == (frame.protocol, frame.meter_type, frame.address)
        assert frame.device_id[-6:].hex().upper() == vector["expect"]["frame"]["address"][-12:]


@pytest.mark.parametrize(("action", "said"), [(0x1A, "trip"), (0x1B, "permit-close"), (0x1C, "close")])
def test_relay_commands_come_back_with_their_end(action: int, said: str) -> None:
    frame = encode.relay_request(bytes.fromhex("d700000000000161"), action, 1_795_000_000_000)
    meaning = interpret(parse_frame(frame.encode())[0])
    assert meaning.action == said
    assert any("2026-11-" in part.text for part in meaning.parts)
