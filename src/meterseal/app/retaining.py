"""The operator's desk for retention: rules of how long readings are kept in full, what is held all the same, and runs.

It removes nothing itself (`mdms.rollups` does). Without a rule nothing is ever removed.

Held, so that less or nothing of a usage point is rolled up: what an operator named, a period that waits for its bill, an
edit that waits for its officers, and what no later good statement of the meter closes. Bills look back 400 days and like
days of a year ago are references of estimates, so no rule may be shorter than LEAST.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Literal

import sqlalchemy as sa
import structlog
from msgspec import Struct

from meterseal.app.operator import Text, as_json
from meterseal.control import acts, read, write
from meterseal.control.sealed import RETENTIONS
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import agreements, bills, edits, evidence, held_bills, retentions, usage_points
from meterseal.errors import LocalError, MetersealError
from meterseal.mdms.chain import GOOD
from meterseal.mdms.entries import Rollup
from meterseal.mdms.rolling import DAY, edge_of, reach
from meterseal.mdms.service import Mdms
from meterseal.mdms.store.rows import EVER
from meterseal.mesh.rpc import OPERATOR, Empty, Methods, offered_to
from meterseal.model import Medium
from meterseal.things.fleet import Fleet

LEAST = 800
"""Days that intervals are kept at least."""
RULE, HOLD = "rule", "hold"
Channels = Literal["main", "other"]
log = structlog.get_logger()


class SetRetention(Struct, frozen=True, kw_only=True):
    """Keep intervals of a medium's main (or other) channels for so many days, registers by the day until they are so many
    days old, and then by the month; 0 is for ever."""

    medium: Medium
    channels: Channels
    intervals: int
    days: int
    author: str
    reason: str


class HoldReadings(Struct, frozen=True, kw_only=True):
    """Keep everything of a meter's usage point, or (`released`) treat it like the others again."""

    device_id: bytes
    author: str
    reason: str
    released: bool = False


class RunRetention(Struct, frozen=True, kw_only=True):
    """Roll up what the rules say today."""

    author: str


class Held(Struct, frozen=True):
    """A usage point of which less is rolled up, up to where (Unix ms, 0: nothing), and why."""

    usage_point: str
    until: int
    why: str


