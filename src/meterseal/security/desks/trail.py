"""Desk of the trail: what a verifier and a watchful person ask for: anchors, audit entries, counts of uses.

It changes nothing but a revocation list that has become too old.
"""

from __future__ import annotations

import asyncio

from meterseal.mesh.rpc import Empty
from meterseal.security import messages as m
from meterseal.security.authorise import FACTS, OPERATOR, PARTNER, WATCH
from meterseal.security.desk import Act, Acts, Desk, Room

_MOST_ENTRIES = 1000


class TrailDesk(Desk):
    """anchors, audit, verify_audit, usage."""

    purpose = "trail"

    def __init__(self, room: Room) -> None:
        self._room = room

    def acts(self) -> Acts:
        """What this desk answers."""
        return {
            "anchors": Act(self._anchors, Empty, FACTS | OPERATOR | PARTNER),
            "audit": Act(self._read_audit, m.AuditRequest, WATCH),
            "verify_audit": Act(self._verify_audit, Empty, WATCH),
            "usage": Act(self._usage, Empty, WATCH),
        }

    async def _anchors(self, caller: str, request: Empty) -> m.Anchors:
        room = self._room
        now = room.clock()
        anchors = m.Anchors(
            project_id=room.project_id,
            root=room.pki.root,
            platform_chain=room.pki.platform(now).chain,
            device_ca=room.pki.chain("device"),
            lists=tuple(room.pki.lists(now)),
            lab=room.lab,
        )
        await room.authorities.durable()
        return anchors

    async def _read_audit(self, caller: str, request: m.AuditRequest) -> m.AuditReply:
        audit, limit = self._room.audit, max(0, min(request.limit, _MOST_ENTRIES))
        entries = audit.newest(limit) if request.newest else audit.since(request.since, limit)
        return m.AuditReply(entries=tuple(entries))

    async def _verify_audit(self, caller: str, request: Empty) -> m.AuditState:
        walk = self._room.audit.walk()
        while True:
            await self._room.durable()
            try:
                next(walk)
            except StopIteration as end:
                state: m.AuditState = end.value
                return state
            await asyncio.sleep(0)  # a log of years is walked while everybody else is answered

    async def _usage(self, caller: str, request: Empty) -> m.UsageReply:
        facts = (*self._room.keys.all_facts(), *self._room.authorities.all_facts())
        return m.UsageReply(keys=facts, modules=self._room.registry.count())
