"""Station edge, the search of a concentrator's buses: one protocol after the other, only while nothing else is due.

How meters are told apart is `wire.bus_search`'s; here is who is known already and what is left. It enrols nobody: whose
number is found here is a meter that the platform must be told of by a person.
"""

from __future__ import annotations

from collections import deque

from msgspec import Struct

from meterseal.edge.poll import Riser
from meterseal.edge.schedule import Schedule
from meterseal.wire.bus_search import BusSearch
from meterseal.wire.frame import Protocol

PROTOCOLS: tuple[Protocol, ...] = ("dlt645", "cjt188")
MOST_ASKED = 4_000
"""Questions of one search in one protocol; at 2400 bauds about an hour and a half of otherwise idle line."""


class Sought(Struct, frozen=True, kw_only=True):
    """What the last search of a bus found: unknown meters by device id, addresses where meters could not be told apart
    (in wire order, AA for any), when it ended (Unix ms, 0: never) and whether one is under way.
    """

    unknown: tuple[bytes, ...] = ()
    unresolved: tuple[bytes, ...] = ()
    ended_at: int = 0
    searching: bool = False


class Hunt:
    """The searches of the buses of one concentrator."""

    def __init__(self, risers: list[Riser], schedule: Schedule | None) -> None:
        self._risers = risers
        self._schedule = schedule
        self._at: int | None = None
        self._waiting: list[deque[Protocol]] = [deque() for _ in risers]
        self._found: list[dict[bytes, None]] = [{} for _ in risers]
        self._unresolved: list[dict[bytes, None]] = [{} for _ in risers]
        self.last = [Sought() for _ in risers]

    def begin(self, number: int) -> None:
        """Search this bus; nothing new while a search of it is under way."""
        if self._waiting[number] or self._risers[number].search is not None:
            return
        self._waiting[number].extend(PROTOCOLS)
        self._found[number].clear()
        self._unresolved[number].clear()

    def tick(self, now: int) -> None:
        """Begin what the schedule wants, go on with what is under way."""
        if self._schedule is not None:
            if self._at is not None and now >= self._at:
                for number in range(len(self._risers)):
                    self.begin(number)
            if self._at is None or now >= self._at:
                self._at = self._schedule.search_after(now)
        for number, riser in enumerate(self._risers):
            if riser.search is not None and riser.search.step() is None:
                self._found[number].update(dict.fromkeys(riser.search.found))
                self._unresolved[number].update(dict.fromkeys(riser.search.unresolved))
                riser.search = None
                if not self._waiting[number]:
                    self._end(number, now)
            if riser.search is None and self._waiting[number]:
                protocol = self._waiting[number].popleft()
                riser.search = BusSearch(protocol, narrowing=True, most=MOST_ASKED)

    def state(self, number: int) -> Sought:
        """What is known of this bus."""
        last = self.last[number]
        busy = bool(self._waiting[number]) or self._risers[number].search is not None
        return Sought(
            unknown=last.unknown, unresolved=last.unresolved, ended_at=last.ended_at, searching=busy
        )

    def _end(self, number: int, now: int) -> None:
        known = self._risers[number].lines
        self.last[number] = Sought(
            unknown=tuple(one for one in self._found[number] if one not in known),
            unresolved=tuple(self._unresolved[number]),
            ended_at=now,
        )
