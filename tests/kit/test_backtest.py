"""The back-test hides what it says it hides, splits by usage point, and says the same again."""

from __future__ import annotations

from random import Random

import msgspec
import numpy as np
import pytest

from meterseal.errors import LocalError
from meterseal.kit.backtest import estimates, faults, samples
from meterseal.kit.backtest import page as pages
from meterseal.kit.backtest.around import alone, known
from meterseal.kit.backtest.ground import Street
from meterseal.kit.backtest.staged import STAGED, SUMMER
from meterseal.mdms.vee.estimators import ESTIMATORS, FED_IN
from meterseal.mdms.vee.rules import RULES


@pytest.fixture(scope="module")
def street() -> Street:
    return Street(188, 8, published=True)


@pytest.fixture(scope="module")
def larger() -> Street:
    """With enough homes for a main meter, and one that heats with gas."""
    return Street(188, 16, published=True)


def test_the_halves_share_no_dwelling_and_leave_none_out(street: Street) -> None:
    other = Street(188, 8, published=False)
    halves = [
        {int(one.name) for found in half.profiles.values() for one in found} for half in (street, other)
    ]
    assert halves[0] & halves[1] == set()
    assert sorted(halves[0] | halves[1]) == list(range(8))
    assert all(halves)


def test_every_method_is_scored_meets_the_registers_and_again_says_the_same(street: Street) -> None:
    found = list(estimates.scores(street, lengths=(2, 24), times=1))
    assert {score.method for score in found} == {estimates.IN_ORDER, *ESTIMATORS}
    assert {score.method for score in found if score.hours == 24} == {estimates.IN_ORDER, *ESTIMATORS} - {
        "linear"
    }
    assert {score.energy for score in found} == {0}
    assert all(0 <= score.held <= 1 and score.gaps > 0 for score in found)
    assert found == list(estimates.scores(street, lengths=(2, 24), times=1))
    day = {
        score.method: score.hourly for score in found if (score.medium, score.hours) == ("electricity", 24)
    }
    assert day[estimates.IN_ORDER] < day["flat"]


