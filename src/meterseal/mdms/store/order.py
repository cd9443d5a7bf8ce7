"""Station MDMS, the order of channels: by usage point as text, then channel, so that one can go on behind the last.

It opens no file; numbers of keys come from `store`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

import numpy as np

from meterseal.mdms.store.index import CHANNELS
from meterseal.mdms.store.packing import Ints
from meterseal.mdms.store.rows import Words

_NONE: Ints = np.empty(0, np.int64)


class Order:
    """Remembers how the channels of the last question were sorted: sorting a city's takes longer than a page of it."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._last = _NONE, _NONE

    def after(
        self, numbers: Ints, last: tuple[str, int] | None, usage_point: str | None = None
    ) -> Iterator[tuple[str, int]]:
        """(usage point, channel) of keys given as rising numbers, in order, behind `last`; of one usage point or of all."""
        if usage_point is not None:
            point = self._words.known(usage_point)
            numbers = numbers[numbers >> CHANNELS == (-1 if point is None else point)]
        else:
            numbers = self._sorted(numbers)
        begin = 0 if last is None else bisect_right(numbers, last, key=self._named)
        return (self._named(number) for number in numbers[begin:].tolist())

    def _named(self, number: int) -> tuple[str, int]:
        return self._words.texts[number >> CHANNELS], number & (1 << CHANNELS) - 1

    def _sorted(self, numbers: Ints) -> Ints:
        known, found = self._last
        if not np.array_equal(known, numbers):
            found = np.array(sorted(numbers.tolist(), key=self._named), np.int64)
            self._last = numbers, found
        return found
