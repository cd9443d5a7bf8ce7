"""Rotation under load, what still has to move, and what two people may do to a key (T22, T25)."""

from __future__ import annotations

import asyncio
import os
import sqlite3

import pytest

from meterseal.crypto import sm2
from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import ConsentError, LocalError, MetersealError, TrustError
from meterseal.security import keyorders as k
from meterseal.security import orders as o
from meterseal.security.rotation import KINDS

from .conftest import PASSPHRASE, Bench
from .people import Person, fields, founded, operator, ordered
from .test_keylife import root_of, take


async def moving(bench: Bench) -> dict[str, tuple[int, int, int]]:
    return {one.kind: (one.newest, one.old, one.total) for one in await bench.platform.moving()}


async def state(bench: Bench, people: tuple[Person, ...], **change: object) -> o.Done:
    request = k.KeyStateChange(**fields(), **change)  # type: ignore[arg-type]
    return await bench.platform.submit(ordered("key-state", request, people))


async def test_every_key_rotates_under_load_and_nothing_valid_fails(bench: Bench) -> None:
    """T22 in one process: handshakes, data keys and sessions go on while every kind rotates, twice."""
    modules = [await bench.module(number, 1 + number % 2) for number in range(1, 7)]
    roots = {module.module_id: root_of(module) for module in modules}
    rotating, shaken, wrapped, sessions = True, 0, [], []

    async def load() -> None:
        nonlocal shaken
        number = 0
        while rotating or number < 6:
            module = modules[number % len(modules)]
            _, reply = await bench.shake(module)
            taken = await bench.headend.unwrap(reply.session_id, reply.device_id, reply.wrapped)
            assert taken == reply.keys
            sessions.append((reply.session_id, reply.device_id, reply.wrapped))
            made = await bench.platform.data_key("journal", f"j{number}")
            wrapped.append(("journal", f"j{number}", made.wrapped, made.key))
            shaken, number = shaken + 1, number + 1
            await asyncio.sleep(0)

    loading = asyncio.create_task(load())
    for _ in range(2):
        for kind in KINDS:
            before = shaken
            secret = PASSPHRASE if kind == "vault-kek" else b""
            await operator(bench).rotate(kind, secret, secret)
            while shaken == before and not loading.done():
                await asyncio.sleep(0)
        for module in modules:
            take(module, await bench.platform.key_update(module.device_id), roots[module.module_id])
            await bench.shake(module)
    rotating = False
    await loading
    assert shaken > 2 * len(KINDS)
    assert (await moving(bench))["diak"] == (3, 0, 6)
    for purpose, name, sealed, key in wrapped:
        assert (await bench.platform.unwrap_data_key(purpose, name, sealed)).key == key
    assert (await bench.platform.verify_audit()).ok
    again = bench.restarted()
    assert (await again.platform.verify_audit()).ok
    for session_id, device_id, sealed in sessions:
        await again.headend.unwrap(session_id, device_id, sealed)
    assert await again.refusals() == []


async def test_what_the_platform_keeps_is_rewrapped_and_counted(bench: Bench) -> None:
    people = await founded(bench)
    _, reply = await bench.shake(await bench.module(1))
    made = [await bench.platform.data_key("journal", name) for name in ("a", "b")]
    await operator(bench).rotate("data-keys")
    await operator(bench).rotate("session-wraps")
    with pytest.raises(LocalError) as caught:  # nobody has counted what stands on it
        await state(bench, people, key_id="WRAP-DATA", version=1, state="withdrawn")
    assert caught.value.code == "security.still-used"
    await bench.platform.report_wraps({1: 1}, {1: 2})
    assert (await moving(bench))["data-keys"] == (2, 2, 2)
    with pytest.raises(LocalError):
        await state(bench, people, key_id="WRAP-DATA", version=1, state="withdrawn")
    again = await bench.platform.rewrap_data_keys(
        [("journal", name, one.wrapped) for name, one in zip("ab", made, strict=True)]
    )
    (session,) = await bench.platform.rewrap_sessions([(reply.session_id, reply.device_id, reply.wrapped)])
    assert [int.from_bytes(one[:2]) for one in (*again, session)] == [2, 2, 2]
    assert await bench.platform.rewrap_data_keys([("journal", "a", again[0])]) == (again[0],)
    await bench.platform.report_wraps({2: 1}, {2: 2})
    assert (await moving(bench))["session-wraps"] == (2, 0, 1)
    with pytest.raises(LocalError) as still:  # a key that was made under it may still be on its way
        await state(bench, people, key_id="WRAP-DATA", version=1, state="withdrawn")
    assert still.value.code == "security.still-used"
    assert [one.complete for one in await operator(bench).moving() if one.kind == "data-keys"] == [False]
    await bench.platform.report_wraps({2: 1}, {2: 2}, sessions_from=2, data_keys_from=2)
    assert all(one.complete for one in await operator(bench).moving())
    await state(bench, people, key_id="WRAP-DATA", version=1, state="withdrawn")
    await state(bench, people, key_id="WRAP-SESSION", version=1, state="withdrawn")
    assert (await bench.platform.unwrap_data_key("journal", "a", again[0])).key == made[0].key
    assert await bench.headend.unwrap(reply.session_id, reply.device_id, session) == reply.keys
    with pytest.raises(TrustError) as gone:
        await bench.platform.unwrap_data_key("journal", "a", made[0].wrapped)
    assert gone.value.code in ("security.key-state", "security.wrapped")


