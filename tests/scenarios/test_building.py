"""A building through a year of local time (Asia/Shanghai): outages, swaps, a new concentrator, and every register true.

HM-6.2.4, HM-6.2.5, HM-6.3.1.5 where they are behaviour: power that fails closes gas valves, and no figure is lost.
"""

from __future__ import annotations

import time

import pytest
from msgspec.structs import replace

from meterseal.edge.metering.inputs import BatteryIn, BatteryOut, Opened
from meterseal.kit.plan import StreetPlan, make_plan
from meterseal.wire import encode
from meterseal.wire.decode import decode
from tests.scenarios.building import DAY, HOUR, LOST, MINUTE, Building, Place

JUNE = 1_780_243_200_000  # 2026-06-01 00:00 in Shanghai
YEAR = 365


def plan_of(dwellings: int, days: int, risers: int) -> StreetPlan:
    """The plan's own incidents are left to the street; here the test does to meters what is done to them."""
    plan = make_plan(
        until=JUNE + days * DAY, days=days, dwellings=dwellings, risers=risers, seed=21, weather=4
    )
    meters = tuple(
        replace(meter, gaps=(), incidents=(), battery_low=False, drift=meter.drift) for meter in plan.meters
    )
    return replace(plan, meters=meters)


def shown_by(place: Place, now: int) -> str:
    """The register as somebody at the wall reads it off the meter, over its bus."""
    di = 0x901F if place.meter.protocol == "cjt188" else 0x00010000
    answer = place.meter.handle(encode.read_request(place.device, di), now, clear=True)
    assert answer is not None
    readings = decode(answer.encode().hex()).answer["readings"]
    names = ("cumulative_energy", "cumulative_volume", "forward_active_energy")
    return str(next(readings[name]["value"] for name in names if name in readings))


def without_power(building: Building, places: list[Place], begin: int, hours: int) -> None:
    """Electronics without battery or mains from half past `begin` for some hours."""
    building.live_until(begin)
    for place in places:
        place.happens(BatteryOut(), building.now + 30 * MINUTE)
    building.live_hours(hours)
    for place in places:
        place.happens(BatteryIn(fresh=True), building.now + 30 * MINUTE)
    building.live_until(0)


def play(building: Building, days: int) -> None:
    """A year's troubles, spread over `days`: outages, opened covers, a way that is cut, another concentrator, swaps."""
    plan, quarter = building.plan, days // 4
    closing = [place for place in building.standing if place.planned.medium in ("gas", "electricity")]
    turning = [place for place in building.standing if place.planned.medium in ("water", "heat")]

    building.live(quarter)
    without_power(building, closing[::3], 21, 6)  # over midnight: nothing is used without gas and mains
    without_power(building, turning[::5], 9, 5)  # water and heat go on, and the transducers turn

    building.live_hours(11)
    for place in building.standing[1::9]:
        place.happens(Opened(), building.now + MINUTE)
        place.happens(Opened(open=False), building.now + 40 * MINUTE)
    building.live_until(0)

    building.reachable = False
    building.live(min(12, quarter))
    building.replace_concentrator(2)
    building.reachable = True
    building.live_hours(24 + 10)

    for count, place in enumerate(building.standing[3::11]):
        assert shown_by(place, building.now + MINUTE) == f"{place.register / 100:.2f}"
        number = bytes.fromhex(f"{99_000_000 + count:08d}")
        building.swap(place, place.device[: -len(number)] + number)
    building.live_until(0)
    building.live((plan.until - building.now) // DAY)


def check(building: Building) -> None:
    """Everything that was delivered was true as it came (`building.Arrived`); here, that it was all of it."""
    end = building.plan.until
    assert building.now == end
    for place in [*building.standing, *building.removed]:
        last = max(place.midnights)
        assert building.arrived.hours[place.device] == b"\x01" * ((last - place.installed) // HOUR)
        assert building.proved.registers[place.device] == place.midnights[last]
        assert building.arrived.alarmed.get(place.device, set()) == place.tampered
        assert last == end or place in building.removed
    for place in building.standing:
        assert shown_by(place, end + MINUTE) == f"{place.register / 100:.2f}"
    assert sum(bool(place.tampered) for place in building.standing) > 2
    assert {place.planned.medium for place in building.removed} >= {"water", "gas"}
    assert sum(place.truth.count(LOST) > 0 for place in building.standing) > 5
    assert sum(place.wheel[0] > 1_000_000 for place in building.standing) > len(building.standing) // 2


def test_a_building_goes_through_its_troubles_and_every_register_is_true() -> None:
    """Forty meters; a whole year of a thousand is the same under `make soak`."""
    building = Building(plan_of(10, 36, 3))
    play(building, 36)
    check(building)


@pytest.mark.soak
@pytest.mark.timeout(7_200)
def test_a_building_of_a_thousand_meters_through_a_year() -> None:
    building = Building(plan_of(250, YEAR, 12))
    began = time.monotonic()
    play(building, YEAR)
    check(building)
    assert len(building.arrived.hours) == 1_000 + len(building.removed)
    assert sum(map(len, building.arrived.hours.values())) > 8_700_000
    assert time.monotonic() - began < 7_000
