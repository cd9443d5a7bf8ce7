"""Keys that the security service wrapped and this store keeps: under which versions of its wrapping keys, and from
which version up they may be stored.

It wraps nothing and moves nothing (the application's background work does).

A wrapping key may only end when nothing is stored under it *and nothing can be any more*. An answer of the service
may still be on its way into the store while somebody counts. So before counting, the floor of the kind is raised
in a transaction of its own; whoever stores a wrapped key looks at the floor in the transaction that stores it.
What was stored before the floor is counted, what comes after it is not below.
"""

from __future__ import annotations

from collections import Counter

import sqlalchemy as sa

from meterseal.control.engine import read, write
from meterseal.control.tables import customers, data_keys, sessions, wrapping_floors
from meterseal.errors import LocalError

SESSIONS, DATA = "session-wraps", "data-keys"
"""The two kinds, as the security service names them."""
TRIES = 3
"""Keys asked for in a row; each later one is wrapped under a version that is at least as new."""
_COLUMNS = {SESSIONS: (sessions.c.wrapped,), DATA: (data_keys.c.wrapped, customers.c.wrapped_key)}


def wrapped_under(wrapped: bytes) -> int:
    """Version of the service's wrapping key that a wrapped key names: its first two bytes."""
    return int.from_bytes(wrapped[:2])


def floor(connection: sa.Connection, kind: str) -> int:
    """The lowest version that may be stored; 0 while any may."""
    query = sa.select(wrapping_floors.c.version).where(wrapping_floors.c.kind == kind)
    return connection.execute(query).scalar() or 0


def below_floor(connection: sa.Connection, kind: str, wrapped: bytes) -> bool:
    """Whether this wrapped key must not be stored any more; ask in the transaction that stores it."""
    return wrapped_under(wrapped) < floor(connection, kind)


def put_back() -> LocalError:
    """What it means when even a new key stands below the floor."""
    return LocalError(
        "control.wrapping-older",
        "The security service wraps keys under a version that this store has seen end: its keys directory was put back "
        "to an older state. Bring back the keys directory that belongs to this store; nothing was stored.",
    )


def raise_floor(engine: sa.Engine, kind: str, version: int) -> int:
    """From now on nothing below `version` is stored; returns the floor, which never falls."""
    with write(engine) as connection:
        before = floor(connection, kind)
        if version <= before:
            return before
        connection.execute(wrapping_floors.delete().where(wrapping_floors.c.kind == kind))
        connection.execute(wrapping_floors.insert().values(kind=kind, version=version))
    return version


def counted(engine: sa.Engine, kind: str) -> dict[int, int]:
    """How many keys of a kind stand under which version; those of erased customers are none."""
    found = Counter[int]()
    with read(engine) as connection:
        for column in _COLUMNS[kind]:
            under = sa.func.substr(column, 1, 2, type_=sa.LargeBinary)
            query = sa.select(under, sa.func.count()).where(column.is_not(None)).group_by(under)
            for version, count in connection.execute(query):
                found[int.from_bytes(version)] += count
    return dict(found)
