"""Beside the path: a street and its concentrator set up against a running system: enrolled, personalised, powered on.

It asks the system nothing but what any operator may ask, and keeps its own directory (modules, TLS identity, plan) apart
from the system's, as the field is apart from the platform.

    DIR/plan.json  DIR/field.json   what was planned and enrolled
    DIR/street/    DIR/concentrator/   the two programs' memories
    DIR/registers.csv   the true registers, from the profiles   DIR/record.jsonl   what passed on the buses
"""

from __future__ import annotations

import asyncio
import json
import secrets
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from meterseal.app import operator
from meterseal.app.config import Layout, replace_file
from meterseal.app.supervise import Spec, Supervisor
from meterseal.app.validation import FactsOrder
from meterseal.edge.making import Made, personalise
from meterseal.edge.memories import Memories
from meterseal.edge.parameters import Parameters
from meterseal.errors import LocalError
from meterseal.hostport import parted
from meterseal.kit.factory import manufacture, manufacture_concentrator
from meterseal.kit.plan import StreetPlan
from meterseal.mdms.fact import Fact
from meterseal.mesh.authority import TlsDirectory
from meterseal.mesh.rpc import Rpc
from meterseal.mesh.tls import Files, client_context
from meterseal.model import FAULT, MAGNET, MEDIA, REMOVED, REVERSE
from meterseal.security.messages import Personalisation
from meterseal.wire.profile import profiles

TIMING = {"repeat": 5_000, "slowest": 10_000, "handshake": 20_000}
"""Milliseconds. Days pass in seconds here, so a device does not wait minutes for an answer that a restart has lost."""


class Joined(Struct, kw_only=True, omit_defaults=True):
    """What enrolment gave: usage point, agreement and account by device id (hex)."""

    usage_points: dict[str, str] = field(default_factory=dict)
    agreements: dict[str, str] = field(default_factory=dict)
    accounts: dict[str, str] = field(default_factory=dict)
    key_password: str = ""
    """Where an older version left the password of the concentrator's TLS key; it moves to the concentrator's memory."""


