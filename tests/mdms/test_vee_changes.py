"""What an operator changes of rules and methods: tried first, kept with who and why, and never felt by the past."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from meterseal.control import acts
from meterseal.control.engine import read
from meterseal.control.tables import vee_changes, vee_trials
from meterseal.errors import DataError, LocalError
from meterseal.mdms.facts import Fact
from meterseal.mdms.service import Mdms
from meterseal.mdms.trials import TRIALS
from meterseal.mdms.vee import engine as engine_
from meterseal.mdms.vee.estimators import Override
from meterseal.mdms.vee.rules import RULES, Rule
from meterseal.mdms.vee.rules.rule import Found
from meterseal.mdms.vee.settings import RuleChange, Settings
from meterseal.mdms.vee.view import View
from meterseal.model import MAIN, Batch, Medium, Series
from tests.mdms.fleet import DAY, FIRST, HOUR, day_record, device, open_store, point

NOW = FIRST + 100 * DAY
LOUD = RuleChange(rule="spike", medium="water", values={"least": "1000"})


async def fed(mdms: Mdms, registers: dict[int, int], number: int = 0, received_at: int = NOW - DAY) -> None:
    """One reading of the load profile an hour."""
    series = tuple(
        Series(device(number), MAIN, "m3", -2, FIRST + hour * HOUR, HOUR, (value,))
        for hour, value in sorted(registers.items())
    )
    counter = 1 + min(registers)
    await mdms.publish(
        Batch(
            (msgspec.structs.replace(day_record(number, 0, counter), series=series, received_at=received_at),)
        )
    )


def stepping(hours: range, at: int, by: int = 130) -> dict[int, int]:
    """Ten hundredths an hour, and one hour more than that."""
    return {hour: 10 * hour + by * (hour >= at) for hour in hours}


def spikes(mdms: Mdms, number: int = 0) -> dict[int, int | None]:
    """Hours at which a spike was found, and the change by which."""
    found = [one for one in mdms.findings(1000, point(number)) if one.rule == "spike"]
    return {(one.until - FIRST) // HOUR: one.detail.get("change") for one in found}


async def tried(mdms: Mdms, change: RuleChange, now: int, days: int = 90) -> None:
    await mdms.try_rule(change, now - days * DAY, now)


async def test_a_changed_rule_judges_what_comes_and_leaves_what_was_as_it_is(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 1)
    await fed(mdms, stepping(range(1, 120), 60))
    await mdms.run_vee(NOW - DAY + 1)
    assert spikes(mdms) == {}
    since = FIRST + 200 * HOUR
    await tried(mdms, LOUD, since)
    made = mdms.changes.change(LOUD, reason="a leak was missed", author="op-1", now=since)
    assert (made.number, made.author, made.reason, made.since) == (1, "op-1", "a leak was missed", since)
    assert made.tried is not None
    assert (made.tried.flags_now, made.tried.would_flag, made.tried.new) == (0, 1, 1)
    assert [(one.actor, one.act, one.subject) for one in acts.verified(engine)] == [
        ("op-1", "vee-rule-changed", "change/1")
    ]
    with read(engine) as connection:
        assert b"leak" not in bytes(connection.execute(sa.select(vee_changes.c.sealed_reason)).scalar_one())
    # A late delivery of before is judged as it would have been, what comes as it is now.
    later = {hour: value + 130 for hour, value in stepping(range(120, 300), 160).items()}
    more = {hour: value + 130 * (hour >= 260) for hour, value in later.items()}
    await fed(mdms, more)
    await mdms.run_vee(NOW)
    assert spikes(mdms) == {260: 1}
    (finding,) = [one for one in mdms.findings(1000) if one.rule == "spike"]
    assert finding.detail["parameters"]["least"] == 1000
    # A start looks at everything again, and finds nothing else.
    await mdms.close()
    engine.dispose()
    mdms, engine = open_store(tmp_path)
    run = await mdms.run_vee(NOW + 1)
    assert (run.findings, run.readings) == (0, len(more) + 119)
    assert spikes(mdms) == {260: 1}
    await mdms.close()
    engine.dispose()


async def test_a_rule_is_switched_off_for_a_class_and_on_again(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 5)
    business = Fact(usage_point=point(4), kind="class", value="business")
    await mdms.state([business], FIRST)
    falling = {hour: 10 * hour - 200 * (hour >= 50) for hour in range(30, 100)}
    off = RuleChange(rule="negative-step", customer="business", on=False)
    await tried(mdms, off, FIRST)
    mdms.changes.change(off, reason="they refill", author="op-1", now=FIRST)
    for number in (0, 4):
        await fed(mdms, falling, number)
    await mdms.run_vee(NOW)
    found = {one.usage_point for one in mdms.findings(1000) if one.rule == "negative-step"}
    assert found == {point(0)}
    back = RuleChange(rule="negative-step", customer="business")
    await tried(mdms, back, NOW)
    mdms.changes.change(back, reason="they stopped", author="op-2", now=NOW)
    again = {hour: 10 * hour - 400 * (hour >= 2500) for hour in range(2400, 2600)}
    await fed(mdms, again, 4, received_at=NOW + 9 * DAY)
    await mdms.run_vee(NOW + 10 * DAY)
    fell = [one for one in mdms.findings(1000, point(4)) if one.rule == "negative-step"]
    assert [(one.until - FIRST) // HOUR for one in fell] == [2500]
    assert fell[0].detail["change"] == 2
    assert [one.number for one in mdms.changes.latest()] == [2, 1]
    await mdms.close()
    engine.dispose()


@pytest.mark.parametrize(
    ("change", "days", "wait", "code"),
    [
        (LOUD, 0, 0, "vee.untried"),  # never tried
        (LOUD, 89, 0, "vee.untried"),
        (LOUD, 90, 2 * DAY, "vee.untried"),
        (msgspec.structs.replace(LOUD, values={"least": "900"}), 90, 0, "vee.untried"),
        (msgspec.structs.replace(LOUD, medium=None), 90, 0, "vee.untried"),
        (msgspec.structs.replace(LOUD, on=False, values={}), 90, 0, "vee.untried"),
        (msgspec.structs.replace(LOUD, on=False), 90, 0, "use.parameter"),
        (msgspec.structs.replace(LOUD, medium="oil"), 90, 0, "use.rules"),
        (msgspec.structs.replace(LOUD, rule="spikes"), 90, 0, "use.rule"),
    ],
)
async def test_a_change_that_was_not_tried_as_it_is_made_is_refused(
    tmp_path: Path, change: RuleChange, days: int, wait: int, code: str
) -> None:
    mdms, engine = open_store(tmp_path, 1)
    await fed(mdms, stepping(range(1, 120), 60))
    if days:
        await tried(mdms, LOUD, NOW, days)
    with pytest.raises((DataError, LocalError)) as refused:
        mdms.changes.change(change, reason="so", author="op-1", now=NOW + wait)
    assert refused.value.code == code
    assert mdms.changes.latest() == []
    await mdms.close()
    engine.dispose()


async def test_a_trial_outlasts_a_start_for_its_day_and_no_longer(tmp_path: Path) -> None:
    for wait, code in ((HOUR, ""), (25 * HOUR, "vee.untried")):
        root = tmp_path / str(wait)
        mdms, engine = open_store(root, 1)
        await fed(mdms, stepping(range(1, 120), 60))
        await tried(mdms, LOUD, NOW)
        await mdms.close()
        engine.dispose()
        mdms, engine = open_store(root)
        if code:
            with pytest.raises(DataError) as refused:
                mdms.changes.change(LOUD, reason="so", author="op-1", now=NOW + wait)
            assert refused.value.code == code
        else:
            made = mdms.changes.change(LOUD, reason="so", author="op-1", now=NOW + wait)
            assert made.tried is not None
            assert (made.tried.at, made.tried.since) == (NOW, NOW - 90 * DAY)
        await mdms.close()
        engine.dispose()


async def test_many_trials_push_out_the_oldest_and_one_that_is_tried_again_counts_once(
    tmp_path: Path,
) -> None:
    mdms, engine = open_store(tmp_path, 1)
    said = await mdms.try_rule(LOUD, NOW - 90 * DAY, NOW)
    for _ in range(3):
        mdms.changes.tried(LOUD, said)
    for number in range(TRIALS - 1):
        mdms.changes.tried(msgspec.structs.replace(LOUD, values={"least": str(number)}), said)
    mdms.changes.change(
        LOUD, reason="so", author="op-1", now=NOW
    )  # it is the oldest of them, and still there
    mdms.changes.tried(msgspec.structs.replace(LOUD, values={"least": "5000"}), said)
    with pytest.raises(DataError) as refused:
        mdms.changes.change(LOUD, reason="so", author="op-1", now=NOW)
    assert refused.value.code == "vee.untried"
    with read(engine) as connection:
        assert len(connection.execute(vee_trials.select()).all()) == TRIALS
    await mdms.close()
    engine.dispose()


@pytest.mark.parametrize(
    ("rule", "name", "value"),
    [
        ("zero", "days", str(10**18)),  # would raise at every run, of every rule, for good
        ("zero", "days", str(10**30)),
        ("stuck-register", "lasting", str(1 << 62)),  # would read everything of everybody at every run
        ("spike", "window", "-1"),
        ("night-flow", "nights", "401"),
        ("spike", "least", str(10**13)),
        ("overload", "percent", "-1"),
        ("heat-balance", "least", "nan"),
        ("heat-balance", "most", "inf"),
        ("gas-heating", "cold", "-1e308"),
        ("tamper", "kinds", "x" * 65),
        ("tamper", "kinds", "cover,\x1b[2J"),
        ("tamper", "kinds", ",".join(map(str, range(65)))),
    ],
)
async def test_a_value_that_no_run_could_compute_with_is_refused_where_there_is_no_such_meter_too(
    tmp_path: Path, rule: str, name: str, value: str
) -> None:
    mdms, engine = open_store(tmp_path, 1)
    change = RuleChange(rule=rule, values={name: value})
    with pytest.raises(LocalError) as refused:
        await tried(mdms, change, NOW)
    assert refused.value.code == "use.parameter"
    with pytest.raises(LocalError):
        mdms.changes.change(change, reason="so", author="op-1", now=NOW)
    await mdms.close()
    engine.dispose()


async def test_a_change_that_is_written_while_a_run_begins_is_no_part_of_that_run(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 1)
    await tried(mdms, LOUD, NOW)
    before = mdms.changes.known(NOW + 5)
    made = mdms.changes.change(LOUD, reason="a leak was missed", author="op-1", now=NOW + 2)
    assert (made.since, made.recorded_at) == (NOW + 6, NOW + 6)
    assert mdms.changes.known(NOW + 5) == before
    assert len(mdms.changes.known(NOW + 6)[0].changes) == 1
    await mdms.close()
    engine.dispose()


async def test_hundreds_of_changes_of_one_rule_leave_the_others_their_one_look(tmp_path: Path) -> None:
    looks: Counter[str] = Counter()

    def counting(rule: Rule) -> Rule:
        def look(view: View, parameters: Any) -> Found:
            looks[rule.name] += 1
            return rule.look(view, parameters)

        return msgspec.structs.replace(rule, look=look)

    counted = {rule.name: counting(rule) for rule in RULES.values()}
    changes = [
        msgspec.structs.replace(
            LOUD, values={"least": str(1000 + k % 3)}, since=FIRST + (k + 50) * HOUR, number=k
        )
        for k in range(1, 300)
    ]
    mdms, engine = open_store(tmp_path, 1)
    await fed(mdms, stepping(range(1, 400), 350))
    how = engine_.Run(NOW, settings=Settings(tuple(changes)), rules=counted)
    said = engine_.run(mdms._store, dict.fromkeys(mdms._store.keys_stored(), 0), how)
    # The defaults before the first change, and three values by turns after it; the last change holds.
    assert looks["spike"] == 4
    assert set(looks.values()) - {4} == {1}
    found = [one for one in said.findings if one.rule == "spike"]
    assert [((one.until - FIRST) // HOUR, one.detail["change"]) for one in found] == [(350, 299)]
    await mdms.close()
    engine.dispose()


@pytest.mark.parametrize("reason", ["", "  ", "x" * 401])
async def test_a_change_without_a_reason_is_refused(tmp_path: Path, reason: str) -> None:
    mdms, engine = open_store(tmp_path, 1)
    await tried(mdms, LOUD, NOW)
    with pytest.raises(LocalError) as refused:
        mdms.changes.change(LOUD, reason=reason, author="op-1", now=NOW)
    assert refused.value.code == "vee.reason"
    await mdms.close()
    engine.dispose()


async def test_a_change_whose_parameter_a_later_version_has_not_holds_no_run_up(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 1)
    await tried(mdms, LOUD, NOW)
    mdms.changes.change(LOUD, reason="so", author="op-1", now=NOW)
    with engine.begin() as connection:
        connection.execute(vee_changes.update().values(setting={"values": {"gone": "1"}}))
    await fed(mdms, stepping(range(1, 120), 60))
    assert (await mdms.run_vee(NOW + 1)).readings == 119
    assert mdms.changes.known(NOW)[0].changes == ()
    await mdms.close()
    engine.dispose()


def estimates(mdms: Mdms, number: int = 0, as_of: int | None = None) -> tuple[set[str], list[int]]:
    """Methods that filled the gap, and the registers of all instants."""
    shown = mdms.registers(point(number), MAIN, 0, NOW, as_of=as_of)
    return {text.split("/")[0] for text in shown.method if text}, shown.register.tolist()


async def test_an_order_of_methods_is_for_its_time_zone_and_medium_and_makes_estimates_anew(
    tmp_path: Path,
) -> None:
    mdms, engine = open_store(tmp_path, 5)
    await mdms.state([Fact(usage_point=point(4), kind="zone", value="old-town")], FIRST)
    holed = {hour: 30 * hour + hour % 24 for hour in range(600) if not 400 < hour < 430}
    for number in (0, 4):
        await fed(mdms, holed, number)
    await mdms.run_vee(NOW)
    usual = estimates(mdms)
    assert usual == estimates(mdms, 4)
    assert usual[0] == {"average-like-days"}

    async def order(now: int, **change: object) -> None:
        wanted = Override(FIRST + 390 * HOUR, FIRST + 420 * HOUR, ("flat",), "everybody is at home")
        await mdms.order_methods(msgspec.structs.replace(wanted, **change), "op-1", now)
        await mdms.run_vee(now)

    await order(NOW + 1, medium="heat")
    await order(NOW + 2, since=FIRST, until=FIRST + 390 * HOUR)
    assert estimates(mdms) == estimates(mdms, 4) == usual
    await order(NOW + 3, zone="old-town", medium="water")
    assert estimates(mdms) == usual
    flat = estimates(mdms, 4)
    assert "flat" in flat[0]
    steps = [later - early for early, later in pairwise(flat[1][400:432])]
    assert max(steps) - min(steps) <= 1
    assert estimates(mdms, 4, as_of=NOW + 2) == usual
    await order(NOW + 4, order=())
    assert estimates(mdms, 4)[1] == usual[1]
    assert (await mdms.run_vee(NOW + 5)).versions == 0
    assert [one.reason for one in mdms.changes.latest()] == ["everybody is at home"] * 4
    await mdms.close()
    engine.dispose()


@pytest.mark.parametrize(
    ("order", "medium", "days"),
    [
        (("flat", "guess"), None, 9),
        (("flat", "flat"), None, 9),
        (("flat",), "oil", 9),
        (("flat",), None, 0),
        (("flat",), None, 401),
    ],
)
async def test_an_order_that_cannot_be_is_refused(
    tmp_path: Path, order: tuple[str, ...], medium: Medium | None, days: int
) -> None:
    mdms, engine = open_store(tmp_path, 1)
    with pytest.raises(DataError) as refused:
        await mdms.order_methods(Override(FIRST, FIRST + days * DAY, order, "so", medium), "op-1", NOW)
    assert refused.value.code == "vee.order"
    await mdms.close()
    engine.dispose()
