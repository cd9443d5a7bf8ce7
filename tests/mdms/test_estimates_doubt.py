"""How sure an estimate is: told from what was seen, in both directions, and no surer of few samples than it may be."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from meterseal.errors import DataError
from meterseal.mdms.editing import Wish
from meterseal.mdms.vee.context import HOUR
from meterseal.mdms.vee.estimators import ESTIMATORS, FED_IN, Gap, Known, bridge
from meterseal.mdms.vee.estimators.doubt import among, missed, scattered
from meterseal.model import EXPORT, MAIN
from tests.mdms.fleet import FIRST, open_store, point
from tests.mdms.test_estimators import MONDAY, gap_of, history
from tests.mdms.test_facts import NOW
from tests.mdms.test_fed_in import POWER, count, noon

STUDENT = {3: 2.920, 4: 2.353, 5: 2.132, 14: 1.771, 28: 1.703}
"""Nine in ten of so many samples, from the printed table."""


def bell(hour: int, height: float) -> int:
    """Digits that panels feed in in a local hour."""
    return round(height * max(0.0, np.sin((hour - 6) * np.pi / 12))) if 6 <= hour < 18 else 0


def test_a_straight_line_through_a_bell_says_how_far_off_it_is() -> None:
    """Cloudy and clear days by turns: what really ran through lies within the interval, at six hours and at a day."""
    heights = [300, 120, 260, 80, 310, 200, 150]
    times, registers = history(28, lambda day, hour: bell(hour, heights[day % 7]))
    for begin, hours in ((6, 6), (0, 24), (9, 6)):
        now = times[-1] + np.arange(begin) * HOUR + HOUR
        before = registers[-1] + np.cumsum([bell(hour, 220) for hour in range(begin)])
        until, shown = np.append(times, now), np.append(registers, before)
        truth = np.cumsum([bell(hour % 24, 220) for hour in range(begin, begin + hours)])
        gap = gap_of(hours, int(truth[-1]), until, shown)
        about = Known.of(gap, until, shown, medium="electricity", fed=True)
        found = bridge(gap, about, ("flat",))
        assert found is not None
        off = np.abs(np.array(found.registers) - gap.first - truth[:-1])
        assert off.max() > 0.03 * truth[-1], "a line is far off"
        assert (off <= found.uncertainty).all()
        shaped = bridge(gap, about, FED_IN)
        assert shaped is not None
        assert shaped.estimator.name == "average-like-days"
        assert max(shaped.uncertainty) < max(found.uncertainty)


@pytest.mark.parametrize(
    ("fed", "days", "line"),
    [(True, 4, "average-like-days"), (False, 4, "flat")],
)
def test_the_sun_knows_no_weekday(fed: bool, days: int, line: str) -> None:
    """Four days before a Monday: of use none is like it, of what was fed in all are, the nearest first."""
    times, registers = history(days, lambda day, hour: (-day) * (5 if hour == 9 + day else 0))
    gap = gap_of(24, 100, times, registers)
    about = Known.of(gap, times, registers, medium="electricity", fed=fed)
    order = tuple(name for name in FED_IN if name not in ("neighbour-group", "linear", "like-day"))
    found = bridge(gap, about, order)
    assert found is not None
    assert found.estimator.name == line
    assert found.sources == (days if fed else 0)
    nearest = bridge(gap, about, ("like-day",))
    assert (nearest is not None) == fed
    if nearest is not None:
        assert np.flatnonzero(np.diff([gap.first, *nearest.registers, gap.last])).tolist() == [8]


def test_no_more_than_two_weeks_stand_for_the_sun_and_of_use_four_mondays() -> None:
    times, registers = history(40, lambda day, hour: 1 + hour)
    gap = gap_of(24, 300, times, registers)
    for fed, sources in ((True, 14), (False, 4)):
        found = bridge(gap, Known.of(gap, times, registers, fed=fed), ("average-like-days",))
        assert found is not None
        assert found.sources == sources


@pytest.mark.parametrize("count", sorted(STUDENT))
def test_of_few_samples_an_interval_is_as_wide_as_students(count: int) -> None:
    gap = Gap(MONDAY, MONDAY + 2 * HOUR, HOUR, 0, 100)
    first = np.linspace(0.2, 0.8, count)
    off = among(gap, np.stack([first, 1 - first], axis=1))
    wanted = STUDENT[count] * np.sqrt(first.var(ddof=1) * (1 + 1 / count))
    assert 1.645 * np.sqrt(off) == pytest.approx([wanted], rel=0.02)


def test_days_that_are_off_as_a_whole_are_not_taken_for_hours_that_are() -> None:
    """Against draws of whole days: three days of samples, then a fourth that is met by the registers on both sides."""
    draw = np.random.default_rng(7)
    shape = np.array([0.0, 1, 3, 1, 0, 0])
    gap = Gap(MONDAY, MONDAY + 18 * HOUR, HOUR, 0, 100)
    samples = [shape * draw.uniform(0.2, 1.8, (400, 1)) + draw.uniform(0, 0.2, (400, 6)) for _ in range(3)]
    weights = np.concatenate([one.mean(axis=0) for one in samples])
    told = scattered(gap, samples, weights)
    seen = np.cumsum(np.concatenate([one[draw.permutation(400)] for one in samples], axis=1), axis=1)
    apart = seen - (np.cumsum(weights) / weights.sum()) * seen[:, -1:]
    assert np.sqrt(told) == pytest.approx(apart.std(axis=0)[:-1] / weights.sum(), rel=0.15)
    alone = np.concatenate([one.var(axis=0) for one in samples])
    assert np.sqrt(told).max() > 1.3 * np.sqrt(alone.sum()) / 2 / weights.sum(), (
        "hours one by one say far less"
    )


def test_a_part_of_an_interval_is_as_sure_as_it_is_small() -> None:
    """Read ten minutes before the hour: hardly anything can have run through before the first inner instant."""
    times, registers = history(20, lambda day, hour: 10 + (day * 7 + hour * 5) % 9)
    whole, part = (
        Gap(MONDAY, MONDAY + 3 * HOUR, HOUR, int(registers[-1]), int(registers[-1]) + 900, head=head)
        for head in (1.0, 0.1)
    )
    sure, unsure = (missed(gap, Known.of(gap, times, registers), np.ones(3))[0] for gap in (part, whole))
    assert sure < unsure / 4


def test_where_too_little_was_seen_only_the_registers_bound_it() -> None:
    times, registers = history(2, lambda day, hour: 3)
    gap = gap_of(4, 40, times, registers)
    assert np.isinf(missed(gap, Known.of(gap, times, registers), np.ones(4))).all()
    found = bridge(gap, Known.of(gap, times, registers), ("flat",))
    assert found is not None
    assert found.uncertainty == (30, 20, 30)
    profile = bridge(gap, Known.of(gap, times, registers, medium="electricity"), ("class-profile",))
    assert profile is not None
    assert max(profile.uncertainty) < 30


def test_a_line_comes_last_for_what_was_fed_in_and_every_method_of_it_is_one() -> None:
    assert set(FED_IN) <= set(ESTIMATORS)
    assert FED_IN[-2:] == ("linear", "flat")
    assert FED_IN[0] == "neighbour-group"


async def test_a_short_gap_of_what_was_fed_in_is_shaped_by_the_days_before(tmp_path: Path) -> None:
    """In the store and by an edit: two hours at the edge of the sun, which a straight line would share alike. Of use the
    three days before would be too few that are like it.
    """
    mdms, _ = open_store(tmp_path, 4)
    at = FIRST + (3 * 24 + 9) * HOUR
    lost = range((at - FIRST) // HOUR, (at - FIRST) // HOUR + 1)
    await count(mdms, POWER, EXPORT, noon, lost=lost, days=8)
    await count(mdms, POWER, MAIN, noon, days=8)
    await mdms.run_vee(NOW)
    shown = mdms.registers(point(POWER), EXPORT, at - HOUR, at + HOUR)
    assert shown.method[1].startswith("average-like-days/")
    before, filled, after = (int(one) for one in shown.register)
    assert after - before == 100
    assert filled in (before, after), "one of the two hours has no sun"
    wish = Wish(
        usage_point=point(POWER), since=at - HOUR, until=at + HOUR, method="average-like-days", channel=EXPORT
    )
    with pytest.raises(DataError, match="visible already"):
        mdms.edits.plan(wish, NOW)
    with pytest.raises(DataError, match="too little to go by"):
        mdms.edits.plan(msgspec.structs.replace(wish, channel=MAIN), NOW)
    await mdms.close()
