"""Brings a backup of a platform back into a data directory, or proves on a copy that it would come back.

It writes no backup (`app.backup`) and knows no key; what it brings back is believed at the next start, when the store's
own data key has opened the seal over the backup's list.

Complete or not at all: everything is written beside the platform's place, every byte compared with the digest in the list,
and takes that place by one rename.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import sqlalchemy as sa
import structlog
from msgspec import Struct

from meterseal.app.backup import CONTROL
from meterseal.app.backup_files import RESERVE, check_control, require_room
from meterseal.app.backup_list import Point, sealed_by
from meterseal.app.backup_place import Place
from meterseal.app.config import Layout, unusable
from meterseal.control import acts, open_control, write
from meterseal.control.engine import HEAD
from meterseal.control.sealing import KeyRing
from meterseal.errors import DataError, LocalError, MetersealError, TrustError
from meterseal.mdms.integrity import Integrity
from meterseal.mdms.service import Mdms
from meterseal.mdms.store.files import sync_directory

RESTORED = "restored"
"""Name of the list of the backup that was brought back, in the platform's directory until its first start."""
MAKING = ".platform.restored"
DRILL = "drill-"
NOT_THERE = frozenset({"security.wrapped", "security.key", "sealing.key"})
"""What a security service says that has not the keys a control store names."""
log = structlog.get_logger()
_NAME = re.compile(r"(control\.db|(measurements|firmware)(/[A-Za-z0-9][A-Za-z0-9._-]{0,199}){1,4})")


class Drill(Struct, frozen=True, kw_only=True):
    """What came of bringing a backup back on a copy and starting a store there; `ok` when all of it holds."""

    id: str
    at: int
    sequence: int
    leaves: int
    missing: tuple[str, ...]
    same: bool
    """Is it the store, the journal entry and the leaves that the backup names?"""
    integrity: Integrity
    ok: bool


def restore(place: Place, layout: Layout, name: str = "") -> Point:
    """Put a backup (the newest unless named) where the platform of a data directory lies; its system is down.

    LocalError `backup.there` when a platform lies there, `backup.none`, `backup.newer`; DataError `backup.damaged`,
    `backup.control`; EngineError `backup.*`. Then nothing was brought back.
    """
    if layout.control.exists() or _holds_files(layout.platform):
        raise LocalError(
            "backup.there",
            f"{layout.platform} holds a platform already; move that directory away first. Nothing was brought back.",
        )
    if layout.platform.is_symlink() or (layout.platform.exists() and not layout.platform.is_dir()):
        raise LocalError(
            "backup.there",
            f"{layout.platform} is a link or a file, and the platform's directory takes its place by one rename. Remove "
            "it; for another disk let the whole data directory lie there. Nothing was brought back.",
        )
    making = layout.root / MAKING
    try:
        layout.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if making.is_symlink():
            making.unlink()
        shutil.rmtree(making, ignore_errors=True)
        point = unpack(place, making, name)
        if layout.platform.exists():
            shutil.rmtree(layout.platform)  # empty folders, as `keys restore` makes them
        making.rename(layout.platform)
        sync_directory(layout.root)
    except OSError as error:
        raise unusable(making, error) from None
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return point


def sweep(layout: Layout) -> None:
    """At a start: remove the copies of a restore and of drills that were ended. Nobody else has the directory."""
    shutil.rmtree(layout.root / MAKING, ignore_errors=True)
    _sweep(layout.platform)


