"""The fleet, changes of meters: one is taken out of a usage point, put into one, or exchanged for another.

It judges no register against the readings that are stored (the desk and the bill do) and talks to no module. Periods are
half-open: a reading that ends at the instant of the change is the new meter's. What an installer read off a meter is
sealed, with the reason and who says so; the audit trail keeps that it was said.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from meterseal.control import acts
from meterseal.control.rings import BILLS, FLEET
from meterseal.control.sealed import METER_CHANGES, METERS
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import former_installations, meter_changes, meters, usage_points
from meterseal.errors import DataError
from meterseal.things.fleet import Installation, row_of


class Stated(Struct, frozen=True, kw_only=True):
    """What an installer says: registers in the unit the meter is billed in, why, and who read them.

    `last` is of the meter that was taken out, `first` of the one that was put in; None where there is none. Those of what
    was fed in are `last_export` and `first_export`, None where nobody read them.
    """

    last: Decimal | None = None
    first: Decimal | None = None
    reason: str
    installer: str
    last_export: Decimal | None = None
    first_export: Decimal | None = None


class MeterChange(Struct, frozen=True, kw_only=True):
    """One change at a usage point, `removed` and `installed` by device id; None where nothing was there, or came."""

    usage_point: str
    at: int
    removed: bytes | None
    installed: bytes | None
    recorded_at: int
    stated: Stated

    def says_the_same(self, other: MeterChange) -> bool:
        """Whether this is the other said again, whenever it was said."""
        return msgspec.structs.replace(self, recorded_at=0) == msgspec.structs.replace(other, recorded_at=0)


class Known(Struct, frozen=True, kw_only=True):
    """A meter of the fleet where it is or was last; `until` None while it is there."""

    usage_point: str
    until: int | None
    installation: Installation


def changes(
    connection: sa.Connection, keys: KeyRing, usage_point: str | None = None
) -> dict[str, tuple[MeterChange, ...]]:
    """Every change (of one usage point), by usage point, rising."""
    query = sa.select(meter_changes).order_by(meter_changes.c.usage_point_id, meter_changes.c.at)
    if usage_point is not None:
        query = query.where(meter_changes.c.usage_point_id == usage_point)
    found: dict[str, tuple[MeterChange, ...]] = {}
    for row in connection.execute(query):
        change = MeterChange(
            usage_point=row.usage_point_id,
            at=row.at,
            removed=row.removed,
            installed=row.installed,
            recorded_at=row.recorded_at,
            stated=msgspec.msgpack.decode(METER_CHANGES.open(keys, row) or b"", type=Stated),
        )
        found[change.usage_point] = (*found.get(change.usage_point, ()), change)
    return found


def read_off(
    connection: sa.Connection, keys: KeyRing, usage_point: str
) -> dict[int, tuple[Decimal | None, Decimal | None, int]]:
    """Of every meter that was put in, by that instant: the last register of the one before it, its own first register,
    and when the one before it was taken out; None where nobody read it. Once said it stays: changes are only ever written
    down after those that are.
    """
    found: dict[int, tuple[Decimal | None, Decimal | None, int]] = {}
    last, left = None, 0
    for change in changes(connection, keys, usage_point).get(usage_point, ()):
        if change.removed is not None:
            last, left = change.stated.last, change.at
        if change.installed is not None:
            found[change.at] = last, change.stated.first, left
            last = None
    return found


def known(connection: sa.Connection, device_id: bytes, keys: KeyRing) -> Known | None:
    """The meter with this id, in place or in stock; None when it never was in this system. `keys` seal the fleet."""
    row = connection.execute(
        sa.select(meters, usage_points.c.medium)
        .join(usage_points, usage_points.c.id == meters.c.usage_point_id)
        .where(meters.c.device_id == device_id)
    ).first()
    if row is None:
        return None
    profile, riser = msgspec.msgpack.decode(METERS.open(keys, row) or b"", type=tuple[str, int | None])
    return Known(
        usage_point=row.usage_point_id,
        until=row.until,
        installation=Installation(
            device_id=row.device_id,
            medium=row.medium,
            protocol=row.protocol,
            profile=profile,
            since=row.since,
            concentrator_id=row.concentrator_id or b"",
            riser=riser,
            suite=row.suite,
            module_id=row.module_id or b"",
            project=row.project or b"",
        ),
    )


def check_change(connection: sa.Connection, change: MeterChange, what: Installation | None) -> None:
    """Whether a change may be written; nothing is written. DataError `fleet.unknown`, `fleet.change-time`,
    `fleet.occupied`, `fleet.enrolled`, `fleet.medium`, `fleet.no-usage-point`.
    """
    if change.at > change.recorded_at:
        raise _time("it lies in the future; say it when it was done")
    if change.removed is not None:
        old = connection.execute(
            sa.select(meters.c.usage_point_id, meters.c.since).where(
                meters.c.device_id == change.removed, meters.c.until.is_(None)
            )
        ).first()
        if old is None or old.usage_point_id != change.usage_point:
            raise DataError(
                "fleet.unknown",
                f"Meter {change.removed.hex()} is not in place there; nothing was changed. See: meterseal device list",
            )
        if change.at <= old.since:
            raise _time(f"meter {change.removed.hex()} was put in place at that time or later")
    else:
        _check_vacant(connection, change)
    last = connection.execute(
        sa.select(sa.func.max(meter_changes.c.at)).where(meter_changes.c.usage_point_id == change.usage_point)
    ).scalar()
    if last is not None and change.at <= last:
        raise _time("a later change of this usage point is written down already")
    if what is not None:
        _check_free(connection, change, what)


def _check_vacant(connection: sa.Connection, change: MeterChange) -> None:
    here = connection.execute(
        sa.select(meters.c.device_id, meters.c.until)
        .where(meters.c.usage_point_id == change.usage_point)
        .where(sa.or_(meters.c.until.is_(None), meters.c.until > change.at))
    ).first()
    if here is not None:
        raise DataError(
            "fleet.occupied",
            f"Meter {here.device_id.hex()} is at this usage point at that time; take it out first, or exchange it. "
            "Nothing was changed.",
        )


def _check_free(connection: sa.Connection, change: MeterChange, what: Installation) -> None:
    device_id = what.device_id
    point = connection.execute(
        sa.select(usage_points.c.medium).where(usage_points.c.id == change.usage_point)
    ).scalar()
    if point is None:
        raise DataError("fleet.no-usage-point", "There is no such usage point; nothing was changed.")
    if point != what.medium:
        raise DataError(
            "fleet.medium",
            f"Usage point {change.usage_point} is of {point}, and {device_id.hex()} is a meter for {what.medium}; "
            "nothing was changed.",
        )
    there = connection.execute(sa.select(meters.c.until).where(meters.c.device_id == device_id)).first()
    if there is not None and (there.until is None or there.until > change.at):
        raise DataError(
            "fleet.enrolled",
            f"Device {device_id.hex()} is at a usage point at that time. Take it out there first, or check the "
            "address; nothing was changed.",
        )


def write_change(
    connection: sa.Connection,
    change: MeterChange,
    installation: Installation | None,
    keys: Mapping[str, KeyRing],
    actor: str,
) -> None:
    """Write a change in the caller's transaction, after `check_change`.

    `installation` is of the meter put in, None where none is. `keys` are the rings of fleet and bills, by name.
    """
    check_change(connection, change, installation)
    if change.removed is not None:
        connection.execute(
            meters.update().where(meters.c.device_id == change.removed).values(until=change.at)
        )
    if installation is not None:
        _put(connection, change.usage_point, installation, keys[FLEET])
    values = {
        "usage_point_id": change.usage_point,
        "at": change.at,
        "removed": change.removed,
        "installed": change.installed,
        "recorded_at": change.recorded_at,
        "sealed_stated": msgspec.msgpack.encode(change.stated),
    }
    connection.execute(meter_changes.insert().values(METER_CHANGES.seal(keys[BILLS], values)))
    for device_id, act in ((change.removed, "meter-taken-out"), (change.installed, "meter-put-in")):
        if device_id is not None:
            acts.append(connection, acts.Act(change.recorded_at, actor, act, device_id.hex()))


def _put(connection: sa.Connection, usage_point: str, what: Installation, keys: KeyRing) -> None:
    row = row_of(what, usage_point, keys)
    last = connection.execute(sa.select(meters).where(meters.c.device_id == what.device_id)).one_or_none()
    if last is None:
        connection.execute(meters.insert().values(row))
        return
    former = {name: getattr(last, name) for name in ("device_id", "since", "until", "usage_point_id")}
    connection.execute(former_installations.insert().values(**former))
    connection.execute(meters.update().where(meters.c.device_id == what.device_id).values(**row))


def _time(why: str) -> DataError:
    return DataError(
        "fleet.change-time", f"The change cannot have been at that time: {why}. Nothing was changed."
    )
