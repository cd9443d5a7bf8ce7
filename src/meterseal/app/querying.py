"""The operator's desk for SQL: hands readings of a period to a process of their own, and writes down who asked and why.

It runs no query itself (`app.sqlchild` does) and knows no name: usage points are pseudonyms in every view.

The question is written down before anything is read. Readings travel through a pipe and lie in memory alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from meterseal.app.operator import Text, as_json
from meterseal.app.sqlchild import FRAME, Handed, Orders
from meterseal.control import acts, read, write
from meterseal.control.sealed import QUESTIONS
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import questions
from meterseal.errors import DataError, EngineError, LocalError, MetersealError
from meterseal.mdms.export.batches import Batches
from meterseal.mdms.service import Mdms
from meterseal.mdms.store.rows import ORIGINS
from meterseal.mdms.threads import whole
from meterseal.mesh.rpc import OPERATOR, Methods, offered_to
from meterseal.model import Quality
from meterseal.things.fleet import Fleet

MOST_READINGS = 5_000_000
MOST_FINDINGS = 200_000
MOST_ROWS = 100_000
MOST_BYTES = 8 << 20
LONGEST_QUERY = 20_000
MEMORY_MB = 1024
MOST_WAITING = 4
"""Questions that wait while another one is answered; a further one is refused."""
ENDED = "ended"
"""Outcome of a question whose process was killed by a limit."""


class Ask(Struct, frozen=True, kw_only=True):
    """A query over the visible readings with since <= end_at < until, of all usage points or of one meter's.

    `author` is whoever asks, as the caller says; `rows` and `seconds` bound the answer.
    """

    sql: str
    since: int
    until: int
    author: str
    reason: str
    device_id: bytes = b""
    rows: int = 1000
    seconds: int = 60


class Latest(Struct, frozen=True, kw_only=True):
    """The newest questions."""

    limit: int = 50


class Asked(Struct, frozen=True):
    """What is sealed of a question."""

    reason: str
    sql: str
    since: int
    until: int
    device_id: bytes


class Answer(Struct, frozen=True, kw_only=True):
    """What the process says, which is believed no more than a stranger; with a `kind` it is a refusal."""

    columns: list[str] = []
    types: list[str] = []
    rows: list[list[str | float | int | bool | None]] = []
    more: bool = False
    seconds: float = 0.0
    error: str = ""
    kind: str = ""


class QueryDesk:
    """What the Unix socket serves for SQL; one query at a time."""

    def __init__(
        self, engine: sa.Engine, mdms: Mdms, fleet: Fleet, ring: KeyRing, clock: Callable[[], int]
    ) -> None:
        self._engine = engine
        self._mdms = mdms
        self._fleet = fleet
        self._ring = ring
        self._clock = clock
        self._one = asyncio.Lock()
        self._waiting = 0

    def methods(self) -> Methods:
        """The table, to be joined with the desk's."""
        return offered_to(
            OPERATOR,
            {
                "sql": (self.sql, Ask),
                "sql_log": (self.log, Latest),
            },
        )

    async def sql(self, _: str, asked: Ask) -> Text:
        """Answer one SELECT: columns, types, rows, whether there are more, seconds, readings looked at.

        LocalError `sql.*` for what is refused (`sql.busy` while others ask), DataError `sql.failed`, `sql.too-much`,
        EngineError `sql.limit` when it took more memory or time than it may.
        """
        _check(asked)
        usage_point = self._fleet.device(asked.device_id).usage_point if asked.device_id else None
        async with self._turn(asked.seconds):
            return await self._asked(asked, usage_point)

    async def _asked(self, asked: Ask, usage_point: str | None) -> Text:
        number = await asyncio.to_thread(self._begin, asked)
        outcome = ENDED
        try:
            answer = await self._answered(asked, usage_point)
            outcome = f"{len(answer['rows'])} rows"
        except MetersealError as error:
            outcome = error.code
            raise
        finally:
            await asyncio.to_thread(self._end, number, outcome)
        return Text(json=json.dumps({"id": number, **answer}, ensure_ascii=False))

    @contextlib.asynccontextmanager
    async def _turn(self, seconds: int) -> AsyncIterator[None]:
        """One question at a time; a few wait for theirs, as long as their answer may take. LocalError `sql.busy`."""
        refused = LocalError(
            "sql.busy",
            "Others are asking and one question is answered at a time. Ask again in a moment; nothing was looked at.",
        )
        if self._waiting >= MOST_WAITING:
            raise refused
        self._waiting += 1
        try:
            async with asyncio.timeout(seconds):
                await self._one.acquire()
        except TimeoutError:
            raise refused from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._one.release()

    async def log(self, _: str, asked: Latest) -> Text:
        """The newest questions first: when, who, why, what, and what came of it."""
        return Text(json=as_json(await asyncio.to_thread(self._latest, max(1, min(asked.limit, 500)))))

    # --- the process --------------------------------------------------------------------------------

    async def _answered(self, asked: Ask, usage_point: str | None) -> dict[str, Any]:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # the directory that one stands in may hold anybody's `meterseal`
            "-m",
            "meterseal.app.sqlchild",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # what it says may hold readings
            env={name: value for name, value in os.environ.items() if name in ("PYTHONPATH", "PATH", "LANG")},
            start_new_session=True,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        out, readings = b"", 0
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                readings = await self._hand_over(child.stdin, asked, usage_point)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(asked.seconds + 5):
                    out = await _all_of(child.stdout)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    while await child.stdout.read(1 << 16):
                        pass  # asyncio sees the end of a process only when its pipe is read to the end
                    await child.wait()
        try:
            answer = msgspec.json.decode(out, type=Answer)
        except (msgspec.DecodeError, RecursionError):
            raise EngineError(
                "sql.limit",
                f"The query took more than {asked.seconds} s or more than {MEMORY_MB} MB, and was ended. Ask for less: a "
                "shorter period, one meter, sums instead of rows.",
            ) from None
        if answer.kind:
            raise _refused(answer)
        names = ("columns", "types", "rows", "more", "seconds")
        return {name: getattr(answer, name) for name in names} | {"readings": readings}

    async def _hand_over(self, pipe: asyncio.StreamWriter, asked: Ask, usage_point: str | None) -> int:
        async def give(kind: bytes, payload: bytes) -> None:
            pipe.write(FRAME.pack(kind, len(payload)) + payload)
            await pipe.drain()

        orders = Orders(MEMORY_MB, asked.seconds, asked.rows, MOST_BYTES)
        await give(b"O", msgspec.json.encode(orders))
        batches = Batches()
        blocks = self._mdms.visible(asked.since, asked.until, usage_point)
        try:
            while (rows := await whole(partial(next, blocks, None))) is not None:
                for one in await asyncio.to_thread(batches.add, rows, self._mdms.words):
                    await give(b"R", one)
                if batches.readings > MOST_READINGS:
                    raise DataError(
                        "sql.too-much",
                        f"The period holds more than {MOST_READINGS} readings, which is the most that is opened for a "
                        "query. Give a shorter one, or one meter.",
                    )
        finally:
            blocks.close()
        for one in batches.rest():
            await give(b"R", one)
        _, stated = await asyncio.to_thread(self._mdms.multipliers)
        handed = Handed(
            tuple(batches.points),
            tuple(batches.words),
            tuple(quality.name.lower() for quality in Quality),
            ORIGINS,
            tuple(
                row
                for point, of in stated.items()
                for row in (
                    *((point, one.since, one.until, f"{one.factor:f}") for one in of.factors),
                    *((point, one.since, one.until, None) for one in of.unsaid),
                )
            ),
        )
        await give(b"D", msgspec.json.encode(handed))
        period = (asked.since, asked.until)
        found = await asyncio.to_thread(self._mdms.findings, MOST_FINDINGS + 1, usage_point, period)
        if len(found) > MOST_FINDINGS:
            raise DataError(
                "sql.too-much",
                f"The period holds more than {MOST_FINDINGS} findings, which is the most that is opened for a query. "
                "Give a shorter one, or one meter.",
            )
        rows = [
            (
                one.usage_point,
                one.channel,
                one.since,
                one.until,
                one.rule,
                one.version,
                one.severity,
                json.dumps(one.detail),
            )
            for one in found
        ]
        await give(b"F", msgspec.json.encode(rows))
        await give(b"Q", asked.sql.encode())
        pipe.close()
        return batches.readings

    # --- who asked what and why ---------------------------------------------------------------------

    def _begin(self, asked: Ask) -> int:
        content = Asked(asked.reason, asked.sql, asked.since, asked.until, asked.device_id)
        now = self._clock()
        with write(self._engine) as connection:
            last = connection.execute(sa.select(sa.func.max(questions.c.id))).scalar() or 0
            row = {
                "id": last + 1,
                "at": now,
                "author": asked.author,
                "outcome": "",
                "sealed_content": msgspec.msgpack.encode(content),
            }
            connection.execute(questions.insert().values(**QUESTIONS.seal(self._ring, row)))
            acts.append(connection, acts.Act(now, asked.author, "sql", f"question-{last + 1}"))
        return int(last) + 1

    def _end(self, number: int, outcome: str) -> None:
        with write(self._engine) as connection:
            connection.execute(
                questions.update().where(questions.c.id == number).values(outcome=outcome[:64])
            )

    def _latest(self, limit: int) -> list[dict[str, Any]]:
        with read(self._engine) as connection:
            rows = connection.execute(sa.select(questions).order_by(questions.c.id.desc()).limit(limit)).all()
        found = []
        for row in rows:
            said = msgspec.msgpack.decode(QUESTIONS.open(self._ring, row) or b"", type=Asked)
            facts = {"id": row.id, "at": row.at, "author": row.author, "outcome": row.outcome}
            found.append(facts | msgspec.structs.asdict(said))
        return found


