"""Files of the journal that are not there any more are missed, whichever they are; no end at any step is a false alarm."""

from __future__ import annotations

import asyncio
import os
import subprocess
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from meterseal.control import acts
from meterseal.control.acts import Act
from meterseal.errors import DataError, EngineError, LocalError
from meterseal.mdms.giving_up import ACT, give_up, unreadable
from meterseal.mdms.service import Mdms
from meterseal.mdms.store import journal as journals
from meterseal.mdms.store.faults import HEADER, Fault
from meterseal.mdms.store.files import sync_directory
from meterseal.mdms.store.journal import Journal, Noted
from meterseal.model import MAIN, Batch
from tests.control_store import control_at
from tests.mdms.fleet import DAY, FIRST, Page, day_record, keys, open_store, point
from tests.mdms.shadow_disk import ShadowDisk

FILES = ([b"1", b"2"], [b"3"], [b"4", b"5"])
EVERY = [entry for entries in FILES for entry in entries]


def journal_at(directory: Path, page: Page) -> Journal:
    return Journal(directory, "st-1", keys(), page)


def written(directory: Path, page: Page, *, killed: bool) -> list[Path]:
    """Three files, of which a killed process did not end the last."""
    journal = journal_at(directory, page)
    list(journal.replay(0))
    for number, entries in enumerate(FILES):
        if number:
            journal.rotate()
        for entry in entries:
            journal.append(entry)
    if killed:
        assert journal._descriptor is not None
        os.close(journal._descriptor)
    else:
        journal.close()
    return sorted(directory.iterdir())


def opened(directory: Path, page: Page, after: int = 0) -> list[bytes]:
    return [entry for _, entry in journal_at(directory, page).replay(after)]


def test_what_is_noted_is_a_line_a_file_and_none_an_entry(tmp_path: Path) -> None:
    page = Page()
    written(tmp_path, page, killed=False)
    assert page.every == [
        Noted(0),
        Noted(0, 1), Noted(2),
        Noted(2, 3), Noted(3),
        Noted(3, 4), Noted(5),
    ]  # fmt: skip
    assert opened(tmp_path, page) == EVERY
    assert page.every[-1] == Noted(5)


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("gone", [(2,), (1, 2), (0, 1, 2), (1,), (0,)])
def test_a_journal_whose_files_are_gone_is_refused(
    tmp_path: Path, killed: bool, gone: tuple[int, ...]
) -> None:
    page = Page()
    paths = written(tmp_path / "journal", page, killed=killed)
    kept = {path: path.read_bytes() for path in paths}
    noted = page.noted
    for number in gone:
        paths[number].unlink()
    with pytest.raises(DataError) as refused:
        opened(tmp_path / "journal", page)
    between = 2 not in gone
    assert refused.value.code == ("mdms.journal-damaged" if between else "mdms.journal-lost")
    if not between:
        first = sum(len(entries) for entries in FILES[: gone[0]]) + 1
        said = "the file that begins with entry 4 is gone" if killed else f"entries {first} to 5 are gone"
        if killed and len(gone) > 1:
            said = f"entries {first} to 3 are gone, and those that may have come after them"
        assert said in refused.value.message
    # It was only looked at: with the files everything is there again.
    assert page.noted == noted
    for path, content in kept.items():
        path.write_bytes(content)
    assert opened(tmp_path / "journal", page) == EVERY


