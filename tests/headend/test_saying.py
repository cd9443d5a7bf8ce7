"""What opened frames say: channels by medium, and whose clock a single reading is taken at."""

from __future__ import annotations

import pytest

from meterseal.errors import PeerError
from meterseal.headend.saying import AHEAD, BACKLOG, say
from meterseal.model import HEAT_VOLUME, MAIN
from meterseal.wire import encode
from meterseal.wire.frame import parse_frame
from tests.headend.ground import ELECTRIC, NOW, WATER, water

HEAT = bytes.fromhex("2078330011223344")
SECOND = NOW - NOW % 1000


def taken_at(clock: int) -> int:
    (frame, _) = parse_frame(water(at=clock))
    return say([frame], SECOND, vouched=False).series[0].start_at


def test_a_reading_is_taken_at_the_meters_own_clock() -> None:
    assert taken_at(SECOND - 3_600_000) == SECOND - 3_600_000
    assert taken_at(SECOND + AHEAD) == SECOND + AHEAD


@pytest.mark.parametrize("clock", [SECOND + AHEAD + 1000, SECOND - 2 * BACKLOG - 1000])
def test_a_clock_far_off_gives_way_to_the_time_of_arrival(clock: int) -> None:
    assert taken_at(clock) == SECOND


def test_a_heat_meter_has_two_channels() -> None:
    frame = encode.current_data_answer(HEAT, encode.heat_payload(700, 0, SECOND, volume=900))
    said = say([frame], SECOND, vouched=False)
    assert {one.channel: one.registers for one in said.series} == {MAIN: (700,), HEAT_VOLUME: (900,)}


def test_an_electricity_meter_is_read_as_energy() -> None:
    (series,) = say([encode.energy_answer(ELECTRIC, 26)], SECOND, vouched=False).series
    assert (series.channel, series.unit, series.registers) == (MAIN, "kWh", (26,))


def test_an_error_answer_says_nothing() -> None:
    request = encode.read_request(WATER, 0x901F)
    with pytest.raises(PeerError) as refused:
        say([encode.error_answer(WATER, request, 1)], SECOND, vouched=False)
    assert refused.value.code == "wire.direction"
