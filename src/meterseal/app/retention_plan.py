"""The operator's desk for retention, its plan: what the rules say today, and what is held all the same.

It states no rule (`retaining` does) and removes nothing.

Held, so that less or nothing of a usage point is rolled up: what an operator named, a period that waits for its bill, an
edit that waits for its officers, and what no later good statement of the meter closes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from meterseal.control import read
from meterseal.control.tables import agreements, bills, edits, evidence, held_bills, usage_points
from meterseal.mdms import plants
from meterseal.mdms.chain import GOOD
from meterseal.mdms.entries import Rollup
from meterseal.mdms.rolling import DAY, edge_of, reach
from meterseal.mdms.service import Mdms
from meterseal.mdms.store.rows import EVER

RULE, HOLD = "rule", "hold"
RUNS = "runs"
"""What a rule about runs of the rules is about; the others are about a medium and a kind of channel."""

UNCLOSED = "no later good statement of its meter"
"""Why the end of what a meter signed stays."""


class Held(Struct, frozen=True):
    """A usage point of which less is rolled up, up to where (Unix ms, 0: nothing), and why."""

    usage_point: str
    until: int
    why: str


class Plan:
    """Looks at the rules (`stated`: the newest row of each subject of a kind) and at the platform, anew each time."""

    def __init__(
        self,
        engine: sa.Engine,
        mdms: Mdms,
        clock: Callable[[], int],
        stated: Callable[[str], dict[str, sa.Row[Any]]],
    ) -> None:
        self._engine = engine
        self._mdms = mdms
        self._clock = clock
        self._stated = stated

    def planned(self, author: str) -> tuple[list[Rollup], list[Held]]:
        """(what would hold from today on, what is held all the same)."""
        now, held = self._today(), self._held()
        wanted = []
        for subject, row in self._stated(RULE).items():
            if subject == RUNS:
                continue
            medium, _, channels = subject.partition("/")
            for level, after in (("day", row.intervals), ("month", row.days)):
                if after:
                    one = self._one_of(
                        medium, channels == "main", level, now - after * DAY, held, author, now
                    )
                    if one is not None:
                        wanted.append(one)
        shown = {usage_point for one in wanted for usage_point in one.held}
        named = {one.usage_point for one in held}
        closed = [
            Held(
                point,
                min(one.held[point] for one in wanted if point in one.held),
                UNCLOSED,
            )
            for point in sorted(shown - named)
        ]
        return wanted, [one for one in held if one.usage_point in shown] + closed

    def runs_before(self) -> int:
        """The instant before which runs of the rules go; 0 for none."""
        rule = self._stated(RULE).get(RUNS)
        return max(0, self._today() - rule.intervals * DAY) if rule is not None and rule.intervals else 0

    def _today(self) -> int:
        """By this clock, and no more than a day after the newest receipt: a clock that runs ahead takes nothing away."""
        newest = max((one.received_at for one in self._mdms.freshness().values()), default=0)
        return min(self._clock(), newest + DAY)

    def _one_of(
        self, medium: Any, main: bool, level: Any, at: int, held: list[Held], author: str, now: int
    ) -> Rollup | None:
        until = edge_of(at, level)
        before = self._mdms.rollups.newest(medium, main, level)
        if until <= 0 or (before is not None and before.until >= until):
            return None
        here = self._points(medium)
        less: dict[str, int] = {}
        for one in [*held, *self._closed(until)]:
            if one.usage_point in here and (own := edge_of(one.until, level)) < until:
                less[one.usage_point] = min(own, less.get(one.usage_point, own))
        edges = {
            point: tuple(sorted({at for at in found if at <= until}))
            for point, found in self._edges().items()
            if point in here
        }
        if before is not None:  # what was rolled up stays so, by what was an edge then
            less = {point: max(own, reach(before, point)) for point, own in less.items()}
            for point in {*edges, *before.edges}:
                done = reach(before, point)
                earlier = {at for at in before.edges.get(point, ()) if at <= done}
                later = {at for at in edges.get(point, ()) if at > done}
                edges[point] = tuple(sorted(earlier | later))
        return Rollup(
            medium,
            main,
            level,
            until,
            less,
            {point: found for point, found in edges.items() if found},
            author,
            now,
        )

    def _points(self, medium: str) -> set[str]:
        with read(self._engine) as connection:
            query = sa.select(usage_points.c.id).where(usage_points.c.medium == medium)
            return set(connection.execute(query).scalars())

    def _held(self) -> list[Held]:
        found = [Held(point, 0, "held") for point, row in self._stated(HOLD).items() if row.intervals]
        with read(self._engine) as connection:
            waiting = (
                sa.select(agreements.c.usage_point_id, sa.func.min(held_bills.c.since))
                .join(agreements, agreements.c.id == held_bills.c.agreement_id)
                .group_by(agreements.c.usage_point_id)
            )
            found += [Held(point, at, "bill waits") for point, at in connection.execute(waiting)]
            proposed = (
                sa.select(edits.c.usage_point, sa.func.min(edits.c.since))
                .where(edits.c.state == "proposed")
                .group_by(edits.c.usage_point)
            )
            found += [Held(point, at - 1, "edit waits") for point, at in connection.execute(proposed)]
        return found

    def _closed(self, until: int) -> list[Held]:
        """Up to where no chain of a meter's statements needs readings any more: the newest good one of each channel."""
        last = sa.func.max(sa.case((evidence.c.end_at <= until, evidence.c.end_at), else_=0))
        query = (
            sa.select(evidence.c.usage_point, evidence.c.channel, last)
            .where(evidence.c.checked.in_(sorted(GOOD)))
            .group_by(evidence.c.usage_point, evidence.c.channel)
        )
        closed: dict[str, int] = {}
        with read(self._engine) as connection:
            for point, _, at in connection.execute(query):
                closed[point] = min(at, closed.get(point, at))
        return [Held(point, at, UNCLOSED) for point, at in closed.items()]

    def _edges(self) -> dict[str, set[int]]:
        """Beginnings and ends of agreements and plants, exchanges, and changes of multipliers, by usage point."""
        found: dict[str, set[int]] = defaultdict(set)
        with read(self._engine) as connection:
            query = sa.select(agreements.c.usage_point_id, agreements.c.since, agreements.c.until)
            for point, since, until in connection.execute(query):
                found[point] |= {at for at in (since, until) if at is not None}
            for point, fed in plants.stated(connection).items():
                found[point] |= {at for one in fed for at in one if 0 < at < EVER}
        for point, begins in self._mdms.exchanged().items():
            found[point] |= set(begins)
        for point, stated in self._mdms.multipliers()[1].items():
            spans = [(one.since, one.until) for one in stated.factors]
            spans += [(one.since, one.until) for one in stated.unsaid]
            found[point] |= {at for span in spans for at in span if 0 < at < EVER}
        return found

    def bills(self, wanted: list[Rollup]) -> int:
        """Issued bills that would no longer open to their hours."""
        latest = max((one.until for one in wanted if one.main), default=0)
        query = sa.select(sa.func.count()).select_from(bills).where(bills.c.since < latest)
        with read(self._engine) as connection:
            return int(connection.execute(query).scalar_one())
