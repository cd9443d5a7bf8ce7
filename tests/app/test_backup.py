"""A backup taken while readings come, brought back: nothing acknowledged is missing, nothing damaged comes back, and an
end at any step of the disk, or a full one, leaves the store and the earlier backups as they were."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from meterseal.app.backup import Written, write
from meterseal.app.backup_list import Point
from meterseal.app.backup_place import Place
from meterseal.app.config import Layout
from meterseal.app.keeping import Backup, KeepingDesk
from meterseal.app.restoring import RESTORED, drill, restore, settle
from meterseal.control import acts
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import tariffs
from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import DataError, EngineError, LocalError, MetersealError, TrustError
from meterseal.mdms.moment import PINNED, Held
from meterseal.mdms.reading import Limits
from meterseal.mdms.service import Mdms
from meterseal.mdms.verifier import each
from meterseal.model import MAIN
from tests.control_store import control_at
from tests.mdms.fleet import DAY, FIRST, batches, days, keys, open_store, point
from tests.mdms.test_crash import die_at

METERS, DAYS = 3, 6
AT = FIRST + 40 * DAY
REPOSITORY = Path(__file__).parents[2]


class Kept:
    """A store in a data directory, and a place for its backups."""

    def __init__(self, root: Path, meters: int = 0) -> None:
        self.layout = Layout(root / "data")
        self.layout.platform.mkdir(parents=True, exist_ok=True)
        self.place = Place(root / "backups")
        self.mdms, self.engine = open_store(self.layout.platform, meters)

    async def publish(self, first: int, last: int) -> None:
        for day in list(days(METERS, DAYS))[first:last]:
            for batch in batches(day, 4):
                await self.mdms.publish(batch)

    async def back_up(self, keep: int = 0) -> Written:
        with self.place.writing():
            moment = await self.mdms.moment(self.place.known())
            try:
                return write(self.place, moment, AT, keep)
            finally:
                moment.release()

    async def close(self) -> None:
        await self.mdms.close()
        self.engine.dispose()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days in segments and one in the journal, made once and copied."""
    root = tmp_path_factory.mktemp("made")

    async def make() -> None:
        one = Kept(root, METERS)
        await one.publish(0, 2)
        await one.mdms.compact()
        await one.publish(2, 3)
        await one.close()

    asyncio.run(make())
    return root


@pytest.fixture
async def kept(made: Path, tmp_path: Path) -> AsyncIterator[Kept]:
    shutil.copytree(made / "data", tmp_path / "data")
    one = Kept(tmp_path)
    yield one
    await one.close()


Shown = dict[int, list[tuple[int, int, int]]]


def shown(mdms: Mdms) -> Shown:
    found = {}
    for number in range(METERS):
        readings = mdms.registers(point(number), MAIN, 0, AT)
        columns = (readings.end_at, readings.register, readings.quality)
        found[number] = list(zip(*(column.tolist() for column in columns), strict=True))
    return found


async def brought_back(kept: Kept, root: Path, name: str = "") -> tuple[Shown, Point]:
    """What a store shows that was brought back from the backup and started."""
    layout = Layout(root)
    point_ = restore(kept.place, layout, name)
    mdms, engine = open_store(layout.platform)
    try:
        settle(layout.platform, engine, keys(), AT)
        found = await mdms.integrity()
        assert found.good, found
        assert mdms.position() == (point_.store_id, point_.sequence)
        await mdms.compact()
        return shown(mdms), point_
    finally:
        await mdms.close()
        engine.dispose()


@contextlib.asynccontextmanager
async def copied_afterwards(kept: Kept) -> AsyncIterator[None]:
    """A backup of the moment at which the block begins, copied once it has ended."""
    with kept.place.writing():
        moment = await kept.mdms.moment({})
        try:
            yield
            write(kept.place, moment, AT, 0)
        finally:
            moment.release()


# --- as of one point --------------------------------------------------------------------------------------------


