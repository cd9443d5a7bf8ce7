"""Data keys of the control store: rings opened at start, a new version begun, an old one ended.

It wraps nothing itself (the security service does, behind `DataKeys`) and moves no row (`sealing`, and the
application's background work, do).

The table `data_keys` holds every wrapped key that may still be needed. Its versions are this store's own and only
rise; which of the service's wrapping keys a wrapped key stands under is in its first two bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import sqlalchemy as sa

from meterseal.control.engine import read, write
from meterseal.control.sealing import KeyRing, SealedTable
from meterseal.control.tables import data_keys
from meterseal.control.wrapping import DATA, TRIES, below_floor, put_back, wrapped_under
from meterseal.crypto.handles import SymmetricKey

MEASUREMENTS = "measurements"
BILLS = "bills"
FLEET = "fleet"
WORDS = "words"
RINGS = (MEASUREMENTS, BILLS, FLEET, WORDS)
"""Names of the rings; a customer's own key is not among them, it lies in the customer's row."""


class DataKeys(Protocol):
    """Data keys wrapped by the security service.

    Both raise EngineError when it is away and TrustError when it refuses.
    """

    async def new(self, purpose: str, key_id: str) -> tuple[SymmetricKey, bytes, int]:
        """Make a data key; return its handle, its wrapped form to store, and the version of the wrapping key."""

    async def open(self, purpose: str, key_id: str, version: int, wrapped: bytes) -> SymmetricKey:
        """Unwrap a data key for use in this process."""


async def open_ring(engine: sa.Engine, name: str, keys: DataKeys, now: int) -> KeyRing:
    """Open the data keys of a ring, making the first one where there is none."""
    query = sa.select(data_keys).where(data_keys.c.id == name).order_by(data_keys.c.version)
    with read(engine) as connection:
        rows = connection.execute(query).all()
    if not rows:
        return KeyRing({1: await _made(engine, name, 1, keys, now)}, 1)
    opened = {
        row.version: await keys.open(row.purpose, name, wrapped_under(row.wrapped), row.wrapped)
        for row in rows
    }
    return KeyRing(opened, max(opened))


async def begin_version(engine: sa.Engine, name: str, ring: KeyRing, keys: DataKeys, now: int) -> int:
    """Make a new version durable, then seal under it. Returns its number."""
    version = max(ring.versions) + 1
    ring.add(version, await _made(engine, name, version, keys, now))
    return version


def end_versions(engine: sa.Engine, name: str, ring: KeyRing, tables: Sequence[SealedTable]) -> int:
    """The cut-off: delete every older key of a ring, unless a row still needs one; returns how many went.

    Rows are counted in the same transaction that deletes, and rows are sealed in the one that writes them, so none
    can come in between.
    """
    with write(engine) as connection:
        if any(table.remaining(connection, ring.version) for table in tables):
            return 0
        connection.execute(
            data_keys.delete().where(data_keys.c.id == name, data_keys.c.version != ring.version)
        )
        older = [version for version in ring.versions if version != ring.version]
    for version in older:
        ring.end(version)
    return len(older)


def newest_wrapping(engine: sa.Engine, name: str) -> int:
    """Version of the wrapping key under which a ring's newest data key stands; 0 when there is no such ring."""
    query = sa.select(data_keys.c.wrapped).where(data_keys.c.id == name).order_by(data_keys.c.version.desc())
    with read(engine) as connection:
        wrapped = connection.execute(query.limit(1)).scalar()
    return 0 if wrapped is None else wrapped_under(wrapped)


async def _made(engine: sa.Engine, name: str, version: int, keys: DataKeys, now: int) -> SymmetricKey:
    """A new data key, stored; another one where its wrapping key was rotated and counted out meanwhile."""
    for _ in range(TRIES):
        key, wrapped, _version = await keys.new(name, name)
        row = {"id": name, "version": version, "purpose": name, "wrapped": wrapped, "created_at": now}
        with write(engine) as connection:
            if not below_floor(connection, DATA, wrapped):
                connection.execute(data_keys.insert().values(row))
                return key
    raise put_back()
