"""Beside the path: the demo: a street from meter to bill on one machine, and then three attacks that are refused.

It starts a system as `meterseal up` does, enrols a street as any operator would, lets its meters deliver their stored days
as fast as the concentrator polls, bills them, and lets a program that shares no code add the bills up again.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from meterseal.app import operator
from meterseal.app.clock import now_ms
from meterseal.app.config import Layout
from meterseal.app.system import System, start
from meterseal.errors import EngineError
from meterseal.kit import attacks
from meterseal.kit.attacks import Outcome
from meterseal.kit.field import Field
from meterseal.kit.patience import Patient
from meterseal.kit.plan import Dwelling, StreetPlan, make_plan
from meterseal.mesh.rpc import Rpc
from meterseal.utility.calendar import billing_period
from meterseal.utility.samples import sample_tariffs
from meterseal.utility.tariff import tariff_document


class Wish(Struct, kw_only=True):
    """What is to be played."""

    data: Path
    dwellings: int = 60
    days: int = 40
    until: int = 0
    seed: int = 188
    within: float = 600.0


class Played(Struct, kw_only=True):
    """What came of it; the fields that `demo --json` prints."""

    meters: int
    handshakes: int
    records: int
    readings: int
    bills: int
    refused: int
    seconds: float
    rss_mb: float
    urls: dict[str, str]
    total_fen: int
    recalculated_fen: int
    evidence: int
    held: int
    attacks: list[Outcome]


Tell = Callable[[str, float], None]
"""Called with the name of a step and how far it is, 0 to 1."""


class Demo:
    """One play; `system` stays up until `stop`."""

    def __init__(self, wish: Wish, tell: Tell) -> None:
        self.wish = wish
        self.plan = make_plan(
            seed=wish.seed, until=wish.until or now_ms(), days=wish.days, dwellings=wish.dwellings
        )
        self.field = Field(wish.data.with_name(wish.data.name + ".field"), self.plan)
        self._tell = tell
        self.system: System | None = None

    async def play(self) -> Played:
        """From an empty directory to bills and refusals; a street that was played there before is taken up as it is.

        Raises EngineError when a step does not come to its end, LocalError `kit.other-system`.
        """
        began = time.monotonic()
        self.field.check(Layout(self.wish.data))
        self._tell("start", 0.0)
        self.system = system = await start(self.wish.data, on_line=self.field.heard)
        desk = Patient(system.operator)
        self._tell("enrol", 0.0)
        await self.field.enrol(desk)
        self._tell("deliver", 0.0)
        await self.field.power_on(system.supervisor, system.headend["tls"])
        await self._delivered(system)
        self._tell("bill", 0.0)
        report = await self._bill(desk)
        recalculated = await asyncio.to_thread(recalculate, self.field)
        self._tell("attack", 0.0)
        outcomes = await attacks.run(self.field, system.headend["tls"], desk)
        counts = await desk.call("counts", operator.Page(), operator.Counts)
        self._tell("done", 1.0)
        return Played(
            meters=counts.meters,
            handshakes=counts.sessions,
            records=counts.records,
            readings=counts.readings,
            bills=counts.bills,
            refused=sum(outcome.refused for outcome in outcomes),
            seconds=round(time.monotonic() - began, 1),
            rss_mb=round(system.supervisor.measure() + _own_mb(), 1),
            urls=await self._urls(desk, system),
            total_fen=counts.total_fen,
            recalculated_fen=recalculated,
            evidence=counts.evidence_good,
            held=len(report["held"]),
            attacks=outcomes,
        )

    async def _delivered(self, system: System) -> None:
        async def check() -> bool:
            if system.supervisor.broken.done():
                raise system.supervisor.broken.result()
            system.supervisor.measure()
            said = self.field.progress
            self._tell("deliver", said["days"] / max(1, said["of"]) if said else 0.0)
            return self.field.done

        await attacks.settled(check, self.wish.within)

    async def _bill(self, desk: Rpc) -> dict[str, Any]:
        answer = await desk.call("bills_run", operator.BillRun(), operator.Text)
        report: dict[str, Any] = msgspec.json.decode(answer.json)
        return report

    async def _urls(self, desk: Rpc, system: System) -> dict[str, str]:
        resident = (
            await desk.call(
                "account_link",
                operator.Account(role="resident", device_id=_shown(self.plan)),
                operator.Link,
            )
            if self.plan.dwellings[0].agreements
            else None
        )
        chief = await desk.call("account_link", operator.Account(), operator.Link)
        urls = {"operator": system.web + chief.path}
        if resident is not None:
            urls["resident"] = system.web + resident.path
        return urls

    async def stop(self) -> None:
        """End every process."""
        if self.system is not None:
            await self.system.stop()


def _shown(plan: StreetPlan) -> bytes:
    """A meter of the dwelling whose page shows the most to a newcomer.

    Somebody lives there and nothing is out of order; if possible it crosses a tier, far into its billing month.
    """

    def rank(home: Dwelling) -> tuple[bool, bool, bool, int]:
        profiles = [meter.profile for meter in plan.meters if meter.dwelling == home.number]
        return (
            any(profile.occupancy == 0 for profile in profiles),
            any(profile.events for profile in profiles),
            home.number % 3 != 1,
            min((agreement.since for agreement in home.agreements), default=plan.until),
        )

    home = min(plan.dwellings, key=rank)
    return next(meter for meter in plan.meters if meter.dwelling == home.number).device_id


def _own_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def recalculate(field: Field) -> int:
    """The street's bills in fen, added up by a separate program from the log of true registers."""
    import subprocess

    plan = field.directory / "recalculate.json"
    plan.write_text(json.dumps({"agreements": bills_plan(field)}))
    program = Path(__file__).with_name("recalculate.py")
    done = subprocess.run(  # noqa: S603 - our own program, no shell
        [sys.executable, str(program), str(field.registers), str(plan)],
        capture_output=True,
        check=False,
        timeout=120,
    )
    if done.returncode:
        raise EngineError(
            "kit.recalculate", "The separate calculation failed: " + done.stderr.decode()[-300:]
        )
    return int(json.loads(done.stdout)["total_fen"])


def bills_plan(field: Field) -> list[dict[str, object]]:
    """One entry for each billing period that the window holds whole, in the form that `recalculate` reads."""
    documents = {tariff.code: json.loads(tariff_document(tariff)) for tariff in sample_tariffs()}
    meters = {(meter.dwelling, meter.medium): meter for meter in field.plan.meters}
    entries: list[dict[str, object]] = []
    for dwelling in field.plan.dwellings:
        for agreement in dwelling.agreements:
            device = meters[dwelling.number, agreement.medium].device_id.hex()
            period = billing_period(agreement.since, agreement.billing_day)
            entries.append(
                {
                    "usage_point": field.joined.usage_points[device],
                    "tariff": documents[agreement.tariff_code],
                    "since": period.since,
                    "until": period.until,
                    "agreement_since": agreement.since,
                    "opening_accumulation": f"{agreement.opening_accumulation / 100:.2f}",
                    "billing_day": agreement.billing_day,
                }
            )
    return entries
