"""Station MDMS, rolling up: which versions of readings a roll-up leaves, and up to where nothing new is taken in.

Pure; it removes nothing (`store.rollup` does) and decides no period (`app.retaining` does).

A roll-up computes no value: it leaves registers where they stand. Up to its end there stay, of each channel,

- the last instant with a visible value of every local day (or month), which is the register at its boundary,
- the first such instant of every month of UTC, which is where a channel begins,
- the last one up to, and the first one after, every stated edge: an exchange, a beginning or an end of an agreement,

each with all its versions and its own quality. So every difference between two of these is what it was. A period is one
of a day (or month) within a month of UTC, because that is what one segment holds. What comes later for a time that was
rolled up is not stored: else what a roll-up leaves would depend on when it ran.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from meterseal.mdms.entries import Rollup
from meterseal.mdms.store.rows import Rows, Words
from meterseal.mdms.store.segments import months
from meterseal.model import MAIN, Medium, Quality

DAY = 86_400_000
_SHANGHAI = 8 * 3_600_000
NOTHING = -1

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]


class Rolled:
    """The roll-ups of one store: of each medium, kind of channel and level the newest. Guarded by the store's lock."""

    def __init__(self) -> None:
        self._of: dict[tuple[Medium, bool], dict[str, Rollup]] = {}
        self.waiting: list[tuple[int, Rollup]] = []
        """(journal entry, roll-up) of those that no table holds yet."""

    def __bool__(self) -> bool:
        return bool(self._of)

    def __iter__(self) -> Iterator[Rollup]:
        return iter([one for found in self._of.values() for one in found.values()])

    def copy(self) -> Rolled:
        """As it is now."""
        made = Rolled()
        for one in self:
            made.take(one)
        return made

    def take(self, one: Rollup) -> None:
        """From here on it holds."""
        self._of.setdefault((one.medium, one.main), {})[one.level] = one

    def newest(self, medium: Medium, main: bool, level: str) -> Rollup | None:
        """The one that holds, if any."""
        return self._of.get((medium, main), {}).get(level)

    def horizon(self, usage_point: str, medium: Medium, channel: int) -> int:
        """Up to which instant a channel was rolled up; NOTHING when it never was."""
        found = self._of.get((medium, channel == MAIN))
        return max((reach(one, usage_point) for one in found.values()), default=NOTHING) if found else NOTHING

    def latest(self) -> int:
        """Up to which instant anything was rolled up."""
        return max((one.until for one in self), default=NOTHING)

    def removable(self, rows: Rows, words: Words) -> Mask:
        """Which versions of readings no roll-up leaves. Rows of a channel and month of UTC must be there altogether."""
        gone = np.zeros(len(rows), np.bool_)
        if not len(rows) or not self._of:
            return gone
        here_, of_point = np.unique(rows["point"], return_inverse=True)
        points = here_.tolist()
        medium_of = [words.medium.get(point) for point in points]
        main = rows["channel"] == MAIN
        for one in self:
            its = np.array([medium == one.medium for medium in medium_of], np.bool_)
            here = its[of_point] & (main == one.main) & (rows["end_at"] <= one.until)
            if here.any():
                numbers = np.flatnonzero(here)
                gone[numbers] |= _removable(rows[numbers], words, one)
        return gone


def reach(one: Rollup, usage_point: str) -> int:
    """Up to which instant a roll-up goes for a usage point."""
    return min(one.until, one.held.get(usage_point, one.until))


def period_of(end_at: Ints, level: str) -> Ints:
    """Number of the local day (or month) that instants belong to; midnight belongs to the day before."""
    days = (end_at - 1 + _SHANGHAI) // DAY
    return days if level == "day" else months(days * DAY)


def edge_of(at: int, level: str) -> int:
    """The last local midnight (or beginning of a month) up to an instant."""
    midnight = (at + _SHANGHAI) // DAY * DAY - _SHANGHAI
    if level == "day":
        return midnight
    month = np.datetime64(midnight + _SHANGHAI, "ms").astype("datetime64[M]")
    return int(month.astype("datetime64[ms]").astype(np.int64)) - _SHANGHAI


def _removable(rows: Rows, words: Words, one: Rollup) -> Mask:
    """Of rows up to the end of a roll-up of its medium and kind of channel: those that it does not leave."""
    key = (rows["point"].astype(np.int64) << 8) | (rows["channel"].astype(np.int64) & 0xFF)
    end_at = rows["end_at"].astype(np.int64)
    order = np.lexsort((rows["version"], end_at, key))
    key, end_at = key[order], end_at[order]
    newest = np.append((key[1:] != key[:-1]) | (end_at[1:] != end_at[:-1]), True)
    shown = np.flatnonzero(newest & (rows["quality"][order] != Quality.MISSING))
    k, a = key[shown], end_at[shown]
    m, period = months(a), period_of(a, one.level)
    turns = (k[1:] != k[:-1]) | (m[1:] != m[:-1])
    stay = np.append(True, turns) | np.append(turns | (period[1:] != period[:-1]), True)
    stay = stay[: len(shown)]  # of none shown, none
    stay[_beside(one.edges, words, k, a, m)] = True
    left = np.zeros(int(newest.sum()), np.bool_)  # of every instant, with all its versions
    instant = np.cumsum(newest) - newest
    left[instant[shown[stay]]] = True
    here, of_point = np.unique(key >> 8, return_inverse=True)
    reached = np.array([reach(one, words.texts[point]) for point in here.tolist()], np.int64)
    found = np.empty(len(rows), np.bool_)
    found[order] = ~left[instant] & (end_at <= reached[of_point])
    return found


def _beside(edges: dict[str, tuple[int, ...]], words: Words, k: Ints, a: Ints, m: Ints) -> Ints:
    """Where the last shown instants up to, and the first ones after, the edges of their usage points stand, in the month of
    the edge. Sorted by channel `k` and time `a` of month `m`.
    """
    starts = np.flatnonzero(np.append(True, k[1:] != k[:-1])[: len(k)])
    stops = np.append(starts[1:], len(k))[: len(starts)]
    found: list[int] = []
    months_of: dict[int, int] = {}
    for channel, start, stop in zip(k[starts].tolist(), starts.tolist(), stops.tolist(), strict=True):
        of = edges.get(words.texts[channel >> 8], ())
        for edge in of:
            if edge not in months_of:
                months_of[edge] = int(months((edge,))[0])
            after = start + int(np.searchsorted(a[start:stop], edge, "right"))
            found += [at for at in (after - 1, after) if start <= at < stop and m[at] == months_of[edge]]
    return np.array(found, np.int64)
