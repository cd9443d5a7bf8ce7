"""The platform's background work on wrapped keys: sessions follow the newest wrapping key, and the security service
learns how many keys of each kind still stand under which version.

It opens no wrapped key (the security service wraps it anew) and begins no data key (`resealing` does).

The count of a kind is complete once its floor has reached the newest version (`control.wrapping`): then nothing can
come to stand under an older one any more, and a version without a wrapped key may end.
"""

from __future__ import annotations

import asyncio

import sqlalchemy as sa
import structlog

from meterseal.control.wrapping import DATA, SESSIONS, counted, raise_floor
from meterseal.errors import MetersealError, TrustError
from meterseal.headend.ports import StoredSession
from meterseal.security.sdk import SecuritySdk
from meterseal.things.sessions import SessionStore

log = structlog.get_logger()

ROWS = 200
"""Sessions wrapped anew in one call and one transaction."""
PAUSE = 0.05
"""Seconds between two steps, for everybody else."""
WATCH = 30.0
"""Seconds between two looks while nothing is known to move."""
SOON = 2.0
"""Seconds between two looks while something moves."""
NOT_OURS = "security.wrapped"
"""The service's word for keys that it did not wrap for this session: a head-end's invention, or damage."""
RECOUNT = 20
"""Looks after which the totals are counted again although nothing moves."""


async def rewrapped_by(security: SecuritySdk, session: StoredSession) -> bytes:
    """The session's keys under the newest wrapping key; TrustError `security.wrapped`."""
    (wrapped,) = await security.rewrap_sessions([(session.session_id, session.device_id, session.wrapped)])
    return wrapped


class Wraps:
    """Follows the wrapping keys of one security service."""

    def __init__(self, engine: sa.Engine, sessions: SessionStore, security: SecuritySdk) -> None:
        self._engine = engine
        self._sessions = sessions
        self._security = security
        self._looks = 0

    async def look(self) -> bool:
        """Raise the floors, move what is below, count and report when the service needs it; True while something is left.

        Raises what the security service refuses, and EngineError when it or the disk is away.
        """
        known = {one.kind: one for one in await self._security.moving() if one.kind in (SESSIONS, DATA)}
        self._looks += 1
        due = any(one.old or not one.complete for one in known.values()) or self._looks % RECOUNT == 0
        if not due:
            return False
        floors = {
            kind: await asyncio.to_thread(raise_floor, self._engine, kind, one.newest)
            for kind, one in known.items()
        }
        await self._follow(floors[SESSIONS])
        sessions = await asyncio.to_thread(counted, self._engine, SESSIONS)
        data = await asyncio.to_thread(counted, self._engine, DATA)
        await self._security.report_wraps(
            sessions, data, sessions_from=floors[SESSIONS], data_keys_from=floors[DATA]
        )
        older = sum(n for version, n in sessions.items() if version < floors[SESSIONS])
        return older + sum(n for version, n in data.items() if version < floors[DATA]) > 0

    async def _follow(self, newest: int) -> None:
        """Every session under an older version, in small steps; one that opens nothing is no session and goes."""
        after: bytes | None = None
        while True:
            found = await asyncio.to_thread(self._sessions.wraps_below, newest, after, ROWS)
            if not found:
                return
            after = found[-1][0]
            moved = await self._rewrapped(found)
            await asyncio.to_thread(self._sessions.rewrapped, moved)
            await asyncio.sleep(PAUSE)

    async def _rewrapped(self, found: list[tuple[bytes, bytes, bytes]]) -> list[tuple[bytes, bytes, bytes]]:
        try:
            wrapped = await self._security.rewrap_sessions(found)
        except TrustError as error:
            if len(found) == 1:
                session_id, _, stored = found[0]
                log.warning("wraps.not-opened", session=session_id.hex(), code=error.code)
                if error.code == NOT_OURS:
                    await asyncio.to_thread(self._sessions.discard, session_id, stored)
                return []
            return [one for single in found for one in await self._rewrapped([single])]
        return [(session, old, new) for (session, _, old), new in zip(found, wrapped, strict=True)]

    async def run(self) -> None:
        """Work until cancelled; a failure is said and tried again at the next look."""
        while True:
            left = False
            try:
                left = await self.look()
            except MetersealError as error:
                log.warning("wraps.failed", code=error.code, message=error.message)
            except Exception as error:  # noqa: BLE001 - a defect ends this turn, not the work
                log.critical("wraps.defect", fault=type(error).__name__)
            await asyncio.sleep(SOON if left else WATCH)
