"""The platform's side of a trail's anchor: says to the security service how far the trail has come, and compares.

It writes no row and holds up none: it looks every few seconds, so refusals that come together cost one call, and a
service that is away is told at a later look. Before a longer trail is anchored, the row of the last anchor is compared:
an end that was cut off and written over is never anchored as if nothing had happened.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from meterseal.control.chains import GENESIS
from meterseal.errors import DataError, EngineError, MetersealError
from meterseal.security.anchororders import REFUSALS, ROWS, TrailAnchor

log = structlog.get_logger()

PAUSE = 3.0
"""Seconds between looks."""
PATIENCE = 2.0
"""Seconds that the end of the process waits for a last anchor."""


class Anchor(Protocol):
    """The security service's two calls."""

    async def anchor_trail(self, rows: int, head: bytes, trail: str) -> TrailAnchor:
        """Take an anchor."""

    async def trail_anchor(self, trail: str) -> TrailAnchor:
        """The newest one."""


class Chained(Protocol):
    """A chain of rows, as `things.monitor.AuditLog` and `control.rowtrail.RowTrail` keep one."""

    def head(self) -> tuple[int, bytes]:
        """Number and hash of the last row."""

    def hash_of(self, number: int) -> bytes | None:
        """The hash of a row, None when there is none."""

    def verify(self) -> int:
        """Recompute all of it; its length. DataError `audit.broken`."""

    def verify_from(self, number: int, previous: bytes) -> tuple[int, bytes]:
        """Recompute what follows a row; the last row and its hash. DataError `audit.broken`."""


_NAMES = {REFUSALS: "audit trail", ROWS: "trail of rows"}


class TrailAnchoring:
    """Anchors one trail."""

    def __init__(self, audit: Chained, security: Anchor, trail: str = REFUSALS) -> None:
        self._audit = audit
        self._security = security
        self._trail = trail
        self._known: TrailAnchor | None = None

    async def look(self) -> int:
        """Anchor what is new; how many rows are anchored.

        DataError `audit.cut` when the trail is not the one that was anchored, `audit.broken` when what came after does not
        follow from it; what the service refuses, or that it is away, as it says so.
        """
        if self._known is None:
            self._known = await self._security.trail_anchor(self._trail)
        known = self._known
        rows, _ = await asyncio.to_thread(self._compared, known)
        if rows > known.rows:
            # What somebody put behind the last anchor must not be anchored with what we wrote.
            rows, head = await asyncio.to_thread(self._audit.verify_from, known.rows, known.head or GENESIS)
            self._known = await self._security.anchor_trail(rows, head, self._trail)
        return self._known.rows

    async def verified(self) -> tuple[int, int | None]:
        """The whole trail, verified against itself and its anchor: its rows, and how many are anchored.

        None anchored says that the service is away and nobody could compare. DataError `audit.broken`, `audit.cut`.
        """
        rows = await asyncio.to_thread(self._audit.verify)
        return rows, await self.compared()

    async def compared(self) -> int | None:
        """How many rows are anchored, once the row of the newest anchor was found as it was; None while nobody can say.

        DataError `audit.cut`. Whether the rows before it hold is `verified`'s question.
        """
        try:
            self._known = await self._security.trail_anchor(self._trail)
        except EngineError:
            return None
        await asyncio.to_thread(self._compared, self._known)
        return self._known.rows

    def _compared(self, anchor: TrailAnchor) -> tuple[int, bytes]:
        """Rows and hash of the last one, once the anchored row was found as it was."""
        rows, head = self._audit.head()
        if anchor.rows and self._audit.hash_of(anchor.rows) != anchor.head:
            raise DataError(
                "audit.cut",
                f"The {_NAMES[self._trail]} has {rows} entries, and entry {anchor.rows} is not the one that the security "
                "service was told: its end was cut off, or an older copy was put back. Compare with a backup; after a "
                "restore two officers order trail-reset.",
                entry=min(rows + 1, anchor.rows),
            )
        return rows, head

    async def run(self) -> None:
        """Look until cancelled, then once more."""
        try:
            while True:
                await self._looked()
                await asyncio.sleep(PAUSE)
        finally:
            try:
                await asyncio.wait_for(self._looked(), PATIENCE)
            except TimeoutError:
                log.warning("anchoring.last-look", patience=PATIENCE)

    async def _looked(self) -> None:
        try:
            await self.look()
        except EngineError as error:
            log.info("anchoring.away", code=error.code)
        except MetersealError as error:
            self._known = None  # asked anew at the next look: officers may have reset it
            log.critical(
                "anchoring.refused", trail=_NAMES[self._trail], code=error.code, message=error.message
            )
        except Exception as error:  # noqa: BLE001 - a defect ends this look, not the work
            log.critical("anchoring.defect", fault=type(error).__name__)
