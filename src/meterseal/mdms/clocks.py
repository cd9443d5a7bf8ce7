"""Station MDMS, clocks: how far meters' clocks were measured to be off, dated, and in which time each measurement holds.

It judges no reading (the rule `clock-error` does) and measures nothing: whoever holds a good clock beside a meter's does.
Measurements are facts of usage points, numbered with the others, so that the past of any run is found again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from meterseal.control.engine import read, write
from meterseal.control.tables import clock_sights as sights
from meterseal.control.tables import point_facts as table
from meterseal.control.writes import upsert
from meterseal.mdms.entries import Place
from meterseal.mdms.finding import Finding, Severity
from meterseal.mdms.store.rows import EVER
from meterseal.mdms.vee.context import Clocked
from meterseal.mdms.vee.rules.clocks import NAME
from meterseal.model import HEAT_VOLUME, MAIN, ClockSeen, off_for_sure

KIND = "clock"
MOVED, NEARLY = 30_000, 5_000
"""What is right enough to every rule; and by how much bounds may move, and what a clock is off for sure, while it stands
alike (ms)."""
_ASKED_AT_ONCE = 500


class Measured(Struct, frozen=True, gc=False):
    """A measurement of the meter at a usage point, and when the platform received it."""

    usage_point: str
    medium: str
    seen: ClockSeen
    received_at: int


class Told(Struct, frozen=True):
    """As it is kept: from `at` on the clock led by `least` to `most` ms; until `since` it stood as was told before."""

    since: int
    at: int
    least: int
    most: int
    stamps: bool

    @property
    def off(self) -> int:
        """As `ClockSeen.off`."""
        return off_for_sure(self.least, self.most)


def placed(seen: ClockSeen, places: Iterable[Place], received_at: int) -> list[Measured]:
    """The measurement at the usage point where the meter was then; none where it was nowhere."""
    return [
        Measured(place.usage_point, place.medium, seen, received_at)
        for place in places
        if place.device_id == seen.device_id and place.since <= seen.at < (place.until or EVER)
    ]


class Kept(NamedTuple):
    """Measurements that say something new, and by (usage point, channel) from when on readings are to be judged again."""

    new: list[Measured]
    again: dict[tuple[str, int], int]


def keep(engine: sa.Engine, measured: Iterable[Measured]) -> Kept:
    """Keep what says something new.

    A measurement as the one before it is no fact of its own, else a city would have millions of them a year: of these it is
    kept until when the clock was seen to stand so, which the next that differs bears as its `since`.
    """
    new: list[Measured] = []
    again: dict[tuple[str, int], int] = {}
    with write(engine) as connection:
        for one in measured:
            seen = one.seen
            mine = (table.c.kind == KIND, table.c.usage_point == one.usage_point)
            # The journal may be replayed: what was kept of it is found again, whatever was kept after it.
            newest = sa.select(table).where(*mine, table.c.until <= seen.at)
            before = connection.execute(
                newest.order_by(table.c.until.desc(), table.c.id.desc()).limit(1)
            ).first()
            if before is not None and before.until == seen.at:
                new.append(one)  # whoever kept it may not have come to say so
                continue
            sight = (sights.c.usage_point == one.usage_point, sights.c.device_id == seen.device_id)
            stood = connection.execute(sa.select(sights.c.at).where(*sight)).scalar()
            if stood is None or stood < seen.at:
                row = {"usage_point": one.usage_point, "device_id": seen.device_id, "at": seen.at}
                upsert(connection, sights, (row,))
            # One that was seen before another meter came between and went says nothing of what is told last.
            same = before is not None and stood is not None and stood >= before.until
            if before is not None and same and _alike(_told(before), seen):
                continue
            since = seen.since if seen.since < seen.at else 0
            if stood is not None and same and stood < seen.at:
                since = max(since, stood)
            connection.execute(
                sa.insert(table).values(
                    usage_point=one.usage_point,
                    channel=MAIN,
                    kind=KIND,
                    value=f"{seen.least}/{seen.most}/{int(seen.stamps)}",
                    since=since or seen.at,
                    until=seen.at,
                    recorded_at=one.received_at,
                )
            )
            since = (since or (seen.at if before is None else before.until)) - _reach(seen)
            for channel in (MAIN, HEAT_VOLUME) if one.medium == "heat" else (MAIN,):
                key = one.usage_point, channel
                again[key] = min(since, again.get(key, since))
            new.append(one)
    return Kept(new, again)


def _alike(one: Told, other: ClockSeen) -> bool:
    """Does this say of the clock what was told before? While it is right enough, how wide the bounds are says nothing."""
    if one.stamps != other.stamps:
        return False
    if max(abs(one.off), abs(other.off)) <= MOVED:
        return True
    moved = max(abs(one.least - other.least), abs(one.most - other.most))
    return min(abs(one.off), abs(other.off)) > MOVED and moved <= MOVED and abs(one.off - other.off) <= NEARLY


def _reach(seen: ClockSeen) -> int:
    """How far before the measurement readings may stand that this clock stamped."""
    return max(0, -seen.least)


def finding(measured: Measured, version: int, severity: Severity, parameters: Struct) -> Finding:
    """That the clock is off by so much, of a meter without a load profile."""
    seen = measured.seen
    facts = {
        "seconds": seen.off / 1000,
        "least": seen.least / 1000,
        "most": seen.most / 1000,
        "doubted": int(seen.stamps),
    }
    return Finding(
        usage_point=measured.usage_point,
        channel=MAIN,
        since=seen.since,
        until=seen.at,
        rule=NAME,
        version=version,
        severity=severity,
        detail={"parameters": msgspec.to_builtins(parameters)},
        values=msgspec.msgpack.encode({"facts": facts}),
        run="clock",
    )


def known(
    engine: sa.Engine, points: Sequence[str], as_of: int, upto: int | None = None
) -> dict[str, list[Told]]:
    """By rising time, of usage points: by the rows up to number `upto`, else by those recorded up to `as_of`."""
    found: dict[str, list[Told]] = {}
    wanted = sorted(points)
    then = table.c.recorded_at <= as_of if upto is None else table.c.id <= upto
    for start in range(0, len(wanted), _ASKED_AT_ONCE):
        found |= _asked(engine, then, table.c.usage_point.in_(wanted[start : start + _ASKED_AT_ONCE]))
    return found


def latest(engine: sa.Engine, limit: int) -> dict[str, list[Told]]:
    """The newest measurements of all usage points, by rising time."""
    newest = sa.select(table.c.id).where(table.c.kind == KIND).order_by(table.c.id.desc()).limit(limit)
    return _asked(engine, table.c.id.in_(newest))


def _asked(engine: sa.Engine, *where: sa.ColumnElement[bool]) -> dict[str, list[Told]]:
    found: dict[str, list[Told]] = {}
    query = sa.select(table).where(table.c.kind == KIND, *where).order_by(table.c.until, table.c.id)
    with read(engine) as connection:
        for row in connection.execute(query):
            found.setdefault(row.usage_point, []).append(_told(row))
    return found


def _told(row: sa.Row[Any]) -> Told:
    least, most, stamps = (int(part) for part in row.value.split("/"))
    return Told(row.since, row.until, least, most, bool(stamps))


def periods(told: Sequence[Told], begins: Sequence[int], number: int) -> list[Clocked]:
    """In which instants readings of channel `number` may have been stamped by a clock that was off as measured.

    Between two measurements that differ the worse one counts, from when the clock was last seen to stand as before.
    `begins`: when each meter was put in place here; what was measured of one says nothing of another.
    """
    eras = [bisect_right(begins, one.at) for one in told]
    found = []
    for place, one in enumerate(told):
        alike = place and eras[place - 1] == eras[place]
        before = told[place - 1].at if alike else one.at
        since = before if one.since >= one.at else max(before, min(one.since, one.at))
        until = EVER
        if place + 1 < len(told):
            until = told[place + 1].at if eras[place + 1] == eras[place] else begins[eras[place]]
        elif eras[place] < len(begins):
            until = begins[eras[place]]
        if one.off:
            found.append(Clocked(number, since, until, one.least, one.most, one.stamps))
    return found


def of(
    told: Mapping[str, Sequence[Told]],
    replaced: Mapping[str, Sequence[int]],
    points: Mapping[str, Mapping[int, int]],
) -> tuple[Clocked, ...]:
    """The periods of all channels of these usage points; `points` number the columns of their channels."""
    return tuple(
        one
        for point in sorted(told)
        for number in sorted(points.get(point, {}).values())
        for one in periods(told[point], replaced.get(point, ())[1:], number)
    )
