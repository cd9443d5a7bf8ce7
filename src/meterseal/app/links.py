"""The head-end's ports over the mesh: both ends of what `headend` asks `platform`, side by side so that they agree.

It moves structs; what they mean stands with the ports (`headend.ports`).
"""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from meterseal.headend.ports import AuditTrail, Enrolment, Reserved, Sessions, StoredSession, Topology
from meterseal.mesh.rpc import Empty, Method, Methods, Rpc
from meterseal.model import Refusal

HEADEND = frozenset({"headend"})


class ById(Struct, frozen=True, array_like=True):
    """Eight bytes: a session or a device."""

    id: bytes


class MaybeSession(Struct, frozen=True):
    session: StoredSession | None


class ByIds(Struct, frozen=True, array_like=True):
    ids: list[bytes]


class Enrolments(Struct, frozen=True):
    enrolments: list[Enrolment]


class Reserve(Struct, frozen=True, array_like=True):
    session_id: bytes
    count: int
    epoch: int


class Refusals(Struct, frozen=True, array_like=True):
    entries: list[Refusal]


class RemoteSessions:
    """Sessions, asked of the platform."""

    def __init__(self, platform: Rpc) -> None:
        self._platform = platform

    async def put(self, session: StoredSession) -> None:
        await self._platform.call("session_put", session, Empty)

    async def get(self, session_id: bytes) -> StoredSession | None:
        return (await self._platform.call("session_get", ById(session_id), MaybeSession)).session

    async def latest(self, device_id: bytes) -> StoredSession | None:
        return (await self._platform.call("session_latest", ById(device_id), MaybeSession)).session

    async def reserve_down(self, session_id: bytes, count: int, epoch: int = 0) -> Reserved:
        return await self._platform.call("session_reserve", Reserve(session_id, count, epoch), Reserved)


class RemoteTopology:
    """Enrolments, asked of the platform."""

    def __init__(self, platform: Rpc) -> None:
        self._platform = platform

    async def enrolments(self, device_ids: Collection[bytes]) -> list[Enrolment]:
        return (await self._platform.call("enrolments", ByIds(list(device_ids)), Enrolments)).enrolments


class RemoteAudit:
    """The audit trail, kept by the platform."""

    def __init__(self, platform: Rpc) -> None:
        self._platform = platform

    async def refused(self, refusals: list[Refusal]) -> None:
        await self._platform.call("refused", Refusals(refusals), Empty)


def methods(sessions: Sessions, topology: Topology, audit: AuditTrail) -> Methods:
    """The platform's end."""

    async def put(_: str, session: StoredSession) -> Empty:
        await sessions.put(session)
        return Empty()

    async def get(_: str, asked: ById) -> MaybeSession:
        return MaybeSession(await sessions.get(asked.id))

    async def latest(_: str, asked: ById) -> MaybeSession:
        return MaybeSession(await sessions.latest(asked.id))

    async def reserve(_: str, asked: Reserve) -> Reserved:
        return await sessions.reserve_down(asked.session_id, asked.count, asked.epoch)

    async def enrolments(_: str, asked: ByIds) -> Enrolments:
        return Enrolments(await topology.enrolments(asked.ids))

    async def refused(_: str, asked: Refusals) -> Empty:
        await audit.refused(asked.entries)
        return Empty()

    return {
        "session_put": Method(put, StoredSession, HEADEND),
        "session_get": Method(get, ById, HEADEND),
        "session_latest": Method(latest, ById, HEADEND),
        "session_reserve": Method(reserve, Reserve, HEADEND),
        "enrolments": Method(enrolments, ByIds, HEADEND),
        "refused": Method(refused, Refusals, HEADEND),
    }
