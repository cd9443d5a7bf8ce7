"""The comparison of everything that is stored with the ledger, its checkpoints, the audit trails and the trail of rows.

It goes on when whoever asked goes away, is followed by whoever asks meanwhile, and ends when somebody wishes it. It
compares nothing itself (`mdms.ledger`, `rowwatch`) and mends nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import sqlalchemy as sa
import structlog
from msgspec import Struct
from msgspec.structs import replace

from meterseal.app.operator import Text, as_json
from meterseal.app.rowwatch import RowWatch
from meterseal.control import acts
from meterseal.control.engine import read as reading
from meterseal.control.kinds import UNFIT, why
from meterseal.control.tables import acts as table
from meterseal.control.tables import agreements
from meterseal.errors import DataError, EngineError, LocalError, MetersealError, PeerError
from meterseal.mdms.integrity import control_faults
from meterseal.mdms.ledger.checkpoints import Checkpoints
from meterseal.mdms.ledger.leaves import LAST_DAY, days_between
from meterseal.mdms.ledger.ledger import Ledger
from meterseal.mdms.ledger.progress import Progress
from meterseal.mdms.ledger.verdict import Erasure, Fault, Verdict
from meterseal.mdms.service import Mdms
from meterseal.people.erasure import ACT
from meterseal.security.sdk import SecuritySdk
from meterseal.things.anchoring import TrailAnchoring

log = structlog.get_logger()
PAUSE = 2.0
"""Seconds after which who follows a comparison is told where it stands."""
LAST_STEP = 1.0
"""Seconds that a comparison has for the step it is at when the platform ends, of the five until that is killed."""


class Since(Struct, frozen=True, kw_only=True):
    """Verify everything, and against a checkpoint that was kept elsewhere, as it was published.

    With `follow` the answer says after a while where the comparison stands (`stands`) and which one it is, to be asked for
    again as `run`. With `stop` it ends.
    """

    note: str = ""
    follow: bool = False
    run: int = 0
    stop: bool = False


class Comparing:
    """One comparison at a time."""

    def __init__(
        self,
        engine: sa.Engine,
        mdms: Mdms,
        checkpoints: Checkpoints,
        anchoring: TrailAnchoring,
        rows: RowWatch,
        security: SecuritySdk,
    ) -> None:
        self._engine = engine
        self._mdms = mdms
        self._checkpoints = checkpoints
        self._anchoring = anchoring
        self._rows = rows
        self._security = security
        self._task: asyncio.Task[Text] | None = None
        self._progress = Progress()
        self._note = ""
        self._run = 0

    async def verify(self, _: str, asked: Since) -> Text:
        """The verdict, of a comparison that is under way or of a new one. LocalError `ledger.busy` while one against
        another checkpoint is; EngineError `ledger.stopped`; errors as `Mdms.audit`.
        """
        running = self._task is not None and not self._task.done()
        if asked.stop:
            if running:
                self._progress.end()
            return Text(json=as_json({"stopped": running, "stands": self._progress.says if running else ""}))
        if running and asked.note != self._note:
            raise LocalError(
                "ledger.busy",
                "A comparison with another checkpoint is under way. Wait until it is done, or end it: meterseal ledger "
                "verify --stop",
            )
        if not running and (not asked.run or (asked.run, asked.note) != (self._run, self._note)):
            self._begin(asked.note)
        task = self._task
        assert task is not None
        await asyncio.wait([task], timeout=PAUSE if asked.follow else None)
        if not task.done():
            return Text(json=as_json({"run": self._run, "stands": self._progress.says}))
        if task.cancelled():
            raise EngineError(
                "ledger.stopped", "The comparison ended with the platform. Ask again when it is back."
            )
        return task.result()

    async def close(self, within: float = LAST_STEP) -> None:
        """End a comparison that is under way, at its next step or within so many seconds: it holds what is to be closed."""
        if self._task is None or self._task.done():
            return
        self._progress.end()
        await asyncio.wait([self._task], timeout=within)
        self._task.cancel()
        await asyncio.wait([self._task])

    def _begin(self, note: str) -> None:
        self._run += 1
        self._note, self._progress = note, Progress()
        self._task = asyncio.create_task(self._compare(note, self._progress))
        self._task.add_done_callback(_said)

    async def _compare(self, note: str, progress: Progress) -> Text:
        looked = await self._rows.look()
        try:
            erasures = await asyncio.to_thread(erasures_of, self._engine)
            verdict = await self._mdms.audit(self._checkpoints, note, erasures, progress)
        except (DataError, PeerError, *UNFIT) as error:
            if not looked.differences:
                raise
            verdict = _ended(self._mdms.ledger, error)
        trails = []
        for who, look in (
            ("the platform's audit trail", self._anchoring.verified),
            ("the acts of the platform", lambda: asyncio.to_thread(acts.verified, self._engine)),
            ("the security service's audit log", self._service_log),
        ):
            progress.begin(who, 0)
            progress.step(0)
            trails += [fault] if (fault := await _trail(who, look())) is not None else []
        progress.begin("the control store", 0)
        progress.step(0)
        trails += [
            Fault(code="control", where="control.db", sentence=sentence)
            for sentence in await asyncio.to_thread(control_faults, self._engine)
        ]
        rows = [Fault(code="row", where=one.where, sentence=one.sentence) for one in looked.differences]
        said = replace(
            verdict,
            faults=(*verdict.faults, *trails, *rows),
            more=verdict.more + looked.compared.more,
            written=looked.compared.rows,
            written_before=looked.compared.before,
        )
        verdict_said = as_json(said)
        progress.step(0)  # whoever was told that it ends gets no verdict
        return Text(json=verdict_said)

    async def _service_log(self) -> None:
        state = await self._security.verify_audit()
        if not state.ok:
            raise DataError(
                "audit.broken",
                f"Entry {state.broken_at} does not follow, {state.missing} are missing at its end: keys audit",
            )


def erasures_of(engine: sa.Engine) -> list[Erasure]:
    """Where salts may be gone: the agreements of those whose erasure is among the acts. These are verified beside it."""
    gone = sa.select(table.c.subject).where(table.c.act == ACT)
    query = sa.select(agreements.c.usage_point_id, agreements.c.since, agreements.c.until).where(
        agreements.c.customer_id.in_(gone)
    )
    with reading(engine) as connection:
        rows = connection.execute(query).all()
    found = []
    for point, since, until in rows:
        first, last = days_between(since, until or since)
        found.append(Erasure(point, first, last if until else LAST_DAY))
    return found


def _said(task: asyncio.Task[Text]) -> None:
    """Whoever asked may be gone: then the log says what became of it."""
    error = None if task.cancelled() else task.exception()
    if isinstance(error, MetersealError):
        log.warning("ledger.verify", code=error.code, message=error.message)
    elif error is not None:  # a defect is said in full
        log.error("ledger.verify-defect", exc_info=error)


async def _trail(who: str, look: Awaitable[object]) -> Fault | None:
    """EngineError when nobody can look."""
    try:
        await look
    except (DataError, *UNFIT) as error:
        return Fault(code="audit", where=who, sentence=why(error))
    return None


def _ended(ledger: Ledger, error: Exception) -> Verdict:
    """Of a walk that a value of another kind ended, which stands among the rows that differ."""
    log.warning("ledger.walk-ended", exc_info=error)
    sentence = (
        "It could not be compared with the ledger while values stand in the control store that no program of ours writes, "
        f"as named below. {why(error)} Restore these rows, and verify again."
    )
    return Verdict(
        store_id=ledger.store_id,
        leaves=ledger.size,
        covered=0,
        checkpoints=0,
        erased=0,
        rows=0,
        channels=0,
        evidence=0,
        journal=0,
        since=None,
        faults=(Fault(code="control", where="everything that is stored", sentence=sentence),),
        more=0,
        root="",
    )
