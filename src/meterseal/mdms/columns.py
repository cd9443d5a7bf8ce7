"""Station MDMS, the shape in which readings travel in bulk between the store and those who judge them.

It holds no version and decides nothing: what is visible was decided by the store, what is plausible is VEE's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from meterseal.mdms.store.rows import EVER, Key
from meterseal.model import Medium


class Columns(NamedTuple):
    """Visible register readings of many channels, one channel after the other, each sorted by end_at without repeats.

    All but `starts` have one length; channel k is the rows starts[k]:starts[k + 1].
    """

    starts: NDArray[np.int64]
    """n + 1 offsets, rising; the first is 0, the last the number of rows."""
    end_at: NDArray[np.int64]
    """Unix ms, rising within a channel."""
    register: NDArray[np.int64]
    """Scaled integers, value = register * 10**exponent; any value where `quality` is MISSING."""
    exponent: NDArray[np.int8]
    """Per row: a meter swap may change it."""
    quality: NDArray[np.int8]
    """`model.Quality` per row."""
    unit: NDArray[np.int32]
    """Word number per row (the store's words); equal number = equal unit."""
    meter: NDArray[np.int32]
    """A number that changes when another meter delivered the row (swap); `Store.scan` knows no meters and leaves it 0,
    `with_meters` fills it in.
    """

    @property
    def channels(self) -> int:
        """How many channels."""
        return len(self.starts) - 1

    def part(self, first: int, last: int) -> Columns:
        """The channels first <= k < last, whole, without a copy of their rows."""
        here = slice(int(self.starts[first]), int(self.starts[last]))
        starts = self.starts[first : last + 1] - self.starts[first]
        return Columns._make([starts, *(column[here] for column in self[1:])])


EMPTY = Columns(
    np.zeros(1, np.int64),
    np.empty(0, np.int64),
    np.empty(0, np.int64),
    np.empty(0, np.int8),
    np.empty(0, np.int8),
    np.empty(0, np.int32),
    np.empty(0, np.int32),
)
"""No channel."""


class Lost(NamedTuple):
    """Readings of since <= end_at <= until that lie in a file which is not what was stored."""

    since: int
    until: int
    file: str


Missed = dict[Key, list[Lost]]
"""What could not be read of which channels."""


class Scan(Protocol):
    """Where readings come from in bulk."""

    def scan(
        self, medium: Medium, since: int, until: int, missed: Missed | None = None
    ) -> Iterator[tuple[list[Key], Columns]]:
        """Every channel, whole within since <= end_at <= until, in exactly one block.

        Blocks have at most about 2 million rows; at most two of them are alive at once. Of a channel that lies in a damaged
        file only what comes after it is given, and `missed` gets it, as far as the channel is known from elsewhere.
        """


def after(keys: list[Key], columns: Columns, floors: Mapping[Key, int]) -> tuple[list[Key], Columns]:
    """The same without rows of these channels up to these instants; a channel that has none left is left out."""
    floor = np.array([floors.get(key, -EVER) for key in keys], np.int64)
    of = np.repeat(np.arange(columns.channels), np.diff(columns.starts))
    kept = columns.end_at > floor[of]
    counts = np.bincount(of[kept], minlength=columns.channels)
    starts = np.append(0, np.cumsum(counts[counts > 0]))
    there = [key for key, count in zip(keys, counts.tolist(), strict=True) if count]
    return there, Columns._make([starts, *(column[kept] for column in columns[1:])])


def with_meters(keys: list[Key], columns: Columns, begins: Mapping[int | None, Sequence[int]]) -> Columns:
    """The same with the meters counted: `begins` are the instants, rising, from which on another one counts at a point."""
    exchanged = [place for place, key in enumerate(keys) if begins.get(key.point)]
    if not exchanged:
        return columns
    meter = columns.meter.copy()
    for place in exchanged:
        rows = slice(int(columns.starts[place]), int(columns.starts[place + 1]))
        instants = np.array(begins[keys[place].point], np.int64)
        meter[rows] = np.searchsorted(instants, columns.end_at[rows], side="right")
    return columns._replace(meter=meter)


def join(parts: list[Columns]) -> Columns:
    """The channels of several columns, in their order; without parts, no channel."""
    parts = parts or [EMPTY]
    shift = np.cumsum([0, *(len(part.end_at) for part in parts)])
    starts = [
        parts[0].starts[:1],
        *(part.starts[1:] + by for part, by in zip(parts, shift[:-1], strict=True)),
    ]
    rest = (np.concatenate(columns) for columns in zip(*(part[1:] for part in parts), strict=True))
    return Columns._make([np.concatenate(starts), *rest])
