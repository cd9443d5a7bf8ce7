"""Single files of backups: read with care, written with what a failing disk means said in words of backups.

It knows no place and no list (`app.backup_place`, `app.backup_list` do).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

from meterseal.errors import DataError, EngineError
from meterseal.mdms.store import files

RESERVE = 64 << 20
"""Bytes of the platform's own disk that no copy of it takes."""


@contextlib.contextmanager
def regular(path: Path) -> Iterator[BufferedReader]:
    """A file that somebody else may have put there: nothing but a file is read, and nothing waits for a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise damaged(path)
    with os.fdopen(descriptor, "rb") as file:
        yield file


def digest_of(path: Path) -> str:
    """SHA-256 of a file; empty for what cannot be read."""
    try:
        with regular(path) as file:
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
        return full(path)
    return EngineError("backup.disk", f"{path} cannot be written: {error}. No backup was made.")


@contextlib.contextmanager
def disk(path: Path) -> Iterator[None]:
    """`mdms.full` and `mdms.disk` speak of readings; a backup that fails hinders none."""
    try:
        with files.disk(path):
            yield
    except EngineError as error:
        if isinstance(error.__cause__, FileNotFoundError) or not error.code.startswith("mdms."):
            raise error.__cause__ or error from None
        if error.code == "mdms.full":
            raise full(path) from error
        why = error.__cause__.strerror if isinstance(error.__cause__, OSError) else error.message
        raise EngineError(
            "backup.disk", f"{path} cannot be used: {why}. Nothing counts of what was written."
        ) from error


def require_room(path: Path, needed: int, reserve: int) -> None:
    """EngineError `backup.full` unless so many bytes can be written below a directory, and `reserve` stay free."""
    free = shutil.disk_usage(path).free
    if needed + reserve > free:
        kept = f", and {reserve >> 20} MiB stay free for the running system" if reserve else ""
        raise EngineError(
            "backup.full",
            f"The disk that holds {path} has {free / 1e6:.1f} MB left and {needed / 1e6:.1f} MB would be written{kept}. "
            "Free some space or use another disk; nothing was written.",
        )


def full(path: Path) -> EngineError:
    return EngineError(
        "backup.full",
        f"The disk that holds {path} is full. Free some space and begin again; what stood there before still counts.",
    )


def damaged(path: Path, name: str = "") -> DataError:
    return DataError(
        "backup.damaged",
        f"{path}{f', which is {name},' if name else ''} is missing or is not what the backup wrote. Take another backup; "
        "nothing was brought back.",
    )
