"""One system for each data directory: an advisory lock on DIR/lock, held until the last process is gone.

It says who holds the directory and changes nothing else in it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time

from meterseal.app.config import Layout, unusable
from meterseal.errors import LocalError


async def take_lock(layout: Layout, patience: float = 8.0) -> int:
    """Lock the data directory for this system; returns the open file, which every process of the system inherits.

    LocalError `app.in-use` at once while the system that holds it runs. Where only its supervisor is dead, its
    processes are ending and are waited for.
    """
    try:
        layout.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unusable(layout.root, error) from None
    until = time.monotonic() + patience
    while not _locked(descriptor):
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        if _alive(holder) or time.monotonic() >= until:
            os.close(descriptor)
            raise LocalError(
                "app.in-use",
                f"{layout.root} is in use by a running meterseal (process {holder or 'unknown'}). Stop that one first, "
                "or give another directory with --data; nothing was changed.",
            )
        await asyncio.sleep(0.1)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        os.close(descriptor)
        raise unusable(layout.lock, error) from None
    return descriptor


def in_use(layout: Layout) -> bool:
    """Whether a system runs on this data directory."""
    try:
        descriptor = os.open(layout.lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _locked(descriptor)
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _alive(holder: str) -> bool:
    if not holder.isdigit() or len(holder) > 9:
        return False
    try:
        os.kill(int(holder), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
