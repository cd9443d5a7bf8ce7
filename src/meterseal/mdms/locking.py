"""Station MDMS, the lock on a directory of measurements: one process at a time has it open.

It opens no store.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from meterseal.errors import LocalError
from meterseal.mdms.store.files import disk


def locked(directory: Path) -> int:
    """A descriptor that holds the lock until it is closed. LocalError `mdms.locked`, EngineError `mdms.disk`."""
    with disk(directory):
        descriptor = os.open(directory / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise LocalError(
            "mdms.locked",
            f"Another process has the measurements in {directory} open. End it or use another directory.",
        ) from None
    return descriptor
