"""Clocks of plain meters that fall back an hour, from the meter on its bus to what an operator sees, and back to good."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meterseal.app import operator
from meterseal.app.commanding import Alarms, Since
from meterseal.app.judging import FactsQuery, FindingsQuery
from meterseal.edge.schedule import MINUTE, Schedule
from tests.scenarios.small_system import HOUR
from tests.scenarios.test_words_to_plain_meters import POWER, WATER, Riser, told
from tests.security.conftest import cheap_stretching

__all__ = ["cheap_stretching"]


class Timed(Riser):
    """The concentrator reads by a schedule, so it knows what time it is."""

    schedule = Schedule(every_minutes=60)

    async def hours(self, number: int) -> None:
        for _ in range(15 * number):
            self.clock.now += 4 * MINUTE
            await self.turn()

    async def found(self, device_id: bytes) -> list[dict[str, Any]]:
        """What an operator is shown of a meter's clock, after the rules looked."""
        await self.desk.call("vee_run", operator.Page(limit=1), operator.Text)
        shown = await self.desk.call("vee_show", FindingsQuery(device_id=device_id), operator.Text)
        rows = msgspec.json.decode(shown.json)
        return [row for row in rows if row["rule"] == "clock-error"]

    async def measured(self, usage_point: str) -> list[tuple[float, float]]:
        shown = await self.desk.call("facts", FactsQuery(usage_point=usage_point), operator.Text)
        rows = msgspec.json.decode(shown.json)["facts"]
        values = [row["value"].split("..") for row in rows if row["fact"] == "clock"]
        return [(float(least), float(most)) for least, most in values]


@pytest.fixture
async def system(tmp_path: Path, cheap_stretching: None) -> AsyncIterator[Timed]:
    made = Timed(tmp_path)
    await made.start()
    await made.ready()
    yield made
    await made.centre.stop()


async def test_clocks_an_hour_behind_are_found_within_a_look_and_good_again_once_an_officer_set_one(
    system: Timed,
) -> None:
    await system.hours(8)
    assert [await system.found(one) for one in (WATER, POWER)] == [[], []]
    assert [code for _, code in await told(system)] == []
    for device_id in (WATER, POWER):
        meter = system.plain[device_id]
        meter.set_clock(meter.clock(system.clock.now) - HOUR, system.clock.now)
    await system.hours(8)
    for device_id, doubted in (
        (WATER, 1),
        (POWER, 0),
    ):  # the readings of POWER stand at the concentrator's time
        (one,) = await system.found(device_id)
        assert one["severity"] == "error"
        assert -3_600 <= one["facts"]["seconds"] <= -3_590, one
        assert one["facts"]["doubted"] == doubted
    assert sorted(await told(system)) == sorted([(WATER, "meter.clock"), (POWER, "meter.clock")])
    alarms = await system.desk.call("alarms", Since(), Alarms)
    assert [(one.alarm, one.count) for one in alarms.alarms if one.code == "meter.clock"] == [("meter", 2)]

    shown = await system.desk.call("vee_show", FindingsQuery(device_id=WATER), operator.Text)
    usage_point = msgspec.json.decode(shown.json)[0]["usage_point"]
    word = await system.until_ended(await system.tell(WATER, "time", lasts=9 * MINUTE))
    assert word.state == "done"
    await system.hours(3)
    (least, most), (_, lagged), (good, again) = await system.measured(usage_point)
    assert least <= 0 <= most
    assert lagged <= -3_590
    assert -5 <= good <= 0 <= again <= 5
    assert len(await system.found(WATER)) == 1  # it is said once
