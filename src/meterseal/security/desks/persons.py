"""Desk of the persons: officers, and every act that needs the signatures of two of them.

It knows none of these acts; the other desks list them as orders, and this one admits, uses up and passes on.

An order is used up before it is carried out: a crash between the two costs the officers new signatures and
never lets an act happen twice.
"""

from __future__ import annotations

from collections.abc import Mapping

from meterseal.errors import LocalError
from meterseal.mesh.rpc import Empty
from meterseal.security.authorise import OPERATOR, WATCH
from meterseal.security.desk import Act, Acts, Desk, Order, Orders, Room
from meterseal.security.orders import (
    Done,
    Founding,
    OfficerChange,
    OfficerList,
    SignedOrder,
)


class PersonsDesk(Desk):
    """found_officers, officers, submit; and the order `officers`."""

    def __init__(self, room: Room, others: Mapping[str, Order]) -> None:
        self._room = room
        assert not set(others) & set(self.orders())
        self._orders = {**others, **self.orders()}

    def acts(self) -> Acts:
        """What this desk answers."""
        return {
            "found_officers": Act(self._found, Founding, OPERATOR),
            "officers": Act(self._list, Empty, WATCH),
            "submit": Act(self._submit, SignedOrder, WATCH),
        }

    def orders(self) -> Orders:
        """What officers may order here."""
        return {"officers": Order(self._change, OfficerChange, "enrol", keeps=True)}

    async def _found(self, caller: str, request: Founding) -> OfficerList:
        room = self._room
        room.officers.found(request.cards, room.clock())
        room.note(
            caller,
            request,
            "security.officers-founded",
            "The first officers were written down.",
            officers=tuple(card.officer for card in request.cards),
        )
        await room.durable()
        return await self._list(caller, Empty())

    async def _list(self, caller: str, request: Empty) -> OfficerList:
        return OfficerList(officers=self._room.officers.all(), epoch=self._room.officers.epoch)

    async def _submit(self, caller: str, request: SignedOrder) -> Done:
        room = self._room
        order = self._orders.get(request.purpose)
        if order is None:
            raise LocalError(
                "security.purpose",
                f"There is no order for this purpose; there are {', '.join(self._orders)}.",
            )
        now = room.clock()
        asked, people = room.officers.judge(request, order.request, order.role, order.needed, now)
        if not order.keeps:
            room.officers.spend(asked.request_id, asked.not_after)
        done = await order.run(caller, asked, people)
        room.note(caller, asked, f"security.order-{request.purpose}", done.sentence, officers=people)
        await room.durable()
        return done

    async def _change(self, caller: str, change: OfficerChange, people: tuple[str, ...]) -> Done:
        self._room.quorum.check_leaving(change.remove)
        self._room.officers.change(change, self._room.clock())
        joined = ", ".join(card.officer for card in change.add) or "nobody"
        left = ", ".join(change.remove) or "nobody"
        return Done(sentence=f"Officers changed: {joined} joined, {left} left.", officers=people)
