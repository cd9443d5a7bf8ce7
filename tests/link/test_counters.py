"""Consumed counters behave as a set, stay sorted ranges, survive storage, and stay bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterseal.errors import DataError, TrustError
from meterseal.link import counters
from meterseal.link.counters import LAST, CounterSet

near = st.integers(1, 60)
numbers = st.lists(near | st.integers(1, LAST), max_size=120)


@given(numbers, near)
def test_it_is_a_set(added: list[int], asked: int) -> None:
    ours, model = CounterSet(), set()
    for number in added:
        assert ours.add(number) == (number not in model)
        model.add(number)
    assert (asked in ours) == (asked in model)
    assert all(number in ours for number in model)
    assert len(ours) == len(model)
    assert ours.highest == max(model, default=0)
    assert 0 not in ours


@given(numbers)
def test_ranges_are_sorted_disjoint_and_do_not_touch(added: list[int]) -> None:
    ranges = list(CounterSet(added).ranges())
    edge = -1
    for first, last in ranges:
        assert edge + 1 < first <= last
        edge = last
    assert {n for first, last in ranges for n in (first, last)} <= set(added)


@given(numbers, st.randoms(use_true_random=False))
def test_order_does_not_matter(added: list[int], shuffle: object) -> None:
    other = list(added)
    shuffle.shuffle(other)  # type: ignore[attr-defined]
    assert CounterSet(added) == CounterSet(other)


@given(numbers)
def test_storage_gives_the_same_set(added: list[int]) -> None:
    ours = CounterSet(added)
    stored = ours.to_bytes()
    again = CounterSet.from_bytes(stored)
    assert again == ours
    assert again.to_bytes() == stored
    for number in added:
        assert not again.add(number)


@given(st.binary(max_size=60))
def test_any_stored_bytes_are_a_set_or_data_error(stored: bytes) -> None:
    try:
        found = CounterSet.from_bytes(stored)
    except DataError:
        return
    assert found.to_bytes() == stored


@pytest.mark.parametrize(
    "ranges", [[(0, 1)], [(3, 2)], [(1, 2), (2, 3)], [(1, 2), (3, 4)], [(5, 6), (1, 2)], [(1, 5), (2, 9)]]
)
def test_stored_ranges_that_no_set_writes_are_refused(ranges: list[tuple[int, int]]) -> None:
    stored = b"".join(number.to_bytes(6, "big") for pair in ranges for number in pair)
    with pytest.raises(DataError):
        CounterSet.from_bytes(stored)
    with pytest.raises(DataError):
        CounterSet.from_bytes(stored[:-1])


@pytest.mark.parametrize("counter", [0, -1, LAST + 1])
def test_counters_out_of_range_are_refused(counter: int) -> None:
    with pytest.raises(TrustError):
        CounterSet().add(counter)


def test_a_module_that_skips_on_purpose_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "MOST_RANGES", 100)
    ours = CounterSet(range(1, 200, 2))
    with pytest.raises(TrustError) as refused:
        ours.add(1000)
    assert refused.value.code == "link.counter-ranges"
    assert 1000 not in ours
    assert ours.add(2), "closing a gap always works"
    assert ours.add(200)


def test_repr_shows_counts_and_equality_is_only_among_sets() -> None:
    assert repr(CounterSet([1, 2, 9])) == "<CounterSet of 3 in 2 ranges>"
    assert CounterSet([1]) != {1}
    with pytest.raises(TypeError):
        hash(CounterSet())


edges = st.lists(st.integers(1, 6) | st.integers(LAST - 5, LAST), max_size=20)


@given(edges)
def test_both_ends_of_the_range_behave_like_its_middle(added: list[int]) -> None:
    ours = CounterSet()
    for number in added:
        ours.add(number)
    assert {number for first, last in ours.ranges() for number in range(first, last + 1)} == set(added)
    assert CounterSet.from_bytes(ours.to_bytes()) == ours


@given(st.lists(st.integers(1, 400), min_size=1, max_size=300), st.integers(1, 12))
def test_a_full_set_refuses_only_what_opens_a_new_range_and_stays_as_it_was(
    added: list[int], most: int
) -> None:
    ours, model = CounterSet(), set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counters, "MOST_RANGES", most)
        for number in added:
            alone = number not in model and not {number - 1, number + 1} & model
            runs = sum(one - 1 not in model for one in model)
            before = ours.to_bytes()
            if alone and runs >= most:
                with pytest.raises(TrustError):
                    ours.add(number)
                assert ours.to_bytes() == before
                continue
            assert ours.add(number) == (number not in model)
            model.add(number)
            assert len(list(ours.ranges())) <= most
    assert len(ours) == len(model)


@given(st.integers(1, LAST), st.integers(0, 500), st.randoms(use_true_random=False))
def test_any_order_of_a_run_ends_as_one_range(first: int, size: int, shuffle: object) -> None:
    run = list(range(first, min(first + size, LAST) + 1))
    shuffle.shuffle(run)  # type: ignore[attr-defined]
    assert list(CounterSet(run).ranges()) == [(min(run), max(run))]
