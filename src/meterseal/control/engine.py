"""Opens the control store: pragmas, transactions, and the upgrade of an older file.

It knows no table by name; what is stored where stands in `tables`.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DatabaseError, OperationalError

from meterseal.errors import DataError, EngineError, LocalError, MetersealError

HEAD = "0030"
"""Newest migration this program knows; the drift test holds it equal to the migration scripts."""

BUSY_SECONDS = 20
_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    f"busy_timeout={BUSY_SECONDS * 1000}",
    "secure_delete=ON",  # what is deleted is overwritten, not only freed
)
_PLAIN_BEGIN = "meterseal_plain_begin"
_PIECE = 1 << 20
_GLANCE = 100


def open_control(path: Path) -> sa.Engine:
    """Open the control store at `path` (a SQLite file), making or upgrading it as needed.

    `engine.begin()` takes the write lock at once (BEGIN IMMEDIATE), so read-then-write is one snapshot; use
    `read(engine)` for queries, which never wait for a writer. Every commit is fsynced (synchronous=FULL).

    Raises LocalError `control.newer` when a newer program wrote the file, `control.unreadable` when it is not
    a control store; EngineError `control.full`, `control.failed` when the disk does not take it. From then on each
    transaction raises EngineError `control.replaced` when another file stands at `path`, or none.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):  # nothing is opened and closed beside SQLite, see _descriptor
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except OSError as error:
        raise _meaning(path, "full" if error.errno == errno.ENOSPC else str(error.strerror)) from error
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    try:
        with _translated(path):
            _bring_to_head(engine, path)
            _keep_to(engine, path)
    except MetersealError:
        engine.dispose()
        raise
    return engine


