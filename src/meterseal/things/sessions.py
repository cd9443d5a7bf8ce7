"""The session store: sessions outlive processes, any head-end can take one up (LINK section 3).

Traffic keys pass through only as the security service wrapped them. Consumed and rejected
counters are read from where the commit of measurements wrote them; they are never written here.

Down counters are reserved from a lease of the security service, which remembers how many there were in all. A store that
was put back to an older copy learns at its start how many it may have forgotten, and skips as many in every session
(ADR 0020): none is used twice. After a cut it does the same, by at most one lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import sqlalchemy as sa
from msgspec import Struct
from msgspec.structs import asdict, replace

from meterseal.control import read, write
from meterseal.control.tables import down_leases, sessions
from meterseal.control.wrapping import SESSIONS, TRIES, below_floor, put_back
from meterseal.control.writes import upsert
from meterseal.errors import LocalError, TrustError
from meterseal.headend.ports import Reserved, StoredSession
from meterseal.headend.rejected import Rejected
from meterseal.security.leaseorders import Lease

BACKLOG = 35 * 86_400_000
"""How long a replaced session still opens records (LINK section 3); then its keys are destroyed."""
MOST_RESERVED = 65_536
"""Down counters reserved at once; a count below 1 would give numbers out twice."""
LEASE = MOST_RESERVED
"""Down counters leased at once."""
LARGEST_COUNTER = (1 << 48) - 1


async def _no_lease(known: int, wanted: int) -> Lease:
    """A store that nobody else remembers: what it knows is all there was."""
    return Lease(before=known, until=known + wanted)


async def _no_rewrap(session: StoredSession) -> bytes:
    raise TrustError(
        "link.wrapping-ended",
        "The session was wrapped under a key that has ended; the device shakes hands again.",
    )


class _Leases(Struct, frozen=True):
    """The row of `down_leases`."""

    reserved: int = 0
    leased: int = 0
    skipped: int = 0


def _leases(connection: sa.Connection) -> _Leases:
    row = connection.execute(sa.select(down_leases)).first()
    return _Leases() if row is None else _Leases(row.reserved, row.leased, row.skipped)


def _keep(connection: sa.Connection, leases: _Leases) -> None:
    upsert(connection, down_leases, [{"id": 1, **asdict(leases)}])


class SessionStore:
    """Sessions in the control store.

    `consumed` gives the committed counters of a session as ranges, `rejected` those in quarantine, rising, with their
    class of REJECT; `rewrap` wraps a session's keys under the newest wrapping key.
    """

    def __init__(
        self,
        engine: sa.Engine,
        consumed: Callable[[bytes], bytes],
        clock: Callable[[], int],
        rejected: Callable[[bytes], Iterable[tuple[int, int]]] = lambda _: (),
        rewrap: Callable[[StoredSession], Awaitable[bytes]] = _no_rewrap,
        lease: Callable[[int, int], Awaitable[Lease]] = _no_lease,
    ) -> None:
        self._engine = engine
        self._consumed = consumed
        self._clock = clock
        self._rejected = rejected
        self._rewrap = rewrap
        self._lease = lease
        self._until = -1  # of this process's own lease: none before its first
        self._leasing = asyncio.Lock()

    async def put(self, session: StoredSession) -> None:
        """Store durably before SESSION leaves. Repeats change nothing.

        The session in use stays that: only the device's own first record in this one replaces it (`reserve_down`),
        for whoever holds a DEVICE back may deliver it after a later session. One that was wrapped just before a
        rotation, whose old key was counted out meanwhile, is wrapped anew first.
        """
        for _ in range(TRIES):
            if self._put(session):
                return
            session = replace(session, wrapped=await self._rewrap(session))
        raise put_back()

    def _put(self, session: StoredSession) -> bool:
        with write(self._engine) as connection:
            known = connection.execute(
                sa.select(sessions.c.device_id).where(sessions.c.session_id == session.session_id)
            ).scalar()
            if known is not None:
                if known != session.device_id:
                    raise TrustError(
                        "link.session", "A session id came back for another device; it was refused."
                    )
                return True
            if below_floor(connection, SESSIONS, session.wrapped):
                return False
            connection.execute(
                sessions.insert().values(
                    session_id=session.session_id,
                    device_id=session.device_id,
                    module_id=session.module_id,
                    suite=session.suite,
                    wrapped=session.wrapped,
                    policy=session.policy,
                    records_allowed=session.records_allowed,
                    seconds_allowed=session.seconds_allowed,
                    # A head-end's word, but not for the future: a later session must be able to replace this one.
                    created_at=min(session.created_at, self._clock()),
                    profile=session.profile,
                    skipped=_leases(connection).skipped,
                )
            )
            self._destroy_old(connection)
        return True

    def cut(self, device_id: bytes, module_id: bytes) -> int:
        """Destroy the keys of every session of a module that was taken out of service; how many there were."""
        with write(self._engine) as connection:
            return connection.execute(
                sessions.delete().where(sessions.c.device_id == device_id, sessions.c.module_id == module_id)
            ).rowcount

    def _destroy_old(self, connection: sa.Connection) -> None:
        horizon = self._clock() - BACKLOG
        never_used = sa.and_(sessions.c.down_reserved == 0, sessions.c.created_at < horizon)
        connection.execute(sessions.delete().where(sa.or_(sessions.c.replaced_at < horizon, never_used)))

    async def get(self, session_id: bytes) -> StoredSession | None:
        """The session with its consumed counters, or None when there is none or its backlog time is over."""
        horizon = self._clock() - BACKLOG
        opens = sa.or_(sessions.c.replaced_at.is_(None), sessions.c.replaced_at >= horizon)
        with read(self._engine) as connection:
            row = connection.execute(
                sa.select(sessions).where(sessions.c.session_id == session_id, opens)
            ).first()
        return None if row is None else self._session(row)

    async def latest(self, device_id: bytes) -> StoredSession | None:
        """The session that a device spoke in last, or, before its first record, the newest one."""
        with read(self._engine) as connection:
            row = connection.execute(
                sa.select(sessions)
                .where(sessions.c.device_id == device_id, sessions.c.replaced_at.is_(None))
                .order_by((sessions.c.down_reserved > 0).desc(), sessions.c.created_at.desc())
            ).first()
        return None if row is None else self._session(row)

    async def reserve_down(self, session_id: bytes, count: int, epoch: int = 0) -> Reserved:
        """Reserve down counters durably, from 1; blocks never overlap.

        `epoch` 0 takes the session over: its asker has just heard the device, and whoever reserved before is fenced.
        The first time, the device's earlier sessions are replaced: from now on it sends in this one. TrustError
        `link.owner` for an epoch that is over, `link.session` for a session that is not kept.
        """
        if not 0 < count <= MOST_RESERVED:
            raise LocalError(
                "link.counter", f"{count} down counters cannot be reserved; ask for 1 to {MOST_RESERVED}."
            )
        await self._leased(count)
        with write(self._engine) as connection:
            leases = _leases(connection)
            row = connection.execute(
                sa.select(
                    sessions.c.device_id,
                    sessions.c.created_at,
                    sessions.c.replaced_at,
                    sessions.c.down_reserved,
                    sessions.c.owner_epoch,
                    sessions.c.skipped,
                ).where(sessions.c.session_id == session_id)
            ).first()
            if row is None:
                raise TrustError(
                    "link.session", "The session is not known; a device must make a new handshake."
                )
            if epoch and epoch != row.owner_epoch:
                raise TrustError(
                    "link.owner",
                    "Another head-end has heard the device since and owns its session; leave the sending to it.",
                )
            if row.down_reserved == 0 and row.replaced_at is None:
                connection.execute(
                    sessions.update()
                    .where(sessions.c.device_id == row.device_id, sessions.c.replaced_at.is_(None))
                    .where(sessions.c.session_id != session_id, sessions.c.created_at <= row.created_at)
                    .values(replaced_at=self._clock())
                )
            owner = epoch or row.owner_epoch + 1
            last = row.down_reserved + leases.skipped - row.skipped
            if last + count > LARGEST_COUNTER:
                raise TrustError(
                    "link.counter",
                    "The session has used its down counters; a device must make a new handshake.",
                )
            connection.execute(
                sessions.update()
                .where(sessions.c.session_id == session_id)
                .values(down_reserved=last + count, owner_epoch=owner, skipped=leases.skipped)
            )
            _keep(connection, replace(leases, reserved=leases.reserved + count))
        return Reserved(last + 1, owner)

    async def _leased(self, count: int) -> None:
        """Hold a lease that lasts for `count` more counters; the first one of a process says what was forgotten."""
        async with self._leasing:
            with read(self._engine) as connection:
                leases = _leases(connection)
            own = self._until == leases.leased
            if own and leases.reserved + count <= leases.leased:
                return
            # What was leased before this process may all have been reserved, in a store that is lost.
            known = leases.leased if own else leases.reserved
            given = await self._lease(known, max(count, LEASE))
            with write(self._engine) as connection:
                skipped = _leases(connection).skipped + given.before - known
                _keep(connection, _Leases(given.before, given.until, skipped))
            self._until = given.until

    def wraps_below(self, version: int, after: bytes | None, limit: int) -> list[tuple[bytes, bytes, bytes]]:
        """Up to `limit` sessions (session id, device id, wrapped) wrapped under an older version, with ids above
        `after` (None: from the first), rising.
        """
        under = sa.func.substr(sessions.c.wrapped, 1, 2, type_=sa.LargeBinary)
        query = (
            sa.select(sessions.c.session_id, sessions.c.device_id, sessions.c.wrapped)
            .where(under < version.to_bytes(2))
            .where(sa.true() if after is None else sessions.c.session_id > after)
            .order_by(sessions.c.session_id)
            .limit(limit)
        )
        with read(self._engine) as connection:
            return [(row.session_id, row.device_id, row.wrapped) for row in connection.execute(query)]

    def rewrapped(self, moved: Iterable[tuple[bytes, bytes, bytes]]) -> int:
        """Put wrapped keys (session id, as it was, as it is now) into place, in one transaction; how many fitted.

        A session that was destroyed meanwhile stays destroyed.
        """
        with write(self._engine) as connection:
            return sum(
                connection.execute(
                    sessions.update()
                    .where(sessions.c.session_id == session_id, sessions.c.wrapped == before)
                    .values(wrapped=after)
                ).rowcount
                for session_id, before, after in moved
            )

    def discard(self, session_id: bytes, wrapped: bytes) -> None:
        """Delete a session whose wrapped keys open nothing: nobody can use it, and its device makes a new one."""
        with write(self._engine) as connection:
            connection.execute(
                sessions.delete().where(sessions.c.session_id == session_id, sessions.c.wrapped == wrapped)
            )

    def count(self) -> int:
        """How many sessions were established and are still kept."""
        with read(self._engine) as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(sessions)).scalar_one())

    def _session(self, row: sa.Row[tuple[object, ...]]) -> StoredSession:
        return StoredSession(
            session_id=row.session_id,
            device_id=row.device_id,
            module_id=row.module_id,
            suite=row.suite,
            wrapped=row.wrapped,
            policy=row.policy,
            records_allowed=row.records_allowed,
            seconds_allowed=row.seconds_allowed,
            created_at=row.created_at,
            consumed=self._consumed(row.session_id),
            rejected=Rejected.of(self._rejected(row.session_id)).to_store(),
            down_reserved=row.down_reserved,
            profile=row.profile,
        )
