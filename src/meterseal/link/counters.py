"""Station link, counters: which record counters of a session are consumed, as ranges (LINK section 4).

There is no window and no lower edge. It stores nothing itself; `to_bytes` is what the control store keeps.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from meterseal.errors import DataError, TrustError

LAST = 2**48 - 1
"""Largest counter; 0 is refused."""
MOST_RANGES = 16_384
"""A module that skips numbers on purpose is stopped here, so that memory stays bounded."""
_WIDTH = 6


class CounterSet:
    """Counters 1..2^48-1 as sorted, disjoint, not touching ranges; adding in order takes constant time."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, counters: Iterable[int] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for counter in counters:
            self.add(counter)

    def __contains__(self, counter: int) -> bool:
        at = bisect_right(self._firsts, counter) - 1
        return at >= 0 and counter <= self._lasts[at]

    def add(self, counter: int) -> bool:
        """Consume a counter; False when it was consumed before.

        Raises TrustError `link.counter` for 0 or more than 48 bits and `link.counter-ranges` when the set is
        full.
        """
        firsts, lasts = self._firsts, self._lasts
        if not 0 < counter <= LAST:
            raise TrustError(
                "link.counter", f"Counter {counter} is outside 1..{LAST}; the record is refused."
            )
        if lasts and counter == lasts[-1] + 1:
            lasts[-1] = counter
            return True
        at = bisect_right(firsts, counter)
        if at and counter <= lasts[at - 1]:
            return False
        after_left = at > 0 and lasts[at - 1] + 1 == counter
        before_right = at < len(firsts) and firsts[at] == counter + 1
        if after_left and before_right:
            lasts[at - 1] = lasts.pop(at)
            del firsts[at]
        elif after_left:
            lasts[at - 1] = counter
        elif before_right:
            firsts[at] = counter
        else:
            if len(firsts) >= MOST_RANGES:
                raise TrustError(
                    "link.counter-ranges",
                    f"The session skipped counters {MOST_RANGES} times; let the device shake hands again.",
                )
            firsts.insert(at, counter)
            lasts.insert(at, counter)
        return True

    def ranges(self) -> Iterator[tuple[int, int]]:
        """First and last counter of each range, rising."""
        return zip(self._firsts, self._lasts, strict=True)

    @property
    def highest(self) -> int:
        """The largest counter, 0 when there is none."""
        return self._lasts[-1] if self._lasts else 0

    def __len__(self) -> int:
        """How many counters are consumed."""
        return sum(self._lasts) - sum(self._firsts) + len(self._firsts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CounterSet):
            return NotImplemented
        return self._firsts == other._firsts and self._lasts == other._lasts

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"<CounterSet of {len(self)} in {len(self._firsts)} ranges>"

    def to_bytes(self) -> bytes:
        """first 6 ‖ last 6 of each range, rising; empty bytes for an empty set."""
        return b"".join(
            first.to_bytes(_WIDTH, "big") + last.to_bytes(_WIDTH, "big") for first, last in self.ranges()
        )

    @classmethod
    def from_bytes(cls, stored: bytes) -> CounterSet:
        """The set of `to_bytes`. Raises DataError `link.counters` for bytes that no set writes."""
        new = cls()
        numbers = [int.from_bytes(stored[at : at + _WIDTH], "big") for at in range(0, len(stored), _WIDTH)]
        new._firsts, new._lasts = numbers[::2], numbers[1::2]
        edge = -1
        for first, last in zip(new._firsts, new._lasts, strict=False):
            if not edge + 1 < first <= last:
                break
            edge = last
        else:
            if len(stored) % (2 * _WIDTH) == 0 and len(new._firsts) <= MOST_RANGES:
                return new
        raise DataError(
            "link.counters", "The stored counters of a session are no rising ranges; restore the store."
        )
