"""One order for many meters, from the dry run to what each meter answered; limits, cancel and stops on the way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from meterseal.app.bulking import BulkQuery, Filter, Plan, PlanBulk, Progresses
from meterseal.errors import LocalError, MetersealError, TrustError
from meterseal.security.keyorders import Rotate, Rotated
from meterseal.security.orders import (
    BulkOrder,
    BulkPart,
    CommandPolicyChange,
    Done,
    SignedBulk,
    SignedOrder,
    encoded,
    fresh_request_id,
    sign,
)
from meterseal.things.bulk import Progress
from tests.scenarios.small_system import DAY, ELECTRIC, GAS, HOUR, MASTER, PROJECT, WATER, System
from tests.security.conftest import cheap_stretching

__all__ = ["cheap_stretching"]
STRANGER = bytes.fromhex("1078330011229999")


@pytest.fixture
async def system(tmp_path: Path, cheap_stretching: None) -> AsyncIterator[System]:
    made = System(tmp_path)
    await made.start()
    yield made
    await made.centre.stop()


async def planned(system: System, act: str, which: Filter, **said: str) -> Plan:
    asked = PlanBulk(act=act, said=said, which=which, ser=7, until=system.clock.now + HOUR)  # type: ignore[arg-type]
    return await system.desk.call("bulk_plan", asked, Plan)


def signed(system: System, act: str, parts: tuple[BulkPart, ...], lasts: int = HOUR) -> SignedBulk:
    order = encoded(
        BulkOrder(
            request_id=fresh_request_id(),
            not_after=system.clock.now + lasts,
            project_id=PROJECT,
            act=act,
            reason="a new tariff year",
            parts=parts,
        )
    )
    by = (("li", system.officer), ("wang", system.other_officer))
    return SignedBulk(
        order=order, signatures=tuple(sign(name, key, "command-bulk", order) for name, key in by)
    )


async def started(system: System, asked: SignedBulk) -> Progress:
    return await system.desk.call("bulk_start", asked, Progress)


async def shown(system: System, bulk_id: int) -> Progress:
    return (await system.desk.call("bulk_orders", BulkQuery(bulk_id=bulk_id), Progresses)).orders[0]


async def until(system: System, bulk_id: int, outcomes: dict[str, int]) -> Progress:
    for _ in range(2_000):
        found = await shown(system, bulk_id)
        if found.outcomes == outcomes:
            return found
        await system.turn()
    raise AssertionError(f"The order came to {found.outcomes}.")


async def limits(system: System, **other: int) -> None:
    plain: dict[str, Any] = {"signatures": 1, "per_zone_minute": 60, "per_minute": 600}
    always = {
        "request_id": fresh_request_id(),
        "not_after": system.clock.now + HOUR,
        "project_id": PROJECT,
    }
    raw = encoded(CommandPolicyChange(**always, **{**plain, **other}))  # type: ignore[arg-type]
    by = (("li", system.officer), ("wang", system.other_officer))
    order = SignedOrder(
        purpose="command-policy",
        request=raw,
        signatures=tuple(sign(name, key, "command-policy", raw) for name, key in by),
    )
    await system.centre.service_call("submit", order, Done)


async def test_one_order_sets_the_settlement_day_of_every_meter_once(system: System) -> None:
    await system.settle()
    plan = await planned(system, "settlement-day", Filter(everything=True), day="15")
    assert sorted(one for part in plan.parts for one in part.device_ids) == sorted((WATER, GAS, ELECTRIC))
    assert (plan.skipped, plan.officers, plan.most, plan.minutes) == ((), 1, 5000, 1)
    asked = signed(system, "settlement-day", plan.parts)
    begun = await started(system, asked)
    assert (begun.state, begun.outcomes) == ("running", {"pending": 3})
    await system.centre.parts.bulks.step()
    done = await until(system, begun.id, {"done": 3})
    assert (done.state, done.officers, done.reason) == ("ended", ("li", "wang"), "a new tariff year")
    assert {node.meter.state.parameters.settlement_day for node in system.nodes.values()} == {15}
    assert (await started(system, asked)).id == begun.id
    await system.centre.parts.bulks.step()
    words = system.centre.parts.words.latest()
    assert [(one.act, one.officers, one.bulk_id) for one in words] == [
        ("settlement-day", ("li", "wang"), begun.id)
    ] * 3


async def test_a_dry_run_names_whom_it_leaves_out_and_says_nothing_to_anybody(system: System) -> None:
    which = Filter(device_ids=(WATER, ELECTRIC, STRANGER))
    plan = await planned(system, "reading-day", which, day="2")
    assert [part.device_ids for part in plan.parts] == [(WATER,)]
    assert {one.device_id: one.code for one in plan.skipped} == {
        ELECTRIC: "use.act",
        STRANGER: "fleet.unknown",
    }
    assert system.centre.parts.words.counts() == {}
    assert (await planned(system, "valve-open", Filter(medium="gas"))).parts == ()
    by_filter = {
        "medium": Filter(medium="gas"),
        "model": Filter(model="gas-generic"),
        "zone and list": Filter(zone="default", device_ids=(GAS,)),
        "concentrator": Filter(concentrator_id=MASTER, medium="gas"),
    }
    for name, one in by_filter.items():
        (part,) = (await planned(system, "valve-permit", one)).parts
        assert part.device_ids == (GAS,), name
    for empty in (Filter(zone="elsewhere"), Filter(concentrator_id=WATER), Filter(model="none")):
        assert (await planned(system, "valve-close", empty)).parts == ()


REFUSED: list[tuple[str, Filter, dict[str, str], str]] = [
    ("settlement-day", Filter(), {"day": "1"}, "command.filter"),
    ("settlement-day", Filter(everything=True), {"day": "31"}, "use.fields"),
    ("purchase", Filter(everything=True), {"serial": "1", "amount": "1"}, "command.bulk"),
    ("write", Filter(everything=True), {}, "command.bulk"),
    ("read", Filter(everything=True), {}, "command.bulk"),
    ("time", Filter(everything=True), {}, "command.late"),
]


async def test_a_plan_that_nobody_should_sign_is_refused(system: System) -> None:
    for act, which, said, code in REFUSED:
        with pytest.raises(LocalError) as refused:
            await planned(system, act, which, **said)
        assert refused.value.code == code, act


async def test_valves_close_as_fast_as_their_zone_may_and_no_faster(system: System) -> None:
    await system.settle()
    await limits(system, supply_per_zone_minute=1)
    plan = await planned(system, "valve-close", Filter(device_ids=(WATER, GAS)))
    assert (plan.officers, plan.most, plan.minutes) == (2, 200, 2)
    begun = await started(system, signed(system, "valve-close", plan.parts))
    step = system.centre.parts.bulks.step
    await step()
    await step()
    assert (await shown(system, begun.id)).outcomes == {"pending": 1, "waiting": 1}
    system.clock.now += 60_000
    await step()
    await until(system, begun.id, {"done": 2})
    assert [system.nodes[one].meter.state.valve for one in (WATER, GAS)] == ["closed", "closed"]


async def test_what_was_not_sent_is_taken_back_and_what_was_stays(system: System) -> None:
    await system.settle()
    await limits(system, supply_per_zone_minute=1)
    plan = await planned(system, "valve-close", Filter(device_ids=(WATER, GAS)))
    begun = await started(system, signed(system, "valve-close", plan.parts))
    await system.centre.parts.bulks.step()
    await until(system, begun.id, {"pending": 1, "done": 1})
    ended = await system.desk.call("bulk_cancel", BulkQuery(bulk_id=begun.id), Progress)
    assert (ended.state, ended.outcomes) == ("cancelled", {"cancelled": 1, "done": 1})
    system.clock.now += 60_000
    await system.centre.parts.bulks.step()
    assert (await shown(system, begun.id)).outcomes == {"cancelled": 1, "done": 1}
    closed = [one for one in (WATER, GAS) if system.nodes[one].meter.state.valve == "closed"]
    assert len(closed) == 1


async def test_a_word_that_waits_for_a_silent_meter_is_taken_back_too(system: System) -> None:
    plan = await planned(system, "valve-close", Filter(device_ids=(WATER,)))
    begun = await started(system, signed(system, "valve-close", plan.parts))
    await system.centre.parts.bulks.step()
    ended = await system.desk.call("bulk_cancel", BulkQuery(bulk_id=begun.id), Progress)
    assert ended.outcomes == {"withdrawn": 1}
    await system.settle()
    assert system.nodes[WATER].meter.state.valve == "open"


async def test_a_stop_between_authorisation_and_queue_tells_nobody_twice(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    await system.settle()
    plan = await planned(system, "settlement-day", Filter(everything=True), day="9")
    begun = await started(system, signed(system, "settlement-day", plan.parts))
    bulks = system.centre.parts.bulks
    queue, queued = bulks._queue, 0

    async def stops(*asked: Any) -> None:
        nonlocal queued
        queued += 1
        if queued > 1:
            raise RuntimeError("the process stops here")
        await queue(*asked)

    monkeypatch.setattr(bulks, "_queue", stops)
    with pytest.raises(RuntimeError):
        await bulks.step()
    assert (await shown(system, begun.id)).outcomes == {"pending": 2, "waiting": 1}
    await system.centre.restart()
    system.move_to(0)
    await system.centre.parts.bulks.step()
    await until(system, begun.id, {"done": 3})
    numbers = [one.number for one in system.centre.parts.words.latest()]
    assert numbers == [1, 1, 1]


async def test_an_order_whose_time_is_over_reaches_nobody_more(system: System) -> None:
    await limits(system, per_zone_minute=1)
    plan = await planned(system, "settlement-day", Filter(everything=True), day="9")
    begun = await started(system, signed(system, "settlement-day", plan.parts))
    await system.centre.parts.bulks.step()
    system.clock.now += 2 * HOUR
    await system.centre.parts.bulks.step()
    over = await shown(system, begun.id)
    assert (over.state, over.outcomes) == ("ended", {"skipped": 2, "expired": 1})
    assert {one.code for one in over.skipped} == {"security.expired"}


async def test_a_waiting_command_of_an_order_moves_to_the_modules_new_key(system: System) -> None:
    await system.settle()
    plan = await planned(system, "settlement-day", Filter(device_ids=(WATER,)), day="9")
    begun = await started(system, signed(system, "settlement-day", plan.parts, lasts=DAY))
    system.cut = True
    await system.centre.parts.bulks.step()
    await system.centre.service_call("rotate", Rotate(kind="diak"), Rotated)
    await system.centre.parts.rollout.run()
    for _ in range(20):
        await system.turn()
    system.cut = False
    counts = system.centre.parts.words.counts
    await system.until(lambda: counts().get("rekey", {}).get("done", 0) == 4, "new keys", turns=6_000)
    await until(system, begun.id, {"done": 1})
    assert system.chip_state(WATER).key_version == 2
    assert system.nodes[WATER].meter.state.parameters.settlement_day == 9


async def test_a_signed_order_is_held_against_the_rules_of_one_command(system: System) -> None:
    """Whoever made the order: a stranger, and a frame that does something else than the order says, get no word."""
    part = BulkPart(zone="default", control=4, data=b"\x11\xa0\x07\x05", device_ids=(WATER, STRANGER))
    begun = await started(system, signed(system, "settlement-day", (part,)))
    assert begun.outcomes == {"pending": 1, "skipped": 1}
    assert [(one.device_id, one.code) for one in begun.skipped] == [(STRANGER, "fleet.unknown")]
    wrong = BulkPart(zone="default", control=4, data=b"\x17\xa0\x07\x99", device_ids=(WATER,))
    assert (await started(system, signed(system, "settlement-day", (wrong,)))).outcomes == {"skipped": 1}
    opened = BulkPart(zone="default", control=4, data=b"\x17\xa0\x07\x55", device_ids=(GAS,))
    gas = await started(system, signed(system, "valve-open", (opened,)))
    assert [one.code for one in gas.skipped] == ["command.gas-valve"]


async def test_an_order_that_the_service_refuses_leaves_nothing_behind(system: System) -> None:
    plan = await planned(system, "valve-close", Filter(device_ids=(WATER,)))
    whole = signed(system, "valve-close", plan.parts)
    alone = SignedBulk(order=whole.order, signatures=whole.signatures[:1])
    with pytest.raises(TrustError) as refused:
        await started(system, alone)
    assert refused.value.code == "security.two-persons"
    assert (await system.desk.call("bulk_orders", BulkQuery(), Progresses)).orders == []
    for name in ("bulk_cancel", "bulk_orders"):
        with pytest.raises(MetersealError) as none:
            await system.desk.call(name, BulkQuery(bulk_id=9), Progresses)
        assert none.value.code == "bulk.none"


async def test_orders_are_forgotten_when_their_words_are(system: System) -> None:
    plan = await planned(system, "settlement-day", Filter(device_ids=(WATER,)), day="9")
    first = await started(system, signed(system, "settlement-day", plan.parts))
    system.clock.now += 2 * HOUR
    await system.centre.parts.bulks.step()
    assert (await shown(system, first.id)).outcomes == {"skipped": 1}
    system.clock.now += 399 * DAY
    second = await started(system, signed(system, "settlement-day", plan.parts))
    assert (await shown(system, first.id)).id == first.id
    system.clock.now += 2 * DAY
    third = await started(system, signed(system, "settlement-day", plan.parts))
    listed = (await system.desk.call("bulk_orders", BulkQuery(), Progresses)).orders
    assert [one.id for one in listed] == [third.id, second.id]
