"""Beside the path: a fleet played against a system that is already running: a street, or captured answers.

It starts the field's two programs and nothing of the system, which it knows only through the operator's door.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from meterseal.app import listening, operator
from meterseal.app.clock import now_ms
from meterseal.app.config import Layout, load, replace_file
from meterseal.app.door import operator_connection
from meterseal.app.supervise import Spec, Supervisor
from meterseal.errors import EngineError
from meterseal.hostport import written
from meterseal.kit import attacks
from meterseal.kit.factory import manufacture_concentrator
from meterseal.kit.field import Field
from meterseal.kit.plan import StreetPlan, make_plan
from meterseal.kit.replay import Captured, load_captured
from meterseal.mesh.rpc import Connection

SETTLED = 8
"""Looks, a fifth of a second apart, at which a concentrator that was given everything must hold nothing."""


class Delivered(Struct, kw_only=True):
    """What arrived while the fleet was played."""

    meters: int
    records: int
    readings: int
    quarantined: int


class Simulation:
    """One play against the system of a data directory."""

    def __init__(
        self, data: Path, captured: Path | None, directory: Path | None, tell: Callable[[str, float], None]
    ) -> None:
        self._layout = Layout(data)
        self._captured = captured
        suffix = ".field" if captured is None else ".replay"
        self._directory = directory or data.absolute().with_name(data.absolute().name + suffix)
        self._tell = tell
        self._supervisor: Supervisor | None = None

    async def play(
        self,
        *,
        dwellings: int,
        days: int,
        until: int,
        seed: int,
        weather: int | None = None,
        models: Sequence[str] = (),
        own: Sequence[str] = (),
        solar: int = 0,
    ) -> Delivered:
        """Enrol if that was not done before, power on, and wait until everything is delivered and acknowledged.

        LocalError `kit.other-system` when this field was enrolled elsewhere, EngineError `app.down`.
        """
        load(self._layout)
        desk = operator_connection(self._layout)
        try:
            found = await listening.where(desk)
            headend = written(found.host, found.headend_tls)
            before = await _counts(desk)
            if self._captured is None:
                plan = make_plan(
                    seed=seed,
                    until=until or now_ms(),
                    days=days,
                    dwellings=dwellings,
                    weather=weather,
                    models=models,
                    own=own,
                    solar=solar,
                )
                await self._street(Field(self._directory, plan), desk, headend)
                meters = len(plan.meters)
            else:
                meters = await self._replay(self._captured, desk, headend)
            after = await _counts(desk)
        except EngineError as error:
            if error.code != "mesh.unreachable":
                raise
            raise EngineError(
                "app.down",
                f"The system of {self._layout.root} is not running. Start it with: "
                f"meterseal up --data {self._layout.root}",
            ) from None
        finally:
            await desk.close()
        return Delivered(
            meters=meters,
            records=after.records - before.records,
            readings=after.readings - before.readings,
            quarantined=after.quarantined - before.quarantined,
        )

    async def _street(self, field: Field, desk: Connection, headend: str) -> None:
        field.check(self._layout)
        self._tell("enrol", 0.0)
        await field.enrol(desk)
        self._supervisor = supervisor = Supervisor([], field.heard)
        self._tell("deliver", 0.0)
        await field.power_on(supervisor, headend)

        async def check() -> bool:
            if supervisor.broken.done():
                raise supervisor.broken.result()
            said = field.progress
            self._tell("deliver", said["days"] / max(1, said["of"]) if said else 0.0)
            return field.done

        await attacks.settled(check, 3600.0)

    async def _replay(self, path: Path, desk: Connection, headend: str) -> int:
        captured = load_captured(path)
        field = Field(self._directory, _no_street())
        field.check(self._layout)
        self._tell("enrol", 0.0)
        await _enrol_plain(field, captured, desk)
        self._supervisor = supervisor = Supervisor([], field.heard)
        self._tell("deliver", 0.0)
        orders = {"dir": str(field.street), "captured": str(path.absolute())}
        said = await supervisor.add(Spec(name="street", module="meterseal.kit.street", orders=orders))
        master = field.concentrator_orders(
            headend, [(said["ports"][-1], [(one.device_id, True) for one in captured])]
        )
        master["pace"] = {"plain": 250}
        await supervisor.add(
            Spec(name="concentrator", module="meterseal.kit.programs.concentrator", orders=master)
        )
        answers = sum(len(one.answers) for one in captured)

        quiet = 0

        async def check() -> bool:
            """Every answer was given to the concentrator, and it has held none for a while.

            How many records arrive is no measure: what a concentrator has vouched for before it does not say again.
            """
            nonlocal quiet
            if supervisor.broken.done():
                raise supervisor.broken.result()
            served = field.progress.get("served", 0)
            self._tell("deliver", served / answers)
            quiet = quiet + 1 if served >= answers and field.status.get("held", 1) == 0 else 0
            if quiet <= SETTLED:
                await asyncio.sleep(0.2)
            return quiet > SETTLED

        await attacks.settled(check, 600.0)
        return len(captured)

    async def stop(self) -> None:
        """Power the field off."""
        if self._supervisor is not None:
            await self._supervisor.stop()


def _no_street() -> StreetPlan:
    """A plan without dwellings: a concentrator alone, with an identity of its own."""
    plan = make_plan(seed=secrets.randbelow(10_000), until=now_ms(), days=1, dwellings=1)
    return msgspec.structs.replace(plan, dwellings=(), meters=())


async def _enrol_plain(field: Field, captured: list[Captured], desk: Connection) -> None:
    """Enrol the meters behind this field's concentrator, each at a place of its own; those it has stay as they are."""
    if not field.take_up():
        field.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(field.directory / "plan.json", msgspec.json.encode(field.plan))
        await field.enrol_concentrator(
            await asyncio.to_thread(manufacture_concentrator, field.concentrator, field.plan), desk
        )
    premises = tuple(
        operator.NewPremises(
            name="",
            address="",
            supplies=(
                operator.Supply(
                    device_id=one.device_id,
                    medium=one.medium,
                    protocol=one.protocol,
                    profile=f"{one.medium}-generic",
                    since=0,
                    concentrator_id=field.plan.concentrator_id,
                ),
            ),
        )
        for one in captured
    )
    field.keep(await desk.call("enrol", operator.Enrol(premises=premises), operator.EnrolReply))


async def _counts(desk: Connection) -> operator.Counts:
    return await desk.call("counts", operator.Page(), operator.Counts)
