"""Desk of reservations: enrolment held after a restore, what the platform knows was enrolled, and by two people a release.

It holds no rule of its own; `security.reserved` has them.
"""

from __future__ import annotations

from meterseal.mesh.rpc import Empty
from meterseal.security.authorise import PLATFORM, WATCH
from meterseal.security.desk import Act, Acts, Desk, Order, Orders, Room
from meterseal.security.orders import Done
from meterseal.security.reserveorders import (
    Ended,
    EndModules,
    Hold,
    ReleaseModule,
    Reservations,
    Reserve,
)


class ReservingDesk(Desk):
    """hold_enrolment, reserve_modules, end_modules, accept_head, reservations; and the order `release-module`."""

    purpose = "modules"

    def __init__(self, room: Room) -> None:
        self._room = room

    def acts(self) -> Acts:
        """What this desk answers."""
        return {
            "hold_enrolment": Act(self._hold, Hold, PLATFORM),
            "reserve_modules": Act(self._reserve, Reserve, PLATFORM),
            "end_modules": Act(self._end, EndModules, PLATFORM),
            "accept_head": Act(self._accept, Empty, PLATFORM),
            "reservations": Act(self._facts, Empty, WATCH),
        }

    def orders(self) -> Orders:
        """What officers may order here."""
        return {"release-module": Order(self._release, ReleaseModule, "enrol")}

    async def _hold(self, caller: str, request: Hold) -> Reservations:
        room = self._room
        if room.reserved.hold(request.reason, room.clock()):
            room.note(caller, request, "security.enrolment-held", f"Enrolment is held: {request.reason}.")
        await room.durable()
        return room.reserved.facts()

    async def _reserve(self, caller: str, request: Reserve) -> Reservations:
        room = self._room
        if new := room.reserved.reserve(request.pairs):
            said = f"{new} modules that the platform knows and this registry does not were reserved."
            room.note(caller, request, "security.modules-reserved", said)
        await room.durable()
        return room.reserved.facts()

    async def _end(self, caller: str, request: EndModules) -> Ended:
        room = self._room
        room.reserved.end(request.pairs)
        found = [room.registry.module(one.module_id) for one in request.pairs]
        asked = {(one.device_id, one.module_id) for one in request.pairs}
        again = [one for one in found if one is not None and (one.device_id, one.module_id) in asked]
        gone = room.take_out(again)
        for module in gone:
            said = "A module that was withdrawn before this service was brought back was taken out of service again."
            room.note(caller, module, "security.withdrawn", said)
        await room.durable()
        return Ended(again=len(gone))

    async def _accept(self, caller: str, request: Empty) -> Reservations:
        room = self._room
        room.reserved.accept()
        said = "The operator accepted this directory as it stands; enrolment goes on."
        room.note(caller, request, "security.head-accepted", said)
        await room.durable()
        return room.reserved.facts()

    async def _facts(self, caller: str, request: Empty) -> Reservations:
        return self._room.reserved.facts()

    async def _release(self, caller: str, order: ReleaseModule, people: tuple[str, ...]) -> Done:
        self._room.reserved.release(order)
        said = (
            f"Module {order.module_id.hex()} may be enrolled for device {order.device_id.hex()} with the point that was "
            f"signed for: {order.reason}"
        )
        return Done(sentence=said, officers=people)
