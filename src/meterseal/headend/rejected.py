"""Which counters of a session were rejected, and with which class, as ranges: a repeat gets its REJECT again.

It stores nothing itself: the platform reads the same ranges out of its durable quarantine (LINK section 4).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from meterseal.errors import TrustError
from meterseal.link.counters import CounterSet


class Rejected:
    """Rejected counters by class; bounded as `link.counters` is, however long the session lives."""

    __slots__ = ("_sets",)

    def __init__(self, stored: Mapping[int, bytes] | None = None) -> None:
        self._sets = {each: CounterSet.from_bytes(ranges) for each, ranges in (stored or {}).items()}

    @classmethod
    def of(cls, counters: Iterable[tuple[int, int]]) -> Rejected:
        """From (counter, class) pairs; in rising order it takes linear time."""
        made = cls()
        for counter, reject_class in counters:
            made.add(counter, reject_class)
        return made

    def add(self, counter: int, reject_class: int) -> None:
        """Remember a REJECT; a counter keeps the class that it got first.

        A session that skips so many counters that its ranges are full is not remembered further: its device gets an
        ACK for a repeat, and what it sent lies in quarantine either way.
        """
        if self.class_of(counter) is None:
            try:
                self._sets.setdefault(reject_class, CounterSet()).add(counter)
            except TrustError:
                return

    def class_of(self, counter: int) -> int | None:
        """The class that a counter was rejected with; None when it was not."""
        return next((each for each, counters in self._sets.items() if counter in counters), None)

    def to_store(self) -> dict[int, bytes]:
        """Ranges by class, as `StoredSession.rejected` carries them."""
        return {each: counters.to_bytes() for each, counters in self._sets.items()}
