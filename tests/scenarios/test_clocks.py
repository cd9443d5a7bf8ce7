"""Clocks of plain meters that fall back an hour, from the meter on its bus to what an operator sees, and back to good."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meterseal.app import operator
from meterseal.app.alarming import Alarms, Since
from meterseal.app.validation import FactsQuery, FindingsQuery
from meterseal.edge.schedule import MINUTE, Schedule
from meterseal.things.clocks import AFTER_SETTING, EVERY, PREFIX, STANDS_FOR
from tests.scenarios.small_system import ELECTRIC, HOUR
from tests.scenarios.small_system import WATER as SEALED
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
        await self.centre.parts.mdms.settle()
        shown = await self.desk.call("facts", FactsQuery(usage_point=usage_point), operator.Text)
        rows = msgspec.json.decode(shown.json)["facts"]
        values = [row["value"].split("..") for row in rows if row["fact"] == "clock"]
        return [(float(least), float(most)) for least, most in values]

    async def until_measured(self, usage_point: str, count: int) -> list[tuple[float, float]]:
        """A word is settled a little before what its answer says of the clock is kept."""
        for _ in range(4_000):
            found = await self.measured(usage_point)
            if len(found) >= count:
                return found
            await self.turn()
        raise AssertionError(f"Of {usage_point} nothing more was measured than {found}.")


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
    # The readings of POWER stand at the concentrator's time.
    for device_id, doubted in ((WATER, 1), (POWER, 0)):
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
    (least, most), (_, lagged), (good, again) = await system.until_measured(usage_point, 3)
    assert least <= 0 <= most
    assert lagged <= -3_590
    assert -5 <= good <= 0 <= again <= 5
    assert len(await system.found(WATER)) == 1  # it is said once


async def test_a_meter_with_a_module_is_asked_for_its_clock_once_a_week_and_a_new_session_sets_it(
    system: Timed,
) -> None:
    clocks = system.centre.parts.clocks
    await system.until(lambda: system.agent(SEALED).phase == "open", "a session")
    assert await clocks.turn() == 3
    assert await clocks.turn() == 0
    sealed, electric = [await point_of(system, one) for one in (SEALED, ELECTRIC)]
    for usage_point in (sealed, electric):
        ((least, most),) = await system.until_measured(usage_point, 1)
        assert least <= 0 <= most, (least, most)
    meter = system.nodes[SEALED].meter
    meter.set_clock(meter.clock(system.clock.now) - HOUR, system.clock.now)
    assert await clocks.turn() == 0  # not before a week has passed
    system.clock.now += EVERY
    assert await clocks.turn() == 3
    _, (_, most) = await system.until_measured(sealed, 2)
    assert -3_601 <= most <= -3_500, most
    await system.until(
        lambda: abs(meter.clock(system.clock.now) - system.clock.now) <= 1_000, "a set clock", turns=4_000
    )
    system.clock.now += AFTER_SETTING
    assert await clocks.turn() == 1
    *_, (least, most) = await system.until_measured(sealed, 3)
    assert least <= 0 <= most, (least, most)
    system.centre.parts.words.sweep(PREFIX, system.clock.now + STANDS_FOR)
    assert [one for one in system.centre.parts.words.latest(device_id=SEALED) if one.kind == "request"] == []


async def point_of(system: Timed, device_id: bytes) -> str:
    places = system.centre.parts.mdms.places(device_id)
    return places[-1].usage_point
