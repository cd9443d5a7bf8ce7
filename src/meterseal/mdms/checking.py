"""Station MDMS, the check of evidence: signatures asked for, chains followed, and what was open judged again.

It stores no reading, and decides by nothing but the verifier's answer and the book. One round runs at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from threading import RLock

from meterseal.mdms.evidence import AT_ONCE, EvidenceBook
from meterseal.mdms.findings import Findings
from meterseal.mdms.state import Pending, State
from meterseal.mdms.verifier import EvidenceVerifier, signed_statement


class Checking:
    """Takes what ingest left waiting; what fails waits for the next round."""

    def __init__(
        self,
        state: State,
        lock: RLock,
        verifier: EvidenceVerifier,
        book: EvidenceBook,
        findings: Findings,
        alarmed: Callable[[Sequence[Pending], Sequence[bool]], None],
    ) -> None:
        self._state = state
        self._lock = lock
        self._verifier = verifier
        self._book = book
        self._findings = findings
        self._alarmed = alarmed
        """Told of every statement that was checked, and whether its signature holds."""

    async def round(self, sequence: int) -> bool:
        """Verify what came up to journal entry `sequence`, follow its chains, judge again what was open.

        True when more of it waits. Raises EngineError when the verifier or a store is away.
        """
        with self._lock:
            waiting = [key for key, item in self._state.pending.items() if item.batch <= sequence]
            keys = sorted(waiting)[:AT_ONCE]
            items = [self._state.pending[key] for key in keys]
            self._state.merge()
            grown, self._state.grown = self._state.grown, {}
        try:
            for some in (items, await asyncio.to_thread(self._book.unchecked)):
                if some:
                    good = await self._verifier.verify([signed_statement(item) for item in some])
                    # Before they are kept: a crash between loses none, and said twice is said once.
                    await asyncio.to_thread(self._alarmed, some, good)
                    found = await asyncio.to_thread(self._book.store, some, good)
                    await asyncio.to_thread(self._findings.append, found)
            if grown:
                await asyncio.to_thread(self._book.judge_again, grown)
        except BaseException:
            with self._lock:
                self._state.mark_grown(grown)
            raise
        with self._lock:
            for key, item in zip(keys, items, strict=True):
                if self._state.pending.get(key) is item:
                    del self._state.pending[key]
            return len(waiting) > len(keys)
