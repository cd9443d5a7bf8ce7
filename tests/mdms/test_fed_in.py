"""What was fed in, in the store: judged by rules that have a meaning for it, netted where a transformer sees the net."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from meterseal.mdms.export.cim import reading_type
from meterseal.mdms.forecast.sums import ALL, Sums
from meterseal.mdms.multipliers import is_multiplied
from meterseal.mdms.service import Mdms
from meterseal.model import EXPORT, HEAT_VOLUME, MAIN, Batch, Quality, Series
from tests.mdms.fleet import DAY, FIRST, HOUR, day_record, device, open_store, point
from tests.mdms.test_facts import NOW, fact, said

POWER, SUB, OTHER = 3, 7, 11
"""Electricity meters of the fleet."""
DAYS = 20


def noon(hour: int, kwh: int = 100) -> int:
    """Hundredths fed in in an hour: around noon of a local day, nothing at night."""
    return kwh if 9 <= hour % 24 < 15 else 0


async def count(
    mdms: Mdms, number: int, channel: int, use: Callable[[int], int], lost: range = range(0), days: int = DAYS
) -> None:
    """Hourly registers (hundredths of kWh) of a channel, without those of the hours `lost`."""
    total, registers = 5000, []
    for hour in range(days * 24 + 1):
        total += use(hour - 1) if hour else 0
        registers.append(None if hour in lost else total)
    series = Series(device(number), channel, "kWh", -2, FIRST, HOUR, tuple(registers))
    record = day_record(number, 0, 1 + 1000 * channel)
    record = msgspec.structs.replace(record, series=(series,), received_at=FIRST + 80 * DAY)
    await mdms.publish(Batch((record,)))


async def test_nothing_at_night_and_nothing_for_days_are_no_findings_of_what_was_fed_in(
    tmp_path: Path,
) -> None:
    mdms, _ = open_store(tmp_path, 4)
    # A cloudy week, then the sun: of a house that would be zero, stuck, a spike and high use.
    await count(mdms, POWER, EXPORT, lambda hour: noon(hour, 500) if hour > 12 * 24 else 0)
    await mdms.state([fact(POWER, "plant", "6")], NOW)
    await mdms.run_vee(NOW)
    assert mdms.findings(1000, point(POWER)) == []
    await mdms.close()


async def test_what_is_fed_in_without_a_plant_is_found_until_one_is_stated(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 4)
    await count(mdms, POWER, EXPORT, noon)
    await mdms.state([fact(POWER, "plant", "6", FIRST + 10 * DAY, FIRST + 15 * DAY)], NOW)
    first = await mdms.run_vee(NOW)
    assert said(mdms, "feed-in", POWER) == [(0, 24), (15 * 24, 16 * 24)]
    assert mdms.replay(first.number).findings
    await mdms.state([fact(POWER, "plant", "6")], NOW + 1)
    await mdms.run_vee(NOW + 2)
    assert len(said(mdms, "feed-in", POWER)) == 2, "nothing was found anew"
    await mdms.close()


async def test_more_than_the_plant_makes_is_found_and_use_is_judged_by_the_connection(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 4)
    await count(mdms, POWER, EXPORT, lambda hour: 700 if hour == 60 else noon(hour, 500))
    await count(mdms, POWER, MAIN, lambda hour: 700)
    await mdms.state([fact(POWER, "plant", "6")], NOW)
    await mdms.run_vee(NOW)
    (one,) = [found for found in mdms.findings(1000, point(POWER)) if found.rule == "overload"]
    assert (one.channel, (one.since - FIRST) // HOUR) == (EXPORT, 60)
    await mdms.close()


async def test_registers_of_what_was_fed_in_fall_and_are_missed_as_any_others(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 4)
    hole = range(346, 352)
    await count(mdms, POWER, EXPORT, lambda hour: -40 if hour == 440 else noon(hour), lost=hole)
    await mdms.state([fact(POWER, "plant", "6")], NOW)
    await mdms.run_vee(NOW)
    assert {found.rule for found in mdms.findings(1000, point(POWER))} == {
        "gap",
        "negative-step",
        "register-sum",
    }
    there = mdms.registers(point(POWER), EXPORT, FIRST + 345 * HOUR, FIRST + 352 * HOUR)
    assert there.quality.tolist() == [0, *[Quality.ESTIMATED] * 6, 0]
    # Hours 346 to 351 end at 10:00 to 16:00 of a local day: it is spread as on the days around, not as a family uses.
    assert np.diff(there.register).tolist() == [*[100] * 6, 0]
    await mdms.close()


async def test_sub_meters_and_their_main_meter_are_held_against_each_other_net(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 12)
    # One home uses what the other makes: the main meter sees nothing at noon and the rest at all other hours.
    await count(mdms, POWER, MAIN, lambda hour: 0 if noon(hour) else 130)
    await count(mdms, SUB, MAIN, lambda hour: 100 + 30 * (not noon(hour)))
    await count(mdms, OTHER, MAIN, lambda hour: 0)
    await count(mdms, OTHER, EXPORT, noon)
    await mdms.state([fact(one, "main", point(POWER)) for one in (SUB, OTHER)], NOW)
    await mdms.run_vee(NOW)
    assert said(mdms, "sub-meters", POWER) == []
    await mdms.close()


async def test_without_what_was_fed_in_the_same_meters_do_not_add_up(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 12)
    await count(mdms, POWER, MAIN, lambda hour: 0 if noon(hour) else 130)
    await count(mdms, SUB, MAIN, lambda hour: 100 + 30 * (not noon(hour)))
    await count(mdms, OTHER, MAIN, lambda hour: 0)
    await mdms.state([fact(one, "main", point(POWER)) for one in (SUB, OTHER)], NOW)
    await mdms.run_vee(NOW)
    assert len(said(mdms, "sub-meters", POWER)) == DAYS
    await mdms.close()


async def test_a_multiplier_is_of_all_that_an_electricity_meter_counts(tmp_path: Path) -> None:
    assert [is_multiplied("electricity", one) for one in (MAIN, EXPORT)] == [True, True]
    assert [is_multiplied("heat", one) for one in (MAIN, HEAT_VOLUME)] == [True, False]
    mdms, _ = open_store(tmp_path, 4)
    await count(mdms, POWER, EXPORT, noon, days=3)
    await mdms.state([fact(POWER, "multiplier", "40"), fact(POWER, "plant", "30")], NOW)
    (one,) = mdms.page(FIRST, FIRST + 4 * DAY, usage_point=point(POWER)).series
    assert (one.channel, one.multiplier) == (EXPORT, "40")
    await mdms.run_vee(NOW)
    assert len(said(mdms, "overload", POWER)) == 3, "40 kWh an hour of a plant of 30 kW"
    await mdms.close()


def test_cim_says_which_way_the_energy_went() -> None:
    used, fed = (reading_type("electricity", one, "kWh").split(".") for one in (MAIN, EXPORT))
    assert (used[4], fed[4]) == ("1", "19")
    assert used[:4] + used[5:] == fed[:4] + fed[5:]


def test_a_zone_carries_what_its_points_used_less_what_they_fed_in() -> None:
    sums = Sums(3)
    sums.add(["east", "east", "west"], np.array([[1, 2, 3]] * 3, np.float32))
    sums.less(["east", "east"], np.array([[0.5, 0], [4, np.nan], [np.nan, np.nan]], np.float32))
    found = sums.wholes([ALL, "east", "west"])
    # Of the second hour one of two is known, and taken for both; of the third none is, nor is the net.
    np.testing.assert_array_equal(found, [[5.5, 2.5, 3], [-2, -5, 3], [np.nan, np.nan, 3]])
    assert sums.nets([ALL, "east", "west"]).tolist() == [True, True, False]
