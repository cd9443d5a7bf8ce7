"""Every registered rule keeps the promises of a rule and says what a slow obvious one says."""

from __future__ import annotations

import warnings
from random import Random

import numpy as np
import pytest
from msgspec.structs import replace

from meterseal.kit.oracle import ORACLES, flagged
from meterseal.mdms.columns import EMPTY, Columns, join
from meterseal.mdms.vee.context import CLASSES, Context, Heating, Main, Weather
from meterseal.mdms.vee.rules import RULES
from meterseal.mdms.vee.rules.rule import Reach
from meterseal.mdms.vee.view import View
from meterseal.model import Medium
from tests.mdms.vee_tables import FIRST, STEP, columns, evenly, small, table

every_rule = pytest.mark.parametrize("name", sorted(RULES))
TABLES = [table(seed) for seed in range(60)]


def mask(name: str, given: Columns, context: Context) -> list[int]:
    return np.flatnonzero(RULES[name].mask(given, context, small(name))).tolist()


def test_each_rule_has_its_oracle_and_no_other() -> None:
    assert sorted(ORACLES) == sorted(RULES)
    assert all(name == rule.name and rule.version >= 1 for name, rule in RULES.items())


@every_rule
def test_a_rule_says_what_its_oracle_says(name: str) -> None:
    objections = 0
    for seed, (given, context) in enumerate(TABLES):
        found = mask(name, given, context)
        assert found == flagged(name, given, context, small(name)), f"table {seed}"
        objections += len(found)
    assert objections >= 3, "the tables have nothing for this rule"


@every_rule
def test_a_rule_changes_nothing_and_says_the_same_again(name: str) -> None:
    for given, context in TABLES[:12]:
        before = join([given])
        for column in given:
            column.flags.writeable = False
        first = RULES[name].mask(given, context, small(name))
        assert first.dtype == np.bool_
        assert first.shape == given.end_at.shape
        assert (first == RULES[name].mask(before, context, small(name))).all()
        assert all(np.array_equal(column, copy) for column, copy in zip(given, before, strict=True))


@every_rule
@pytest.mark.parametrize("customer", CLASSES)
def test_a_rule_takes_nothing_and_silence(name: str, customer: str) -> None:
    rule = RULES[name]
    silent = columns([], [(FIRST + k * STEP, 7, -2, 3, 0, 0) for k in range(9)], [(FIRST, 5, -2, 0, 0, 0)])
    for medium in rule.media:
        parameters = rule.defaults(customer, medium)
        context = Context(medium=medium, customer=customer)
        assert rule.mask(EMPTY, context, parameters).tolist() == []
        assert not rule.mask(silent, context, parameters).any()
        assert rule.reach(parameters).before >= 0


@every_rule
def test_rows_that_say_nothing_change_nothing(name: str) -> None:
    for given, context in TABLES[:20]:
        silent = given.quality == 3
        noise = given._replace(
            register=np.where(silent, 10**9, given.register), unit=np.where(silent, 77, given.unit)
        )
        assert mask(name, given, context) == mask(name, noise, context)


@every_rule
def test_channels_in_another_order_are_judged_alike(name: str) -> None:
    for seed, (given, context) in enumerate(TABLES[:20]):
        order = Random(seed).sample(range(given.channels), given.channels)
        moved = join([given.part(k, k + 1) for k in order])
        whole = RULES[name].mask(given, context, small(name))
        parts = [whole[given.starts[k] : given.starts[k + 1]] for k in order]
        assert (RULES[name].mask(moved, context.pick(order), small(name)) == np.concatenate(parts)).all()


@every_rule
def test_a_part_with_its_context_is_judged_like_the_whole(name: str) -> None:
    for seed, (given, context) in enumerate(TABLES):
        random = Random(seed)
        reach = RULES[name].reach(small(name))
        if len(given.end_at) < 2:
            continue
        since = int(random.choice(given.end_at.tolist()))
        until = since + random.randrange(40) * STEP
        cut, judged = _cut(given, reach, since, until)
        whole = RULES[name].mask(given, context, small(name))
        part = RULES[name].mask(given_rows(given, cut), context, small(name))
        rows = np.flatnonzero(cut)
        chosen = judged[rows]
        assert (part[chosen] == whole[rows[chosen]]).all(), f"table {seed}"


