"""What opened frames say: channels by medium, and whose clock a single reading is taken at."""

from __future__ import annotations

import pytest

from meterseal.errors import PeerError
from meterseal.headend.saying import AHEAD, BACKLOG, say
from meterseal.model import HEAT_VOLUME, MAIN
from meterseal.units import unit_code
from meterseal.wire import encode, roles
from meterseal.wire.fields import to_clock
from meterseal.wire.frame import Frame, parse_frame
from meterseal.wire.profile import profile_of
from tests.headend.ground import ELECTRIC, NOW, WATER, water
from tests.wire import built

GAS = bytes.fromhex("3078330011223344")
HEAT = bytes.fromhex("2078330011223344")
SECOND = NOW - NOW % 1000


def taken_at(clock: int) -> int:
    (frame, _) = parse_frame(water(at=clock))
    return say([frame], SECOND, vouched=False).series[0].start_at


def test_a_reading_is_taken_at_the_meters_own_clock() -> None:
    assert taken_at(SECOND - 3_600_000) == SECOND - 3_600_000
    assert taken_at(SECOND + AHEAD) == SECOND + AHEAD
    assert taken_at(SECOND - 35 * 86_400_000) == SECOND - BACKLOG


@pytest.mark.parametrize("clock", [SECOND + AHEAD + 1000, SECOND - BACKLOG - 1000])
def test_a_clock_far_off_gives_way_to_the_time_of_arrival(clock: int) -> None:
    assert taken_at(clock) == SECOND


def test_a_heat_meter_has_two_channels() -> None:
    frame = built.current_data_answer(HEAT, built.heat_payload(700, 0, SECOND, volume=900))
    said = say([frame], SECOND, vouched=False)
    assert {one.channel: one.registers for one in said.series} == {MAIN: (700,), HEAT_VOLUME: (900,)}


def test_an_electricity_meter_is_read_as_energy() -> None:
    (series,) = say([built.energy_answer(ELECTRIC, 26)], SECOND, vouched=False).series
    assert (series.channel, series.unit, series.registers) == (MAIN, "kWh", (26,))


def test_an_energy_answer_has_no_clock_and_means_now() -> None:
    (series,) = say([built.energy_answer(ELECTRIC, 26)], SECOND, vouched=False).series
    assert (series.start_at, series.step) == (SECOND, 0)


@pytest.mark.parametrize(
    ("device", "channel", "unit", "taken"),
    [
        (WATER, MAIN, "m3", True),
        (WATER, HEAT_VOLUME, "m3", False),
        (WATER, 0, "m3", False),
        (GAS, MAIN, "m3", True),
        (GAS, HEAT_VOLUME, "m3", False),
        (HEAT, MAIN, "kWh", True),
        (HEAT, HEAT_VOLUME, "m3", True),
        (HEAT, 3, "m3", False),
        (ELECTRIC, MAIN, "kWh", True),
        (ELECTRIC, HEAT_VOLUME, "kWh", False),
        (ELECTRIC, 255, "kWh", False),
    ],
)
def test_an_interval_block_is_of_a_channel_that_the_medium_has(
    device: bytes, channel: int, unit: str, taken: bool
) -> None:
    block = encode.interval_block(
        device, start_at=SECOND, step_minutes=60, channel=channel, unit=unit_code(unit), registers=[1, 2]
    )
    if taken:
        (series,) = say([block], SECOND, vouched=False).series
        assert (series.channel, series.registers) == (channel, (1, 2))
    else:
        with pytest.raises(PeerError) as refused:
            say([block], SECOND, vouched=False)
        assert refused.value.code == "wire.channel"


def test_an_error_answer_says_nothing() -> None:
    request = encode.read_request(WATER, 0x901F)
    with pytest.raises(PeerError) as refused:
        say([roles.refuse(WATER, request, "other", profile_of(WATER))], SECOND, vouched=False)
    assert refused.value.code == "wire.direction"


def test_the_reading_of_a_freeze_is_taken_at_the_freeze() -> None:
    clock = to_clock(SECOND - 3_600_000)
    payload = bytes.fromhex("D30000") + clock + bytes.fromhex("010000002C0200000035252000330000")
    frame = Frame("cjt188", WATER[0], WATER[:0:-1], 0x81, payload)
    (series,) = say([frame], SECOND, vouched=False).series
    assert (series.start_at, series.registers) == (SECOND - 3_600_000, (1,))
