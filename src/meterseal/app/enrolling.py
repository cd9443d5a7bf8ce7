"""The operator's desk for what joins: dwellings with their meters, concentrators, lab devices, modules for plain meters.

It answers no question about what is there (`app.desk` does). Enrolling a dwelling reaches the security service, the
fleet, the utility and the accounts; no station could do it alone. It checks what it can before it changes anything.
Names pass through to be sealed and appear in no answer.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from ssl import DER_cert_to_PEM_cert
from zoneinfo import ZoneInfo

import msgspec
import sqlalchemy as sa

from meterseal.app import enrolment
from meterseal.app import operator as ask
from meterseal.app.tls_identities import IssueConcentrator, TlsIdentity
from meterseal.control import read, write
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import agreements, concentrators, customers, meters, usage_points
from meterseal.errors import DataError, LocalError
from meterseal.mdms.service import Mdms
from meterseal.mesh.rpc import OPERATOR, Methods, Rpc, offered_to
from meterseal.model import METER_TYPE, Medium, medium_of
from meterseal.people.accounts import Accounts
from meterseal.security.messages import Personalisation, PersonaliseRequest
from meterseal.security.sdk import SecuritySdk
from meterseal.things.fleet import Fleet, Installation, add_concentrator, install, new_premises
from meterseal.utility.customers import NewCustomer, Person
from meterseal.utility.service import Utility
from meterseal.utility.tariff import AnyTariff

LOCAL = ZoneInfo("Asia/Shanghai")


class EnrolmentDesk:
    """Everything that puts a device into the system from the command line."""

    def __init__(
        self,
        *,
        engine: sa.Engine,
        keys: Rpc,
        mdms: Mdms,
        utility: Utility,
        accounts: Accounts,
        fleet: Fleet,
        tariffs: tuple[AnyTariff, ...],
        clock: Callable[[], int],
        keys_of_fleet: KeyRing,
    ) -> None:
        self._engine = engine
        self._keys = keys
        self._security = SecuritySdk(keys)
        self._mdms = mdms
        self._utility = utility
        self._accounts = accounts
        self._fleet = fleet
        # Who feeds in says so when he is enrolled.
        self._tariffs = {tariff.medium: tariff.code for tariff in tariffs if tariff.feed_in is None}
        self._published = {tariff.code: tariff for tariff in tariffs}
        self._clock = clock
        self._keys_of_fleet = keys_of_fleet

    def methods(self) -> Methods:
        """What the Unix socket serves of it."""
        return offered_to(
            OPERATOR,
            {
                "enrol": (self.enrol, ask.Enrol),
                "enrol_concentrator": (self.enrol_concentrator, ask.EnrolConcentrator),
                "renew_concentrator": (self.renew_concentrator, ask.RenewConcentrator),
                "lab_issue": (self.lab_issue, ask.LabIssue),
                "seal_meter": (self.seal_meter, ask.SealMeter),
            },
        )

    # --- dwellings and their meters --------------------------------------------------------------------

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
        self._check_concentrators(supplies)
        homes = [self._home_of(premises) for premises in asked.premises]
        if asked.dry_run:
            return ask.EnrolReply(meters=())
        given = await self._personalise([supply for supply in supplies if supply.suite is not None])
        made: list[ask.Enrolled] = []
        for premises, home in zip(asked.premises, homes, strict=True):
            made += await self._premises(premises, home, given)
        return ask.EnrolReply(meters=tuple(made))

    def _check_concentrators(self, supplies: list[ask.Supply]) -> None:
        wanted = {supply.concentrator_id for supply in supplies if supply.concentrator_id}
        with read(self._engine) as connection:
            known = set(connection.execute(sa.select(concentrators.c.device_id)).scalars())
        if missing := sorted(wanted - known):
            raise DataError(
                "fleet.no-concentrator",
                f"No concentrator {missing[0].hex()} is enrolled; nothing was changed. Enrol it first: "
                "meterseal concentrator enrol",
            )

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
        with read(self._engine) as connection:
            rows = connection.execute(
                sa.select(meters.c.device_id, meters.c.usage_point_id).where(
                    meters.c.device_id.in_([supply.device_id for supply in premises.supplies])
                )
            ).all()
        points = {row.device_id: row.usage_point_id for row in rows}
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

    # --- one device ------------------------------------------------------------------------------------

    async def seal_meter(self, _: str, asked: ask.SealMeter) -> ask.Sealed:
        """Give a plain meter in place a module: vouching for it ends at once, and its module is personalised.

        Repeating it with the same module completes what was cut off and gives the personalisation again. DataError
        `fleet.unknown`, `fleet.sealed`; LocalError `use.module`, and what the security service refuses.
        """
        enrolment.check_module(asked.device_id, asked.module_id, asked.module_point)
        meter = self._fleet.device(asked.device_id)
        if not meter.plain and meter.module_id != asked.module_id:
            raise DataError(
                "fleet.sealed",
                f"Device {asked.device_id.hex()} has a module of its own already; nothing was changed.",
            )
        request = PersonaliseRequest(
            device_id=asked.device_id,
            module_id=asked.module_id,
            suite=asked.suite,
            module_point=asked.module_point,
            profile=asked.security_profile,
        )
        (given,) = await self._security.personalise_batch([request])
        self._fleet.make_sealed(asked.device_id, asked.module_id, asked.suite, given.project_id)
        self._mdms.meters_changed()
        return ask.Sealed(usage_point=meter.usage_point, personalisation=msgspec.msgpack.encode(given))

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

    async def renew_concentrator(self, _: str, asked: ask.RenewConcentrator) -> ask.TlsFiles:
        """A new TLS identity for a concentrator that is enrolled, before its own ends or after the TLS root was made anew.

        DataError `fleet.unknown`.
        """
        known = await self._fleet.enrolments([asked.device_id])
        if not known or known[0].medium is not None:
            raise DataError(
                "fleet.unknown", f"No concentrator {asked.device_id.hex()} is enrolled; nothing was issued."
            )
        made = await self._keys.call(
            "issue_concentrator", IssueConcentrator(asked.device_id, asked.key_password), TlsIdentity
        )
        return ask.TlsFiles(certificate=made.certificate, key=made.key, root=made.root)

    async def lab_issue(self, _: str, asked: ask.LabIssue) -> ask.Text:
        """Enrol one device of a lab project with usage point, customer and agreement; its credentials in clear."""
        device_id = asked.device_id or _fresh_id(asked.medium)
        module_id = asked.module_id or b"LAB" + secrets.token_bytes(5)
        if medium_of(device_id) != asked.medium:
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
    head = bytes((METER_TYPE[medium], 0x00 if medium == "electricity" else 0x99))
    return head + bytes.fromhex("".join(str(secrets.randbelow(10)) for _ in range(12)))


def _month_before_last(now: int) -> int:
    first = datetime.fromtimestamp(now / 1000, LOCAL).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    for _ in range(2):
        first = (first - timedelta(days=1)).replace(day=1)
    return int(first.timestamp()) * 1000
