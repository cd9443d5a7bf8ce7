"""The ledger's tree: what its leaves are, that it is the same after every crash, and that salts go for good."""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import random
import threading
from base64 import b64decode
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from meterseal.control.tables import ledger_seeds
from meterseal.crypto import merkle
from meterseal.crypto.symmetric import sm3
from meterseal.errors import DataError, LocalError
from meterseal.mdms.entries import Place
from meterseal.mdms.ledger import files, ledger
from meterseal.mdms.ledger.leaves import Part, day_of, days_between, instants, parts_of, plaintext, read
from meterseal.mdms.ledger.salts import Salts
from meterseal.mdms.ledger.tree import Tree, nodes_of
from meterseal.mdms.service import Mdms
from meterseal.model import MAIN, Batch, Opened, Series
from tests.crypto.test_merkle import slow_root
from tests.mdms.fleet import DAY, FIRST, HOUR, batches, day_record, days, device, keys, open_store, point

DAY_0 = day_of(FIRST + DAY)


def named(record: Opened) -> Opened:
    """The record with a digest of its own, as the head-end takes it over the bytes that travelled."""
    return msgspec.structs.replace(record, digest=sm3(record.session_id, record.counter.to_bytes(6)))


def records(count: int, days_: int) -> list[Opened]:
    return [named(record) for day in days(count, days_) for record in day]


async def filled(mdms: Mdms, published: list[Opened], size: int = 5) -> tuple[int, bytes]:
    for batch in batches(published, size):
        await mdms.publish(batch)
    leaves = mdms.ledger.take_up()
    return leaves, mdms.ledger.root(leaves)


def whole(mdms: Mdms) -> tuple[int, bytes]:
    size = mdms.ledger.take_up()
    return size, mdms.ledger.root(size)


async def test_a_leaf_is_made_of_the_record_the_salt_and_the_json_of_what_it_said(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 2)
    published = records(2, 3)
    size, root = await filled(mdms, published)
    assert size == len(published)
    contents = []
    for number, made in mdms.ledger.every(size):
        leaf = read(made.plaintext)
        proven = mdms.ledger.proven(number, made, leaf.owner, size)
        assert proven is not None
        contents.append(proven.digest + hmac.digest(proven.salt, proven.plaintext, "sm3"))
        assert merkle.included(merkle.leaf_hash(contents[-1]), number, size, proven.path, root)
        kind, usage_point, _, day, meter, session, counter, *_ = json.loads(proven.plaintext)
        record = published[number]
        assert (kind, usage_point) == ("record", point(int.from_bytes(record.device_id[1:])))
        assert (b64decode(session), counter, b64decode(meter)) == (
            record.session_id,
            record.counter,
            record.device_id,
        )
        assert proven.digest == record.digest
        assert day_of(instants(leaf)[1]) == day == made.day
    assert slow_root(contents) == root
    assert len({mdms.ledger.inclusion(number, size)[0] for number in range(size)}) == size
    await mdms.close()


async def test_the_tree_is_the_same_after_every_start_wherever_it_stopped(tmp_path: Path) -> None:
    generator = random.Random(33)
    published = records(3, 6)
    mdms, engine = open_store(tmp_path, 3)
    known: list[tuple[int, bytes]] = [whole(mdms)]
    for batch in batches(published, 4):
        await mdms.publish(batch)
        await mdms.publish(batch)  # a repeat is no leaf
        known.append(whole(mdms))
        if generator.random() < 0.3:
            await mdms.compact()
        if generator.random() < 0.4:
            await mdms.close()
            engine.dispose()
            mdms, engine = open_store(tmp_path)
        for size, root in known:
            assert mdms.ledger.root(size) == root
            proof = mdms.ledger.consistency(size, known[-1][0])
            assert merkle.consistent(size, root, *known[-1], proof)
    assert known[-1][0] == len(published)
    await mdms.close()