def test_an_end_that_was_cut_off_at_a_frame_is_missed_unless_the_process_was_killed(tmp_path: Path) -> None:
    """The second half says what stays open: of a file that nobody ended nothing tells where it ended."""
    for killed in (False, True):
        page = Page()
        last = written(tmp_path / str(killed), page, killed=killed)[-1]
        content = last.read_bytes()
        last.write_bytes(content[: len(content) // 2])  # two frames of one size
        if killed:
            assert opened(tmp_path / str(killed), page) == EVERY[:-1]
        else:
            with pytest.raises(DataError, match="entries 5 to 5 are gone"):
                opened(tmp_path / str(killed), page)


def test_files_that_lie_in_segments_already_are_missed_by_nobody(tmp_path: Path) -> None:
    page = Page()
    for path in written(tmp_path, page, killed=False):
        path.unlink()
    assert opened(tmp_path, page, after=5) == []
    assert page.noted == Noted(5)


def test_a_journal_from_before_anything_was_noted_opens_and_is_noted_then(tmp_path: Path) -> None:
    last = written(tmp_path, Page(), killed=True)[-1]
    page = Page()
    assert opened(tmp_path, page) == EVERY
    assert page.noted == Noted(5)
    last.unlink()
    with pytest.raises(DataError) as refused:
        opened(tmp_path, page)
    assert refused.value.code == "mdms.journal-lost"


class Ends(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("step", range(1, 20))
def test_a_process_that_ends_while_a_file_is_begun_or_ended_raises_no_false_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    page, answered, done = Page(), list[bytes](), 0

    def counted(call: Callable[..., object]) -> Callable[..., object]:
        def counting(*arguments: object) -> object:
            nonlocal done
            done += 1
            if done == step:
                raise Ends
            return call(*arguments)

        return counting

    disk = ShadowDisk(tmp_path, 1 << 30, 0)
    with monkeypatch.context() as patch, disk.watching():
        for name in ("open", "write", "fsync", "fdatasync"):
            patch.setattr(os, name, counted(getattr(os, name)))
        patch.setattr(page, "note", counted(page.note))
        journal = journal_at(tmp_path, page)
        try:
            list(journal.replay(0))
            for entry in EVERY[:3]:
                journal.append(entry)
                answered.append(entry)
                journal.rotate()
        except Ends:
            pass
    if journal._descriptor is not None:
        os.close(journal._descriptor)
    disk.cut()  # and the power goes, too
    found = opened(tmp_path, page)
    assert found[: len(answered)] == answered
    assert len(found) <= len(answered) + 1
    again = journal_at(tmp_path, page)
    list(again.replay(0))
    assert again.append(b"next") == len(found) + 1
    again.close()
    assert opened(tmp_path, page) == [*found, b"next"]


def test_an_entry_that_a_killed_process_left_unsynced_is_synced_before_anything_follows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lies in the system's memory, is read and counts; without a sync a loss of power would leave a hole behind it."""
    page = Page()
    disk = ShadowDisk(tmp_path, 1 << 30, 0)
    with disk.watching():
        killed = journal_at(tmp_path, page)
        list(killed.replay(0))
        killed.append(b"first")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", lambda _: None)
            killed.append(b"second")
        after = journal_at(tmp_path, page)
        assert [entry for _, entry in after.replay(0)] == [b"first", b"second"]
        after.append(b"third")
    killed.close()
    after.close()
    disk.cut()
    assert opened(tmp_path, page) == [b"first", b"second", b"third"]


def test_a_file_that_is_begun_while_older_ones_are_forgotten_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compaction forgets beside ingest. It took the new file for an old one between its making and its first entry."""
    page = Page()
    written(tmp_path, page, killed=False)
    journal = journal_at(tmp_path, page)
    list(journal.replay(0))
    sync = sync_directory

    def forgetting(path: Path) -> None:
        sync(path)
        journal.forget(5)

    monkeypatch.setattr(journals, "sync_directory", forgetting)
    assert journal.append(b"6") == 6
    journal.close()
    assert [path.stem for path in tmp_path.iterdir()] == [f"{6:016d}"]
    assert opened(tmp_path, page, after=5) == [b"6"]


def test_where_nothing_can_be_noted_nothing_is_answered(tmp_path: Path) -> None:
    page = Page()
    journal = journal_at(tmp_path, page)
    list(journal.replay(0))
    noting = page.note

    def full(_: Noted) -> None:
        raise EngineError("control.full", "full")

    page.note = full  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(EngineError):
            journal.append(b"refused")
    page.note = noting  # type: ignore[method-assign]
    assert journal.append(b"first") == 1
    page.note = full  # type: ignore[method-assign]
    with pytest.raises(EngineError):
        journal.rotate()
    assert journal.append(b"second") == 2
    journal.close()
    page.note = noting  # type: ignore[method-assign]
    assert opened(tmp_path, page) == [b"first", b"second"]


async def stored(mdms: Mdms, day: int) -> None:
    await mdms.publish(Batch((day_record(0, day, day + 1),)))


def last_file(mdms: Mdms) -> Path:
    return max((mdms._directory / "journal").glob("*.journal"))


async def left(root: Path, between: Callable[[Mdms], Awaitable[object]], killed: bool) -> tuple[Path, Path]:
    """What a store of two days leaves that was ended cleanly or not, and the journal's file of the second."""
    first, copy = root / "first", root / "copy"
    first.mkdir()
    mdms, engine = open_store(first, 1)
    await stored(mdms, 0)
    await between(mdms)
    await stored(mdms, 1)
    last = last_file(mdms).relative_to(first)
    if killed:  # by another process: ours must not open a control store beside SQLite
        subprocess.run(["cp", "-r", first, copy], check=True)
    await mdms.close()
    engine.dispose()
    end = copy if killed else first
    return end, end / last


@pytest.mark.parametrize("killed", [False, True])
async def test_a_store_whose_last_journal_file_is_gone_does_not_start_without_it(
    tmp_path: Path, killed: bool
) -> None:
    root, gone = await left(tmp_path, Mdms.compact, killed)
    content = gone.read_bytes()
    gone.unlink()
    for _ in range(2):
        with pytest.raises(DataError) as refused:
            open_store(root)
        assert refused.value.code == "mdms.journal-lost"
    gone.write_bytes(content)
    mdms, engine = open_store(root)
    assert mdms.counts().readings == 48
    await mdms.close()
    engine.dispose()


@pytest.mark.parametrize("killed", [False, True])
async def test_files_that_are_lost_for_good_are_given_up_by_somebody_and_written_down(
    tmp_path: Path, killed: bool
) -> None:
    root, gone = await left(tmp_path, lambda mdms: asyncio.to_thread(mdms._journal.rotate), killed)
    journal = gone.parent
    engine = control_at(root / "control.db")
    assert unreadable(engine, journal) == ()
    gone.unlink()
    lost = (Fault(2, 0 if killed else 2),)
    assert unreadable(engine, journal) == lost
    with pytest.raises(LocalError) as refused:
        give_up(engine, journal, (Fault(1, 2),), actor="li", now=7)
    assert refused.value.code == "store.changed"
    assert acts.verified(engine) == []
    give_up(engine, journal, lost, actor="li", now=7)
    assert unreadable(engine, journal) == ()
    assert acts.verified(engine) == [Act(7, "li", ACT, lost[0].entries)]
    engine.dispose()
    for _ in range(2):
        mdms, engine = open_store(root)
        assert mdms.counts().readings == 24
        await mdms.close()
        engine.dispose()


async def three_days(root: Path) -> list[Path]:
    """A store whose journal has a file for each of three days."""
    mdms, engine = open_store(root, 1)
    for day in range(3):
        await stored(mdms, day)
        await asyncio.to_thread(mdms._journal.rotate)
    await mdms.close()
    engine.dispose()
    return sorted((root / "measurements" / "journal").iterdir())


async def days_of(root: Path) -> list[int]:
    """Which of the three days a start reads; twice, for what was given up is so for good."""
    found = []
    for _ in range(2):
        mdms, engine = open_store(root)
        at = mdms.registers(point(0), MAIN, 0, FIRST + 9 * DAY).end_at
        found.append(sorted(set(((at - 1 - FIRST) // DAY).tolist())))
        await stored(mdms, 2)  # it goes on: delivered again
        await mdms.close()
        engine.dispose()
    assert found[0] == found[1] or found[1] == sorted({*found[0], 2})
    return found[0]


async def test_a_hole_is_given_up_with_nothing_behind_it(tmp_path: Path) -> None:
    _, hole, _ = await three_days(tmp_path)
    hole.unlink()
    with pytest.raises(DataError) as damaged:
        open_store(tmp_path)
    assert damaged.value.code == "mdms.journal-damaged"
    engine = control_at(tmp_path / "control.db")
    lost = unreadable(engine, hole.parent)
    assert lost == (Fault(2, 2),)
    assert not lost[0].damaged
    give_up(engine, hole.parent, lost, actor="li", now=8)
    engine.dispose()
    assert await days_of(tmp_path) == [0, 2]


@pytest.mark.parametrize("where", ["body", "header", "both", "length"])
async def test_a_damaged_frame_is_told_from_a_missing_one_and_costs_itself_alone(
    tmp_path: Path, where: str
) -> None:
    """Three frames in one file; the second is overwritten in parts. What stands behind it is read."""
    root, other = tmp_path / "one", tmp_path / "other"
    root.mkdir()
    mdms, engine = open_store(root, 1)
    for day in range(3):
        await stored(mdms, day)
    await mdms.close()
    engine.dispose()
    (path,) = (root / "measurements" / "journal").iterdir()
    content = bytearray(path.read_bytes())
    whole = bytes(content)
    second = HEADER.size + int.from_bytes(content[:4])
    third = second + HEADER.size + int.from_bytes(content[second : second + 4])
    if where in ("body", "both"):
        content[second + 60] ^= 1
    if where in ("header", "both"):
        content[second + 8 : second + 20] = bytes(12)
    if where == "length":  # header and check sum fit, and lead into the middle of the next frame
        fields = (int.from_bytes(content[second : second + 4]) + 40).to_bytes(4) + content[
            second + 4 : second + 16
        ]
        content[second : second + 20] = fields + zlib.crc32(fields).to_bytes(4)
    path.write_bytes(content)
    with pytest.raises(DataError) as refused:
        open_store(root)
    assert refused.value.code == "mdms.journal-damaged"
    engine = control_at(root / "control.db")
    lost = unreadable(engine, path.parent)
    assert [(one.first, one.last, one.file, one.offset) for one in lost] == [(2, 2, path.name, second)]
    if where != "length":
        assert lost[0].end == third
    # Restored meanwhile it is damaged no more; and what was given up and can be read after all is read.
    path.write_bytes(whole)
    assert unreadable(engine, path.parent) == ()
    path.write_bytes(content)
    give_up(engine, path.parent, lost, actor="li", now=8)
    assert [act.subject for act in acts.verified(engine)] == ["entry 2"]
    assert unreadable(engine, path.parent) == ()
    engine.dispose()
    subprocess.run(["cp", "-r", root, other], check=True)
    (other / "measurements" / "journal" / path.name).write_bytes(whole)
    assert await days_of(other) == [0, 1, 2]
    # Of a damaged header its place says which it was, and its seal that it is whole.
    assert await days_of(root) == ([0, 1, 2] if where == "header" else [0, 2])


@pytest.mark.parametrize("killed", [False, True])
async def test_a_damaged_end_is_given_up_once_and_another_one_is_refused_again(
    tmp_path: Path, killed: bool
) -> None:
    root, last = await left(tmp_path, lambda mdms: asyncio.to_thread(mdms._journal.rotate), killed)
    content = bytearray(last.read_bytes())
    content[:60] = b"\xff" * 60
    last.write_bytes(content)
    with pytest.raises(DataError):
        open_store(root)
    engine = control_at(root / "control.db")
    (lost,) = unreadable(engine, last.parent)
    assert (lost.first, lost.last, lost.file, lost.offset) == (2, 0 if killed else 2, last.name, 0)
    give_up(engine, last.parent, (lost,), actor="li", now=8)
    engine.dispose()
    mdms, engine = open_store(root)
    assert mdms.counts().readings == 24
    await stored(mdms, 1)
    last = last_file(mdms)
    await mdms.close()
    engine.dispose()
    content = bytearray(last.read_bytes())
    content[:60] = b"\xff" * 60
    last.write_bytes(content)
    for _ in range(2):
        with pytest.raises(DataError) as refused:
            open_store(root)
        assert refused.value.code == "mdms.journal-damaged"


async def test_a_frame_that_somebody_moved_is_given_up_for_nobody(tmp_path: Path) -> None:
    """Giving up names entries; a file that is put in another's place opens under no number but its own."""
    first, second, third = await three_days(tmp_path)
    second.write_bytes(third.read_bytes())
    with pytest.raises(DataError):
        open_store(tmp_path)
    engine = control_at(tmp_path / "control.db")
    with pytest.raises(DataError) as refused:
        unreadable(engine, first.parent)
    assert refused.value.code == "mdms.journal-damaged"
    engine.dispose()


async def test_a_running_store_says_that_a_journal_file_was_taken_from_under_it(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 1)
    await stored(mdms, 0)
    last_file(mdms).unlink()
    (found,) = (await mdms.integrity()).damages
    assert (found.code, found.where) == ("journal", "after entry 0")
    assert "entries 1 to 1 are gone" in found.sentence
    await mdms.compact()  # memory still has it
    assert (await mdms.integrity()).good
    await mdms.close()
    engine.dispose()
    mdms, engine = open_store(tmp_path)
    assert mdms.counts().readings == 24
    await mdms.close()
    engine.dispose()