async def test_a_rewrap_opens_nothing_that_is_not_its_own(bench: Bench) -> None:
    _, reply = await bench.shake(await bench.module(1))
    made = await bench.platform.data_key("journal", "a")
    await operator(bench).rotate("data-keys")
    await operator(bench).rotate("session-wraps")
    for purpose, name, wrapped in (
        ("journal", "b", made.wrapped),
        ("other", "a", made.wrapped),
        ("journal", "a", reply.wrapped),
        ("journal", "a", made.wrapped[:-1]),
        ("journal", "a", b""),
    ):
        with pytest.raises(TrustError):
            await bench.platform.rewrap_data_keys([(purpose, name, wrapped)])
    with pytest.raises(TrustError):
        await bench.platform.rewrap_sessions([(reply.session_id, bytes(8), reply.wrapped)])
    with pytest.raises(LocalError):
        await bench.platform.rewrap_data_keys([("journal", "a", made.wrapped)] * 1001)


async def test_only_the_operator_rotates(bench: Bench) -> None:
    for sdk in (bench.platform, bench.headend):
        with pytest.raises(ConsentError):
            await sdk.rotate("audit")
    with pytest.raises(LocalError) as caught:
        await operator(bench).rotate("everything")
    assert caught.value.code == "security.kind"


async def test_modules_that_lag_behind_hold_the_next_rotation(bench: Bench) -> None:
    for number in range(1, 4):
        await bench.module(number)
        await operator(bench).rotate("diak")
    await bench.module(4)
    with pytest.raises(LocalError) as caught:
        await operator(bench).rotate("diak")
    assert caught.value.code == "security.still-moving"


async def test_a_leaked_key_is_withdrawn_and_destroyed_by_two(bench: Bench) -> None:
    module = await bench.module(1)
    people = await founded(bench)
    await operator(bench).rotate("diak")
    assert (await moving(bench))["diak"] == (2, 1, 1)
    wish = {"key_id": "DIAK", "version": 1}
    with pytest.raises(TrustError) as caught:
        await state(bench, people[:1], **wish, state="withdrawn", despite=True)
    assert caught.value.code == "security.two-persons"
    with pytest.raises(LocalError) as used:
        await state(bench, people, **wish, state="withdrawn")
    assert used.value.code == "security.still-used"
    with pytest.raises(LocalError) as early:
        await state(bench, people, **wish, state="destroyed")
    assert early.value.code == "security.key-state"
    done = await state(bench, people, **wish, state="withdrawn", despite=True)
    assert done.officers == ("an", "bo")
    with pytest.raises(TrustError):
        await bench.shake(module)
    with pytest.raises(LocalError) as back:
        await state(bench, people, **wish, state="active")
    assert back.value.code == "security.key-state"
    await state(bench, people, **wish, state="destroyed")
    facts = {(one.id, one.version): one.state for one in (await bench.restarted().platform.usage()).keys}
    assert (facts["DIAK", 1], facts["DIAK", 2]) == ("destroyed", "active")


async def test_the_newest_key_and_the_tree_are_never_withdrawn(bench: Bench) -> None:
    people = await founded(bench)
    for key_id in ("DIAK", "WRAP-DATA", "WRAP-SESSION", "AUDIT", "ACTS"):
        with pytest.raises(LocalError) as caught:
            await state(bench, people, key_id=key_id, version=1, state="withdrawn", despite=True)
        assert caught.value.code == "security.last-key"
    for key_id in ("ROOT", "PROJECT", "MROOT", "DEVICE-CA", "nothing"):
        with pytest.raises(LocalError) as caught:
            await state(bench, people, key_id=key_id, version=1, state="withdrawn", despite=True)
        assert caught.value.code == "security.kind"


