"""The fleet: usage points, meters and concentrators, and what the head-end may know of a device.

No reading and no customer here; who lives behind a usage point is the utility's.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from meterseal.control import read, write
from meterseal.control.sealed import CONCENTRATORS, METERS
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import concentrators, meters, premises, usage_points
from meterseal.errors import DataError
from meterseal.headend.ports import Enrolment
from meterseal.model import Medium

HELD_BY_CONCENTRATORS = 40 * 86_400_000
"""How long after a meter was taken out its concentrator may still bring what it had read before (ms): the thirty days
that it keeps, and some to come back in. A reading of a later instant than the removal is never placed (`mdms.places`)."""
AT_ONCE = 500
"""Devices asked for in one statement; engines bound its parameters."""


class Installation(Struct, frozen=True, kw_only=True):
    """A meter put in place: which device measures what, since when, behind which concentrator.

    `suite` is 1 or 2 for a meter with a module (`module_id` then names it) and None for a plain one, for which
    the concentrator vouches (LINK section 5).
    """

    device_id: bytes
    medium: Medium
    protocol: str
    profile: str
    since: int
    concentrator_id: bytes = b""
    riser: int | None = None
    suite: int | None = None
    module_id: bytes = b""
    project: bytes = b""


class Device(Struct, frozen=True, kw_only=True):
    """One row of the fleet as operators list it."""

    device_id: bytes
    usage_point: str
    medium: Medium
    protocol: str
    plain: bool
    suite: int | None
    since: int
    concentrator_id: bytes | None
    module_id: bytes | None = None


def new_premises(connection: sa.Connection) -> str:
    """Add premises; returns their random id."""
    premises_id = "pr-" + secrets.token_hex(8)
    connection.execute(premises.insert().values(id=premises_id))
    return premises_id


def install(connection: sa.Connection, premises_id: str, what: Installation, keys: KeyRing) -> str:
    """Put a meter at a new usage point; returns the usage point's pseudonym. DataError when it is enrolled already."""
    taken = connection.execute(
        sa.select(meters.c.usage_point_id).where(meters.c.device_id == what.device_id)
    ).first()
    if taken is not None:
        raise DataError(
            "fleet.enrolled",
            f"Device {what.device_id.hex()} is enrolled already. Take it out first, or check the address.",
            device_id=what.device_id.hex(),
        )
    usage_point = "up-" + secrets.token_hex(8)
    connection.execute(
        usage_points.insert().values(id=usage_point, premises_id=premises_id, medium=what.medium)
    )
    connection.execute(meters.insert().values(row_of(what, usage_point, keys)))
    return usage_point


def row_of(what: Installation, usage_point: str, keys: KeyRing) -> dict[str, Any]:
    """The row of a meter in place, its parameters sealed."""
    values = {
        "device_id": what.device_id,
        "usage_point_id": usage_point,
        "protocol": what.protocol,
        "sealed_parameters": msgspec.msgpack.encode([what.profile, what.riser]),
        "since": what.since,
        "until": None,
        "plain": what.suite is None,
        "concentrator_id": what.concentrator_id or None,
        "suite": what.suite,
        "module_id": what.module_id or None,
        "project": what.project or None,
    }
    return METERS.seal(keys, values)


def add_concentrator(connection: sa.Connection, device_id: bytes, name: str, keys: KeyRing) -> None:
    """Enrol a concentrator by its device id (F0…); repeating it changes nothing."""
    known = connection.execute(
        sa.select(concentrators.c.device_id).where(concentrators.c.device_id == device_id)
    ).first()
    if known is None:
        row = {"device_id": device_id, "sealed_name": name.encode()}
        connection.execute(concentrators.insert().values(CONCENTRATORS.seal(keys, row)))


def enrolments(connection: sa.Connection, device_ids: Collection[bytes], now: int) -> list[Enrolment]:
    """Meters in place and concentrators among these devices, in one snapshot.

    Meters too that were taken out not long before `now`: a concentrator may still hold what it read of them there.
    """
    here = sa.or_(meters.c.until.is_(None), meters.c.until > now - HELD_BY_CONCENTRATORS)
    wanted, found = list(device_ids), []
    for start in range(0, len(wanted), AT_ONCE):
        some = wanted[start : start + AT_ONCE]
        rows = connection.execute(
            sa.select(meters.c.device_id, meters.c.plain, meters.c.concentrator_id, usage_points.c.medium)
            .join(usage_points, usage_points.c.id == meters.c.usage_point_id)
            .where(meters.c.device_id.in_(some), here)
        )
        found += [
            Enrolment(
                device_id=row.device_id,
                plain=row.plain,
                medium=row.medium,
                concentrator_id=row.concentrator_id or b"",
            )
            for row in rows
        ]
        masters = connection.execute(
            sa.select(concentrators.c.device_id).where(concentrators.c.device_id.in_(some))
        )
        found += [Enrolment(device_id=master, plain=False, medium=None) for master in masters.scalars()]
    return found


class Fleet:
    """Questions about devices, answered from the control store."""

    def __init__(self, engine: sa.Engine, clock: Callable[[], int]) -> None:
        self._engine = engine
        self._clock = clock

    async def enrolments(self, device_ids: Collection[bytes]) -> list[Enrolment]:
        """What the head-end may know of devices; those that are not enrolled or left their place long ago are left out."""
        with read(self._engine) as connection:
            return enrolments(connection, device_ids, self._clock())

    def devices(self) -> list[Device]:
        """Every meter in place, by usage point."""
        with read(self._engine) as connection:
            rows = connection.execute(
                sa.select(meters, usage_points.c.medium)
                .join(usage_points, usage_points.c.id == meters.c.usage_point_id)
                .where(meters.c.until.is_(None))
                .order_by(meters.c.usage_point_id)
            ).all()
        return [_device(row) for row in rows]

    def device(self, device_id: bytes) -> Device:
        """One meter in place; DataError `fleet.unknown`."""
        with read(self._engine) as connection:
            row = connection.execute(
                sa.select(meters, usage_points.c.medium)
                .join(usage_points, usage_points.c.id == meters.c.usage_point_id)
                .where(meters.c.device_id == device_id, meters.c.until.is_(None))
            ).first()
        if row is None:
            raise DataError(
                "fleet.unknown", f"No device {device_id.hex()} is enrolled. See: meterseal device list"
            )
        return _device(row)

    def make_sealed(self, device_id: bytes, module_id: bytes, suite: int, project: bytes) -> None:
        """Enrol a module for a meter that was plain; vouching for it ends at once (LINK section 4)."""
        with write(self._engine) as connection:
            connection.execute(
                meters.update()
                .where(meters.c.device_id == device_id, meters.c.until.is_(None))
                .values(plain=False, module_id=module_id, suite=suite, project=project)
            )


def _device(row: sa.Row[Any]) -> Device:
    return Device(
        device_id=row.device_id,
        usage_point=row.usage_point_id,
        medium=row.medium,
        protocol=row.protocol,
        plain=row.plain,
        suite=row.suite,
        since=row.since,
        concentrator_id=row.concentrator_id,
        module_id=row.module_id,
    )
