"""T22: every kind of key is rotated, one after the other, while a street delivers; nothing valid fails, and in the end
nothing stands on an old version, so the old ones may end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from itertools import cycle
from pathlib import Path

import pytest
import sqlalchemy as sa

from meterseal.app import operator, resealing, wraps
from meterseal.control import read
from meterseal.control.sealed import CUSTOMERS, UNDER
from meterseal.control.tables import data_keys, sessions
from meterseal.control.wrapping import SESSIONS, counted
from meterseal.errors import LocalError, TrustError
from meterseal.mesh.rpc import OPERATOR, InProcess
from meterseal.security import rotation
from meterseal.security.keyorders import KeyStateChange, Moving
from meterseal.security.orders import SignedOrder, encoded, fresh_request_id, sign
from meterseal.security.sdk import SecuritySdk
from meterseal.things.monitor import AuditLog
from meterseal.wire import encode
from meterseal.wire import identifiers as ids
from tests.scenarios.causes import Causes
from tests.scenarios.small_system import HOUR, KINDS, MASTER, PASSPHRASE, PROJECT, WATER, System
from tests.security.conftest import cheap_stretching

__all__ = ["cheap_stretching"]

ROTATED = (rotation.DIAK, rotation.SESSIONS, rotation.DATA, rotation.KEK, rotation.PLATFORM)


@pytest.fixture
async def system(
    tmp_path: Path, cheap_stretching: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[System]:
    for module, name in ((resealing, "WATCH"), (wraps, "WATCH"), (wraps, "SOON")):
        monkeypatch.setattr(module, name, 0.02)
    for module in (resealing, wraps):
        monkeypatch.setattr(module, "PAUSE", 0)
    made = System(tmp_path)
    await made.start()
    works = [asyncio.create_task(one.run()) for one in (made.centre.parts.resealing, made.centre.parts.wraps)]
    yield made
    for work in works:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
    await made.centre.stop()


def keys_of(system: System) -> SecuritySdk:
    return SecuritySdk(InProcess(system.centre.offered, OPERATOR))


async def rotate(system: System, kind: str) -> bool:
    """A new version; False where modules have still to move."""
    phrase = PASSPHRASE if kind == rotation.KEK else b""
    try:
        await keys_of(system).rotate(kind, phrase, phrase)
    except LocalError as error:
        if (kind, error.code) != (rotation.DIAK, "security.still-moving"):
            raise
        return False
    return True


async def moving(system: System) -> dict[str, Moving]:
    return {one.kind: one for one in await keys_of(system).moving()}


async def all_moved(system: System) -> None:
    """Let everything that stands on an old version follow."""
    for _ in range(600):
        await system.centre.parts.rollout.run()
        if all(one.old == 0 and one.complete for one in (await moving(system)).values()):
            return
        await system.turn()
    raise AssertionError(f"Still moving: {await moving(system)}")


def rows(system: System) -> dict[str, int]:
    tables = [one.table for under in UNDER.values() for one in under] + [CUSTOMERS.table]
    with read(system.centre.engine) as connection:
        return {
            table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in tables
            if table.name != "down_words"  # rolling keys out is made of words
        }


async def ended(system: System, key_id: str, version: int) -> None:
    """Two officers withdraw one version."""
    change = KeyStateChange(
        request_id=fresh_request_id(),
        not_after=system.clock.now + HOUR,
        project_id=PROJECT,
        key_id=key_id,
        version=version,
        state="withdrawn",
    )
    raw = encoded(change)
    signatures = tuple(
        sign(name, key, "key-state", raw)
        for name, key in (("li", system.officer), ("wang", system.other_officer))
    )
    await keys_of(system).submit(SignedOrder(purpose="key-state", request=raw, signatures=signatures))


async def test_t22_every_key_is_rotated_while_a_street_delivers(system: System) -> None:
    rotated = dict.fromkeys(ROTATED, 0)
    kinds, causes = cycle(ROTATED), Causes(system)
    for turn in range(4_000):
        if system.quiet() and turn > 200:
            break
        if turn % 8 == 0:
            kind = next(kinds)
            rotated[kind] += await rotate(system, kind)
            await system.centre.parts.rollout.run()
        if turn % 60 == 30:
            await system.read(encode.read_request(WATER, ids.METERING, turn % 255 + 1))
        await system.turn()
    assert all(count >= 3 for count in rotated.values()), rotated
    await system.settle()
    await system.check_complete()
    await all_moved(system)
    before = rows(system)
    for kind in ROTATED:
        assert await rotate(system, kind)
    await all_moved(system)
    assert rows(system) == before
    await system.check_complete()

    found = await moving(system)
    assert found[SESSIONS].total > 0
    assert found[rotation.DATA].total > 0
    assert set(counted(system.centre.engine, SESSIONS)) == {found[SESSIONS].newest}
    for device_id in (*KINDS, MASTER):
        assert (await system.facts(device_id)).key_version == found[rotation.DIAK].newest
    counts = await system.desk.call("counts", operator.Page(), operator.Counts)
    assert (counts.quarantined, counts.to_reseal) == (0, 0)
    # On a slow machine a HELLO is on its way while its module is given the next key, and an answer comes after the record
    # was sent again; nothing else is refused.
    assert causes.others == []
    refused = [entry.code for entry in AuditLog(system.centre.engine).latest(1_000)]
    assert [code for code in refused if code != "link.replay"] == ["link.key-version"] * len(causes.late)
    audit = [one.entry for one in await keys_of(system).audit(limit=1000)]
    answers = ("security.still-moving", "security.key-current")  # not yet, and nothing to do
    assert [one.code for one in audit if one.refused and one.code not in answers] == []


async def test_t22_an_old_wrapping_key_ends_only_when_nothing_can_stand_on_it(system: System) -> None:
    await system.settle()
    with read(system.centre.engine) as connection:
        (session_id, device_id, old), *_ = connection.execute(
            sa.select(sessions.c.session_id, sessions.c.device_id, sessions.c.wrapped)
        ).all()
        (name, purpose, sealed), *_ = connection.execute(
            sa.select(data_keys.c.id, data_keys.c.purpose, data_keys.c.wrapped)
        ).all()
    platform, headend = (
        SecuritySdk(InProcess(system.centre.offered, caller)) for caller in ("platform", "headend")
    )
    for kind, key_id in ((rotation.SESSIONS, "WRAP-SESSION"), (rotation.DATA, "WRAP-DATA")):
        await rotate(system, kind)
        with pytest.raises(LocalError) as caught:
            await ended(system, key_id, 1)
        assert caught.value.code == "security.still-used"
    await all_moved(system)
    await ended(system, "WRAP-SESSION", 1)
    await ended(system, "WRAP-DATA", 1)
    for call in (
        headend.unwrap(session_id, device_id, old),
        platform.rewrap_sessions([(session_id, device_id, old)]),
        platform.unwrap_data_key(purpose, name, sealed),
    ):
        with pytest.raises(TrustError):
            await call
    await system.centre.stop_headends()  # who must fetch every session again
    system.centre.start_headends()
    system.connect()
    word = await system.read(encode.read_request(WATER, ids.METERING, 9))
    assert (await system.until_ended(word)).state == "done"
    await system.check_complete()


async def test_t22_a_session_wrapped_just_before_a_rotation_is_stored_under_the_new_key(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the service's answer and its storing, the key is rotated and all is counted."""
    store, put = system.centre.parts.sessions, system.centre.parts.sessions.put
    held: list[bytes] = []

    async def late(session: object) -> None:
        if not held:
            held.append(session.session_id)  # type: ignore[attr-defined]
            await rotate(system, rotation.SESSIONS)
            await system.centre.parts.wraps.look()
            assert (await moving(system))[SESSIONS].complete
        await put(session)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "put", late)
    await system.settle()
    assert held
    assert set(counted(system.centre.engine, SESSIONS)) == {2}
    assert (await store.get(held[0])) is not None
    await system.check_complete()
