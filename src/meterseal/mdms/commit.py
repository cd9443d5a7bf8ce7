"""Station MDMS, the committer: what waits at the same time becomes durable with one fsync.

It does not look into batches; it joins them into one journal entry, which is written whole or not at all.

What came live (records, and versions) does not stand in one line with columns, which come by the million when somebody
fills in a year: an entry takes first what is live, then columns as far as there is room, but always some. So a live record
waits for the entry that is being written and is in the next, and a back-fill goes on however much is live.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import NamedTuple

from meterseal.errors import EngineError
from meterseal.mdms.entries import Entry, Version
from meterseal.model import Batch

TOGETHER = 2_000
"""Records in one entry."""
RECORD = 200
"""Bytes of columns that weigh as much as a record."""
WAITING = 20_000
"""Records that may wait in each line; who comes then waits outside, so that memory stays bounded."""


class _Waiting(NamedTuple):
    batch: Batch
    versions: tuple[Version, ...]
    columns: tuple[bytes, ...]
    done: asyncio.Future[None]

    @property
    def size(self) -> int:
        records = len(self.batch.opened) + len(self.batch.quarantined) + len(self.versions)
        return records + sum(len(columns) for columns in self.columns) // RECORD


class _Line:
    """What waits in the order in which it came, and what of it is being written."""

    def __init__(self) -> None:
        self.waiting: list[_Waiting] = []
        self.size = 0

    def put(self, one: _Waiting) -> None:
        self.waiting.append(one)
        self.size += one.size

    def take(self, room: int) -> list[_Waiting]:
        """The first one, and those after it as far as there is room."""
        taken: list[_Waiting] = []
        while self.waiting and (not taken or self.waiting[0].size <= room):
            taken.append(self.waiting.pop(0))
            room -= taken[-1].size
        return taken


class Committer:
    """Group commit. `commit(entry)` runs in a worker thread, one call at a time, and returns once it is
    durable."""

    def __init__(self, commit: Callable[[Entry], None]) -> None:
        self._commit = commit
        self._live, self._columns = _Line(), _Line()
        self._room = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self.quiet = asyncio.Lock()
        """Held while an entry is written; whoever takes it finds the journal between two entries."""

    async def submit(
        self, batch: Batch, versions: Iterable[Version] = (), columns: tuple[bytes, ...] = ()
    ) -> None:
        """Return once all of it is durable and applied; raise what the commit raised, with nothing of it
        kept."""
        line = self._columns if columns else self._live
        async with self._room:
            await self._room.wait_for(lambda: line.size < WAITING)
        if self._closed:
            raise EngineError(
                "mdms.closed", "The store of measurements is closing; send the batch again later."
            )
        one = _Waiting(batch, tuple(versions), columns, asyncio.get_running_loop().create_future())
        line.put(one)
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        await one.done

    async def alone(self, make: Callable[[], Iterable[Version]]) -> None:
        """Commit the versions that `make` (worker thread) says, with no other entry between its looking and this one.

        Raises what `make` and the commit raise, with nothing kept.
        """
        async with self.quiet:
            if self._closed:
                raise EngineError("mdms.closed", "The store of measurements is closing; do it again later.")
            versions = tuple(await asyncio.to_thread(make))
            if versions:
                await asyncio.to_thread(self._commit, Entry(versions=versions))

    async def entry(self, entry: Entry) -> None:
        """Commit an entry of its own. Raises what the commit raises, with nothing kept."""
        async with self.quiet:
            if self._closed:
                raise EngineError("mdms.closed", "The store of measurements is closing; do it again later.")
            await asyncio.to_thread(self._commit, entry)

    async def close(self) -> None:
        """Refuse what comes, finish what waits."""
        self._closed = True
        if self._task is not None:
            await self._task
        async with self.quiet:  # whoever commits alone has ended
            pass

    async def _work(self) -> None:
        try:
            while self._live.waiting or self._columns.waiting:
                async with self.quiet:
                    await self._group()
        finally:
            self._task = None

    async def _group(self) -> None:
        live = self._live.take(TOGETHER)
        columns = self._columns.take(TOGETHER - sum(one.size for one in live))
        group = live + columns
        entry = Entry(
            Batch(
                tuple(opened for one in group for opened in one.batch.opened),
                tuple(held for one in group for held in one.batch.quarantined),
            ),
            versions=tuple(version for one in group for version in one.versions),
            columns=tuple(packed for one in columns for packed in one.columns),
        )
        failure: Exception | None = None
        try:
            await asyncio.to_thread(self._commit, entry)
        except Exception as error:  # noqa: BLE001  # it belongs to those who wait, whatever it is
            failure = error
        except BaseException:
            # Whoever ends this task does not know whether the entry became durable: nobody is told that it did.
            failure = EngineError(
                "mdms.closed",
                "The store of measurements was ended in the middle; send the batch again later.",
            )
            raise
        finally:
            self._live.size -= sum(one.size for one in live)
            self._columns.size -= sum(one.size for one in columns)
            for one in group:
                if one.done.done():
                    continue  # the publisher went away; what it sent is committed or refused all the same
                if failure is None:
                    one.done.set_result(None)
                else:
                    one.done.set_exception(failure)
        async with self._room:
            self._room.notify_all()
