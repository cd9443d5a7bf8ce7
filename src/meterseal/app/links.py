"""The head-end's ports over the mesh: both ends of what `headend` asks `platform`, side by side so that they agree.

It moves structs; what they mean stands with the ports (`headend.ports`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from msgspec import Struct

from meterseal.headend.ports import (
    Answer,
    AuditTrail,
    Enrolment,
    FirmwareSaid,
    Reserved,
    Sessions,
    StoredSession,
    Taken,
    Topology,
    Waiting,
    Words,
)
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


class Seen(Struct, frozen=True, array_like=True):
    seen: int


class Take(Struct, frozen=True, array_like=True):
    device_id: bytes
    session_id: bytes
    epoch: int
    anew: bool


class Answers(Struct, frozen=True, array_like=True):
    answers: list[Answer]


class Found(Struct, frozen=True, array_like=True):
    found: list[bool]


class SaidOfFirmware(Struct, frozen=True, array_like=True):
    said: list[FirmwareSaid]


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


class RemoteWords:
    """Words that wait, asked of the platform."""

    def __init__(self, platform: Rpc) -> None:
        self._platform = platform

    async def wait(self, seen: int) -> Waiting:
        return await self._platform.call("words_wait", Seen(seen), Waiting)

    async def take(self, device_id: bytes, session_id: bytes, epoch: int, *, anew: bool) -> Taken:
        return await self._platform.call("words_take", Take(device_id, session_id, epoch, anew), Taken)

    async def answered(self, answers: list[Answer]) -> list[bool]:
        return (await self._platform.call("words_answered", Answers(answers), Found)).found

    async def firmware(self, said: list[FirmwareSaid]) -> None:
        await self._platform.call("words_firmware", SaidOfFirmware(said), Empty)


class RemoteAudit:
    """The audit trail, kept by the platform."""

    def __init__(self, platform: Rpc) -> None:
        self._platform = platform

    async def refused(self, refusals: list[Refusal]) -> None:
        await self._platform.call("refused", Refusals(refusals), Empty)


def methods(
    sessions: Sessions,
    topology: Topology,
    audit: AuditTrail,
    words: Words,
    made: Callable[[StoredSession], Awaitable[None]],
) -> Methods:
    """The platform's end; `made` hears of each session that was stored."""

    async def put(_: str, session: StoredSession) -> Empty:
        await sessions.put(session)
        await made(session)
        return Empty()

    async def get(_: str, asked: ById) -> MaybeSession:
        return MaybeSession(await sessions.get(asked.id))

    async def latest(_: str, asked: ById) -> MaybeSession:
        return MaybeSession(await sessions.latest(asked.id))

    async def reserve(_: str, asked: Reserve) -> Reserved:
        return await sessions.reserve_down(asked.session_id, asked.count, asked.epoch)

    async def enrolments(_: str, asked: ByIds) -> Enrolments:
        return Enrolments(await topology.enrolments(asked.ids))

    async def wait(_: str, asked: Seen) -> Waiting:
        return await words.wait(asked.seen)

    async def take(_: str, asked: Take) -> Taken:
        return await words.take(asked.device_id, asked.session_id, asked.epoch, anew=asked.anew)

    async def answered(_: str, asked: Answers) -> Found:
        return Found(await words.answered(asked.answers))

    async def firmware(_: str, asked: SaidOfFirmware) -> Empty:
        await words.firmware(asked.said)
        return Empty()

    async def refused(_: str, asked: Refusals) -> Empty:
        await audit.refused(asked.entries)
        return Empty()

    return {
        "session_put": Method(put, StoredSession, HEADEND),
        "session_get": Method(get, ById, HEADEND),
        "session_latest": Method(latest, ById, HEADEND),
        "session_reserve": Method(reserve, Reserve, HEADEND),
        "enrolments": Method(enrolments, ByIds, HEADEND),
        "words_wait": Method(wait, Seen, HEADEND),
        "words_take": Method(take, Take, HEADEND),
        "words_answered": Method(answered, Answers, HEADEND),
        "words_firmware": Method(firmware, SaidOfFirmware, HEADEND),
        "refused": Method(refused, Refusals, HEADEND),
    }
