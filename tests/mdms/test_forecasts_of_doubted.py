"""What forecasts take in of a store: what stands of it after validation and people, and not what was delivered."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from meterseal.mdms.editing import Wish
from meterseal.mdms.facts import Fact
from meterseal.mdms.forecast_uses import Shown, Uses
from meterseal.mdms.service import Mdms
from meterseal.model import EXPORT, MAIN, Batch, Series
from tests.mdms.fleet import DAY, FIRST, HOUR, day_record, device, open_store, point
from tests.mdms.test_editing import made
from tests.mdms.test_fed_in import POWER, count, noon

NOW = FIRST + 90 * DAY
HOURS = 240
HIGH, TWICE = range(100, 104), range(150, 155)
"""Hours whose readings stand far above those after them; and in which the register ran away and stayed."""


async def told(root: Path) -> Mdms:
    """Ten litres each hour, some readings wrong, all judged."""
    mdms, _ = open_store(root, 1)
    registers = [hour + sum(2_000 for ran in TWICE if ran < hour) for hour in range(HOURS + 1)]
    for hour in HIGH:
        registers[hour] += 50_000
    series = (Series(device(0), MAIN, "m3", -2, FIRST, HOUR, tuple(registers)),)
    record = msgspec.structs.replace(day_record(0, 0, 1), series=series, received_at=FIRST + 80 * DAY)
    await mdms.publish(Batch((record,)))
    await mdms.run_vee(NOW)
    return mdms


def hours(mdms: Mdms) -> list[float]:
    sizes = mdms.facts.sizes()
    uses = Uses(Shown(mdms._store), mdms.words, {}, {}, sizes)
    (found,) = uses.scan("water", FIRST, HOURS)
    return [round(used, 2) for used in found[MAIN].use[:, 0].tolist()]


async def test_readings_that_validation_doubts_are_not_known_and_neither_are_estimates(
    tmp_path: Path,
) -> None:
    mdms = await told(tmp_path)
    found = hours(mdms)
    assert [hour for hour, used in enumerate(found) if math.isnan(used)] == list(range(99, 104))
    assert {used for hour, used in enumerate(found) if hour not in range(99, 104) and hour not in TWICE} == {
        0.01
    }
    await mdms.close()
    mdms, _ = open_store(tmp_path)
    assert str(hours(mdms)) == str(found)
    await mdms.close()


async def test_what_a_person_edited_counts_as_edited(tmp_path: Path) -> None:
    mdms = await told(tmp_path)
    at = FIRST + 103 * HOUR
    await made(mdms, Wish(usage_point=point(0), since=at, until=at, register="1.02"), NOW)
    assert hours(mdms)[103] == 0.02
    await mdms.close()


async def test_what_no_connection_of_that_size_lets_pass_is_not_known(tmp_path: Path) -> None:
    mdms = await told(tmp_path)
    assert [hours(mdms)[hour] for hour in TWICE] == [20.01] * len(TWICE)
    mdms.facts.put([Fact(usage_point=point(0), kind="size", value="2.5")], NOW)
    assert all(math.isnan(hours(mdms)[hour]) for hour in TWICE)
    await mdms.close()


async def test_what_a_plant_feeds_in_is_not_bounded_by_what_the_connection_carries_for_use(
    tmp_path: Path,
) -> None:
    mdms, _ = open_store(tmp_path, 4)
    sunny = range(60, 63)
    for channel in (MAIN, EXPORT):
        await count(mdms, POWER, channel, lambda hour: 500 if hour in sunny else noon(hour, 200))
    mdms.facts.put([Fact(usage_point=point(POWER), kind="size", value="3")], NOW)
    (found,) = Uses(Shown(mdms._store), mdms.words, {}, {}, mdms.facts.sizes()).scan(
        "electricity", FIRST, HOURS
    )
    used, fed = (found[channel].use[:, 0] for channel in (MAIN, EXPORT))
    assert [hour for hour, one in enumerate(used.tolist()) if math.isnan(one)] == list(sunny)
    assert fed[sunny.start : sunny.stop].tolist() == [5.0] * len(sunny)
    await mdms.close()
