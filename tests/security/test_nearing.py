"""A key's limit of uses is seen from far: a reminder at half, an alarm at four fifths, and then a refusal."""

from __future__ import annotations

import re

import pytest
from msgspec import structs

from meterseal.errors import TrustError
from meterseal.security import hierarchy
from meterseal.security.messages import AuditEntry, KeyFacts
from meterseal.security.nearing import level_of, nearing
from meterseal.security.rotation import KINDS
from meterseal.security.vault import UNBOUNDED

from .conftest import Bench
from .people import operator


@pytest.mark.parametrize(
    ("used", "limit", "level"),
    [
        (0, 10**9, ""),
        (499_999_999, 10**9, ""),
        (500_000_000, 10**9, "reminder"),
        (799_999_999, 10**9, "reminder"),
        (800_000_000, 10**9, "alarm"),
        (10**9 - 1, 10**9, "alarm"),
        (10**9, 10**9, "reached"),
        (2, 3, "reminder"),
        (UNBOUNDED - 1, UNBOUNDED, ""),
    ],
)
def test_the_levels_begin_at_half_at_four_fifths_and_at_the_limit(used: int, limit: int, level: str) -> None:
    assert level_of(used, limit) == level


def facts(key_id: str, version: int, used: int, state: str = "active", limit: int = 100) -> KeyFacts:
    return KeyFacts(
        vault="keys", id=key_id, version=version, parent_version=0, state=state, check_value=b"abc", used=used,
        limit=limit,
    )  # fmt: skip


def test_what_to_do_is_to_rotate_or_where_that_was_done_to_move() -> None:
    found = nearing([
        facts("DIAK", 1, 85, "retiring"), facts("DIAK", 2, 60), facts("DEVICE-CA", 1, 90), facts("OWN", 1, 50),
        facts("WRAP-DATA", 1, 99, "withdrawn"), facts("WRAP-SESSION", 1, 49), facts("AUDIT", 1, 99, limit=UNBOUNDED),
    ])  # fmt: skip
    assert [(one.id, one.version, one.level) for one in found] == [
        ("DEVICE-CA", 1, "alarm"),
        ("DIAK", 1, "alarm"),
        ("DIAK", 2, "reminder"),
        ("OWN", 1, "reminder"),
    ]
    assert "ca-rotate authority=device" in found[0].sentence
    assert "keys moving" in found[1].sentence
    assert "keys rotate diak" in found[2].sentence
    assert "85 of 100 uses (85 %)" in found[1].sentence


async def test_for_every_key_that_has_a_limit_there_is_something_to_do(bench: Bench) -> None:
    """Whoever gives a key a limit says here what to do when it comes near, in a command that there is."""
    await operator(bench).rotate("ledger")
    keys = [one for one in (await operator(bench).usage()).keys if one.limit < UNBOUNDED]
    near = nearing([structs.replace(one, used=one.limit) for one in keys])
    assert {one.id for one in near} >= {
        "DIAK",
        "WRAP-DATA",
        "WRAP-SESSION",
        "PLATFORM-CA",
        "DEVICE-CA",
        "LEDGER",
    }
    assert not [one.id for one in near if "--help" in one.cure]
    for one in near:
        kind = re.search(r"keys rotate ([a-z-]+)", one.cure)
        assert kind is None or kind[1] in KINDS


async def said(bench: Bench) -> list[AuditEntry]:
    await bench.service.room.durable()
    entries = [one.entry for one in await bench.platform.audit(limit=1000)]
    return [one for one in entries if one.code.startswith("security.limit-")]


async def test_the_log_says_each_level_once_over_restarts_and_the_cure_holds(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hierarchy, "DIAK_LIMIT", 10)
    await operator(bench).rotate("diak")
    module = await bench.module(1)
    told = []
    for number in range(2, 11):
        bench.clock.now += 60_000
        await bench.shake(module)
        bench.clock.now += 60_000
        await bench.platform.anchors()
        told = [one.code.removeprefix("security.limit-") for one in await said(bench)]
        expected = ["reminder"] * (number >= 5) + ["alarm"] * (number >= 8) + ["reached"] * (number >= 10)
        assert told == expected, number
        if number == 6:
            bench = bench.restarted()
    assert {one.key for one in await said(bench)} == {"DIAK version 2"}
    near = nearing((await operator(bench).usage()).keys)
    assert [(one.id, one.version, one.level) for one in near] == [("DIAK", 2, "reached")]
    with pytest.raises(TrustError) as caught:
        await bench.shake(module)
    assert caught.value.code == "security.limit"
    await operator(bench).rotate("diak")
    await bench.shake(await bench.module(2))  # under the new version
    near = nearing((await operator(bench).usage()).keys)
    assert [one.cure.startswith("a newer version") for one in near] == [True]
