"""Leases of down counters: they only rise, over restarts and restores, whatever a platform says it knows."""

from __future__ import annotations

import pytest

from meterseal.errors import LocalError
from meterseal.security.leaseorders import Lease
from meterseal.security.leasing import AHEAD, JUMP, LARGEST
from meterseal.security.officers import RESTORED, Restored

from .conftest import NOW, Bench


async def test_leases_follow_one_another_over_a_restart(bench: Bench) -> None:
    assert await bench.platform.lease_counters(0, 100) == Lease(before=0, until=100)
    assert await bench.platform.lease_counters(100, 50) == Lease(before=100, until=150)
    now = bench.restarted()
    assert await now.platform.lease_counters(150, 1) == Lease(before=150, until=151)
    codes = {one.entry.code for one in await now.platform.audit(limit=1000)}
    assert "security.counters-skipped" not in codes


async def test_a_platform_that_forgot_gets_only_what_nobody_had_and_it_is_written_down(bench: Bench) -> None:
    await bench.platform.lease_counters(0, 1000)
    assert await bench.platform.lease_counters(10, 5) == Lease(before=1000, until=1005)
    (said,) = [
        one.entry
        for one in await bench.platform.audit(limit=1000)
        if one.entry.code == "security.counters-skipped"
    ]
    assert "1000" in said.sentence


async def test_a_platform_that_knows_of_more_is_believed_upwards(bench: Bench) -> None:
    assert await bench.platform.lease_counters(500, 10) == Lease(before=500, until=510)
    (said,) = [
        one.entry
        for one in await bench.platform.audit(limit=1000)
        if one.entry.code == "security.counters-unknown"
    ]
    assert "500" in said.sentence


@pytest.mark.parametrize("known", [JUMP + 111, (1 << 60) - 1, (1 << 62) - 1])
async def test_a_platform_cannot_use_the_numbers_up_by_naming_a_huge_one(bench: Bench, known: int) -> None:
    """Whatever is believed is leased from then on, so one call near the largest number would be the last."""
    before = await bench.platform.lease_counters(100, 10)
    with pytest.raises(LocalError) as caught:
        await bench.platform.lease_counters(known, 10)
    assert caught.value.code == "security.lease-jump"
    assert (await bench.refusals())[-1].code == "security.lease-jump"
    assert await bench.platform.lease_counters(before.until, 1) == Lease(before=before.until, until=111)
    assert await bench.platform.lease_counters(111 + JUMP, 1) == Lease(before=111 + JUMP, until=112 + JUMP)


async def test_after_a_restore_of_the_service_every_session_of_before_is_used_up(bench: Bench) -> None:
    await bench.platform.lease_counters(0, 100)
    book = bench.service.room.book
    with book.transaction() as connection:
        book.write(connection, RESTORED, Restored(at=NOW, first_number=1, epoch=b"12345678"))
    now = bench.restarted()
    first = await now.platform.lease_counters(40, 10)
    assert first.before == 100 + AHEAD
    assert await now.platform.lease_counters(first.until, 10) == Lease(
        before=first.until, until=first.until + 10
    )


@pytest.mark.parametrize(("known", "wanted"), [(-1, 1), (1 << 62, 1), (0, 0), (0, -1), (0, LARGEST + 1)])
async def test_a_lease_of_impossible_numbers(bench: Bench, known: int, wanted: int) -> None:
    with pytest.raises(LocalError) as caught:
        await bench.platform.lease_counters(known, wanted)
    assert caught.value.code == "security.request"
    assert await bench.platform.lease_counters(0, 1) == Lease(before=0, until=1)
