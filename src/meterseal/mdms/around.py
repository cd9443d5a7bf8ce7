"""Station MDMS, what rules and estimators are told beside the registers: the stored tables as a context of VEE.

It judges nothing and stores nothing. One object is of one run: what it read first holds for all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import islice

from msgspec.structs import replace

from meterseal.mdms import clocks, plants
from meterseal.mdms.facts import Facts
from meterseal.mdms.multipliers import KIND, factors, is_multiplied
from meterseal.mdms.seen import EVERYTHING, Seen
from meterseal.mdms.spans import Span, Told, at, subs_of
from meterseal.mdms.store.rows import Key, Words
from meterseal.mdms.surroundings import HOUR, MOST_HOURS, Surroundings
from meterseal.mdms.vee.channel import ReadOff
from meterseal.mdms.vee.context import (
    DAY,
    OFFSET,
    Calendar,
    Context,
    Heating,
    Multiplied,
    Period,
    Size,
    Warmth,
    Weather,
)
from meterseal.mdms.vee.engine import Joined, Nothing
from meterseal.model import EXPORT, HEAT_VOLUME, MAIN

SUNDAY, MIDWEEK = 6, 2
NEIGHBOURS = 30
"""Usage points that an estimate asks at most."""


class Around(Nothing):
    """The surroundings of one run at `now`, up to what it saw; without `seen` as they were recorded up to that instant.

    Class and heating are those of `now` for all that a run looks at; everything else holds in its own period. `exists`
    says whether a run sees any reading of a channel.
    """

    def __init__(
        self,
        tables: Surroundings,
        facts: Facts,
        words: Words,
        now: int,
        seen: Seen | None,
        exists: Callable[[Key], bool],
        replaced: Mapping[str, Sequence[int]],
        read_off: Callable[[str], Mapping[int, ReadOff]] = lambda _: {},
        water: Callable[[str, int, int], Mapping[int, Warmth]] = lambda point, first, last: {},
    ) -> None:
        self._tables, self._facts, self._words, self._now = tables, facts, words, now
        self._fact = seen.fact if seen is not None else None
        self._seen = seen or EVERYTHING
        self._exists = exists
        self._replaced = replaced
        self._read_off = read_off
        self._water = water

    def classes(self, keys: Sequence[Key]) -> list[str]:
        """What the operator stated, else a dwelling."""
        known = self._told.get("class", {})
        if not known:
            return super().classes(keys)
        return [at(known.get(self._words.texts[key.point], ()), self._now) or "dwelling" for key in keys]

    def context(self, context: Context, keys: Sequence[Key]) -> Context:
        """The same context with the days, the weather and the facts that are stored."""
        points: dict[str, dict[int, int]] = {}
        for number, key in enumerate(keys):
            points.setdefault(self._words.texts[key.point], {})[key.channel] = number
        main = {point: channels[MAIN] for point, channels in points.items() if MAIN in channels}
        fed = {point: channels[EXPORT] for point, channels in points.items() if EXPORT in channels}
        return replace(
            context,
            calendar=self._calendar,
            weather=self._weather,
            heating=self._heating(main) if context.medium == "gas" else context.heating,
            sizes=tuple(
                Size(number, round(float(span.value) * 1000), span.since, span.until)
                for number, span in (*self._of("size", main), *self._of(plants.KIND, fed))
            ),
            vacancies=tuple(
                Period(number, span.since, span.until) for number, span in self._of("vacant", main)
            ),
            events=self._facts.events(points, self._now, self._fact),
            clocks=clocks.of(
                self._facts.clocks_of(list(points), self._now, self._fact), self._replaced, points
            ),
            multipliers=self.multipliers(keys),
            exports=tuple(fed.values()),
        )

    def multipliers(self, keys: Sequence[Key]) -> tuple[Multiplied, ...]:
        """What use is multiplied by where that is not 1, of the channels that it is of, numbered in their order."""
        known = self._told.get(KIND, {})
        if not known:
            return ()
        found = []
        for number, key in enumerate(keys):
            if not is_multiplied(self._words.medium[key.point], key.channel):
                continue
            for one in factors(known.get(self._words.texts[key.point], ())):
                places = max(0, -int(one.factor.as_tuple().exponent))
                found.append(Multiplied(number, one.since, one.until, int(one.factor.scaleb(places)), places))
        return tuple(found)

    def joined(self, keys: Collection[Key]) -> list[Joined]:
        """Main meters with their sub-meters, and heat meters' energy with their volume."""
        found = []
        for main, subs, since, until in self._mains:
            known = [self._words.known(point) for point in (main, *subs)]
            cluster = tuple(Key(point, MAIN) for point in known if point is not None)
            exports = tuple(
                one
                for key in cluster
                if self._words.medium[key.point] == "electricity"
                and self._exists(one := Key(key.point, EXPORT))
            )
            fed = tuple(
                (cluster.index(Key(one.point, MAIN)), len(cluster) + place)
                for place, one in enumerate(exports)
            )
            asked = len(cluster) == len(known) and any(key in keys for key in (*cluster, *exports))
            if asked and all(map(self._exists, cluster)):
                found.append(Joined((*cluster, *exports), since, until, fed=fed))
        pair = (MAIN, HEAT_VOLUME)
        heat = {key.point for key in keys if self._words.medium[key.point] == "heat" and key.channel in pair}
        heated = sorted(heat, key=self._words.texts.__getitem__)
        for point in heated:
            water = partial(self._water, self._words.texts[point])
            found.append(Joined(tuple(Key(point, one) for one in pair), balance=True, water=water))
        return found

    def neighbours(self, key: Key, since: int, until: int) -> list[Key]:
        """The same channel of usage points of the same medium that are in its group all the time, at most NEIGHBOURS."""
        known = self._told.get("group", {})
        spans = known.get(self._words.texts[key.point], ())
        mine = next((span for span in spans if span.since <= since and until <= span.until), None)
        if mine is None:
            return []
        found = []
        for point in self._groups.get(mine.value, ()):
            other = self._words.known(point)
            inside = any(
                span.value == mine.value and span.since <= since and until <= span.until
                for span in known[point]
            )
            if other not in (None, key.point) and inside:
                found.append(Key(other, key.channel))
        medium = self._words.medium
        alike = (one for one in found if medium.get(one.point) == medium[key.point] and self._exists(one))
        return list(islice(alike, NEIGHBOURS))

    def zone(self, key: Key, when: int) -> str:
        """The zone that supplied its usage point at an instant."""
        return at(self._told.get("zone", {}).get(self._words.texts[key.point], ()), when)

    def read_off(self, key: Key) -> Mapping[int, ReadOff]:
        """What installers read of the meters of a main channel; of other channels they read nothing."""
        return self._read_off(self._words.texts[key.point]) if key.channel == MAIN else {}

    def _of(self, kind: str, main: Mapping[str, int]) -> Iterator[tuple[int, Span]]:
        known = self._told.get(kind, {})
        return ((number, span) for point, number in main.items() for span in known.get(point, ()))

    def _heating(self, main: Mapping[str, int]) -> Heating:
        heats = self._told.get("heats", {})
        channels = tuple(n for point, n in main.items() if at(heats.get(point, ()), self._now))
        return replace(self._heated, channels=channels)

    @cached_property
    def _told(self) -> Told:
        return self._facts.told(self._now, self._fact, self._replaced)

    @cached_property
    def _mains(self) -> list[tuple[str, tuple[str, ...], int, int]]:
        return subs_of(self._told)

    @cached_property
    def _groups(self) -> dict[str, list[str]]:
        """Usage points by the groups they are or were in, in order."""
        found: dict[str, list[str]] = {}
        for point, spans in sorted(self._told.get("group", {}).items()):
            for value in {span.value for span in spans}:
                found.setdefault(value, []).append(point)
        return found

    @cached_property
    def _heated(self) -> Heating:
        spans = self._told.get("heating", {}).get("", ())
        if not spans:
            return Heating()
        edges = [((s.since + OFFSET) // DAY, (s.until + OFFSET) // DAY, s.value == "on") for s in spans]
        first, last = edges[0][0], edges[-1][1]
        table = [-1] * (last - first)
        for begin, end, on in edges:
            table[begin - first : end - first] = [int(on)] * (end - begin)
        return Heating(first, tuple(table))

    @cached_property
    def _calendar(self) -> Calendar:
        """A holiday is a Sunday, a Saturday or Sunday that is worked a day in the middle of the week."""
        kinds = self._tables.days(self._seen.day)
        if not kinds:
            return Calendar()
        first, last = min(kinds), max(kinds)
        table = [(day + 3) % 7 for day in range(first, last + 1)]
        for day, kind in kinds.items():
            table[day - first] = SUNDAY if kind == "holiday" else MIDWEEK
        return Calendar(first, tuple(table))

    @cached_property
    def _weather(self) -> Weather:
        known = self._tables.weather_known(self._seen.weather)
        if known is None:
            return Weather()
        first = max(known[0], known[1] - MOST_HOURS + 1)
        degrees = self._tables.weather(first * HOUR, known[1] - first + 1, self._seen.weather)
        return Weather(first, tuple(degrees.tolist()))
