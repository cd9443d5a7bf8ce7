"""Station MDMS, heats: what heat meters showed of their water, hour by hour, and the mean spread of each local day from it.

It judges nothing (the rule `heat-balance` does) and measures nothing. A day of a usage point is one sealed row: of each
hour the first answer that came, with the journal entry that brought it. So what a run saw is found again by the entry that
it saw, whatever came later, and a journal that is replayed brings nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from math import sqrt
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
import structlog
from msgspec import Struct

from meterseal.control.engine import read, write
from meterseal.control.sealed import HEAT_DAYS
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import heat_days as table
from meterseal.control.writes import upsert
from meterseal.errors import TrustError
from meterseal.mdms.entries import Place, Rollup
from meterseal.mdms.rolling import reach
from meterseal.mdms.store.rows import EVER
from meterseal.mdms.vee.context import DAY, HOUR, OFFSET, Warmth
from meterseal.model import HeatSeen

RECALLED = 100
"""Local days before a run's own instant that it asks for: older ones are judged by energy and volume alone. A rule is tried
on the last 90 days, and no sample comes later than 35 (the backlog time)."""
SLIGHT = 300
"""Centikelvin below which a meter may count nothing: the least difference that one of 3 K (EN 1434) answers for."""
_STANDS, _UNCOUNTED = 32, 64
_ROWS_AT_ONCE = 500

log = structlog.get_logger()


class Warm(Struct, frozen=True, gc=False):
    """What the meter at a usage point showed, and the journal entry that brought it."""

    usage_point: str
    entry: int
    seen: HeatSeen


class Hour(NamedTuple):
    """The answer that counts for an hour of a local day: `volume` in litres, -1 where not known."""

    hour: int
    entry: int
    supply: int
    back: int
    volume: int
    flows: bool


def placed(seen: HeatSeen, places: Iterable[Place], entry: int) -> list[Warm]:
    """The answer at the usage point where the meter was then; none where it was nowhere, and none of another medium."""
    return [
        Warm(place.usage_point, entry, seen)
        for place in places
        if place.device_id == seen.device_id
        and place.medium == "heat"
        and place.since <= seen.at < (place.until or EVER)
    ]


def day_of(at: int) -> int:
    """The local day of an instant, counted from 1970."""
    return (at + OFFSET) // DAY


class Heats:
    """The table `heat_days`. May be used from any thread."""

    def __init__(self, engine: sa.Engine, keys: KeyRing) -> None:
        self._engine = engine
        self._keys = keys

    def keep(self, came: Sequence[Warm]) -> None:
        """Add to the days what they do not have yet, in the order of the journal. Raises EngineError `control.*`."""
        days: dict[tuple[str, int], list[Hour]] = {}
        for one in came:
            days.setdefault((one.usage_point, day_of(one.seen.at)), []).append(_hour(one))
        places = sorted(days)
        for start in range(0, len(places), _ROWS_AT_ONCE):
            part = places[start : start + _ROWS_AT_ONCE]
            with write(self._engine) as connection:
                its = sa.tuple_(table.c.usage_point, table.c.day).in_(part)
                stored = connection.execute(sa.select(table).where(its))
                known = {(row.usage_point, row.day): self._opened(row) for row in stored}
                rows = []
                for place in part:
                    if (before := known.get(place, [])) is None:
                        continue
                    after = first_of_hours([*before, *days[place]])
                    # Not only where it is longer: of two that had an hour, the other may have been given up.
                    if after != before:
                        row = {"usage_point": place[0], "day": place[1], "sealed_hours": packed(after)}
                        rows.append(HEAT_DAYS.seal(self._keys, row))
                upsert(connection, table, rows)

    def hours(self, usage_point: str, first: int, last: int) -> dict[int, list[Hour]]:
        """What is kept of local days first <= day <= last."""
        query = sa.select(table).where(table.c.usage_point == usage_point, table.c.day.between(first, last))
        with read(self._engine) as connection:
            rows = connection.execute(query).all()
        found = ((row.day, self._opened(row)) for row in rows)
        return {day: hours for day, hours in found if hours is not None}

    def _opened(self, row: sa.Row[Any]) -> list[Hour] | None:
        """None where it is not what was kept: that day is known no more, and holds up no other. It is left as it lies."""
        try:
            return unpacked(HEAT_DAYS.open(self._keys, row) or b"")
        except TrustError as error:
            if error.code != "crypto.tag":
                raise
            log.warning("mdms.heat-day", usage_point=row.usage_point, day=row.day, code=error.code)
            return None

    def roll_up(self, one: Rollup) -> None:
        """Take away the days that a roll-up of heat meters' energy goes over. Again does nothing."""
        if one.medium != "heat" or not one.main:
            return
        held = sorted(one.held)
        with write(self._engine) as connection:
            before = table.c.day < day_of(one.until)
            points = (
                connection.execute(sa.select(table.c.usage_point).where(before).distinct()).scalars().all()
            )
            free = [point for point in points if point not in one.held]
            for start in range(0, len(free), _ROWS_AT_ONCE):
                its = table.c.usage_point.in_(free[start : start + _ROWS_AT_ONCE])
                connection.execute(table.delete().where(before, its))
            for point in held:
                mine = table.c.day < day_of(reach(one, point))
                connection.execute(table.delete().where(table.c.usage_point == point, mine))


