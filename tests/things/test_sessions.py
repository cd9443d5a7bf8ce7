"""The session store: durable before SESSION leaves, replaced but open for the backlog, counters given out once."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from msgspec import structs

from meterseal.control.tables import sessions as table
from meterseal.errors import LocalError, TrustError
from meterseal.headend.rejected import Rejected
from meterseal.security.leaseorders import Lease
from meterseal.things.sessions import BACKLOG, LARGEST_COUNTER, LEASE, MOST_RESERVED, SessionStore
from tests.control_store import control_at
from tests.headend.ground import NOW, OTHER, WATER, Device


class Clock:
    now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> SessionStore:
    return SessionStore(control_at(tmp_path / "control.db"), lambda session: b"of " + session, clock)


async def test_what_was_put_comes_back_with_its_consumed_counters(store: SessionStore) -> None:
    facts = Device().facts
    await store.put(facts)
    assert await store.get(facts.session_id) == structs.replace(facts, consumed=b"of " + facts.session_id)
    assert await store.get(b"nothing!") is None


async def test_the_store_outlives_its_process(tmp_path: Path, store: SessionStore) -> None:
    facts = Device().facts
    await store.put(facts)
    again = SessionStore(control_at(tmp_path / "control.db"), lambda _: b"", lambda: NOW)
    assert await again.get(facts.session_id) == facts


async def test_putting_a_session_again_changes_nothing(store: SessionStore) -> None:
    facts = Device().facts
    await store.put(facts)
    first = (await store.reserve_down(facts.session_id, 10)).first
    await store.put(structs.replace(facts, policy=0, wrapped=b"other"))
    found = await store.get(facts.session_id)
    assert found is not None
    assert (first, found.policy, found.wrapped, found.down_reserved) == (1, facts.policy, b"wrapped", 10)


async def test_a_session_id_of_another_device_is_refused(store: SessionStore) -> None:
    facts = Device().facts
    await store.put(facts)
    with pytest.raises(TrustError):
        await store.put(structs.replace(facts, device_id=OTHER))


async def newest(store: SessionStore) -> bytes:
    found = await store.latest(WATER)
    assert found is not None
    return found.session_id


async def test_a_late_record_in_a_replaced_session_does_not_bring_it_back(
    store: SessionStore, clock: Clock
) -> None:
    old, new = Device().facts, structs.replace(Device().facts, created_at=NOW + 1)
    for session in (old, new):
        await store.put(session)
    await store.reserve_down(new.session_id, 1)
    await store.reserve_down(old.session_id, 1)
    assert await newest(store) == new.session_id


async def test_a_replaced_session_opens_until_the_backlog_time_is_over(
    store: SessionStore, clock: Clock
) -> None:
    old, new = Device().facts, structs.replace(Device().facts, created_at=NOW + 1)
    await store.put(old)
    await store.reserve_down(old.session_id, 1)
    await store.put(new)
    assert await newest(store) == old.session_id  # the device has not spoken in the new one yet
    clock.now = NOW + 1
    await store.reserve_down(new.session_id, 1)
    assert await newest(store) == new.session_id
    clock.now = NOW + 1 + BACKLOG
    assert await store.get(old.session_id) is not None
    clock.now += 1
    assert await store.get(old.session_id) is None
    assert await store.get(new.session_id) is not None


async def test_keys_of_a_session_whose_backlog_is_over_are_destroyed(
    store: SessionStore, clock: Clock, tmp_path: Path
) -> None:
    old, new = Device().facts, structs.replace(Device().facts, created_at=NOW + 1)
    await store.put(old)
    await store.put(new)
    await store.reserve_down(new.session_id, 1)
    clock.now = NOW + 2 + BACKLOG
    await store.put(structs.replace(Device(OTHER).facts, created_at=clock.now))
    with control_at(tmp_path / "control.db").connect() as connection:
        kept = set(connection.execute(sa.select(table.c.session_id)).scalars())
    assert old.session_id not in kept
    assert new.session_id in kept


async def test_a_session_of_one_device_replaces_none_of_another(store: SessionStore) -> None:
    ours, theirs = Device().facts, Device(OTHER).facts
    await store.put(ours)
    await store.put(theirs)
    assert await store.latest(WATER) is not None
    assert store.count() == 2


async def test_blocks_of_down_counters_never_overlap(store: SessionStore) -> None:
    facts = Device().facts
    await store.put(facts)
    given = [await store.reserve_down(facts.session_id, count) for count in (1, 5, 1)]
    assert [one.first for one in given] == [1, 2, 7]


@pytest.mark.parametrize("count", [0, -256, MOST_RESERVED + 1])
async def test_a_count_that_would_give_counters_out_twice_is_refused(store: SessionStore, count: int) -> None:
    facts = Device().facts
    await store.put(facts)
    with pytest.raises(LocalError):
        await store.reserve_down(facts.session_id, count)
    assert (await store.reserve_down(facts.session_id, 1)).first == 1


async def test_counters_of_an_unknown_session_are_not_given_out(store: SessionStore) -> None:
    with pytest.raises(TrustError):
        await store.reserve_down(b"nothing!", 1)


async def test_a_head_end_whose_session_was_taken_over_reserves_no_more_under_its_old_epoch(
    store: SessionStore,
) -> None:
    facts = Device().facts
    await store.put(facts)
    ours = await store.reserve_down(facts.session_id, 10)
    assert (await store.reserve_down(facts.session_id, 10, ours.epoch)).epoch == ours.epoch
    theirs = await store.reserve_down(facts.session_id, 10)
    with pytest.raises(TrustError) as fenced:
        await store.reserve_down(facts.session_id, 10, ours.epoch)
    assert fenced.value.code == "link.owner"
    again = await store.reserve_down(facts.session_id, 10, theirs.epoch)
    assert (again.first, again.epoch) == (31, theirs.epoch)


async def test_rejected_counters_come_back_with_their_classes(tmp_path: Path, clock: Clock) -> None:
    facts = Device().facts
    store = SessionStore(
        control_at(tmp_path / "control.db"), lambda _: b"", clock, lambda _: [(3, 1), (4, 1), (9, 3)]
    )
    await store.put(facts)
    found = await store.get(facts.session_id)
    assert found is not None
    rejected = Rejected(found.rejected)
    assert [rejected.class_of(counter) for counter in (2, 3, 4, 5, 9)] == [None, 1, 1, None, 3]


async def test_a_session_whose_counters_would_pass_48_bits_is_refused(tmp_path: Path, clock: Clock) -> None:
    engine = control_at(tmp_path / "control.db")
    store = SessionStore(engine, lambda _: b"", clock)
    facts = Device().facts
    await store.put(facts)
    with engine.begin() as connection:
        connection.execute(table.update().values(down_reserved=LARGEST_COUNTER - 3))
    assert (await store.reserve_down(facts.session_id, 3)).first == LARGEST_COUNTER - 2
    with pytest.raises(TrustError) as caught:
        await store.reserve_down(facts.session_id, 1)
    assert caught.value.code == "link.counter"


async def test_counters_that_another_store_may_have_reserved_are_skipped_in_every_session(
    tmp_path: Path, clock: Clock
) -> None:
    """The service says how many there were; a session made afterwards begins at 1."""
    leased = 0

    async def lease(known: int, wanted: int) -> Lease:
        nonlocal leased
        before = max(leased, known)
        leased = before + wanted
        return Lease(before=before, until=leased)

    def opened() -> SessionStore:
        return SessionStore(control_at(tmp_path / "control.db"), lambda _: b"", clock, lease=lease)

    first, used, unused = opened(), Device().facts, Device(device_id=OTHER).facts
    await first.put(used)
    await first.put(unused)
    assert [(await first.reserve_down(used.session_id, 10)).first for _ in range(2)] == [1, 11]
    leased += 1000  # what a store that is lost leased
    again = opened()
    assert (await again.reserve_down(used.session_id, 10)).first == 21 + (LEASE - 20) + 1000
    assert (await again.reserve_down(unused.session_id, 1)).first == 1 + (LEASE - 20) + 1000
    later = structs.replace(Device().facts, created_at=NOW + 1)
    await again.put(later)
    assert (await again.reserve_down(later.session_id, 1)).first == 1


async def test_a_lease_that_is_used_up_is_followed_by_the_next_without_a_gap(store: SessionStore) -> None:
    facts = Device().facts
    await store.put(facts)
    firsts = [(await store.reserve_down(facts.session_id, LEASE // 2 + 1)).first for _ in range(4)]
    assert firsts == [1 + n * (LEASE // 2 + 1) for n in range(4)]
