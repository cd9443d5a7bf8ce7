"""Station edge, the module's non-volatile memory: sealed pages, written all together or not at all.

It does not know what stands in a page (`image` and `cardmemory` do) and decides nothing; `module` does. Each page
is SM4-GCM under the device storage key, associated data = "ms1 nv" || module serial of the store || page name, so
that no page passes for another. In an emulator that key must lie beside the pages: whoever copies both has copied
the module, and an older copy put back is not noticed. A chip keeps both inside.

A chip sits in one device. Here a program that powers a module on holds the file that it lies in, alone, until it
closes the file or is no more: sessions and counters live in its working memory, which another program does not see.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Mapping, Sequence
from typing import BinaryIO, Protocol

from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import EngineError, LocalError

_UPSERT = "INSERT OR REPLACE INTO pages VALUES (?,?,?)"


class NvStore(Protocol):
    """Pages by name of one module."""

    def hold(self) -> None:
        """Keep every other program from powering this module on. LocalError `module.in-use` when one has."""

    def read(self, name: str) -> bytes | None:
        """The page, None when there is none."""

    def names(self) -> list[str]:
        """Names of all pages, sorted."""

    def write(self, pages: Mapping[str, bytes | None]) -> None:
        """Write (or, for None, erase) all these pages or none. EngineError `module.memory` when it did
        not.
        """

    def exchange(self, name: str, before: bytes | None, after: bytes) -> bool:
        """Write a page unless it is no longer what it was `before`; True when it was written.

        EngineError `module.memory` when the memory took no write.
        """

    def settle(self) -> None:
        """Return when all that was written survives a power cut of the machine too. EngineError
        `module.memory`.
        """

    def scrub(self) -> None:
        """Let the medium forget what stood in pages before they were written last. EngineError
        `module.memory`.
        """


class MemoryNv:
    """Pages in memory: the twin for tests."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}

    def hold(self) -> None:
        """No other program reaches this memory."""

    def read(self, name: str) -> bytes | None:
        return self.pages.get(name)

    def names(self) -> list[str]:
        return sorted(self.pages)

    def write(self, pages: Mapping[str, bytes | None]) -> None:
        for name, page in pages.items():
            if page is None:
                self.pages.pop(name, None)
            else:
                self.pages[name] = page

    def exchange(self, name: str, before: bytes | None, after: bytes) -> bool:
        if self.read(name) != before:
            return False
        self.write({name: after})
        return True

    def settle(self) -> None:
        return None

    def scrub(self) -> None:
        return None


