"""A real disk of a few megabytes, filled to the last byte and freed again."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    """A file system in memory of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self, left: int = 0) -> None:
        """Leave so many bytes of room, in pages of 4 KiB."""
        with self._ballast.open("ab", buffering=0) as file:
            for block in (1 << 16, 1 << 12):
                with contextlib.suppress(OSError):  # no space left
                    while True:
                        file.write(bytes(block))
        size = self._ballast.stat().st_size
        os.truncate(self._ballast, max(0, size - left))

    def free(self) -> None:
        """All room is there again."""
        self._ballast.unlink()


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[SmallDisk]:
    """Skips the test where this user may mount nothing; the model of a full disk in `test_power_cut` runs everywhere."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kib}k,mode=700", "small-disk", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        said = done.stderr.strip() if done.returncode else ""
    except OSError as error:
        said = str(error)
    if said:
        pytest.skip(f"A disk of a few megabytes can be mounted by root only: {said}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
