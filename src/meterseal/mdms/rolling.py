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
        media = {medium: number for number, medium in enumerate(sorted({one.medium for one in self}))}
        of_point = np.full(len(words.texts), -1)
        for point, medium in list(words.medium.items()):
            of_point[point] = media.get(medium, -1)
        main = rows["channel"] == MAIN
        for one in self:
            here = (of_point[rows["point"]] == media[one.medium]) & (main == one.main)
            here &= rows["end_at"] <= one.until
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
    end_at = rows["end_at"].astype(np.int64)
    month = months(end_at)
    key = (rows["point"].astype(np.int64) << 8) | (rows["channel"].astype(np.int64) & 0xFF)
    order = np.lexsort((rows["version"], end_at, key))
    key_, at, month_ = key[order], end_at[order], month[order]
    newest = np.append((key_[1:] != key_[:-1]) | (at[1:] != at[:-1]), True)
    shown = np.flatnonzero(newest & (rows["quality"][order] != Quality.MISSING))
    kept: set[tuple[int, int]] = set()
    if len(shown):
        k, a, m = key_[shown], at[shown], month_[shown]
        period = period_of(a, one.level)
        last = np.append((k[1:] != k[:-1]) | (m[1:] != m[:-1]) | (period[1:] != period[:-1]), True)
        first = np.append(True, (k[1:] != k[:-1]) | (m[1:] != m[:-1]))
        stay = first | last
        for usage_point, edges in one.edges.items():
            word = words.known(usage_point)
            if word is None:
                continue
            mine = np.flatnonzero(k >> 8 == word)
            for edge in edges:
                near = mine[m[mine] == months((edge,))[0]]
                for channel in np.unique(k[near]).tolist():
                    its = near[k[near] == channel]
                    before, after = its[a[its] <= edge], its[a[its] > edge]
                    stay[before[-1:]] = True
                    stay[after[:1]] = True
        kept = set(zip(k[stay].tolist(), a[stay].tolist(), strict=True))
    reached = np.full(len(words.texts), one.until, np.int64)
    for usage_point in one.held:
        if (word := words.known(usage_point)) is not None:
            reached[word] = reach(one, usage_point)
    found = np.array([pair not in kept for pair in zip(key.tolist(), end_at.tolist(), strict=True)], np.bool_)
    within: Mask = end_at <= reached[rows["point"]]
    return found & within