async def test_estimates_are_leaves_too(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    holed = named(day_record(0, 0, 1))
    series = holed.series[0]
    registers = (*series.registers[:5], None, *series.registers[6:])
    holed = msgspec.structs.replace(
        holed, series=(msgspec.structs.replace(series, registers=registers), holed.series[1])
    )
    await mdms.publish(Batch((holed,)))
    run = await mdms.run_vee(FIRST + 30 * DAY)
    assert run.versions == 1
    size, _ = whole(mdms)
    kinds = [json.loads(made.plaintext)[0] for _, made in mdms.ledger.every(size)]
    assert kinds == ["record", "version"]
    await mdms.close()


def test_a_record_of_several_meters_and_days_is_cut_so_that_nobody_is_shown_anothers() -> None:
    places = {
        device(n): [Place(device(n), point(n), "water", FIRST, 0)] for n in range(2)
    }  # a third is unknown
    whole_ = msgspec.structs.replace(
        day_record(0, 0, 1),
        origin="vouched",
        statuses=(),
        series=tuple(
            Series(device(n), MAIN, "m3", -2, FIRST - HOUR, HOUR, tuple(range(30))) for n in range(3)
        ),
    )
    parts = parts_of(whole_, places)
    # A day's midnight belongs to the day before it; the third meter is installed nowhere, and nobody was before FIRST.
    assert sorted((part.usage_point, part.day - DAY_0, len(part.series[0].registers)) for part in parts) == [
        ("", -1, 1),
        ("", -1, 1),
        ("", -1, 2),
        ("", 0, 24),
        ("", 1, 4),
        (point(0), -1, 1),
        (point(0), 0, 24),
        (point(0), 1, 4),
        (point(1), -1, 1),
        (point(1), 0, 24),
        (point(1), 1, 4),
    ]
    for part in parts:
        first, last = instants(part)
        assert day_of(first) == day_of(last) == part.day
        assert {one.device_id for one in part.series} == {part.device_id}
        assert read(plaintext(part)) == part
    again = [at for part in parts if part.device_id == device(1) for at in part.series[0].registers]
    assert again == list(range(30))
    assert day_of(FIRST) == DAY_0 - 1
    assert day_of(FIRST + 1) == DAY_0
    assert days_between(FIRST, FIRST + DAY) == (DAY_0, DAY_0)


def test_every_accepted_record_is_a_leaf_even_one_that_says_nothing() -> None:
    (part,) = parts_of(msgspec.structs.replace(day_record(0, 0, 1), series=(), statuses=()), {})
    assert (part.usage_point, part.owner) == ("", f"device:{device(0).hex()}")
    nonsense = Series(device(0), MAIN, "m3", -2, 1 << 60, HOUR, (1, 2))
    far = msgspec.structs.replace(day_record(0, 0, 1), series=(nonsense,), statuses=())
    assert [part.series for part in parts_of(far, {})] == [(nonsense,)]


# --- salts ------------------------------------------------------------------------------------------


def salts(tmp_path: Path) -> tuple[Salts, sa.Engine]:
    from tests.control_store import control_at

    engine = control_at(tmp_path / "control.db")
    return Salts(engine, keys()), engine


def test_destroying_some_days_leaves_every_other_salt_as_it_was(tmp_path: Path) -> None:
    kept, engine = salts(tmp_path)
    kept.prepare([("up-1", 20_000), ("up-2", 20_000)], 0)
    every = [*range(0, 65_536, 97), *range(20_000, 20_040), 65_535]
    before = {day: kept.salt("up-1", day, 7) for day in every}
    other = kept.salt("up-2", 20_010, 7)
    assert kept.destroy("up-1", 20_005, 20_030)
    assert kept.destroy("up-unknown", 0, 9) == b""
    for opened in (kept, Salts(engine, keys())):
        for day in every:
            gone = 20_005 <= day <= 20_030
            assert opened.salt("up-1", day, 7) == (None if gone else before[day])
        assert opened.salt("up-2", 20_010, 7) == other
    with engine.connect() as connection:
        stored = connection.execute(sa.select(ledger_seeds).where(ledger_seeds.c.usage_point == "up-1")).one()
    assert len(stored.sealed_nodes) < 6_000
    assert len({before[day] for day in every}) == len(set(every))
    assert kept.salt("up-1", 20_000, 8) != before[20_000]


def test_a_destroyed_day_that_speaks_again_shows_nothing_of_what_was_destroyed(tmp_path: Path) -> None:
    kept, engine = salts(tmp_path)
    kept.prepare([("up-1", 20_000)], 0)
    old = kept.salt("up-1", 20_000, 3)
    kept.destroy("up-1", 20_000, 20_000)
    kept.prepare([("up-1", 20_000)], 50)
    for opened in (kept, Salts(engine, keys())):
        assert opened.salt("up-1", 20_000, 49) is None
        new = opened.salt("up-1", 20_000, 50)
        assert new is not None
        assert new != old
        assert opened.salt("up-1", 20_001, 3) is not None


async def test_after_an_erasure_the_tree_is_as_it_was_and_the_leaves_are_not_shown(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 2)
    size, root = await filled(mdms, records(2, 4))
    await mdms.compact()
    assert mdms.ledger.destroy(point(0), *days_between(FIRST + DAY, FIRST + 3 * DAY))
    for _ in range(2):
        shown: dict[tuple[str, int], set[bool]] = {}
        for number, made, leaf in [
            found for n in range(2) for found in mdms.ledger.of(point(n), DAY_0, DAY_0 + 9, size)
        ]:
            proven = mdms.ledger.proven(number, made, leaf.owner, size)
            shown.setdefault((leaf.owner, leaf.day - DAY_0), set()).add(proven is not None)
        assert shown == {(point(n), day): {n == 1 or day in (0, 3)} for n in range(2) for day in range(4)}
        assert mdms.ledger.root(size) == root
        await mdms.close()
        engine.dispose()
        mdms, engine = open_store(tmp_path)
    await mdms.close()


async def test_an_erasure_before_the_leaves_are_kept_changes_no_tree_that_was_signed(tmp_path: Path) -> None:
    """A start makes the leaves of the journal anew; with their salts gone they would be others."""
    mdms, engine = open_store(tmp_path, 2)
    signed = await filled(mdms, records(2, 4))
    erased = point(0), *days_between(FIRST + DAY, FIRST + 3 * DAY)
    assert mdms.ledger.destroy(*erased) is None
    assert await mdms.destroy_salts(*erased)
    for _ in range(2):
        assert whole(mdms) == signed
        shown = {
            (leaf.owner, leaf.day - DAY_0)
            for n in range(2)
            for number, made, leaf in mdms.ledger.of(point(n), DAY_0, DAY_0 + 9, signed[0])
            if mdms.ledger.proven(number, made, leaf.owner, signed[0]) is not None
        }
        assert shown == {(point(n), day) for n in range(2) for day in range(4) if n == 1 or day in (0, 3)}
        await mdms.close()
        engine.dispose()
        mdms, engine = open_store(tmp_path)
    # What is said of these days from now on has salts of its own, and is the same after a start as well.
    grown = await filled(mdms, [named(day_record(0, 1, 99))])
    assert grown[0] == signed[0] + 1
    await mdms.close()
    engine.dispose()
    mdms, engine = open_store(tmp_path)
    assert whole(mdms) == grown
    await mdms.close()


async def test_leaves_are_found_while_a_compaction_joins_the_file_they_are_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mdms, _ = open_store(tmp_path, 1)
    published = records(1, 8)
    await filled(mdms, published[:6])
    await mdms.compact()
    size, _ = await filled(mdms, published[6:])
    asked, joined, read_ = threading.Event(), threading.Event(), ledger.read_leaves

    def slow(*file: Any) -> list[files.Made]:
        if threading.current_thread() is reading and not asked.is_set():
            asked.set()
            assert joined.wait(20)
        return read_(*file)

    monkeypatch.setattr(ledger, "read_leaves", slow)
    found: list[int] = []

    def ask() -> None:
        found.extend(number for number, _, _ in mdms.ledger.of(point(0), DAY_0 - 1, DAY_0 + 9, size))

    reading = threading.Thread(target=ask)
    reading.start()
    assert await asyncio.to_thread(asked.wait, 20)
    await mdms.compact()
    joined.set()
    await asyncio.to_thread(reading.join, 20)
    assert found == list(range(size))
    last = sorted((tmp_path / "measurements/ledger").glob("*.leaves"))[-1]
    last.write_bytes(last.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError) as damaged:
        list(mdms.ledger.of(point(0), DAY_0 - 1, DAY_0 + 9, size))
    assert damaged.value.code == "mdms.ledger-damaged"
    await mdms.close()


def test_attack_a_file_that_says_it_holds_no_leaf_does_not_hold_up_a_start(tmp_path: Path) -> None:
    made = [files.Made(bytes(32), 20_000, b"{}")]
    files.write_leaves(tmp_path, "st-1", keys(), 0, made)
    empty = files._HEADER.pack(files._MAGIC, 1, 0, 0, 0, 1)
    (tmp_path / f"{1:012d}-{0:06d}.leaves").write_bytes(empty)
    with pytest.raises(DataError) as damaged:
        files.found(tmp_path, 2)
    assert damaged.value.code == "mdms.ledger-damaged"
    assert [one.size for one in files.found(tmp_path, 1)] == [1]


# --- files ------------------------------------------------------------------------------------------


def test_the_tree_file_gives_what_was_kept_and_cuts_what_was_not(tmp_path: Path) -> None:
    leaves = [merkle.leaf_hash(bytes([number])) for number in range(77)]
    tree = Tree(tmp_path / "tree", 0)
    tree.append(leaves[:50])
    roots = {size: tree.root(size) for size in range(51)}
    tree.keep(41)
    tree.kept_up_to(41)
    assert {size: tree.root(size) for size in range(51)} == roots
    tree.keep(50)  # written, and never said to count: the process ends
    tree.close()
    again = Tree(tmp_path / "tree", 41)
    assert (tmp_path / "tree").stat().st_size == nodes_of(41) * 32
    again.append(leaves[41:])
    assert {size: again.root(size) for size in range(51)} == roots
    assert again.root(77) == slow_root([bytes([number]) for number in range(77)])
    again.close()
    os.truncate(tmp_path / "tree", 100)
    with pytest.raises(DataError) as short:
        Tree(tmp_path / "tree", 41)
    assert short.value.code == "mdms.ledger-damaged"


async def test_files_are_joined_until_they_are_full_and_resealed_with_a_new_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "FULL", 10)
    mdms, _ = open_store(tmp_path, 2)
    for day in range(0, 24, 4):
        await filled(mdms, records(2, 8)[day : day + 4])
        await mdms.compact()
    size, root = whole(mdms)
    names = sorted(path.name for path in (tmp_path / "measurements/ledger").glob("*.leaves"))
    assert names == ["000000000000-000010.leaves", "000000000010-000010.leaves", "000000000020-000004.leaves"]
    plain = [made for _, made in mdms.ledger.every(size)]
    assert [json.loads(one.plaintext)[0] for one in plain] == ["record"] * 24
    assert mdms.ledger.older() == 0
    mdms._keys.add(2, keys()._keys[1])
    assert mdms.ledger.older() == 3
    while await mdms.reseal():
        pass
    assert await mdms.older() == 0
    assert [made for _, made in mdms.ledger.every(size)] == plain
    assert whole(mdms) == (size, root)
    await mdms.close()


