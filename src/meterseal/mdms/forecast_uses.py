"""Station MDMS, what usage points used and fed in by the hour, as forecasts are made of it and judged by it.

It forecasts nothing and fills no hole. What registers counted is multiplied, and begins anew where a meter was exchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from meterseal.mdms.columns import Missed, Scan
from meterseal.mdms.forecast.history import HOUR, hourly, multiplied
from meterseal.mdms.forecast.task import Floats
from meterseal.mdms.multipliers import Stated
from meterseal.mdms.store.rows import Words
from meterseal.model import EXPORT, MAIN, Medium

FORECAST = (MAIN, EXPORT)
"""The channels that are forecast."""


class Used(NamedTuple):
    """Usage points, and (hours, points) of what their channel counted."""

    points: list[str]
    use: Floats


class Uses:
    """What a store has of all usage points, with what was stated of their meters when this was made."""

    def __init__(
        self,
        store: Scan,
        words: Words,
        replaced: Mapping[str, Sequence[int]],
        factors: Mapping[str, Stated],
    ) -> None:
        self._store = store
        self._words = words
        self._replaced = replaced
        self._factors = factors

    def scan(
        self, medium: Medium, since: int, hours: int, missed: Missed | None = None
    ) -> Iterator[dict[int, Used]]:
        """Blocks of usage points: by channel their use of each hour from `since` on, NaN where it is not known; into
        `missed` what could not be read.
        """
        for keys, columns in self._store.scan(medium, since, since + hours * HOUR, missed):
            points = [self._words.texts[key.point] for key in keys]
            exchanged = {
                at: self._replaced[point][1:] for at, point in enumerate(points) if point in self._replaced
            }
            use = hourly(columns, since, hours, exchanged)
            chosen = {of: [at for at, key in enumerate(keys) if key.channel == of] for of in FORECAST}
            if self._factors:
                stated = {
                    at: self._factors[points[at]]
                    for places in chosen.values()
                    for at in places
                    if points[at] in self._factors
                }
                use = multiplied(use, since, stated)
            yield {of: Used([points[at] for at in places], use[:, places]) for of, places in chosen.items()}
