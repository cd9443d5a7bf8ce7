"""The directory that backups lie in: objects, each file under the SHA-256 of its bytes, and a list for every backup.

It says not what belongs to a backup (`app.backup`) and brings nothing back (`app.restoring`).

    DIR/objects/ab/abcd…       one file each, by its digest: what two backups share lies there once
    DIR/points/N-TIME.json     one backup: a seal over its list, then the list; written last, so a backup is whole or absent
    DIR/lock                   one program writes here at a time; not empty while it does

Others may write here as well, on another machine's disk. So no link is followed below DIR, and a list that is not opened
yet names objects by their digests and by nothing else: who holds the place harms backups, and no file of the platform.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from meterseal.app.backup_files import (
    RESERVE,
    copy_control,
    damaged,
    digest_of,
    disk,
    regular,
    require_room,
)
from meterseal.app.backup_list import FORMAT, Part, Point, sealed
from meterseal.control.sealing import KeyRing
from meterseal.errors import DataError, EngineError, LocalError, MetersealError
from meterseal.mdms.moment import Held, Moment
from meterseal.mdms.store.files import sync_directory, write_all

_PIECE = 1 << 20
_OBJECTS, _POINTS, _LOCK, _NEW = "objects", "points", "lock", ".new"
_DAMAGED = ".damaged"
_ID = re.compile(r"([0-9]{6,18})-[0-9]{8}T[0-9]{6}Z")
_VERSION = re.compile(r"[0-9]{4}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SHARD = re.compile(r"[0-9a-f]{2}")
_LONGEST_LIST = 1 << 28
_MOST = 10**12
"""No place of ours has so many backups."""
_LAST = 253_402_300_800_000
"""The year 10000."""


class Place:
    """A directory of backups. Everything raises EngineError `backup.full`, `backup.disk`, LocalError `backup.place`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._points = root / _POINTS
        self._fresh: list[Path] = []
        """Objects that no list names yet."""

    # --- reading ----------------------------------------------------------------------------------

    def ids(self) -> list[str]:
        """Backups, oldest first; a file that we did not name is none. EngineError `backup.disk` when nobody may look."""
        try:
            with disk(self._points):
                listed = [path for path in self._points.iterdir() if path.suffix == ".json"]
        except FileNotFoundError:
            return []
        found = (_ID.fullmatch(path.stem) for path in listed)
        return [one[0] for one in sorted(filter(None, found), key=lambda one: (int(one[1]), one[0]))]

    def point(self, name: str = "") -> tuple[Point, bytes]:
        """A backup, the newest when none is named, and its file's bytes. LocalError `backup.none`, DataError
        `backup.damaged`."""
        listed = self.ids()
        wanted = name or (listed[-1] if listed else "")
        if wanted not in listed:
            raise LocalError(
                "backup.none",
                f"{self.root} holds no backup{f' {name}' if name else ''}. "
                + (
                    f"There are: {', '.join(listed[-10:])}"
                    if listed
                    else "Make one with: meterseal store backup"
                ),
            )
        path = self._points / f"{wanted}.json"
        with disk(path), regular(path) as file:
            raw = file.read(_LONGEST_LIST)
        try:
            point = msgspec.json.decode(raw.partition(b"\n")[2], type=Point)
        except (msgspec.DecodeError, RecursionError):
            raise damaged(path) from None
        if point.format != FORMAT:
            raise LocalError(
                "backup.newer",
                f"{path} was written by a newer meterseal; restore it with that one. Nothing was changed.",
            )
        if point.id != wanted or not _VERSION.fullmatch(point.control) or not 0 <= point.at < _LAST:
            raise damaged(path)
        if not all(
            _DIGEST.fullmatch(part.digest) and min(part.size, part.offset) >= 0 for part in point.parts
        ):
            raise damaged(path)
        return point, raw

    def copy(self, part: Part, target: Path) -> None:
        """One file back, synced, after every byte of it was compared with its digest. DataError `backup.damaged`."""
        source = self._object(part.digest)
        digest, size = hashlib.sha256(), 0
        try:
            with (
                regular(source) as file,
                disk(target),
                target.open("ab" if part.offset else "xb") as out,
            ):
                os.fchmod(out.fileno(), 0o600)
                if out.tell() != part.offset or os.fstat(file.fileno()).st_size != part.size:
                    raise damaged(source, part.name)
                while piece := file.read(_PIECE):
                    digest.update(piece)
                    size += len(piece)
                    out.write(piece)
                out.flush()
                os.fsync(out.fileno())
        except FileNotFoundError as error:
            raise damaged(source, part.name) from error
        if size != part.size or digest.hexdigest() != part.digest:
            raise damaged(source, part.name)

    def has(self, part: Part) -> bool:
        """Does its object lie here with the right length?"""
        try:
            found = self._object(part.digest).lstat()
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size == part.size

    def set_aside(self, point: Point) -> int:
        """Give objects of a backup that are not what was written another name; how many.

        A backup knows what lies here by its name and length. So the next one writes them anew, for all lists that name
        them.
        """
        found = 0
        for digest in {part.digest for part in point.parts}:
            path = self._object(digest)
            with contextlib.suppress(FileNotFoundError), disk(path):
                if digest_of(path) != digest:
                    path.rename(path.with_name(path.name + _DAMAGED))
                    found += 1
        return found

    def following(self) -> int:
        """Number of the next backup; numbers rise however clocks are set. LocalError `backup.place` behind one that is none
        of ours: no list would be found under the next one.
        """
        listed = self.ids()
        number = int(listed[-1].partition("-")[0]) + 1 if listed else 1
        if number > _MOST:
            raise LocalError(
                "backup.place",
                f"{self.root} holds a list with the number {listed[-1]}, which no backup of ours has: somebody else put it "
                "there. Look who writes there, and remove it. No backup was made.",
            )
        return number

    # --- writing ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only one who writes here; what an earlier attempt left half done is removed."""
        with disk(self.root):
            for folder in (self.root, self.root / _OBJECTS, self._points):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            odd = {path.name for path in self.root.iterdir()} - {_OBJECTS, _POINTS, _LOCK}
            if odd:
                raise LocalError(
                    "backup.place",
                    f"{self.root} holds something else ({sorted(odd)[0]}). Give a directory of its own.",
                )
            self._no_links()
            flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(self.root / _LOCK, flags, 0o600)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
                raise self._link(self.root / _LOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise LocalError(
                    "backup.busy",
                    f"Another backup is being written to {self.root}. Wait until it is done.",
                ) from None
            with disk(self.root):
                for path in [
                    *self._points.glob(f"*{_NEW}"),
                    *self.root.glob(f"{_OBJECTS}/*{_NEW}*"),
                ]:
                    path.unlink()
                if os.fstat(descriptor).st_size:
                    self._sweep()
                os.pwrite(descriptor, b"writing", 0)
                os.fsync(descriptor)
            try:
                yield
            finally:
                with disk(self.root):
                    for path in self._fresh:  # the disk is as full as before
                        path.unlink(missing_ok=True)
                    self._fresh.clear()
                    os.ftruncate(descriptor, 0)
        finally:
            os.close(descriptor)

    def _no_links(self) -> None:
        """LocalError `backup.place` where a folder of ours is somebody's link to another one."""
        for folder in (self.root / _OBJECTS, self._points, *(self.root / _OBJECTS).glob("??")):
            if folder.is_symlink():
                raise self._link(folder)

    def _link(self, path: Path) -> LocalError:
        return LocalError(
            "backup.place",
            f"{path} is a link, or no file of its own: somebody else put it there, and nothing is written through it. "
            "Look who writes there, and remove it.",
        )

    def _sweep(self) -> None:
        """Remove objects that no list names: whoever wrote them was ended. While a list cannot be read none is."""
        try:
            named = self._named(self.ids())
        except (DataError, LocalError):
            return
        self._remove_others(named)

    def _named(self, names: list[str]) -> set[str]:
        return {part.digest for name in names for part in self.point(name)[0].parts}

    def _remove_others(self, named: set[str]) -> int:
        """By descriptors, so that a link that comes meanwhile leads to no other files."""
        removed = 0
        with _opened(self.root / _OBJECTS) as objects:
            for shard in os.listdir(objects):  # noqa: PTH208 - of a descriptor
                if not _SHARD.fullmatch(shard):  # what a NAS keeps of its own
                    continue
                try:
                    with _opened(shard, objects) as folder:
                        for name in sorted(set(os.listdir(folder)) - named):  # noqa: PTH208 - as above
                            os.unlink(name, dir_fd=folder)
                            removed += 1
                except NotADirectoryError:  # a file that is being written, or somebody's link
                    continue
        return removed

    def known(self) -> dict[str, Part]:
        """Files by their fact that lie here whole already."""
        found: dict[str, Part] = {}
        for name in self.ids()[-2:]:
            try:
                point, _ = self.point(name)
            except MetersealError:
                continue  # a list that cannot be read is no reason not to make the next backup
            found |= {part.fact: part for part in point.parts if part.fact and self.has(part)}
        return found

    def require_room(self, moment: Moment, known: Mapping[str, Part]) -> None:
        """EngineError `backup.full` before anything is written, where the disk has no room for what is new.

        On the disk of the platform itself RESERVE stays free: a full one would take no readings.
        """
        pages, size = (
            moment.control.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size")
        )
        needed = pages * size + sum(held.size for held in moment.files if held.fact not in known)
        with disk(self.root):
            same = any(held.path.stat().st_dev == self.root.stat().st_dev for held in moment.files[:1])
            require_room(self.root, needed, RESERVE if same else 0)

    def take(self, held: Held) -> tuple[str, int]:
        """Copy what counts of a file into an object; its digest, and how many bytes that wrote."""
        new = self.root / _OBJECTS / f"{secrets.token_hex(8)}{_NEW}"
        digest, left = hashlib.sha256(), held.size
        try:
            with held.path.open("rb") as file, disk(new):
                file.seek(held.offset)
                descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
                try:
                    while left and (piece := file.read(min(_PIECE, left))):
                        digest.update(piece)
                        write_all(descriptor, piece)
                        left -= len(piece)
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            if left:
                raise EngineError(
                    "backup.disk", f"{held.path} is shorter than the store says. No backup was made."
                )
            return self._settle(new, digest.hexdigest(), held.size)
        finally:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)

    def take_control(self, reader: sqlite3.Connection) -> tuple[str, int, int]:
        """Copy the control store as a reader sees it; digest, bytes, and how many bytes that wrote.

        DataError `backup.control` when SQLite finds the copy damaged: then the store itself is.
        """
        new = self.root / _OBJECTS / f"{secrets.token_hex(8)}{_NEW}"
        try:
            with disk(new):
                os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            copy_control(reader, new)
            size, digest = new.stat().st_size, hashlib.sha256()
            with disk(new), new.open("rb+") as file:
                while piece := file.read(_PIECE):
                    digest.update(piece)
                os.fsync(file.fileno())
            found, written = self._settle(new, digest.hexdigest(), size)
            return found, size, written
        finally:
            for left in self.root.glob(f"{_OBJECTS}/{new.name}*"):
                left.unlink(missing_ok=True)

    def _settle(self, new: Path, digest: str, size: int) -> tuple[str, int]:
        there = self._object(digest)
        with disk(there):
            if self.has(Part("", size, digest, "")):
                return digest, 0
            there.parent.mkdir(mode=0o700, exist_ok=True)
            if there.parent.is_symlink():
                raise self._link(there.parent)
            self._fresh.append(there)
            new.rename(there)
            sync_directory(there.parent)
        return digest, size

    def finish(self, point: Point, ring: KeyRing) -> None:
        """Make a backup count."""
        listed = sealed(point, ring)
        with disk(self.root):
            sync_directory(self.root / _OBJECTS)
            _place(self._points / f"{point.id}.json", listed)
        self._fresh.clear()

    def prune(self, keep: int) -> int:
        """Remove all but the newest backups, and the objects that no backup names any more; how many objects went.

        While a list cannot be read nothing is removed: nobody knows what it names.
        """
        listed = self.ids()
        named = self._named(listed[-keep:])
        with disk(self.root):
            for name in listed[:-keep]:
                (self._points / f"{name}.json").unlink()
            sync_directory(self._points)
            return self._remove_others(named)

    def _object(self, digest: str) -> Path:
        return self.root / _OBJECTS / digest[:2] / digest


@contextlib.contextmanager
def _opened(folder: Path | str, within: int | None = None) -> Iterator[int]:
    """A descriptor of a directory that is no link. NotADirectoryError for anything else."""
    try:
        descriptor = os.open(
            folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=within
        )
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotADirectoryError(error.errno, error.strerror, str(folder)) from error
        raise
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _place(path: Path, content: bytes) -> None:
    """A whole new file durably or not at all, written under a name that nobody can foresee."""
    new = path.with_name(f"{path.name}.{secrets.token_hex(8)}{_NEW}")
    try:
        descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            write_all(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        new.rename(path)
        sync_directory(path.parent)
    finally:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
