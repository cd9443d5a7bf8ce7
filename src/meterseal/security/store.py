"""A file of the security service: one SQLite database that says "done" only once the disk has it.

It knows no keys: what a vault writes here is already sealed.

Writes that many calls wait for at once share one commit (`later`, then `await durable()`): a handshake then
costs a part of an fsync and not a whole one. The file is locked for one process; a second one is told so.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

from meterseal.errors import EngineError, LocalError, MetersealError

_MOST_PENDING = 4096

Write = Callable[[sqlite3.Connection], None]
T = TypeVar("T")


class Watcher(Protocol):
    """What proves the rows of a file (`proof`): it is asked inside each transaction and told how it ended."""

    def seal(self, connection: sqlite3.Connection) -> None:
        """Write what holds after this transaction."""

    def committed(self) -> None:
        """The transaction is on disk."""

    def dropped(self) -> None:
        """The transaction was rolled back."""

    def force(self) -> None:
        """Write down what the other files have come to with the next commit, whatever changes here."""


class Store:
    """An open database; made by `Store.create` and `Store.open`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path
        self._pending: list[Write] = []
        self._once: dict[Write, None] = {}
        self._watcher: Watcher | None = None
        self._waiting: list[asyncio.Future[None]] = []

    @classmethod
    def create(cls, path: Path, schema: str, version: int) -> Store:
        """A new file of mode 0600 with this schema; EngineError when the disk will not have it."""
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except OSError as error:
            raise EngineError(
                "security.disk",
                f"Cannot create {path}: {error.strerror}. Choose a directory that can be written.",
            ) from None
        store = cls._connect(path)
        with _explained(path):
            store._connection.executescript(f"BEGIN;{schema};PRAGMA user_version={version:d};COMMIT;")
        return store

    @classmethod
    def open(cls, path: Path, version: int) -> Store:
        """An existing file; LocalError `security.missing` or `security.newer`, EngineError for the rest."""
        if not path.exists():
            raise LocalError(
                "security.missing",
                f"{path} is missing; restore it from a backup, or start a new system elsewhere.",
            )
        store = cls._connect(path)
        with _explained(path):
            found = store._connection.execute("PRAGMA user_version").fetchone()[0]
        if found > version:
            store.close()
            raise LocalError(
                "security.newer",
                f"{path} was written by a newer version of meterseal (format {found}, this one knows "
                f"{version}); "
                "install that version. Nothing was changed.",
            )
        return store

    @classmethod
    def _connect(cls, path: Path) -> Store:
        with _explained(path):
            connection = sqlite3.connect(
                f"file:{_quoted(path)}?mode=rw", uri=True, isolation_level=None, timeout=1.0
            )
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute("PRAGMA secure_delete=ON")  # what is replaced is overwritten
            connection.execute(
                "PRAGMA recursive_triggers=ON"
            )  # or what REPLACE takes away would feed no proof
            connection.execute("PRAGMA trusted_schema=OFF")
            connection.execute("PRAGMA temp_store=MEMORY")
            connection.execute("BEGIN EXCLUSIVE")  # takes the lock now, not at the first write
            connection.execute("COMMIT")
        return cls(connection, path)

    def rows(self, query: str, *values: Any) -> list[Any]:
        """All rows of a question."""
        with _explained(self.path):
            return self._connection.execute(query, values).fetchall()

    def ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """The answer of something that reads on the connection itself."""
        with _explained(self.path):
            return question(self._connection)

    def watched_by(self, watcher: Watcher) -> None:
        """From now on every transaction is sealed by `watcher`."""
        self._watcher = watcher

    def tie(self) -> None:
        """Put a commit on disk that writes down how far the other files of the directory are."""
        self.once(self._tie)
        self.flush()

    def _tie(self, connection: sqlite3.Connection) -> None:
        if self._watcher is not None:
            self._watcher.force()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Writes that happen together or not at all; on disk when the block ends."""
        with _explained(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                if self._watcher is not None:
                    self._watcher.seal(self._connection)
                self._connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                if self._watcher is not None:
                    self._watcher.dropped()
                raise
            if self._watcher is not None:
                self._watcher.committed()

    def checkpoint(self) -> None:
        """Move what was committed into the file and empty the write-ahead log."""
        with _explained(self.path):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def copy_to(self, path: Path) -> None:
        """A consistent copy of the database as it is committed now; the file must not exist."""
        with _explained(path):
            copy = sqlite3.connect(path)
            try:
                self._connection.backup(copy)
            finally:
                copy.close()

    def later(self, write: Write) -> bool:
        """Put a write into the next shared commit; False, and it is not, when the disk has refused too many already."""
        if len(self._pending) >= _MOST_PENDING:
            return False
        self._pending.append(write)
        return True

    def once(self, write: Write) -> None:
        """As `later`, for a write that puts down what holds when it runs: it waits once however often it is handed in."""
        self._once[write] = None

    async def durable(self) -> None:
        """Return once every write handed to `later` or `once` so far is on disk; EngineError when it is not."""
        if not self._pending and not self._once and not self._waiting:
            return
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._flush)
        waiter = loop.create_future()  # one each: a caller that is cancelled ends its own wait alone
        self._waiting.append(waiter)
        await waiter

    def flush(self) -> None:
        """Commit what is pending now; what the disk refuses waits for the next commit."""
        pending, self._pending = self._pending, []
        once, self._once = self._once, {}
        if not pending and not once:
            return
        try:
            with self.transaction() as connection:
                for write in (*pending, *once):
                    write(connection)
        except BaseException as error:
            self._once = once | self._once
            if isinstance(error, EngineError):
                self._pending = pending + self._pending
            raise

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        failure: MetersealError | None = None
        try:
            self.flush()
        except MetersealError as error:
            failure = error
        for waiter in waiting:
            if waiter.done():
                continue
            if failure is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(failure)

    def close(self) -> None:
        """Commit what is pending and close the file."""
        try:
            self.flush()
        finally:
            self._connection.close()


def _quoted(path: Path) -> str:
    from urllib.parse import quote

    return quote(os.fspath(path))


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what SQLite says into one sentence with a cure."""
    try:
        yield
    except sqlite3.Error as error:
        raise explain(path, error) from None


def explain(path: Path, error: sqlite3.Error) -> EngineError:
    """The EngineError for a failure of SQLite at `path`."""
    code = getattr(error, "sqlite_errorcode", None) or 0
    kind = code & 0xFF
    if kind == sqlite3.SQLITE_FULL:
        return EngineError(
            "security.disk-full",
            f"The disk with {path} is full; free some space. Nothing was answered that is not stored.",
        )
    if kind in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return EngineError(
            "security.read-only",
            f"{path} cannot be opened for writing; make the file and its directory writable for this "
            "account.",
        )
    if kind in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return EngineError(
            "security.in-use",
            f"Another process has {path} open; stop it, one security service runs at a time.",
        )
    if kind in (0, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):  # 0: Python could not read a value
        return EngineError("security.damaged", f"{path} is damaged; restore it from a backup.")
    return EngineError(
        "security.disk",
        f"The disk did not take a write to {path}; see that it is sound and has space, then retry.",
    )