class Recalled:
    """What a run may know of heat meters' water: journal entries up to `entry`, of days near its own instant `now`.

    `waiting` gives what no table holds yet. It is asked first, and the table after it: so nothing falls between the two.
    """

    def __init__(self, heats: Heats, waiting: Callable[[], Sequence[Warm]], now: int, entry: int) -> None:
        self._heats = heats
        self._waiting = waiting
        self._now, self._entry = now, entry
        self._came: dict[str, list[Warm]] | None = None

    def __call__(self, usage_point: str, first: int, last: int) -> Mapping[int, Warmth]:
        """By local day first <= day <= last what is known of it."""
        if self._came is None:
            self._came = {}
            for one in self._waiting():
                self._came.setdefault(one.usage_point, []).append(one)
        today = day_of(self._now)
        first, last = max(first, today - RECALLED), min(last, today)
        if first > last:
            return {}
        days = self._heats.hours(usage_point, first, last)
        for one in self._came.get(usage_point, ()):
            if first <= (day := day_of(one.seen.at)) <= last:
                days.setdefault(day, []).append(_hour(one))
        found = {}
        for day, hours in sorted(days.items()):
            seen = first_of_hours([hour for hour in hours if hour.entry <= self._entry])
            if (water := mean(seen)) is not None:
                found[day] = water
        return found


def _hour(one: Warm) -> Hour:
    seen = one.seen
    hour = (seen.at + OFFSET) % DAY // HOUR
    return Hour(hour, one.entry, seen.supply, seen.back, seen.volume, seen.flows)


def first_of_hours(hours: Iterable[Hour]) -> list[Hour]:
    """Of each hour what came first, in the order in which it came: at most 24."""
    found: dict[int, Hour] = {}
    for one in sorted(hours, key=lambda hour: hour.entry):  # stable: of one entry, the order in it
        found.setdefault(one.hour, one)
    return list(found.values())


def mean(hours: Sequence[Hour]) -> Warmth | None:
    """Mean spread (K) and mean temperature (degC) of a day, each hour by the litres that flowed since the one before; where
    these are not known, each as much as the other. Water that stands tells nothing of water that flows: None of it alone.

    Its `samples` are as many hours of equal flow as say as much (Kish). It is known within three standard errors, told from
    one hour to the next so that what rises all day is no error, and within what the last digits shown do not tell.
    """
    ordered = sorted(hours)
    weights = [0] * (len(ordered) > 0)
    for before, one in pairwise(ordered):
        known = before.volume >= 0 and one.volume >= before.volume
        weights.append((one.volume - before.volume) if known else -1)
    if min(weights, default=0) < 0:
        weights = [1] * len(ordered)
    flowed = [(by, one) for by, one in zip(weights, ordered, strict=True) if by and one.flows]
    if not flowed:
        return None
    total, squares = sum(by for by, _ in flowed), sum(by * by for by, _ in flowed)
    spreads = [one.supply - one.back for _, one in flowed]
    spread = sum(by * apart for (by, _), apart in zip(flowed, spreads, strict=True))
    twice = sum(by * (one.supply + one.back) for by, one in flowed)
    slight = sum(by * abs(apart) for (by, _), apart in zip(flowed, spreads, strict=True) if apart < SLIGHT)
    turns = [(later - early) ** 2 for early, later in pairwise(spreads)]
    variance = sum(turns) / (2 * max(len(turns), 1)) * squares / total**2
    digit = next(by for by in (100, 10, 1) if all(t % by == 0 for _, one in flowed for t in one[2:4]))
    return Warmth(
        spread / (100 * total),
        twice / (200 * total),
        total**2 // squares,
        (3 * sqrt(variance) + digit) / 100,
        slight / (100 * total),
    )


def packed(hours: Sequence[Hour]) -> bytes:
    """Hours in the order in which they came, each as what it differs by from the one before."""
    flat: list[int] = []
    entry = volume = 0
    for one in hours:
        counted = one.volume >= 0
        marks = (0 if one.flows else _STANDS) | (0 if counted else _UNCOUNTED)
        litres = one.volume - volume if counted else 0
        flat += [one.hour | marks, one.entry - entry, one.supply, one.supply - one.back, litres]
        entry, volume = one.entry, one.volume if counted else volume
    return msgspec.msgpack.encode(flat)


def unpacked(content: bytes) -> list[Hour]:
    """What `packed` made."""
    flat = msgspec.msgpack.decode(content, type=list[int])
    hours: list[Hour] = []
    entry = volume = 0
    for place in range(0, len(flat), 5):
        marks, entries, supply, spread, litres = flat[place : place + 5]
        entry, volume = entry + entries, volume + litres
        counted = volume if not marks & _UNCOUNTED else -1
        hours.append(Hour(marks % _STANDS, entry, supply, supply - spread, counted, not marks & _STANDS))
    return hours
