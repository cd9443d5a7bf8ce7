"""Acts of people on the control store, hash-chained: who did what to which id, never to which name.

It decides nobody's right to act; refused messages have a trail of their own (`things.monitor`).
"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from meterseal.control import chains
from meterseal.control.engine import read
from meterseal.control.tables import acts
from meterseal.crypto.symmetric import sm3
from meterseal.errors import DataError


class Act(Struct, frozen=True, array_like=True):
    """One act; `subject` is an id."""

    at: int
    actor: str
    act: str
    subject: str


def append(connection: sa.Connection, act: Act) -> int:
    """Write an act in the caller's transaction, which is the act's own; returns its number."""
    last, previous = chains.end(connection, acts)
    number = last + 1
    connection.execute(
        acts.insert().values(
            id=number, **msgspec.structs.asdict(act), previous=previous, hash=_link(previous, number, act)
        )
    )
    return number


def verified(engine: sa.Engine) -> list[Act]:
    """Every act, oldest first, after the chain over them was recomputed. DataError `audit.broken`."""
    found, previous = [], chains.GENESIS
    with read(engine) as connection:
        rows = connection.execute(sa.select(acts).order_by(acts.c.id)).all()
    for number, row in enumerate(rows, 1):
        act = Act(row.at, row.actor, row.act, row.subject)
        if row.id != number or row.previous != previous or row.hash != _link(previous, number, act):
            raise DataError(
                "audit.broken",
                f"The trail of acts was changed at entry {number}: its hash does not follow from the one before. "
                "Compare with a backup.",
                entry=number,
            )
        found.append(act)
        previous = row.hash
    return found


def _link(previous: bytes, number: int, act: Act) -> bytes:
    return sm3(previous, number.to_bytes(8), msgspec.msgpack.encode(act))