@contextmanager
def read(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One consistent snapshot for queries. Raises EngineError `control.*` when the file fails."""
    with _translated(engine.url.database), engine.connect() as connection:
        yield connection.execution_options(**{_PLAIN_BEGIN: True})


@contextmanager
def write(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One transaction, durable when the block ends and undone when it raises.

    Raises EngineError `control.full` (disk full), `control.busy` (another writer for 20 s), `control.failed`.
    """
    with _translated(engine.url.database), engine.begin() as connection:
        yield connection


def scrub(engine: sa.Engine, gone: Sequence[bytes] | None) -> None:
    """After deleting: let no file of the store hold these bytes any more.

    The write-ahead log is checkpointed and cut to nothing. SQLite overwrites what is deleted, but a page that was
    split earlier may keep a copy in space it does not use: the file is searched, and rewritten when one is found,
    or when nobody knows any more what to search for (None).
    Raises EngineError `control.busy` while a reader keeps the log; then call it again.
    """
    path = Path(str(engine.url.database))
    _truncate_log(engine, path)
    if gone is None or _found(path, gone):
        with _translated(path), engine.connect() as connection:
            raw_of(connection).execute("VACUUM")
        _truncate_log(engine, path)


def _found(path: Path, gone: Sequence[bytes]) -> bool:
    wanted = [one for one in gone if one]
    if not wanted:
        return False
    overlap = max(map(len, wanted))
    file, place, before = _descriptor(path), 0, b""
    while piece := os.pread(file, _PIECE, place):
        before += piece
        if any(one in before for one in wanted):
            return True
        place, before = place + len(piece), before[-overlap:]
    return False


def _descriptor(path: Path) -> int:
    """One that reads the file beside SQLite, and is never closed.

    Closing any descriptor of a file lets go of all locks that this process has on it (POSIX). SQLite tells other programs
    by such a lock that the file is in use: without it the next one that closes the file takes the write-ahead log away, as
    the last one who needs it, and with the log whatever is written from then on.
    """
    found = path.stat()
    key = (found.st_dev, found.st_ino)
    with _opening:
        if key not in _kept_open:
            _kept_open[key] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return _kept_open[key]


_kept_open: dict[tuple[int, int], int] = {}
_opening = threading.Lock()
_upgrading = threading.Lock()


def _truncate_log(engine: sa.Engine, path: Path) -> None:
    """Looked for again and again: who waits inside SQLite for readers to end keeps every writer out all the while."""
    until = time.monotonic() + BUSY_SECONDS
    with _translated(path), engine.connect() as connection:
        raw = raw_of(connection)
        raw.execute(f"PRAGMA busy_timeout={_GLANCE}")
        try:
            while busy := raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                if time.monotonic() > until:
                    break
                time.sleep(2 * _GLANCE / 1000)
        finally:
            raw.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
    if busy:
        raise EngineError(
            "control.busy", f"A reader keeps the log of {path}, so what was deleted stays in it. Try again."
        )


def raw_of(connection: sa.Connection) -> sqlite3.Connection:
    """SQLite's own connection under one of ours."""
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw


def _prepare(raw: Any, _record: object) -> None:
    raw.isolation_level = None  # we say BEGIN ourselves, see _begin
    cursor = raw.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN" if is_reading(connection) else "BEGIN IMMEDIATE")


def _keep_to(engine: sa.Engine, path: Path) -> None:
    """Refuse to work once somebody put another file in its place: connections that are open would write on into one that
    nobody finds again, and a new one would read the write-ahead log of the old file into the other.
    """
    opened = _identity(path)

    def same(*_: object) -> None:
        if _identity(path) != opened:
            raise EngineError(
                "control.replaced",
                f"{path} is not the file that this program opened: it was replaced or removed while the system ran. "
                "Nothing more is read or written, for the two would be mixed. Stop the system, put the file back that was "
                "there or restore a backup (store restore), and start it again.",
            )

    event.listen(engine, "begin", same, insert=True)
    event.listen(engine, "do_connect", same)  # closing it would already write the log into the other file


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def before_writing(
    engine: sa.Engine, prepare: Callable[[sa.Connection], None], finish: Callable[[sa.Connection], None]
) -> None:
    """Have `prepare` called before each transaction that writes, outside of it, and `finish` before its commit, inside."""
    event.remove(engine, "begin", _begin)
    for work in (prepare, _begin):
        event.listen(engine, "begin", work)
    event.listen(engine, "commit", finish)


def is_reading(connection: sa.Connection) -> bool:
    """Is this one of `read`, which takes no lock and writes nothing?"""
    return bool(connection.get_execution_options().get(_PLAIN_BEGIN))


def _bring_to_head(engine: sa.Engine, path: Path) -> None:
    with engine.connect() as connection:
        present = set(sa.inspect(connection).get_table_names())
        found = (
            connection.exec_driver_sql("select version_num from alembic_version").scalar()
            if "alembic_version" in present
            else None
        )
    if found == HEAD:
        return
    if present - {"alembic_version"} and found is None:
        raise LocalError(
            "control.unreadable", f"{path} is a database of another program. Name another data directory."
        )
    if found is not None and str(found) not in {f"{number:04d}" for number in range(1, int(HEAD) + 1)}:
        raise LocalError(
            "control.newer",
            f"{path} was written by a newer version of meterseal (data version {found}, this program knows "
            f"{HEAD}). Install that version or a later one; nothing was changed.",
            found=found,
            known=HEAD,
        )
    try:
        upgrade(engine)
    except OperationalError as error:
        if not any(word in str(error.orig) for word in ("already exists", "duplicate column")):
            raise
        raise LocalError(
            "control.unreadable",
            f"{path} says that it is of data version {found} and has what a later version made ({error.orig}): somebody "
            "changed it. Restore it from a backup; nothing was changed.",
        ) from error


def upgrade(engine: sa.Engine) -> None:
    """Run the migrations up to HEAD in one transaction, so that a crash leaves the old state."""
    from alembic import command  # 0.3 s to import: only when there is something to do

    with _upgrading, engine.begin() as connection:  # alembic has one context for all threads
        command.upgrade(alembic_config(connection), "head")


def alembic_config(connection: sa.Connection | None = None) -> Any:
    """Alembic's configuration without an ini file; migrations run inside `connection`."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    return config


@contextmanager
def _translated(path: object) -> Iterator[None]:
    """Say in our words what a failing database means; a broken constraint is our defect and passes."""
    try:
        yield
    except (DatabaseError, sqlite3.DatabaseError) as error:
        if isinstance(error, OperationalError | sqlite3.OperationalError) or type(error) in _DAMAGE:
            raise _meaning(path, str(getattr(error, "orig", error))) from error
        raise


_DAMAGE = (DatabaseError, sqlite3.DatabaseError)


def _crowded(path: object) -> bool:
    """Is there hardly room left? SQLite calls it an I/O error when its shared index, of 32 KiB, cannot grow."""
    try:
        found = os.statvfs(Path(str(path)).parent)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < 1 << 16


def _meaning(path: object, text: str) -> MetersealError:
    text = text.lower()
    if "full" in text or ("disk i/o error" in text and _crowded(path)):
        return EngineError("control.full", f"The disk that holds {path} is full. Free some; nothing is lost.")
    if "locked" in text or "busy" in text:
        return EngineError("control.busy", f"Another program has locked {path}. End it or try again later.")
    if "not a database" in text or "malformed" in text:
        return LocalError(
            "control.unreadable",
            f"{path} is not a database or is damaged. Restore it from a backup; nothing was changed.",
        )
    if "no such table" in text or "no such column" in text or "has no column" in text:
        return DataError(
            "control.schema",
            f"The control store {path} lacks a part that this program made ({text}): somebody took it away or changed it. "
            "Restore the control store from a backup while the system is down (store restore); nothing was changed.",
        )
    return EngineError("control.failed", f"{path} cannot be used: {text}. See that it is there and writable.")
