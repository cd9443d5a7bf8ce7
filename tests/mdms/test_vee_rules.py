"""Every registered rule keeps the promises of a rule; then each is shown what it is for."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterseal.mdms.vee.columns import HOUR, Columns
from meterseal.mdms.vee.estimate import Linear, linear
from meterseal.mdms.vee.rules import RULES, Gap, NegativeStep, Spike, Stuck, suspects
from meterseal.model import Medium

MEDIA: tuple[Medium, ...] = ("water", "gas", "heat", "electricity")
every_rule = pytest.mark.parametrize("name", sorted(RULES))
SMALL = {
    "gap": Gap(),
    "negative-step": NegativeStep(),
    "spike": Spike(largest=300, window=6, least=3),
    "stuck-register": Stuck(readings=3),
}
"""Parameters under which short series already have something to object to."""


def columns(*series: list[tuple[int, int | None]]) -> Columns:
    rows = [(number, at, register) for number, one in enumerate(series) for at, register in one]
    return Columns(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] or 0 for row in rows], np.int64),
        np.full(len(rows), -2, np.int64),
        np.array([row[2] is not None for row in rows], np.bool_),
    )


def hourly(*registers: int | None) -> list[tuple[int, int | None]]:
    return [(hour * HOUR, register) for hour, register in enumerate(registers)]


one_series = st.lists(
    st.tuples(st.integers(1, 3), st.one_of(st.none(), st.integers(-2, 3), st.just(500))), max_size=40
).map(
    lambda steps: [
        (
            HOUR * sum(step for step, _ in steps[: k + 1]),
            None if change is None else 1000 + sum(c or 0 for _, c in steps[: k + 1]),
        )
        for k, (_, change) in enumerate(steps)
    ]
)
tables = st.lists(one_series, max_size=4).map(lambda series: columns(*series))


@every_rule
@given(table=tables)
def test_a_mask_has_the_length_of_the_columns_and_changes_none_of_them(name: str, table: Columns) -> None:
    before = Columns(*(column.copy() for column in table))
    for column in table:
        column.flags.writeable = False
    found = RULES[name].mask(table, SMALL[name])
    assert found.dtype == np.bool_
    assert found.shape == table.end_at.shape
    assert all((column == copy).all() for column, copy in zip(table, before, strict=True))


@every_rule
@given(table=tables)
def test_a_rule_says_the_same_again_and_nothing_about_rows_that_say_nothing(
    name: str, table: Columns
) -> None:
    rule = RULES[name]
    found = rule.mask(table, SMALL[name])
    assert (found == rule.mask(table, SMALL[name])).all()
    assert not (found & ~table.valid).any()
    noise = table._replace(register=np.where(table.valid, table.register, 10**9))
    assert (found == rule.mask(noise, SMALL[name])).all()


@every_rule
@pytest.mark.parametrize("medium", MEDIA)
def test_a_rule_takes_nothing_and_all_missing(name: str, medium: Medium) -> None:
    rule = RULES[name]
    parameters = rule.defaults[medium]
    assert rule.mask(columns(), parameters).tolist() == []
    assert not rule.mask(columns(hourly(None, None, None), hourly(None)), parameters).any()
    assert not rule.mask(columns(hourly(5)), parameters).any()
    assert rule.before(parameters) >= 1
    assert rule.version >= 1


@every_rule
@given(table=tables, data=st.data())
def test_a_part_with_its_context_is_judged_like_the_whole(
    name: str, table: Columns, data: st.DataObject
) -> None:
    rule = RULES[name]
    size = len(table.end_at)
    start = data.draw(st.integers(0, size))
    stop = data.draw(st.integers(start, size))
    context = start
    wanted = rule.before(SMALL[name])
    while context and wanted:
        context -= 1
        wanted -= bool(table.valid[context]) and bool(
            table.series[context] == table.series[min(start, size - 1)]
        )
    whole = rule.mask(table, SMALL[name])[start:stop]
    part = rule.mask(table.part(context, stop), SMALL[name])[start - context :]
    assert (whole == part).all()


@every_rule
@given(one=one_series, other=one_series)
def test_series_do_not_see_each_other(
    name: str, one: list[tuple[int, int | None]], other: list[tuple[int, int | None]]
) -> None:
    rule = RULES[name]
    apart = [rule.mask(columns(series), SMALL[name]).tolist() for series in (one, other)]
    assert rule.mask(columns(one, other), SMALL[name]).tolist() == apart[0] + apart[1]


def flagged(name: str, table: Columns, medium: Medium = "water") -> list[int]:
    return np.flatnonzero(RULES[name].mask(table, RULES[name].defaults[medium])).tolist()


def test_gap_flags_the_first_reading_after_a_hole() -> None:
    assert flagged("gap", columns(hourly(1, 2, None, 4, 5), [(0, 1), (HOUR, 2), (5 * HOUR, 3)])) == [3, 7]


def test_negative_step_flags_a_fall_past_missing_readings() -> None:
    assert flagged("negative-step", columns(hourly(10, 12, None, 11, 11, 12))) == [3]


@pytest.mark.parametrize(
    ("medium", "litre_like"), [("water", 501), ("gas", 601), ("heat", 4001), ("electricity", 1401)]
)
def test_spike_flags_more_than_the_connection_carries(medium: Medium, litre_like: int) -> None:
    quiet = [3 * hour for hour in range(60)]
    jump = [*quiet, quiet[-1] + litre_like, quiet[-1] + litre_like + 3]
    assert flagged("spike", columns(hourly(*jump)), medium) == [60]
    assert flagged("spike", columns(hourly(*quiet, quiet[-1] + litre_like - 1)), medium) == []
    hours = [(at, register) for at, register in hourly(*quiet)] + [(61 * HOUR, quiet[-1] + 2 * litre_like)]
    assert flagged("spike", columns(hours), medium) == [60]


def test_a_connection_that_always_uses_so_much_has_no_spikes() -> None:
    assert flagged("spike", columns(hourly(*[600 * hour for hour in range(60)]))) == list(range(1, 25))
    assert flagged("spike", columns(hourly(*[600 * h for h in range(60)], 600 * 60 + 1200))) == [
        *range(1, 25),
        60,
    ]


def test_stuck_flags_a_register_that_stands_still_for_days() -> None:
    moving, still = list(range(10)), [9] * 60
    found = flagged("stuck-register", columns(hourly(*moving, *still)), "electricity")
    assert found == list(range(9 + 47, 70))
    assert flagged("stuck-register", columns(hourly(*moving, *still)), "water") == []


def test_doubt_falls_on_the_reading_that_is_taken_back() -> None:
    def doubted(*registers: int) -> list[int]:
        table = columns(hourly(*registers))
        masks = {name: rule.mask(table, SMALL[name]) for name, rule in RULES.items()}
        return np.flatnonzero(suspects(table, masks)).tolist()

    assert doubted(1, 2, 3, 4, 5, 9999, 6, 7) == [5]
    assert doubted(1, 2, 3, 4, 5, 999, 1000, 1001) == []
    assert doubted(10, 11, 12, 3, 4, 5) == [3]


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(-2, 9)), min_size=1, max_size=20),
    st.integers(0, 6),
)
def test_estimates_stay_between_the_good_registers_and_fill_only_short_gaps(
    steps: list[tuple[int, int]], longest: int
) -> None:
    times = np.cumsum([step for step, _ in steps]).tolist()
    registers = np.cumsum([change for _, change in steps]).tolist()
    known = dict(zip(times, registers, strict=True))
    estimates = dict(linear(times, registers, 1, Linear(longest)))
    assert not set(estimates) & set(known)
    expected = {
        at for a, b in pairwise(times) for at in range(a + 1, b) if b - a <= longest and known[b] >= known[a]
    }
    assert set(estimates) == expected
    merged = sorted((known | estimates).items())
    for (at, value), (later, following) in pairwise(merged):
        if at in estimates or later in estimates:
            assert value <= following


def test_an_estimate_is_exact_and_two_hours_are_the_limit() -> None:
    assert linear([0, 2 * HOUR], [10, 21], HOUR, Linear()) == [(HOUR, 15)]
    assert linear([0, 3 * HOUR], [10, 22], HOUR, Linear()) == []
    assert linear([0, 2 * HOUR], [10, 18], HOUR // 4, Linear()) == [
        (k * HOUR // 4, 10 + k) for k in range(1, 8)
    ]
    assert linear([0, 2 * HOUR], [10, 9], HOUR, Linear()) == []
    assert linear([0, 2 * HOUR + 1], [10, 12], HOUR, Linear()) == []
