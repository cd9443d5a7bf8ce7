"""What heat meters show of their water, from a record to the commit: sealed ones, and plain ones behind a concentrator."""

from __future__ import annotations

import pytest

from meterseal.headend.heats import HOTTEST
from meterseal.headend.ports import Enrolment
from meterseal.headend.saying import say
from meterseal.model import HeatSeen
from meterseal.units import unit_code
from tests.headend.ground import MASTER, NOW, Device, Line, water
from tests.headend.test_uplink import Start, start
from tests.wire import built

__all__ = ["start"]

HEAT = bytes.fromhex("2078330011223344")
AT = NOW - 60_000


def answer(
    supply: int = 6_012, back: int = 4_507, *, volume: int = 900, flow: int = 5, at: int = AT
) -> bytes:
    payload = built.heat_payload(700, 0, at, volume=volume, supply=supply, back=back, flow=flow)
    return built.current_data_answer(HEAT, payload).encode()


async def test_a_sealed_heat_meter_tells_what_flowed_through_it_at_its_own_clock(start: Start) -> None:
    device, line = Device(HEAT), Line()
    ground = start(device)
    await ground.send(line, device.seal(answer()))
    (batch,) = ground.platform.batches
    assert batch.opened[0].heats == (HeatSeen(HEAT, AT, 6_012, 4_507, 9_000, flows=True),)
    assert len(batch.opened[0].series) == 2


async def test_a_concentrator_tells_it_of_a_plain_one_and_of_other_meters_nothing(start: Start) -> None:
    master, line = Device(MASTER), Line(concentrator_id=MASTER)
    ground = start(master)
    plain = Enrolment(device_id=HEAT, plain=True, medium="heat", concentrator_id=MASTER)
    ground.platform.enrolled[HEAT] = plain
    device_id = bytes.fromhex("1078330011223344")
    ground.platform.enrolled[device_id] = Enrolment(
        device_id=device_id, plain=True, medium="water", concentrator_id=MASTER
    )
    await ground.send(line, master.seal(answer(flow=0), water(device_id), vouched=True))
    (batch,) = ground.platform.batches
    assert batch.opened[0].heats == (HeatSeen(HEAT, AT, 6_012, 4_507, 9_000, flows=False),)
    assert len(batch.opened[0].series) == 3


@pytest.mark.parametrize(
    ("supply", "back"), [(HOTTEST + 1, 4_507), (6_012, HOTTEST + 1), (999_999, 999_999), (0, 0)]
)
async def test_a_broken_sensor_costs_no_reading(start: Start, supply: int, back: int) -> None:
    device, line = Device(HEAT), Line()
    ground = start(device)
    await ground.send(line, device.seal(answer(supply, back)))
    (batch,) = ground.platform.batches
    assert batch.opened[0].heats == ()
    assert {one.registers for one in batch.opened[0].series} == {(700,), (900,)}
    assert line.acked(device) == {1}


def test_digits_that_are_none_and_units_that_nobody_knows_say_nothing() -> None:
    payload = bytearray(built.heat_payload(700, 0, AT, volume=900, supply=6_000, back=4_000))
    assert payload[24] == unit_code("m3")
    payload[20] = 0xFF  # of the volume
    (one,) = say([built.current_data_answer(HEAT, bytes(payload))], NOW, vouched=True).heats
    assert (one.supply, one.back, one.volume) == (6_000, 4_000, -1)
    payload[25] = 0xFF  # of the supply's temperature
    assert say([built.current_data_answer(HEAT, bytes(payload))], NOW, vouched=True).heats == ()
