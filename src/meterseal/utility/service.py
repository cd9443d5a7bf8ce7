"""The face of the utility inside the platform process: bill runs, bills, and what people see of their use.

It decides nothing itself (rating, compose, usage do) and checks no right to see (people does, before it
asks).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

import numpy as np
import sqlalchemy as sa
from msgspec.structs import replace
from numpy.typing import NDArray

from meterseal.control.rings import BILLS, DataKeys, open_ring
from meterseal.control.sealing import KeyRing
from meterseal.errors import DataError, LocalError
from meterseal.mdms.entries import Version
from meterseal.mdms.multipliers import Stated
from meterseal.mdms.surroundings import Surroundings
from meterseal.model import EXPORT, MAIN
from meterseal.utility import agreements, feedin
from meterseal.utility.billing import Billing
from meterseal.utility.bills import AgreementView, Bill, FleetBills, HeldBill, LineReadings, RunReport
from meterseal.utility.calendar import (
    HOUR,
    Period,
    billing_period,
    billing_periods,
    days,
    is_billing_start,
    local_day,
    midnight,
    next_midnight,
    year_start,
)
from meterseal.utility.compose import Terms, needs_year, year_before, year_use
from meterseal.utility.customers import Customers
from meterseal.utility.determinants import by_register
from meterseal.utility.effect import Overlay, between_tenants, check_one_tenant, effects, used_by
from meterseal.utility.feedin import FedPart
from meterseal.utility.outlook import HISTORY, Around, Outlook, outlook
from meterseal.utility.ports import Measurements
from meterseal.utility.projection import less_credit
from meterseal.utility.rating import tier_position
from meterseal.utility.readings import Readings
from meterseal.utility.tariff import AnyTariff, Tiered
from meterseal.utility.usage import period_to_date, progress, usage_series
from meterseal.utility.views import (
    BillSummary,
    EditEffect,
    FedIn,
    PeriodToDate,
    Projection,
    Resolution,
    RowResolution,
    TierPosition,
    UsagePointCard,
    UsageSeries,
)

OUTLOOKS = 10_000
"""Outlooks that are remembered: one is asked for with every page, and changes once an hour at most."""
MOST_INTERVALS = 9_000
"""A series of a year of hours fits; longer ones are asked for in pieces."""
_LONGEST: dict[Resolution, int] = {"hour": HOUR, "day": 24 * HOUR, "period": 31 * 24 * HOUR}


class Utility:
    """Tariffs, agreements, customers, use and bills of one utility; `start` makes it."""

    def __init__(
        self,
        engine: sa.Engine,
        measurements: Measurements,
        billing: Billing,
        customers: Customers,
        keys: KeyRing,
        around: Around,
    ) -> None:
        self._engine = engine
        self.keys = keys
        self._around = around
        self._outlooks: dict[tuple[str, int, int, Stated, int], Outlook | None] = {}
        self._measurements = measurements
        self._billing = billing
        self.customers = customers

    @classmethod
    async def start(cls, engine: sa.Engine, measurements: Measurements, keys: DataKeys, now: int) -> Utility:
        """Open the bills' data keys (or make the first) and return the running utility.

        Raises EngineError when the security service is away, TrustError when it refuses.
        """
        ring = await open_ring(engine, BILLS, keys, now)
        billing = Billing(engine, measurements, ring)
        return cls(engine, measurements, billing, Customers(engine, keys), ring, Surroundings(engine))

    # --- operations ------------------------------------------------------------------------------------

    def publish_tariffs(self, published: Iterable[AnyTariff]) -> None:
        """Publish tariff versions; raises DataError `tariff.published` (see `agreements`)."""
        agreements.publish_tariffs(self._engine, published)

    def add_agreement(
        self,
        agreement_id: str,
        customer_id: str,
        usage_point: str,
        tariff_code: str,
        since: int,
        billing_day: int,
        *,
        tariff_version: int | None = None,
        opening_accumulation: int = 0,
        opening_exponent: int = -2,
    ) -> None:
        """Begin an agreement (see `agreements.add_agreement`)."""
        agreements.add_agreement(
            self._engine,
            agreement_id,
            customer_id,
            usage_point,
            tariff_code,
            since,
            billing_day,
            tariff_version=tariff_version,
            opening_accumulation=opening_accumulation,
            opening_exponent=opening_exponent,
            keys=self.keys,
        )

    def end_agreement(self, agreement_id: str, until: int, *, actor: str = "", now: int = 0) -> None:
        """End an agreement (see `agreements.end_agreement`)."""
        agreements.end_agreement(self._engine, agreement_id, until, actor=actor, now=now)

    def agreed(self) -> dict[str, list[tuple[int, int | None]]]:
        """When which usage point had an agreement (see `agreements.agreed`)."""
        return agreements.agreed(self._engine)

    async def run_bills(self, now: int, since: int | None = None) -> RunReport:
        """Bill every completed period that needs it (see `billing.Billing.run`)."""
        return await self._billing.run(now, since)

    # --- bills -----------------------------------------------------------------------------------------

    def agreements(self, customer_id: str | None = None) -> tuple[AgreementView, ...]:
        """Return agreements (of one customer), the oldest first."""
        return agreements.agreement_views(self._engine, self.keys, customer_id)

    def bills(self, agreement_id: str) -> tuple[BillSummary, ...]:
        """Return all bills of an agreement, every version, the newest first."""
        return self._billing.summaries(agreement_id)

    def bill(self, bill_id: str) -> Bill:
        """Return one bill, opened to its evidence; raises LocalError `bill.none`."""
        return self._billing.bill(bill_id)

    def bill_readings(
        self,
        bill_id: str,
        line: int | None = None,
        determinant: int | None = None,
        by: RowResolution = "day",
        window: Period | None = None,
        after: int = 0,
        limit: int = 200,
    ) -> LineReadings:
        """Return a page of the readings behind a line of a bill, or behind a determinant by its number.

        Hours for a band, days or hours for everything else. Raises LocalError `bill.none`, `bill.no-line`.
        """
        return self._billing.line_readings(self.bill(bill_id), line, determinant, by, window, after, limit)

    def effect_of(self, versions: Sequence[Version], now: int) -> EditEffect:
        """What further versions of one channel would do to bills; nothing is kept."""
        usage_point = versions[0].usage_point
        instants = {one.start_at + k * one.step for one in versions for k in range(len(one.registers))}
        terms = agreements.all_terms(self._engine, self.keys, usage_point)
        before = self._billing.drawn(usage_point, min(instants), now)
        over = self._billing.over(Overlay(self._measurements, versions))
        return EditEffect(
            periods=effects(before, over.drawn(usage_point, min(instants), now)),
            used_by=used_by(before, min(instants), max(instants)),
            between_tenants=between_tenants(terms, instants),
        )

    def check_one_tenant(self, usage_point: str, since: int, until: int) -> None:
        """DataError `edit.tenants` when the customer of a usage point changed in since < t < until."""
        check_one_tenant(agreements.all_terms(self._engine, self.keys, usage_point), since, until)

    def held(self) -> tuple[HeldBill, ...]:
        """Return the periods that wait for their bill."""
        return self._billing.held()

    def fleet(self) -> FleetBills:
        """Return the sums over the newest version of every bill, for operators."""
        return self._billing.fleet()

    # --- use -------------------------------------------------------------------------------------------

    def series(
        self, usage_point: str, resolution: Resolution, since: int, until: int, *, fed_in: bool = False
    ) -> UsageSeries:
        """Return use, or what was fed in, by hour, local day or billing period, for intervals that begin in
        since <= t < until.

        Raises LocalError `usage.none` (no agreement), `usage.range` (nothing, or more than 9000 intervals).
        """
        terms = self._terms(usage_point, since)
        boundaries = _boundaries(resolution, since, until, terms.billing_day)
        channel = EXPORT if fed_in else MAIN
        edges = int(boundaries[0]), int(boundaries[-1])
        readings = self._billing.readings(terms, *edges, channel=channel)
        return usage_series(usage_point, readings, resolution, boundaries)

    def card(self, usage_point: str, now: int) -> UsagePointCard:
        """Return the first card of a usage point: period to date, tier, freshness, last bill.

        Raises LocalError `usage.none`, DataError `tariff.none`.
        """
        terms = self._terms(usage_point, now)
        at = max(terms.since, now if terms.until is None else min(now, terms.until - 1))
        period = _clip(billing_period(at, terms.billing_day), terms)
        readings = self._readings(terms, period.since, period.until)
        year = self._year_before(terms, period, readings)
        to_date = period_to_date(
            readings,
            period,
            terms.book,
            year or Decimal(0),
            terms.billing_day,
            min(now, period.until),
            lambda as_of: self._outlook(terms, as_of, period.until),
        )
        if needs_year(terms.book.segments(*period)) and year is None:
            to_date = PeriodToDate(
                period.since,
                period.until,
                to_date.as_of,
                to_date.used,
                None,
                (),
                to_date.estimated,
                to_date.missing,
            )
        tariff = terms.book.on(local_day(at))
        reached = progress(readings, period.since, min(period.until, now - now % HOUR))
        last = self._billing.newest(terms.agreement_id)
        fed = None
        if feedin.parts(terms.book.segments(*period), terms.fed):
            parts = None if to_date.as_of is None else self._fed_parts(terms, period, to_date.as_of)
            fed = _fed_in(parts, to_date.as_of, tariff)
            less = None if parts is None else self._less_credit(terms, period, to_date, parts)
            to_date = replace(to_date, projection=less)
        return UsagePointCard(
            usage_point=usage_point,
            agreement_id=terms.agreement_id,
            medium=terms.medium,
            unit=tariff.unit,
            tariff_code=tariff.code,
            tariff_version=tariff.version,
            tariff_kind=tariff.kind,
            tariff_name=tariff.name,
            latest_at=reached.latest_at,
            complete_to=reached.complete_to,
            period=to_date,
            tier=self._tier(tariff, readings, to_date, year),
            last_bill=last,
            multiplier=None if (factor := readings.factor(at)) == 1 else factor,
            fed=fed,
        )

    def _fed_parts(self, terms: Terms, period: Period, as_of: int) -> tuple[FedPart, ...] | None:
        """What was fed in up to an instant, as the bill of the period will have lines; None where a register is missing."""
        found = []
        for part in feedin.parts(terms.book.segments(*period), terms.fed):
            quantity, until = Decimal(0), min(part.until, as_of)
            if part.since < until:
                try:
                    readings = self._billing.readings(terms, part.since, until, channel=EXPORT)
                    quantity = feedin.quantity(readings, part.since, until)
                except DataError:
                    return None
            found.append(FedPart(part, quantity))
        return tuple(found)

    def _less_credit(
        self, terms: Terms, period: Period, to_date: PeriodToDate, parts: tuple[FedPart, ...]
    ) -> Projection | None:
        """What the period will cost with the credit for what is fed in; None where that cannot be told."""
        as_of, found = to_date.as_of, to_date.projection
        if found is None or as_of is None or any(one.segment.tariff.feed_in is None for one in parts):
            return None
        since = max(terms.since, parts[0].segment.since)
        return less_credit(
            found,
            self._billing.readings(terms, min(since, as_of), as_of, channel=EXPORT),
            period,
            as_of,
            parts,
            self._outlook(terms, as_of, period.until, EXPORT),
        )

    def _outlook(self, terms: Terms, as_of: int, until: int, channel: int = MAIN) -> Outlook | None:
        """The hours that follow `as_of`, foreseen by those of the same agreement before it."""
        key = (terms.agreement_id, as_of, until, terms.multiplied, channel)
        if key not in self._outlooks:
            if len(self._outlooks) >= OUTLOOKS:
                self._outlooks.clear()
            begun = terms.since if channel == MAIN else max(terms.since, terms.fed[0].since)
            since = max(begun + -begun % HOUR, as_of - HISTORY)
            readings = self._billing.readings(terms, since, as_of, channel=channel)
            self._outlooks[key] = outlook(readings, since, as_of, until, self._around)
        return self._outlooks[key]

    def _tier(
        self, tariff: AnyTariff, readings: Readings, to_date: PeriodToDate, year: Decimal | None
    ) -> TierPosition | None:
        if not isinstance(tariff, Tiered) or to_date.as_of is None or to_date.used is None:
            return None
        begin = year_start(to_date.as_of)
        if begin > to_date.since:
            try:
                used = by_register(readings, begin, to_date.as_of).use.amount
            except DataError:
                return None
        elif year is None:
            return None
        else:
            used = year + to_date.used
        return tier_position(tariff, used, begin)

    def _year_before(self, terms: Terms, period: Period, readings: Readings) -> Decimal | None:
        """The year's use before a period, None when a register for it is missing."""
        if not needs_year(terms.book.segments(*period)):
            return None
        try:
            measured, _ = year_use(
                terms, period.since, readings, lambda since, until: self._readings(terms, since, until)
            )
        except DataError:
            return None
        return measured.use.amount + year_before(terms, period.since).carried

    def _readings(self, terms: Terms, since: int, until: int) -> Readings:
        return self._billing.readings(terms, since, until)

    def _terms(self, usage_point: str, at: int) -> Terms:
        """The agreement that runs at an instant, or else the one nearest before or after it."""
        found = agreements.all_terms(self._engine, self.keys, usage_point)
        if not found:
            raise LocalError(
                "usage.none", f"Usage point {usage_point} has no agreement; use is shown to customers only."
            )
        begun = [terms for terms in found if terms.since <= at]
        return begun[-1] if begun else found[0]


