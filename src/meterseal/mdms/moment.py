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
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

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

    Two files of the same `fact` hold the same bytes; "" where only reading them tells. What is `loose` may be gone when it
    is read: a newer one has taken its place. Nothing else may.
    """

    name: str
    path: Path
    size: int
    fact: str = ""
    offset: int = 0
    loose: bool = False


class Moment(NamedTuple):
    """One instant of one store. Call `release` when it is copied."""

    store_id: str
    sequence: int
    """Newest journal entry; what was acknowledged before the moment is in entries up to here."""
    leaves: int
    """Leaves of the ledger that are kept in its files; later ones follow from the journal."""
    control: sqlite3.Connection
    """A reader of the control store that goes on seeing this moment."""
    files: tuple[Held, ...]
    missing: tuple[str, ...]
    """Files that the store lists and the disk does not have any more."""

    def release(self) -> None:
        """Let go of everything."""
        self.control.close()
        for held in self.files:
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
    with disk(path), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        begin = os.pread(file.fileno(), _ENDS, 0)
        end = os.pread(file.fileno(), _ENDS, max(0, size - _ENDS))
    return f"{path.name}:{size}:{sm3(begin, end).hex()}"


class Begun(NamedTuple):
    """A moment whose changing files are held already."""

    sequence: int
    control: sqlite3.Connection
    journal: tuple[Held, ...]


class Resting:
    """Where the files of one store lie."""

    def __init__(self, directory: Path, store: Store, ledger: Ledger) -> None:
        self._directory = directory
        self._store = store
        self._ledger = ledger
        self.pinned = (directory / "journal", directory / "segments", directory / "ledger")

    def begin(self, engine: sa.Engine, sequence: int) -> Begun:
        """Hold what moves; nobody writes the journal meanwhile, and its last file is ended."""
        forget_pins(self.pinned)
        control = seen(Path(str(engine.url.database)))
        try:
            files = sorted((self._directory / "journal").glob(f"*{JOURNAL}"))
            return Begun(sequence, control, tuple(held(self._directory.parent, path) for path in files))
        except BaseException:
            control.close()
            raise

    def hold(self, begun: Begun, known: Container[str]) -> Moment:
        """Hold the rest; nobody compacts meanwhile."""
        root = self._directory.parent
        found, missing = list(begun.journal), []
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
            found += others(root, self._directory / "forecasts")
            if (firmware := root / "firmware").is_dir():
                found += others(root, firmware)
        except BaseException:
            Moment("", 0, 0, begun.control, tuple(found), ()).release()
            raise
        return Moment(
            self._ledger.store_id, begun.sequence, kept, begun.control, tuple(found), tuple(missing)
        )


def _pieces(root: Path, path: Path, size: int) -> Iterator[Held]:
    """A file that only grows, in pieces of which all but the last stay as they are."""
    for offset in range(0, max(size, 1), _PIECE):
        yield Held(path.relative_to(root).as_posix(), path, min(_PIECE, size - offset), "", offset)


def others(root: Path, directory: Path) -> Iterator[Held]:
    """Files below a directory that are replaced and never changed in place; one that goes meanwhile is left out."""
    for path in sorted(directory.rglob("*")):
        if PINNED in path.parts or path.suffix == ".new" or path.name == "lock" or path.is_symlink():
            continue
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                yield Held(path.relative_to(root).as_posix(), path, path.stat().st_size, loose=True)
