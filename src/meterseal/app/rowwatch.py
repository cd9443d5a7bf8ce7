"""Watches what the platform wrote into its control store: the trail of rows, its anchor, and the rows themselves.

It compares nothing itself (`control.rowcheck`, `things.anchoring`) and mends nothing. It looks at the start, once a
day and when somebody asks; a row that is not as it was written goes into the audit trail, once after each start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import sqlalchemy as sa
import structlog

from meterseal.control.rowcheck import Compared, Difference, compared
from meterseal.control.rowtrail import RowTrail
from meterseal.errors import DataError, MetersealError
from meterseal.model import Refusal
from meterseal.security.anchororders import ROWS
from meterseal.things.anchoring import Anchor, TrailAnchoring
from meterseal.things.monitor import AuditLog

log = structlog.get_logger()
CODE = "control.row-changed"
TRAIL = "the trail of rows"
EVERY = 86_400_000
"""Milliseconds after which nobody's look is followed by one of our own."""
MOST = 20
"""Rows of one look that the audit trail names; the rest is a number."""


_UNSEEN = "The rows of the control store could not be compared. Run: meterseal ledger verify."


class Looked(NamedTuple):
    """What a look found: the comparison, what is wrong with the trail itself, and whether its anchor could be asked."""

    compared: Compared
    trail: str
    anchored: int | None

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Everything that is not as it was written."""
        own = (Difference(TRAIL, self.trail),) if self.trail else ()
        return own + self.compared.differences


class RowWatch:
    """The rows of one platform."""

    def __init__(
        self, engine: sa.Engine, trail: RowTrail, security: Anchor, audit: AuditLog, clock: Callable[[], int]
    ) -> None:
        self._engine = engine
        self._trail = trail
        self._audit = audit
        self._clock = clock
        self.anchoring = TrailAnchoring(trail, security, ROWS)
        self._told: set[Difference] = set()
        self._looked_at = -EVERY
        self.says = ""
        """A sentence while the last look found something."""

    async def look(self, only: frozenset[str] | None = None) -> Looked:
        """Compare everything now, and tell the audit trail what is new; of rows those of the tables `only` alone, and
        everything where one of these differs. EngineError `control.*`.
        """
        wrong, anchored = "", None
        try:
            _, anchored = await self.anchoring.verified()
        except DataError as error:
            wrong = error.message
        rows = await asyncio.to_thread(compared, self._engine, self._trail, only=only)
        found = Looked(rows, wrong, anchored)
        if only is not None:
            return await self.look() if found.differences else found
        self._looked_at = self._clock()  # one that failed is tried again at the next turn
        await self._tell(found)
        return found

    async def watch(self) -> None:
        """Look where nobody did for a day; what hinders it is said in the log."""
        if 0 <= self._clock() - self._looked_at < EVERY:  # a clock that was set back must not end the looking
            return
        try:
            await self.look()
        except MetersealError as error:
            log.warning("rows.failed", code=error.code, message=error.message)
            self.says = self.says or f"{_UNSEEN} {error.message}"
        except Exception:  # a defect ends this look, not the work, and is said in full
            log.exception("rows.defect")
            self.says = self.says or _UNSEEN

    async def _tell(self, found: Looked) -> None:
        now = found.differences
        count = len(now) + found.compared.more
        self.says = (
            f"{count} rows of the control store are not as this platform wrote them, the first: {now[0].where}. "
            "Run: meterseal ledger verify"
            if now
            else ""
        )
        new = [one for one in now if one not in self._told]
        if not new:
            return
        log.critical(CODE, rows=count, first=now[0].where)
        said = [f"{one.where}: {one.sentence}" for one in new[:MOST]]
        if len(new) > MOST:
            said.append(f"and {len(new) - MOST + found.compared.more} more rows: meterseal ledger verify")
        at = self._clock()
        await self._audit.refused(
            [Refusal(at=at, code=CODE, sentence=sentence, source="control.db") for sentence in said]
        )
        self._told |= set(now)
