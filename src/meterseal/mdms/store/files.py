"""Station MDMS, the disk itself: writes that are on the platter before they are answered.

It knows nothing of what the bytes mean. Every fault of the disk becomes an EngineError here.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from meterseal.errors import EngineError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Say in our words what a failing disk means: `mdms.full` or `mdms.disk`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
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


def place_file(path: Path, content: bytes) -> None:
    """Write a new file durably or not at all: write beside it, fsync, rename, fsync the directory."""
    beside = path.with_name(path.name + ".new")
    with disk(path):
        descriptor = os.open(beside, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        try:
            write_all(descriptor, content)
            os.fsync(descriptor)
        except OSError:
            beside.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        beside.rename(path)
        sync_directory(path.parent)