class NvFile(sqlite3.Connection):
    """An open file of pages; `hold` takes the advisory lock beside it, which ends with `close` or the process."""

    _lock: BinaryIO | None = None

    def hold(self) -> None:
        """LocalError `module.in-use` while another program holds the file; EngineError `module.memory`."""
        path = self.execute("PRAGMA database_list").fetchone()[2]
        if self._lock is not None or not path:
            return
        try:
            lock = os.fdopen(os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b")
        except OSError as error:
            raise EngineError(
                "module.memory", f"The lock {path}.lock does not open ({error}); look at the disk."
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise LocalError(
                "module.in-use",
                f"The modules in {path} are powered on by another running program. Stop that one first; nothing was "
                "changed.",
            ) from None
        self._lock = lock

    def close(self) -> None:
        """Close the file and let others have it."""
        super().close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def open_nv_database(path: str) -> NvFile:
    """A file with the pages of many modules. A killed process loses no write that was answered; a power cut of
    the whole machine loses none that was settled (`SqliteNv.settle`).
    """
    try:
        connection = sqlite3.connect(path, isolation_level=None, factory=NvFile)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA wal_autocheckpoint=4000")
        connection.execute("PRAGMA busy_timeout=5000")
        connection.execute("PRAGMA secure_delete=ON")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS pages (owner BLOB, name TEXT, page BLOB NOT NULL,"
            " PRIMARY KEY (owner, name)) WITHOUT ROWID"
        )
        connection.execute("DELETE FROM pages WHERE page = x''")
    except sqlite3.Error as error:
        raise EngineError(
            "module.memory",
            f"The file {path} does not serve as module memory ({error}); give another directory.",
        ) from None
    return connection


class SqliteNv:
    """Pages of one owner (a module serial, or any name of at most 64 bytes) in a shared file."""

    def __init__(self, connection: NvFile, owner: bytes) -> None:
        self._connection = connection
        self._owner = owner

    def hold(self) -> None:
        """The whole file: a program powers all its modules or none."""
        self._connection.hold()

    def read(self, name: str) -> bytes | None:
        row = self._run("SELECT page FROM pages WHERE owner = ? AND name = ?", (self._owner, name)).fetchone()
        return bytes(row[0]) if row and row[0] else None

    def names(self) -> list[str]:
        rows = self._run(
            "SELECT name FROM pages WHERE owner = ? AND page != x'' ORDER BY name", (self._owner,)
        )
        return [row[0] for row in rows]

    def write(self, pages: Mapping[str, bytes | None]) -> None:
        """One statement, so that it is one transaction; an erased page stays behind empty until the
        next start.
        """
        if pages:
            values = [part for name, page in pages.items() for part in (self._owner, name, page or b"")]
            self._run(_UPSERT + ",(?,?,?)" * (len(pages) - 1), values)

    def exchange(self, name: str, before: bytes | None, after: bytes) -> bool:
        """One statement: two processes on one file never both go on from the same page."""
        if before is None:
            statement = (
                "INSERT INTO pages VALUES (?1,?2,?3)"
                " ON CONFLICT DO UPDATE SET page = excluded.page WHERE page = x''"
            )
            return self._run(statement, (self._owner, name, after)).rowcount == 1
        statement = "UPDATE pages SET page = ? WHERE owner = ? AND name = ? AND page = ?"
        return self._run(statement, (after, self._owner, name, before)).rowcount == 1

    def settle(self) -> None:
        """The write-ahead log reaches the disk: what `synchronous=FULL` does after every commit, only where it
        is asked for. A transaction of many modules settles with its own end.
        """
        path = self._run("PRAGMA database_list", ()).fetchone()[2]
        if self._connection.in_transaction or not path:
            return
        try:
            log = os.open(f"{path}-wal", os.O_RDONLY)
            try:
                os.fsync(log)
            finally:
                os.close(log)
        except OSError as error:
            raise EngineError(
                "module.memory",
                f"The memory of {self._owner.hex()} does not reach the disk ({error}); look at it.",
            ) from None

    def scrub(self) -> None:
        """Old pages are overwritten in the file (`secure_delete`); here the log that still has them goes."""
        if self._run("PRAGMA wal_checkpoint(TRUNCATE)", ()).fetchone()[0]:
            raise EngineError(
                "module.memory",
                "The memory file is being read, so the log with old pages stays; close what reads it and "
                "power the module on again.",
            )

    def _run(self, statement: str, values: Sequence[bytes | str]) -> sqlite3.Cursor:
        try:
            return self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise EngineError(
                "module.memory",
                f"The memory of {self._owner.hex()} does not work ({error}); nothing changed, look at the disk.",
            ) from None


class SealedNv:
    """Pages sealed under a device storage key; `serial` stands in the associated data."""

    def __init__(self, store: NvStore, key: SymmetricKey, serial: bytes) -> None:
        self._store = store
        self._key = key
        self._serial = serial

    def hold(self) -> None:
        """Keep other programs off until the file is closed. LocalError `module.in-use`, EngineError `module.memory`."""
        self._store.hold()

    def _place(self, name: str) -> bytes:
        return b"ms1 nv\x00" + self._serial + name.encode()

    def read(self, name: str) -> bytes | None:
        """The page in clear, None when there is none. TrustError `crypto.tag` when it was changed or
        moved.
        """
        page = self._store.read(name)
        return None if page is None else self._key.gcm_open(page, self._place(name))

    def fetch(self, name: str, known: bytes | None) -> tuple[bytes | None, bytes | None]:
        """The page as it is stored, and in clear unless it is the `known` one."""
        page = self._store.read(name)
        return page, None if page is None or page == known else self._key.gcm_open(page, self._place(name))

    def exchange(self, name: str, before: bytes | None, after: bytes) -> bytes | None:
        """Seal a page and write and settle it unless the stored one is no longer `before` (as `fetch` gave it); as it is
        stored now, None when it was not written. EngineError `module.memory`.
        """
        page = self._key.gcm_seal(after, self._place(name))
        if not self._store.exchange(name, before, page):
            return None
        self._store.settle()
        return page

    def scrub(self) -> None:
        """Let the medium forget overwritten pages."""
        self._store.scrub()

    def names(self) -> list[str]:
        return self._store.names()

    def write(self, pages: Mapping[str, bytes | None], *, settled: bool = False) -> None:
        """Seal and write; all or nothing. Unless `settled`, a power cut of the whole machine may take it back.
        EngineError `module.memory`.
        """
        self._store.write(
            {
                name: None if page is None else self._key.gcm_seal(page, self._place(name))
                for name, page in pages.items()
            }
        )
        if settled:
            self._store.settle()