async def _all_of(stream: asyncio.StreamReader) -> bytes:
    """All that a process says; nothing when it says more than an answer can be."""
    parts: list[bytes] = []
    size = 0
    while piece := await stream.read(1 << 16):
        parts.append(piece)
        if (size := size + len(piece)) > 2 * MOST_BYTES:
            return b""
    return b"".join(parts)


def _check(asked: Ask) -> None:
    if asked.until <= asked.since:
        raise LocalError(
            "use.period", "The period to look at ends before it begins; give --since before --until."
        )
    if len(asked.reason.strip()) < 5 or len(asked.reason) > 500:
        raise LocalError(
            "sql.reason", "Say in 5 to 500 characters why you ask (--reason); it is written down."
        )
    if not asked.author.strip() or len(asked.author) > 64:
        raise LocalError("sql.author", "Say who asks in up to 64 characters (--by); it is written down.")
    if not asked.sql.strip() or len(asked.sql) > LONGEST_QUERY:
        raise LocalError("sql.query", f"Give one SELECT of up to {LONGEST_QUERY} characters.")
    if not 1 <= asked.rows <= MOST_ROWS or not 1 <= asked.seconds <= 600:
        raise LocalError("sql.bounds", f"An answer has 1 to {MOST_ROWS} rows, and a query 1 to 600 seconds.")


def _refused(answer: Answer) -> MetersealError:
    kind = answer.kind
    if kind == "NotOneSelect" or "read-only" in answer.error:
        return LocalError(
            "sql.select",
            "One SELECT is answered and nothing else: views readings, findings and usage_points, nothing is changed.",
        )
    if kind == "OutOfMemoryException":
        return EngineError(
            "sql.limit",
            f"The query took more than {MEMORY_MB} MB, and was ended. Ask for less: a shorter period, one meter, sums "
            "instead of rows.",
        )
    if kind == "PermissionException":
        return LocalError(
            "sql.outside",
            "A query sees the views readings, findings and usage_points, and no file, network or setting. Ask without.",
        )
    return DataError("sql.failed", f"The query cannot be answered: {answer.error}")