async def test_an_imported_key_waits_until_two_people_activate_it(bench: Bench) -> None:
    people = await founded(bench)
    point = (await operator(bench).transport_key()).point
    secret = os.urandom(16)
    key = SymmetricKey.from_bytes(secret, "DIAK of elsewhere")

    def request(**other: object) -> k.ImportKey:
        plain = {
            **fields(),
            "key_id": "DIAK",
            "envelope": sm2.encrypt(point, secret),
            "check_value": key.check_value(),
        }
        return k.ImportKey(**{**plain, **other})  # type: ignore[arg-type]

    for wrong, code in (
        ({"key_id": "ROOT"}, "security.kind"),
        ({"envelope": sm2.encrypt(Person("x").key.public_point, secret)}, "crypto.ciphertext"),
        ({"envelope": sm2.encrypt(point, secret + b"!")}, "crypto.ciphertext"),
        ({"check_value": bytes(3)}, "security.check-value"),
    ):
        with pytest.raises(MetersealError) as caught:
            await bench.platform.submit(ordered("import-key", request(**wrong), people))
        assert caught.value.code == code
    done = await bench.platform.submit(ordered("import-key", request(), people))
    assert done.facts == '{"version": 2}'
    assert bench.service.room.tree.key_version == 1
    with pytest.raises(LocalError) as twice:
        await bench.platform.submit(ordered("import-key", request(), people))
    assert twice.value.code == "security.key-exists"
    await state(bench, people, key_id="DIAK", version=2, state="active")
    again = bench.restarted()
    module = await again.module(1)
    assert module.given is not None
    assert module.given.key_version == 2
    expected = key.diversify(module.device_id, "").diversify(module.module_id, "")
    assert module.k_bound.check_value() == expected.check_value()


async def test_an_audit_tail_written_anew_under_a_retired_key(bench: Bench) -> None:
    """Who has a retired audit key and the file cannot put other entries in the place of newer ones."""
    await bench.module(1)
    await operator(bench).rotate("audit")
    await bench.module(2)
    assert (await bench.platform.verify_audit()).ok
    audit, retired = bench.service.room.audit, bench.service.room.keys.symmetric("AUDIT", 1)
    rows = audit._store.rows("SELECT sequence, body, hash, version FROM entry ORDER BY sequence")
    assert {row[3] for row in rows} == {1, 2}
    head = next(row[2] for row in reversed(rows) if row[3] == 1)
    forged = []
    for sequence, body, _, version in rows:
        if version == 2:
            head = retired.mac(b"ms1 audit\x00", b"", head, sequence.to_bytes(8), body)
            forged.append((head, sequence))
    bench.service.close()
    with sqlite3.connect(bench.directory / "audit.db") as connection:
        connection.executemany("UPDATE entry SET hash = ?, version = 1 WHERE sequence = ?", forged)
    connection.close()
    with pytest.raises(TrustError) as caught:
        bench.restarted_from_closed()
    assert caught.value.code == "security.tampered"


async def test_use_counters_equal_what_was_processed_and_stop_at_the_limit(bench: Bench) -> None:
    """T25: per key, what was counted is what was done, over a restart; use limit + 1 is refused."""
    module = await bench.module(1, 2)

    async def used() -> dict[str, int]:
        return {one.id: one.used for one in (await bench.platform.usage()).keys if one.state == "active"}

    before = await used()
    for _ in range(5):
        _, reply = await bench.shake(module)
    for number in range(7):
        made = await bench.platform.data_key("journal", f"{number}")
        await bench.platform.unwrap_data_key("journal", f"{number}", made.wrapped)
    await bench.headend.unwrap(reply.session_id, reply.device_id, reply.wrapped)
    bench = bench.restarted()
    after = await used()
    assert {key: after[key] - before[key] for key in ("DIAK", "WRAP-DATA", "WRAP-SESSION")} == {
        "DIAK": 5,
        "WRAP-DATA": 14,
        "WRAP-SESSION": 6,
    }
    assert (await bench.platform.verify_audit()).entries == (await used())["AUDIT"]
    entry = bench.service.room.keys._entries["WRAP-DATA", 1]
    entry.limit = entry.used + 2
    made = await bench.platform.data_key("journal", "last")
    await bench.platform.unwrap_data_key("journal", "last", made.wrapped)
    for _ in range(2):
        with pytest.raises(TrustError) as caught:
            await bench.platform.data_key("journal", "one more")
        assert caught.value.code == "security.limit"
    assert bench.service.room.keys.facts("WRAP-DATA", 1).used == entry.limit
    await operator(bench).rotate("data-keys")
    await bench.platform.data_key("journal", "one more")
