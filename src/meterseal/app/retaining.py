"""The operator's desk for retention: rules of how long readings are kept in full, what is held all the same, and runs.

It removes nothing itself (`mdms.rollups` does). Without a rule nothing is ever removed.

Bills look back 400 days and like days of a year ago are references of estimates, so no rule may be shorter than LEAST.
What is held all the same says `retention_plan`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Literal

import sqlalchemy as sa
import structlog
from msgspec import Struct

from meterseal.app.operator import Text, as_json
from meterseal.app.retention_plan import HOLD, RULE, RUNS, Held, Plan
from meterseal.control import acts, read, write
from meterseal.control.sealed import RETENTIONS
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import retentions
from meterseal.errors import LocalError, MetersealError
from meterseal.mdms.entries import Rollup
from meterseal.mdms.rollups import RolledMonth
from meterseal.mdms.service import Mdms
from meterseal.mdms.threads import whole
from meterseal.mesh.rpc import OPERATOR, Empty, Methods, offered_to
from meterseal.model import Medium
from meterseal.things.fleet import Fleet

LEAST = 800
"""Days that intervals are kept at least."""
LEAST_RUNS = 400
"""Days that runs of the rules are kept at least: as far as bills look back."""
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


class SetRuns(Struct, frozen=True, kw_only=True):
    """Keep what runs of the rules saw and said for so many days; 0 is for ever."""

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


class _UnderWay:
    """One run, as far as it is."""

    def __init__(self, author: str) -> None:
        self.author = author
        self.through = self.of = 0
        self.months: list[RolledMonth] = []
        self.done: dict[str, Any] | None = None
        self.error: dict[str, str] | None = None

    def gone_through(self, number: int, of: int, one: RolledMonth) -> None:
        """A month is over, whether or not anything of it went."""
        self.through, self.of = number, of
        if one.rows:
            self.months.append(one)
            log.info("retention.rolled-up", medium=one.medium, month=one.month, readings=one.readings)


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
        self._plan = Plan(engine, mdms, clock, self._stated)
        self._one = asyncio.Lock()
        self._under_way = _UnderWay("")
        self._tried = (0, 0)
        self._task: asyncio.Task[None] | None = None

    def methods(self) -> Methods:
        """The table, to be joined with the desk's."""
        return offered_to(
            OPERATOR,
            {
                "retention_show": (self.show, Empty),
                "retention_set": (self.state, SetRetention),
                "retention_runs": (self.state_runs, SetRuns),
                "retention_hold": (self.hold, HoldReadings),
                "retention_try": (self.tried, Empty),
                "retention_run": (self.run, RunRetention),
                "retention_progress": (self.progress, Empty),
            },
        )

    async def finish(self) -> None:
        """At a start: take away what an end of the process left of a roll-up. What hinders it waits for the next one."""
        try:
            if await asyncio.to_thread(self._mdms.rollups.unfinished):
                self._begin("", planned=False)
        except MetersealError as error:
            log.warning("retention.failed", code=error.code, message=error.message)

    async def close(self) -> None:
        """End a run between two months; the next start goes on with it."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

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

    async def state_runs(self, _: str, asked: SetRuns) -> Text:
        """State how long runs can be made again; it holds from the next run of retention on. LocalError `retention.*`."""
        if asked.days and asked.days < LEAST_RUNS:
            raise LocalError(
                "retention.short",
                f"Who doubts a finding has a bill's time to ask: keep runs {LEAST_RUNS} days or more, or 0 for ever.",
            )
        await asyncio.to_thread(self._keep, RULE, RUNS, asked.days, None, asked.author, asked.reason)
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
            wanted, held = await asyncio.to_thread(self._plan.planned, "")
            self._tried = (0, 0)
            months = await self._mdms.try_roll_up(wanted, self._look)
            shown = await asyncio.to_thread(self._plan.bills, wanted)
            runs = await asyncio.to_thread(lambda: self._mdms.runs.older(self._plan.runs_before()))
        return Text(json=as_json(_told(wanted, held, months, runs) | {"bills": shown}))

    def _look(self, through: int, of: int) -> None:
        self._tried = (through, of)

    async def run(self, _: str, asked: RunRetention) -> Text:
        """Begin to roll up what the rules say today, and what an earlier run left; who asks while one is under way learns
        how far that is. It goes on when the caller goes away; says what `progress` says. LocalError `retention.reason`.
        """
        if not asked.author.strip() or len(asked.author) > 64:
            raise LocalError(
                "retention.reason", "Say who you are in up to 64 characters; it is written down."
            )
        if self._task is None or self._task.done():
            self._begin(asked.author, planned=True)
        return await self.progress(_, Empty())

    async def progress(self, _: str, asked: Empty) -> Text:
        """How far the run is that began last: whose, how many months it went through of how many, what of each went, and
        once it is over what it took (`done`) or why it ended (`error`). `tried`: how many months of how many the newest
        try looked at.
        """
        one = self._under_way
        return Text(
            json=as_json(
                {
                    "author": one.author,
                    "running": self._task is not None and not self._task.done(),
                    "through": one.through,
                    "of": one.of,
                    "months": one.months,
                    "done": one.done,
                    "error": one.error,
                    "tried": self._tried,
                }
            )
        )

    def _begin(self, author: str, *, planned: bool) -> None:
        self._under_way = one = _UnderWay(author)
        self._task = asyncio.create_task(self._work(one, planned=planned))

    async def _work(self, one: _UnderWay, *, planned: bool) -> None:
        """One run; what ends it is told to who asks, and in the log."""
        try:
            async with self._one:
                wanted, held = (
                    await asyncio.to_thread(self._plan.planned, one.author) if planned else ([], [])
                )
                await asyncio.to_thread(self._act, wanted)
                months = await self._mdms.roll_up(wanted, one.gone_through)
                runs = await whole(lambda: self._forgotten(one.author)) if planned else 0
            one.done = _told(wanted, held, months, runs)
        except MetersealError as error:
            one.error = {"code": error.code, "message": error.message}
            log.warning("retention.failed", code=error.code, message=error.message)
        except Exception as error:  # a defect ends this run, and is said in full
            one.error = {
                "code": "retention.defect",
                "message": f"The run met a defect ({type(error).__name__}); see the log.",
            }
            log.exception("retention.defect")

    def _forgotten(self, author: str) -> int:
        before = self._plan.runs_before()
        if not self._mdms.runs.older(before):
            return 0
        with write(self._engine) as connection:
            acts.append(connection, acts.Act(self._clock(), author, "retention-run", RUNS))
        return self._mdms.runs.forget(before)

    def _act(self, wanted: list[Rollup]) -> None:
        for one in wanted:
            subject = f"{one.medium}/{'main' if one.main else 'other'}/{one.level}"
            with write(self._engine) as connection:
                acts.append(connection, acts.Act(one.at, one.author, "retention-run", subject))


def _told(wanted: list[Rollup], held: list[Held], months: list[Any], runs: int) -> dict[str, Any]:
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
        "runs": runs,
    }