async def test_a_backup_is_of_one_moment_however_much_comes_and_is_compacted_while_it_is_copied(
    kept: Kept, tmp_path: Path
) -> None:
    before = shown(kept.mdms)
    async with copied_afterwards(kept):
        await kept.publish(3, 6)
        await kept.mdms.compact()  # the journal and the small segments of the moment are gone by their names
        with kept.engine.begin() as connection:
            acts.append(connection, acts.Act(1, "somebody", "later", "than the moment"))
    assert shown(kept.mdms) != before
    found, _ = await brought_back(kept, tmp_path / "other")
    assert found == before
    engine = control_at(tmp_path / "other" / "platform" / "control.db")
    assert [act.act for act in acts.verified(engine)] == ["store-restored"]
    engine.dispose()


async def test_everything_that_was_answered_before_a_backup_began_is_in_it_while_ingest_goes_on(
    kept: Kept, tmp_path: Path
) -> None:
    """Ingest, compaction and backups at once, on several threads."""
    asyncio.get_running_loop().set_debug(False)
    seen: list[tuple[str, Shown]] = []

    async def ingest() -> None:
        for day in range(3, DAYS):
            await kept.publish(day, day + 1)
            await kept.mdms.compact()

    task = asyncio.create_task(ingest())
    for _ in range(3):
        await asyncio.sleep(0)
        answered = shown(kept.mdms)
        seen.append(((await kept.back_up()).id, answered))
    await task
    for number, (name, answered) in enumerate(seen):
        found, _ = await brought_back(kept, tmp_path / str(number), name)
        for meter, rows in answered.items():
            assert set(rows) <= set(found[meter])
            assert set(found[meter]) <= set(shown(kept.mdms)[meter])


async def test_what_lies_in_the_place_already_is_not_copied_again(kept: Kept) -> None:
    await kept.mdms.compact()
    first = await kept.back_up()
    assert first.new_files == first.files
    await kept.publish(3, 4)
    second = await kept.back_up()
    # The journal's new file and the control store; segments, leaves and the tree's bytes lie there already.
    assert second.new_files <= 2
    assert second.files == first.files + 1
    objects = {path.name: path.stat() for path in kept.place.root.glob("objects/??/*")}
    assert len(objects) == first.new_files + second.new_files
    assert all(stat.st_mode & 0o077 == 0 for stat in objects.values())


async def test_older_backups_go_when_so_many_are_to_stay_and_what_others_share_stays(
    kept: Kept, tmp_path: Path
) -> None:
    oldest = await kept.back_up()
    await kept.publish(3, 4)
    await kept.mdms.compact()
    await kept.back_up()
    await kept.publish(4, 5)
    done = await kept.back_up(keep=2)
    assert done.points == 2
    assert done.removed > 0
    assert oldest.id not in kept.place.ids()
    named = {part.digest for name in kept.place.ids() for part in kept.place.point(name)[0].parts}
    assert {path.name for path in kept.place.root.glob("objects/??/*")} == named
    for number, name in enumerate(kept.place.ids()):
        await brought_back(kept, tmp_path / str(number), name)


async def test_nothing_of_a_backup_can_be_read_without_the_keys(kept: Kept) -> None:
    """Registers, chains and the data key are nowhere in it; sealed columns stay sealed."""
    await kept.back_up()
    everything = b"".join(path.read_bytes() for path in kept.place.root.rglob("*") if path.is_file())
    assert bytes(range(16)) not in everything  # the data key of these tests
    readings = kept.mdms.registers(point(1), MAIN, 0, AT)
    assert not any(
        int(value).to_bytes(8, "little") in everything for value in readings.register[-5:] if value > 1 << 20
    )
    assert b'"registers"' not in everything
    assert b"up-0000" in everything  # pseudonyms stand in the control store in clear, as at rest


# --- damage -----------------------------------------------------------------------------------------------------


async def refused(kept: Kept, root: Path) -> str:
    """What hinders it; "" when it comes back. What is refused before a start leaves nothing there."""
    code = ""
    try:
        await brought_back(kept, root)
    except MetersealError as error:
        code = error.code
    assert (root / "platform").exists() == (code in ("", "backup.seal"))
    return code


