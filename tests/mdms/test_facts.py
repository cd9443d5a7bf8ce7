"""Facts beside the registers: each makes its rule speak through a real store, and without it the rule is silent."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random

import msgspec
import pytest
from msgspec.structs import asdict

from meterseal.cli.vee import _done
from meterseal.errors import DataError
from meterseal.link.evidence import EvidenceStatement, signed_bytes
from meterseal.mdms.around import Around
from meterseal.mdms.facts import Fact, Stated
from meterseal.mdms.service import Mdms
from meterseal.mdms.spans import Span, at, laid
from meterseal.mdms.store.rows import Key
from meterseal.mdms.vee import engine
from meterseal.mdms.vee.settings import RuleChange
from meterseal.model import FAULT, HEAT_VOLUME, MAGNET, MAIN, Batch, Evidence, Quality, Series
from tests.mdms.fleet import DAY, FIRST, HOUR, KEY, day_record, device, evidence_record, open_store, point

NOW = FIRST + 90 * DAY
WATER, GAS, HEAT = 0, 1, 2


async def fed(mdms: Mdms, number: int, use: Callable[[int], int], hours: range, channel: int = MAIN) -> None:
    """Hourly registers (hundredths) of a meter that passes `use(hour)` in each hour."""
    total, registers = 5000, []
    for hour in range(hours.stop):
        total += use(hour)
        if hour >= hours.start:
            registers.append(total)
    unit = "kWh" if number % 4 in (2, 3) and channel == MAIN else "m3"
    series = Series(device(number), channel, unit, -2, FIRST + hours.start * HOUR, HOUR, tuple(registers))
    counter = 1 + 1000 * channel + hours.start
    one = msgspec.structs.replace(
        day_record(number, 0, counter), series=(series,), received_at=FIRST + 80 * DAY
    )
    await mdms.publish(Batch((one,)))


def said(mdms: Mdms, rule: str, number: int) -> list[tuple[int, int]]:
    """Hours that findings of a rule begin and end with."""
    found = [f for f in mdms.findings(1000, point(number)) if f.rule == rule]
    return sorted(((f.since - FIRST) // HOUR, (f.until - FIRST) // HOUR) for f in found)


def fact(number: int, kind: Stated, value: str, since: int = 0, until: int = 1 << 62) -> Fact:
    return Fact(usage_point=point(number), kind=kind, value=value, since=since, until=until)


async def test_use_without_an_agreement_is_found_also_when_the_end_is_entered_late(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 5)
    await fed(mdms, WATER, lambda hour: 10, range(240))
    await fed(mdms, 4, lambda hour: 10, range(240))  # a main meter of a house: nobody ever had an agreement
    agreed: dict[str, list[tuple[int, int | None]]] = {point(WATER): [(FIRST, None)]}
    mdms.agreements_from(lambda: agreed)
    await mdms.run_vee(NOW)
    assert said(mdms, "vacant", WATER) == []
    agreed[point(WATER)] = [(FIRST, FIRST + 3 * DAY), (FIRST + 6 * DAY, None)]
    await mdms.run_vee(NOW + 1)
    assert said(mdms, "vacant", WATER) == [(72, 96)]
    assert said(mdms, "vacant", 4) == []
    assert (await mdms.run_vee(NOW + 2)).readings == 0
    agreed[point(WATER)] = [(FIRST, None)]
    await mdms.run_vee(NOW + 3)
    # Each run is replayed with what it knew: nothing at first, then the empty days, then nothing again.
    key = Key(mdms._store.words.code(point(WATER)), MAIN)
    replayed = []
    for now in (NOW, NOW + 1, NOW + 2, NOW + 3):
        around = Around(mdms.surroundings, mdms.facts, mdms._store.words, now, None, lambda _: True, {})
        outcome = engine.run(mdms._store, {key: 0}, engine.Run(now, surroundings=around))
        replayed.append(sum(one.rule == "vacant" for one in outcome.findings))
    assert replayed == [0, 1, 1, 0]
    await mdms.close()


def alarm(number: int, day: int, status: int, *, forged: bool = False) -> Evidence:
    """What a meter signs at the end of a day; its chain is of no matter here."""
    end = FIRST + (day + 1) * DAY
    statement = EvidenceStatement(device(number), MAIN, end, 0, -2, 0x2C, status, day + 1, bytes(32)).pack()
    signature = KEY.sign(signed_bytes(statement))
    return Evidence(device(number), statement, bytes(len(signature)) if forged else signature)


async def test_a_signed_alarm_is_found_on_its_first_day_and_a_forged_one_never(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 5)
    for number in (WATER, 4):
        await fed(mdms, number, lambda hour: 10 * (hour % 24 > 5), range(145))
    await mdms.run_vee(NOW)
    assert said(mdms, "tamper", WATER) == []
    for counter, day in enumerate((2, 3, 5)):  # after the readings were judged
        for number in (WATER, 4):
            evidence = alarm(number, day, MAGNET | (FAULT if day == 3 else 0), forged=number == 4)
            record = evidence_record(evidence, number, 5000 + counter, FIRST + 81 * DAY)
            await mdms.publish(Batch((record,)))
    await mdms.run_vee(NOW + 1)
    assert said(mdms, "tamper", WATER) == [(71, 72), (143, 144)]
    assert said(mdms, "device-flag", WATER) == [(95, 96)]
    assert said(mdms, "tamper", 4) == []
    points = {point(WATER): {MAIN: 0}}
    assert len(mdms.facts.events(points, NOW)) == 3
    assert mdms.facts.events(points, FIRST + 81 * DAY - 1) == ()
    await mdms.close()


async def test_what_a_connection_carries_holds_in_its_period(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    await fed(mdms, WATER, lambda hour: 100 if hour in (30, 60, 61, 62, 90) else 20, range(100))
    await mdms.run_vee(NOW)
    assert said(mdms, "overload", WATER) == []
    await mdms.state([fact(WATER, "size", "0.4", FIRST + 40 * HOUR, FIRST + 80 * HOUR)], NOW + 1)
    await mdms.run_vee(NOW + 2)
    assert said(mdms, "overload", WATER) == [(59, 60)]  # while it lasts it is one
    await mdms.close()


async def test_a_business_is_judged_as_one(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 5)
    await mdms.state([fact(4, "class", "business")], NOW)
    for number in (WATER, 4):
        await fed(mdms, number, lambda hour: 1500 if hour == 50 else 20, range(100))
    await mdms.run_vee(NOW)
    assert (said(mdms, "overload", WATER), said(mdms, "overload", 4)) == ([(49, 50)], [])
    await mdms.close()


async def test_sub_meters_are_held_against_their_main_while_they_are_behind_it(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 13)
    await fed(mdms, WATER, lambda hour: 30 * (hour % 24 > 5), range(169))
    for number in (4, 8, 12):
        await fed(mdms, number, lambda hour: 10 * (hour % 24 > 5), range(169))
    await mdms.run_vee(NOW)
    assert said(mdms, "sub-meters", WATER) == []
    behind = [fact(number, "main", point(WATER), FIRST + DAY, FIRST + 5 * DAY) for number in (4, 8, 12)]
    await mdms.state([*behind, fact(WATER, "class", "business")], NOW + 1)
    await mdms.run_vee(NOW + 2)
    assert said(mdms, "sub-meters", WATER) == []
    # One of them leaves for a while: what it used is missing behind the main meter of another class.
    await mdms.state([fact(8, "main", "", FIRST + 2 * DAY, FIRST + 4 * DAY)], NOW + 3)
    await mdms.run_vee(NOW + 4)
    assert said(mdms, "sub-meters", WATER) == [(48, 72), (72, 96)]
    (finding, _) = [f for f in mdms.findings(1000) if f.rule == "sub-meters"]
    assert finding.facts == {"main": pytest.approx(5.4), "subs": pytest.approx(3.6)}
    trial = await mdms.try_rule(RuleChange(rule="sub-meters", values={"percent": "50"}), FIRST, NOW + 5)
    assert (trial.flags_now, trial.would_flag, trial.gone_count) == (2, 0, 2)
    await mdms.close()


@pytest.mark.parametrize(("volume", "found"), [(None, []), (5, []), (1, [(24, 48), (48, 72)])])
async def test_heat_is_held_against_the_volume_that_the_meter_counted(
    tmp_path: Path, volume: int | None, found: list[tuple[int, int]]
) -> None:
    mdms, _ = open_store(tmp_path, 3)
    await fed(mdms, HEAT, lambda hour: 150 if hour >= 24 else 0, range(73))
    if volume is not None:
        await fed(mdms, HEAT, lambda hour: volume, range(73), HEAT_VOLUME)
    run = await mdms.run_vee(NOW)
    assert said(mdms, "heat-balance", HEAT) == found
    # Whatever was found: that the temperatures are not known is said, not passed over.
    assert run.unjudged == {"heat-balance": 1}
    assert any(line.startswith("cannot judge: heat-balance of 1 heat meters") for line in _done(asdict(run)))
    assert (await mdms.run_vee(NOW + 1)).unjudged == {}
    await mdms.close()


async def test_another_channel_of_a_heat_meter_is_no_part_of_its_balance(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 3)
    await fed(mdms, HEAT, lambda hour: 150, range(73), 3)
    assert (await mdms.run_vee(NOW)).channels == 1
    assert {finding.rule for finding in mdms.findings()} <= {"high-use", "constant"}
    await mdms.close()


async def test_gas_is_held_against_days_of_heating_that_the_weather_tells(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 6)
    for number in (GAS, 5):
        await fed(mdms, number, lambda hour: 50 if hour < 48 else 0, range(121))
    await mdms.run_vee(NOW)
    assert said(mdms, "gas-heating", GAS) == []
    hours = range(FIRST // HOUR, FIRST // HOUR + 120)
    mdms.surroundings.put_weather({hour: 22.0 if hour < hours[72] else -5.0 for hour in hours})
    await mdms.state([fact(GAS, "heats", "gas")], NOW + 1)
    await mdms.run_vee(NOW + 1)
    assert said(mdms, "gas-heating", GAS) == [(0, 24), (24, 48), (72, 96), (96, 120)]
    assert said(mdms, "gas-heating", 5) == [(0, 24), (24, 48)]
    told = mdms.facts.told(NOW + 1)["heating"][""]
    mdms.surroundings.put_weather(dict.fromkeys(hours, 30.0))
    await mdms.state([Fact(usage_point="", kind="limit", value="31", until=FIRST + DAY)], NOW + 2)
    await mdms.run_vee(NOW + 3)
    assert mdms.facts.told(NOW + 1)["heating"][""] == told
    assert [span.value for span in mdms.facts.told(NOW + 3)["heating"][""]] == ["on", "off"]
    assert (await mdms.run_vee(NOW + 4)).readings == 0
    await mdms.close()


async def test_neighbours_shape_an_estimate_and_what_comes_late_does_not(tmp_path: Path) -> None:
    def shape(hour: int) -> int:
        return 90 if hour == 10 else 3

    methods = []
    for name in ("alone", "among"):
        folder = tmp_path / name
        folder.mkdir()
        mdms, _ = open_store(folder, 24)
        if name == "among":
            members = (WATER, 4, 8, 12, 16, GAS)  # a gas meter in it is no neighbour of water
            await mdms.state([fact(number, "group", "riser 3") for number in members], NOW)
        for number in (4, 8, 12, 20):
            await fed(mdms, number, shape, range(100))
        await fed(mdms, WATER, shape, range(4))
        await fed(mdms, WATER, shape, range(16, 100))
        await mdms.run_vee(NOW)
        shown = mdms.registers(point(WATER), MAIN, FIRST + 4 * HOUR, FIRST + 15 * HOUR)
        methods.append({made.split("/")[0] for made in shown.method})
        if name == "among":
            steps = [b - a for a, b in pairwise(shown.register)]
            assert steps.index(max(steps)) == 5
            before = shown.register.tolist()
            await mdms.state([fact(20, "group", "riser 3")], NOW + 1)
            late = msgspec.structs.replace(day_record(16, 0, 1), received_at=NOW + 2)
            await mdms.publish(Batch((late,)))
            await mdms.state([fact(WATER, "heats", "")], NOW + 3)  # have it judged again
            await mdms.state([fact(20, "group", "")], NOW + 3)
            await mdms.run_vee(NOW + 4)
            again = mdms.registers(point(WATER), MAIN, FIRST + 4 * HOUR, FIRST + 15 * HOUR)
            assert again.register.tolist() == before
        await mdms.close()
    assert methods == [{"class-profile"}, {"neighbour-group"}]


@pytest.mark.parametrize(
    ("stated", "code"),
    [
        (fact(0, "class", "castle"), "facts.value"),
        (fact(0, "size", "-1"), "facts.value"),
        (fact(0, "size", "nan"), "facts.value"),
        (fact(0, "size", "1" * 40), "facts.value"),
        (fact(0, "heats", "oil"), "facts.value"),
        (fact(0, "group", "a\x1b[2J"), "facts.value"),
        (fact(0, "limit", "15"), "facts.value"),
        (fact(0, "class", "business", 5, 5), "facts.value"),
        (fact(0, "class", "business", -1), "facts.value"),
        (fact(0, "class", "business", 0, 1 << 63), "facts.value"),
        (Fact(usage_point="", kind="class", value="business"), "facts.value"),
        (Fact(usage_point="'; drop table meters", kind="class", value="business"), "facts.unknown"),
        (fact(0, "main", "nobody"), "facts.unknown"),
        (fact(0, "main", point(0)), "facts.main"),
        (fact(0, "main", point(1)), "facts.main"),
    ],
)
async def test_what_cannot_be_is_refused_and_nothing_beside_it_is_kept(
    tmp_path: Path, stated: Fact, code: str
) -> None:
    mdms, _ = open_store(tmp_path, 2)
    with pytest.raises(DataError) as refused:
        await mdms.state([fact(1, "class", "business"), stated], NOW)
    assert refused.value.code == code
    assert mdms.facts.told(NOW) == {}
    await mdms.close()


async def test_too_many_at_once_or_behind_one_main_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mdms, _ = open_store(tmp_path, 13)
    monkeypatch.setattr("meterseal.mdms.facts.MOST_SUBS", 2)
    monkeypatch.setattr("meterseal.mdms.facts.MOST", 3)
    behind = [fact(number, "main", point(0)) for number in (4, 8, 12)]
    for given, code in ((behind, "facts.subs"), ([*behind, behind[0]], "facts.many")):
        with pytest.raises(DataError) as refused:
            await mdms.state(given, NOW)
        assert refused.value.code == code
    assert mdms.facts.told(NOW) == {}
    await mdms.state(behind[:2], NOW)
    await mdms.close()


def test_a_later_fact_wins_where_both_say_something() -> None:
    random = Random(7)
    for _ in range(300):
        spans: list[Span] = []
        plain = [""] * 20
        for _ in range(random.randrange(1, 8)):
            since, until = sorted(random.sample(range(21), 2))
            value = random.choice(("", "a", "b"))
            spans = laid(spans, Span(since, until, value))
            plain[since:until] = [value] * (until - since)
            assert [at(spans, instant) for instant in range(20)] == plain
        assert all(a.until < b.since or a.value != b.value for a, b in pairwise(spans))
        assert all(a.until <= b.since for a, b in pairwise(spans))


async def test_the_zone_of_a_usage_point_is_dated_and_has_nothing_judged_again(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 3)
    await fed(mdms, WATER, lambda hour: 10, range(240))
    await mdms.run_vee(NOW)
    await mdms.state([fact(0, "zone", "east"), fact(1, "zone", "east"), fact(2, "zone", "west", NOW)], NOW)
    await mdms.state([fact(1, "zone", "west", NOW + DAY), fact(0, "zone", "", NOW + 2 * DAY)], NOW + 1)
    assert mdms.facts.zones(NOW - 1) == {point(0): "east", point(1): "east"}
    assert mdms.facts.zones(NOW + DAY) == {point(0): "east", point(1): "west", point(2): "west"}
    assert mdms.facts.zones(NOW + 2 * DAY) == {point(1): "west", point(2): "west"}
    assert (await mdms.run_vee(NOW + 2)).readings == 0
    await mdms.close()


async def test_so_many_zones_that_no_forecast_could_hold_them_are_refused_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meterseal.mdms.facts.MOST_ZONES", 2)
    mdms, _ = open_store(tmp_path, 3)
    await mdms.state([fact(0, "zone", "east"), fact(1, "zone", "west")], NOW)
    with pytest.raises(DataError) as refused:
        await mdms.state([fact(2, "zone", "west"), fact(2, "zone", "north")], NOW)
    assert refused.value.code == "facts.zones"
    assert set(mdms.facts.zones(NOW)) == {point(0), point(1)}
    await mdms.close()


async def test_use_is_judged_as_it_was_and_not_as_the_register_counts_it(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    await fed(mdms, WATER, lambda hour: 100 if hour == 60 else 20, range(100))
    await mdms.state([fact(WATER, "size", "30")], NOW)
    await mdms.run_vee(NOW)
    assert said(mdms, "overload", WATER) == []
    await mdms.state([fact(WATER, "multiplier", "2000/5", FIRST + 40 * HOUR, FIRST + 80 * HOUR)], NOW + 1)
    await mdms.run_vee(NOW + 2)
    assert said(mdms, "overload", WATER) == [
        (39 + 1, 41)
    ]  # 80 an hour from there on: while it lasts it is one
    await mdms.close()


async def test_sub_meters_are_held_against_what_their_main_meter_passed(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 13)
    await fed(mdms, WATER, lambda hour: 3 * (hour % 24 > 5), range(169))
    for number in (4, 8, 12):
        await fed(mdms, number, lambda hour: 10 * (hour % 24 > 5), range(169))
    behind = [fact(number, "main", point(WATER)) for number in (4, 8, 12)]
    await mdms.state([*behind, fact(WATER, "multiplier", "10", 0, FIRST + 5 * DAY)], NOW)
    first = await mdms.run_vee(NOW)
    # From the day on from which its multiplier is 1 the main meter seems to pass a tenth.
    assert said(mdms, "sub-meters", WATER) == [(120, 144), (144, 168)]
    await mdms.state([fact(WATER, "multiplier", "10")], NOW + 1)
    await mdms.run_vee(NOW + 2)
    assert len(said(mdms, "sub-meters", WATER)) == 2, "nothing was found anew"
    assert mdms.replay(first.number).findings
    await mdms.close()


@pytest.mark.parametrize(("stated", "found"), [(None, 1), ("40", 0)])
async def test_a_change_tenfold_is_found_unless_a_multiplier_was_stated_there(
    tmp_path: Path, stated: str | None, found: int
) -> None:
    mdms, _ = open_store(tmp_path, 1)
    random = Random(3)
    pattern = [random.randrange(20, 60) for _ in range(24 * 50)]
    await fed(mdms, WATER, lambda hour: pattern[hour] * (1 if hour < 24 * 30 else 10), range(24 * 45))
    if stated:
        turn = FIRST + 30 * DAY
        await mdms.state(
            [fact(WATER, "multiplier", stated, 0, turn), fact(WATER, "multiplier", "4", turn)], NOW
        )
    await mdms.run_vee(NOW)
    assert len(said(mdms, "multiplier", WATER)) == found
    await mdms.close()


async def test_a_multiplier_with_decimals_makes_no_roll_over_and_no_fall(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    await mdms.state([fact(WATER, "multiplier", "0.001", FIRST + 30 * HOUR)], NOW)
    await fed(mdms, WATER, lambda hour: 20 + hour % 3, range(24 * 20))
    await mdms.run_vee(NOW)
    wrong = {one.rule for one in mdms.findings(1000)} & {
        "register-sum",
        "negative-step",
        "roll-over",
        "rule-failed",
    }
    assert wrong == set()
    await mdms.close()


async def test_estimates_are_of_the_register_whatever_it_is_multiplied_by(tmp_path: Path) -> None:
    shown = []
    for name, stated in (("plain", []), ("multiplied", [fact(WATER, "multiplier", "40")])):
        mdms, _ = open_store(tmp_path / name, 1)
        await mdms.state(stated, NOW)
        await fed(mdms, WATER, lambda hour: 20 + hour % 7, range(24 * 20))
        await fed(mdms, WATER, lambda hour: 20 + hour % 7, range(24 * 20 + 12, 24 * 30))
        await mdms.run_vee(NOW)
        rows = mdms.registers(point(WATER), MAIN, FIRST, NOW)
        assert (rows.quality == Quality.ESTIMATED).sum() == 12
        shown.append((rows.end_at.tolist(), rows.register.tolist(), rows.quality.tolist()))
        await mdms.close()
    assert shown[0] == shown[1]


async def test_what_is_shown_of_a_multiplier_ends_with_the_meter(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    await mdms.state([fact(WATER, "multiplier", "40", FIRST)], NOW)
    begins = {point(WATER): (0, FIRST + DAY)}
    told = mdms.facts.told(NOW, replaced=begins)
    assert told["multiplier"][point(WATER)] == [Span(FIRST, FIRST + DAY, "40")]
    assert mdms.facts.multiplied(begins)[1][point(WATER)].factors[0].until == FIRST + DAY
    await mdms.close()