def _fed_in(parts: tuple[FedPart, ...] | None, as_of: int | None, tariff: AnyTariff) -> FedIn:
    """What was fed in since a period began, at the price of now; paid for at those that held."""
    if parts is None:
        return FedIn(as_of, None, tariff.feed_in, None)
    begun = [one for one in parts if as_of is not None and one.segment.since < as_of]
    priced = all(one.segment.tariff.feed_in is not None for one in begun or parts)
    quantity = sum((one.quantity for one in begun), Decimal(0))
    return FedIn(as_of, quantity, tariff.feed_in, feedin.credit_fen(begun) if priced else None)


def _clip(period: Period, terms: Terms) -> Period:
    until = period.until if terms.until is None else min(period.until, terms.until)
    return Period(max(period.since, terms.since), until)


def _boundaries(resolution: Resolution, since: int, until: int, billing_day: int) -> NDArray[np.int64]:
    """The ends of all intervals that begin in a period, and of the last one."""
    if not since < until <= since + MOST_INTERVALS * _LONGEST[resolution]:
        raise _range_error()
    if resolution == "hour":
        found = [*range(-(-since // HOUR) * HOUR, until, HOUR)]
        following = found[-1:] and [found[-1] + HOUR]
    elif resolution == "day":
        starts = days(since, until)
        found = [day.since for day in starts if midnight(local_day(day.since)) == day.since]
        following = found[-1:] and [next_midnight(found[-1])]
    else:
        periods = billing_periods(since, until, billing_day)
        found = [period.since for period in periods if is_billing_start(period.since, billing_day)]
        following = found[-1:] and [billing_period(found[-1], billing_day).until]
    if not 1 <= len(found) <= MOST_INTERVALS:
        raise _range_error()
    return np.array([*found, *following], dtype=np.int64)


def _range_error() -> LocalError:
    return LocalError(
        "usage.range", f"Ask for a time in which at least one and at most {MOST_INTERVALS} intervals begin."
    )
