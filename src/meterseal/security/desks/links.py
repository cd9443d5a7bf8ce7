"""Desk of the link: handshakes for head-ends and other people's platforms; keys of sessions that a head-end takes up.

It decides no step of the protocol; `security.handshake` runs it.
"""

from __future__ import annotations

import msgspec

from meterseal.errors import TrustError
from meterseal.link.schedule import TrafficKeys
from meterseal.security import datakeys
from meterseal.security import messages as m
from meterseal.security.authorise import HEADEND, PARTNER
from meterseal.security.calllog import SESSION
from meterseal.security.desk import Act, Acts, Desk, Room


class LinkDesk(Desk):
    """hello, device, unwrap."""

    purpose = "link"

    def __init__(self, room: Room) -> None:
        self._room = room

    def acts(self) -> Acts:
        """What this desk answers."""
        return {
            "hello": Act(self._hello, m.HelloRequest, HEADEND | PARTNER),
            "device": Act(self._device, m.DeviceRequest, HEADEND | PARTNER),
            "unwrap": Act(self._unwrap, m.UnwrapRequest, HEADEND),
        }

    async def _hello(self, caller: str, request: m.HelloRequest) -> m.PlatformReply:
        now = self._room.clock()
        try:
            reply = self._room.handshakes.hello(request.message, now, caller)
        except TrustError as error:
            self._room.refused.note(request.device_id, request.message, error.code, now)
            raise
        await self._room.authorities.durable()
        return reply

    async def _device(self, caller: str, request: m.DeviceRequest) -> m.SessionReply:
        room = self._room
        reply, fresh = room.handshakes.device(
            request.session_id, request.message, room.clock(), caller, gathered=request.gathered
        )
        if fresh:
            key = f"DIAK version {reply.key_version}"
            room.note(caller, reply, SESSION, "A session was opened.", key=key)
        await room.durable()
        return reply

    async def _unwrap(self, caller: str, request: m.UnwrapRequest) -> TrafficKeys:
        room = self._room
        packed = datakeys.unwrap_session(room.keys, request.session_id, request.device_id, request.wrapped)
        room.note(caller, request, "security.session-taken-up", "A stored session's keys were opened.")
        await room.durable()
        return msgspec.msgpack.decode(packed, type=TrafficKeys)
