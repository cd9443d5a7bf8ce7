"""Where the operator's Unix sockets of a system lie: in its data directory, or in a private one when that path is long.

Platform and command line agree here on the place. It answers nothing, and loads nothing of a system that would.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from meterseal.app.config import Layout, unusable
from meterseal.errors import LocalError
from meterseal.mesh.rpc import Connection

LONGEST = 107
"""Bytes of a Unix socket's path."""
NAME = "operator.sock"
KEYS = "keys.sock"
"""The security service's own: officers' orders, rotation, backup."""


def socket_path(layout: Layout, name: str = NAME) -> Path:
    """The socket's path, of at most 107 bytes.

    For a data directory with a long path it lies in a directory of mode 0700 that is our own and is named after a
    digest of the path, below XDG_RUNTIME_DIR or the temporary directory: the first that holds the socket, else the
    first that fits. LocalError `app.socket-directory` when somebody else made that directory, or none fits.
    """
    path = layout.root / name
    if len(os.fsencode(path)) <= LONGEST:
        return path
    places = [folder for folder in _folders(layout) if len(os.fsencode(folder / name)) <= LONGEST]
    if not places:
        raise LocalError(
            "app.socket-directory",
            f"The path of {layout.root} is too long for a socket, and so is the temporary directory's. Set TMPDIR to "
            "a shorter one.",
        )
    chosen = next((folder for folder in places if (folder / name).exists()), places[0])
    return _private(chosen) / name


def operator_connection(layout: Layout, timeout: float = 60.0) -> Connection:
    """The operator's way into a running system: its Unix socket, mode 0600."""
    return Connection.unix(socket_path(layout), timeout=timeout)


def _folders(layout: Layout) -> list[Path]:
    digest = hashlib.sha256(os.fsencode(layout.root.resolve())).hexdigest()[:20]
    bases = (os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp")  # noqa: S108 - checked in _private
    return [
        Path(base) / f"meterseal-{os.getuid()}-{digest}" for base in bases if base and Path(base).is_dir()
    ]


def _private(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise unusable(folder, error) from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise LocalError(
            "app.socket-directory",
            f"{folder} is not a directory of our own with mode 0700, so the operator's socket is not put there. "
            "Remove it and start again.",
        )
    return folder
