"""`store check` names the damaged piece and what is lost by it, whichever piece it is, and nothing else."""

from __future__ import annotations

import asyncio
import base64
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from meterseal.control import opening
from meterseal.control.rings import WORDS
from meterseal.control.sealed import FIRMWARE_KEYS
from meterseal.control.sealing import KeyRing, SealedTable
from meterseal.control.tables import firmware_keys, ledger_checkpoints
from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import DataError
from meterseal.mdms.integrity import Damage
from meterseal.mdms.ledger.tree import place_of
from meterseal.mdms.service import Mdms
from meterseal.mdms.store.chunks import CHUNK
from meterseal.model import MAIN
from meterseal.security.checkpoints import Checkpoint
from tests.mdms.fleet import DAY, FIRST, batches, days, open_store, point
from tests.mdms.test_store_contract import bulk_of

METERS, DAYS, MINUTE = 4, 2, 60_000
LONG = 2 * CHUNK


def make(root: Path, rows: int) -> Path:
    """Four media, one of them with so many rows more; a day is in the journal alone."""

    async def fill() -> None:
        mdms, engine = open_store(root, METERS)
        for number, records in enumerate(days(METERS, DAYS)):
            for batch in batches(records, 4):
                await mdms.publish(batch)
            if not number:
                await mdms.append(bulk_of(3, 100, list(range(rows)), step=MINUTE))
                await mdms.compact()
        await mdms.close()
        engine.dispose()

    asyncio.run(fill())
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One medium is in three chunks."""
    return make(tmp_path_factory.mktemp("made"), LONG)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows in the tables of findings and evidence, and the store's own; few, as the rules look at every reading."""
    root = make(tmp_path_factory.mktemp("judged"), 3)

    async def judge() -> None:
        mdms, engine = open_store(root)
        await mdms.run_vee(FIRST + 40 * DAY)
        await mdms.append(bulk_of(2, 5, [1, 2, 3]))  # contradicts what came
        await mdms.settle()
        assert len(mdms.findings()) > 5
        await mdms.close()
        engine.dispose()

    asyncio.run(judge())
    return root


Opened = tuple[Mdms, sa.Engine]


async def opened(made: Path, root: Path) -> AsyncIterator[Opened]:
    shutil.copytree(made, root)
    mdms, engine = open_store(root)
    yield mdms, engine
    await mdms.close()
    engine.dispose()


@pytest.fixture
async def store(made: Path, tmp_path: Path) -> AsyncIterator[Opened]:
    async for one in opened(made, tmp_path / "one"):
        yield one


@pytest.fixture
async def sealed(judged: Path, tmp_path: Path) -> AsyncIterator[Opened]:
    async for one in opened(judged, tmp_path / "one"):
        yield one


