"""Backups while everything else goes on: keys that begin and end, files that are replaced, people who are erased, callers
who go away; and what an attempt that failed or was ended leaves: nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from meterseal.app import restoring
from meterseal.app.backup import write
from meterseal.app.backup_place import Place
from meterseal.app.config import Layout
from meterseal.app.keeping import Backup, DrillBackup, KeepingDesk
from meterseal.app.restoring import MAKING, restore, sweep
from meterseal.cli.store import list_backups
from meterseal.control.engine import scrub
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import customers
from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import EngineError, LocalError
from meterseal.mdms import moment as moments
from meterseal.mdms.moment import PINNED, Held
from meterseal.mdms.threads import whole
from tests.app.test_backup import AT, Kept, brought_back, copied_afterwards, killed_at, made, shown

__all__ = ["made"]

NEWER = SymmetricKey.from_bytes(bytes(range(16, 32)), "newer data key")


@pytest.fixture
async def kept(made: Path, tmp_path: Path) -> AsyncIterator[Kept]:
    """The data directory lies below a folder whose name the store uses for its own second names."""
    root = tmp_path / PINNED
    shutil.copytree(made / "data", root / "data")
    one = Kept(root)
    yield one
    await one.close()


@pytest.fixture
def forecasts(kept: Kept) -> Path:
    """Some files that are replaced by newer ones, of forecasts and of firmware."""
    (kept.layout.platform / "firmware" / "trusted").mkdir(parents=True)
    for path in replaced(kept):
        path.write_bytes(b"old " + path.name.encode())
    return kept.layout.measurements / "forecasts"


def replaced(kept: Kept) -> list[Path]:
    forecasts = kept.layout.measurements / "forecasts"
    return [
        forecasts / "a.forecast",
        forecasts / "b.forecast",
        kept.layout.platform / "firmware" / "trusted" / "c.json",
    ]


def replace(path: Path, content: bytes) -> None:
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(content)
    new.replace(path)


def objects(kept: Kept) -> set[str]:
    return {path.name for path in kept.place.root.glob("objects/??/*")}


def restored(kept: Kept, root: Path) -> Path:
    layout = Layout(root)
    restore(kept.place, layout)
    return layout.platform


# --- files that are replaced ------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"x", b"much longer than it was before" * 1000, None])
async def test_a_forecast_or_firmware_that_is_replaced_while_it_is_copied_is_the_one_of_the_moment(
    kept: Kept, forecasts: Path, tmp_path: Path, content: bytes | None
) -> None:
    with kept.place.writing():
        moment = await kept.mdms.moment({})
        try:
            for path in replaced(kept):
                if content is None:
                    path.unlink()
                else:
                    replace(path, content)
            write(kept.place, moment, AT, 0)
        finally:
            moment.release()
    platform = restored(kept, tmp_path / "other")
    for path in replaced(kept):
        there = platform / path.relative_to(kept.layout.platform)
        assert there.read_bytes() == b"old " + path.name.encode()
    assert not list(kept.layout.platform.rglob(f"{PINNED}/*"))


async def test_a_folder_that_goes_while_it_is_listed_is_left_out_and_one_that_cannot_be_read_is_said(
    kept: Kept, forecasts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = os.walk

    def going(top: Path, **more: Any) -> Iterator[Any]:
        if Path(top).is_dir():
            (Path(top) / "gone").mkdir(exist_ok=True)
        for found in walk(top, **more):
            shutil.rmtree(Path(top) / "gone", ignore_errors=True)
            yield found

    monkeypatch.setattr(os, "walk", going)
    moment = await kept.mdms.moment({})
    moment.release()
    assert "measurements/forecasts/a.forecast" in {held.name for held in moment.files}

    def refusing(top: Path, onerror: Any) -> Iterator[Any]:
        onerror(PermissionError(13, "Permission denied"))
        yield from ()

    monkeypatch.setattr(os, "walk", refusing)
    with pytest.raises(EngineError) as caught:
        await kept.mdms.moment({})
    assert caught.value.code == "mdms.disk"


async def test_a_release_of_firmware_in_the_middle_is_in_a_backup_whole_or_not_at_all(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files are written image, list, snapshot, timestamp: what names another file may not be newer than that file."""
    folder = kept.layout.platform / "firmware"
    for name in ("metadata/1.snapshot.json", "metadata/timestamp.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"names 1")
    below = moments._below

    def released(directory: Path) -> list[Path]:
        found = below(directory)
        if "firmware" in directory.parts and not (folder / "metadata" / "2.snapshot.json").exists():
            (folder / "metadata" / "2.snapshot.json").write_bytes(b"names 2")
            replace(folder / "metadata" / "timestamp.json", b"names 2")
        return found

    monkeypatch.setattr(moments, "_below", released)
    moment = await kept.mdms.moment({})
    try:
        found = {held.name.rpartition("/")[2]: held.path.read_bytes() for held in moment.files}
    finally:
        moment.release()
    assert f"{found['timestamp.json'].decode().partition(' ')[2]}.snapshot.json" in found


async def test_of_a_file_that_only_grows_whole_pieces_are_read_once(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moments, "_PIECE", 100)
    await kept.back_up()
    taken: list[str] = []
    take = Place.take

    def counted(self: Place, held: Held) -> tuple[str, int]:
        taken.append(held.name)
        return take(self, held)

    monkeypatch.setattr(Place, "take", counted)
    await kept.back_up()
    assert taken.count("measurements/ledger/tree") == 1
    size = (kept.layout.measurements / "ledger" / "tree").stat().st_size
    assert size > 300
    assert size % 100
    await brought_back(kept, tmp_path / "other")


# --- keys -------------------------------------------------------------------------------------------------------


async def test_a_key_that_begins_while_a_backup_is_copied_does_not_seal_its_list(
    kept: Kept, tmp_path: Path
) -> None:
    """The control store of the backup does not name that key: nobody could open the seal any more."""
    before = shown(kept.mdms)
    async with copied_afterwards(kept):
        kept.mdms._keys.add(2, NEWER)
        kept.mdms._keys.end(1)
    found, _ = await brought_back(kept, tmp_path / "other")
    assert found == before


async def test_nothing_in_a_backup_is_sealed_under_a_key_that_its_control_store_does_not_name(
    kept: Kept, forecasts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that begins, and a forecast that is made under it, in the middle of the moment itself."""
    seen = moments.seen

    def begun(path: Path) -> Any:
        reader = seen(path)
        kept.mdms._keys.add(2, NEWER)
        replace(forecasts / "a.forecast", b"under version 2")
        (forecasts / "new.forecast").write_bytes(b"under version 2")
        return reader

    monkeypatch.setattr(moments, "seen", begun)
    moment = await kept.mdms.moment({})
    try:
        assert moment.ring.versions == (1,)
        content = {held.path.read_bytes() for held in moment.files if "forecasts" in held.name}
        assert content == {b"old a.forecast", b"old b.forecast"}
    finally:
        moment.release()


# --- people who are erased, and everybody who writes ------------------------------------------------------------


async def test_a_person_is_erased_while_segments_are_copied(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader of the moment is let go of once the control store is copied: it would keep what was deleted in the log."""
    take, erased = Place.take, []
    monkeypatch.setattr("meterseal.control.engine.BUSY_SECONDS", 0.5)

    def erasing(self: Place, held: Held) -> tuple[str, int]:
        if not erased:
            with kept.engine.begin() as connection:
                connection.execute(customers.delete())
            scrub(kept.engine, [b"a name that is gone"])
            erased.append(held.name)
        return take(self, held)

    monkeypatch.setattr(Place, "take", erasing)
    await kept.back_up()
    assert erased


async def test_who_waits_for_readers_to_end_lets_others_write(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meterseal.control.engine.BUSY_SECONDS", 3)
    reader = moments.seen(kept.layout.control)
    with kept.engine.begin() as connection:
        connection.execute(customers.delete())
    waiting = asyncio.create_task(asyncio.to_thread(scrub, kept.engine, [b"x"]))
    await asyncio.sleep(0.3)
    other = sqlite3.connect(kept.layout.control, isolation_level=None, timeout=1.5)
    try:
        written = 0
        while not waiting.done() and written < 5:
            other.execute("BEGIN IMMEDIATE")
            other.execute("COMMIT")
            written += 1
    finally:
        other.close()
    assert written == 5
    reader.close()
    await waiting


# --- attempts that fail -----------------------------------------------------------------------------------------


async def test_a_backup_that_fails_takes_away_what_it_wrote(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await kept.back_up()
    await kept.publish(3, 4)
    await kept.mdms.compact()
    before = objects(kept)
    place_list = Place.finish

    def fails(self: Place, point: Any, ring: KeyRing) -> None:
        assert objects(kept) > before
        raise EngineError("backup.full", "The disk is full.")

    monkeypatch.setattr(Place, "finish", fails)
    with pytest.raises(EngineError):
        await kept.back_up()
    assert objects(kept) == before
    monkeypatch.setattr(Place, "finish", place_list)
    assert kept.place.ids() == [first.id]
    assert (await kept.back_up()).points == 2


async def test_what_a_killed_backup_wrote_the_next_one_takes_away(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "data", tmp_path / "data")
    step, left = 40, 0
    while not left:
        assert await asyncio.to_thread(killed_at, tmp_path, step)
        left = len(list((tmp_path / "backups" / "objects").glob("??/*")))
        step += 10
    kept = Kept(tmp_path)
    await kept.publish(3, 4)
    await kept.mdms.compact()  # so that not all of it is wanted again
    await kept.back_up()
    assert objects(kept) == {part.digest for part in kept.place.point()[0].parts}
    await kept.close()


async def test_without_room_nothing_is_written_and_the_platforms_own_disk_keeps_some(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Left:
        free = 3 << 20

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Left())
    with pytest.raises(EngineError) as caught:
        await kept.back_up()
    assert caught.value.code == "backup.full"
    assert "64 MiB stay free" in caught.value.message
    assert not objects(kept)
    Left.free = 80 << 20
    await kept.back_up()
    Left.free = 3 << 20
    unused: Any = None
    desk = KeepingDesk(kept.engine, kept.mdms, unused, kept.layout.platform, lambda: AT)
    with pytest.raises(EngineError) as caught:
        await desk.drill("operator", DrillBackup(place=str(kept.place.root)))
    assert caught.value.code == "backup.full"
    assert not list(kept.layout.platform.glob("drill-*"))


async def test_a_damaged_list_hinders_no_backup_and_is_listed_beside_the_others(
    kept: Kept, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = await kept.back_up()
    path = kept.place.root / "points" / f"{damaged.id}.json"
    path.write_bytes(b"{}\n{")
    done = await kept.back_up(keep=2)
    assert done.points == 2
    assert done.removed == 0
    assert str(path) in done.unpruned
    assert list_backups(kept.place.root) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{damaged.id}  backup.damaged: ")
    assert lines[1].startswith(done.id)
    after = await kept.back_up(keep=2)
    assert (after.points, after.unpruned) == (2, "")
    assert damaged.id not in kept.place.ids()


# --- callers who go away ----------------------------------------------------------------------------------------


async def test_a_caller_who_goes_away_leaves_no_copy_of_a_drill(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    await kept.back_up()
    copying, go_on = threading.Event(), threading.Event()
    unpack = restoring.unpack

    def slow(*arguments: Any) -> Any:
        copying.set()
        assert go_on.wait(60)
        return unpack(*arguments)

    monkeypatch.setattr(restoring, "unpack", slow)
    unused: Any = None
    desk = KeepingDesk(kept.engine, kept.mdms, unused, kept.layout.platform, lambda: AT)
    order = DrillBackup(place=str(kept.place.root))
    caller = asyncio.create_task(desk.drill("operator", order))
    assert await asyncio.to_thread(copying.wait, 60)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    with pytest.raises(LocalError) as caught:
        await desk.backup("operator", Backup(place=str(kept.place.root)))
    assert caught.value.code == "backup.busy"
    go_on.set()
    assert desk._working is not None
    with contextlib.suppress(Exception):  # there is no security service to ask
        await desk._working
    assert not list(kept.layout.platform.glob("drill-*"))


async def test_whoever_is_cancelled_holds_on_until_the_thread_has_ended() -> None:
    """A retention run, a look over a store: a lock let go of under a thread would let a compaction in beside it."""
    lock, begun, go_on = asyncio.Lock(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert go_on.wait(60)

    async def holding() -> None:
        async with lock:
            await whole(work)

    task = asyncio.create_task(holding())
    assert await asyncio.to_thread(begun.wait, 60)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.01)
    assert lock.locked()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not lock.locked()


async def test_a_roll_up_that_nobody_waits_for_any_more_keeps_compaction_out(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(medium: str, month: int) -> None:
        begun.set()
        assert go_on.wait(60)
        raise EngineError("mdms.disk", "No matter.")

    monkeypatch.setattr(kept.mdms.rollups, "open", lambda: [("water", 202611)])
    monkeypatch.setattr(kept.mdms.rollups, "roll_up", slow)
    caller = asyncio.create_task(kept.mdms.roll_up(()))
    assert await asyncio.to_thread(begun.wait, 60)
    caller.cancel()
    compaction = asyncio.create_task(kept.mdms.moment({}))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not caller.done()
    assert kept.mdms._compacting.locked()
    go_on.set()
    (await compaction).release()
    with pytest.raises(asyncio.CancelledError):
        await caller


def test_a_start_removes_the_copies_that_a_killed_restore_or_drill_left(kept: Kept) -> None:
    for left in (kept.layout.root / MAKING, kept.layout.platform / "drill-x" / "platform"):
        left.mkdir(parents=True)
        (left / "control.db").write_bytes(b"x")
    sweep(kept.layout)
    assert not (kept.layout.root / MAKING).exists()
    assert not list(kept.layout.platform.glob("drill-*"))
    assert kept.layout.control.exists()
