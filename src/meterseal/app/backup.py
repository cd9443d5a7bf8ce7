"""The backup of a platform: a directory of objects, each file under the SHA-256 of its bytes, and a list for every backup.

It takes no moment (`mdms.moment`) and brings nothing back (`app.restoring`).

    DIR/objects/ab/abcd…       one file each, by its digest: what two backups share lies there once
    DIR/points/N-TIME.json     one backup: a seal over its list, then the list; written last, so a backup is whole or absent
    DIR/lock                   one program writes here at a time

Segments, journal, leaves and forecasts leave as they lie at rest, sealed; the control store as SQLite copies it, its data
keys wrapped. So a backup opens with the security service that the platform has (and its own backup, `keys backup`), and
holds no key of its own. The list is sealed under the store's data key: nobody without it makes another one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import sqlite3
import stat
import time
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from meterseal.app.backup_list import FORMAT, Part, Point, sealed
from meterseal.control.engine import HEAD
from meterseal.control.sealing import KeyRing
from meterseal.errors import DataError, EngineError, LocalError, MetersealError
from meterseal.mdms.moment import Held, Moment
from meterseal.mdms.store.files import disk, place_file, sync_directory, write_all

CONTROL = "control.db"
_PIECE = 1 << 20
_OBJECTS, _POINTS, _LOCK, _NEW = "objects", "points", "lock", ".new"
_DAMAGED = ".damaged"
_ID = re.compile(r"([0-9]{6,18})-[0-9]{8}T[0-9]{6}Z")
_VERSION = re.compile(r"[0-9]{4}")
_LONGEST_LIST = 1 << 28
_LAST = 253_402_300_800_000
"""The year 10000."""


class Written(Struct, frozen=True, kw_only=True):
    """What a backup wrote: bytes and files altogether, and of these new ones; what was removed of older backups."""

    id: str
    at: int
    sequence: int
    files: int
    bytes: int
    new_files: int
    new_bytes: int
    missing: tuple[str, ...]
    points: int
    removed: int
    seconds: float


class Place:
    """A directory of backups. Everything raises EngineError `backup.full`, `backup.disk`, LocalError `backup.place`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._points = root / _POINTS

    # --- reading ----------------------------------------------------------------------------------

    def ids(self) -> list[str]:
        """Backups, oldest first; a file that we did not name is none."""
        found = (_ID.fullmatch(path.stem) for path in self._points.glob("*.json"))
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
        with _disk(path), _regular(path) as file:
            raw = file.read(_LONGEST_LIST)
        try:
            point = msgspec.json.decode(raw.partition(b"\n")[2], type=Point)
        except (msgspec.DecodeError, RecursionError):
            raise _damaged(path) from None
        if point.format != FORMAT:
            raise LocalError(
                "backup.newer",
                f"{path} was written by a newer meterseal; restore it with that one. Nothing was changed.",
            )
        if point.id != wanted or not _VERSION.fullmatch(point.control) or not 0 <= point.at < _LAST:
            raise _damaged(path)
        return point, raw

    def copy(self, part: Part, target: Path) -> None:
        """One file back, synced, after every byte of it was compared with its digest. DataError `backup.damaged`."""
        source = self._object(part.digest)
        digest, size = hashlib.sha256(), 0
        try:
            with (
                _regular(source) as file,
                _disk(target),
                target.open("ab" if part.offset else "xb") as out,
            ):
                os.fchmod(out.fileno(), 0o600)
                if out.tell() != part.offset or os.fstat(file.fileno()).st_size != part.size:
                    raise _damaged(source, part.name)
                while piece := file.read(_PIECE):
                    digest.update(piece)
                    size += len(piece)
                    out.write(piece)
                out.flush()
                os.fsync(out.fileno())
        except FileNotFoundError as error:
            raise _damaged(source, part.name) from error
        if size != part.size or digest.hexdigest() != part.digest:
            raise _damaged(source, part.name)

    def has(self, part: Part) -> bool:
        """Does its object lie here with the right length?"""
        try:
            return self._object(part.digest).stat().st_size == part.size
        except FileNotFoundError:
            return False

    def set_aside(self, point: Point) -> int:
        """Give objects of a backup that are not what was written another name; how many.

        A backup knows what lies here by its name and length. So the next one writes them anew, for all lists that name
        them.
        """
        found = 0
        for digest in {part.digest for part in point.parts}:
            path = self._object(digest)
            with contextlib.suppress(FileNotFoundError), _disk(path):
                if _digest(path) != digest:
                    path.rename(path.with_name(path.name + _DAMAGED))
                    found += 1
        return found

    def following(self) -> int:
        """Number of the next backup; numbers rise however clocks are set."""
        listed = self.ids()
        return int(listed[-1].partition("-")[0]) + 1 if listed else 1

    # --- writing ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only one who writes here; what an earlier attempt left half done is removed."""
        with _disk(self.root):
            for folder in (self.root, self.root / _OBJECTS, self._points):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            odd = {path.name for path in self.root.iterdir()} - {_OBJECTS, _POINTS, _LOCK}
            if odd:
                raise LocalError(
                    "backup.place",
                    f"{self.root} holds something else ({sorted(odd)[0]}). Give a directory of its own.",
                )
            descriptor = os.open(self.root / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise LocalError(
                    "backup.busy",
                    f"Another backup is being written to {self.root}. Wait until it is done.",
                ) from None
            with _disk(self.root):
                for path in [
                    *self._points.glob(f"*{_NEW}"),
                    *self.root.glob(f"{_OBJECTS}/*{_NEW}*"),
                ]:
                    path.unlink()
            yield
        finally:
            os.close(descriptor)

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

    def take(self, held: Held) -> tuple[str, int]:
        """Copy what counts of a file into an object; its digest, and how many bytes that wrote."""
        new = self.root / _OBJECTS / f"{secrets.token_hex(8)}{_NEW}"
        digest, left = hashlib.sha256(), held.size
        try:
            with held.path.open("rb") as file, _disk(new):
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
            with _disk(new):
                os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            copy_control(reader, new)
            size, digest = new.stat().st_size, hashlib.sha256()
            with _disk(new), new.open("rb+") as file:
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
        with _disk(there):
            if there.exists() and there.stat().st_size == size:
                return digest, 0
            there.parent.mkdir(mode=0o700, exist_ok=True)
            new.rename(there)
            sync_directory(there.parent)
        return digest, size

    def finish(self, point: Point, ring: KeyRing) -> None:
        """Make a backup count."""
        listed = sealed(point, ring)
        with _disk(self.root):
            sync_directory(self.root / _OBJECTS)
            place_file(self._points / f"{point.id}.json", listed)

    def prune(self, keep: int) -> int:
        """Remove all but the newest backups, and the objects that no backup names any more; how many objects went.

        While a list cannot be read nothing is removed: nobody knows what it names.
        """
        listed = self.ids()
        kept = [self.point(name)[0] for name in listed[-keep:]]
        named = {part.digest for point in kept for part in point.parts}
        removed = 0
        with _disk(self.root):
            for name in listed[:-keep]:
                (self._points / f"{name}.json").unlink()
            sync_directory(self._points)
            for path in (self.root / _OBJECTS).glob("??/*"):
                if path.name not in named:
                    path.unlink()
                    removed += 1
        return removed

    def _object(self, digest: str) -> Path:
        return self.root / _OBJECTS / digest[:2] / digest


def write(target: Place, moment: Moment, ring: KeyRing, at: int, keep: int) -> Written:
    """Copy a moment to a place that is being written; with `keep` only so many backups stay, this one among them.

    Raises EngineError `backup.*`, DataError `backup.control`: then the backups from before are as they were.
    """
    begun = time.monotonic()
    known = target.known()
    parts, new_files, new_bytes = [], 0, 0
    digest, size, wrote = target.take_control(moment.control)
    parts.append(Part(CONTROL, size, digest, ""))
    new_files, new_bytes = int(wrote > 0), wrote
    for held in moment.files:
        same = known.get(held.fact) if held.fact else None
        if same is not None and same.size == held.size:
            parts.append(Part(held.name, held.size, same.digest, held.fact))
            continue
        try:
            digest, wrote = target.take(held)
        except FileNotFoundError as error:
            if held.loose:
                continue  # a forecast that a newer one has replaced meanwhile
            raise EngineError(
                "backup.disk",
                f"{held.name} went away while it was copied. No backup was made; begin again.",
            ) from error
        parts.append(Part(held.name, held.size, digest, held.fact, held.offset))
        new_files, new_bytes = new_files + (wrote > 0), new_bytes + wrote
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at / 1000))
    point = Point(
        format=FORMAT,
        id=f"{target.following():06d}-{stamp}",
        at=at,
        store_id=moment.store_id,
        sequence=moment.sequence,
        leaves=moment.leaves,
        control=HEAD,
        missing=moment.missing,
        parts=tuple(parts),
    )
    target.finish(point, ring)
    removed = target.prune(keep) if keep else 0
    return Written(
        id=point.id,
        at=at,
        sequence=point.sequence,
        files=len(parts),
        bytes=sum(part.size for part in parts),
        new_files=new_files,
        new_bytes=new_bytes,
        missing=point.missing,
        points=len(target.ids()),
        removed=removed,
        seconds=round(time.monotonic() - begun, 3),
    )


