"""Station VEE, one channel in a run: its rows, what is visible of them, and how its gaps are to be filled.

It judges nothing and fills nothing; `versions` and `filling` work with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from meterseal.mdms.entries import Version
from meterseal.mdms.store.rows import ORIGINS, Key, Rows, Words, pick, visible
from meterseal.mdms.vee.context import DAY, HOUR
from meterseal.mdms.vee.estimators import Override
from meterseal.mdms.vee.stretches import ANY, Stretches
from meterseal.model import Quality

YEAR_AND_MORE = 380 * DAY
"""How far back an estimate looks for days alike."""
GOOD = (Quality.MEASURED, Quality.EDITED)


class ReadOff(NamedTuple):
    """What an installer read at a change of meters, in the unit of the medium: the last register of the meter that went,
    the first of the one that came; None where nobody read it. `left`: when the meter that went did, which may be before
    another came.
    """

    last: Decimal | None
    first: Decimal | None
    left: int


class Judged(Struct, frozen=True):
    """One channel in a run: all its rows, what meters delivered of them, from where on it is judged, and when another
    meter than the first was put in place.

    `firm`: from when on everything was loaded that decides whether a reading is doubted. `read_off`: what installers read,
    by the instant at which the meter that came was put in place. `kept`: which interval its load profile keeps when.
    """

    key: Key
    rows: Rows
    delivered: Rows
    since: int
    begins: tuple[int, ...] = ()
    firm: int = 0
    read_off: Mapping[int, ReadOff] = MappingProxyType({})
    kept: Stretches = ANY

    @property
    def meters(self) -> NDArray[np.int32]:
        """Which meter delivered each row, counted from 0: registers of two have nothing in common."""
        begins = np.array(self.begins, np.int64)
        found = np.searchsorted(begins, self.delivered["end_at"].astype(np.int64), side="right")
        return found.astype(np.int32)


class Bridging(Struct, frozen=True):
    """How gaps are filled: those of more than `short` ms once the meter has gone on for `settle` ms after them, because
    what is late mostly comes by then; and an operator's orders of methods for special times.
    """

    short: int = 2 * HOUR
    settle: int = 3 * DAY
    overrides: tuple[Override, ...] = ()

    def waits(self, since: int, until: int) -> int:
        """How long the meter must have gone on after such a gap (ms)."""
        return 0 if until - since <= self.short else self.settle


class Shown:
    """What is visible of a channel by instant, with the versions that are added in this run."""

    def __init__(self, words: Words, channel: Judged, now: int) -> None:
        shown = visible(channel.rows)
        times = shown["end_at"].tolist()
        self.quality = dict(zip(times, shown["quality"].tolist(), strict=True))
        self.register = dict(zip(times, shown["register"].tolist(), strict=True))
        texts = words.texts
        self.method = {at: texts[word] for at, word in zip(times, shown["method"].tolist(), strict=True)}
        self.others = pick(shown, shown["quality"] != Quality.MEASURED)
        """What is not visible as it was measured, before this run."""
        self._highest = dict(zip(times, shown["version"].tolist(), strict=True))
        self._words, self._key, self._now = words, channel.key, now

    def version(self, like: np.void, at: int, value: int, kind: Quality, method: str) -> Version:
        """The next version of one instant."""
        self._highest[at] = self._highest.get(at, 0) + 1
        self.quality[at] = kind
        texts = self._words.texts
        return Version(
            usage_point=texts[self._key.point],
            medium=self._words.medium[self._key.point],
            channel=self._key.channel,
            start_at=at,
            step=0,
            registers=(value,),
            exponent=int(like["exponent"]),
            unit=texts[int(like["unit"])],
            quality=kind,
            method=method,
            recorded_at=self._now,
            origin=ORIGINS[int(like["origin"])],
            version=self._highest[at],
        )
