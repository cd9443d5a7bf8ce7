"""Station MDMS, the work in the background: evidence is checked soon after it came, and the journal compacted when due.

It loses nothing when it stands still: what waits is in the journal, and is checked and compacted later.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import structlog

from meterseal.bus.outage import Outage
from meterseal.errors import MetersealError
from meterseal.mdms.reading import Limits
from meterseal.mdms.state import State
from meterseal.mdms.store.journal import Journal
from meterseal.mdms.store.manifest import Manifest
from meterseal.mdms.store.store import Store
from meterseal.mdms.trouble import WAITS, Troubles

log = structlog.get_logger()


class Works(NamedTuple):
    """What upkeep sets going; errors of theirs are said once, and the work is tried again."""

    compact: Callable[[], Awaitable[object]]
    settle: Callable[[], Awaitable[None]]
    troubles: Troubles
    """Told how it goes."""


class Upkeep:
    """Watches one store. `wake` tells of something new."""

    def __init__(
        self, limits: Limits, state: State, store: Store, journal: Journal, manifest: Manifest, works: Works
    ) -> None:
        self._limits = limits
        self._state = state
        self._store = store
        self._journal = journal
        self._manifest = manifest
        self._works = works
        self._wake = asyncio.Event()
        self._replayed = state.sequence > manifest.sequence

    def wake(self) -> None:
        """Something was committed."""
        self._wake.set()

    def _due(self, lain: float) -> bool:
        """Is it time to compact, when the oldest entry of the journal has lain there for so many seconds?"""
        if self._state.sequence == self._manifest.sequence:
            return False
        limits = self._limits
        return (
            self._replayed
            or lain >= limits.age_seconds
            or self._store.recent.weight >= limits.recent_rows
            or len(self._state.pending) >= limits.pending
            or self._journal.size >= limits.journal_bytes
        )

    async def run(self) -> None:
        """Work until cancelled."""
        clock = asyncio.get_running_loop().time
        compacted, since = self._manifest.sequence, clock()
        outage = Outage("mdms.upkeep")
        while True:
            # Not wait_for: it loses a cancellation that comes as the event is set, and close() would wait for ever.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.idle_seconds):
                    await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(self._limits.gather_seconds)
            try:
                if compacted != self._manifest.sequence or compacted == self._state.sequence:
                    compacted, since = self._manifest.sequence, clock()
                if self._due(clock() - since):
                    await self._works.compact()
                    self._replayed = False
                await self._works.settle()
                outage.over()
                self._works.troubles.over(WAITS)
            except MetersealError as error:
                outage.failed(error)
                self._works.troubles.failed(WAITS, error)
                await asyncio.sleep(self._limits.idle_seconds)
            except Exception as error:  # noqa: BLE001  # a defect here must not end the work for good
                log.critical("mdms.upkeep-defect", fault=type(error).__name__)
                await asyncio.sleep(self._limits.idle_seconds)
