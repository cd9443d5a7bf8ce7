"""Bills ahead that are out of the ordinary: usage points whose running bill will probably be far from their last one.

It forecasts and prices nothing (the utility's cards say what) and knows no customer; usage points are pseudonyms.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import date
from statistics import median
from typing import NamedTuple

import sqlalchemy as sa
from msgspec import structs

from meterseal.control.engine import read
from meterseal.control.tables import agreements
from meterseal.errors import DataError, LocalError
from meterseal.model import Medium
from meterseal.people.forecast_messages import UnusualBill
from meterseal.people.ports import UseAndBills
from meterseal.utility.calendar import local_day

FACTOR = 1.5
"""How many times what was to be expected a bill's use must be at least, or what was expected its use."""
LEAST_FEN = 20_00
"""What that must be worth."""
FEWEST = 8
"""Usage points of a medium whose change from bill to bill says what is usual now; of fewer, none is."""
COMPLETE = 7
"""Days whose mean is taken for a prediction where there is no forecast."""
MOST = 50


class Ahead(NamedTuple):
    """One running bill: its use as predicted, by day, beside that of the last bill by day."""

    bill: UnusualBill
    change: float | None


class Unusual:
    """Looks once a day at all running bills, one at a time; `found` is None until it did, `looking` says while it does how
    many it has looked at and of how many.
    """

    def __init__(self, engine: sa.Engine, utility: UseAndBills, clock: Callable[[], int]) -> None:
        self._engine = engine
        self._utility = utility
        self._clock = clock
        self._looked: date | None = None
        self.found: dict[Medium, tuple[UnusualBill, ...]] | None = None
        self.looking: tuple[int, int] | None = None

    async def daily(self) -> None:
        """Look, where that was not done today."""
        now = self._clock()
        if self._looked == local_day(now):
            return
        running: dict[Medium, list[Ahead]] = {}
        points = await asyncio.to_thread(self._points, now)
        try:
            for number, usage_point in enumerate(points):
                self.looking = number, len(points)
                one = await asyncio.to_thread(self._ahead, usage_point, now)
                if one is not None:
                    running.setdefault(one.bill.medium, []).append(one)
        finally:
            self.looking = None
        self.found = {medium: unusual(found) for medium, found in running.items()}
        self._looked = local_day(now)

    def _points(self, now: int) -> Sequence[str]:
        runs = (agreements.c.since <= now) & (agreements.c.until.is_(None) | (agreements.c.until > now))
        with read(self._engine) as db:
            query = sa.select(agreements.c.usage_point_id).where(runs).distinct()
            return db.execute(query.order_by(agreements.c.usage_point_id)).scalars().all()

    def _ahead(self, usage_point: str, now: int) -> Ahead | None:
        """None where nothing can be predicted, or nothing was billed before."""
        try:
            card = self._utility.card(usage_point, now)
        except (DataError, LocalError):
            return None
        period, last = card.period, card.last_bill
        of = period.projection
        if last is None or of is None or (of.low is None and of.days < COMPLETE):
            return None
        whole, before = period.until - period.since, last.until - last.since
        likewise = float(last.used) * whole / before
        return Ahead(
            UnusualBill(
                usage_point=usage_point,
                medium=card.medium,
                unit=card.unit,
                since=period.since,
                until=period.until,
                used=of.used,
                low=of.used if of.low is None else of.low,
                high=of.used if of.high is None else of.high,
                cost_fen=of.cost_fen,
                credit_fen=of.credit_fen,
                expected=likewise,
                last=(last.bill_id, last.total_fen, last.since, last.until),
            ),
            float(of.used) / likewise if likewise > 0 else None,
        )


def unusual(running: Sequence[Ahead]) -> tuple[UnusualBill, ...]:
    """Those whose band lies apart from what their last bill, and how all of the medium changed since, let expect.

    What is off by the most money comes first.
    """
    changes = [one.change for one in running if one.change is not None]
    usual = median(changes) if len(changes) >= FEWEST else 1.0
    found: list[tuple[float, UnusualBill]] = []
    for one, _ in running:
        expected = one.expected * usual
        worth = abs(float(one.used) - expected) * _price(one, expected)
        apart = float(one.low) > expected * FACTOR or float(one.high) * FACTOR < expected
        if apart and worth >= LEAST_FEN:
            found.append((worth, structs.replace(one, expected=expected)))
    found.sort(key=lambda pair: (-pair[0], pair[1].usage_point))
    return tuple(one for _, one in found[:MOST])


def _price(one: UnusualBill, expected: float) -> float:
    """Fen for a unit, by the running bill or, where less is used than expected, by the last one: what is paid whatever is
    used makes few units dear.
    """
    _, total, since, until = one.last
    if float(one.used) < expected and total > 0 and one.expected > 0:
        return total * (one.until - one.since) / (until - since) / one.expected
    return (one.cost_fen + one.credit_fen) / float(one.used) if one.used > 0 else 0.0
