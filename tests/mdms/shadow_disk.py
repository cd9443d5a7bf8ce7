"""A shadow of what is on the platter: what was written and not synced is gone when the power is cut."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


class PowerCut(BaseException):
    """Nothing happens after this."""


class ShadowDisk:
    """Follows every call of the process to the disk under one directory.

    A file's bytes are durable by its fsync, its name (made, changed or taken away) by that of its directory. `cut`
    turns the directory into what would be found after a loss of power at the given step: of an unsynced file only the
    part that was synced, and `kept` of the bytes after it, for a disk may have written some.
    """

    def __init__(self, root: Path, step: int, kept: int) -> None:
        self._root = str(root)
        self._step = step
        self._kept = kept
        self._done = 0
        self.gone = False
        self._contents: dict[int, list[bytes]] = {}
        """Durable content, the last one, of every file that has a name, by inode."""
        self._durable: dict[str, list[bytes]] = {}
        """Durable names, and the content of the file that each one means."""
        for path in self._files():
            self._durable[str(path)] = self._contents[path.stat().st_ino] = [path.read_bytes()]

    def _files(self) -> list[Path]:
        return [path for path in Path(self._root).rglob("*") if path.is_file()]

    @contextmanager
    def watching(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("write", "fsync", "fdatasync", "rename", "unlink", "ftruncate"):
                patch.setattr(os, name, self._wrapped(name, getattr(os, name)))
            yield

    def _wrapped(self, name: str, call: Any) -> Any:
        def step(*arguments: Any, **named: Any) -> Any:
            self._done += 1
            if self.gone or self._done == self._step:
                self.gone = True
                raise PowerCut
            goes = arguments[0] if name == "unlink" else arguments[1] if name == "rename" else None
            if goes is not None and Path(goes).exists():
                self._contents.pop(
                    Path(goes).stat().st_ino, None
                )  # the number may be another file's from now on
            result = call(*arguments, **named)
            if name in ("fsync", "fdatasync"):
                self._sync(arguments[0])
            return result

        return step

    def _sync(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if not path.is_relative_to(self._root):
            return
        if not path.is_dir():
            self._contents.setdefault(os.fstat(descriptor).st_ino, [b""])[:] = [path.read_bytes()]
            return
        for name in [name for name in self._durable if Path(name).parent == path]:
            del self._durable[name]
        for entry in os.scandir(path):
            if entry.is_file():
                self._durable[entry.path] = self._contents.setdefault(entry.stat().st_ino, [b""])

    def cut(self) -> None:
        """Leave on the disk what a loss of power would leave."""
        last = {str(path): path.read_bytes() for path in self._files()}
        for name in last:
            Path(name).unlink()
        for name, (durable,) in self._durable.items():
            written = last.get(name, durable)
            more = written[len(durable) : len(durable) + self._kept] if written.startswith(durable) else b""
            Path(name).write_bytes(durable + more)
