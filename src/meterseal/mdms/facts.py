"""Station MDMS, facts: what rules and estimators may know of usage points, dated, appended and never overwritten.

It judges no reading. What an operator states, what agreements say, what meters' alarms and the weather say stand in one
table, numbered in the order of their commits; a later row wins over an earlier one where both say something. So the facts
of any past run are found again: they are the rows up to the number that it saw.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import sqlalchemy as sa
from msgspec.structs import replace

from meterseal.control import acts
from meterseal.control.engine import read, write
from meterseal.control.tables import point_facts as table
from meterseal.control.tables import usage_points
from meterseal.errors import DataError
from meterseal.headend.meteralarms import kinds
from meterseal.mdms import clocks, multipliers, plants
from meterseal.mdms.fact import MOST
from meterseal.mdms.fact import Fact as Fact
from meterseal.mdms.fact import Stated as Stated
from meterseal.mdms.seen import EVERYTHING
from meterseal.mdms.spans import Span, Told, at, joined, laid, unagreed
from meterseal.mdms.state import Pending
from meterseal.mdms.stated import spans_of
from meterseal.mdms.store.rows import EVER
from meterseal.mdms.surroundings import MOST_HOURS, Surroundings
from meterseal.mdms.vee.context import CLASSES, DAY, HOUR, OFFSET, Event, Weather
from meterseal.model import MAIN

BILLED: Mapping[str, str] = MappingProxyType(
    {multipliers.KIND: "multiplier-stated", plants.KIND: "plant-stated"}
)
"""What bills count with, and what the trail of acts calls it."""
UNJUDGED = frozenset({"zone"})
"""What no rule looks at: such a fact has nothing judged again."""
LIMIT = 15.0
"""degC: a day with a lower mean is one of heating unless an operator states another limit (base of degree days)."""
MOST_BILLED = 5_000
"""Those among them that bills count with: each is an act of the trail."""
MOST_ZONES = 2_000
"""Zones: a forecast holds twelve weeks of hours of each."""
MOST_SUBS = 1_000
"""Sub-meters of a main meter: their days are looked at together."""
LARGEST = 1_000_000
"""Units an hour that a connection may carry."""
NAME = 32
_ASKED_AT_ONCE = 500

Agreed = Mapping[str, Sequence[tuple[int, int | None]]]
"""Periods since <= t < until of the agreements of usage points that ever had one, rising; None while it runs."""


class Facts:
    """The table `point_facts`."""

    def __init__(self, engine: sa.Engine, surroundings: Surroundings) -> None:
        self._engine = engine
        self._surroundings = surroundings

    # --- asking -----------------------------------------------------------------------------------

    def told(
        self,
        as_of: int,
        upto: int | None = None,
        replaced: Mapping[str, Sequence[int]] = MappingProxyType({}),
    ) -> Told:
        """All but alarms and clocks: by the rows up to number `upto` (`seen`), else by those recorded up to an instant.

        `replaced`: usage points whose meter was exchanged, with the instants at which each was put in place, rising.
        """
        query = sa.select(table).where(table.c.kind.not_in(("event", clocks.KIND)), _then(as_of, upto))
        found: dict[str, dict[str, list[Span]]] = {}
        with read(self._engine) as connection:
            for row in connection.execute(query.order_by(table.c.id)):
                spans = found.setdefault(row.kind, {})
                said = Span(row.since, EVER if row.until is None else row.until, row.value)
                if row.kind == multipliers.KIND:
                    said = multipliers.ended(said, replaced.get(row.usage_point, ())[1:])
                spans[row.usage_point] = laid(spans.get(row.usage_point, []), said)
        return found

    def multiplied(self, replaced: Mapping[str, Sequence[int]]) -> tuple[bool, dict[str, multipliers.Stated]]:
        """Whether a multiplier was ever stated, and what is stated where it ever was not 1; `replaced` as in `told`."""
        with read(self._engine) as connection:
            begins = {point: instants[1:] for point, instants in replaced.items()}
            return multipliers.any_stated(connection), multipliers.stated(connection, begins)

    def zones(self, instant: int) -> dict[str, str]:
        """The zone of each usage point that belongs to one at an instant."""
        with read(self._engine) as connection:
            spans = spans_of(connection, "zone")
        return {point: zone for point, of in spans.items() if (zone := at(of, instant))}

    def sizes(self) -> dict[str, list[Span]]:
        """What the connections of usage points are said to carry, in the unit of the medium an hour."""
        with read(self._engine) as connection:
            return spans_of(connection, "size")

    def events(
        self, points: Mapping[str, Mapping[int, int]], as_of: int, upto: int | None = None
    ) -> tuple[Event, ...]:
        """The alarms of these usage points, by rows as `told`; the values of `points` number the columns of their channels.
        A meter repeats an alarm every day while it lasts: the first day alone is an event.
        """
        seen: set[tuple[int, str, int]] = set()
        wanted = sorted(points)
        with read(self._engine) as connection:
            for start in range(0, len(wanted), _ASKED_AT_ONCE):
                query = sa.select(table).where(
                    table.c.kind == "event",
                    table.c.usage_point.in_(wanted[start : start + _ASKED_AT_ONCE]),
                    _then(as_of, upto),
                )
                for row in connection.execute(query):
                    number = points[row.usage_point].get(row.channel)
                    if number is not None:
                        seen.add((number, row.value, row.since))
        return tuple(
            Event(number, at, kind)
            for number, kind, at in sorted(seen)
            if (number, kind, at - DAY) not in seen
        )

    def clocks_of(
        self, points: Sequence[str], as_of: int, upto: int | None = None
    ) -> dict[str, list[clocks.Told]]:
        """How far the clocks of meters were measured to be off, by rows as `told`."""
        return clocks.known(self._engine, points, as_of, upto)

    def clocks_latest(self, limit: int) -> dict[str, list[clocks.Told]]:
        """The newest of these, of all usage points."""
        return clocks.latest(self._engine, limit)

    # --- taking -----------------------------------------------------------------------------------

    def put(self, stated: Sequence[Fact], now: int, author: str = "operator") -> dict[str, int]:
        """Keep what an operator states, whole or not at all; gives the usage points that are to be judged again, and from
        when on. Multipliers, which bills count with, are acts of the trail. DataError `facts.*` for what cannot be.
        """
        if len(stated) > MOST:
            raise DataError("facts.many", f"At most {MOST} facts are taken at once; cut the file.")
        stated = [_spelled(fact) for fact in stated]
        for fact in stated:
            _check(fact)
        _check_once(stated)
        self._check_points(stated)
        said = [fact for fact in stated if fact.kind in BILLED]
        if len(said) > MOST_BILLED:
            raise DataError(
                "facts.many",
                f"At most {MOST_BILLED} multipliers and plants are taken at once; cut the file. Nothing was taken.",
            )
        rows = [_row(f.usage_point, f.kind, f.value, (f.since, f.until), now) for f in stated]
        with write(self._engine) as connection:
            _append(connection, rows)
            for fact in said:
                subject = f"{fact.usage_point}/{fact.value or 'none'}/{fact.since}"
                acts.append(connection, acts.Act(now, author, BILLED[fact.kind], subject))
            mains = self._mains(connection)
            _check_zones(connection)
        again: dict[str, int] = {}
        for fact in stated:
            if fact.kind in UNJUDGED:
                continue
            # A main meter that it is or was behind has other days now too.
            beside = mains.get(fact.usage_point, ()) if fact.kind == "main" else ()
            for point in filter(None, (fact.usage_point, *beside)):
                again[point] = min(fact.since, again.get(point, fact.since))
        return again

    def _check_points(self, stated: Sequence[Fact]) -> None:
        mains = {(fact.usage_point, fact.value) for fact in stated if fact.kind == "main" and fact.value}
        named = {fact.usage_point for fact in stated if fact.usage_point} | {main for _, main in mains}
        media: dict[str, str] = {}
        wanted = sorted(named)
        with read(self._engine) as connection:
            for start in range(0, len(wanted), _ASKED_AT_ONCE):
                query = sa.select(usage_points.c.id, usage_points.c.medium)
                query = query.where(usage_points.c.id.in_(wanted[start : start + _ASKED_AT_ONCE]))
                media.update({row.id: row.medium for row in connection.execute(query)})
        for point in wanted:
            if point not in media:
                raise DataError(
                    "facts.unknown", f"There is no usage point `{point}`; nothing was taken. Check its id."
                )
        for point in sorted({fact.usage_point for fact in stated if fact.kind == plants.KIND}):
            if media[point] != "electricity":
                raise DataError(
                    "facts.plant",
                    f"`{point}` is a usage point of {media[point]}, and only into one of electricity a plant feeds. "
                    "Nothing was taken.",
                )
        for sub, main in sorted(mains):
            if sub == main or media[sub] != media[main]:
                raise DataError(
                    "facts.main",
                    f"`{main}` cannot be the main meter of `{sub}`: it is to be another one of the same medium. Nothing "
                    "was taken.",
                )

    @staticmethod
    def _mains(connection: sa.Connection) -> dict[str, set[str]]:
        """The main meters that sub-meters are or were behind; DataError `facts.subs` when one has too many."""
        count: dict[str, set[str]] = {}
        found: dict[str, set[str]] = {}
        query = sa.select(table.c.usage_point, table.c.value).where(
            table.c.kind == "main", table.c.value != ""
        )
        for sub, main in connection.execute(query):
            count.setdefault(main, set()).add(sub)
            found.setdefault(sub, set()).add(main)
        for main, subs in count.items():
            if len(subs) > MOST_SUBS:
                raise DataError(
                    "facts.subs",
                    f"`{main}` would have {len(subs)} sub-meters, of {MOST_SUBS} at most; nothing was taken. State the "
                    "meters of each building or riser as mains of their own.",
                )
        return found

    def alarms(self, items: Iterable[Pending], good: Iterable[bool]) -> dict[tuple[str, int], int]:
        """Keep what meters raise in statements whose signature holds; gives (usage point, channel) and when."""
        rows: list[dict[str, str | int | None]] = []
        again: dict[tuple[str, int], int] = {}
        for item, holds in zip(items, good, strict=True):
            said = item.statement
            for kind in kinds(said.status) if holds else ():
                # It ends with the statement, so that it lies in the interval before.
                span = (said.end_at, said.end_at + 1)
                rows.append(_row(item.usage_point, "event", kind, span, item.received_at, said.channel))
                key = (item.usage_point, said.channel)
                again[key] = min(said.end_at, again.get(key, said.end_at))
        if rows:
            with write(self._engine) as connection:
                _append(connection, rows)
        return again

    def refresh(self, agreed: Agreed, now: int) -> tuple[dict[str, int], int | None]:
        """Record what follows now from agreements and the weather, where it is not what was recorded.

        Gives usage points whose vacancies changed, with when the change begins, and since when days of heating changed.
        """
        told = self.told(now, EVERYTHING.fact)
        rows: list[dict[str, str | int | None]] = []
        again: dict[str, int] = {}
        vacant = told.get("vacant", {})
        for point, periods in agreed.items():
            known, new = list(vacant.get(point, ())), unagreed(periods)
            if known != new:
                since = min(span.since for span in set(known) ^ set(new))
                rows.append(_row(point, "vacant", "", (since, EVER), now))
                for span in new:
                    if span.until > since:
                        rows.append(
                            _row(point, "vacant", span.value, (max(span.since, since), span.until), now)
                        )
                again[point] = since
        heated = self._heated(told, now)
        rows += [_row("", "heating", span.value, (span.since, span.until), now) for span in heated]
        if rows:
            with write(self._engine) as connection:
                _append(connection, rows)
        return again, heated[0].since if heated else None

    def _heated(self, told: Told, now: int) -> list[Span]:
        """Whole local days whose mean temperature says another state of the heating than is recorded, as spans."""
        hours = self._surroundings.weather_known()
        if hours is None:
            return []
        last = min(hours[1], now // HOUR - 1)
        first = max(hours[0], last - MOST_HOURS + 1)
        if last < first:
            return []
        degrees = self._surroundings.weather(first * HOUR, last - first + 1)
        weather = Weather(first, tuple(degrees.tolist()))
        edges = [(hour * HOUR + OFFSET) // DAY for hour in (first, last)]
        days = np.arange(edges[0], edges[1] + 1)
        limits, known = (told.get(kind, {}).get("", ()) for kind in ("limit", "heating"))
        changed = []
        for day, mean in zip(days.tolist(), weather.days(days, OFFSET).tolist(), strict=True):
            begin = day * DAY - OFFSET
            state = "on" if mean < float(at(limits, begin) or LIMIT) else "off"
            if not np.isnan(mean) and at(known, begin) != state:
                changed.append(Span(begin, begin + DAY, state))
        return joined(changed)


def _then(as_of: int, upto: int | None) -> sa.ColumnElement[bool]:
    return table.c.recorded_at <= as_of if upto is None else table.c.id <= upto


def _check_zones(connection: sa.Connection) -> None:
    """DataError `facts.zones` when there are too many zones."""
    query = sa.select(sa.func.count(table.c.value.distinct())).where(
        table.c.kind == "zone", table.c.value != ""
    )
    if connection.execute(query).scalar_one() > MOST_ZONES:
        raise DataError(
            "facts.zones",
            f"There would be more than {MOST_ZONES} zones; nothing was taken. State fewer, larger ones: each is "
            "forecast by itself.",
        )


def _check(fact: Fact) -> None:
    number = _number(fact.value)
    right = {
        "class": fact.value in CLASSES,
        "size": number is not None and 0 < number <= LARGEST,
        "main": len(fact.value) <= NAME,
        "group": len(fact.value) <= NAME and fact.value.isprintable(),
        "zone": len(fact.value) <= NAME and fact.value.isprintable(),
        "heats": fact.value == "gas",
        "limit": number is not None and -60 <= number <= 60,
        "multiplier": bool(multipliers.canonical(fact.value)),
        "plant": number is not None and 0 < number <= LARGEST,
    }[fact.kind]
    of_all = fact.kind == "limit"
    if (
        not (right or not fact.value)
        or of_all == bool(fact.usage_point)
        or not 0 <= fact.since < fact.until <= EVER
    ):
        raise DataError(
            "facts.value",
            f"`{fact.value[:40]}` is nothing that can be stated as {fact.kind} of `{fact.usage_point[:40]}` for that time. "
            f"class is {' or '.join(CLASSES)}, size the unit an hour, main a usage point, group and zone names of "
            f"{NAME} characters, heats gas, plant the kW of a generator; limit is in degC and of no usage point; "
            f"multiplier is above 0, up to {multipliers.LARGEST}, of {multipliers.MOST_DIGITS} digits "
            f"with {-multipliers.FINEST} decimals at most, or a ratio such as 2000/5 that is one; a period ends "
            "after it begins. Nothing was taken.",
        )


def _spelled(fact: Fact) -> Fact:
    """A ratio of transformers as the number that it is."""
    number = multipliers.canonical(fact.value) if fact.kind == multipliers.KIND else ""
    return replace(fact, value=number) if number else fact


def _check_once(stated: Sequence[Fact]) -> None:
    """DataError `facts.multiplier` when one call says two multipliers of one time."""
    last: dict[str, Fact] = {}
    said = (fact for fact in stated if fact.kind == multipliers.KIND and fact.value)
    for fact in sorted(said, key=lambda one: (one.usage_point, one.since, one.until)):
        before = last.get(fact.usage_point)
        if before is not None and fact.since < before.until and fact.value != before.value:
            raise DataError(
                "facts.multiplier",
                f"Usage point `{fact.usage_point}` would be multiplied by {before.value} and by {fact.value} at one time; "
                "nothing was taken. Say when the one ends and the other begins.",
            )
        if before is None or fact.until > before.until:
            last[fact.usage_point] = fact


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) and len(text) <= NAME else None


def _row(
    usage_point: str, kind: str, value: str, span: tuple[int, int], recorded_at: int, channel: int = MAIN
) -> dict[str, str | int | None]:
    return {
        "usage_point": usage_point,
        "channel": channel,
        "kind": kind,
        "value": value,
        "since": span[0],
        "until": None if span[1] >= EVER else span[1],
        "recorded_at": recorded_at,
    }


def _append(connection: sa.Connection, rows: Sequence[Mapping[str, str | int | None]]) -> None:
    if rows:  # an insert of nothing would be one of empty columns
        connection.execute(sa.insert(table), [dict(row) for row in rows])