async def test_one_changed_byte_in_any_object_is_found_and_nothing_is_brought_back(
    kept: Kept, tmp_path: Path
) -> None:
    await kept.back_up()
    for number, path in enumerate(sorted(kept.place.root.glob("objects/??/*"))):
        content = path.read_bytes()
        path.chmod(0o600)
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert await refused(kept, tmp_path / str(number)) == "backup.damaged"
        path.write_bytes(content[: len(content) // 2])
        assert await refused(kept, tmp_path / str(number)) == "backup.damaged"
        path.unlink()
        assert await refused(kept, tmp_path / str(number)) == "backup.damaged"
        path.write_bytes(content)
    assert await refused(kept, tmp_path / "whole") == ""


async def test_a_list_that_somebody_wrote_does_not_start(kept: Kept, tmp_path: Path) -> None:
    """A cheaper tariff put into the control store of a backup, object and list made to fit: the seal is the store's."""
    await kept.back_up()
    path = next(kept.place.root.glob("points/*.json"))
    head, _, body = path.read_bytes().partition(b"\n")
    point_ = msgspec.json.decode(body, type=Point)
    control = next(part for part in point_.parts if part.name == "control.db")
    forged = tmp_path / "forged.db"
    shutil.copy(kept.place.root / "objects" / control.digest[:2] / control.digest, forged)
    with contextlib.closing(sqlite3.connect(forged)) as connection:
        connection.execute(f"DELETE FROM {tariffs.name}")
        connection.execute("DELETE FROM meters")
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = forged.read_bytes()
    import hashlib

    digest = hashlib.sha256(content).hexdigest()
    there = kept.place.root / "objects" / digest[:2] / digest
    there.parent.mkdir(exist_ok=True)
    there.write_bytes(content)
    parts = tuple(
        msgspec.structs.replace(part, digest=digest, size=len(content)) if part is control else part
        for part in point_.parts
    )
    path.write_bytes(head + b"\n" + msgspec.json.encode(msgspec.structs.replace(point_, parts=parts)))
    assert await refused(kept, tmp_path / "other") == "backup.seal"


async def test_another_stores_backup_does_not_start_here(kept: Kept, tmp_path: Path) -> None:
    await kept.back_up()
    layout = Layout(tmp_path / "other")
    restore(kept.place, layout)
    engine = control_at(layout.control)
    other = KeyRing({1: SymmetricKey.generate("another store's")}, 1)
    with pytest.raises(TrustError) as caught:
        settle(layout.platform, engine, other, AT)
    assert caught.value.code == "backup.seal"
    assert (layout.platform / RESTORED).exists()  # it goes on being asked at every start
    engine.dispose()


@pytest.mark.parametrize(
    "name", ["../escaped", "/tmp/escaped", "measurements/../../escaped", "keys/keys.vault"]
)
async def test_a_list_that_names_other_places_writes_nothing_there(
    kept: Kept, tmp_path: Path, name: str
) -> None:
    await kept.back_up()
    path = next(kept.place.root.glob("points/*.json"))
    head, _, body = path.read_bytes().partition(b"\n")
    point_ = msgspec.json.decode(body, type=Point)
    parts = (msgspec.structs.replace(point_.parts[-1], name=name), *point_.parts)
    path.write_bytes(head + b"\n" + msgspec.json.encode(msgspec.structs.replace(point_, parts=parts)))
    assert await refused(kept, tmp_path / "other") == "backup.damaged"
    assert not (tmp_path / "escaped").exists()
    assert not (tmp_path / "other" / "keys").exists()


async def test_a_platform_that_is_there_is_never_written_over(kept: Kept) -> None:
    await kept.back_up()
    with pytest.raises(LocalError) as caught:
        restore(kept.place, kept.layout)
    assert caught.value.code == "backup.there"


async def test_a_place_that_holds_something_else_is_left_alone(kept: Kept) -> None:
    kept.place.root.mkdir()
    (kept.place.root / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(LocalError) as caught:
        await kept.back_up()
    assert caught.value.code == "backup.place"
    assert [path.name for path in kept.place.root.iterdir() if path.is_file()] == ["holiday.jpg"]


async def test_two_backups_do_not_write_to_one_place_at_once(kept: Kept) -> None:
    with kept.place.writing(), pytest.raises(LocalError) as caught:
        await kept.back_up()
    assert caught.value.code == "backup.busy"


async def test_a_store_that_has_lost_a_segment_is_backed_up_without_it_and_says_so(
    kept: Kept, tmp_path: Path
) -> None:
    lost = kept.mdms.segments()[0]
    (kept.layout.measurements / "segments" / lost.path).unlink()
    done = await kept.back_up()
    assert done.missing == (f"measurements/segments/{lost.path}",)
    found = await kept.mdms.integrity()
    assert [(one.code, one.readings) for one in found.damages] == [("segment", lost.rows)]


async def test_a_damaged_control_store_is_no_backup(kept: Kept, tmp_path: Path) -> None:
    await kept.close()
    with contextlib.closing(sqlite3.connect(kept.layout.control)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        roots = [
            row[0] for row in connection.execute("SELECT rootpage FROM sqlite_master WHERE name='premises'")
        ]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    with kept.layout.control.open("r+b") as file:
        file.seek((roots[0] - 1) * size)
        file.write(b"\x0d\x00\x00\x00\xff" + bytes(40))
    kept.mdms, kept.engine = open_store(kept.layout.platform)
    with pytest.raises(DataError) as caught:
        await kept.back_up()
    assert caught.value.code == "backup.control"
    assert kept.place.ids() == []
    found = await kept.mdms.integrity()
    assert {one.code for one in found.damages} == {"control"}


async def test_a_file_that_goes_while_it_is_copied_ends_the_backup(kept: Kept) -> None:
    """A backup without a segment that its control store names would be a whole one to look at."""
    moment = await kept.mdms.moment({})
    try:
        next(held.path for held in moment.files if held.name.endswith(".segment")).unlink()
        with kept.place.writing(), pytest.raises(EngineError) as caught:
            write(kept.place, moment, AT, 0)
    finally:
        moment.release()
    assert caught.value.code == "backup.disk"
    assert kept.place.ids() == []


async def test_a_caller_who_goes_away_takes_nothing_from_under_the_copy(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, copying, go_on = shown(kept.mdms), threading.Event(), threading.Event()
    take = Place.take

    def slow(self: Place, held: Held) -> tuple[str, int]:
        copying.set()
        assert go_on.wait(60)
        return take(self, held)

    monkeypatch.setattr(Place, "take", slow)
    unused: Any = None  # a backup asks nothing of the security service
    desk = KeepingDesk(kept.engine, kept.mdms, unused, kept.layout.platform, lambda: AT)
    order = Backup(place=str(kept.place.root))
    caller = asyncio.create_task(desk.backup("operator", order))
    assert await asyncio.to_thread(copying.wait, 60)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    with pytest.raises(LocalError) as caught:
        await desk.backup("operator", order)
    assert caught.value.code == "backup.busy"
    await kept.publish(3, 4)
    await kept.mdms.compact()  # what the moment held is there by its second names only
    go_on.set()
    while not kept.place.ids() or list(kept.layout.measurements.rglob(f"{PINNED}/*")):
        await asyncio.sleep(0.01)
    found, _ = await brought_back(kept, tmp_path / "other")
    assert found == before
    assert (await desk.backup("operator", order)).points == 2


async def test_what_a_drill_finds_damaged_the_next_backup_writes_again(kept: Kept, tmp_path: Path) -> None:
    """A place is known by names and lengths: a rotten object would be in every later backup, too."""
    await kept.back_up()
    rotten = []
    for path in sorted(kept.place.root.glob("objects/??/*")):
        content = path.read_bytes()
        if path.stat().st_size > 600:
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            rotten.append(path)
    assert len(rotten) > 3
    await kept.back_up()
    assert await refused(kept, tmp_path / "rotten") == "backup.damaged"

    async def opened(engine: sa.Engine) -> KeyRing:
        return keys()

    def started(directory: Path, engine: sa.Engine, ring: KeyRing) -> Mdms:
        return Mdms.open(directory, engine, ring, each(lambda *_: True), Limits())

    with pytest.raises(DataError):
        await drill(kept.place, "", kept.layout.platform, opened, started)
    await kept.back_up()
    assert (await drill(kept.place, "", kept.layout.platform, opened, started)).ok
    assert await refused(kept, tmp_path / "whole") == ""


@pytest.mark.parametrize("put", ["pipe", "endless", "folder"])
async def test_what_is_no_file_in_a_place_is_not_read(kept: Kept, tmp_path: Path, put: str) -> None:
    await kept.back_up()
    for path in (
        next(kept.place.root.glob("objects/??/*")),
        next(kept.place.root.glob("points/*.json")),
    ):
        path.unlink()
        if put == "pipe":
            os.mkfifo(path)
        elif put == "endless":
            path.symlink_to("/dev/zero")
        else:
            path.mkdir()
        assert await refused(kept, tmp_path / path.parent.name) == "backup.damaged"
        assert not (tmp_path / path.parent.name / "platform").exists()


@pytest.mark.parametrize("change", [{"control": "x"}, {"control": "²"}, {"at": 10**30}, {"at": -1}])
async def test_a_list_with_impossible_numbers_is_damaged(
    kept: Kept, tmp_path: Path, change: dict[str, Any]
) -> None:
    await kept.back_up()
    path = next(kept.place.root.glob("points/*.json"))
    head, _, body = path.read_bytes().partition(b"\n")
    path.write_bytes(head + b"\n" + msgspec.json.encode(msgspec.json.decode(body) | change))
    assert await refused(kept, tmp_path / "other") == "backup.damaged"
    path.write_bytes(head + b"\n" + b'{"x":' + b"[" * 100_000)
    assert await refused(kept, tmp_path / "deep") == "backup.damaged"


async def test_names_that_we_gave_to_no_backup_are_none_of_ours(kept: Kept, tmp_path: Path) -> None:
    await kept.back_up()
    folder = kept.place.root / "points"
    for name in ("²-x.json", "zzz.json", "999999.json", "000009-20260101T000000Z\x1b[2J.json"):
        (folder / name).write_bytes(b"{}")
    assert (await kept.back_up(keep=1)).id.startswith("000002-")
    assert len(kept.place.ids()) == 1
    assert await refused(kept, tmp_path / "other") == ""


# --- drills -----------------------------------------------------------------------------------------------------


async def test_a_drill_brings_the_backup_back_on_a_copy_and_leaves_nothing(kept: Kept) -> None:
    await kept.back_up()
    before = sorted(kept.layout.platform.rglob("*"))

    async def opened(engine: sa.Engine) -> KeyRing:
        return keys()

    def started(directory: Path, engine: sa.Engine, ring: KeyRing) -> Mdms:
        return Mdms.open(directory, engine, ring, each(lambda *_: True), Limits())

    found = await drill(kept.place, "", kept.layout.platform, opened, started)
    assert found.ok
    assert found.integrity.readings == 24 * METERS * 2
    assert found.integrity.entries > 0
    assert sorted(kept.layout.platform.rglob("*")) == before


# --- kills and full disks ---------------------------------------------------------------------------------------


def killed_at(root: Path, step: int) -> bool:
    """Back up in a child that dies at a step of the disk; did it?"""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            asyncio.run(_child(root, step))
            os._exit(0)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WIFSIGNALED(status)


async def _child(root: Path, step: int) -> None:
    layout = Layout(root / "data")
    mdms, engine = open_store(layout.platform)
    place = Place(root / "backups")
    die_at(step)
    with place.writing():
        moment = await mdms.moment(place.known())
        write(place, moment, AT, 1)
        moment.release()
    await mdms.close()
    engine.dispose()


async def test_a_kill_at_any_step_of_a_backup_leaves_the_store_and_a_whole_backup(
    made: Path, tmp_path: Path
) -> None:
    """kill -9 just before and just after every step of the disk, half-written ones included, one step after the other."""
    shutil.copytree(made / "data", tmp_path / "data")
    kept = Kept(tmp_path)
    await kept.back_up()
    await kept.publish(3, 4)
    await kept.mdms.compact()
    await kept.publish(4, 5)
    wanted = shown(kept.mdms)
    await kept.close()
    step, names = 1, set(kept.place.ids())
    while await asyncio.to_thread(killed_at, tmp_path, step):
        for name in kept.place.ids():
            names.add(name)
            layout = Layout(tmp_path / "again")
            restore(kept.place, layout, name)
            shutil.rmtree(layout.root)
        assert kept.place.ids()
        step += 5
    assert step > 30
    kept.mdms, kept.engine = open_store(kept.layout.platform)
    assert shown(kept.mdms) == wanted
    assert not list(kept.layout.platform.glob(f"measurements/*/{PINNED}/*"))
    await kept.back_up(keep=1)
    assert not list(kept.place.root.rglob("*.new*"))
    assert (await brought_back(kept, tmp_path / "last"))[0] == wanted
    await kept.close()


def test_a_kill_in_the_middle_of_a_restore_leaves_nothing_that_starts_and_the_next_one_is_whole(
    made: Path, tmp_path: Path
) -> None:
    shutil.copytree(made / "data", tmp_path / "data")

    async def backed_up() -> Shown:
        kept = Kept(tmp_path)
        await kept.back_up()
        wanted = shown(kept.mdms)
        await kept.close()
        return wanted

    wanted = asyncio.run(backed_up())
    place, layout = Place(tmp_path / "backups"), Layout(tmp_path / "other")
    step = 1
    while True:
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                die_at(step)
                restore(place, layout)
                os._exit(0)
            os._exit(1)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            assert os.waitstatus_to_exitcode(status) == 0
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        if layout.platform.exists():  # the rename was done: then all of it is there
            assert (layout.platform / RESTORED).exists()
            shutil.rmtree(layout.platform)
        step += 3
    assert step > 10
    mdms, engine = open_store(layout.platform)

    async def looked() -> None:
        assert shown(mdms) == wanted
        await mdms.close()

    asyncio.run(looked())
    engine.dispose()


FULL = """
import asyncio, sys
from pathlib import Path
from meterseal.app.backup import write
from meterseal.app.backup_place import Place
from meterseal.errors import EngineError
from tests.mdms.fleet import batches, days, keys, open_store

async def main():
    mdms, engine = open_store(Path(sys.argv[1]))
    place = Place(Path(sys.argv[2]))
    Place.require_room = lambda *_: None  # as if somebody else filled the disk while it is copied
    codes = set()
    for size in range(8):
        filler = Path(sys.argv[2]).parent / "filler"
        filler.write_bytes(bytes(size * 100_000))
        before = sorted(place.root.rglob("*"))
        try:
            with place.writing():
                moment = await mdms.moment({})
                try:
                    write(place, moment, 1, 0)
                    codes.add("")
                finally:
                    moment.release()
        except EngineError as error:
            codes.add(error.code)
            files = [path for path in place.root.rglob("*") if path.is_file()]
            left = set(files) - {*before, place.root / "lock"}
            assert not left, left
        for batch in batches(list(days(3, 6))[3], 4)[size:size + 1]:
            await mdms.publish(batch)  # ingest does not mind
    print(sorted(codes))
    await mdms.close()

asyncio.run(main())
"""


async def test_a_full_target_disk_is_said_and_hinders_neither_ingest_nor_the_backups_that_are_there(
    kept: Kept, tmp_path: Path
) -> None:
    """A file system of its own of 2.6 MB, filled more and more."""
    small = tmp_path / "small"
    small.mkdir()
    await kept.mdms.close()
    mount = f'mount -t tmpfs -o size=2600k tmpfs "{small}"'
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], check=False, capture_output=True).returncode:
        kept.mdms, _ = open_store(kept.layout.platform)
        pytest.skip("this machine lets nobody mount a file system of one's own")
    script = tmp_path / "full.py"
    script.write_text(FULL)
    command = f'{mount} && exec "{sys.executable}" "{script}" "{kept.layout.platform}" "{small}/backups"'
    done = await asyncio.to_thread(
        subprocess.run,
        ["unshare", "-rm", "sh", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": f"{REPOSITORY / 'src'}:{REPOSITORY}"},
    )
    kept.mdms, _ = open_store(kept.layout.platform)
    assert done.stdout.strip() == "['', 'backup.full']", done.stderr