class RetentionDesk:
    """What the Unix socket serves about retention; one run at a time."""

    def __init__(
        self, engine: sa.Engine, mdms: Mdms, fleet: Fleet, ring: KeyRing, clock: Callable[[], int]
    ) -> None:
        self._engine = engine
        self._mdms = mdms
        self._fleet = fleet
        self._ring = ring
        self._clock = clock
        self._one = asyncio.Lock()

    def methods(self) -> Methods:
        """The table, to be joined with the desk's."""
        return offered_to(
            OPERATOR,
            {
                "retention_show": (self.show, Empty),
                "retention_set": (self.state, SetRetention),
                "retention_hold": (self.hold, HoldReadings),
                "retention_try": (self.tried, Empty),
                "retention_run": (self.run, RunRetention),
            },
        )

    async def finish(self) -> None:
        """At a start: take away what an end of the process left of a roll-up. What hinders it waits for the next one."""
        async with self._one:
            try:
                if await asyncio.to_thread(self._mdms.rollups.open):
                    await self._mdms.roll_up(())
            except MetersealError as error:
                log.warning("retention.failed", code=error.code, message=error.message)

    # --- what is stated -------------------------------------------------------------------------------

    async def state(self, _: str, asked: SetRetention) -> Text:
        """State a rule; it holds from the next run on. LocalError `retention.*`."""
        if (asked.intervals and asked.intervals < LEAST) or asked.intervals < 0 or asked.days < 0:
            raise LocalError(
                "retention.short",
                f"Bills and estimates look back at intervals: keep them {LEAST} days or more, or 0 for ever.",
            )
        if asked.days and asked.days <= asked.intervals + 31:
            raise LocalError(
                "retention.order", "Registers by the day follow intervals: --days must be a month more, or 0."
            )
        if asked.days and not asked.intervals:
            raise LocalError(
                "retention.order",
                "What is kept in full for ever is never kept by the month: give --intervals.",
            )
        subject = f"{asked.medium}/{asked.channels}"
        await asyncio.to_thread(
            self._keep, RULE, subject, asked.intervals, asked.days, asked.author, asked.reason
        )
        return await self.show(_, Empty())

    async def hold(self, _: str, asked: HoldReadings) -> Text:
        """Hold a usage point, or let go of it. LocalError `retention.reason`."""
        usage_point = self._fleet.device(asked.device_id).usage_point
        holding = 0 if asked.released else 1
        await asyncio.to_thread(self._keep, HOLD, usage_point, holding, None, asked.author, asked.reason)
        return await self.show(_, Empty())

    def _keep(
        self, kind: str, subject: str, intervals: int, days: int | None, author: str, reason: str
    ) -> None:
        if not 5 <= len(reason.strip()) <= 500 or not author.strip() or len(author) > 64:
            raise LocalError(
                "retention.reason", "Say in 5 to 500 characters why, and who you are; it is written down."
            )
        now = self._clock()
        with write(self._engine) as connection:
            number = (connection.execute(sa.select(sa.func.max(retentions.c.id))).scalar() or 0) + 1
            row = {
                "id": number,
                "at": now,
                "author": author,
                "kind": kind,
                "subject": subject,
                "intervals": intervals,
                "days": days,
                "sealed_reason": reason.strip().encode(),
            }
            connection.execute(retentions.insert().values(**RETENTIONS.seal(self._ring, row)))
            acts.append(connection, acts.Act(now, author, f"retention-{kind}", subject))

    def _stated(self, kind: str) -> dict[str, sa.Row[Any]]:
        """The newest row of each subject."""
        query = sa.select(retentions).where(retentions.c.kind == kind).order_by(retentions.c.id)
        with read(self._engine) as connection:
            return {row.subject: row for row in connection.execute(query)}

    async def show(self, _: str, asked: Empty) -> Text:
        """Rules, what is held, and what was rolled up."""
        return Text(json=as_json(await asyncio.to_thread(self._shown)))

    def _shown(self) -> dict[str, Any]:
        def told(row: sa.Row[Any]) -> dict[str, Any]:
            reason = (RETENTIONS.open(self._ring, row) or b"").decode()
            return {"subject": row.subject, "at": row.at, "author": row.author, "reason": reason}

        return {
            "rules": [
                told(row) | {"intervals": row.intervals, "days": row.days}
                for row in self._stated(RULE).values()
            ],
            "holds": [told(row) for row in self._stated(HOLD).values() if row.intervals],
            "rollups": [
                {
                    "at": one.rollup.at,
                    "author": one.rollup.author,
                    "medium": one.rollup.medium,
                    "channels": "main" if one.rollup.main else "other",
                    "level": one.rollup.level,
                    "until": one.rollup.until,
                    "done": one.done,
                    "rows": one.rows,
                    "readings": one.readings,
                    "bytes": one.bytes,
                }
                for one in self._mdms.rollups.listed()
            ],
        }

    # --- tries and runs -------------------------------------------------------------------------------

    async def tried(self, _: str, asked: Empty) -> Text:
        """What a run would take today, what it would hold, and which issued bills would no longer open to their hours."""
        async with self._one:
            wanted, held = await asyncio.to_thread(self._planned, "")
            months = await self._mdms.try_roll_up(wanted)
            shown = await asyncio.to_thread(self._bills, wanted)
        return Text(json=as_json(_told(wanted, held, months) | {"bills": shown}))

    async def run(self, _: str, asked: RunRetention) -> Text:
        """Roll up what the rules say today, and what an earlier run left.

        LocalError `retention.reason`; errors as `Mdms.roll_up`.
        """
        if not asked.author.strip() or len(asked.author) > 64:
            raise LocalError(
                "retention.reason", "Say who you are in up to 64 characters; it is written down."
            )
        async with self._one:
            wanted, held = await asyncio.to_thread(self._planned, asked.author)
            await asyncio.to_thread(self._act, wanted)
            months = await self._mdms.roll_up(wanted)
        for one in months:
            log.info("retention.rolled-up", medium=one.medium, month=one.month, readings=one.readings)
        return Text(json=as_json(_told(wanted, held, months)))

    def _act(self, wanted: list[Rollup]) -> None:
        for one in wanted:
            subject = f"{one.medium}/{'main' if one.main else 'other'}/{one.level}"
            with write(self._engine) as connection:
                acts.append(connection, acts.Act(one.at, one.author, "retention-run", subject))

    def _planned(self, author: str) -> tuple[list[Rollup], list[Held]]:
        now, held = self._today(), self._held()
        wanted = []
        for subject, row in self._stated(RULE).items():
            medium, _, channels = subject.partition("/")
            for level, after in (("day", row.intervals), ("month", row.days)):
                if after:
                    one = self._one_of(
                        medium, channels == "main", level, now - after * DAY, held, author, now
                    )
                    if one is not None:
                        wanted.append(one)
        shown = {usage_point for one in wanted for usage_point in one.held}
        named = {one.usage_point for one in held}
        closed = [
            Held(point, min(one.held[point] for one in wanted if point in one.held), "no later statement")
            for point in sorted(shown - named)
        ]
        return wanted, [one for one in held if one.usage_point in shown] + closed

    def _today(self) -> int:
        """By this clock, and no more than a day after the newest receipt: a clock that runs ahead takes nothing away."""
        newest = max((one.received_at for one in self._mdms.freshness().values()), default=0)
        return min(self._clock(), newest + DAY)

    def _one_of(
        self, medium: Any, main: bool, level: Any, at: int, held: list[Held], author: str, now: int
    ) -> Rollup | None:
        until = edge_of(at, level)
        before = self._mdms.rollups.newest(medium, main, level)
        if until <= 0 or (before is not None and before.until >= until):
            return None
        here = self._points(medium)
        less: dict[str, int] = {}
        for one in [*held, *self._closed(until)]:
            if one.usage_point in here and (own := edge_of(one.until, level)) < until:
                less[one.usage_point] = min(own, less.get(one.usage_point, own))
        edges = {
            point: tuple(sorted({at for at in found if at <= until}))
            for point, found in self._edges().items()
            if point in here
        }
        if before is not None:  # what was rolled up stays so, by what was an edge then
            less = {point: max(own, reach(before, point)) for point, own in less.items()}
            for point in {*edges, *before.edges}:
                done = reach(before, point)
                earlier = {at for at in before.edges.get(point, ()) if at <= done}
                later = {at for at in edges.get(point, ()) if at > done}
                edges[point] = tuple(sorted(earlier | later))
        return Rollup(
            medium,
            main,
            level,
            until,
            less,
            {point: found for point, found in edges.items() if found},
            author,
            now,
        )

    def _points(self, medium: str) -> set[str]:
        with read(self._engine) as connection:
            query = sa.select(usage_points.c.id).where(usage_points.c.medium == medium)
            return set(connection.execute(query).scalars())

    def _held(self) -> list[Held]:
        found = [Held(point, 0, "held") for point, row in self._stated(HOLD).items() if row.intervals]
        with read(self._engine) as connection:
            waiting = (
                sa.select(agreements.c.usage_point_id, sa.func.min(held_bills.c.since))
                .join(agreements, agreements.c.id == held_bills.c.agreement_id)
                .group_by(agreements.c.usage_point_id)
            )
            found += [Held(point, at, "bill waits") for point, at in connection.execute(waiting)]
            proposed = (
                sa.select(edits.c.usage_point, sa.func.min(edits.c.since))
                .where(edits.c.state == "proposed")
                .group_by(edits.c.usage_point)
            )
            found += [Held(point, at - 1, "edit waits") for point, at in connection.execute(proposed)]
        return found

    def _closed(self, until: int) -> list[Held]:
        """Up to where no chain of a meter's statements needs readings any more: the newest good one of each channel."""
        last = sa.func.max(sa.case((evidence.c.end_at <= until, evidence.c.end_at), else_=0))
        query = (
            sa.select(evidence.c.usage_point, evidence.c.channel, last)
            .where(evidence.c.checked.in_(sorted(GOOD)))
            .group_by(evidence.c.usage_point, evidence.c.channel)
        )
        closed: dict[str, int] = {}
        with read(self._engine) as connection:
            for point, _, at in connection.execute(query):
                closed[point] = min(at, closed.get(point, at))
        return [Held(point, at, "no later statement") for point, at in closed.items()]

    def _edges(self) -> dict[str, set[int]]:
        """Beginnings and ends of agreements, exchanges, and changes of multipliers, by usage point."""
        found: dict[str, set[int]] = defaultdict(set)
        with read(self._engine) as connection:
            query = sa.select(agreements.c.usage_point_id, agreements.c.since, agreements.c.until)
            for point, since, until in connection.execute(query):
                found[point] |= {at for at in (since, until) if at is not None}
        for point, begins in self._mdms.exchanged().items():
            found[point] |= set(begins)
        for point, stated in self._mdms.multipliers()[1].items():
            spans = [(one.since, one.until) for one in stated.factors]
            spans += [(one.since, one.until) for one in stated.unsaid]
            found[point] |= {at for span in spans for at in span if 0 < at < EVER}
        return found

    def _bills(self, wanted: list[Rollup]) -> int:
        latest = max((one.until for one in wanted if one.main), default=0)
        query = sa.select(sa.func.count()).select_from(bills).where(bills.c.since < latest)
        with read(self._engine) as connection:
            return int(connection.execute(query).scalar_one())


def _told(wanted: list[Rollup], held: list[Held], months: list[Any]) -> dict[str, Any]:
    return {
        "rollups": [
            {
                "medium": one.medium,
                "channels": "main" if one.main else "other",
                "level": one.level,
                "until": one.until,
            }
            for one in wanted
        ],
        "held": held,
        "months": months,
        "rows": sum(one.rows for one in months),
        "readings": sum(one.readings for one in months),
        "bytes": sum(one.bytes for one in months),
    }
