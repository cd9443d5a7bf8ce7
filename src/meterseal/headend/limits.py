"""How much one source may ask of the head-end: token buckets in a bounded table.

Decides only; whoever asks drops, delays or answers RETRY.
"""

from __future__ import annotations

from collections import OrderedDict

WAYS = 8
"""Kinds of ways that show no sender's address; each has limits of its own."""


class Buckets:
    """Token buckets by key: `rate` tokens a second up to `burst`; at most `keys` keys, the longest idle one goes first.

    A key that was pushed out starts with a full bucket again, so an attacker with very many addresses is bounded by
    memory and by the global limit, not by this one alone.
    """

    def __init__(self, *, rate: float, burst: float, keys: int = 4096) -> None:
        self._rate = rate / 1000
        self._burst = burst
        self._keys = keys
        self._table: OrderedDict[bytes | str, tuple[float, int]] = OrderedDict()

    def take(self, key: bytes | str, now: int, cost: float = 1.0) -> bool:
        """Take `cost` tokens of `key` at `now` (ms); False when there are too few (and none is taken)."""
        level, since = self._table.pop(key, (self._burst, now))
        level = min(self._burst, level + max(0, now - since) * self._rate)
        allowed = level >= cost
        self._table[key] = (level - cost if allowed else level, now)
        while len(self._table) > self._keys:
            self._table.popitem(last=False)
        return allowed

    def back(self, key: bytes | str) -> None:
        """Give one token back that was taken for nothing."""
        if key in self._table:
            level, since = self._table[key]
            self._table[key] = (min(self._burst, level + 1), since)

    def __len__(self) -> int:
        return len(self._table)