@contextlib.contextmanager
def _regular(path: Path) -> Iterator[BufferedReader]:
    """A file that somebody else may have put there: nothing but a file is read, and nothing waits for a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _damaged(path)
    with os.fdopen(descriptor, "rb") as file:
        yield file


def _digest(path: Path) -> str:
    """SHA-256 of a file; empty for what cannot be read."""
    try:
        with _regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise
    except (OSError, DataError):
        return ""


def copy_control(reader: sqlite3.Connection, target: Path) -> None:
    """Copy a control store as `reader` sees it into the empty file `target`, and have SQLite check it."""
    try:
        copy = sqlite3.connect(target, isolation_level=None)
        try:
            reader.backup(copy)
        finally:
            copy.close()
    except sqlite3.Error as error:
        raise _sqlite(target, error) from error
    check_control(target)


def check_control(path: Path) -> None:
    """DataError `backup.control` when SQLite finds a copy of a control store damaged."""
    try:
        copy = sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)
        try:
            said: list[tuple[Any, ...]] = copy.execute("PRAGMA integrity_check(1)").fetchall()
        finally:
            copy.close()
    except sqlite3.DatabaseError as error:
        said = [(str(error),)]
    if said != [("ok",)]:
        raise DataError(
            "backup.control",
            f"The control store does not hold together ({said[0][0]}). Run: meterseal store check. No backup of it counts.",
        )


def _sqlite(path: Path, error: sqlite3.Error) -> EngineError:
    if "full" in str(error):
        return _full(path)
    return EngineError("backup.disk", f"{path} cannot be written: {error}. No backup was made.")


@contextlib.contextmanager
def _disk(path: Path) -> Iterator[None]:
    """`mdms.full` and `mdms.disk` speak of readings; a backup that fails hinders none."""
    try:
        with disk(path):
            yield
    except EngineError as error:
        if isinstance(error.__cause__, FileNotFoundError) or not error.code.startswith("mdms."):
            raise error.__cause__ or error from None
        if error.code == "mdms.full":
            raise _full(path) from error
        why = error.__cause__.strerror if isinstance(error.__cause__, OSError) else error.message
        raise EngineError(
            "backup.disk", f"{path} cannot be used: {why}. Nothing counts of what was written."
        ) from error


def _full(path: Path) -> EngineError:
    return EngineError(
        "backup.full",
        f"The disk that holds {path} is full. Free some space and begin again; what stood there before still counts.",
    )


def _damaged(path: Path, name: str = "") -> DataError:
    return DataError(
        "backup.damaged",
        f"{path}{f', which is {name},' if name else ''} is missing or is not what the backup wrote. Take another backup; "
        "nothing was brought back.",
    )
