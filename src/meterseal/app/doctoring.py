"""What the platform adds to the keys doctor: a meter's stored sessions (keys wrapped) and its refusals at the head-ends.

It opens no session and judges nothing; the security service does, for the operator.
"""

from __future__ import annotations

import sqlalchemy as sa
from msgspec import Struct

from meterseal.control import read
from meterseal.control.tables import refusals, sessions
from meterseal.mesh.rpc import OPERATOR, Method, Methods
from meterseal.security.symptoms import Refused, SessionShown
from meterseal.things.sessions import SessionStore

_SESSIONS, _REFUSALS = 32, 10


class SightingsRequest(Struct, frozen=True, kw_only=True):
    """A meter, and the session that a message of it names (may be empty)."""

    device_id: bytes
    session_id: bytes = b""


class Sightings(Struct, frozen=True, kw_only=True):
    """The session named, if it is stored, and the meter's newest ones; the newest refusals first."""

    sessions: tuple[SessionShown, ...]
    refusals: tuple[Refused, ...]


def methods(engine: sa.Engine, store: SessionStore) -> Methods:
    """What the operator's socket answers for the keys doctor."""

    async def sightings(_: str, asked: SightingsRequest) -> Sightings:
        with read(engine) as connection:
            newest = connection.execute(
                sa.select(sessions.c.session_id)
                .where(sessions.c.device_id == asked.device_id)
                .order_by(sessions.c.created_at.desc())
                .limit(_SESSIONS)
            ).scalars()
            ids = list(dict.fromkeys([asked.session_id, *newest]))
            rows = connection.execute(
                sa.select(refusals)
                .where(refusals.c.device_id == asked.device_id)
                .order_by(refusals.c.id.desc())
                .limit(_REFUSALS)
            ).all()
        stored = [await store.get(one) for one in ids if one]
        return Sightings(
            sessions=tuple(
                SessionShown(
                    session_id=one.session_id,
                    device_id=one.device_id,
                    module_id=one.module_id,
                    wrapped=one.wrapped,
                    policy=one.policy,
                    consumed=one.consumed,
                )
                for one in stored
                if one is not None
            ),
            refusals=tuple(
                Refused(at=row.at, code=row.code, sentence=row.sentence, source=row.source) for row in rows
            ),
        )

    return {"sightings": Method(sightings, SightingsRequest, frozenset({OPERATOR}))}