def test_a_method_that_knew_the_truth_would_make_no_error(
    street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = street.profiles["electricity"][0]

    def knows(gap: object, known: object) -> object:
        shape = ESTIMATORS["flat"].shape(gap, known)  # type: ignore[arg-type]
        first = int(np.searchsorted(profile.end_at, gap.since))  # type: ignore[attr-defined]
        assert shape is not None
        return shape._replace(weights=np.diff(profile.register[first : first + gap.parts + 1]).astype(float))  # type: ignore[attr-defined]

    cheat = msgspec.structs.replace(ESTIMATORS["flat"], name="cheat", shape=knows)
    monkeypatch.setitem(ESTIMATORS, "cheat", cheat)
    begin = len(profile.end_at) - 200
    hourly, inner, peak, energy, held, use = estimates.gap_of(street, profile, begin, 24, "cheat")  # type: ignore[misc]
    assert (hourly, inner, peak, energy, held) == (0, 0, 0, 0, 1)
    assert use > 0
    honest = estimates.gap_of(street, profile, begin, 24, "flat")
    assert honest is not None
    assert honest[0] > 0


def test_every_rule_has_a_fault_that_is_found_and_a_sane_street_is_left_alone(larger: Street) -> None:
    found = list(faults.detections(larger))
    assert {one.fault for one in found} == {*faults.FAULTS, *STAGED}
    assert {one.rule for one in found} == set(RULES), "a rule without an injected fault"
    sure = {
        one.fault: one.found / one.injected
        for one in found
        if one.rule not in ("copied-day", "multiplier", "lonely-spike", "high-use", "low-use", "sub-meters")
        and "3 minutes" not in one.fault
        and "10 %" not in one.fault
    }
    assert sure == dict.fromkeys(sure, 1.0)
    rates = {(one.fault, one.medium): one.found / one.injected for one in found}
    assert rates["energy 10 % off its water", "heat"] == 0, "within what the rule bears"
    assert rates["half of the use past the meter", "electricity"] == 0
    past = {
        rate for (fault, _), rate in rates.items() if fault == "all but 2 to 8 % of the use past the meter"
    }
    assert min(past) > 0.7
    assert all(one.per_thousand < 1 for one in faults.alarms(larger))


def test_a_street_as_it_is_is_judged_by_every_rule_with_what_it_wants_to_know(larger: Street) -> None:
    """No false alarm counts where a rule had nothing to look at."""
    asked: set[str] = set()
    for medium, truths in larger.profiles.items():
        for truth in truths:
            for scene in known(larger, truth):
                context = scene.context
                assert context.medium == medium
                asked |= {
                    name
                    for name in ("mains", "balances", "clocks", "exports", "sizes", "vacancies")
                    if getattr(context, name)
                }
                asked |= {"heating"} if context.heating.on and medium == "gas" else set()
                for balance in context.balances:
                    assert any(one is not None and one.samples >= 12 for one in balance.water)
                for main in context.mains:
                    sums = [np.diff(scene.channels[at].register).sum() for at in main.channels]
                    assert 0.96 < sums[0] / sum(sums[1:]) < 1.04
    assert asked >= {"mains", "balances", "clocks", "exports", "sizes", "heating"}


def test_what_is_put_in_begins_where_it_is_said_to_and_not_before(larger: Street) -> None:
    """Up to the row of the fault the meter shows what it would have shown without."""
    random = Random(7)
    for fault, (stage, _, media, _) in STAGED.items():
        for medium in media:
            truth = next((one for one in larger.profiles[medium] if one.sane and one.lived_in), None)
            put = None if truth is None else stage(larger, truth, len(truth.end_at) - 1_000, random)
            if truth is None or put is None:
                continue
            (channels, context), at = put
            assert len(truth.end_at) - 1_000 - SUMMER - 24 <= at <= len(truth.end_at) - 1_000, fault
            if medium != "heat" and not context.mains and "decimal point" not in fault:
                assert channels[0].register[: at + 1].tolist() == truth.register[: at + 1].tolist(), fault
            plain = alone(truth)
            same = all(
                np.array_equal(*both) for both in zip(channels[0][:2], plain.channels[0][:2], strict=True)
            )
            assert not same or context != plain.context, fault


def test_what_homes_feed_in_is_estimated_by_the_methods_that_are_asked_for_it(street: Street) -> None:
    found = [one for one in estimates.scores(street, lengths=(24,), times=2) if one.fed]
    assert {one.method for one in found} == {estimates.IN_ORDER, *FED_IN} - {"linear"}
    rates = {one.method: one.hourly for one in found}
    assert rates[estimates.IN_ORDER] == rates["neighbour-group"] < rates["flat"]
    assert min(one.held for one in found) > 0.8, "an interval that is stated to hold nine in ten"
    assert {one.energy for one in found} == {0}
    (truth, *_) = street.fed
    hours = (truth.end_at[1:] // 3_600_000 + 7) % 24
    assert np.diff(truth.register)[(hours < 4) | (hours > 21)].sum() == 0, "no sun at night"
    assert truth.register[-1] > 10_000


def test_the_page_says_how_it_was_made_and_shows_every_line(street: Street) -> None:
    found = pages.Part(
        shown=("1", "3", "4", "6"),
        estimates=list(estimates.scores(street, lengths=(2,), times=1)),
        detections=[],
        alarms=list(faults.alarms(street)),
    )
    page = pages.page(pages.Report(seed=188, dwellings=8, street=found))
    assert "| electricity, fed in | 2 |" in page
    assert "meterseal vee backtest --seed 188 --dwellings 8 --page" in page
    assert sum(line.startswith("| water | 2 |") for line in page.splitlines()) == len(
        [score for score in found.estimates if score.medium == "water"]
    )
    missed = faults.Detection(fault="a thief", rule="low-use", medium="gas", injected=8, found=7)
    sure = msgspec.structs.replace(missed, fault="a burst", found=8)
    weak = pages.page(
        pages.Report(
            seed=188,
            dwellings=8,
            street=msgspec.structs.replace(found, detections=[missed, sure]),
        )
    )
    assert "- `low-use`: a thief (gas 88%)" in weak
    assert "a burst (" not in weak
    assert "sample meters" not in page
    homes = tuple(home for home in samples.HOMES if samples.is_published(188, home))
    both = pages.page(
        pages.Report(
            seed=188,
            dwellings=8,
            street=found,
            samples=msgspec.structs.replace(found, shown=homes),
            package="opendsm 1",
        )
    )
    assert "--dwellings 8 --samples --page" in both
    assert [line for line in both.splitlines() if line.startswith("# ")] == both.splitlines()[:1]
    held_back = next(line for line in both.splitlines() if line.startswith("Not shown"))
    assert all(home in held_back for home in samples.HOMES if home not in homes)
    assert not any(home in held_back for home in homes)


def test_sample_meters_are_split_by_usage_point_with_some_of_each_source_in_both_halves() -> None:
    for seed in range(20):
        shown = {home for home in samples.HOMES if samples.is_published(seed, home)}
        for source in samples.SOURCES:
            here = {home for home in samples.HOMES if home.startswith(source)}
            assert here & shown
            assert here - shown
    assert len({frozenset(h for h in samples.HOMES if samples.is_published(s, h)) for s in range(20)}) > 1


def test_half_hours_become_hours_and_what_is_not_whole_is_a_hole() -> None:
    half_hours = [
        ("2013-01-01 00:00:00", 0.25),
        ("2013-01-01 00:30:00", 0.5),
        ("2013-01-01 01:00:00", 1.0),
        ("2013-01-01 01:00:00", 1.0),  # said twice
        ("2013-01-01 01:30:00", 1.0),
        ("2013-01-01 02:30:00", 4.0),  # without its first half
        ("2013-01-01 03:00:00", 0.125),
        ("2013-01-01 03:30:00", 0.125),
    ]
    end_at, register = samples.registers(half_hours, 100.0)
    local = (end_at + 8 * 3_600_000) // 3_600_000 % 24
    assert local.tolist() == [0, 1, 2, 4]
    assert register.tolist() == [0, 75, 275, 300]


def test_without_the_package_its_meters_are_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "PACKAGE", "no_package_has_this_name")
    with pytest.raises(LocalError) as refused:
        pages.run(188, 4, samples=True)
    assert refused.value.code == "backtest.samples"
    assert "make backtest" in str(refused.value)
