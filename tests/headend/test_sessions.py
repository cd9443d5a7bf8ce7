"""The cache of sessions: taken up from the store, never forgetting a consumed counter, never repeating a down counter."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec import structs

from meterseal.errors import EngineError, TrustError
from meterseal.headend.rejected import Rejected
from meterseal.headend.sessions import DOWN_BLOCK, SessionCache
from meterseal.link.counters import MOST_RANGES, CounterSet
from meterseal.things.sessions import SessionStore
from tests.control_store import control_at
from tests.headend.ground import NOW, Device, Line, Platform


async def test_a_session_is_fetched_once_and_then_known() -> None:
    device = Device()
    platform = Platform(device)
    cache = SessionCache(platform, platform)
    first = await cache.get(device.facts.session_id, NOW)
    assert first is not None
    assert await cache.get(device.facts.session_id, NOW) is first
    assert platform.asked == 1
    assert first.keys == device.keys


async def test_consumed_counters_come_with_the_stored_session() -> None:
    device = Device()
    device.facts = structs.replace(device.facts, consumed=CounterSet([1, 2, 9]).to_bytes())
    platform = Platform(device)
    session = await SessionCache(platform, platform).get(device.facts.session_id, NOW)
    assert session is not None
    assert [counter in session.consumed for counter in (2, 3, 9)] == [True, False, True]


async def test_a_flood_of_unknown_ids_asks_the_store_once_each_and_stays_small() -> None:
    platform = Platform()
    cache = SessionCache(platform, platform)
    for _ in range(3):
        assert await cache.get(b"unknown!", NOW) is None
    assert platform.asked == 1
    assert await cache.get(b"unknown!", NOW + 5_000) is None
    assert platform.asked == 2
    for number in range(5_000):
        await cache.get(number.to_bytes(8), NOW)
    assert len(cache._unknown) <= 4_096


async def test_a_session_made_after_it_was_asked_for_is_found() -> None:
    device = Device()
    platform = Platform()
    cache = SessionCache(platform, platform)
    assert await cache.get(device.facts.session_id, NOW) is None
    cache.add(device.facts, device.keys)
    assert await cache.get(device.facts.session_id, NOW) is not None


async def test_a_repeated_handshake_message_does_not_make_consumed_counters_fresh() -> None:
    device = Device()
    platform = Platform(device)
    cache = SessionCache(platform, platform)
    cache.add(device.facts, device.keys).consumed.add(1)
    again = cache.add(device.facts, device.keys)
    assert 1 in again.consumed


async def test_two_batches_that_meet_a_session_at_once_share_it() -> None:
    device = Device()
    platform = Platform(device)
    cache = SessionCache(platform, platform)
    both = await asyncio.gather(*(cache.get(device.facts.session_id, NOW) for _ in range(2)))
    assert both[0] is both[1]


async def test_the_longest_unused_session_leaves_memory_and_comes_back() -> None:
    devices = [Device() for _ in range(4)]
    platform = Platform(*devices)
    cache = SessionCache(platform, platform, size=3)
    for device in devices:
        await cache.get(device.facts.session_id, NOW)
    assert len(cache) == 3
    assert await cache.get(devices[0].facts.session_id, NOW) is not None


async def test_an_unreachable_store_is_said_and_not_remembered_as_unknown() -> None:
    device = Device()
    platform = Platform(device)
    cache = SessionCache(platform, platform)
    platform.away = True
    with pytest.raises(EngineError):
        await cache.get(device.facts.session_id, NOW)
    platform.away = False
    assert await cache.get(device.facts.session_id, NOW) is not None


async def test_down_counters_are_never_repeated_after_a_restart(tmp_path: Path) -> None:
    device = Device()
    store = SessionStore(control_at(tmp_path / "control.db"), lambda _: b"", lambda: NOW)
    await store.put(device.facts)
    given: list[int] = []
    for turn in range(4):  # each with a cache of its own, as after kill -9
        platform = Platform(device)
        session = await SessionCache(store, platform).get(device.facts.session_id, NOW)
        assert session is not None
        counters = await asyncio.gather(*(session.answering(store) for _ in range(DOWN_BLOCK // 2 + turn)))
        assert sorted(counters) == list(counters)
        given += counters
    assert len(set(given)) == len(given)
    assert min(given) == 1


async def test_two_head_ends_never_share_a_down_counter(tmp_path: Path) -> None:
    device = Device()
    store = SessionStore(control_at(tmp_path / "control.db"), lambda _: b"", lambda: NOW)
    await store.put(device.facts)
    caches = [SessionCache(store, Platform(device)) for _ in range(2)]
    given = []
    for _ in range(DOWN_BLOCK + 3):
        for cache in caches:
            session = await cache.get(device.facts.session_id, NOW)
            assert session is not None
            given.append(await session.answering(store))
    assert len(set(given)) == len(given)


async def test_a_device_that_wanders_between_two_head_ends_and_back_hears_rising_counters_alone(
    tmp_path: Path,
) -> None:
    """A device takes rising down counters only, so the rest of a block from before its absence is of no use."""
    device = Device()
    store = SessionStore(control_at(tmp_path / "control.db"), lambda _: b"", lambda: NOW)
    await store.put(device.facts)
    caches = [SessionCache(store, Platform(device)) for _ in range(2)]
    heard = []
    for head_end in (0, 1, 0, 1, 1, 0):
        session = await caches[head_end].get(device.facts.session_id, NOW)
        assert session is not None
        line = Line()  # a new connection each time
        heard += [await session.answering(store, line) for _ in range(3)]  # type: ignore[arg-type]
    assert heard == sorted(set(heard))
    assert len(heard) == 18


async def test_one_line_uses_up_its_block() -> None:
    device = Device()
    platform = Platform(device)
    session = await SessionCache(platform, platform).get(device.facts.session_id, NOW)
    assert session is not None
    line, asked = Line(), platform.asked
    given = [await session.answering(platform, line) for _ in range(DOWN_BLOCK)]  # type: ignore[arg-type]
    assert given == list(range(1, DOWN_BLOCK + 1))
    assert platform.asked == asked + 1


async def test_a_counter_rejected_before_a_restart_is_rejected_again_with_its_class() -> None:
    device = Device()
    stored = {1: CounterSet([2]).to_bytes(), 3: CounterSet([4, 5]).to_bytes()}
    device.facts = structs.replace(device.facts, consumed=CounterSet([2, 4, 5]).to_bytes(), rejected=stored)
    platform = Platform(device)
    session = await SessionCache(platform, platform).get(device.facts.session_id, NOW)
    assert session is not None
    assert [session.rejected.class_of(counter) for counter in (1, 2, 3, 4, 5)] == [None, 1, None, 3, 3]


def test_rejections_in_order_stay_small_however_many_there_are() -> None:
    rejected = Rejected()
    for counter in range(1, 100_001):
        rejected.add(counter, 2)
    assert rejected.to_store() == {2: (1).to_bytes(6) + (100_000).to_bytes(6)}


def test_a_session_that_skips_counters_without_end_costs_bounded_memory() -> None:
    rejected = Rejected()
    for counter in range(1, 3 * MOST_RANGES, 2):
        rejected.add(counter, 1)
    assert len(rejected.to_store()[1]) == 12 * MOST_RANGES


async def test_keys_that_do_not_unwrap_are_said() -> None:
    class Wrong(Platform):
        async def unwrap(self, session: object) -> object:
            raise TrustError("security.wrapped", "Not these.")

    device = Device()
    platform = Wrong(device)
    with pytest.raises(TrustError):
        await SessionCache(platform, platform).get(device.facts.session_id, NOW)
