"""Runs of the rules over the store: the same whatever the slices, nothing twice, estimates that give way."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from meterseal.errors import LocalError
from meterseal.mdms.around import Around
from meterseal.mdms.entries import Rollup
from meterseal.mdms.finding import Finding
from meterseal.mdms.service import Mdms
from meterseal.mdms.store.rows import ROW, Key, Rows
from meterseal.mdms.vee import engine
from meterseal.mdms.vee.channel import Bridging
from meterseal.mdms.vee.context import Context
from meterseal.mdms.vee.doubts import HIGH_FOR, doubted
from meterseal.mdms.vee.engine import AsOf
from meterseal.mdms.vee.estimators import Override
from meterseal.mdms.vee.rules import RULES, Found
from meterseal.mdms.vee.rules.gaps import Gap
from meterseal.mdms.vee.settings import RuleChange
from meterseal.mdms.vee.stretches import interval_of
from meterseal.mdms.vee.view import View
from meterseal.model import MAIN, Batch, Opened, Quality, Series
from tests.mdms.fleet import DAY, FIRST, HOUR, day_record, device, open_store, point, register

NOW = FIRST + 90 * DAY
E, M, S, X = Quality.ESTIMATED, Quality.MEASURED, Quality.SUSPECT, Quality.MISSING


def record(counter: int, registers: dict[int, int | None], number: int = 0) -> Opened:
    """One reading of the load profile per hour given."""
    series = tuple(
        Series(device(number), MAIN, "m3", -2, FIRST + hour * HOUR, HOUR, (value,))
        for hour, value in registers.items()
    )
    return msgspec.structs.replace(
        day_record(number, 0, counter), series=series, received_at=FIRST + 80 * DAY
    )


def shown(mdms: Mdms, number: int = 0) -> list[tuple[int, int | None, Quality]]:
    columns = mdms.registers(point(number), MAIN, 0, NOW)
    return [
        ((at - FIRST) // HOUR, None if quality == X else value, Quality(quality))
        for at, value, quality in zip(
            columns.end_at.tolist(), columns.register.tolist(), columns.quality.tolist(), strict=True
        )
    ]


def said(findings: list[Finding]) -> set[tuple[str, int, int]]:
    return {(f.rule, (f.since - FIRST) // HOUR, (f.until - FIRST) // HOUR) for f in findings}


@pytest.mark.parametrize("explicit", [False, True])
async def test_a_missing_hour_is_found_and_estimated_once(tmp_path: Path, explicit: bool) -> None:
    mdms, _ = open_store(tmp_path, 1)
    hours: dict[int, int | None] = {1: 10, 2: 20, 3: 30, 5: 51, 6: 60} | ({4: None} if explicit else {})
    await mdms.publish(Batch((record(1, dict(sorted(hours.items()))),)))
    run = await mdms.run_vee(NOW)
    assert (run.findings, run.versions) == (1, 1)
    assert shown(mdms) == [(1, 10, M), (2, 20, M), (3, 30, M), (4, 40, E), (5, 51, M), (6, 60, M)]
    assert mdms.registers(point(0), MAIN, 0, NOW).method[3] == "linear/3:gap/2~11"
    assert mdms.registers(point(0), MAIN, 0, NOW).uncertainty == (None, None, None, 11, None, None)
    (finding,) = mdms.findings()
    assert said([finding]) == {("gap", 3, 5)}
    assert (finding.version, finding.detail) == (2, {"parameters": {"allowed": 0}})
    assert finding.facts == {"hours": 2.0, "missing": 2}
    for again in range(3):
        run = await mdms.run_vee(NOW + again)
        assert (run.readings, run.findings, run.versions) == (0, 0, 0)
    await mdms.close()
    mdms, _ = open_store(tmp_path)
    run = await mdms.run_vee(NOW + 9)
    assert (run.channels, run.findings, run.versions) == (1, 0, 0)
    assert mdms.counts().estimated == 1
    await mdms.close()


async def test_a_longer_hole_waits_three_days_and_then_meets_both_registers(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    hours: dict[int, int | None] = {
        hour: 7 * hour + hour % 24 % 5 for hour in range(0, 480) if not 400 < hour < 430
    }
    early = {hour: value for hour, value in hours.items() if hour < 450}
    await mdms.publish(Batch((record(1, early),)))
    assert (await mdms.run_vee(NOW)).versions == 0
    late = {hour: 3000 + 7 * hour for hour in range(450, 430 + 72)}
    await mdms.publish(Batch((record(2, late),)))
    assert (await mdms.run_vee(NOW + 1)).versions == 0
    await mdms.publish(Batch((record(3, {430 + 72: 9000}),)))
    assert (await mdms.run_vee(NOW + 2)).versions == 29
    filled = [(hour, value) for hour, value, quality in shown(mdms) if quality == E]
    assert [hour for hour, _ in filled] == list(range(401, 430))
    values = [hours[400], *(value for _, value in filled), hours[430]]
    assert values == sorted(values)
    method = mdms.registers(point(0), MAIN, FIRST + 410 * HOUR, FIRST + 410 * HOUR).method[0]
    assert method.startswith("average-like-days/3:gap/2~")
    assert (await mdms.run_vee(NOW + 3)).versions == 0
    await mdms.close()


async def test_an_operator_puts_another_order_of_methods_in_force_for_a_while(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    hours: dict[int, int | None] = {hour: 7 * hour for hour in range(0, 600) if not 400 < hour < 430}
    await mdms.publish(Batch((record(1, hours),)))
    key = Key(mdms._store.words.code(point(0)), MAIN)
    flat = Override(FIRST + 390 * HOUR, FIRST + 410 * HOUR, ("flat",), "everybody stays at home")
    other = Override(FIRST, FIRST + 390 * HOUR, ("class-profile",), "another week")
    methods = {
        engine.run(mdms._store, {key: 0}, engine.Run(NOW, bridging=Bridging(overrides=given)))
        .versions[0]
        .method.split("/")[0]
        for given in ((flat, other), (flat,))
    }
    assert methods == {"flat"}
    (usual, *_) = engine.run(mdms._store, {key: 0}, engine.Run(NOW)).versions
    assert usual.method.startswith("average-like-days/")
    await mdms.close()


@pytest.mark.parametrize("compacted", [False, True])
async def test_a_late_reading_takes_the_place_of_its_estimate(tmp_path: Path, compacted: bool) -> None:
    mdms, _ = open_store(tmp_path, 1)
    await mdms.publish(Batch((record(1, {1: 10, 2: 20, 4: 40, 5: 50}),)))
    await mdms.run_vee(NOW)
    assert shown(mdms)[2] == (3, 30, E)
    if compacted:
        await mdms.compact()
    await mdms.publish(Batch((record(2, {3: 33}),)))
    assert shown(mdms)[2] == (3, 33, M)
    assert (await mdms.run_vee(NOW + 1)).versions == 0
    assert shown(mdms)[2] == (3, 33, M)
    assert mdms.counts().readings == 5
    await mdms.close()


async def test_a_high_reading_that_is_taken_back_is_doubted_and_bridged(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    hours: dict[int, int | None] = {hour: 10 * hour for hour in range(1, 30)} | {20: 99_000}
    await mdms.publish(Batch((record(1, hours),)))
    await mdms.run_vee(NOW)
    assert said(mdms.findings()) == {("spike", 19, 20), ("overload", 19, 20), ("negative-step", 20, 21)}
    assert shown(mdms)[19] == (20, 200, E)
    assert [quality for _, _, quality in shown(mdms)].count(M) == 28
    before = mdms.readings(point(0), MAIN, 0, NOW, as_of=FIRST + 81 * DAY)
    assert int(before.register[19]) == 99_000
    assert (await mdms.run_vee(NOW + 1)).versions == 0
    await mdms.publish(Batch((record(2, {30: 300}),)))
    run = await mdms.run_vee(NOW + 2)
    assert (run.findings, run.versions) == (0, 0)
    await mdms.close()


@pytest.mark.parametrize("slices", [1, 7])
async def test_high_readings_in_a_row_that_are_taken_back_are_all_doubted_and_bridged(
    tmp_path: Path, slices: int
) -> None:
    mdms, _ = open_store(tmp_path, 1)
    truth = {hour: 10 * hour for hour in range(1, 120)}
    given = sorted((truth | {20: 99_000, 21: 99_010, 22: 98_000, 23: 98_010}).items())
    size = -(-len(given) // slices)
    for counter, start in enumerate(range(0, len(given), size)):
        await mdms.publish(Batch((record(counter + 1, dict(given[start : start + size])),)))
        await mdms.run_vee(NOW + counter)
    seen = {hour: (value, quality) for hour, value, quality in shown(mdms)}
    assert {hour for hour, (_, quality) in seen.items() if quality == E} == {20, 21, 22, 23}
    assert all(quality == M for hour, (_, quality) in seen.items() if not 19 < hour < 24)
    assert [seen[hour][0] for hour in range(19, 25)] == sorted(seen[hour][0] for hour in range(19, 25))
    await mdms.close()


async def test_a_number_that_no_meter_shows_is_doubted_before_the_next_reading_comes(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    await mdms.publish(Batch((record(1, {hour: 10 * hour for hour in range(1, 30)} | {30: 2**32 - 1}),)))
    await mdms.run_vee(NOW)
    assert shown(mdms)[-2:] == [(29, 290, M), (30, 2**32 - 1, S)]
    await mdms.publish(Batch((record(2, {31: 310}),)))
    await mdms.run_vee(NOW + 1)
    assert shown(mdms)[-3:] == [(29, 290, M), (30, 300, E), (31, 310, M)]
    await mdms.close()


def test_what_stays_high_for_more_than_a_day_was_use() -> None:
    low, high = [10, 20], [9_000 + k for k in range(HIGH_FOR + 1)]
    for count in (1, HIGH_FOR, HIGH_FOR + 1):
        registers = [*low, *high[:count], 30]
        fell = [("spike", 2), ("negative-step", count + 2)]
        taken = range(2, 2 + count) if count <= HIGH_FOR else (count + 2,)
        assert doubted(registers, fell) == dict.fromkeys(taken, "negative-step")
    assert doubted([9_000, 9_001, 30], [("spike", 1), ("negative-step", 2)]) == {2: "negative-step"}
    assert doubted([10, 9_000, 30], [("negative-step", 2)]) == {2: "negative-step"}


@pytest.mark.parametrize("missing", [(15,), (15, 16, 17), tuple(range(10, 60))])
async def test_a_gap_in_which_the_register_begins_anew_meets_both_registers(
    tmp_path: Path, missing: tuple[int, ...]
) -> None:
    mdms, _ = open_store(tmp_path, 1)
    hours: dict[int, int | None] = {hour: (99_999_500 + 30 * hour) % 10**8 for hour in range(200)}
    await mdms.publish(Batch((record(1, {h: value for h, value in hours.items() if h not in missing}),)))
    run = await mdms.run_vee(NOW)
    assert run.versions == len(missing)
    seen = {hour: (value, quality) for hour, value, quality in shown(mdms)}
    assert {hour for hour, (_, quality) in seen.items() if quality == E} == set(missing)
    edges = range(missing[0] - 1, missing[-1] + 2)
    uses = [(seen[hour + 1][0] - seen[hour][0]) % 10**8 for hour in edges[:-1]]
    assert sum(uses) == 30 * len(uses)
    assert max(uses) <= sum(uses)
    assert (await mdms.run_vee(NOW + 1)).versions == 0
    await mdms.close()


async def test_an_estimate_says_how_sure_it_is_by_all_that_came_of_the_time_before(tmp_path: Path) -> None:
    hours: dict[int, int | None] = {hour: 20 * hour + hour * hour % 17 for hour in range(400) if hour != 300}
    said = []
    for name, edges in (("whole", (0, 400)), ("late", (200, 400, 0, 200))):
        (tmp_path / name).mkdir()
        mdms, _ = open_store(tmp_path / name, 1)
        for counter in range(0, len(edges), 2):
            first, last = edges[counter : counter + 2]
            part = {hour: value for hour, value in hours.items() if first <= hour < last}
            await mdms.publish(Batch((record(counter + 1, part),)))
            await mdms.run_vee(NOW + counter)
            said.append(mdms.registers(point(0), MAIN, FIRST + 300 * HOUR, FIRST + 300 * HOUR).method)
        await mdms.close()
    whole, at_first, at_last = said
    assert whole == at_last != at_first
    assert all(method.startswith("linear/") for (method,) in said)


async def test_readings_off_the_load_profile_keep_no_gap_open_and_bound_its_estimates(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    lost = range(100, 125)
    hours: dict[int, int | None] = {hour: 10 * hour for hour in range(240) if hour not in lost}
    await mdms.publish(Batch((record(1, hours),)))
    # While the meter's clock was off it counted at first nothing, then everything; and once it said an hour twice.
    off = {hour: 990 if hour < 115 else 1_240 for hour in range(101, 124)} | {50: 500}
    given = record(2, dict(off))
    series = tuple(msgspec.structs.replace(one, start_at=one.start_at + 420_000) for one in given.series)
    await mdms.publish(Batch((msgspec.structs.replace(given, series=series),)))
    assert (await mdms.run_vee(NOW)).versions == len(lost)
    found = mdms.registers(point(0), MAIN, 0, NOW)
    assert found.register.tolist() == sorted(found.register.tolist())
    estimated = {
        (at - FIRST) // HOUR: value
        for at, value, quality in zip(
            found.end_at.tolist(), found.register.tolist(), found.quality, strict=True
        )
        if quality == E
    }
    assert estimated.keys() == set(lost)
    assert {estimated[hour] for hour in range(100, 115)} == {990}
    assert {estimated[hour] for hour in range(116, 124)} == {1_240}
    assert 1_240 <= estimated[124] <= 1_250
    assert (await mdms.run_vee(NOW + 1)).versions == 0
    await mdms.close()


async def test_gaps_on_both_sides_of_another_decimal_point_are_filled_each_in_its_own(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    fine = range(480, 960)
    hours: dict[int, int | None] = {hour: 10 * hour for hour in range(480) if hour not in (50, 479)}
    await mdms.publish(Batch((record(1, hours),)))
    later: dict[int, int | None] = {hour: 100 * hour for hour in fine if hour not in (481, *range(520, 530))}
    given = record(2, later)
    series = tuple(msgspec.structs.replace(one, exponent=-3) for one in given.series)
    await mdms.publish(Batch((msgspec.structs.replace(given, series=series),)))
    await mdms.run_vee(NOW)
    found = mdms.registers(point(0), MAIN, 0, NOW)
    estimated = {
        (at - FIRST) // HOUR: (value, method.split("/")[0])
        for at, value, quality, method in zip(
            found.end_at.tolist(), found.register.tolist(), found.quality, found.method, strict=True
        )
        if quality == E
    }
    assert estimated.keys() == {50, 481, *range(520, 530)}  # 479 lies between the two
    assert (estimated[50], estimated[481]) == ((5_000, "linear"), (48_100, "linear"))
    assert all(51_900 <= estimated[hour][0] <= 53_000 for hour in range(520, 530))
    # The weeks before have another decimal point: no average of their days is taken.
    assert {estimated[hour][1] for hour in range(520, 530)} == {"class-profile"}
    await mdms.close()


async def test_a_fall_is_doubted_and_not_bridged(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    await mdms.publish(Batch((record(1, {1: 100, 2: 110, 3: 5, 4: 15, 5: 25}),)))
    await mdms.run_vee(NOW)
    assert shown(mdms) == [(1, 100, M), (2, 110, M), (3, 5, S), (4, 15, M), (5, 25, M)]
    (finding,) = mdms.findings()
    assert (finding.rule, finding.severity) == ("negative-step", "error")
    assert finding.facts == {"before": 1.1, "after": 0.05}
    assert finding.values is not None
    assert msgspec.msgpack.decode(finding.values)["registers"] == [110, 5]
    await mdms.close()


async def test_a_burst_pipe_is_found_and_billed(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    hours: dict[int, int | None] = {hour: 10 * hour + (900 if hour >= 20 else 0) for hour in range(1, 30)}
    await mdms.publish(Batch((record(1, hours),)))
    await mdms.run_vee(NOW)
    assert said(mdms.findings()) == {(rule, 19, 20) for rule in ("spike", "lonely-spike", "overload")}
    assert {quality for _, _, quality in shown(mdms)} == {M}
    await mdms.close()


async def test_a_register_that_stands_still_is_one_finding_however_long(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 4)
    number = 3  # electricity: two days
    for day in range(8):
        hours: dict[int, int | None] = {24 * day + hour: min(24 * day + hour, 30) for hour in range(1, 25)}
        await mdms.publish(Batch((record(day + 1, hours, number),)))
        await mdms.run_vee(NOW + day)
    assert said(mdms.findings()) == {("stuck-register", 30, 78)}
    await mdms.close()


@pytest.mark.parametrize("slices", [1, 3, 10, 60])
async def test_findings_and_values_do_not_depend_on_how_often_the_rules_run(
    tmp_path: Path, slices: int
) -> None:
    mdms, _ = open_store(tmp_path, 2)
    hours: dict[int, int | None] = {
        hour: 10 * hour + 3 * (hour % 3) + (80_000 if hour in (200, 400) else 0)
        for hour in range(1, 600)
        if hour % 50 != 7 and not 300 < hour < 306
    }
    hours[500] = 3
    given = sorted(hours.items())
    size = -(-len(given) // slices)
    for counter, start in enumerate(range(0, len(given), size)):
        await mdms.publish(Batch((record(counter + 1, dict(given[start : start + size])),)))
        await mdms.run_vee(NOW + counter)
        if counter % 7 == 3:
            await mdms.compact()
    await mdms.run_vee(NOW + 99)
    found = said(mdms.findings(1000))
    steps = {one for one in found if one[0] in ("gap", "spike", "negative-step")}
    assert steps == {
        *(("gap", hour - 1, hour + 1) for hour in range(7, 600, 50)),
        ("gap", 300, 306),
        *(("spike", hour - 1, hour) for hour in (200, 400)),
        *(("negative-step", hour, hour + 1) for hour in (200, 400)),
        ("negative-step", 499, 500),
        ("spike", 500, 501),
    }
    once = _all_at_once(tmp_path / "once", given)
    assert found == said((await once)[0])
    qualities = {hour: quality for hour, _, quality in shown(mdms)}
    assert {hour for hour, quality in qualities.items() if quality == E} == {
        *range(7, 600, 50),
        *range(301, 306),
        200,
        400,
        500,
    }
    assert {hour for hour, quality in qualities.items() if quality == S} == set()
    assert shown(mdms) == (await _all_at_once(tmp_path / "again", given))[1]
    await mdms.close()


async def _all_at_once(
    folder: Path, given: list[tuple[int, int | None]]
) -> tuple[list[Finding], list[tuple[int, int | None, Quality]]]:
    folder.mkdir()
    mdms, _ = open_store(folder, 2)
    await mdms.publish(Batch((record(1, dict(given)),)))
    await mdms.run_vee(NOW)
    answer = mdms.findings(1000), shown(mdms)
    await mdms.close()
    return answer


async def test_a_run_replays_bit_for_bit_and_any_past_state_is_still_there(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 2)
    hours: dict[int, int | None] = {
        hour: 10 * hour + (90_000 if hour == 200 else 0) for hour in range(1, 500) if hour % 90
    }
    await mdms.publish(Batch((record(1, hours),)))
    key = Key(mdms._store.words.code(point(0)), MAIN)
    first = engine.run(mdms._store, {key: 0}, engine.Run(NOW))
    assert msgspec.msgpack.encode(first) == msgspec.msgpack.encode(
        engine.run(mdms._store, {key: 0}, engine.Run(NOW))
    )
    await mdms.run_vee(NOW)
    then = shown(mdms)
    late = record(2, {90: 905, 180: 1801, 510: 5100})
    await mdms.publish(Batch((msgspec.structs.replace(late, received_at=NOW + HOUR),)))
    await mdms.run_vee(NOW + DAY)
    assert shown(mdms) != then
    past = engine.run(AsOf(mdms._store, NOW - 1), {key: 0}, engine.Run(NOW))
    assert msgspec.msgpack.encode(past) == msgspec.msgpack.encode(first)
    await mdms.close()


async def test_a_rule_that_raises_is_a_finding_and_stops_no_other(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 8)
    await mdms.publish(Batch(tuple(record(1, {1: 100, 2: 90, 3: 95}, number) for number in (0, 4))))
    keys = {Key(mdms._store.words.code(point(number)), MAIN): 0 for number in (0, 4)}

    def fragile(view: View, _: Gap) -> Found:
        if view.use.sum() and len(view.sizes) > 1:
            raise ValueError("too many")
        if (view.register == 95).any() and view.context.medium == "water":
            raise KeyError("95")
        return Found()

    rules = {"fragile": msgspec.structs.replace(RULES["gap"], name="fragile", look=fragile), **RULES}
    outcome = engine.run(mdms._store, keys, engine.Run(NOW, rules=rules))
    assert sorted((f.usage_point, f.rule) for f in outcome.findings) == sorted(
        (point(number), rule)
        for number in (0, 4)
        for rule in ("negative-step", "rule-failed", "reverse-flow")
    )
    (failed,) = [f for f in outcome.findings if f.rule == "rule-failed" and f.usage_point == point(0)]
    assert failed.detail == {"rule": "fragile", "fault": "KeyError"}
    await mdms.close()


async def test_a_changed_rule_is_tried_on_what_is_stored_and_changes_nothing(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 2)
    hours: dict[int, int | None] = {
        hour: 10 * hour + 130 * (hour >= 60) + 400 * (hour >= 80) for hour in range(1, 120)
    }
    await mdms.publish(Batch((record(1, hours),)))
    await mdms.run_vee(NOW)
    before = (mdms.findings(), mdms.counts(), shown(mdms))
    said = await mdms.try_rule(RuleChange(rule="spike", values={"least": "1000"}), FIRST, NOW)
    assert (said.flags_now, said.would_flag, said.new_count, said.gone_count) == (1, 2, 1, 0)
    assert (said.readings, said.channels) == (119, 1)
    (new,) = said.new
    assert ((new.until - FIRST) // HOUR, new.facts["rate"]) == (60, 1.4)
    assert new.detail["parameters"]["least"] == 1000
    said = await mdms.try_rule(RuleChange(rule="spike", values={"least": "9000", "excess": "99"}), FIRST, NOW)
    assert (said.flags_now, said.would_flag, said.gone_count) == (1, 0, 1)
    said = await mdms.try_rule(RuleChange(rule="spike", values={"least": "1000"}), FIRST + 70 * HOUR, NOW)
    assert (said.flags_now, said.would_flag) == (1, 1)
    assert (mdms.findings(), mdms.counts(), shown(mdms)) == before
    await mdms.close()


@pytest.mark.parametrize(
    ("rule", "change", "code"),
    [
        ("spikes", {}, "use.rule"),
        ("spike", {"most": "3"}, "use.parameter"),
        ("spike", {"least": "much"}, "use.parameter"),
        ("unit", {"any": "1"}, "use.parameter"),
    ],
)
async def test_a_rule_that_is_not_there_or_lacks_the_parameter_is_not_tried(
    tmp_path: Path, rule: str, change: dict[str, str], code: str
) -> None:
    mdms, _ = open_store(tmp_path, 1)
    with pytest.raises(LocalError) as refused:
        await mdms.try_rule(RuleChange(rule=rule, values=change), FIRST, NOW)
    assert refused.value.code == code
    await mdms.close()


def _around(mdms: Mdms) -> Around:
    return Around(mdms.surroundings, mdms.facts, mdms._store.words, NOW, None, lambda _: True, {})


async def test_a_run_knows_the_stored_days_and_weather(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    day = (FIRST + 8 * HOUR) // DAY
    assert _around(mdms).context(Context(), []) == Context()
    mdms.surroundings.put_days({day: "holiday", day + 6: "workday"})
    mdms.surroundings.put_weather(
        {FIRST // HOUR + hour: -3.5 for hour in range(30)} | {FIRST // HOUR + 40: 1.0}
    )
    context = _around(mdms).context(Context(medium="gas"), [])
    days = np.arange(day - 1, day + 8)
    usual = (days + 3) % 7
    assert context.calendar.of(days).tolist() == [usual[0], 6, *usual[2:7], 2, usual[8]]
    assert context.weather.days(days[1:3], 8 * HOUR).tolist()[0] == -3.5
    assert np.isnan(context.weather.days(days[1:3], 8 * HOUR)[1])
    assert context.medium == "gas"
    await mdms.close()


async def test_meters_that_behave_are_left_alone(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 4)
    for day in range(12):
        await mdms.publish(Batch(tuple(day_record(number, day, day + 1) for number in range(4))))
    run = await mdms.run_vee(NOW)
    assert (run.readings, run.channels, run.versions) == (4 * 12 * 24, 4, 0)
    # Their use never stops, which water and gas at night should.
    assert {(f.rule, f.usage_point) for f in mdms.findings()} == {
        ("night-flow", point(0)),
        ("night-flow", point(1)),
    }
    assert mdms.registers(point(2), MAIN, FIRST + 5 * DAY, FIRST + 5 * DAY).register.tolist() == [
        register(2, FIRST + 5 * DAY)
    ]
    await mdms.close()


async def test_an_estimate_stays_when_the_days_that_it_came_from_are_rolled_up(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 1)
    gap = range(24 * 60 + 6, 24 * 60 + 17)
    hours: dict[int, int | None] = {
        hour: 70 * hour + hour * 7919 % 60 for hour in range(24 * 70) if hour not in gap
    }
    await mdms.publish(Batch((record(1, hours),)))
    assert (await mdms.run_vee(NOW)).versions == len(gap)

    def estimates() -> list[tuple[int, str]]:
        found = mdms.registers(point(0), MAIN, FIRST + 60 * DAY, NOW)
        return list(zip(found.register.tolist(), found.method, strict=True))[:30]

    before = estimates()
    assert before[8][1].startswith("average-like-days/")
    given = {"main": True, "level": "day", "held": {}, "edges": {}, "author": "li", "at": NOW}
    await mdms.roll_up([Rollup(medium="water", until=FIRST + 60 * DAY, **given)])  # type: ignore[arg-type]
    await mdms.close()
    engine.dispose()
    mdms, engine = open_store(tmp_path)
    run = await mdms.run_vee(NOW + 1)
    assert (run.versions, estimates()) == (0, before)
    assert mdms.replay(run.number).versions == []
    # A reading from within moves what it contradicts, and nothing else stays wrong for that.
    late = hours[24 * 60 + 5]
    assert late is not None
    await mdms.publish(Batch((record(2, {24 * 60 + 10: late + 1}),)))
    assert (await mdms.run_vee(NOW + 2)).versions > 0
    registers = [register for register, _ in estimates()]
    assert registers == sorted(registers)
    await mdms.close()
    engine.dispose()


def ends_of(*apart: int) -> Rows:
    rows: Rows = np.zeros(len(apart) + 1, ROW)
    rows["end_at"][1:] = np.cumsum(apart)
    return rows


def test_a_distance_that_chance_left_between_two_readings_is_no_interval() -> None:
    """Else every five minutes between readings of a meter off the grid are a gap, and are filled at every run."""
    dice = np.random.default_rng(1332)
    minute = HOUR // 60
    seldom = dice.integers(200, 5_400, 4_000) * 1_000
    seldom[[7, 700, 2_000]] = 5 * minute
    assert interval_of(ends_of(*seldom.tolist())) == 2 * HOUR
    assert (
        interval_of(ends_of(*(dice.integers(13, 15, 400) * 3 * DAY).tolist())) == HOUR
    )  # no interval is so long
    # Few readings say little, and a meter that loses most of its readings still keeps its hours.
    assert interval_of(ends_of(5 * minute, 3 * HOUR + 7)) == 5 * minute
    assert interval_of(ends_of(7, 11)) == HOUR
    lossy = np.diff(np.flatnonzero(dice.random(4_000) < 0.2)) * 15 * minute
    assert interval_of(ends_of(*lossy.tolist())) == 15 * minute
