"""The bill run: every completed billing period of every agreement, issued, corrected, left alone or held.

It composes no bill itself (compose) and guesses nothing: a period that cannot be billed is recorded with the
reason and tried again. An issued bill never changes; changed inputs make a new version that names them.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from functools import lru_cache, partial
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from meterseal.control import read, write
from meterseal.control.sealed import BILL
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import bill_runs, bills, held_bills
from meterseal.errors import DataError, LocalError
from meterseal.model import EXPORT, MAIN
from meterseal.utility.agreements import all_terms
from meterseal.utility.bills import Bill, FleetBills, HeldBill, LineReadings, RunReport
from meterseal.utility.calendar import Period, billing_periods
from meterseal.utility.compose import (
    CURRENCY,
    Source,
    Terms,
    compose,
    fen_of,
    metered_fen,
    moved_fen,
    next_version,
    weakest,
)
from meterseal.utility.effect import Drawn
from meterseal.utility.opening import adds_up, determinant_of, rows
from meterseal.utility.ports import EvidenceFacts, Measurements
from meterseal.utility.proof import EvidenceAt
from meterseal.utility.readings import Readings, usable
from meterseal.utility.views import BillSummary, RowResolution

LOOK_BACK = 400 * 86_400_000
"""Periods that ended longer ago are not looked at again unless a run names an earlier beginning."""
MOST_ROWS = 500
"""Rows of one page behind a line."""
_AHEAD = 70 * 86_400_000  # enough that the running period is seen whole


class _Stored(NamedTuple):
    bill_id: str
    period: Period
    bill: Bill


class Billing:
    """Bills of one utility: runs, and what they left behind.

    `measurements` is the store of measurements, `keys` seal the bills' documents (they contain registers).
    """

    def __init__(self, engine: sa.Engine, measurements: Measurements, keys: KeyRing) -> None:
        self._engine = engine
        self._measurements = measurements
        self._keys = keys
        self._running = asyncio.Lock()

    async def run(self, now: int, since: int | None = None) -> RunReport:
        """Bill every period that ended between `since` (default: 400 days ago) and `now`.

        Runs wait for each other. All bills of a run become durable together; a run that fails leaves nothing. All of them
        see the readings that were stored when it began, and none that comes meanwhile.
        """
        async with self._running:
            before = self._latest()
            standing = self.over(self._measurements.standing(now))
            issued: list[Bill] = []
            held: list[HeldBill] = []
            unchanged = 0
            looked_at: list[tuple[str, int]] = []
            for terms in all_terms(self._engine, self._keys):
                for period in _completed(terms, now, now - LOOK_BACK if since is None else since):
                    looked_at.append((terms.agreement_id, period.since))
                    outcome = standing._settle(terms, period, before[terms.agreement_id], now)
                    if isinstance(outcome, HeldBill):
                        held.append(outcome)
                    elif outcome is None:
                        unchanged += 1
                    else:
                        issued.append(outcome)
                await asyncio.sleep(0)  # readings and queries are served between two agreements
            report = RunReport(
                at=now,
                periods=len(looked_at),
                issued=tuple(bill.bill_id for bill in issued),
                corrected=tuple(bill.bill_id for bill in issued if bill.version > 1),
                unchanged=unchanged,
                held=tuple(held),
            )
            self._keep(issued, held, looked_at, report)
            return report

    def readings(
        self, terms: Terms, since: int, until: int, as_of: int | None = None, channel: int = MAIN
    ) -> Readings:
        """Return the usable readings of an agreement's usage point with since <= end_at <= until.

        With `as_of`, as they were visible then.
        """
        columns = self._measurements.registers(terms.usage_point, channel, since, until, as_of)
        swaps = terms.fed_swaps if channel == EXPORT else terms.swaps
        return usable(columns, terms.medium, swaps, terms.multiplied)

    def line_readings(
        self,
        bill: Bill,
        line: int | None,
        determinant: int | None,
        by: RowResolution,
        window: Period | None,
        after: int,
        limit: int,
    ) -> LineReadings:
        """Return a page of the readings behind a line, as they were visible when the bill was made.

        Rows that end inside `window` (None: all), later than `after`. Raises LocalError `bill.no-line`.
        """
        number, share = determinant_of(bill, line, determinant)
        chosen = bill.determinants[number]
        (terms,) = (
            one
            for one in all_terms(self._engine, self._keys, bill.usage_point)
            if one.agreement_id == bill.agreement_id
        )
        by = "hour" if chosen.kind == "hours" else by
        for as_of in (bill.created_at, None):
            edges = chosen.readings.first.end_at, chosen.readings.last.end_at
            readings = self.readings(terms, *edges, as_of, chosen.channel)
            found = rows(chosen, share, readings, terms.book, terms.since, by)
            if whole := adds_up(found, chosen, share, readings):
                break
        if window is not None:
            found = tuple(row for row in found if window.since < row.until <= window.until)
        page = [row for row in found if row.until > after][: max(1, min(limit, MOST_ROWS))]
        return LineReadings(
            bill_id=bill.bill_id,
            line=line,
            determinant=number,
            resolution=by,
            exponent=readings.exponent,
            unit=bill.unit,
            total=len(found),
            rows=tuple(page),
            next=page[-1].until if page and page[-1] is not found[-1] else 0,
            adds_up=whole,
        )

    def bill(self, bill_id: str) -> Bill:
        """Return one bill. Raises LocalError `bill.none`."""
        with read(self._engine) as connection:
            row = connection.execute(sa.select(bills).where(bills.c.id == bill_id)).one_or_none()
        if row is None:
            raise LocalError("bill.none", f"There is no bill {bill_id}; check its id.")
        return self._open(row)

    def summaries(self, agreement_id: str) -> tuple[BillSummary, ...]:
        """Return all bills of an agreement, every version, the newest period and version first."""
        query = (
            sa.select(bills)
            .where(bills.c.agreement_id == agreement_id)
            .order_by(bills.c.since.desc(), bills.c.version.desc())
        )
        with read(self._engine) as connection:
            stored = connection.execute(query).all()
        seen: set[int] = set()
        found = []
        for row in stored:
            bill = self._open(row)
            found.append(_summary(bill, latest=bill.since not in seen))
            seen.add(bill.since)
        return tuple(found)

    def newest(self, agreement_id: str) -> BillSummary | None:
        """Return the newest version of an agreement's last period, opened alone."""
        query = sa.select(bills).where(bills.c.agreement_id == agreement_id)
        query = query.order_by(bills.c.since.desc(), bills.c.version.desc()).limit(1)
        with read(self._engine) as connection:
            row = connection.execute(query).first()
        return None if row is None else _summary(self._open(row), latest=True)

    def held(self) -> tuple[HeldBill, ...]:
        """Return the periods that wait for their bill, the longest waiting first."""
        terms = {one.agreement_id: one for one in all_terms(self._engine, self._keys)}
        with read(self._engine) as connection:
            waiting = connection.execute(sa.select(held_bills).order_by(held_bills.c.found_at)).all()
        return tuple(
            HeldBill(
                agreement_id=row.agreement_id,
                usage_point=terms[row.agreement_id].usage_point,
                medium=terms[row.agreement_id].medium,
                since=row.since,
                until=row.until,
                code=row.code,
                sentence=row.sentence,
                found_at=row.found_at,
            )
            for row in waiting
        )

    def fleet(self) -> FleetBills:
        """Return the sums over the newest version of every bill."""
        newest = [stored.bill for chain in self._latest().values() for stored in chain]
        with read(self._engine) as connection:
            last = connection.execute(sa.select(sa.func.max(bill_runs.c.at))).scalar()
        by_medium: dict[str, int] = defaultdict(int)
        by_assurance: dict[str, int] = defaultdict(int)
        for bill in newest:
            by_medium[bill.medium] += bill.total_fen
            for part in bill.parts:
                by_assurance[part.assurance] += part.amount_fen
        return FleetBills(
            bills=len(newest),
            agreements=len({bill.agreement_id for bill in newest}),
            total_fen=sum(bill.total_fen for bill in newest),
            metered_fen=sum(map(moved_fen, newest)),
            signed_fen=sum(moved_fen(bill, "meter-signed") for bill in newest),
            chained_fen=sum(moved_fen(bill, "meter-chained") for bill in newest),
            by_medium=dict(by_medium),
            by_assurance=dict(by_assurance),
            corrected=sum(1 for bill in newest if bill.version > 1),
            held=self.held(),
            last_run_at=last,
        )

    def over(self, measurements: Measurements) -> Billing:
        """The same bills over other measurements, to be looked at with `drawn`."""
        return Billing(self._engine, measurements, self._keys)

    def drawn(self, usage_point: str, first: int, now: int) -> list[Drawn]:
        """What a run would make now of the completed periods that a reading of `first` or later can touch, the later ones
        of which may only count the year from it. Nothing is kept.
        """
        found = []
        for terms in all_terms(self._engine, self._keys, usage_point):
            issued = self._latest(terms.agreement_id)[terms.agreement_id]
            for period in _completed(terms, now, first - 1):
                bill = next((one.bill for one in issued if one.period == period), None)
                outcome = self._composed(terms, period, issued, now)
                composed = outcome if isinstance(outcome, HeldBill) else outcome[0]
                found.append(Drawn(terms, period, bill, composed, period.until > now - LOOK_BACK))
        return found

    def _settle(
        self, terms: Terms, period: Period, stored: list[_Stored], now: int
    ) -> Bill | HeldBill | None:
        outcome = self._composed(terms, period, stored, now)
        if isinstance(outcome, HeldBill):
            return outcome
        bill, before = outcome
        return bill if before is None else next_version(bill, before.bill)

    def _composed(
        self, terms: Terms, period: Period, stored: list[_Stored], now: int
    ) -> tuple[Bill, _Stored | None] | HeldBill:
        """The bill of a period and the one it would replace."""
        try:
            before = _predecessor(terms, period, stored)
            used, fed = (self._source(terms, period, channel) for channel in (MAIN, EXPORT))
            bill = compose(terms, period, used, fed, now)
        except DataError as error:
            return HeldBill(
                agreement_id=terms.agreement_id,
                usage_point=terms.usage_point,
                medium=terms.medium,
                since=period.since,
                until=period.until,
                code=error.code,
                sentence=error.message,
                found_at=now,
            )
        return bill, before

    def _source(self, terms: Terms, period: Period, channel: int) -> Source:
        evidence_at = self._evidence(terms.usage_point, period, channel)
        return Source(partial(self.readings, terms, channel=channel), evidence_at)

    def _evidence(self, usage_point: str, period: Period, channel: int) -> EvidenceAt:
        """Evidence by instant: that of the period asked for at once, any other when it is needed."""

        @lru_cache
        def within() -> dict[int, EvidenceFacts]:
            found = self._measurements.evidence_between(usage_point, channel, *period)
            return {facts.end_at: facts for facts in found}

        @lru_cache
        def elsewhere(at: int) -> EvidenceFacts | None:
            found = self._measurements.evidence_between(usage_point, channel, at, at)
            return found[-1] if found else None

        return lambda at: within().get(at) if period.since <= at <= period.until else elsewhere(at)

    def _latest(self, agreement_id: str | None = None) -> dict[str, list[_Stored]]:
        """The newest version of every bill (of one agreement), by agreement."""
        newest = (
            sa.select(bills.c.agreement_id, bills.c.since, sa.func.max(bills.c.version).label("version"))
            .group_by(bills.c.agreement_id, bills.c.since)
            .subquery()
        )
        query = sa.select(bills).join(
            newest,
            sa.and_(
                bills.c.agreement_id == newest.c.agreement_id,
                bills.c.since == newest.c.since,
                bills.c.version == newest.c.version,
            ),
        )
        if agreement_id is not None:
            query = query.where(bills.c.agreement_id == agreement_id)
        found: dict[str, list[_Stored]] = defaultdict(list)
        with read(self._engine) as connection:
            newest_rows = connection.execute(query).all()
        for row in newest_rows:
            bill = self._open(row)
            found[row.agreement_id].append(_Stored(row.id, Period(row.since, row.until), bill))
        return found

    def _open(self, row: sa.Row[Any]) -> Bill:
        document = BILL.open(self._keys, row) or b""
        # What earlier versions of this software called attested; an issued bill keeps its bytes.
        return msgspec.json.decode(document.replace(b'"platform-mac"', b'"platform-attested"'), type=Bill)

    def _keep(
        self, issued: list[Bill], held: list[HeldBill], looked_at: list[tuple[str, int]], report: RunReport
    ) -> None:
        with write(self._engine) as connection:
            for bill in issued:
                values = {
                    "id": bill.bill_id,
                    "agreement_id": bill.agreement_id,
                    "since": bill.since,
                    "until": bill.until,
                    "currency": CURRENCY,
                    "version": bill.version,
                    "sealed_document": msgspec.json.encode(bill),
                    "created_at": bill.created_at,
                }
                connection.execute(sa.insert(bills).values(**BILL.seal(self._keys, values)))
            known = {
                (row.agreement_id, row.since): row for row in connection.execute(sa.select(held_bills)).all()
            }
            for agreement_id, since in looked_at:
                if (agreement_id, since) in known:
                    here = sa.and_(held_bills.c.agreement_id == agreement_id, held_bills.c.since == since)
                    connection.execute(sa.delete(held_bills).where(here))
            for one in held:
                row = known.get((one.agreement_id, one.since))
                waiting = row.found_at if row is not None and row.code == one.code else one.found_at
                values = {
                    "agreement_id": one.agreement_id,
                    "since": one.since,
                    "until": one.until,
                    "code": one.code,
                    "sentence": one.sentence,
                    "found_at": waiting,
                }
                connection.execute(sa.insert(held_bills).values(**values))
            connection.execute(sa.insert(bill_runs).values(at=report.at, document=report))


