"""The back-test hides what it says it hides, splits by usage point, and says the same again."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from meterseal.kit import backtest
from meterseal.mdms.vee.estimators import ESTIMATORS
from meterseal.mdms.vee.rules import RULES


@pytest.fixture(scope="module")
def street() -> backtest.Street:
    return backtest.Street(188, 8, published=True)


def test_the_halves_share_no_dwelling_and_leave_none_out(street: backtest.Street) -> None:
    other = backtest.Street(188, 8, published=False)
    halves = [{one.dwelling for found in half.profiles.values() for one in found} for half in (street, other)]
    assert halves[0] & halves[1] == set()
    assert sorted(halves[0] | halves[1]) == list(range(8))
    assert all(halves)


def test_every_method_is_scored_meets_the_registers_and_again_says_the_same(street: backtest.Street) -> None:
    found = list(backtest.scores(street, lengths=(2, 24), times=1))
    assert {score.method for score in found} == {backtest.IN_ORDER, *ESTIMATORS}
    assert {score.method for score in found if score.hours == 24} == {backtest.IN_ORDER, *ESTIMATORS} - {
        "linear"
    }
    assert {score.energy for score in found} == {0}
    assert all(0 <= score.held <= 1 and score.gaps > 0 for score in found)
    assert found == list(backtest.scores(street, lengths=(2, 24), times=1))
    day = {
        score.method: score.hourly for score in found if (score.medium, score.hours) == ("electricity", 24)
    }
    assert day[backtest.IN_ORDER] < day["flat"]


def test_a_method_that_knew_the_truth_would_make_no_error(
    street: backtest.Street, monkeypatch: pytest.MonkeyPatch
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
    hourly, inner, peak, energy, held, use = backtest._gap(street, profile, begin, 24, "cheat")  # type: ignore[misc]
    assert (hourly, inner, peak, energy, held) == (0, 0, 0, 0, 1)
    assert use > 0
    honest = backtest._gap(street, profile, begin, 24, "flat")
    assert honest is not None
    assert honest[0] > 0


def test_faults_are_found_and_a_sane_street_is_left_alone(street: backtest.Street) -> None:
    found = list(backtest.detections(street))
    assert {one.fault for one in found} == set(backtest.FAULTS)
    assert {one.rule for one in found} <= set(RULES)
    slow = {"a day delivered twice", "a decimal point that slipped"}
    assert all(one.found == one.injected > 0 for one in found if one.fault not in slow)
    assert all(one.per_thousand < 1 for one in backtest.alarms(street))


def test_the_page_says_how_it_was_made_and_shows_every_line(street: backtest.Street) -> None:
    report = backtest.Report(
        seed=188,
        dwellings=8,
        published=4,
        estimates=list(backtest.scores(street, lengths=(2,), times=1)),
        detections=[],
        alarms=list(backtest.alarms(street)),
    )
    page = backtest.page(report)
    assert "meterseal vee backtest --seed 188 --dwellings 8" in page
    assert sum(line.startswith("| water | 2 |") for line in page.splitlines()) == len(
        [score for score in report.estimates if score.medium == "water"]
    )
