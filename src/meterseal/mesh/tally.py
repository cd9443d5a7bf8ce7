"""What the mesh refused before any method ran: counted by kind, so that an audit trail can take it, flood or no flood.

It writes nothing itself: whoever serves gives it a trail (`report`). Noting a refusal is a count in memory and never
waits.

The first refusal of a kind goes to the trail at once, the others as one count for each minute; a kind that was silent
for a minute begins anew. A kind is code, caller and method. What comes beyond the most kinds is one kind together, so
a minute has a bounded number of entries, whoever floods with whatever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from meterseal.errors import MetersealError

MINUTE = 60_000
MOST_KINDS = 64
OTHERS = "mesh.others"
_LOOK = 5.0
_LONGEST = 64

SENTENCES = {
    "mesh.no-certificate": "showed no certificate",
    "mesh.certificate": "showed a certificate that does not stand under our root, or has ended",
    "mesh.handshake": "did not complete TLS",
    "mesh.caller": "showed a certificate of somebody who is not heard here",
    "mesh.account": "came from another account of this machine",
    "mesh.busy": "came while there were too many connections",
    "mesh.frame": "sent a message of impossible length or half a message",
    "mesh.message": "sent what is no request",
    "mesh.denied": "asked for what does not exist or is not for this caller",
    OTHERS: "was refused for one of many reasons",
}


class Refused(NamedTuple):
    """How often a kind was refused between two times (Unix ms); `source` is where the last one came from."""

    code: str
    caller: str
    method: str
    source: str
    times: int
    since: int
    until: int

    @property
    def sentence(self) -> str:
        """For a person."""
        who = self.caller or "Somebody"
        what = SENTENCES.get(self.code, "was refused")
        how = "" if self.times == 1 else f", {self.times} times within a minute"
        method = f" ({self.method})" if self.method else ""
        return f"{who} {what}{method}{how}; nothing was done."


class _Kind:
    __slots__ = ("count", "since", "source")

    def __init__(self, since: int) -> None:
        self.since, self.count, self.source = since, 0, ""


class Tally:
    """The counts of one process."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._kinds: dict[tuple[str, str, str], _Kind] = {}
        self._due: list[Refused] = []
        self._news = asyncio.Event()

    def note(self, code: str, caller: str = "", method: str = "", source: str = "") -> None:
        """Count one refusal."""
        key = (code, caller[:_LONGEST], method[:_LONGEST])
        if key not in self._kinds and len(self._kinds) >= MOST_KINDS:
            key = (OTHERS, "", "")
        kind = self._kinds.get(key)
        if kind is None:
            now = self._clock()
            self._kinds[key] = _Kind(now)
            self._due.append(Refused(*key, source[:_LONGEST], 1, now, now))
            self._news.set()
        else:
            kind.count += 1
            kind.source = source[:_LONGEST]

    def due(self, *, ending: bool = False) -> list[Refused]:
        """What the trail has not had yet: first ones, and the counts of minutes that are over (`ending`: of all)."""
        now = self._clock()
        given, self._due = self._due, []
        for key, kind in list(self._kinds.items()):
            if not ending and 0 <= now - kind.since < MINUTE:
                continue
            if not kind.count:
                del self._kinds[key]
                continue
            given.append(Refused(*key, kind.source, kind.count, kind.since, now))
            kind.since, kind.count = now, 0
        return given

    async def report(self, trail: Callable[[list[Refused]], Awaitable[None]]) -> None:
        """Hand over what is due until cancelled, and all that is left then."""
        try:
            while True:
                try:
                    async with asyncio.timeout(_LOOK):
                        await self._news.wait()
                except TimeoutError:
                    pass
                self._news.clear()
                await self._hand(trail, self.due())
        finally:
            await self._hand(trail, self.due(ending=True))

    async def _hand(self, trail: Callable[[list[Refused]], Awaitable[None]], given: list[Refused]) -> None:
        if not given:
            return
        try:
            await trail(given)
        except asyncio.CancelledError:
            self._due = [*given, *self._due]  # the end of the process comes first; twice is better than never
            raise
        except Exception as error:  # noqa: BLE001  # a trail that cannot be written ends this look, not the reporting
            import structlog  # slow to import, and only needed here

            why = error.code if isinstance(error, MetersealError) else type(error).__name__
            structlog.get_logger("meterseal.mesh").warning("mesh.untold", fault=why, kinds=len(given))
            # At most one look's worth is kept for the next: a trail that is away must not fill the memory.
            self._due = [*given[-2 * MOST_KINDS :], *self._due]
