"""The query interface that the platform serves to the web process: every answer is scoped to a subject, here.

It shows nothing (portal) and computes nothing (utility, mdms); it asks who asks, decides, fetches.

The web process is trusted with nobody's rights: each question brings a session token, the token gives the
subject, the subject gives the scope. A web process in wrong hands sees only what the people signed in just
then may see.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from meterseal.control.engine import read
from meterseal.control.sealing import KeyRing
from meterseal.errors import DataError, EngineError, LocalError
from meterseal.mesh.rpc import Empty, Method, Methods
from meterseal.model import MEDIA
from meterseal.people import fleet_messages as of_fleet
from meterseal.people import forecast_messages as of_forecast
from meterseal.people import messages as ask
from meterseal.people import scope
from meterseal.people.accounts import Accounts, Subject, own_agreements
from meterseal.people.edit_queries import Edited, EditQueries, Requests
from meterseal.people.editing import Editing
from meterseal.people.fleet import DAY, MOST_ROWS, Fleet
from meterseal.people.forecasts import Outlooks
from meterseal.people.password import Stretch
from meterseal.people.ports import FleetReadings, Foresight, UseAndBills
from meterseal.people.rules import Judging, RuleQueries
from meterseal.people.scope import Grant
from meterseal.people.trail import Trail
from meterseal.people.unusual import Unusual
from meterseal.utility.bills import Bill, LineReadings
from meterseal.utility.calendar import Period
from meterseal.utility.views import UsageSeries

CALLERS = frozenset({"web"})
LONGEST_METER_PAGE = 40 * DAY


class Queries:
    """Answers of the platform to people. `clock` gives Unix milliseconds, `keys` open the fleet's sealed columns."""

    def __init__(
        self,
        engine: sa.Engine,
        accounts: Accounts,
        utility: UseAndBills,
        readings: FleetReadings,
        clock: Callable[[], int],
        keys: KeyRing,
        trail: Trail,
        foresight: Foresight,
        editing: Editing,
        edited: Edited,
        requests: Requests,
        judging: Judging,
    ) -> None:
        self._engine = engine
        self._accounts = accounts
        self._utility = utility
        self._fleet = Fleet(engine, readings, keys)
        self._outlooks = Outlooks(engine, foresight)
        self._clock = clock
        self._trail = trail
        self._edits = EditQueries(engine, editing, edited, requests, self._operator, clock)
        self.trials = RuleQueries(engine, judging, self._operator, clock)
        self.unusual = Unusual(engine, utility, clock)

    def methods(self) -> Methods:
        """The table that the platform serves: `people.<question>`, for the web process alone."""
        table: list[tuple[type[Struct], Callable[[Any], Awaitable[Struct]]]] = [
            (ask.RedeemLink, self.redeem_link),
            (ask.SignInFacts, self.sign_in_facts),
            (ask.SignIn, self.sign_in),
            (ask.SignOut, self.sign_out),
            (ask.SetPassword, self.set_password),
            (ask.SetLocale, self.set_locale),
            (ask.Me, self.me),
            (ask.ResidentHome, self.resident_home),
            (ask.ResidentUsage, self.resident_usage),
            (ask.ResidentBills, self.resident_bills),
            (ask.ResidentBill, self.resident_bill),
            (ask.ResidentBillReadings, self.resident_bill_readings),
            (of_fleet.OperatorHome, self.operator_home),
            (of_fleet.OperatorMeters, self.operator_meters),
            (of_fleet.OperatorRefusals, self.operator_refusals),
            (of_fleet.OperatorExceptions, self.operator_exceptions),
            (of_fleet.OperatorReconciliation, self.operator_reconciliation),
            (of_forecast.OperatorForecast, self.operator_forecast),
            (of_fleet.OperatorMeter, self.operator_meter),
            *self._edits.table(),
            *self.trials.table(),
        ]
        return {ask.method_of(kind): Method(_plain(handler), kind, CALLERS) for kind, handler in table}

    # --- sign-in -----------------------------------------------------------------------------------------

    async def redeem_link(self, question: ask.RedeemLink) -> ask.SignedIn:
        """Spend a one-time link. TrustError `people.link`."""
        return self._accounts.redeem(question.token, self._clock())

    async def sign_in_facts(self, question: ask.SignInFacts) -> Stretch:
        """How to stretch a password for a sign-in name; the same form of answer for unknown names."""
        return self._accounts.stretch(question.name)

    async def sign_in(self, question: ask.SignIn) -> ask.SignedIn:
        """Sign in by verifier. TrustError `people.sign-in`, `people.too-many`."""
        return self._accounts.sign_in(question.name, question.verifier, self._clock())

    async def sign_out(self, question: ask.SignOut) -> Empty:
        """End the session."""
        self._accounts.sign_out(question.session)
        return Empty()

    async def set_password(self, question: ask.SetPassword) -> Empty:
        """Set the password of the session's account."""
        stretch = Stretch(question.salt, question.passes, question.memory_kib, question.lanes)
        self._accounts.set_password(question.session, stretch, question.verifier, self._clock())
        return Empty()

    async def set_locale(self, question: ask.SetLocale) -> Empty:
        """Remember a language."""
        self._accounts.set_locale(self._subject(question.session).account_id, question.locale)
        return Empty()

    async def me(self, question: ask.Me) -> ask.MeFacts:
        """Who the session speaks for. TrustError `people.session`."""
        subject = self._subject(question.session)
        return ask.MeFacts(
            subject.account_id, subject.role, subject.locale, subject.has_password, subject.expires_at
        )

    # --- residents ---------------------------------------------------------------------------------------

    async def resident_home(self, question: ask.ResidentHome) -> ask.ResidentHomePage:
        """Cards of the running agreements; name and address are opened for this answer alone."""
        customer_id, grants = self._resident(question.session)
        now = self._clock()
        began = {grant.usage_point: grant.since for grant in grants if grant.runs_at(now)}
        cards = await asyncio.to_thread(lambda: [self._utility.card(point, now) for point in began])
        cards.sort(key=lambda card: MEDIA.index(card.medium))
        person = None
        with contextlib.suppress(EngineError):  # use and bills are shown while the key service is away
            person = await self._utility.customers.open(customer_id)
        name, address = (person.name, person.address) if person is not None else ("", "")
        return ask.ResidentHomePage(now, name, address, tuple(cards), began)

    async def resident_usage(self, question: ask.ResidentUsage) -> UsageSeries:
        """A series of one own usage point, cut to the own agreement. ConsentError `people.not-found`."""
        _, grants = self._resident(question.session)
        since, until = scope.clip(grants, question.usage_point, question.since, question.until)
        return await asyncio.to_thread(
            self._utility.series,
            question.usage_point,
            question.resolution,
            since,
            until,
            fed_in=question.fed_in,
        )

    async def resident_bills(self, question: ask.ResidentBills) -> ask.ResidentBillsPage:
        """Own bills, newest first, without replaced versions."""
        _, grants = self._resident(question.session)
        found = [bill for grant in grants for bill in self._utility.bills(grant.agreement_id) if bill.latest]
        found.sort(key=lambda bill: (-bill.until, MEDIA.index(bill.medium)))
        return ask.ResidentBillsPage(tuple(found))

    async def resident_bill(self, question: ask.ResidentBill) -> Bill:
        """One own bill; another's and none are the same ConsentError `people.not-found`."""
        _, grants = self._resident(question.session)
        return self._own_bill(grants, question.bill_id)

    async def resident_bill_readings(self, question: ask.ResidentBillReadings) -> LineReadings:
        """The readings behind a line of an own bill, a page at a time; who may not see the bill sees none of them."""
        _, grants = self._resident(question.session)
        bill = self._own_bill(grants, question.bill_id)
        window = Period(question.since, question.until) if question.until else None
        try:
            return await asyncio.to_thread(
                self._utility.bill_readings,
                bill.bill_id,
                question.line,
                question.determinant,
                question.resolution,
                window,
                question.after,
                min(question.limit, MOST_ROWS),
            )
        except LocalError:
            raise scope.not_found() from None

    def _own_bill(self, grants: list[Grant], bill_id: str) -> Bill:
        try:
            bill = self._utility.bill(bill_id)
        except LocalError:
            raise scope.not_found() from None
        scope.own_agreement(grants, bill.agreement_id)
        return bill

    # --- operators ---------------------------------------------------------------------------------------

    async def operator_home(self, question: of_fleet.OperatorHome) -> of_fleet.OperatorHomePage:
        """The state of the fleet."""
        self._operator(question.session)
        trail = await self._trail.state()
        return await asyncio.to_thread(lambda: self._fleet.home(self._clock(), self._utility.fleet(), trail))

    async def operator_meters(self, question: of_fleet.OperatorMeters) -> of_fleet.OperatorMetersPage:
        """A page of meters."""
        self._operator(question.session)
        return self._fleet.meters(self._clock(), question.medium, question.after, question.limit)

    async def operator_refusals(self, question: of_fleet.OperatorRefusals) -> of_fleet.OperatorRefusalsPage:
        """A page of the audit trail, and whether the trail holds."""
        self._operator(question.session)
        trail = await self._trail.state()
        return await asyncio.to_thread(
            self._fleet.refusals, question.before, question.limit, question.code, trail
        )

    async def operator_exceptions(
        self, question: of_fleet.OperatorExceptions
    ) -> of_fleet.OperatorExceptionsPage:
        """Findings, held bills, quarantine."""
        self._operator(question.session)
        return self._fleet.exceptions(question.before, question.limit, self._utility.fleet())

    async def operator_reconciliation(
        self, question: of_fleet.OperatorReconciliation
    ) -> of_fleet.OperatorReconciliationPage:
        """What became of every delivered reading."""
        self._operator(question.session)
        return await asyncio.to_thread(self._fleet.reconciliation, question.concentrator)

    async def operator_forecast(
        self, question: of_forecast.OperatorForecast
    ) -> of_forecast.OperatorForecastPage:
        """What will probably be used, and how good such forecasts were."""
        self._operator(question.session)
        page = await asyncio.to_thread(self._outlooks.page, question.medium, question.of, fed=question.fed)
        found = self.unusual.found
        if found is None or page.medium is None:
            return msgspec.structs.replace(page, looking=self.unusual.looking)
        return msgspec.structs.replace(page, unusual=found.get(page.medium, ()))

    async def operator_meter(self, question: of_fleet.OperatorMeter) -> of_fleet.OperatorMeterPage:
        """One usage point with readings and evidence. LocalError `people.period` beyond 40 days."""
        self._operator(question.session)
        if not 0 < question.length <= LONGEST_METER_PAGE:
            raise LocalError(
                "people.period", "This period is too long for one question; ask for a shorter one."
            )
        now = self._clock()
        as_of = question.as_of if question.as_of > 0 else None
        found = await asyncio.to_thread(
            self._fleet.meter, question.usage_point, now, question.until, question.length, as_of
        )
        edits = await asyncio.to_thread(self._edits.of, question.usage_point)
        running = await asyncio.to_thread(self._running, question.usage_point, now)
        return msgspec.structs.replace(found, edits=edits, running=running)

    def _running(self, usage_point: str, now: int) -> of_fleet.RunningBill | None:
        """The bill that is growing, without whose it is; None where no agreement runs, or where its use cannot be told:
        there operators need to see the readings most of all.
        """
        try:
            card = self._utility.card(usage_point, now)
        except (LocalError, DataError):
            return None
        period, last = card.period, card.last_bill
        if not period.since <= now < period.until:
            return None
        return of_fleet.RunningBill(
            since=period.since,
            until=period.until,
            used=period.used,
            cost_fen=period.cost_fen,
            projection=period.projection,
            last=None if last is None else (last.total_fen, last.since, last.until),
        )

    # --- who asks ----------------------------------------------------------------------------------------

    def _subject(self, session: str) -> Subject:
        return self._accounts.subject(session, self._clock())

    def _operator(self, session: str) -> Subject:
        return scope.operator(self._subject(session))

    def _resident(self, session: str) -> tuple[str, list[Grant]]:
        customer_id = scope.resident(self._subject(session))
        with read(self._engine) as db:
            return customer_id, [Grant(*row) for row in own_agreements(db, customer_id)]


def _plain(handler: Callable[[Any], Awaitable[Struct]]) -> Callable[[str, Any], Awaitable[Struct]]:
    """Drop the caller's name: the table admits only `web`, and what it may see hangs on the session alone."""

    async def answer(_caller: str, question: Any) -> Struct:
        return await handler(question)

    return answer