def _cut(given: Columns, reach: Reach, since: int, until: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a part, and those in it that lie in since <= end_at <= until."""
    speaking = np.isin(given.quality, (0, 4))
    judged = (given.end_at >= since) & (given.end_at <= until)
    cut = np.zeros(len(judged), np.bool_)
    for k in range(given.channels):
        rows = np.arange(given.starts[k], given.starts[k + 1])
        rows = rows[speaking[rows]]
        inside = np.flatnonzero(judged[rows])
        # A rule over several channels sees the same time of each.
        begin = (
            max(int(inside[0]) - 1, 0) if len(inside) else int(np.searchsorted(given.end_at[rows], since)) - 1
        )
        if not len(rows) or begin < 0:
            cut[rows[: len(inside)]] = True
            continue
        early = np.flatnonzero(given.end_at[rows] <= given.end_at[rows[begin]] - reach.before)
        first = int(early[-1]) if len(early) else 0
        last = int(inside[-1]) + reach.after if len(inside) else begin
        cut[rows[first : last + 1]] = True
    return cut, judged


def given_rows(given: Columns, chosen: np.ndarray) -> Columns:
    starts = np.concatenate([[0], np.cumsum(chosen)])[given.starts]
    return Columns._make([starts, *(column[chosen] for column in given[1:])])


@every_rule
def test_extreme_numbers_neither_raise_nor_warn(name: str) -> None:
    random = Random(5)
    extreme = (0, 1, -1, 2**63 - 1, -(2**63), 2**60, 2**53, 10**18, 99_999_999)
    for _ in range(40):
        rows = sorted(
            {random.choice((0, FIRST, 2**52, random.randrange(2**45))) + k * STEP for k in range(12)}
        )
        given = columns(
            *(
                [
                    (
                        at,
                        random.choice(extreme),
                        random.choice((-128, -2, 0, 3, 127)),
                        random.randrange(5),
                        0,
                        0,
                    )
                    for at in rows
                ]
                for _ in range(3)
            )
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = RULES[name].mask(given, Context(interval=STEP), small(name))
        assert found.shape == given.end_at.shape


def test_a_view_of_some_channels_is_the_whole_ones_part() -> None:
    given, context = table(3)
    view = View(given, context)
    assert (
        view.only([2, 0]).days.use
        == np.concatenate([View(given, context.pick(range(4))).only([k]).days.use for k in (2, 0)])
    ).all()
    assert replace(context, carries=1).pick([0]).carries == 1


def low(uses: list[int]) -> list[int]:
    """Days from 1 on with which `low-use` objects to daily use in litres, after eight weeks of 400 to 420."""
    days = [400 + 10 * (k % 3) for k in range(56)] + uses
    registers = np.cumsum(
        [0, *(litres for whole in days for litres in [whole - whole // 4 * 3] + 3 * [whole // 4])]
    )
    hours = 6 * 3_600_000
    given = columns(evenly([int(one) for one in registers], step=hours, exponent=-3))
    context = Context(medium="water", interval=hours)
    rows = np.flatnonzero(
        RULES["low-use"].mask(given, context, RULES["low-use"].defaults("dwelling", "water"))
    )
    assert rows.tolist() == flagged("low-use", given, context, RULES["low-use"].defaults("dwelling", "water"))
    return [row // 4 - 56 for row in rows.tolist()]


def test_use_that_goes_past_the_meter_is_found_in_spite_of_quiet_days_between() -> None:
    assert low([12] * 60) == [13]  # with the mean of two weeks, though one of them is usual; and told once
    assert low([12, 12, 8, 0, 12, 0, 12, 9, 12, 0, 12, 12, 8, 0, 12, 12]) == [13]
    assert low([0] * 11 + [12] * 9) == [15]  # so many days with a little wait for the fourth that shows some
    assert low([12, 0] * 6 + [400] + [12, 0] * 6) == [14]  # one usual day among quiet ones hides nothing
    assert low([60, 8, 10] * 10) == [14]  # nor does one that is somewhat less quiet


def test_what_is_low_already_is_no_measure_of_what_is_usual() -> None:
    """Five to seven hundredths of 400 litres a day: half of the days before are as low by then, and it is found."""
    assert low([20, 26, 28, 24, 21] * 6) == [14]
    assert low([45] * 40) == [], "a ninth is not found"


def test_a_dwelling_whose_people_are_away_is_none_whose_use_goes_past_the_meter() -> None:
    assert low([0] * 30) == []
    assert low([0] * 9 + [15] + [0] * 12 + [15, 400]) == []  # somebody waters the flowers


def heat_low(warmer: float | None, medium: Medium = "heat", heats: bool = False) -> list[int]:
    """Days from 1 on with which `low-use` objects to a fall from 90 to 4, as it got warmer by so many K, None where nobody
    knows the weather.
    """
    days = [90] * 40 + [4] * 40
    hours = 6 * 3_600_000
    registers = np.cumsum(
        [0, *(part for whole in days for part in (whole - 3 * (whole // 4), *[whole // 4] * 3))]
    )
    given = columns(evenly([int(one) for one in registers], step=hours, exponent=0))
    first = (FIRST // 3_600_000) - 48
    degrees = [5.0] * (24 * 42) + [5.0 + (warmer or 0)] * (24 * 42)
    context = Context(
        medium=medium,
        interval=hours,
        weather=Weather() if warmer is None else Weather(first, tuple(degrees)),
        heating=Heating(channels=(0,) if heats else ()),
    )
    default = RULES["low-use"].defaults("dwelling", medium)
    rows = np.flatnonzero(RULES["low-use"].mask(given, context, default))
    assert rows.tolist() == flagged("low-use", given, context, default)
    return [row // 4 - 40 for row in rows.tolist()]


def test_a_spring_is_no_theft_of_heat() -> None:
    assert heat_low(0.0) == [20]
    assert heat_low(1.9) == [20]
    assert heat_low(6.0) == []
    assert heat_low(None) == [], "where nobody knows the weather nothing is said of heat"
    assert heat_low(6.0, "gas") == [14], "cooking knows no spring"
    assert heat_low(6.0, "gas", heats=True) == []
    assert heat_low(0.0, "gas", heats=True) == [14]
    assert heat_low(None, "water") == [14]


def below(missing: list[int], **values: int) -> list[tuple[int, float, float]]:
    """(day, main, subs) of what `sub-meters` finds where three sub-meters of 400 litres a day miss so many of them."""
    hours = 6 * 3_600_000

    def registers(uses: list[int]) -> list[int]:
        parts = [part for use in uses for part in (use - 3 * (use // 4), *[use // 4] * 3)]
        return [int(one) for one in np.cumsum([0, *parts])]

    counted = [
        [1_200] * len(missing),
        [400] * len(missing),
        [400] * len(missing),
        [400 - one for one in missing],
    ]
    given = columns(*[evenly(registers(uses), step=hours, exponent=-3) for uses in counted])
    context = Context(medium="water", interval=hours, mains=(Main(0, (1, 2, 3)),))
    parameters = replace(RULES["sub-meters"].defaults("dwelling", "water"), **values)
    found = RULES["sub-meters"].look(View(given, context), parameters)
    assert found.rows.tolist() == flagged("sub-meters", given, context, parameters)
    if not len(found.rows):
        return []
    return [
        (row // 4, round(main, 3), round(subs, 3))
        for row, main, subs in zip(found.rows.tolist(), found.facts["main"], found.facts["subs"], strict=True)
    ]


def test_what_is_missing_of_a_week_is_found_once_though_of_no_day_it_is_much() -> None:
    assert below([150] * 30) == [(7, 8.4, 7.35)]
    assert below([0] * 10 + [150] * 20) == [(17, 8.4, 7.35)]
    assert below([110] * 30) == [], "less than a tenth"
    assert below([150] * 6 + [0] + [150] * 6) == [], "less than a cubic metre in any week"
    assert below([150] * 30, lasting=1_100) == []
    assert below([150] * 9 + [0] * 7 + [150] * 9) == [(7, 8.4, 7.35), (23, 8.4, 7.35)]


def test_a_day_of_which_much_is_missing_is_found_for_itself() -> None:
    assert below([0] * 8 + [520] + [0] * 8, least=500, lasting=5_000) == []
    assert below([0] * 8 + [380] + [0] * 8, least=300, lasting=5_000) == [(9, 1.2, 0.82)]
