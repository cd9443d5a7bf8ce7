"""Whether the audit trail of refusals still holds: verified in the background of questions, and said with its entry.

It verifies nothing itself (`things.monitor` does) and repairs nothing; it decides when to look, and remembers.

A page or `status` must not claim what nobody checked. New entries and the count of the earlier ones are checked
when an answer is older than `RECENT`; the words of all entries are read again every `WHOLE`, longer when that takes
long. While nobody knows, the answer is that nobody knows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from meterseal.errors import DataError, EngineError

RECENT = 10_000
"""Milliseconds for which an answer is given again."""
WHOLE = 10 * 60_000
"""Milliseconds between two verifications of the whole chain."""
SHARE = 50
"""A verification of the whole chain takes at most one part in so many of the time."""
PATIENCE = 3.0
"""Seconds that a question waits for the verification; a longer one goes on behind it."""
ANCHOR = 2.0
"""Seconds that the security service has to name its anchor."""
START = (0, bytes(32))


class AuditTrail(Protocol):
    """The chained entries, as `things.monitor.AuditLog` keeps them."""

    def verify_from(self, number: int, previous: bytes) -> tuple[int, bytes]:
        """Verify what follows an entry; DataError names the first `entry` that differs."""


class Anchored(Protocol):
    """The trail's anchor outside of the store, as `things.anchoring.TrailAnchoring` compares it."""

    async def compared(self) -> int | None:
        """How many entries are anchored, None while nobody can say; DataError names the first `entry` that is gone."""


class TrailState(Struct, frozen=True):
    """What is known of the trail: `holds` True, False, or None while nobody could look.

    `entries` were verified at `at` (Unix ms), `anchored` of them compared with the security service's anchor (None: it
    could not be asked). `entry` is the first one that differs and `says` the sentence for it,
    0 and empty unless `holds` is False.
    """

    holds: bool | None = None
    at: int = 0
    entries: int = 0
    anchored: int | None = None
    entry: int = 0
    says: str = ""


class Trail:
    """Verifies when asked, off the event loop, one verification at a time."""

    def __init__(self, audit: AuditTrail, anchor: Anchored, clock: Callable[[], int]) -> None:
        self._audit = audit
        self._anchor = anchor
        self._clock = clock
        self._known = TrailState()
        self._mark = START
        self._whole_at = 0
        self._looking: asyncio.Task[None] | None = None

    async def state(self) -> TrailState:
        """What is known now, no older than `RECENT` unless a verification takes longer than one waits for."""
        if self._known.holds is None or self._clock() - self._known.at >= RECENT:
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look())
            await asyncio.wait([self._looking], timeout=PATIENCE)
        return self._known

    async def _look(self) -> None:
        began, now = time.monotonic(), self._clock()
        whole = now >= self._whole_at
        if not whole and self._known.holds is False:
            return  # it may have been put back, which only its whole length tells
        try:
            # What was verified once must still be there: an end cut off is whole in itself.
            self._mark = await asyncio.to_thread(self._audit.verify_from, *self._mark)
            if whole:
                self._mark = await asyncio.to_thread(self._audit.verify_from, *START)
            anchored = await self._compared()
        except DataError as error:
            whole = True
            self._known = TrailState(False, now, entry=int(error.facts.get("entry") or 0), says=error.message)
        except EngineError:
            self._known = TrailState()  # the store is away: nobody knows
            return
        else:
            self._known = TrailState(True, now, self._mark[0], anchored)
        if whole:
            took = int((time.monotonic() - began) * 1000) * SHARE
            self._whole_at = now + max(WHOLE if self._known.holds else RECENT, took)

    async def _compared(self) -> int | None:
        try:
            return await asyncio.wait_for(self._anchor.compared(), ANCHOR)
        except TimeoutError:
            return None
