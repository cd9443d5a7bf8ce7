"""Uses of every key over time (HM 8.5.3.b): how often each version was used in each hour, later in each day.

It counts nothing itself: the vaults do, durably and before an answer leaves. This log reads their counters and
says when they moved, so its sums are the vaults' counts, whatever is cut off in between.

A count belongs to the hour in which the log looked; it looks before the first act of an hour and, while there are
acts, each minute. What a crash kept it from seeing is counted when it looks again. Hours are folded into days (UTC)
after 35 days and days forgotten after three years; the total of a key stands in its vault for good.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence

from meterseal.security.nearing import Nearing, level_of, nearing
from meterseal.security.papers import Uses
from meterseal.security.store import Store
from meterseal.security.vault import Vault

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
HOURS_KEPT = 35 * DAY
DAYS_KEPT = 3 * 366 * DAY

Key = tuple[str, str, int]
"""Vault, id and version."""


class UseLog:
    """The log of one service, in its registry's file."""

    def __init__(
        self, store: Store, vaults: Sequence[Vault], nearer: Callable[[Nearing], None] = lambda _: None
    ) -> None:
        """`nearer` is told of a key that came nearer to its limit by a level (`nearing`), once for each level."""
        self._store = store
        self._vaults = vaults
        self._nearer = nearer
        self._seen: dict[Key, int] = {
            (vault, key_id, version): seen
            for vault, key_id, version, seen in store.rows("SELECT vault, id, version, seen FROM use_total")
        }
        self._waiting: Counter[tuple[Key, int]] = Counter()
        self._hour = self._wrote_at = 0

    async def tick(self, now: int) -> None:
        """Before each act: look when an hour or a minute has passed since the last look."""
        hour = now - now % HOUR
        if hour == self._hour and 0 <= now - self._wrote_at < MINUTE:
            return
        if hour != self._hour:
            self._look(self._hour or hour)
            self._hour = hour
        await self.write(now)

    async def write(self, now: int) -> None:
        """Look, and put what was seen on disk, after the counters themselves are there; EngineError."""
        for vault in self._vaults:
            await vault.durable()
        self._look(self._hour or now - now % HOUR)
        waiting, self._waiting = self._waiting, Counter()
        try:
            with self._store.transaction() as connection:
                self._put(connection, waiting)
                _fold(connection, now)
        except BaseException:
            self._waiting.update(waiting)
            raise
        self._wrote_at = now

    async def since(self, start: int, now: int, *, by_day: bool) -> list[Uses]:
        """Uses in spans that end after `start`, oldest first; hours that are folded already come as days."""
        await self.write(now)
        span = DAY if by_day else 1
        rows = self._store.rows(
            "SELECT vault, id, version, min(since - since % ?1), max(until), sum(uses) FROM use_count "
            "WHERE until > ?2 GROUP BY vault, id, version, CASE WHEN ?1 = 1 THEN since ELSE since / ?1 END "
            "ORDER BY 4, vault, id, version",
            span,
            start,
        )
        return [
            Uses(
                vault=vault,
                id=key_id,
                version=version,
                since=since,
                until=since + DAY if by_day else until,
                uses=uses,
            )
            for vault, key_id, version, since, until, uses in rows
        ]

    def _look(self, hour: int) -> None:
        risen: set[Key] = set()
        every = [facts for vault in self._vaults for facts in vault.all_facts()]
        for facts in every:
            key = (facts.vault, facts.id, facts.version)
            before = self._seen.get(key, 0)
            self._seen[key] = facts.used  # below what was seen only after an older copy was put back
            if facts.used > before:
                self._waiting[key, hour] += facts.used - before
                if level_of(facts.used, facts.limit) != level_of(before, facts.limit):
                    risen.add(key)
        for one in nearing(every) if risen else ():
            if (one.vault, one.id, one.version) in risen:
                self._nearer(one)

    def _put(self, connection: sqlite3.Connection, waiting: Counter[tuple[Key, int]]) -> None:
        connection.executemany(
            "INSERT INTO use_count VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET uses = uses + excluded.uses",
            [(*key, hour, hour + HOUR, uses) for (key, hour), uses in waiting.items()],
        )
        connection.executemany(
            "INSERT INTO use_total VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET seen = excluded.seen",
            [(*key, seen) for key, seen in self._seen.items()],
        )


def _fold(connection: sqlite3.Connection, now: int) -> None:
    """Turn old hours into days, and forget old days."""
    oldest = (now - HOURS_KEPT) // DAY * DAY
    connection.execute(
        "INSERT INTO use_count SELECT vault, id, version, since / ?1 * ?1, since / ?1 * ?1 + ?1, sum(uses) "
        "FROM use_count WHERE until - since < ?1 AND since < ?2 GROUP BY vault, id, version, since / ?1 "
        "ON CONFLICT DO UPDATE SET uses = uses + excluded.uses",
        (DAY, oldest),
    )
    connection.execute("DELETE FROM use_count WHERE until - since < ? AND since < ?", (DAY, oldest))
    connection.execute("DELETE FROM use_count WHERE until < ?", (now - DAYS_KEPT,))