def _completed(terms: Terms, now: int, since: int) -> list[Period]:
    end = now + _AHEAD if terms.until is None else min(now + _AHEAD, terms.until)
    periods = billing_periods(terms.since, end, terms.billing_day)
    return [period for period in periods if since < period.until <= now]


def _predecessor(terms: Terms, period: Period, stored: list[_Stored]) -> _Stored | None:
    """The bill this one would replace; raises DataError `bill.overlap` when another covers its time."""
    before = None
    for one in stored:
        if one.period.since == period.since:
            before = one
        elif one.period.since < period.until and period.since < one.period.until:
            raise DataError(
                "bill.overlap",
                f"Bill {one.bill_id} of agreement {terms.agreement_id} covers part of this period; the "
                "billing day or the agreement was changed for time already billed. Change it for time "
                "to come.",
            )
    return before


def _summary(bill: Bill, *, latest: bool) -> BillSummary:
    return BillSummary(
        bill_id=bill.bill_id,
        agreement_id=bill.agreement_id,
        usage_point=bill.usage_point,
        medium=bill.medium,
        since=bill.since,
        until=bill.until,
        version=bill.version,
        created_at=bill.created_at,
        currency=bill.currency,
        total_fen=bill.total_fen,
        metered_fen=metered_fen(bill),
        signed_fen=fen_of(bill, "meter-signed"),
        chained_fen=fen_of(bill, "meter-chained"),
        used=bill.used,
        unit=bill.unit,
        assurance=weakest(bill),
        latest=latest,
    )
