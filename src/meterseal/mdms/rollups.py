"""Station MDMS, roll-ups of one store: kept in tables, tried, and carried out month by month.

It states no rule and no exception (`app.retaining` does) and chooses no row (`rolling` does).

A roll-up holds from the journal entry that says so. Removing is work that follows: `run` does what is left of every
roll-up that is open, and a start goes on with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from meterseal.control.engine import read, write
from meterseal.control.tables import rollups
from meterseal.control.writes import upsert
from meterseal.mdms.entries import Rollup
from meterseal.mdms.rolling import Mask, Rolled
from meterseal.mdms.state import State
from meterseal.mdms.store.manifest import Manifest
from meterseal.mdms.store.rollup import Went, roll_up, tried
from meterseal.mdms.store.rows import Key, Rows
from meterseal.mdms.store.segments import months
from meterseal.mdms.store.store import Store
from meterseal.model import Medium

_OPEN = sa.select(rollups).where(sa.not_(rollups.c.done))


class RolledMonth(Struct, frozen=True, kw_only=True):
    """What goes, or went, of one medium and month of UTC (202611)."""

    medium: Medium
    month: int
    rows: int
    readings: int
    bytes: int


class Stored(NamedTuple):
    """A roll-up in its table."""

    sequence: int
    rollup: Rollup
    done: bool
    rows: int
    readings: int
    bytes: int


class Rollups:
    """Callers hold what keeps others from writing segments, and call from worker threads."""

    def __init__(
        self,
        engine: sa.Engine,
        store: Store,
        manifest: Manifest,
        state: State,
        beside: Callable[[Rollup], None] = lambda _: None,
    ) -> None:
        """`beside` takes away what else is kept of the time that a roll-up goes over; asked again it does nothing."""
        self._engine = engine
        self._store = store
        self._manifest = manifest
        self._state = state
        self._beside = beside
        with store.lock:
            # Later ones come from the journal, in their place.
            for one in self._stored(sa.select(rollups).where(rollups.c.sequence <= manifest.sequence)):
                state.rolled.take(one.rollup)

    def listed(self) -> list[Stored]:
        """Every roll-up that a table holds, oldest first."""
        return list(self._stored(sa.select(rollups)))

    def _stored(self, query: sa.Select[Any], *, newest_first: bool = False) -> Generator[Stored, None, None]:
        """One after the other: each names every usage point that has an edge, and a store keeps years of them."""
        order = rollups.c.sequence.desc() if newest_first else rollups.c.sequence
        with read(self._engine) as connection:
            for row in connection.execute(query.order_by(order)):
                rollup = msgspec.msgpack.decode(row.content, type=Rollup)
                yield Stored(row.sequence, rollup, row.done, row.rows, row.readings, row.bytes)

    def readings(self) -> int:
        """How many readings were removed so far."""
        with read(self._engine) as connection:
            return int(connection.execute(sa.select(sa.func.sum(rollups.c.readings))).scalar() or 0)

    def keep(self) -> None:
        """Write down what the journal holds alone; the journal may forget it then. Again does nothing."""
        with self._store.lock:
            waiting = list(self._state.rolled.waiting)
        if not waiting:
            return
        rows = [
            {
                "sequence": sequence,
                "at": one.at,
                "content": msgspec.msgpack.encode(one),
                "done": False,
                "rows": 0,
                "readings": 0,
                "bytes": 0,
            }
            for sequence, one in waiting
        ]
        with write(self._engine) as connection:
            known = set(connection.execute(sa.select(rollups.c.sequence)).scalars())
            upsert(connection, rollups, [row for row in rows if row["sequence"] not in known])
        with self._store.lock:
            del self._state.rolled.waiting[: len(waiting)]

    def horizon(self, usage_point: str, channel: int) -> int:
        """Up to where a channel was rolled up; -1 when it never was."""
        words = self._store.words
        point = words.known(usage_point)
        medium = words.medium.get(point) if point is not None else None
        if medium is None:
            return -1
        with self._store.lock:
            return self._state.rolled.horizon(usage_point, medium, channel)

    def floor(self, key: Key) -> int:
        """The same, for a channel that is known by its word."""
        return self.horizon(self._store.words.texts[key.point], key.channel)

    def floor_at(self, entry: int) -> Callable[[Key], int]:
        """`floor` as it was when a journal entry was the newest."""
        then = Rolled()
        for sequence, one in self._all():
            if sequence <= entry:
                then.take(one)
        words = self._store.words
        return lambda key: then.horizon(words.texts[key.point], words.medium[key.point], key.channel)

    def _all(self) -> list[tuple[int, Rollup]]:
        with self._store.lock:  # first: what leaves it stands in the table before
            waiting = dict(self._state.rolled.waiting)
        return sorted((waiting | {one.sequence: one.rollup for one in self.listed()}).items())

    def newest(self, medium: Medium, main: bool, level: str) -> Rollup | None:
        """The roll-up that holds, if any."""
        with self._store.lock:
            return self._state.rolled.newest(medium, main, level)

    def tried(self, wanted: list[Rollup], told: Callable[[int, int], None]) -> Iterator[RolledMonth]:
        """What would go with these; nothing is changed. `told` gets how many months of how many were looked at. Errors as
        `store.rollup.tried`.
        """
        with self._store.lock:
            rolled = self._state.rolled.copy()
        for one in wanted:
            rolled.take(one)
        months = self._months(wanted)
        for number, (medium, month) in enumerate(months, 1):
            went = tried(self._store, medium, month, self._removable(rolled))
            told(number, len(months))
            if went.rows:
                yield RolledMonth(medium=medium, month=month, **went._asdict())

    def open(self) -> list[tuple[Medium, int]]:
        """Months of segments that roll-ups have not come to yet."""
        return self._months([one.rollup for one in self._stored(_OPEN)])

    def unfinished(self) -> bool:
        """Is there a roll-up, in its table or in the journal alone, whose months were not all gone through?"""
        with self._store.lock:  # first: what leaves it stands in the table before
            if self._state.rolled.waiting:
                return True
        with read(self._engine) as connection:
            return connection.execute(_OPEN.limit(1)).first() is not None

    def roll_up(self, medium: Medium, month: int) -> RolledMonth:
        """Take away what goes of one month. Errors as `store.rollup.roll_up`."""
        with self._store.lock:
            rolled = self._state.rolled.copy()
        went = roll_up(self._store, self._manifest, medium, month, self._removable(rolled))
        self._note(medium, went)
        return RolledMonth(medium=medium, month=month, **went._asdict())

    def _note(self, medium: Medium, went: Went) -> None:
        if not went.rows:
            return
        last = [one for one in self._stored(_OPEN) if one.rollup.medium == medium]
        with write(self._engine) as connection:
            connection.execute(
                rollups.update()
                .where(rollups.c.sequence == last[-1].sequence)
                .values(
                    rows=rollups.c.rows + went.rows,
                    readings=rollups.c.readings + went.readings,
                    bytes=rollups.c.bytes + went.bytes,
                )
            )

    def finish(self) -> None:
        """All months of the open roll-ups were gone through."""
        for one in list(self._stored(_OPEN)):
            self._beside(one.rollup)
        with write(self._engine) as connection:
            connection.execute(rollups.update().where(sa.not_(rollups.c.done)).values(done=True))

    def _months(self, wanted: list[Rollup]) -> list[tuple[Medium, int]]:
        """Months of segments into which these reach, without those that earlier ones went through already."""
        before: dict[tuple[Medium, bool, str], Rollup] = {}
        asked = {(one.medium, one.main, one.level) for one in wanted}
        done_ = self._stored(sa.select(rollups).where(rollups.c.done), newest_first=True)
        with contextlib.closing(done_):
            while asked - before.keys() and (stored := next(done_, None)) is not None:
                one = stored.rollup
                before.setdefault((one.medium, one.main, one.level), one)
        spans: dict[Medium, list[tuple[int, int]]] = {}
        for one in wanted:
            done = before.get((one.medium, one.main, one.level))
            since = min([done.until, *done.held.values()]) if done is not None else 0
            first, last = months((max(0, since), one.until)).tolist()
            spans.setdefault(one.medium, []).append((first, last))
        with self._store.lock:
            partitions = self._store.catalogue.partitions()
        return [
            (medium, month)
            for medium, month in partitions
            if any(first <= month <= last for first, last in spans.get(medium, ()))
        ]

    def _removable(self, rolled: Rolled) -> Callable[[Rows], Mask]:
        return lambda rows: rolled.removable(rows, self._store.words)