@pytest.mark.parametrize("harm", ["flip", "swap", "missing", "rename"])
async def test_a_changed_file_of_leaves_is_found_and_named(tmp_path: Path, harm: str) -> None:
    mdms, engine = open_store(tmp_path, 1)
    await filled(mdms, records(1, 4))
    await mdms.compact()
    await mdms.close()
    engine.dispose()
    (path,) = (tmp_path / "measurements/ledger").glob("*.leaves")
    content = bytearray(path.read_bytes())
    if harm == "flip":
        content[-1] ^= 1
        path.write_bytes(content)
    elif harm == "swap":
        content[40] ^= 1
        path.write_bytes(content[:36] + os.urandom(200))
    elif harm == "rename":
        content[4:12] = (5).to_bytes(8)
        path.write_bytes(content)
    else:
        path.unlink()
    with pytest.raises(DataError) as found:
        list(open_store(tmp_path)[0].ledger.every(8))
    assert found.value.code == "mdms.ledger-damaged"
    assert "measurements/ledger" in found.value.message


async def test_more_than_there_is_cannot_be_asked_for(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    size, _ = await filled(mdms, records(1, 2))
    for ask in (
        lambda: mdms.ledger.root(size + 1),
        lambda: mdms.ledger.inclusion(0, size + 1),
        lambda: mdms.ledger.inclusion(size, size),
        lambda: mdms.ledger.consistency(1, size + 1),
    ):
        with pytest.raises(LocalError) as refused:
            ask()
        assert refused.value.code == "crypto.tree"
    assert isinstance(read(plaintext(parts_of(day_record(0, 0, 1), {})[0])), Part)
    await mdms.close()
