"""A small town over a real control store and a real store of measurements: eight meters, 52 days of hours.

Every reading comes in as a record through the ingest of mdms; evidence is really signed and checked; rules,
estimates and bills are what the real code makes of it. Only the wrapping of data keys is a twin.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from pathlib import Path

import msgspec
import sqlalchemy as sa

from meterseal.control import read, write
from meterseal.control.sealed import METERS
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import meters, premises, usage_points
from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.sm2 import Sm2PrivateKey, verify
from meterseal.crypto.symmetric import equal
from meterseal.errors import EngineError
from meterseal.link.evidence import GENESIS, EvidenceStatement, chain, signed_bytes
from meterseal.mdms.facts import Fact
from meterseal.mdms.service import Mdms
from meterseal.mdms.verifier import each
from meterseal.mesh.rpc import InProcess
from meterseal.model import MAIN, Batch, Evidence, Medium, Opened, Quarantined, Refusal, Series, Status
from meterseal.people.accounts import Accounts
from meterseal.people.editing import Editing
from meterseal.people.queries import Queries
from meterseal.people.trail import Trail
from meterseal.security.editorders import EditSigned
from meterseal.security.messages import Anchors
from meterseal.security.orders import SignedOrder
from meterseal.things.fleet import add_concentrator
from meterseal.things.monitor import AuditLog
from meterseal.utility.calendar import HOUR
from meterseal.utility.customers import NewCustomer, Person
from meterseal.utility.samples import sample_tariffs
from meterseal.utility.service import Utility
from meterseal.utility.tariff import UNITS
from tests.control_store import control_at
from tests.utility.twins import MemoryKeys, at, day

DAY = 24 * HOUR
NOW = at("2026-11-21T09:40")
FIRST = day("2026-09-30")
LAST = day("2026-11-21")
SUPPLIED = day("2026-10-01")
MOVED = day("2026-11-01")
ZONE = "=\"<b>站前&'%2F"
CONCENTRATOR = bytes.fromhex("c000000000000001")
TARIFFS: dict[Medium, str] = {
    "water": "sample-cold-water-tiered",
    "gas": "sample-gas-tiered",
    "heat": "sample-heat-flat",
    "electricity": "sample-electricity-time-of-use",
}
TYPES: dict[Medium, str] = {"water": "10", "gas": "30", "heat": "20", "electricity": "d7"}
OPENING: dict[Medium, int] = {"water": 14_210, "gas": 21_800, "heat": 0, "electricity": 0}
PEOPLE = {
    "ren": ("任晓", "梧桐里 3 号楼 2 单元 501"),
    "lu": ("陆平", "梧桐里 3 号楼 2 单元 502"),
    "gone": ("钱远", "梧桐里 3 号楼 2 单元 503"),
}


def hourly(medium: Medium, hour: int, of: int, seed: int) -> int:
    """Use of one hour in hundredths of the unit: a believable shape, the same for the same arguments."""
    noise = hashlib.sha256(f"{medium}{seed}{of}".encode()).digest()[0] / 255
    weekend = 1.25 if (of // 24) % 7 in (2, 3) else 1.0
    morning, evening = (math.exp(-(((hour - peak) / 1.8) ** 2)) for peak in (7.2, 19.4))
    if medium == "water":
        return round((0.15 + 2.6 * morning + 3.4 * evening) * noise * 2.6 * weekend)
    if medium == "gas":
        return round((14 * morning + 26 * math.exp(-(((hour - 18) / 1.3) ** 2))) * noise * weekend)
    if medium == "heat":
        cold = max(0.0, (of / 24 - 24) / 26)
        return round(cold * (150 + 120 * math.cos((hour - 4) / 24 * 2 * math.pi)) * (0.7 + 0.6 * noise))
    return round((9 + 22 * morning + 61 * evening + 9 * noise) * (0.6 + 0.8 * noise) * weekend)


class Meter:
    """One meter: registers as a pure function of time, its module's key, its chain."""

    def __init__(self, name: str, medium: Medium, number: int) -> None:
        self.point, self.medium, self.number = f"up-{name}-{medium}", medium, number
        filler = "00" if medium == "electricity" else "78"
        self.device = bytes.fromhex(f"{TYPES[medium]}{filler}3300004{number:03d}71")
        self.plain = self.point == "up-lu-water"
        self.suite = 2 if medium == "gas" else 1
        self.signing = Sm2PrivateKey.generate()
        self.mac = SymmetricKey.generate("K_evid")
        self.head = GENESIS
        self.registers = {FIRST: 45_200 + 10_000 * number}
        for of in range((LAST - FIRST) // HOUR):
            step = hourly(medium, of % 24, of, number)
            if self.point == "up-lu-water" and of < 20 * 24:
                step = 0  # away
            if self.point == "up-lu-electricity" and FIRST + of * HOUR == at("2026-11-08T20:00"):
                step = 15_000  # more than a dwelling's meter passes
            self.registers[FIRST + (of + 1) * HOUR] = self.registers[FIRST + of * HOUR] + step
            if self.point == "up-lu-heat" and FIRST + of * HOUR == at("2026-11-01T06:00"):
                self.registers[FIRST + (of + 1) * HOUR] = (
                    1_200  # it fell in the hole, so nothing can be estimated
                )

    def delivered(self, end: int) -> int | None:
        """The register the meter delivers for an instant, None where it marked it missing."""
        if self.point == "up-ren-water" and end == at("2026-11-12T19:00"):
            return None
        if self.point == "up-lu-heat" and at("2026-10-31T22:00") <= end <= at("2026-11-01T06:00"):
            return None
        return self.registers[end]

    def record(self, number: int, since: int) -> Opened:
        """One day as its record carries it: hours, status, and the signed statement of its end."""
        start = since if number == 0 else since + HOUR
        times = range(start, since + DAY + 1, HOUR)
        values = [self.delivered(end) for end in times]
        end = since + DAY
        status = Status(self.device, end, "" if self.medium == "electricity" else "open", False, "0000")
        return Opened(
            session_id=self.device,
            counter=number + 1,
            device_id=CONCENTRATOR if self.plain else self.device,
            module_id=self.device,
            suite=self.suite,
            origin="vouched" if self.plain else "sealed",
            received_at=end + HOUR,
            digest=bytes(32),
            series=(Series(self.device, MAIN, UNITS[self.medium], -2, start, HOUR, tuple(values)),),
            statuses=(status,),
            evidence=() if self.plain else (self._statement(number, end, times),),
        )

    def _statement(self, number: int, end: int, times: range) -> Evidence:
        stored = [(time, value) for time in times if (value := self.delivered(time)) is not None]
        self.head = chain(self.head, MAIN, stored)
        register = self.registers[end]
        statement = EvidenceStatement(
            self.device, MAIN, end, register, -2, 0x2C, 0, number + 1, self.head
        ).pack()
        raw = signed_bytes(statement)
        return Evidence(
            self.device, statement, self.signing.sign(raw) if self.suite == 1 else self.mac.mac(raw)
        )

    def holds(self, statement: bytes, signature: bytes, suite: int) -> bool:
        """Whether the meter made a statement."""
        raw = signed_bytes(statement)
        if suite == 2:
            return equal(self.mac.mac(raw), signature)
        return verify(self.signing.public_point, raw, signature)


class NoAnchor:
    """The security service is away."""

    async def compared(self) -> int | None:
        return None


class NoOfficers:
    """The security service is away."""

    async def judge_edit(self, order: SignedOrder) -> EditSigned:
        raise EngineError("mesh.unreachable", "The security service is away.")

    async def epoch(self) -> bytes:
        raise EngineError("mesh.unreachable", "The security service is away.")

    async def anchors(self) -> Anchors:
        raise EngineError("mesh.unreachable", "The security service is away.")


class Town:
    """The platform side of a town; `now` may be moved by a test. `like` is the town of which the folder is a copy."""

    def __init__(self, folder: Path, like: Town | None = None) -> None:
        self.folder = folder
        self.engine = control_at(folder / "control.db")
        self.now = NOW
        self.accounts = Accounts(self.engine)
        self.meters: list[Meter] = (
            like.meters
            if like
            else [
                Meter(name, medium, number) for number, name in enumerate(("ren", "lu")) for medium in TARIFFS
            ]
        )
        self.data_keys: KeyRing = (
            like.data_keys if like else KeyRing({1: SymmetricKey.generate("data key")}, 1)
        )
        self.fleet_keys: KeyRing = (
            like.fleet_keys if like else KeyRing({1: SymmetricKey.generate("fleet key")}, 1)
        )
        self.wrapping: MemoryKeys = like.wrapping if like else MemoryKeys()
        known = {meter.device: meter for meter in self.meters}
        self.mdms = Mdms.open(
            folder / "measurements",
            self.engine,
            self.data_keys,
            each(
                lambda device, statement, signature, suite: known[device].holds(statement, signature, suite)
            ),
        )
        self.utility: Utility
        self.queries: Queries

    async def copied(self, folder: Path) -> Town:
        """The same town in another folder, once this one let go of its own."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        other = Town(folder, self)
        await other._start()
        other.resident, other.neighbour = self.resident, self.neighbour
        other.former, other.operator = self.former, self.operator
        return other

    async def _start(self) -> None:
        self.utility = await Utility.start(self.engine, self.mdms, self.wrapping, NOW)
        self.queries = Queries(
            self.engine,
            self.accounts,
            self.utility,
            self.mdms,
            lambda: self.now,
            self.fleet_keys,
            Trail(AuditLog(self.engine), NoAnchor(), lambda: self.now),
            self.mdms.forecasts,
            Editing(self.mdms.edits, self.utility, NoOfficers(), lambda: self.now),
            self.mdms,
            NoOfficers(),
            self.mdms,
        )

    async def build(self) -> Town:
        """Found the town, deliver its readings, validate, bill, make accounts."""
        await self._start()
        self.utility.publish_tariffs(sample_tariffs())
        for customer, person in PEOPLE.items():
            await self.utility.customers.add(NewCustomer(Person(*person), customer), FIRST)
        self._install()
        for meter in self.meters:
            await self._deliver(meter)
        await self.mdms.run_vee(NOW)
        self._foresee()
        await self.utility.run_bills(NOW)
        await self._refuse()
        self.resident = self.accounts.create("resident", FIRST, customer_id="ren")
        self.neighbour = self.accounts.create("resident", FIRST, customer_id="lu")
        self.former = self.accounts.create("resident", FIRST, customer_id="gone")
        self.operator = self.accounts.create("operator", FIRST)
        return self

    async def close(self) -> None:
        """Let go of the directory."""
        await self.mdms.close()
        self.engine.dispose()

    def web(self, caller: str = "web") -> InProcess:
        """The way of a process to the queries."""
        return InProcess(self.queries.methods(), caller=caller)

    def session(self, account_id: str) -> str:
        """A session token of an account, opened by a link."""
        return self.accounts.redeem(self.accounts.make_link(account_id, self.now), self.now).session

    def _install(self) -> None:
        with write(self.engine) as db:
            add_concentrator(db, CONCENTRATOR, "3 号楼 2 单元", self.fleet_keys)
            db.execute(premises.insert(), [{"id": name} for name in ("home-ren", "home-lu")])
            for meter in self.meters:
                home = f"home-{meter.point.split('-')[1]}"
                db.execute(
                    usage_points.insert().values(id=meter.point, premises_id=home, medium=meter.medium)
                )
                db.execute(
                    meters.insert().values(
                        METERS.seal(
                            self.fleet_keys,
                            {
                                "device_id": meter.device,
                                "usage_point_id": meter.point,
                                "protocol": "dlt645" if meter.medium == "electricity" else "cjt188",
                                "sealed_parameters": msgspec.msgpack.encode(["meterseal", 1]),
                                "since": FIRST,
                                "plain": meter.plain,
                                "concentrator_id": CONCENTRATOR,
                                "suite": None if meter.plain else meter.suite,
                                "module_id": None if meter.plain else meter.device,
                            },
                        )
                    )
                )
        for meter in self.meters:
            self._agree(meter)

    def _agree(self, meter: Meter) -> None:
        since, tariff = SUPPLIED, TARIFFS[meter.medium]
        name = meter.point.split("-")[1]
        if meter.point == "up-lu-electricity":  # gone moved out and lu moved in on 1 November
            self.utility.add_agreement("ag-gone-electricity", "gone", meter.point, tariff, since, 1)
            since = MOVED
            self.utility.end_agreement("ag-gone-electricity", since)
        self.utility.add_agreement(
            f"ag-{name}-{meter.medium}",
            name,
            meter.point,
            tariff,
            since,
            1,
            opening_accumulation=OPENING[meter.medium],
        )

    async def _deliver(self, meter: Meter) -> None:
        until = day("2026-11-19") if meter.point == "up-lu-gas" else LAST  # this one is late
        records = [meter.record(number, since) for number, since in enumerate(range(FIRST, until, DAY))]
        await self.mdms.publish(Batch(tuple(records)))

    def _foresee(self) -> None:
        """Forecast yesterday and today, with zones of which one is not named kindly."""
        zones = {"up-ren-electricity": ZONE, "up-lu-electricity": "west"}
        stated = [Fact(usage_point=point, kind="zone", value=zone) for point, zone in zones.items()]
        self.mdms.facts.put(stated, NOW)
        for now in (NOW - DAY, NOW):
            self.mdms.forecasts.make(now)
        self.mdms.forecasts.look_back(NOW)

    async def _refuse(self) -> None:
        with read(self.engine) as db:
            devices = dict(db.execute(sa.select(meters.c.usage_point_id, meters.c.device_id)).all())
        kinds = [
            (
                "link.replay",
                "Counter 118 of this session was committed before; nothing changed.",
                "up-ren-water",
            ),
            ("link.tag", "The tag of a record does not fit its bytes.", "up-lu-electricity"),
            (
                "link.hello-mac",
                "The mac of HELLO does not hold under the module's key; refused.",
                "up-ren-gas",
            ),
            ("link.quota", "This session has used up the records it was granted.", "up-ren-heat"),
        ]
        refused = []
        for number in range(60):
            code, sentence, point = kinds[number % len(kinds)]
            when = NOW - (60 - number) * 37 * 60_000
            refused.append(Refusal(when, code, sentence, devices[point], bytes(8), number, "127.0.0.1:51310"))
        await AuditLog(self.engine).refused(refused)
        await self.mdms.publish(
            Batch(
                quarantined=(
                    Quarantined(
                        bytes(8), 12, devices["up-ren-heat"], NOW - 5 * HOUR, 1, "wire.checksum", b"R"
                    ),
                )
            )
        )
        await self.mdms.settle()
