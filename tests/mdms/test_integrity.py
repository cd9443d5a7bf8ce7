"""`store check` names the damaged piece and what is lost by it, whichever piece it is, and nothing else."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from meterseal.errors import DataError
from meterseal.mdms.integrity import Damage
from meterseal.mdms.service import Mdms
from meterseal.mdms.store.chunks import CHUNK
from meterseal.model import MAIN
from tests.mdms.fleet import DAY, FIRST, batches, days, open_store, point
from tests.mdms.test_store_contract import bulk_of

METERS, DAYS, MINUTE = 4, 2, 60_000
LONG = 2 * CHUNK


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four media, one of them in three chunks; a day is in the journal alone."""
    root = tmp_path_factory.mktemp("made")

    async def make() -> None:
        mdms, engine = open_store(root, METERS)
        for number, records in enumerate(days(METERS, DAYS)):
            for batch in batches(records, 4):
                await mdms.publish(batch)
            if not number:
                await mdms.append(bulk_of(3, 100, list(range(LONG)), step=MINUTE))
                await mdms.compact()
        await mdms.close()
        engine.dispose()

    asyncio.run(make())
    return root


Opened = tuple[Mdms, sa.Engine]


@pytest.fixture
async def store(made: Path, tmp_path: Path) -> AsyncIterator[Opened]:
    shutil.copytree(made, tmp_path / "one")
    mdms, engine = open_store(tmp_path / "one")
    yield mdms, engine
    await mdms.close()
    engine.dispose()


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
