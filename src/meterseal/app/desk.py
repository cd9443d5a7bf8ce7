"""The operator's desk: what may be asked over the Unix socket, carried out across the stations it touches.

Enrolling a dwelling reaches the security service, the fleet, the utility and the accounts; no station could do it alone.
It checks what it can before it changes anything. Names pass through to be sealed and appear in no answer.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from ssl import DER_cert_to_PEM_cert
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from meterseal.app import doctoring, enrolment
from meterseal.app import operator as ask
from meterseal.app.keys import IssueConcentrator, TlsIdentity
from meterseal.app.resealing import Resealing
from meterseal.control import read, write
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import agreements, customers, meters, usage_points
from meterseal.errors import DataError, LocalError
from meterseal.mdms.service import Mdms
from meterseal.mesh.rpc import OPERATOR, Method, Methods, Rpc
from meterseal.model import MAIN, Medium
from meterseal.people.accounts import LINK_LIFETIME, Accounts
from meterseal.people.erasure import erase
from meterseal.people.trail import Trail
from meterseal.security.messages import Personalisation, PersonaliseRequest
from meterseal.security.sdk import SecuritySdk
from meterseal.things.anchoring import TrailAnchoring
from meterseal.things.fleet import Fleet, Installation, add_concentrator, install, new_premises
from meterseal.things.monitor import AuditLog
from meterseal.things.sessions import SessionStore
from meterseal.utility.customers import NewCustomer, Person
from meterseal.utility.service import Utility
from meterseal.utility.tariff import AnyTariff

LOCAL = ZoneInfo("Asia/Shanghai")
ONLY_OPERATOR = frozenset({OPERATOR})
TYPES: dict[Medium, int] = {"water": 0x10, "gas": 0x30, "heat": 0x20, "electricity": 0xD7}


class Desk:
    """Everything an operator can do from the command line, beside what the portal shows."""

    def __init__(
        self,
        *,
        engine: sa.Engine,
        keys: Rpc,
        mdms: Mdms,
        utility: Utility,
        accounts: Accounts,
        audit: AuditLog,
        trail: Trail,
        anchoring: TrailAnchoring,
        sessions: SessionStore,
        fleet: Fleet,
        tariffs: tuple[AnyTariff, ...],
        clock: Callable[[], int],
        keys_of_fleet: KeyRing,
        resealing: Resealing,
    ) -> None:
        self._engine = engine
        self._keys = keys
        self._security = SecuritySdk(keys)
        self._mdms = mdms
        self._utility = utility
        self._accounts = accounts
        self._audit = audit
        self._trail = trail
        self._anchoring = anchoring
        self._sessions = sessions
        self._fleet = fleet
        self._tariffs = {tariff.medium: tariff.code for tariff in tariffs}
        self._published = {tariff.code: tariff for tariff in tariffs}
        self._clock = clock
        self._keys_of_fleet = keys_of_fleet
        self._resealing = resealing

    def methods(self) -> Methods:
        """The table that the Unix socket serves."""
        table: dict[str, tuple[Callable[[str, Any], Awaitable[Struct]], type[Struct]]] = {
            "enrol": (self.enrol, ask.Enrol),
            "enrol_concentrator": (self.enrol_concentrator, ask.EnrolConcentrator),
            "lab_issue": (self.lab_issue, ask.LabIssue),
            "devices": (self.devices, ask.Page),
            "counts": (self.counts, ask.Page),
            "audit": (self.audit, ask.Page),
            "readings": (self.readings, ask.BillQuery),
            "vee_run": (self.vee_run, ask.Page),
            "bills_run": (self.bills_run, ask.BillRun),
            "bills": (self.bills, ask.BillQuery),
            "bill": (self.bill, ask.BillQuery),
            "bill_readings": (self.bill_readings, ask.BillLine),
            "account_link": (self.account_link, ask.Account),
            "customer_erase": (self.customer_erase, ask.EraseCustomer),
            "data_keys_renew": (self.data_keys_renew, ask.Page),
        }
        own = {name: Method(handler, request, ONLY_OPERATOR) for name, (handler, request) in table.items()}
        return own | doctoring.methods(self._engine, self._sessions)

    # --- enrolment -------------------------------------------------------------------------------------

    async def enrol(self, _: str, asked: ask.Enrol) -> ask.EnrolReply:
        """Enrol dwellings: modules first, then each dwelling's meters, customer, agreements and account.

        Repeating a request whose answer was lost, or that was cut off half way, completes it and changes nothing else.
        DataError `fleet.enrolled` when a device is enrolled elsewhere; then nothing was changed.
        """
        supplies = [supply for premises in asked.premises for supply in premises.supplies]
        if len({supply.device_id for supply in supplies}) != len(supplies):
            raise DataError(
                "fleet.twice", "A device id stands twice in this enrolment. Correct it; nothing was changed."
            )
        for supply in supplies:
            enrolment.check(supply, self._published)
        homes = [self._home_of(premises) for premises in asked.premises]
        given = await self._personalise([supply for supply in supplies if supply.suite is not None])
        made: list[ask.Enrolled] = []
        for premises, home in zip(asked.premises, homes, strict=True):
            made += await self._premises(premises, home, given)
        return ask.EnrolReply(meters=tuple(made))

    def _home_of(self, premises: ask.NewPremises) -> str | None:
        """The premises that already hold exactly these meters, behind the same concentrator; None when they are new."""
        wanted = {
            supply.device_id: (supply.module_id or None, supply.concentrator_id or None)
            for supply in premises.supplies
        }
        columns = (meters.c.device_id, meters.c.module_id, meters.c.concentrator_id)
        with read(self._engine) as connection:
            rows = connection.execute(
                sa.select(*columns, usage_points.c.premises_id)
                .join(usage_points, usage_points.c.id == meters.c.usage_point_id)
                .where(meters.c.device_id.in_(wanted))
            ).all()
        if not rows:
            return None
        homes = {row.premises_id for row in rows}
        if {row.device_id: (row.module_id, row.concentrator_id) for row in rows} != wanted or len(homes) != 1:
            raise DataError(
                "fleet.enrolled",
                f"Device {rows[0].device_id.hex()} is enrolled already, with another module, behind another concentrator "
                "or in another dwelling; nothing was changed. Check the address.",
            )
        return str(homes.pop())

    async def _personalise(self, supplies: list[ask.Supply]) -> dict[bytes, Personalisation]:
        answers: list[Personalisation] = []
        for start in range(0, len(supplies), 500):
            requests = [
                PersonaliseRequest(
                    device_id=supply.device_id,
                    module_id=supply.module_id,
                    suite=supply.suite or 1,
                    module_point=supply.module_point,
                    profile=supply.security_profile,
                )
                for supply in supplies[start : start + 500]
            ]
            answers += await self._security.personalise_batch(requests)
        return {answer.device_id: answer for answer in answers}

    async def _premises(
        self, premises: ask.NewPremises, home: str | None, given: dict[bytes, Personalisation]
    ) -> list[ask.Enrolled]:
        if home is None:
            with write(self._engine) as connection:
                home = new_premises(connection)
                for supply in premises.supplies:
                    install(connection, home, _installation(supply, given), self._keys_of_fleet)
        points = {device.device_id: device.usage_point for device in self._fleet.devices()}
        billed = [supply for supply in premises.supplies if supply.agreement_since is not None]
        account = await self._customer(premises, home) if billed else ""
        contracts = {
            supply.device_id: self._agreement(supply, points[supply.device_id], home) for supply in billed
        }
        return [
            ask.Enrolled(
                device_id=supply.device_id,
                usage_point=points[supply.device_id],
                agreement_id=contracts.get(supply.device_id, ""),
                account_id=account,
                personalisation=msgspec.msgpack.encode(given[supply.device_id])
                if supply.device_id in given
                else b"",
            )
            for supply in premises.supplies
        ]

    async def _customer(self, premises: ask.NewPremises, home: str) -> str:
        """The customer of these premises and the account, made where they are missing; returns the account."""
        now, customer_id = self._clock(), _customer_of(home)
        with read(self._engine) as connection:
            known = connection.execute(sa.select(customers.c.id).where(customers.c.id == customer_id)).first()
        if known is None:
            await self._utility.customers.add(
                NewCustomer(Person(premises.name, premises.address), customer_id), now
            )
        names = self._accounts.find("resident", customer_id)
        return (
            names[0]
            if names
            else self._accounts.create("resident", now, customer_id=customer_id, locale=premises.locale)
        )

    def _agreement(self, supply: ask.Supply, usage_point: str, home: str) -> str:
        """The agreement that bills this supply, made where it is missing."""
        agreement_id = "ag" + usage_point[2:]
        with read(self._engine) as connection:
            known = connection.execute(
                sa.select(agreements.c.id).where(agreements.c.id == agreement_id)
            ).first()
        if known is None:
            self._utility.add_agreement(
                agreement_id,
                _customer_of(home),
                usage_point,
                supply.tariff or self._tariffs[supply.medium],
                supply.agreement_since or supply.since,
                supply.billing_day,
                opening_accumulation=supply.opening_accumulation,
            )
        return agreement_id

    async def enrol_concentrator(self, _: str, asked: ask.EnrolConcentrator) -> ask.ConcentratorIdentity:
        """Enrol a concentrator: its module, its TLS identity, its place in the fleet."""
        if asked.device_id[:1] != b"\xf0" or len(asked.device_id) != 8:
            raise LocalError(
                "use.device", "A concentrator's device id has 8 bytes and begins with F0 (LINK section 1)."
            )
        request = PersonaliseRequest(
            device_id=asked.device_id, module_id=asked.module_id, suite=1, module_point=asked.module_point
        )
        (given,) = await self._security.personalise_batch([request])
        identity = await self._keys.call(
            "issue_concentrator", IssueConcentrator(asked.device_id, asked.key_password), TlsIdentity
        )
        with write(self._engine) as connection:
            add_concentrator(connection, asked.device_id, asked.name, self._keys_of_fleet)
        return ask.ConcentratorIdentity(
            certificate=identity.certificate,
            key=identity.key,
            root=identity.root,
            personalisation=msgspec.msgpack.encode(given),
        )

    async def lab_issue(self, _: str, asked: ask.LabIssue) -> ask.Text:
        """Enrol one device of a lab project with usage point, customer and agreement; its credentials in clear."""
        device_id = asked.device_id or _fresh_id(asked.medium)
        module_id = asked.module_id or b"LAB" + secrets.token_bytes(5)
        if device_id[0] & 0xF0 != TYPES[asked.medium] & 0xF0:
            raise LocalError(
                "use.device", f"{device_id.hex()} is no device id of a {asked.medium} meter (LINK section 1)."
            )
        with read(self._engine) as connection:
            if connection.execute(
                sa.select(meters.c.device_id).where(meters.c.device_id == device_id)
            ).first():
                raise DataError(
                    "fleet.enrolled", f"Device {device_id.hex()} is enrolled already; choose another id."
                )
        since = asked.since or _month_before_last(self._clock())
        supply = ask.Supply(
            device_id=device_id,
            medium=asked.medium,
            protocol="dlt645" if asked.medium == "electricity" else "cjt188",
            profile=f"{asked.medium}-generic",
            since=since,
            agreement_since=since,
            tariff=asked.tariff,
            billing_day=asked.billing_day,
            suite=asked.suite,
            module_id=module_id,
        )
        enrolment.check(supply, self._published)
        issued = await self._security.lab_issue(device_id, module_id, asked.suite)
        (made,) = await self._premises(
            ask.NewPremises(name="Lab", address="Lab", supplies=(supply,), locale="en"), None, {}
        )
        document = {
            "device_id": device_id.hex(),
            "module_id": module_id.hex(),
            "key_version": issued.key_version,
            "project_id": issued.project_id.hex(),
            "suite": issued.suite,
            "k_bound": issued.k_bound.hex(),
            "root_cert": DER_cert_to_PEM_cert(issued.root),
            "device_chain": [DER_cert_to_PEM_cert(der) for der in issued.chain],
            "device_key": issued.device_key.hex(),
            "usage_point": made.usage_point,
            "agreement_id": made.agreement_id,
        }
        return ask.Text(json=ask.as_json(document))

    # --- questions -------------------------------------------------------------------------------------

    async def devices(self, _: str, asked: ask.Page) -> ask.Text:
        """Every meter in place."""
        return ask.Text(json=ask.as_json(self._fleet.devices()))

    async def counts(self, _: str, asked: ask.Page) -> ask.Counts:
        """What the system holds."""
        found = self._mdms.counts()
        bills = self._utility.fleet()
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
            bills=bills.bills,
            total_fen=bills.total_fen,
            audit_ok=trail.holds,
            audit_entries=trail.entries,
            audit_anchored=trail.anchored,
            audit_broken=trail.says,
            to_reseal=await self._resealing.remaining(),
        )

    async def customer_erase(self, _: str, asked: ask.EraseCustomer) -> ask.Text:
        """Erase a person for good; bills and readings stay without the name. Asking again changes nothing more."""
        customer_id = asked.customer_id
        if asked.device_id:
            customer_id = self._customer_at(self._usage_point(asked.device_id))
        erased = await asyncio.to_thread(erase, self._engine, customer_id, OPERATOR, self._clock())
        return ask.Text(json=ask.as_json(erased))

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
        for device in self._fleet.devices():
            if device.device_id == device_id:
                return device.usage_point
        raise DataError(
            "fleet.unknown", f"No device {device_id.hex()} is enrolled. See: meterseal device list"
        )

    # --- operations ------------------------------------------------------------------------------------

    async def vee_run(self, _: str, asked: ask.Page) -> ask.Text:
        """Validate and estimate now."""
        return ask.Text(json=ask.as_json(await self._mdms.run_vee(self._clock())))

    async def bills_run(self, _: str, asked: ask.BillRun) -> ask.Text:
        """Validate, then bill."""
        await self._mdms.run_vee(self._clock())
        return ask.Text(json=ask.as_json(await self._utility.run_bills(self._clock())))

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
        if asked.role == "operator":
            names = self._accounts.find("operator")
            name = names[0] if names else self._accounts.create("operator", now)
        else:
            name = asked.account_id or self._account_of(asked.device_id)
        return ask.Link(path=f"/in#{self._accounts.make_link(name, now)}", expires_at=now + LINK_LIFETIME)

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


def _installation(supply: ask.Supply, given: dict[bytes, Personalisation]) -> Installation:
    module = given.get(supply.device_id)
    return Installation(
        device_id=supply.device_id,
        medium=supply.medium,
        protocol=supply.protocol,
        profile=supply.profile,
        since=supply.since,
        concentrator_id=supply.concentrator_id,
        riser=supply.riser,
        suite=supply.suite,
        module_id=supply.module_id,
        project=module.project_id if module else b"",
    )


def _customer_of(premises_id: str) -> str:
    """The first customer of premises: an id that a repeated enrolment finds again."""
    return "cu" + premises_id[2:]


def _fresh_id(medium: Medium) -> bytes:
    head = bytes((TYPES[medium], 0x00)) if medium == "electricity" else bytes((TYPES[medium], 0x99))
    return head + bytes.fromhex("".join(str(secrets.randbelow(10)) for _ in range(12)))


def _month_before_last(now: int) -> int:
    first = datetime.fromtimestamp(now / 1000, LOCAL).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    for _ in range(2):
        first = (first - timedelta(days=1)).replace(day=1)
    return int(first.timestamp()) * 1000
