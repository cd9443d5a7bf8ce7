"""Token buckets: never more than burst plus rate, whatever the order of asking, and bounded memory."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from meterseal.headend.limits import Buckets

STEPS = st.lists(st.tuples(st.integers(0, 5_000), st.sampled_from("ab")), max_size=200)


@given(STEPS, st.integers(1, 50), st.integers(1, 20))
def test_no_source_gets_more_than_burst_and_rate_allow(
    steps: list[tuple[int, str]], rate: int, burst: int
) -> None:
    buckets = Buckets(rate=rate, burst=burst)
    now, taken = 0, {"a": 0, "b": 0}
    for pause, key in steps:
        now += pause
        taken[key] += buckets.take(key, now)
        assert taken[key] <= burst + now * rate / 1000 + 1e-6


@given(STEPS)
def test_one_source_takes_nothing_from_another(steps: list[tuple[int, str]]) -> None:
    shared, alone = Buckets(rate=1, burst=3), Buckets(rate=1, burst=3)
    now = 0
    for pause, key in steps:
        now += pause
        answer = shared.take(key, now)
        if key == "b":
            assert answer == alone.take("b", now)


@given(st.lists(st.integers(0, 10**13), max_size=50))
def test_a_clock_that_jumps_back_gives_nothing_away(times: list[int]) -> None:
    buckets = Buckets(rate=1, burst=2)
    taken = sum(buckets.take("a", now) for now in times)
    assert taken <= 2 + sum(max(0, b - a) for a, b in pairwise(times)) / 1000


def test_a_refused_ask_costs_nothing() -> None:
    buckets = Buckets(rate=1, burst=2)
    assert not buckets.take("a", 0, cost=3)
    assert buckets.take("a", 0, cost=2)


def test_very_many_sources_do_not_fill_the_memory() -> None:
    buckets = Buckets(rate=1, burst=1, keys=100)
    for number in range(1_000):
        buckets.take(str(number), number)
    assert len(buckets) == 100
    assert not buckets.take("999", 999)
