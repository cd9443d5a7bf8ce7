"""Desk of platforms: who is enrolled to call this service; by two officers' order, who joins and who is withdrawn.

It admits no call itself; `service` asks `security.platforms` before every act.
"""

from __future__ import annotations

from meterseal.mesh.rpc import Empty
from meterseal.security.authorise import WATCH
from meterseal.security.desk import Act, Acts, Desk, Order, Orders, Room
from meterseal.security.orders import Done
from meterseal.security.platformorders import EnrolPlatform, PlatformList, WithdrawPlatform


class PlatformDesk(Desk):
    """platforms; and the orders `enrol-platform` and `withdraw-platform`."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def acts(self) -> Acts:
        """What this desk answers."""
        return {"platforms": Act(self._list, Empty, WATCH)}

    def orders(self) -> Orders:
        """What officers may order here."""
        return {
            "enrol-platform": Order(self._enrol, EnrolPlatform, "enrol"),
            "withdraw-platform": Order(self._withdraw, WithdrawPlatform, "enrol"),
        }

    async def _list(self, caller: str, request: Empty) -> PlatformList:
        return PlatformList(platforms=self._room.platforms.all())

    async def _enrol(self, caller: str, request: EnrolPlatform, people: tuple[str, ...]) -> Done:
        self._room.platforms.enrol(request, people)
        said = f"Platform {request.caller} is enrolled for {', '.join(request.purposes)}."
        return Done(sentence=said, officers=people)

    async def _withdraw(self, caller: str, request: WithdrawPlatform, people: tuple[str, ...]) -> Done:
        self._room.platforms.withdraw(request)
        said = f"Platform {request.caller} was withdrawn: {request.reason[:200]}"
        return Done(sentence=said, officers=people)
