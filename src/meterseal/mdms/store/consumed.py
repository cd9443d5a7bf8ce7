"""Station MDMS, the counters that were consumed: per session, as ranges, moved on by the commit alone
(LINK section 4).

It accepts and refuses nothing; the head-end asks it what a repeat is.
"""

from __future__ import annotations

from collections.abc import Callable

from meterseal.errors import TrustError
from meterseal.link.counters import CounterSet

KEPT = 50_000
"""Sessions held in memory; more are read again from the control store when they speak."""


class Consumed:
    """Consumed counters by session: what the control store holds and what the journal added since."""

    def __init__(self, stored: Callable[[bytes], bytes]) -> None:
        self._stored = stored
        self._sets: dict[bytes, CounterSet] = {}
        self._changed: set[bytes] = set()

    def of(self, session_id: bytes) -> CounterSet:
        """The consumed counters of a session; empty for one that never committed."""
        found = self._sets.get(session_id)
        if found is None:
            found = self._sets[session_id] = CounterSet.from_bytes(self._stored(session_id))
        return found

    def add(self, session_id: bytes, counter: int) -> bool:
        """Consume a counter; False when it was consumed before."""
        try:
            new = self.of(session_id).add(counter)
        except TrustError:
            # A session that skips counters on purpose; its readings fall out by time if they come twice.
            return True
        if new:
            self._changed.add(session_id)
        return new

    def changed(self) -> dict[bytes, bytes]:
        """Ranges of the sessions that moved since they were last stored."""
        return {session_id: self._sets[session_id].to_bytes() for session_id in self._changed}

    def stored(self, ranges: dict[bytes, bytes]) -> None:
        """These ranges are in the control store now; forget what need not be held."""
        self._changed = {key for key in self._changed if self._sets[key].to_bytes() != ranges.get(key)}
        if len(self._sets) > KEPT:
            self._sets = {key: self._sets[key] for key in self._changed}
