"""Station MDMS, how many readings of each delivery no earlier one held: 64-bit digests of any number, counted.

It knows no file of a delivery. Digests are dealt out to shares by their first byte, each on the disk once it is large, and
counted share by share: memory for one of them, 16 MB for a hundred million readings.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

_SHARES = 256
_SPOOLED = 1 << 18
_DIGEST = np.dtype([("digest", "<u8"), ("place", "<u4")])


class Distinct:
    """Digests of deliveries 0, 1, …; a context manager, for what it writes is removed at its end. OSError of that disk."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        spooled = (tempfile.SpooledTemporaryFile(_SPOOLED) for _ in range(_SHARES))  # noqa: SIM115 - the stack closes
        self._shares = [self._stack.enter_context(one) for one in spooled]

    def __enter__(self) -> Distinct:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def add(self, place: int, digests: NDArray[np.uint64]) -> None:
        """Some digests of a delivery."""
        rows = np.empty(len(digests), _DIGEST)
        rows["digest"], rows["place"] = digests, place
        share = (digests >> np.uint64(56)).astype(np.uint8)
        order = np.argsort(share, kind="stable")
        edges = np.searchsorted(share[order], np.arange(_SHARES + 1))
        rows = rows[order]
        for number in np.flatnonzero(np.diff(edges)).tolist():
            self._shares[number].write(rows[edges[number] : edges[number + 1]].tobytes())

    def told(self, places: int) -> Iterator[tuple[int, int]]:
        """Of each delivery: how many digests no earlier one has, and how many it has itself already."""
        new, twice = np.zeros(places, np.int64), np.zeros(places, np.int64)
        for share in self._shares:
            share.seek(0)
            rows = np.frombuffer(share.read(), _DIGEST)
            rows = rows[np.lexsort((rows["place"], rows["digest"]))]
            same = rows["digest"][1:] == rows["digest"][:-1]
            first = np.concatenate((np.ones(min(1, len(rows)), bool), ~same))
            again = rows["place"][1:][same & (rows["place"][1:] == rows["place"][:-1])]
            new += np.bincount(rows["place"][first], minlength=places)
            twice += np.bincount(again, minlength=places)
        return zip(new.tolist(), twice.tolist(), strict=True)
