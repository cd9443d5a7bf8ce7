"""Whoever writes where backups lie, on another machine's disk perhaps, harms nothing but backups: no link, no name and no
list there makes the platform write, cut off, rename or remove a file of its own."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from meterseal.app.backup_list import Part, Point, sealed
from meterseal.app.config import Layout
from meterseal.app.restoring import MAKING, drill, restore
from meterseal.errors import DataError, EngineError, LocalError
from tests.app.test_backup import Kept, kept, made
from tests.mdms.fleet import keys

__all__ = ["kept", "made"]


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A directory that the platform may write and a backup has nothing to do with."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "control.db").write_text("my own")
    return folder


def untouched(mine: Path) -> bool:
    return [(path.name, path.read_text()) for path in mine.iterdir()] == [("control.db", "my own")]


def link_lock(place: Path, mine: Path) -> None:
    (place / "lock").unlink()
    (place / "lock").symlink_to(mine / "control.db")


def hard_lock(place: Path, mine: Path) -> None:
    (place / "lock").unlink()
    (place / "lock").hardlink_to(mine / "control.db")


def link_objects(place: Path, mine: Path) -> None:
    shutil.rmtree(place / "objects")
    (place / "objects").symlink_to(mine.parent)


def link_points(place: Path, mine: Path) -> None:
    (mine / "control.db").rename(mine / "control.db.new")
    shutil.rmtree(place / "points")
    (place / "points").symlink_to(mine)


def link_shard(place: Path, mine: Path) -> None:
    (place / "objects" / "zz").symlink_to(mine)
    (place / "lock").write_bytes(b"writing")


@pytest.mark.parametrize("plant", [link_lock, hard_lock, link_objects, link_shard])
@pytest.mark.parametrize("keep", [0, 1])
async def test_attack_a_link_in_the_place_of_backups_leads_nowhere(
    kept: Kept, mine: Path, plant: Callable[[Path, Path], None], keep: int
) -> None:
    await kept.back_up()
    plant(kept.place.root, mine)
    with pytest.raises((LocalError, EngineError)) as refused:
        await kept.back_up(keep)
    assert refused.value.code in ("backup.place", "backup.disk")
    assert untouched(mine)


async def test_attack_a_link_in_the_place_of_lists_leads_nowhere(kept: Kept, mine: Path) -> None:
    await kept.back_up()
    link_points(kept.place.root, mine)
    with pytest.raises(LocalError) as refused:
        await kept.back_up()
    assert refused.value.code == "backup.place"
    assert [path.name for path in mine.iterdir()] == ["control.db.new"]


async def test_attack_a_link_that_comes_while_objects_are_removed_is_not_followed(
    kept: Kept, mine: Path
) -> None:
    await kept.back_up()
    (kept.place.root / "objects" / "zz").symlink_to(mine)
    kept.place.prune(1)
    assert untouched(mine)


async def test_attack_a_list_whose_digests_are_paths_renames_nothing(
    kept: Kept, mine: Path, tmp_path: Path
) -> None:
    """A drill sets aside what is damaged of the backup that it found so, by the digests of a list that nobody sealed."""
    await kept.back_up()
    point, _ = kept.place.point()
    bad = Part("measurements/x", 6, f"../{mine.name}/control.db", "")
    forged = msgspec.structs.replace(point, parts=(*point.parts, bad))
    listed = kept.place.root / "points" / f"{point.id}.json"
    listed.write_bytes(sealed(forged, keys()))

    async def nobody(*_: object) -> object:
        raise AssertionError("nothing is opened")

    with pytest.raises(DataError) as refused:
        await drill(kept.place, point.id, tmp_path, nobody, nobody)  # type: ignore[arg-type]
    assert refused.value.code == "backup.damaged"
    assert untouched(mine)


@pytest.mark.parametrize("digest", ["", "ab", "/etc/passwd", "A" * 64, "0" * 63 + "\n", "0" * 65])
async def test_a_list_with_what_is_no_digest_is_damaged(kept: Kept, digest: str) -> None:
    await kept.back_up()
    point, _ = kept.place.point()
    first = msgspec.structs.replace(point.parts[0], digest=digest)
    forged: Point = msgspec.structs.replace(point, parts=(first, *point.parts[1:]))
    (kept.place.root / "points" / f"{point.id}.json").write_bytes(sealed(forged, keys()))
    with pytest.raises(DataError) as refused:
        kept.place.point()
    assert refused.value.code == "backup.damaged"
    assert (await kept.back_up()).sequence, "it hinders no further backup"


@pytest.mark.parametrize("kind", ["link", "dangling link", "file"])
async def test_a_platform_that_is_a_link_or_a_file_is_said_before_anything_is_copied(
    kept: Kept, tmp_path: Path, kind: str
) -> None:
    await kept.back_up()
    layout = Layout(tmp_path / "other")
    layout.root.mkdir()
    elsewhere = tmp_path / "elsewhere"
    if kind == "link":
        elsewhere.mkdir()
    if kind == "file":
        layout.platform.touch()
    else:
        layout.platform.symlink_to(elsewhere)
    with pytest.raises(LocalError) as refused:
        restore(kept.place, layout)
    assert refused.value.code == "backup.there"
    assert "is a link or a file" in refused.value.message
    assert not (layout.root / MAKING).exists()
    layout.platform.unlink()
    (layout.root / MAKING).symlink_to(tmp_path / "data")
    assert restore(kept.place, layout).sequence
    assert (tmp_path / "data" / "platform" / "control.db").exists()


@pytest.mark.parametrize("number", ["9" * 18, "1" + "0" * 12])
async def test_attack_a_list_with_the_highest_number_hides_no_later_backup(kept: Kept, number: str) -> None:
    """The next number has a digit more than a list's name: the backup was said to be made, and none found it."""
    first = await kept.back_up()
    listed = kept.place.root / "points" / f"{first.id}.json"
    forged = listed.with_name(f"{number}-20990101T000000Z.json")
    shutil.copy(listed, forged)
    with pytest.raises(LocalError) as refused:
        await kept.back_up(1)
    assert refused.value.code == "backup.place"
    assert listed.exists()
    forged.unlink()
    assert (await kept.back_up()).id in kept.place.ids()


async def test_lists_that_cannot_be_read_are_not_taken_for_none(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever restores as another user than the one who backed up was told that there is no backup."""
    await kept.back_up()

    def denied(_: Path) -> object:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", denied)
    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(EngineError) as refused:
        restore(kept.place, Layout(tmp_path / "other"))
    assert (refused.value.code, "Permission denied" in refused.value.message) == ("backup.disk", True)


async def test_a_prune_leaves_alone_what_a_nas_keeps_beside_the_objects(kept: Kept) -> None:
    await kept.back_up()
    its = kept.place.root / "objects" / "@eaDir" / "thumbnail"
    its.parent.mkdir()
    its.write_text("of the NAS")
    assert (await kept.back_up(1)).unpruned == ""
    assert its.read_text() == "of the NAS"