class Field:
    """One street in one directory."""

    def __init__(self, directory: Path, plan: StreetPlan) -> None:
        self.directory = directory
        self.plan = plan
        self.joined = Joined()
        self.progress: dict[str, int] = {}
        self.status: dict[str, int] = {}

    @property
    def street(self) -> Path:
        return self.directory / "street"

    @property
    def concentrator(self) -> Path:
        return self.directory / "concentrator"

    @property
    def registers(self) -> Path:
        return self.directory / "registers.csv"

    @property
    def record(self) -> Path:
        return self.directory / "record.jsonl"

    @property
    def identity(self) -> Files:
        """PEM files of the concentrator's TLS link."""
        folder = self.concentrator
        return Files(folder / "tls.crt", folder / "tls.key", folder / "root.crt")

    @property
    def done(self) -> bool:
        """Every day of every meter was delivered and acknowledged."""
        said = self.progress
        return bool(said) and said["days"] == said["of"] and said["waiting"] == 0

    def heard(self, name: str, said: dict[str, Any]) -> None:
        """Take a line that one of the two programs said."""
        if name == "street" and "progress" in said:
            self.progress = said["progress"]
        elif name == "concentrator" and "status" in said:
            self.status = said["status"]

    def check(self, layout: Layout) -> None:
        """LocalError `kit.other-system` when this field was enrolled in another system than that of a data directory."""
        root = TlsDirectory(layout.tls).files("web").root
        if not (self.directory / "field.json").exists() or (
            root.exists() and root.read_bytes() == self.identity.root.read_bytes()
        ):
            return
        raise LocalError(
            "kit.other-system",
            f"{self.directory} holds meters that were enrolled in another system than that of {layout.root}, and work with "
            "no other: its data directory was removed or replaced. Remove or rename it, or name another data directory. "
            "Nothing was changed.",
        )

    def take_up(self) -> bool:
        """Whether this field was enrolled before; then plan and enrolment are those of its directory."""
        kept = self.directory / "field.json"
        if not kept.exists():
            return False
        self.joined = msgspec.json.decode(kept.read_bytes(), type=Joined)
        self.plan = msgspec.json.decode((self.directory / "plan.json").read_bytes(), type=StreetPlan)
        if self.joined.key_password:
            self._keep_password(self.joined.key_password)
            self.joined.key_password = ""
            replace_file(kept, msgspec.json.encode(self.joined))
        return True

    async def enrol(self, desk: Rpc) -> None:
        """Make the modules, enrol everything at the operator's desk, write what came back into the modules.

        A street that was enrolled before is only taken up again.
        """
        if self.take_up():
            return
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(self.directory / "plan.json", msgspec.json.encode(self.plan))
        made = await asyncio.to_thread(manufacture, self.street, self.plan)
        await self.enrol_concentrator(
            await asyncio.to_thread(manufacture_concentrator, self.concentrator, self.plan), desk
        )
        points = {module.device_id: module.point for module in made}
        answer = await desk.call("enrol", _enrolment(self.plan, points), operator.EnrolReply)
        given = [
            msgspec.msgpack.decode(meter.personalisation, type=Personalisation)
            for meter in answer.meters
            if meter.personalisation
        ]
        await asyncio.to_thread(personalise, self.street, given)
        await self._state_plants(answer, desk)
        self.keep(answer)

    async def _state_plants(self, answer: operator.EnrolReply, desk: Rpc) -> None:
        """What an operator states of homes that feed in: the size of the plant, so that it is paid for."""
        points = {meter.device_id: meter.usage_point for meter in answer.meters}
        facts = tuple(
            Fact(
                usage_point=points[meter.device_id],
                kind="plant",
                value=f"{meter.profile.panel / 1000:g}",
                since=self.plan.since,
            )
            for meter in self.plan.meters
            if meter.feeds
        )
        if facts:
            await desk.call("facts_put", FactsOrder(facts=facts), operator.Text)

    def keep(self, answer: operator.EnrolReply) -> None:
        """Remember what enrolment gave; from now on the field is taken up, not enrolled again."""
        for meter in answer.meters:
            name = meter.device_id.hex()
            self.joined.usage_points[name] = meter.usage_point
            self.joined.agreements[name] = meter.agreement_id
            self.joined.accounts[name] = meter.account_id
        replace_file(self.directory / "field.json", msgspec.json.encode(self.joined))

    async def enrol_concentrator(self, master: Made, desk: Rpc) -> None:
        """Enrol the concentrator: its module and its TLS identity."""
        password = secrets.token_hex(16)
        await asyncio.to_thread(self._keep_password, password)
        identity = await desk.call(
            "enrol_concentrator",
            operator.EnrolConcentrator(
                device_id=master.device_id,
                name="street",
                module_id=master.module_id,
                module_point=master.point,
                key_password=password.encode(),
            ),
            operator.ConcentratorIdentity,
        )
        self._keep_identity(identity)

    def _keep_password(self, password: str) -> None:
        memories = Memories(self.concentrator)
        try:
            Parameters(self.concentrator, memories).password = password
        finally:
            memories.close()

    def _keep_identity(self, identity: operator.ConcentratorIdentity) -> None:
        files = self.identity
        replace_file(files.certificate, identity.certificate)
        replace_file(files.key, identity.key)
        replace_file(files.root, identity.root)
        personalise(
            self.concentrator, [msgspec.msgpack.decode(identity.personalisation, type=Personalisation)]
        )

    async def power_on(self, supervisor: Supervisor, headend: str) -> None:
        """Start the street and then its concentrator under `supervisor`; `headend` is host:port of its TLS listener."""
        said = await supervisor.add(
            Spec(name="street", module="meterseal.kit.street", orders=self._street_orders())
        )
        risers: list[list[tuple[bytes, bool]]] = [[] for _ in range(self.plan.risers)]
        for meter in self.plan.meters:
            risers[meter.riser].append((meter.device_id, meter.plain))
        orders = self.concentrator_orders(headend, list(zip(said["ports"], risers, strict=True)))
        await supervisor.add(
            Spec(name="concentrator", module="meterseal.kit.programs.concentrator", orders=orders)
        )

    def _street_orders(self) -> dict[str, Any]:
        return {
            "dir": str(self.street),
            "plan": str(self.directory / "plan.json"),
            "registers": str(self.registers),
            "usage_points": self.joined.usage_points,
            "record": str(self.record),
            "timing": TIMING,
            "alarms": {
                name: {"removed": REMOVED, "magnet": MAGNET, "fault": FAULT, "reverse": REVERSE}
                for name, model in profiles().items()
                if model.protocol == "cjt188"
            },
        }

    def concentrator_orders(
        self, headend: str, risers: list[tuple[int, list[tuple[bytes, bool]]]]
    ) -> dict[str, Any]:
        """Orders of the concentrator's program: for each riser its port and its meters (device id, plain)."""
        host, port = parted(headend) or ("", 0)
        files = self.identity
        return {
            "dir": str(self.concentrator),
            "device_id": self.plan.concentrator_id.hex(),
            "module_id": self.plan.concentrator_module.hex(),
            "headend_host": host,
            "headend_port": port,
            "risers": [
                {"port": bus, "meters": [{"device_id": one.hex(), "plain": plain} for one, plain in meters]}
                for bus, meters in risers
            ],
            "tls": {
                "certificate": str(files.certificate),
                "key": str(files.key),
                "root": str(files.root),
            },
            "backoff": {"first": 0.05, "longest": 1.0},
            "timing": TIMING,
        }

    def tls(self) -> Any:
        """The concentrator's TLS context, for whoever plays a concentrator in wrong hands."""
        memories = Memories(self.concentrator)
        try:
            password = Parameters(self.concentrator, memories).password
        finally:
            memories.close()
        return client_context(self.identity, password.encode())

    def recorded(self) -> list[tuple[bytes, bytes]]:
        """Device and message of what lately passed on the buses, oldest first."""
        found = []
        for line in self.record.read_text().splitlines():
            one = json.loads(line)
            found.append((bytes.fromhex(one["device_id"]), bytes.fromhex(one["message"])))
        return found


def _enrolment(plan: StreetPlan, points: dict[bytes, bytes]) -> operator.Enrol:
    meters = {(meter.dwelling, meter.medium): meter for meter in plan.meters}
    premises = []
    for dwelling in plan.dwellings:
        agreements = {agreement.medium: agreement for agreement in dwelling.agreements}
        supplies = []
        for medium in MEDIA:
            meter, agreement = meters[dwelling.number, medium], agreements.get(medium)
            supplies.append(
                operator.Supply(
                    device_id=meter.device_id,
                    medium=meter.medium,
                    protocol=meter.protocol,
                    profile=meter.model or f"{meter.medium}-generic",
                    since=plan.since,
                    agreement_since=agreement.since if agreement else None,
                    tariff=agreement.tariff_code if agreement else "",
                    billing_day=agreement.billing_day if agreement else 1,
                    opening_accumulation=agreement.opening_accumulation if agreement else 0,
                    concentrator_id=plan.concentrator_id,
                    riser=meter.riser,
                    suite=None if meter.plain else meter.suite,
                    module_id=meter.module_id,
                    module_point=points.get(meter.device_id, b""),
                )
            )
        premises.append(
            operator.NewPremises(name=dwelling.customer, address=dwelling.address, supplies=tuple(supplies))
        )
    return operator.Enrol(premises=tuple(premises))