def spoil(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


async def damages(mdms: Mdms) -> list[Damage]:
    found = await mdms.integrity()
    assert found.more == 0
    assert found.good == (not found.damages)
    return list(found.damages)


async def test_a_whole_store_is_good_and_every_reading_was_opened(store: Opened) -> None:
    mdms, _ = store
    found = await mdms.integrity()
    assert found.good
    assert (found.segments, found.chunks, found.leaves) == (
        8,
        10,
        2 * METERS + 1,
    )  # a month each of UTC: October and November
    assert found.readings == 24 * METERS + LONG
    assert found.entries == 2


async def test_a_changed_chunk_costs_its_readings_and_no_others(store: Opened) -> None:
    mdms, _ = store
    segment = max(mdms.segments(), key=lambda one: one.rows)
    spoil(mdms._directory / "segments" / segment.path, 10)
    (found,) = await damages(mdms)
    assert (found.code, found.readings, found.channels) == ("chunk", CHUNK, 1)
    assert f"{segment.path}, part 1 of 3" in found.where
    assert found.since <= FIRST + 5 * DAY < found.until
    with pytest.raises(DataError):
        mdms.registers(point(3), MAIN, FIRST + 5 * DAY, FIRST + 6 * DAY)
    assert len(mdms.registers(point(2), MAIN, 0, FIRST + 2 * DAY).end_at) == 48


async def test_a_changed_index_costs_the_segment(store: Opened) -> None:
    mdms, _ = store
    segment = next(one for one in mdms.segments() if one.medium == "water")
    spoil(mdms._directory / "segments" / segment.path, segment.size - 20)
    mdms._store.shelf.__init__(mdms._store.directory, mdms._keys, mdms._store.words)  # type: ignore[misc]
    (found,) = await damages(mdms)
    assert (found.code, found.readings) == ("segment", segment.rows)
    assert segment.first_usage_point in found.where
    assert (found.since, found.until) == (segment.first_end_at, segment.last_end_at)


async def test_a_changed_journal_is_named_with_the_last_entry_that_can_be_read(store: Opened) -> None:
    mdms, _ = store
    path = sorted((mdms._directory / "journal").glob("*.journal"))[-1]
    spoil(path, 60)
    (found,) = await damages(mdms)
    assert found.code == "journal"
    assert "after entry" in found.where
    assert str(path) in found.sentence


async def test_a_changed_file_of_the_ledger_is_named_with_its_leaves(store: Opened) -> None:
    mdms, _ = store
    path = next((mdms._directory / "ledger").glob("*.leaves"))
    spoil(path, path.stat().st_size // 2)
    (found,) = await damages(mdms)
    assert (found.code, found.where) == ("ledger", f"{path.name}, leaves 0 to {2 * METERS}")


async def test_a_tree_that_was_cut_is_named(store: Opened) -> None:
    mdms, _ = store
    path = mdms._directory / "ledger" / "tree"
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 32)
    (found,) = await damages(mdms)
    assert (found.code, found.where) == ("ledger", "tree")


async def test_a_row_that_refers_to_none_is_named(store: Opened) -> None:
    mdms, engine = store
    with engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        raw.execute("PRAGMA foreign_keys=OFF")
        raw.execute("DELETE FROM premises")
        raw.execute("PRAGMA foreign_keys=ON")
    found = await damages(mdms)
    assert {one.code for one in found} == {"control"}
    assert len(found) == METERS
    assert all("premises" in one.sentence for one in found)


async def test_a_changed_hash_of_the_tree_is_named_with_the_leaves_below_it(store: Opened) -> None:
    """Nine leaves: 8 under one tree, and one over which nothing stands yet."""
    mdms, _ = store
    assert mdms.ledger.at_rest()[2] == 2 * METERS + 1
    path = mdms._directory / "ledger" / "tree"
    for at, said in (
        (place_of(0, 5), {"tree, leaves 4 to 5"}),
        (place_of(1, 2), {"tree, leaves 4 to 5", "tree, leaves 4 to 7"}),
        (place_of(3, 0), {"tree, leaves 0 to 7"}),
        (place_of(0, 8), {"tree, leaf 8"}),
    ):
        whole = path.read_bytes()
        spoil(path, at * 32 + 7)
        assert {(one.code, one.where) for one in await damages(mdms)} == {("ledger", where) for where in said}
        path.write_bytes(whole)
    assert await damages(mdms) == []


async def test_a_tree_that_is_another_than_was_signed_is_named(store: Opened) -> None:
    """Every hash fits the one below it, and the checkpoint knows another root."""
    mdms, engine = store
    note = Checkpoint(
        store_id=mdms.ledger.store_id, size=5, root=mdms.ledger.root(4), number=1, at=1, previous=bytes(32)
    )
    signed = f"{note.text()}\n— x {base64.b64encode(bytes(80)).decode()}\n"
    with engine.begin() as connection:
        connection.execute(ledger_checkpoints.insert().values(number=1, size=5, at=1, note=signed))
    (found,) = await damages(mdms)
    assert (found.code, found.where) == ("ledger", "tree")
    assert "checkpoint 1" in found.sentence
    right = msgspec.structs.replace(note, root=mdms.ledger.root(5))
    with engine.begin() as connection:
        connection.execute(ledger_checkpoints.update().values(note=signed.replace(note.text(), right.text())))
    assert await damages(mdms) == []


@pytest.mark.parametrize("change", ["byte", "moved", "cut", "text", "version"])
async def test_a_sealed_value_that_does_not_open_is_named_with_table_and_row(
    sealed: Opened, change: str
) -> None:
    mdms, engine = sealed
    whole = await mdms.integrity()
    assert (whole.good, whole.sealed > 4) == (True, True)
    raw = engine.raw_connection()
    rows = raw.execute("SELECT rowid, sealed_values FROM findings WHERE sealed_values IS NOT NULL").fetchall()  # type: ignore[attr-defined]
    (hit, value), (_, other) = rows[1], rows[0]
    changed = {
        "byte": value[:20] + bytes([value[20] ^ 1]) + value[21:],
        "moved": other,
        "cut": value[:5],
        "text": "words",
        "version": value,
    }[change]
    version = 7 if change == "version" else 1
    raw.execute(  # type: ignore[attr-defined]
        "UPDATE findings SET sealed_values=?, key_version=? WHERE rowid=?", (changed, version, hit)
    )
    raw.commit()
    raw.close()
    (found,) = await damages(mdms)
    assert (found.code, found.where) == ("control", f"findings, row {hit}, column sealed_values")
    assert (await mdms.integrity()).sealed == whole.sealed


async def test_every_row_of_a_long_table_is_opened_a_page_at_a_time(
    sealed: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    mdms, _ = sealed
    whole = await mdms.integrity()
    monkeypatch.setattr(opening, "PAGE", 2)
    assert await mdms.integrity() == whole


async def test_a_row_that_is_sealed_anew_while_it_is_looked_at_is_no_damage(
    sealed: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    mdms, _ = sealed
    page = opening._page

    def old(engine: sa.Engine, table: SealedTable, after: int, most: int) -> list[dict[str, Any]]:
        rows = page(engine, table, after, most)
        if (
            table.table.name == "findings" and most > 1
        ):  # its key was ended between the reading and the opening
            rows = [{**row, "key_version": 9} for row in rows]
        return rows

    monkeypatch.setattr(opening, "_page", old)
    assert await damages(mdms) == []


async def test_other_rings_are_opened_where_they_are_at_hand(store: Opened) -> None:
    mdms, engine = store
    before = (await mdms.integrity()).sealed
    words = KeyRing({1: SymmetricKey.generate("words")}, 1)
    row = FIRMWARE_KEYS.seal(words, {"id": "one", "sealed_key": b"x" * 32})
    with engine.begin() as connection:
        connection.execute(firmware_keys.insert().values(**row))
    found = await mdms.integrity({WORDS: words})
    assert (found.good, found.sealed) == (True, before + 1)
    found = await mdms.integrity({WORDS: KeyRing({1: SymmetricKey.generate("others")}, 1)})
    assert [one.where for one in found.damages] == ["firmware_keys, row 1, column sealed_key"]
