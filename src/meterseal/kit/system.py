"""How the kit reaches a system under play: enrol a street plan through the operator's door, wait, ask, bill.

It starts systems only through `app.system` and knows them only by what any operator may ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
from msgspec import Struct

from meterseal.app import operator
from meterseal.app.system import System
from meterseal.kit.plan import StreetPlan
from meterseal.mesh.rpc import Connection


class Pace(Struct):
    """Where a play stands: readings committed and how many there will be."""

    records: int = 0
    expected: int = 0


def enrolment_of(plan: StreetPlan, points: dict[bytes, bytes]) -> operator.Enrol:
    """The operator's request for every dwelling of a plan; `points` are the modules' public points by
    device.
    """
    premises = []
    meters = {(meter.dwelling, meter.medium): meter for meter in plan.meters}
    for dwelling in plan.dwellings:
        supplies = []
        for medium in ("water", "gas", "heat", "electricity"):
            meter = meters.get((dwelling.number, medium))
            if meter is None:
                continue
            agreement = next((found for found in dwelling.agreements if found.medium == medium), None)
            supplies.append(
                operator.Supply(
                    device_id=meter.device_id,
                    medium=meter.medium,
                    protocol=meter.protocol,
                    profile=f"{meter.medium}-generic",
                    since=plan.since,
                    agreement_since=agreement.since if agreement else None,
                    tariff=agreement.tariff_code if agreement else "",
                    billing_day=agreement.billing_day if agreement else 1,
                    opening_accumulation=agreement.opening_accumulation if agreement else 0,
                    concentrator_id=plan.concentrator_id,
                    riser=meter.riser,
                    suite=None if meter.plain else meter.suite,
                    module_id=b"" if meter.plain else meter.module_id,
                    module_point=points.get(meter.device_id, b""),
                )
            )
        premises.append(
            operator.NewPremises(name=dwelling.customer, address=dwelling.address, supplies=tuple(supplies))
        )
    return operator.Enrol(premises=tuple(premises))


async def counts(connection: Connection) -> operator.Counts:
    """What the system holds now."""
    return await connection.call("counts", operator.Page(), operator.Counts)


async def wait_for(
    system: System,
    reached: Callable[[operator.Counts], bool],
    *,
    within: float,
    each: Callable[[operator.Counts], None],
) -> operator.Counts:
    """Ask for the counts until `reached`; TimeoutError after `within` seconds without getting there."""
    async with asyncio.timeout(within):
        while True:
            found = await counts(system.operator)
            each(found)
            if reached(found):
                return found
            if system.supervisor.broken.done():
                raise system.supervisor.broken.result()
            await asyncio.sleep(0.2)


def decoded(text: operator.Text) -> object:
    """The JSON of an answer."""
    return msgspec.json.decode(text.json)
