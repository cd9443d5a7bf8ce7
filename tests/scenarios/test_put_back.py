"""The platform's store is put back to an older copy: no down counter of a live session is used twice (LINK section 4)."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meterseal.security.leaseorders import Lease, LeaseRequest
from meterseal.security.leasing import LARGEST
from meterseal.things.sessions import LEASE
from meterseal.wire import encode
from tests.scenarios.small_system import WATER, System
from tests.security.conftest import cheap_stretching

__all__ = ["cheap_stretching"]

RECORD, DOWN = b"MR\x01", 0x01


@pytest.fixture
async def system(tmp_path: Path, cheap_stretching: None) -> AsyncIterator[System]:
    made = System(tmp_path)
    await made.start()
    await made.settle()
    yield made
    await made.centre.stop()


def counters(system: System) -> dict[tuple[bytes, int], set[bytes]]:
    """Every record that went down, by session and counter."""
    found: dict[tuple[bytes, int], set[bytes]] = {}
    for one in system.said:
        if one.message[:3] == RECORD and one.message[3] & DOWN:
            key = one.message[4:12], int.from_bytes(one.message[12:18])
            found.setdefault(key, set()).add(one.message)
    return found


class Store:
    """The platform's files, and a copy of them."""

    def __init__(self, system: System, folder: Path) -> None:
        self.system, self.root, self.copy = system, system.centre.root, folder

    def _move(self, source: Path, target: Path) -> None:
        for path in target.glob("control.db*"):
            path.unlink()
        shutil.rmtree(target / "measurements", ignore_errors=True)
        for path in source.glob("control.db*"):
            shutil.copy(path, target)
        shutil.copytree(source / "measurements", target / "measurements")

    async def keep(self) -> None:
        await self.system.centre.stop()
        self.copy.mkdir()
        self._move(self.root, self.copy)
        await self.system.centre.start()
        self.system.connect()

    async def put_back(self) -> None:
        await self.system.centre.stop()
        self._move(self.copy, self.root)
        await self.system.centre.start()
        self.system.connect()


async def commanded(system: System, ser: int, *, opened: bool) -> None:
    act = "valve-open" if opened else "valve-close"
    word = await system.command(encode.valve_request(WATER, opened=opened, ser=ser), act)
    assert (await system.until_ended(word)).state == "done"


async def test_a_store_put_back_uses_no_counter_twice_and_goes_on_in_its_sessions(
    system: System, tmp_path: Path
) -> None:
    store = Store(system, tmp_path / "copy")
    await commanded(system, 1, opened=False)
    await store.keep()
    for ser in range(2, 6):
        await commanded(system, ser, opened=ser % 2 == 0)
    before = counters(system)
    await store.put_back()
    await commanded(system, 6, opened=True)
    assert system.nodes[WATER].meter.state.valve == "open"
    after = counters(system)
    assert all(len(messages) == 1 for messages in after.values())
    fresh = set(after) - set(before)
    highest = {session: max(n for s, n in before if s == session) for session, _ in before}
    assert fresh
    assert all(counter > highest[session] for session, counter in fresh)  # no new handshake was needed


async def test_a_restart_skips_at_most_one_lease(system: System) -> None:
    await commanded(system, 1, opened=False)
    before = counters(system)
    await system.centre.restart()
    system.connect()
    await commanded(system, 2, opened=True)
    fresh = set(counters(system)) - set(before)
    assert fresh
    for session, counter in fresh:
        assert counter <= max(n for s, n in before if s == session) + LEASE + 256


async def test_a_session_whose_counters_were_all_skipped_makes_a_new_one_before_it_is_commanded(
    system: System, tmp_path: Path
) -> None:
    """A copy so old that more counters may be lost than a session has: REKEY first, and the command in the new one."""
    store = Store(system, tmp_path / "copy")
    await commanded(system, 1, opened=False)
    sessions = {session for session, _ in counters(system)}
    await store.keep()
    asked = LeaseRequest(known=0, wanted=LARGEST)
    await system.centre.service_call(
        "lease_counters", asked, Lease, "platform"
    )  # what the lost store had leased
    await store.put_back()
    await commanded(system, 2, opened=True)
    commands = [one.message for one in system.said if one.message[:3] == RECORD and one.message[3] & 0x20]
    assert len(commands) >= 2
    assert commands[0][4:12] in sessions
    assert commands[-1][4:12] not in sessions
    assert all(len(messages) == 1 for messages in counters(system).values())