def unpack(place: Place, target: Path, name: str = "", reserve: int = 0) -> Point:
    """Write a backup below a new directory, where the disk has room for it and `reserve` bytes. Errors as `restore`."""
    point, raw = place.point(name)
    if int(point.control) > int(HEAD):
        raise LocalError(
            "backup.newer",
            f"The backup {point.id} holds tables of a newer meterseal ({point.control}, this program knows {HEAD}). "
            "Restore it with that one.",
        )
    names = {part.name for part in point.parts}
    if CONTROL not in names or not all(_NAME.fullmatch(one) for one in names):
        raise DataError(
            "backup.damaged", f"The list of the backup {point.id} names files that no backup has."
        )
    require_room(target.parent, sum(part.size for part in point.parts), reserve)
    target.mkdir(mode=0o700)
    folders = {target}
    for part in point.parts:
        path = target / part.name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.copy(part, path)
        folders |= {path.parent, path.parent.parent}
    check_control(target / CONTROL)
    (target / "measurements").mkdir(mode=0o700, exist_ok=True)
    with (target / RESTORED).open("xb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    for folder in folders:
        sync_directory(folder)
    return point


def settle(platform: Path, engine: sa.Engine, ring: KeyRing, now: int) -> Point | None:
    """At a start: is what was brought back the store's own backup? Then it is written down, and counts.

    None when nothing was brought back. TrustError `backup.seal` when it is not; then the system does not start.
    """
    path = platform / RESTORED
    if not path.exists():
        return None
    point = sealed_by(path.read_bytes(), ring)
    with write(engine) as connection:
        acts.append(connection, acts.Act(now, "operator", "store-restored", point.id))
    path.unlink()
    return point


@contextlib.contextmanager
def opening(brought_back: bool) -> Iterator[None]:
    """While keys of what was `brought_back` are asked for: TrustError `backup.keys` when they are not there."""
    try:
        yield
    except TrustError as error:
        if not brought_back or error.code not in NOT_THERE:
            raise
        raise TrustError(
            "backup.keys",
            "The security service does not have the keys of this backup: it is another one, or its keys were restored as "
            "of before they were rotated. Use the keys of the same time or later (meterseal keys restore), or an older "
            "backup of the platform. Nothing was changed.",
        ) from error


async def drill(
    place: Place,
    name: str,
    beside: Path,
    opened: Callable[[sa.Engine], Awaitable[KeyRing]],
    started: Callable[[Path, sa.Engine, KeyRing], Mdms],
) -> Drill:
    """Bring a backup back into a directory that is removed again, start a store there and open everything in it.

    `opened` gives the data keys that the copy's control store names, from the security service; `started` opens the store.
    Errors as `restore`, TrustError `backup.seal`, and those of a start.
    """
    _sweep(beside)
    folder = Path(tempfile.mkdtemp(prefix=DRILL, dir=beside))
    try:
        copy = folder / "platform"
        try:
            point = await asyncio.to_thread(unpack, place, copy, name, RESERVE)
        except DataError:
            await asyncio.to_thread(_set_aside, place, name)
            raise
        engine = await asyncio.to_thread(open_control, copy / CONTROL)
        try:
            with opening(True):
                ring = await opened(engine)
            sealed_by((copy / RESTORED).read_bytes(), ring)
            mdms = await asyncio.to_thread(started, copy / "measurements", engine, ring)
            try:
                found = await mdms.integrity()
                said = *mdms.position(), await asyncio.to_thread(_kept, mdms)
            finally:
                await mdms.close()
        finally:
            engine.dispose()
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    same = said == (point.store_id, point.sequence, point.leaves)
    return Drill(
        id=point.id,
        at=point.at,
        sequence=point.sequence,
        leaves=point.leaves,
        missing=point.missing,
        same=same,
        integrity=found,
        ok=same and found.good and not point.missing,
    )


def _set_aside(place: Place, name: str) -> None:
    """The platform is there, so the next backup can write again what is damaged of this one."""
    with contextlib.suppress(MetersealError, OSError):
        with place.writing():
            found = place.set_aside(place.point(name)[0])
        log.warning("backup.damaged", objects=found)


def _kept(mdms: Mdms) -> int:
    return mdms.ledger.at_rest()[2]


def _sweep(beside: Path) -> None:
    for left in beside.glob(f"{DRILL}*"):
        shutil.rmtree(left, ignore_errors=True)


def _holds_files(folder: Path) -> bool:
    return folder.exists() and any(not path.is_dir() for path in folder.rglob("*"))
