"""Desk of the life of keys: rotation, what still moves, rewrapping; and, by two people, states and imports.

It holds no rule of its own; `security.rotation` has them.
"""

from __future__ import annotations

from meterseal.mesh.rpc import Empty
from meterseal.security import keyorders as k
from meterseal.security.authorise import OPERATOR, PLATFORM, WATCH
from meterseal.security.desk import Act, Acts, Desk, Order, Orders, Room
from meterseal.security.orders import Done
from meterseal.security.rotation import Rotation

_MOST = 1000
"""Devices in one answer."""


class KeyLifeDesk(Desk):
    """rotate, moving, keys_due, rewrap, report_wraps, transport_key; and the orders `key-state` and `import-key`."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._rotation = Rotation(
            room.keys, room.authorities, room.registry, room.audit, room.book, room.pki, room.keylife
        )

    def acts(self) -> Acts:
        """What this desk answers."""
        return {
            "rotate": Act(self._rotate, k.Rotate, OPERATOR),
            "moving": Act(self._moving, Empty, WATCH),
            "keys_due": Act(self._due, k.KeysDueRequest, WATCH),
            "rewrap": Act(self._rewrap, k.Rewrap, PLATFORM),
            "report_wraps": Act(self._report, k.WrapReport, PLATFORM),
            "transport_key": Act(self._transport, Empty, WATCH),
        }

    def orders(self) -> Orders:
        """What officers may order here."""
        return {
            "key-state": Order(self._state, k.KeyStateChange, "keys"),
            "import-key": Order(self._import, k.ImportKey, "keys"),
        }

    async def _rotate(self, caller: str, request: k.Rotate) -> k.Rotated:
        room = self._room
        rotated = await self._rotation.rotate(request, room.clock())
        room.note(
            caller,
            Empty(),
            "security.rotated",
            f"A new version of {rotated.kind} is in use.",
            key=f"{rotated.kind} version {rotated.version}",
        )
        await room.durable()
        return rotated

    async def _moving(self, caller: str, request: Empty) -> k.MovingReply:
        return self._rotation.moving()

    async def _due(self, caller: str, request: k.KeysDueRequest) -> k.KeysDueReply:
        limit = max(1, min(request.limit, _MOST))
        found, behind = self._room.keylife.due(request.after, limit)
        last = found[-1].module_id if len(found) == limit else b""
        return k.KeysDueReply(device_ids=tuple(one.device_id for one in found), last=last, behind=behind)

    async def _rewrap(self, caller: str, request: k.Rewrap) -> k.Rewrapped:
        rewrapped = self._rotation.rewrap(request)
        await self._room.durable()
        return rewrapped

    async def _report(self, caller: str, request: k.WrapReport) -> Empty:
        self._rotation.report(request, self._room.clock())
        return Empty()

    async def _transport(self, caller: str, request: Empty) -> k.TransportPoint:
        return self._rotation.transport()

    async def _state(self, caller: str, change: k.KeyStateChange, people: tuple[str, ...]) -> Done:
        self._rotation.set_state(change)
        said = f"{change.key_id} version {change.version} is {change.state}."
        return Done(sentence=said, officers=people)

    async def _import(self, caller: str, request: k.ImportKey, people: tuple[str, ...]) -> Done:
        version = self._rotation.take_in(request)
        said = f"{request.key_id} version {version} was imported; activate it when all is ready."
        return Done(sentence=said, officers=people, facts=f'{{"version": {version}}}')
