"""Station MDMS, gathering: the leaves of some shares of the usage points in one pass over all of them, packed in memory.

It compares nothing (`replay` does). Leaves lie in the order in which they came, so each share's are everywhere: a pass for
each share alone would open every leaf as often as there are shares.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator

import msgspec
import numpy as np

from meterseal.mdms.bulk import Bulk, pack_bulk, unpack_bulk
from meterseal.mdms.ledger.files import Made
from meterseal.mdms.ledger.leaves import Delivered, RolledUp, plaintext, read
from meterseal.mdms.ledger.ledger import Ledger

PACKED = 256 * 1024 * 1024
"""Bytes that the leaves of one pass take in memory, about."""
_BATCH = 1024

Numbered = tuple[int, Made]
_DECODER = msgspec.msgpack.Decoder(list[Numbered])


class Shares:
    """Usage points by their names, cut into parts of as many each. Who comes next to another in a name lies next to it in
    segments and in what is delivered as columns, so that each of these is opened for one or two shares, not for all."""

    def __init__(self, usage_points: Iterable[str], count: int) -> None:
        every = sorted(usage_points)
        self._first = [every[len(every) * number // count] for number in range(1, count)] if every else []
        self.count = count

    def of(self, usage_point: str) -> int:
        """Which of them a usage point is in, known or not."""
        return bisect_right(self._first, usage_point)


def groups(ledger: Ledger, shares: int) -> Iterator[range]:
    """All shares, in groups whose leaves fit into memory together."""
    files = ledger.at_rest()[0]
    size = sum(file.path.stat().st_size for file in files if file.path.exists())
    together = max(1, min(shares, PACKED * shares // max(size, 1)))
    for first in range(0, shares, together):
        yield range(first, min(first + together, shares))


class Gathered:
    """The leaves of a group of shares. One of columns is cut to the usage points of each, a roll-up is in all of them."""

    def __init__(self, leaves: Iterable[Numbered], here: range, shares: Shares) -> None:
        self._open: dict[int, list[Numbered]] = {share: [] for share in here}
        self._packed: dict[int, list[bytes]] = {share: [] for share in here}
        for number, one in leaves:
            try:
                leaf = read(one.plaintext)
            except ValueError:
                continue  # the walk over the tree names it
            if isinstance(leaf, Delivered):
                for share, columns in _cut(leaf.columns, here, shares):
                    if columns is leaf.columns:
                        self._add(share, (number, one))
                        continue
                    cut = msgspec.structs.replace(leaf, columns=columns)
                    self._add(share, (number, msgspec.structs.replace(one, plaintext=plaintext(cut))))
            elif isinstance(leaf, RolledUp):
                for share in here:
                    self._add(share, (number, one))
            elif (share := shares.of(leaf.owner)) in self._open:
                self._add(share, (number, one))

    def of(self, share: int) -> Iterator[Numbered]:
        """The leaves of a share in their order, once: they are let go on the way."""
        packed = self._packed.pop(share)
        for place, batch in enumerate(packed):
            packed[place] = b""
            yield from _DECODER.decode(zlib.decompress(batch))
        yield from self._open.pop(share)

    def _add(self, share: int, one: Numbered) -> None:
        batch = self._open[share]
        batch.append(one)
        if len(batch) == _BATCH:
            self._packed[share].append(zlib.compress(msgspec.msgpack.encode(batch), 1))
            batch.clear()


def _cut(columns: bytes, here: range, shares: Shares) -> Iterator[tuple[int, bytes]]:
    """(share, the same columns without the usage points of other shares) of each share `here` that has any."""
    if shares.count == 1:
        yield 0, columns
        return
    bulk = unpack_bulk(columns)
    of_point = np.array([shares.of(point) for point in bulk.points], np.int64)
    found = np.unique(of_point).tolist()
    if len(found) == 1:
        if found[0] in here:
            yield found[0], columns
        return
    of_row = of_point[bulk.point]
    for share in found:
        if share not in here or not (wanted := of_row == share).any():
            continue
        left = Bulk(*bulk[:6], *(column[wanted] for column in bulk[6:]))
        points, point = np.unique(left.point, return_inverse=True)
        units, unit = np.unique(left.unit, return_inverse=True)
        yield (
            share,
            pack_bulk(
                left._replace(
                    points=tuple(bulk.points[one] for one in points.tolist()),
                    point=point,
                    units=tuple(bulk.units[one] for one in units.tolist()),
                    unit=unit,
                )
            ),
        )
