"""Station MDMS, what usage points used and fed in by the hour, as forecasts are made of it and judged by it.

It forecasts nothing and fills no hole. What registers counted is multiplied, and begins anew where a meter was exchanged;
what validation or a person doubts of it is not known, and what a person edited counts as edited.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from meterseal.mdms.columns import Columns, Missed, Scan
from meterseal.mdms.forecast.doubtful import carried
from meterseal.mdms.forecast.history import HOUR, hourly, multiplied
from meterseal.mdms.forecast.task import Floats
from meterseal.mdms.multipliers import Stated
from meterseal.mdms.spans import Span
from meterseal.mdms.store.rows import Key, Words
from meterseal.mdms.store.store import Store
from meterseal.model import EXPORT, MAIN, Medium

Said = TypeVar("Said")
FORECAST = (MAIN, EXPORT)
"""The channels that are forecast."""


class Used(NamedTuple):
    """Usage points, and (hours, points) of what their channel counted."""

    points: list[str]
    use: Floats


class Shown:
    """A store, scanned with what came of the readings in it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def scan(
        self, medium: Medium, since: int, until: int, missed: Missed | None = None
    ) -> Iterator[tuple[list[Key], Columns]]:
        """As `Store.shown`."""
        return self._store.shown(medium, since, until, missed)


class Uses:
    """What a store has of all usage points, with what was stated of their meters when this was made."""

    def __init__(
        self,
        store: Scan,
        words: Words,
        replaced: Mapping[str, Sequence[int]],
        factors: Mapping[str, Stated],
        sizes: Mapping[str, Sequence[Span]] = MappingProxyType({}),
    ) -> None:
        self._store = store
        self._words = words
        self._replaced = replaced
        self._factors = factors
        self._sizes = sizes

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
            places = [at for these in chosen.values() for at in these]
            use = multiplied(use, since, _placed(self._factors, points, places))
            # What is fed in is the plant's: the connection is said to carry what is used.
            use = carried(use, since, _placed(self._sizes, points, chosen[MAIN]))
            yield {of: Used([points[at] for at in these], use[:, these]) for of, these in chosen.items()}


def _placed(said: Mapping[str, Said], points: Sequence[str], places: Sequence[int]) -> dict[int, Said]:
    """What is said of usage points, by place."""
    return {at: said[points[at]] for at in places if points[at] in said} if said else {}
