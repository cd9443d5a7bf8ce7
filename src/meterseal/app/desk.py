"""The operator's desk: what may be asked over the Unix socket, answered across the stations it touches.

It enrols nobody (`app.enrolling` does). Names pass through to be sealed and appear in no answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import sqlalchemy as sa
from msgspec.structs import asdict

from meterseal.app import operator as ask
from meterseal.app.resealing import Resealing
from meterseal.app.rowwatch import RowWatch
from meterseal.control import read
from meterseal.control.engine import scrub
from meterseal.control.kinds import UNFIT, why
from meterseal.control.tables import agreements
from meterseal.errors import DataError, LocalError, TrustError
from meterseal.mdms.ledger.checkpoints import Checkpoints
from meterseal.mdms.ledger.leaves import days_between
from meterseal.mdms.service import Mdms
from meterseal.mesh.rpc import OPERATOR, Methods, offered_to
from meterseal.model import MAIN
from meterseal.people.accounts import LINK_LIFETIME, Accounts
from meterseal.people.erasure import erase, facing
from meterseal.people.trail import Trail
from meterseal.things.anchoring import TrailAnchoring
from meterseal.things.fleet import Fleet
from meterseal.things.monitor import AuditLog
from meterseal.things.sessions import SessionStore
from meterseal.utility.service import Utility


class Desk:
    """Everything an operator can do from the command line, beside what the portal shows."""

    def __init__(
        self,
        *,
        engine: sa.Engine,
        mdms: Mdms,
        utility: Utility,
        accounts: Accounts,
        audit: AuditLog,
        trail: Trail,
        anchoring: TrailAnchoring,
        rows: RowWatch,
        sessions: SessionStore,
        fleet: Fleet,
        clock: Callable[[], int],
        resealing: Resealing,
        checkpoints: Checkpoints,
    ) -> None:
        self._engine = engine
        self._mdms = mdms
        self._utility = utility
        self._accounts = accounts
        self._audit = audit
        self._trail = trail
        self._anchoring = anchoring
        self._rows = rows
        self._sessions = sessions
        self._fleet = fleet
        self._clock = clock
        self._resealing = resealing
        self._checkpoints = checkpoints

    def methods(self) -> Methods:
        """The table that the Unix socket serves."""
        return offered_to(
            OPERATOR,
            {
                "devices": (self.devices, ask.Page),
                "counts": (self.counts, ask.Page),
                "audit": (self.audit, ask.Page),
                "readings": (self.readings, ask.BillQuery),
                "bills_run": (self.bills_run, ask.BillRun),
                "bills": (self.bills, ask.BillQuery),
                "bill": (self.bill, ask.BillQuery),
                "bill_readings": (self.bill_readings, ask.BillLine),
                "account_link": (self.account_link, ask.Account),
                "customer_end": (self.customer_end, ask.EndAgreement),
                "customer_erase": (self.customer_erase, ask.EraseCustomer),
                "data_keys_renew": (self.data_keys_renew, ask.Page),
            },
        )

    # --- questions -------------------------------------------------------------------------------------

    async def devices(self, _: str, asked: ask.Page) -> ask.Text:
        """Every meter in place."""
        return ask.Text(json=ask.as_json(self._fleet.devices()))

    async def counts(self, _: str, asked: ask.Page) -> ask.Counts:
        """What the system holds."""
        found = self._mdms.counts()
        summed, total, unsummed = self._bills()
        trail = await self._trail.state()
        return ask.Counts(
            meters=len(self._fleet.devices()),
            sessions=self._sessions.count(),
            records=found.records,
            readings=found.readings,
            evidence=found.evidence,
            evidence_good=found.evidence_good,
            repeats=found.repeats,
            quarantined=found.quarantined,
            refused=self._audit.count(),
            bills=summed,
            total_fen=total,
            audit_ok=False if self._rows.says or unsummed else trail.holds,
            audit_entries=trail.entries,
            audit_anchored=trail.anchored,
            audit_broken=" ".join(filter(None, (trail.says, self._rows.says, unsummed))),
            to_reseal=await self._resealing.remaining(),
            reconciled=tuple(self._mdms.reconciled()),
            troubles=self._mdms.troubles(),
        )

    def _bills(self) -> tuple[int, int, str]:
        """How many bills, their sum, and why nobody can say it: no reason to say nothing of the rest."""
        try:
            bills = self._utility.fleet()
        except (DataError, TrustError, *UNFIT) as error:
            return 0, 0, f"Bills cannot be added up: {why(error)} Run: meterseal ledger verify"
        return bills.bills, bills.total_fen, ""

    async def customer_end(self, _: str, asked: ask.EndAgreement) -> ask.Text:
        """End the agreement that bills a meter. LocalError `agreement.end`, `agreement.billed`, `usage.none`."""
        usage_point = self._usage_point(asked.device_id)
        query = sa.select(agreements).where(agreements.c.usage_point_id == usage_point)
        with read(self._engine) as connection:
            row = connection.execute(query.order_by(agreements.c.since.desc())).first()
        if row is None:
            raise LocalError(
                "usage.none", f"Usage point {usage_point} has no agreement; nothing was changed."
            )
        billed = max((bill.until for bill in self._utility.bills(row.id)), default=0)
        if row.until != asked.until < billed:
            raise LocalError(
                "agreement.billed",
                f"A bill of agreement {row.id} goes further than that day, and issued bills keep their period. Name the "
                "first day that is not billed. Nothing was changed.",
            )
        self._utility.end_agreement(row.id, asked.until, actor=OPERATOR, now=self._clock())
        return ask.Text(
            json=ask.as_json(
                {"agreement": row.id, "usage_point": usage_point, "since": row.since, "until": asked.until}
            )
        )

    async def customer_erase(self, _: str, asked: ask.EraseCustomer) -> ask.Text:
        """Erase a person for good; bills and readings stay without the name. Asking again changes nothing more."""
        customer_id = asked.customer_id
        if asked.device_id:
            customer_id = self._customer_at(self._usage_point(asked.device_id))
        if asked.dry_run:
            return ask.Text(json=ask.as_json(await asyncio.to_thread(facing, self._engine, customer_id)))
        erased = await asyncio.to_thread(erase, self._engine, customer_id, OPERATOR, self._clock())
        await self._destroy_salts(customer_id)
        return ask.Text(json=ask.as_json(erased))

    async def _destroy_salts(self, customer_id: str) -> None:
        """No leaf of the days that were the person's can be opened any more, nor guessed."""
        query = sa.select(agreements.c.usage_point_id, agreements.c.since, agreements.c.until)
        with read(self._engine) as connection:
            terms = connection.execute(query.where(agreements.c.customer_id == customer_id)).all()
        gone = [
            await self._mdms.destroy_salts(usage_point, *days_between(since, until or self._clock()))
            for usage_point, since, until in terms
        ]
        await asyncio.to_thread(scrub, self._engine, [one for one in gone if one])

    def _customer_at(self, usage_point: str) -> str:
        query = (
            sa.select(agreements.c.customer_id)
            .where(agreements.c.usage_point_id == usage_point)
            .order_by(agreements.c.since.desc())
        )
        with read(self._engine) as connection:
            found = connection.execute(query).scalars().first()
        if found is None:
            raise LocalError("usage.none", f"Usage point {usage_point} has no agreement, so nobody to erase.")
        return str(found)

    async def data_keys_renew(self, _: str, asked: ask.Page) -> ask.Text:
        """Begin a new version of every data key; what is stored moves to it in the background."""
        await self._resealing.begin()
        return ask.Text(json=ask.as_json({"to_reseal": await self._resealing.remaining()}))

    async def audit(self, _: str, asked: ask.Page) -> ask.Text:
        """The newest refusals, after the whole chain was verified and compared with its anchor (null: nobody could)."""
        verified, anchored = await self._anchoring.verified()
        entries = self._audit.latest(asked.limit, asked.before)
        return ask.Text(json=ask.as_json({"verified": verified, "anchored": anchored, "entries": entries}))

    async def readings(self, _: str, asked: ask.BillQuery) -> ask.Text:
        """The stored readings of one meter's main channel, newest last."""
        usage_point = self._usage_point(asked.device_id)
        columns = self._mdms.registers(usage_point, MAIN, 0, self._clock() + 86_400_000)
        return ask.Text(
            json=ask.as_json(
                {
                    "usage_point": usage_point,
                    "unit": columns.unit,
                    "exponent": columns.exponent,
                    "end_at": columns.end_at.tolist(),
                    "register": columns.register.tolist(),
                    "quality": columns.quality.tolist(),
                    "origin": columns.origin.tolist(),
                }
            )
        )

    def _usage_point(self, device_id: bytes) -> str:
        return self._fleet.device(device_id).usage_point

    # --- operations ------------------------------------------------------------------------------------

    async def bills_run(self, _: str, asked: ask.BillRun) -> ask.Text:
        """Validate (`judged` says what), bill, and have the ledger signed as it stands."""
        judged = await self._mdms.run_vee(self._clock())
        report = await self._utility.run_bills(self._clock())
        await self._checkpoints.look()
        return ask.Text(json=ask.as_json(asdict(report) | {"judged": judged}))

    async def bills(self, _: str, asked: ask.BillQuery) -> ask.Text:
        """Newest version of each bill, of one device or of all."""
        query = sa.select(agreements.c.id)
        if asked.device_id:
            query = query.where(agreements.c.usage_point_id == self._usage_point(asked.device_id))
        with read(self._engine) as connection:
            ids = connection.execute(query).scalars().all()
        found = [bill for agreement in ids for bill in self._utility.bills(agreement) if bill.latest]
        return ask.Text(json=ask.as_json(found))

    async def bill(self, _: str, asked: ask.BillQuery) -> ask.Text:
        """One bill, opened."""
        return ask.Text(json=ask.as_json(self._utility.bill(asked.bill_id)))

    async def bill_readings(self, _: str, asked: ask.BillLine) -> ask.Text:
        """The readings behind a line of a bill."""
        found = await asyncio.to_thread(
            self._utility.bill_readings,
            asked.bill_id,
            asked.line,
            asked.determinant,
            asked.resolution,
            None,
            asked.after,
            asked.limit,
        )
        return ask.Text(json=ask.as_json(found))

    async def account_link(self, _: str, asked: ask.Account) -> ask.Link:
        """A fresh one-time link; the first operator account is made when there is none."""
        now = self._clock()
        name = asked.account_id
        if not name and asked.role == "operator":
            names = [] if asked.new else self._accounts.find("operator")
            name = names[0] if names else self._accounts.create("operator", now)
        name = name or self._account_of(asked.device_id)
        token = self._accounts.make_link(name, now)
        return ask.Link(path=f"/in#{token}", expires_at=now + LINK_LIFETIME, account_id=name)

    def _account_of(self, device_id: bytes) -> str:
        usage_point = self._usage_point(device_id)
        with read(self._engine) as connection:
            customer = connection.execute(
                sa.select(agreements.c.customer_id)
                .where(agreements.c.usage_point_id == usage_point)
                .order_by(agreements.c.since.desc())
            ).scalar()
        names = self._accounts.find("resident", customer) if customer else []
        if not names:
            raise DataError(
                "people.no-account", "Nobody has an account for that meter. Enrol its customer first."
            )
        return names[0]
