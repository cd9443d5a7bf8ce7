"""Desk of the factory: productions that a maker's officer signed, chunk by chunk.

It reads no manifest; the maker's side does (`security.manifest`).
"""

from __future__ import annotations

from meterseal.security.authorise import OPERATOR
from meterseal.security.desk import Act, Acts, Desk, Order, Orders, Room
from meterseal.security.factory import Factory
from meterseal.security.manifest import (
    ProduceReply,
    ProduceRequest,
    ProductionOrder,
    ProductionRequest,
    ProductionState,
)
from meterseal.security.orders import Done
from meterseal.security.personalise import Personaliser


class FactoryDesk(Desk):
    """produce, production; and the order `production`."""

    def __init__(self, room: Room) -> None:
        self._room = room
        personaliser = Personaliser(
            room.keys, room.tree, room.pki, room.registry, room.reserved, room.project_id, lab=room.lab
        )
        self._factory = Factory(room.registry, personaliser)

    def acts(self) -> Acts:
        """What this desk answers."""
        return {
            "produce": Act(self._produce, ProduceRequest, OPERATOR),
            "production": Act(self._state, ProductionRequest, OPERATOR),
        }

    def orders(self) -> Orders:
        """What officers may order here."""
        return {"production": Order(self._open, ProductionOrder, "enrol", needed=1)}

    async def _open(self, caller: str, order: ProductionOrder, people: tuple[str, ...]) -> Done:
        self._factory.open(order, people, self._room.clock())
        return Done(
            sentence=f"Production of batch {order.batch}, {order.rows} modules, is open.", officers=people
        )

    async def _produce(self, caller: str, request: ProduceRequest) -> ProduceReply:
        room = self._room
        reply = await self._factory.produce(request, room.clock())
        for answer in reply.answers:
            key = f"DIAK version {answer.key_version}"
            room.note(
                caller, answer, "security.personalised", "A module was enrolled at its making.", key=key
            )
        for one in reply.refused:
            sentence = f"Row {one.row} of a production: {one.sentence}"
            room.note(caller, one, one.code, sentence, refused=True)
        await room.durable()
        return reply

    async def _state(self, caller: str, request: ProductionRequest) -> ProductionState:
        return self._factory.state(request.request_id)
