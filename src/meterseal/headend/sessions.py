"""The sessions this head-end serves: fetched by id, traffic keys unwrapped by the security service, kept in memory.

The control store is the truth; what is here is a cache that a restart may lose. It never sees a long-term key.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

from meterseal.headend.ports import Sessions, StoredSession
from meterseal.headend.rejected import Rejected
from meterseal.link.counters import CounterSet
from meterseal.link.schedule import TrafficKeys

if TYPE_CHECKING:
    from meterseal.headend.link import Link

DOWN_BLOCK = 256
"""Down counters reserved at once; a restart skips what was left of the block and repeats none."""


class Unwrapper(Protocol):
    """The security service's one act for a stored session."""

    async def unwrap(self, session: StoredSession) -> TrafficKeys:
        """Traffic keys of a stored session."""


class LiveSession:
    """One session in use: its stored facts, its traffic keys, which counters are consumed, the next down counter."""

    __slots__ = (
        "_down_limit",
        "_down_next",
        "_line",
        "_reserve",
        "consumed",
        "epoch",
        "facts",
        "keys",
        "rejected",
    )

    def __init__(self, facts: StoredSession, keys: TrafficKeys) -> None:
        self.facts = facts
        self.keys = keys
        self.consumed = CounterSet.from_bytes(facts.consumed)
        self.rejected = Rejected(facts.rejected)
        self._down_next = self._down_limit = 0
        self._line: Link | None = None
        self.epoch = 0
        """Under which this head-end owns the session; 0 before it sent anything."""
        self._reserve = asyncio.Lock()

    async def answering(self, store: Sessions, line: Link | None = None) -> int:
        """The down counter of an answer to a device that was just heard over `line` (LINK section 4).

        It is reserved in the control store before anyone uses it. Over another line than the last answer went, the
        rest of the block is left: the device may have been with another head-end meanwhile, whose counters are above
        these, and it takes rising ones alone.
        """
        async with self._reserve:
            if self._down_next == self._down_limit or line is not self._line:
                await self._block(store, 0)
                self._line = line
            self._down_next += 1
            return self._down_next - 1

    async def own(self, store: Sessions, line: Link) -> int:
        """The epoch under which this head-end may send over `line`, where it heard the device last."""
        async with self._reserve:
            if not self.epoch or line is not self._line:
                await self._block(store, 0)
                self._line = line
            return self.epoch

    async def speaking(self, store: Sessions) -> int:
        """The down counter of a word that the device did not just ask for.

        TrustError `link.owner` when a block is due and another head-end has taken the session over.
        """
        async with self._reserve:
            if self._down_next == self._down_limit:
                await self._block(store, self.epoch)
            self._down_next += 1
            return self._down_next - 1

    async def _block(self, store: Sessions, epoch: int) -> None:
        got = await store.reserve_down(self.facts.session_id, DOWN_BLOCK, epoch)
        self._down_next, self._down_limit, self.epoch = got.first, got.first + DOWN_BLOCK, got.epoch

    def in_time(self, now: int) -> bool:
        """Is the session within its seconds, which bind a sender (LINK section 3)?"""
        return now < self.facts.created_at + 1000 * self.facts.seconds_allowed

    @property
    def used_up(self) -> bool:
        """Are its down counters above its records, which bind a sender too?"""
        return self._down_next > self.facts.records_allowed

    def __repr__(self) -> str:
        return f"<session {self.facts.session_id.hex()}>"


class SessionCache:
    """Live sessions by id, at most `size` of them; ids that lead nowhere are remembered for a short while."""

    def __init__(self, store: Sessions, unwrapper: Unwrapper, *, size: int = 20_000) -> None:
        self._store = store
        self._unwrapper = unwrapper
        self._size = size
        self._live: OrderedDict[bytes, LiveSession] = OrderedDict()
        self._unknown: OrderedDict[bytes, int] = OrderedDict()
        self._gone: set[bytes] = set()

    def add(self, facts: StoredSession, keys: TrafficKeys) -> LiveSession:
        """Take up a session that was just established and stored; one that is in use stays as it is.

        A repeated DEVICE gets its SESSION again, and two batches may fetch one session at once: neither may forget
        which counters were consumed meanwhile.
        """
        known = self._live.get(facts.session_id)
        if known is not None:
            return known
        session = LiveSession(facts, keys)
        self._live[facts.session_id] = session
        self._unknown.pop(facts.session_id, None)
        while len(self._live) > self._size:
            self._live.popitem(last=False)
        return session

    def cut(self, module_id: bytes) -> None:
        """Forget every session of a module that was taken out of service, and open none of it again."""
        self._gone.add(module_id)
        for session_id in [key for key, one in self._live.items() if one.facts.module_id == module_id]:
            del self._live[session_id]

    async def get(self, session_id: bytes, now: int) -> LiveSession | None:
        """The session, taken up from the control store if another head-end or an earlier run made it.

        None for one that does not exist, whose keys are destroyed, or whose module was taken out of service.
        """
        session = self._live.get(session_id)
        if session is not None:
            self._live.move_to_end(session_id)
            return session
        asked = self._unknown.get(session_id)
        if asked is not None and now - asked < 5_000:
            return None
        facts = await self._store.get(session_id)
        if facts is None or facts.module_id in self._gone:
            self._unknown[session_id] = now
            while len(self._unknown) > 4_096:
                self._unknown.popitem(last=False)
            return None
        keys = await self._unwrapper.unwrap(facts)
        return None if facts.module_id in self._gone else self.add(facts, keys)

    def __len__(self) -> int:
        return len(self._live)
