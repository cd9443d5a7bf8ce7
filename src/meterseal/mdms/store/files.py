"""Station MDMS, the disk itself: writes that are on the platter before they are answered.

It knows nothing of what the bytes mean. Every fault of the disk becomes an EngineError here.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from meterseal.errors import EngineError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What a disk says that has no room."""


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Say in our words what a failing disk means: `mdms.full` or `mdms.disk`."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise EngineError(
                "mdms.full",
                f"The disk that holds {path} is full, so readings are not accepted. Free some space; the "
                "meters keep and repeat what was not acknowledged.",
            ) from error
        raise EngineError(
            "mdms.disk",
            f"{path} cannot be written: {error.strerror}. See to the disk; nothing acknowledged is lost.",
        ) from error


def write_all(descriptor: int, content: bytes) -> None:
    """Write every byte; a short write is carried on until the system says why it stopped."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def state_of(path: Path) -> tuple[int, ...]:
    """What changes when another file is put there; empty for none."""
    with disk(path):
        try:
            found = path.stat()
        except FileNotFoundError:
            return ()
        return found.st_ino, found.st_size, found.st_mtime_ns


class NewFile:
    """A file that is durably there under its name or not at all: written beside it, synced, renamed, synced.

    Everything raises EngineError `mdms.full` or `mdms.disk`; after any error call `drop`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.placed = False
        self._beside = path.with_name(path.name + ".new")
        with disk(path):
            flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY
            self._descriptor: int | None = os.open(self._beside, flags, 0o600)

    def write(self, content: bytes) -> None:
        """Add bytes."""
        assert self._descriptor is not None
        with disk(self.path):
            write_all(self._descriptor, content)
        self.size += len(content)

    def place(self) -> None:
        """Make it durable under its name."""
        assert self._descriptor is not None
        with disk(self.path):
            os.fsync(self._descriptor)
            self._close()
            self._beside.rename(self.path)
            self.placed = True
            sync_directory(self.path.parent)

    def drop(self) -> None:
        """Take back what was written, under its name or not yet."""
        self._close()
        with contextlib.suppress(OSError):  # what stays is swept at the next start
            (self.path if self.placed else self._beside).unlink(missing_ok=True)

    def _close(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)


def place_file(path: Path, content: bytes) -> None:
    """Write a whole new file durably or not at all."""
    file = NewFile(path)
    try:
        file.write(content)
        file.place()
    except BaseException:
        if not file.placed:  # it may stand in the place of an older one, which is gone
            file.drop()
        raise
