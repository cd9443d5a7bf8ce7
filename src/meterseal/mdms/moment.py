"""Station MDMS, a moment: everything a store consists of at one instant, held so that it can be copied while it goes on.

It copies nothing and knows no backup (`app.backup` does).

Between two journal entries the journal's file is ended and a reader of the control store is opened: what that reader sees,
the entries up to there and the segments that it lists belong together. Files that a compaction might take away meanwhile
get a second name beside them, under `pinned`; what a crash leaves there is removed at the next start.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Container, Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from meterseal.control.sealing import KeyRing
from meterseal.crypto.symmetric import DIGEST, sm3
from meterseal.errors import EngineError
from meterseal.mdms.ledger.ledger import Ledger
from meterseal.mdms.ledger.tree import nodes_of
from meterseal.mdms.store.files import disk
from meterseal.mdms.store.journal import SUFFIX as JOURNAL
from meterseal.mdms.store.store import Store

PINNED = "pinned"
_ENDS = 4096
_PIECE = 1 << 24


class Held(NamedTuple):
    """One file of a moment: its name below the platform's directory, where to read it, and which of its bytes these are.

    Two files of the same `fact` hold the same bytes; "" where only reading them tells.
    """

    name: str
    path: Path
    size: int
    fact: str = ""
    offset: int = 0


class Moment(NamedTuple):
    """One instant of one store. Call `release` when it is copied."""

    store_id: str
    sequence: int
    """Newest journal entry; what was acknowledged before the moment is in entries up to here."""
    leaves: int
    """Leaves of the ledger that are kept in its files; later ones follow from the journal."""
    control: sqlite3.Connection
    """A reader of the control store that goes on seeing this moment. Close it once the copy is made: while it is open the
    log of the control store grows, and what was deleted since stays in it."""
    ring: KeyRing
    """The data key that sealed at this moment: one that the control store of the moment names."""
    files: tuple[Held, ...]
    missing: tuple[str, ...]
    """Files that the store lists and the disk does not have any more."""

    def release(self) -> None:
        """Let go of everything."""
        let_go(self.control, self.files)


def let_go(control: sqlite3.Connection | None, files: Iterable[Held]) -> None:
    """Close a reader, and remove the second names."""
    if control is not None:
        control.close()
    for held in files:
        if held.path.parent.name == PINNED:
            held.path.unlink(missing_ok=True)


def seen(path: Path) -> sqlite3.Connection:
    """A reader of the control store at `path` that goes on seeing what it sees now. EngineError `mdms.disk`."""
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        raise EngineError("mdms.disk", f"{path} cannot be read: {error}. Nothing was changed.") from error
    return connection


def forget_pins(directories: Iterable[Path]) -> None:
    """Remove the second names that a crash left."""
    for directory in directories:
        folder = directory / PINNED
        with disk(folder), contextlib.suppress(FileNotFoundError):
            for path in list(folder.iterdir()):
                path.unlink()


def held(root: Path, path: Path, size: int | None = None, *, fact: str = "", pin: bool = True) -> Held:
    """Hold one file; with `pin` it gets a second name. EngineError `mdms.disk` when it is not there."""
    name = path.relative_to(root).as_posix()
    with disk(path):
        if pin:
            folder = path.parent / PINNED
            folder.mkdir(mode=0o700, exist_ok=True)
            second = folder / path.name
            with contextlib.suppress(FileExistsError):
                os.link(path, second)
            path = second
        return Held(name, path, path.stat().st_size if size is None else size, fact)


def fact_of(path: Path) -> str:
    """What tells a sealed file that is written once from another of its name: its ends, which hold nonce and tag."""
    with disk(path):
        size = path.stat().st_size
    return f"{path.name}:{size}:{_ends(path, 0, size).hex()}"


def _ends(path: Path, offset: int, size: int) -> bytes:
    with disk(path), path.open("rb") as file:
        begin = os.pread(file.fileno(), min(_ENDS, size), offset)
        end = os.pread(file.fileno(), min(_ENDS, size), offset + max(0, size - _ENDS))
    return sm3(begin, end)


class Begun(NamedTuple):
    """A moment whose changing files are held already."""

    sequence: int
    control: sqlite3.Connection
    ring: KeyRing
    changing: tuple[Held, ...]


class Resting:
    """Where the files of one store lie."""

    def __init__(self, directory: Path, store: Store, ledger: Ledger, keys: KeyRing) -> None:
        self._directory = directory
        self._store = store
        self._ledger = ledger
        self._keys = keys
        self._firmware = directory.with_name("firmware")
        self.pinned = (
            *(directory / one for one in ("journal", "segments", "ledger", "forecasts")),
            self._firmware,
        )

    def begin(self, engine: sa.Engine, sequence: int) -> Begun:
        """Hold what moves; nobody writes the journal meanwhile, and its last file is ended.

        The key and the forecasts come before the reader: a new version may begin at any time, and a control store that
        does not name it opens nothing that it sealed. None ends meanwhile, since nobody moves files to a newer one.
        """
        forget_pins(self.pinned)
        ring = self._keys.sealing()
        root = self._directory.parent
        found = list(others(root, self._directory / "forecasts"))
        control = None
        try:
            control = seen(Path(str(engine.url.database)))
            for path in sorted((self._directory / "journal").glob(f"*{JOURNAL}")):
                found.append(held(root, path))
            return Begun(sequence, control, ring, tuple(found))
        except BaseException:
            let_go(control, found)
            raise

    def hold(self, begun: Begun, known: Container[str]) -> Moment:
        """Hold the rest; nobody compacts meanwhile."""
        root = self._directory.parent
        found, missing = list(begun.changing), []
        try:
            with self._store.lock:
                segments = list(self._store.catalogue.segments.values())
            leaves, tree, kept = self._ledger.at_rest()
            listed = [
                (self._store.directory / one.path, f"{one.id}:{one.digest.hex()}", one.size)
                for one in segments
            ]
            for path in (one.path for one in leaves):
                if path.exists():
                    listed.append((path, fact_of(path), path.stat().st_size))
                else:
                    missing.append(path.relative_to(root).as_posix())
            for path, fact, size in listed:
                if path.exists():
                    found.append(held(root, path, size, fact=fact, pin=fact not in known))
                else:
                    missing.append(path.relative_to(root).as_posix())
            found += _pieces(root, tree, nodes_of(kept) * DIGEST)
            found += self._repository(root)
        except BaseException:
            let_go(begun.control, found)
            raise
        return Moment(
            self._ledger.store_id,
            begun.sequence,
            kept,
            begun.control,
            begun.ring,
            tuple(found),
            tuple(missing),
        )

    def _repository(self, root: Path) -> list[Held]:
        """Firmware, against the order in which a release is written: what is held names only what is held after it."""
        found: dict[str, Held] = {}
        for folder, names in (("trusted", "*"), ("metadata", "timestamp.json"), ("", "*")):
            for one in others(root, self._firmware / folder, self._firmware, names):
                found.setdefault(one.name, one)
        return list(found.values())


def _pieces(root: Path, path: Path, size: int) -> Iterator[Held]:
    """A file that only grows, in pieces of which all but the last stay as they are.

    What follows from another history differs from where that begins, so the end of a whole piece tells one from another.
    """
    name = path.relative_to(root).as_posix()
    for offset in range(0, max(size, 1), _PIECE):
        whole = size - offset >= _PIECE
        fact = f"{path.name}:{offset}:{_ends(path, offset, _PIECE).hex()}" if whole else ""
        yield Held(name, path, min(_PIECE, size - offset), fact, offset)


def others(root: Path, directory: Path, top: Path | None = None, names: str = "*") -> Iterator[Held]:
    """Files below a directory that are replaced and never changed in place, under second names in `top` (the directory
    itself); one that goes meanwhile is left out. EngineError `mdms.disk` for a directory that cannot be read."""
    pins = (top or directory) / PINNED
    for path in _below(directory):
        if path.suffix == ".new" or path.name == "lock" or not fnmatch(path.name, names):
            continue
        name = path.relative_to(root).as_posix()
        second = pins / name.replace("/", "+")
        with disk(path), contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(path.lstat().st_mode):
                continue
            pins.mkdir(mode=0o700, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.link(path, second)
            yield Held(name, second, second.stat().st_size)


def _below(directory: Path) -> list[Path]:
    def fails(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    found = []
    with disk(directory):
        for folder, folders, names in os.walk(directory, onerror=fails):
            folders[:] = [one for one in folders if one != PINNED]
            found += [Path(folder, name) for name in names]
    return sorted(found)
