"""Retention as a utility states it: nothing goes without a rule, what is needed is held, and a run is written down."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from meterseal.app.operator import Text
from meterseal.app.retaining import HoldReadings, RetentionDesk, RunRetention, SetRetention, SetRuns
from meterseal.control import acts, write
from meterseal.control.tables import point_facts
from meterseal.errors import LocalError
from meterseal.mdms.entries import Entry
from meterseal.mdms.export.handover import State, deliver
from meterseal.mdms.export.receiving import check
from meterseal.mdms.export.series import Since
from meterseal.mdms.facts import Fact
from meterseal.mesh.rpc import OPERATOR, Empty, InProcess
from meterseal.model import MAIN
from meterseal.things.fleet import Fleet
from tests.mdms.fleet import DAY, FIRST, HOUR, batches, days, device, keys, open_store, point
from tests.mdms.test_store_contract import bulk_of

METERS, DAYS = 4, 4
NOW = FIRST + 900 * DAY
EVER = 1 << 45


class Desk:
    """A store of long ago with its desk."""

    def __init__(self, root: Path, meters: int = 0) -> None:
        self.root = root
        self.mdms, self.engine = open_store(root, meters)
        self.now = NOW
        fleet = Fleet(self.engine, lambda: self.now)
        self.desk = RetentionDesk(self.engine, self.mdms, fleet, keys(), lambda: self.now)
        self.rpc = InProcess(self.desk.methods(), OPERATOR)

    async def call(self, method: str, request: Struct) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((await self.rpc.call(method, request, Text)).json)
        return found

    async def rule(
        self, medium: Any, intervals: int, days_: int = 0, channels: Any = "main"
    ) -> dict[str, Any]:
        asked = SetRetention(
            medium=medium,
            channels=channels,
            intervals=intervals,
            days=days_,
            author="li",
            reason="by the order of 2026",
        )
        return await self.call("retention_set", asked)

    async def run(self) -> dict[str, Any]:
        await self.call("retention_run", RunRetention(author="wang"))
        found = await self.over()
        assert found["error"] is None, found
        done: dict[str, Any] = found["done"]
        assert done["months"] == found["months"]
        assert found["through"] == found["of"]
        return done

    async def over(self) -> dict[str, Any]:
        """What a run says once it is over."""
        while (found := await self.call("retention_progress", Empty()))["running"]:
            await asyncio.sleep(0.01)
        return found

    def count(self, number: int) -> int:
        return len(self.mdms.registers(point(number), MAIN, 0, NOW).end_at)

    async def close(self) -> None:
        await self.desk.close()
        await self.mdms.close()
        self.engine.dispose()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(tmp_path, METERS + 1)
    for records in days(METERS, DAYS):
        for batch in batches(records, 8):
            await made.mdms.publish(batch)
    await made.mdms.settle()
    await made.mdms.append(bulk_of(METERS, 24 * 899, [1], received_at=NOW))  # time has gone on
    yield made
    await made.close()


WHOLE = 24 * DAYS
LEFT = DAYS + 2
"""A register a day, and the first of each of the two months of UTC; the day that is in both has two."""


async def test_nothing_goes_without_a_rule(desk: Desk) -> None:
    for found in (await desk.call("retention_try", Empty()), await desk.run()):
        assert (found["rollups"], found["rows"]) == ([], 0)
    assert [desk.count(number) for number in range(METERS)] == [WHOLE] * METERS
    shown = await desk.call("retention_show", Empty())
    assert shown == {"rules": [], "holds": [], "rollups": []}


async def test_a_try_says_what_a_run_takes_and_the_run_takes_just_that(desk: Desk) -> None:
    await desk.rule("water", 800)
    tried = await desk.call("retention_try", Empty())
    assert desk.count(0) == WHOLE
    done = await desk.run()
    assert (done["rows"], done["readings"]) == (tried["rows"], tried["readings"])
    assert [(one["month"], one["rows"]) for one in done["months"]] == [
        (one["month"], one["rows"]) for one in tried["months"]
    ]
    assert desk.count(0) == LEFT + 1
    assert desk.count(1) == WHOLE
    shown = await desk.call("retention_show", Empty())
    (one,) = shown["rollups"]
    assert (one["medium"], one["channels"], one["level"], one["done"]) == ("water", "main", "day", True)
    assert one["readings"] == WHOLE - LEFT - 1
    assert (await desk.run())["rollups"] == []
    said = [(act.actor, act.act, act.subject) for act in acts.verified(desk.engine)]
    assert said == [("li", "retention-rule", "water/main"), ("wang", "retention-run", "water/main/day")]


async def test_the_register_at_which_a_multiplier_changed_stays(desk: Desk) -> None:
    turn = FIRST + 2 * DAY + 5 * HOUR
    await desk.mdms.state([Fact(usage_point=point(1), kind="multiplier", value="40", since=turn)], NOW)
    await desk.rule("gas", 800)
    await desk.run()
    assert turn in desk.mdms.registers(point(1), MAIN, 0, NOW).end_at
    assert desk.count(1) < WHOLE


async def test_the_registers_at_which_a_plant_came_and_went_stay(desk: Desk) -> None:
    turns = [FIRST + 2 * DAY + 5 * HOUR, FIRST + 3 * DAY + 7 * HOUR]
    said = {"usage_point": point(1), "channel": MAIN, "kind": "plant", "value": "5", "recorded_at": NOW}
    with write(desk.engine) as connection:
        connection.execute(point_facts.insert().values(since=turns[0], until=turns[1], **said))
    await desk.rule("gas", 800)
    await desk.run()
    assert set(turns) <= set(desk.mdms.registers(point(1), MAIN, 0, NOW).end_at.tolist())
    assert desk.count(1) < WHOLE


@pytest.mark.parametrize(
    ("intervals", "days_", "code"),
    [
        (799, 0, "retention.short"),
        (-1, 0, "retention.short"),
        (800, 820, "retention.order"),
        (0, 900, "retention.order"),
    ],
)
async def test_a_rule_that_bills_or_estimates_would_miss_is_refused(
    desk: Desk, intervals: int, days_: int, code: str
) -> None:
    with pytest.raises(LocalError) as caught:
        await desk.rule("water", intervals, days_)
    assert caught.value.code == code


async def test_a_rule_or_run_of_nobody_or_without_a_reason_is_refused(desk: Desk) -> None:
    rule = SetRetention(
        medium="gas", channels="main", intervals=800, days=0, author=" ", reason="a good reason"
    )
    hold = HoldReadings(device_id=device(1), author="li", reason="x")
    for method, request in (
        ("retention_set", rule),
        ("retention_hold", hold),
        ("retention_run", RunRetention(author="")),
    ):
        with pytest.raises(LocalError) as caught:
            await desk.call(method, request)
        assert caught.value.code == "retention.reason"


async def test_a_held_usage_point_a_waiting_bill_and_a_waiting_edit_keep_their_readings(desk: Desk) -> None:
    await desk.rule("gas", 800)
    await desk.rule("heat", 800)
    hold = HoldReadings(device_id=device(1), author="li", reason="court of 3 May")
    await desk.call("retention_hold", hold)
    raw = desk.engine.raw_connection()
    try:
        raw.driver_connection.execute(  # type: ignore[union-attr]
            "INSERT INTO edits (id, usage_point, channel, since, until, people, state, author, officers, created_at, "
            "sealed_content, key_version, digest) VALUES (1, ?, 1, ?, ?, 2, 'proposed', 'li', '', 0, x'00', 1, x'00')",
            (point(2), FIRST + 2 * DAY, FIRST + 3 * DAY),
        )
        raw.driver_connection.commit()  # type: ignore[union-attr]
    finally:
        raw.close()
    done = await desk.run()
    assert {(one["usage_point"], one["why"]) for one in done["held"]} >= {
        (point(1), "held"),
        (point(2), "edit waits"),
    }
    assert desk.count(1) == WHOLE
    hours = ((desk.mdms.registers(point(2), MAIN, 0, NOW).end_at - FIRST) // HOUR).tolist()
    assert hours == [1, 7, 8, 24, *range(25, WHOLE + 1)]
    await desk.call(
        "retention_hold", HoldReadings(device_id=device(1), author="li", reason="it is over", released=True)
    )
    desk.now += DAY
    await desk.mdms.append(bulk_of(METERS, 24 * 901, [2], received_at=desk.now))
    await desk.run()
    assert desk.count(1) == LEFT + 1


async def test_what_an_end_of_the_process_left_is_taken_away_at_the_next_start(desk: Desk) -> None:
    await desk.rule("electricity", 800)
    wanted, _ = desk.desk._plan.planned("li")
    await desk.mdms._committer.entry(Entry(rolled=tuple(wanted)))  # it holds, and nothing was taken yet
    assert desk.count(3) == WHOLE
    await desk.close()
    again = Desk(desk.root)
    assert again.count(3) == WHOLE
    await again.desk.finish()
    await again.over()
    assert again.count(3) == LEFT + 1
    shown = await again.call("retention_show", Empty())
    assert [one["done"] for one in shown["rollups"]] == [True]
    await again.close()
    desk.mdms, desk.engine = open_store(desk.root)


async def test_who_asks_while_a_run_is_under_way_follows_it_and_begins_no_other(desk: Desk) -> None:
    await desk.rule("water", 800)
    first = await desk.call("retention_run", RunRetention(author="wang"))
    second = await desk.call("retention_run", RunRetention(author="zhao"))
    assert (first["running"], second["running"], second["author"]) == (True, True, "wang")
    await desk.over()
    shown = await desk.call("retention_show", Empty())
    assert [(one["author"], one["done"]) for one in shown["rollups"]] == [("wang", True)]
    assert desk.count(0) == LEFT + 1


async def test_a_run_that_ends_with_the_system_is_finished_by_the_next_start(desk: Desk) -> None:
    await desk.rule("water", 800)
    await desk.call("retention_run", RunRetention(author="wang"))
    for _ in range(3):
        await asyncio.sleep(0)
    await desk.close()
    again = Desk(desk.root)
    await again.desk.finish()
    found = await again.over()
    assert found["error"] is None
    # Cut off before it was in the journal it is nobody's, and else it is done now.
    assert again.count(0) == (LEFT + 1 if list(again.mdms._state.rolled) else WHOLE)
    assert not again.mdms.rollups.unfinished()
    await again.close()
    desk.mdms, desk.engine = open_store(desk.root)


async def test_what_ends_a_run_is_said_to_who_follows_it(desk: Desk) -> None:
    await desk.rule("water", 800)
    await desk.mdms.compact()
    (path,) = (
        desk.mdms._directory / "segments" / one.path
        for one in desk.mdms.segments()
        if one.medium == "water"
        and one.rows == max(s.rows for s in desk.mdms.segments() if s.medium == "water")
    )
    content = path.read_bytes()
    path.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    await desk.call("retention_run", RunRetention(author="wang"))
    found = await desk.over()
    assert (found["running"], found["done"], found["error"]["code"]) == (False, None, "mdms.segment-damaged")
    path.write_bytes(content)  # restored: the next run takes what was left
    assert (await desk.run())["readings"] > 0
    assert desk.count(0) == LEFT + 1


async def test_runs_go_by_their_rule_and_who_asks_for_one_is_told_so(desk: Desk) -> None:
    for number, at in enumerate((NOW - 500 * DAY, NOW - 450 * DAY, NOW - 300 * DAY), 1):
        await desk.mdms.append(bulk_of(0, WHOLE + 24 * number, [9_000], received_at=NOW))
        assert (await desk.mdms.run_vee(at)).number == number
    for days_, code in ((399, "retention.short"), (-1, "retention.short")):
        with pytest.raises(LocalError) as caught:
            await desk.call("retention_runs", SetRuns(days=days_, author="li", reason="disk is dear"))
        assert caught.value.code == code
    assert (await desk.run())["runs"] == 0
    shown = await desk.call("retention_runs", SetRuns(days=400, author="li", reason="disk is dear"))
    assert [(one["subject"], one["intervals"]) for one in shown["rules"]] == [("runs", 400)]
    assert (await desk.call("retention_try", Empty()))["runs"] == 2
    assert [one.number for one in desk.mdms.runs.latest()] == [3, 2, 1]
    assert (await desk.run())["runs"] == 2
    assert [one.number for one in desk.mdms.runs.latest()] == [3]
    for number, code in ((1, "vee.run-gone"), (2, "vee.run-gone"), (4, "vee.no-run"), (0, "vee.no-run")):
        with pytest.raises(LocalError) as caught:
            desk.mdms.replay(number)
        assert caught.value.code == code
    assert desk.mdms.replay(3).readings
    # The newest stays however old it is, for numbers go on from it.
    desk.now += 500 * DAY
    await desk.mdms.append(bulk_of(METERS, 24 * 1399, [2], received_at=desk.now))
    assert (await desk.run())["runs"] == 0
    assert (await desk.mdms.run_vee(desk.now)).number == 4
    assert (await desk.run())["runs"] == 1
    said = [(act.actor, act.subject) for act in acts.verified(desk.engine) if act.act == "retention-run"]
    assert said == [("wang", "runs"), ("wang", "runs")]


async def test_a_clock_that_runs_ahead_takes_nothing_away(desk: Desk) -> None:
    await desk.rule("electricity", 900 + 10)
    desk.now += 3650 * DAY
    assert (await desk.call("retention_try", Empty()))["rows"] == 0


async def test_deliveries_to_a_warehouse_still_prove_complete_after_a_roll_up(
    desk: Desk, tmp_path: Path
) -> None:
    def delivered(entries: Since) -> Any:
        yield desk.mdms.page(0, EVER, None, None, None, entries)

    async def hand_over(root: Path) -> None:
        store_id, sequence = desk.mdms.position()
        removed = desk.mdms.rollups.readings()
        deliver(root, store_id, sequence, delivered, NOW, lambda _: State(removed))

    await hand_over(tmp_path / "old")
    await desk.rule("water", 800)
    await desk.run()
    await hand_over(tmp_path / "old")
    await hand_over(tmp_path / "new")
    assert check(tmp_path / "old").distinct == WHOLE * METERS + 1
    assert check(tmp_path / "new").distinct == WHOLE * (METERS - 1) + LEFT + 2


async def test_a_try_says_how_many_months_it_looked_at(desk: Desk) -> None:
    await desk.rule("water", 800)
    assert (await desk.call("retention_progress", Empty()))["tried"] == [0, 0]
    found = await desk.call("retention_try", Empty())
    through, of = (await desk.call("retention_progress", Empty()))["tried"]
    assert through == of >= len(found["months"]) >= 1
