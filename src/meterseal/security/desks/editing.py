"""Desk of edits: whether two officers let an edit of readings be saved.

It sees no reading and saves nothing; the platform does, which also sees to it that an approval counts once: to say the same
again here is the same statement, so that a crash between the two loses nothing.
"""

from __future__ import annotations

from meterseal.errors import TrustError
from meterseal.security.authorise import PLATFORM
from meterseal.security.desk import Act, Acts, Desk, Room
from meterseal.security.editorders import PURPOSE, EditOrder, EditSigned
from meterseal.security.orders import SignedOrder

PEOPLE = 2


class EditDesk(Desk):
    """judge_edit."""

    purpose = "commands"

    def __init__(self, room: Room) -> None:
        self._room = room

    def acts(self) -> Acts:
        """What this desk answers."""
        return {"judge_edit": Act(self._judge, SignedOrder, PLATFORM)}

    async def _judge(self, caller: str, request: SignedOrder) -> EditSigned:
        if request.purpose != PURPOSE:
            raise TrustError(
                "security.signature", "These officers signed for something else; nothing was done."
            )
        room = self._room
        order, people = room.officers.judge(request, EditOrder, "command", PEOPLE, room.clock())
        said = f"Edit {order.edit} of the readings of {order.usage_point} was let be saved."
        room.note(caller, order, "security.edit-readings", said, officers=people)
        await room.durable()
        return EditSigned(officers=people)
