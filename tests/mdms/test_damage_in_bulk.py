"""Damage costs only what it covers, in bulk too: other channels are scanned, forecast, merged and moved to a newer key as
if nothing had happened, and a file that was put back is taken up."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import DataError
from meterseal.mdms.columns import Columns, Lost, Missed
from meterseal.mdms.service import Mdms
from meterseal.mdms.store import compact as compactor
from meterseal.mdms.store import store as stores
from meterseal.mdms.store.rows import Key
from meterseal.mdms.store.segments import SegmentFile
from meterseal.mdms.trouble import PARTLY
from meterseal.mdms.unreadable import UNREADABLE
from meterseal.model import MAIN
from tests.mdms.fleet import DAY, FIRST, open_store, point
from tests.mdms.test_segments import EVER, Ground, files_opened, readings
from tests.mdms.test_store_contract import bulk_of

POINTS = range(6)
Scanned = dict[Key, Columns]


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    """Two segments of six channels, of two months, in small chunks, and what came since in memory."""
    monkeypatch.setattr(compactor, "CHUNK", 50)
    monkeypatch.setattr(stores, "BLOCK_ROWS", 150)
    made = Ground(tmp_path / "s")
    for first, compacted in ((300, True), (96 * 20, True), (96 * 50, False)):
        made.add(readings(made.store, POINTS, first, 80, first))
        if compacted:
            made.compact()
    yield made
    made.engine.dispose()


def scanned(ground: Ground, since: int = 0, until: int = EVER) -> tuple[Scanned, Missed]:
    found: Scanned = {}
    missed: Missed = {}
    for keys, columns in ground.store.scan("electricity", since, until, missed):
        for at, key in enumerate(keys):
            assert key not in found
            found[key] = columns.part(at, at + 1)
    return found, missed


def same(one: Columns, other: Columns) -> bool:
    return all(np.array_equal(mine, theirs) for mine, theirs in zip(one, other, strict=True))


def changed(path: Path, at: int) -> bytes:
    whole = path.read_bytes()
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    return whole


def fresh(ground: Ground) -> None:
    """Nothing of a file is remembered."""
    ground.store.shelf.__init__(ground.store.directory, ground.store.keys, ground.store.words)  # type: ignore[misc]


def test_a_scan_gives_every_channel_that_no_damaged_part_holds_and_of_the_others_what_comes_after_it(
    ground: Ground,
) -> None:
    before, nothing = scanned(ground)
    assert (len(before), nothing) == (len(POINTS), {})
    for segment in ground.listed():
        path = ground.root / "segments" / segment.path
        with SegmentFile(path.parent, segment, ground.store.keys) as file:
            index = file.index(ground.store.words)
        for chunk, offset in enumerate(index.offsets.tolist()):
            whole = changed(path, offset + 30)
            found, missed = scanned(ground)
            first, end = index.chunk_rows[chunk : chunk + 2].tolist()
            entries = np.flatnonzero((index.row < end) & (index.row + index.rows > first))
            hit = {Key(int(number) >> 7, int(number) & 127) for number in index.numbers[entries].tolist()}
            assert missed.keys() == hit
            assert 1 <= len(hit) <= 2
            for key, columns in before.items():
                if key not in hit:
                    assert same(found[key], columns)
                    continue
                ((since, until, name),) = missed[key]
                assert (name, columns.end_at[0] <= since) == (segment.path, True)
                later = columns.end_at > until
                assert same(found[key], Columns(np.array([0, later.sum()]), *(c[later] for c in columns[1:])))
            path.write_bytes(whole)
    again, nothing = scanned(ground)
    assert nothing == {}
    assert all(same(again[key], columns) for key, columns in before.items())


@pytest.mark.parametrize("gone", [False, True])
def test_a_scan_takes_a_file_of_which_nothing_opens_for_one_that_may_hold_anything(
    ground: Ground, gone: bool
) -> None:
    before, _ = scanned(ground)
    early = min(ground.listed(), key=lambda one: one.first_end_at)
    path = ground.root / "segments" / early.path
    whole = path.read_bytes()
    fresh(ground)
    if gone:
        path.unlink()
    else:
        changed(path, early.size - 20)
    found, missed = scanned(ground)
    assert missed == {key: [Lost(early.first_end_at, early.last_end_at, early.path)] for key in before}
    for key, columns in before.items():
        assert found[key].end_at.tolist() == columns.end_at[columns.end_at > early.last_end_at].tolist()
    # Who asks for a time that it cannot hold is told of nothing.
    _, missed = scanned(ground, since=early.last_end_at + 1)
    assert missed == {}
    path.write_bytes(whole)
    found, missed = scanned(ground)
    assert missed == {}
    assert all(same(found[key], columns) for key, columns in before.items())


def test_the_others_of_a_month_are_merged_and_the_damaged_one_joins_them_when_it_was_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground = Ground(tmp_path / "s")
    for flush in range(5):
        ground.add(readings(ground.store, range(2), 100 + 10 * flush, 10, flush))
        ground.compact()
    hurt = ground.listed()[2]
    path = tmp_path / "s" / "segments" / hurt.path
    whole = changed(path, 40)
    assert compactor.merge(ground.store, ground.manifest) == 4
    assert len(ground.listed()) == 2
    assert hurt.id in {one.id for one in ground.listed()}
    opened = files_opened(monkeypatch)
    for flush in range(5, 9):
        ground.add(readings(ground.store, range(2), 100 + 10 * flush, 10, flush))
        ground.compact()
    assert compactor.merge(ground.store, ground.manifest) >= 4
    assert hurt.id not in opened  # what is known to be damaged is not read again with each compaction
    path.write_bytes(whole)
    for flush in range(9, 12):  # four of its size with it
        ground.add(readings(ground.store, range(2), 100 + 10 * flush, 10, flush))
        ground.compact()
    compactor.merge(ground.store, ground.manifest)
    assert hurt.id in opened
    assert hurt.id not in {one.id for one in ground.listed()}
    assert len(ground.all()) == 2 * 10 * 12
    ground.engine.dispose()


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compactor, "CHUNK", 300)


WEEKS = 6
HOURS = WEEKS * 7 * 24
METERS = (3, 7, 11)
"""All of them of electricity."""


async def filled(root: Path) -> Mdms:
    mdms, _ = open_store(root, METERS[-1] + 1)
    dice = np.random.default_rng(5)
    for number in METERS:
        registers: list[int | None] = [*np.cumsum(dice.integers(20, 90, HOURS)).tolist()]
        await mdms.append(bulk_of(number, 1, registers))
    await mdms.compact()
    return mdms


async def test_forecasts_are_made_for_everybody_else_and_say_what_they_left_out(
    tmp_path: Path, small_chunks: None
) -> None:
    mdms = await filled(tmp_path)
    now = FIRST + WEEKS * 7 * DAY + DAY // 4
    whole_made = mdms.forecasts.make(now)
    assert (whole_made.series["electricity"], whole_made.unreadable) == (3, 0)
    before = mdms.forecasts.of(point(3), "electricity")
    last = max(mdms.segments(), key=lambda one: one.last_end_at)
    path = tmp_path / "measurements" / "segments" / last.path
    whole = changed(path, last.size - 400)  # the last chunk: point(7), by the order of texts
    made = mdms.forecasts.make(now)
    assert made.unreadable in (1, 2)
    assert made.series["electricity"] == 3 - made.unreadable
    found = [one for one in mdms.findings() if one.rule == UNREADABLE]
    assert len(found) == made.unreadable
    assert {one.detail["file"] for one in found} == {last.path}
    hit = {one.usage_point for one in found}
    (trouble,) = mdms.troubles()
    assert (trouble.what, trouble.code) == (PARTLY, "mdms.segment-damaged")
    if point(3) not in hit:
        assert mdms.forecasts.of(point(3), "electricity") == before
    mdms.forecasts.make(now)
    assert len([one for one in mdms.findings() if one.rule == UNREADABLE]) == len(found)
    path.write_bytes(whole)
    assert mdms.forecasts.make(now) == whole_made
    assert mdms.troubles() == ()
    assert mdms.forecasts.of(point(3), "electricity") == before
    await mdms.close()
    mdms._engine.dispose()


async def test_a_damaged_piece_holds_up_no_other_on_the_way_to_a_newer_key(
    tmp_path: Path, small_chunks: None
) -> None:
    mdms = await filled(tmp_path)
    now = FIRST + WEEKS * 7 * DAY + DAY // 4
    mdms.forecasts.make(now)
    folder = tmp_path / "measurements"
    segment, *others = sorted((folder / "segments").iterdir())
    leaves = next((folder / "ledger").glob("*.leaves"))
    forecast, *more = sorted((folder / "forecasts").iterdir())
    assert others
    assert more
    hurt = {path: changed(path, 40) for path in (segment, leaves, forecast)}
    mdms._keys.add(2, SymmetricKey.generate("newer"))
    older = await mdms.older()
    for _ in range(older - len(hurt)):
        assert await mdms.reseal()
    with pytest.raises(DataError) as refused:
        await mdms.reseal()
    assert refused.value.code == "mdms.segment-damaged"
    assert await mdms.older() == len(hurt) < older
    for path, whole in hurt.items():
        path.write_bytes(whole)
    moved = 0
    while await mdms.reseal():
        moved += 1
    assert (moved, await mdms.older()) == (len(hurt), 0)
    assert (await mdms.integrity()).good
    assert len(mdms.registers(point(7), MAIN, 0, EVER).end_at) == HOURS
    await mdms.close()
    mdms._engine.dispose()


async def test_a_forecast_that_does_not_open_keeps_nobody_elses_from_being_shown(tmp_path: Path) -> None:
    mdms = await filled(tmp_path)
    mdms.forecasts.make(FIRST + WEEKS * 7 * DAY + DAY // 4)
    points, _ = sorted((tmp_path / "measurements" / "forecasts").iterdir())
    copy = tmp_path / "copy"
    shutil.copy(points, copy)
    changed(points, 40)
    mdms.forecasts._places = (-1, {})
    assert mdms.forecasts.whole("electricity").usage_point == ""
    with pytest.raises(DataError) as refused:
        mdms.forecasts.of(point(3), "electricity")
    assert refused.value.code == "forecast.damaged"
    shutil.copy(copy, points)
    mdms.forecasts._places = (-1, {})
    assert mdms.forecasts.of(point(3), "electricity").usage_point == point(3)
    await mdms.close()
    mdms._engine.dispose()
