"""Desk of the anchors: what the platform's trails have come to, and by two people that they may begin again.

It holds no rule of its own; `security.anchoring` has them.
"""

from __future__ import annotations

from meterseal.security.anchoring import Anchoring
from meterseal.security.anchororders import REFUSALS, ROWS, AnchorTrail, AskAnchor, TrailAnchor, TrailReset
from meterseal.security.authorise import PLATFORM, WATCH
from meterseal.security.desk import Act, Acts, Desk, Order, Orders, Room
from meterseal.security.orders import Done


class AnchorDesk(Desk):
    """anchor_trail, trail_anchor; and the order `trail-reset`."""

    purpose = "trail"

    def __init__(self, room: Room) -> None:
        self._room = room
        self._anchoring = Anchoring(room.book)

    def acts(self) -> Acts:
        """What this desk answers."""
        return {
            "anchor_trail": Act(self._take, AnchorTrail, PLATFORM),
            "trail_anchor": Act(self._newest, AskAnchor, WATCH),
        }

    def orders(self) -> Orders:
        """What officers may order here."""
        return {"trail-reset": Order(self._reset, TrailReset, "keys")}

    async def _take(self, caller: str, said: AnchorTrail) -> TrailAnchor:
        anchor = self._anchoring.take(said, self._room.clock())
        await self._room.durable()
        return anchor

    async def _newest(self, caller: str, request: AskAnchor) -> TrailAnchor:
        return self._anchoring.newest(request.trail)

    async def _reset(self, caller: str, order: TrailReset, people: tuple[str, ...]) -> Done:
        before = self._anchoring.reset(order)
        said = (
            f"The anchors of the platform's audit trail at row {before[REFUSALS]} and of its trail of rows at entry "
            f"{before[ROWS]} were given up: {order.reason}"
        )
        return Done(sentence=said, officers=people)
