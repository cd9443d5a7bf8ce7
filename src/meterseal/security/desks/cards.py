"""Desk of the cards: answers to a module that lies in somebody's reader: checked, opened, locked, unlocked, destroyed.

It holds no rule of its own; `security.carding` has them.
"""

from __future__ import annotations

from meterseal.security import cardorders as c
from meterseal.security.authorise import WATCH
from meterseal.security.carding import Carding
from meterseal.security.desk import Act, Acts, Desk, Room

_SAID = {
    c.RIGHTS: "A module was answered for the issuer's rights",
    c.LOCK: "A module was answered for locking it",
    c.UNLOCK: "A module was answered for unlocking it",
    c.DESTROY: "A module was answered for destroying it",
}


class CardDesk(Desk):
    """card_answer, card_check, card_mac, card_seal."""

    purpose = "modules"

    def __init__(self, room: Room) -> None:
        self._room = room
        self._carding = Carding(room.keys, room.tree, room.registry, room.book, room.officers)

    def acts(self) -> Acts:
        """What this desk answers."""
        return {
            "card_answer": Act(self._answer, c.CardAsk, WATCH),
            "card_check": Act(self._check, c.CardCheck, WATCH),
            "card_mac": Act(self._mac, c.CardMac, WATCH),
            "card_seal": Act(self._seal, c.CardSeal, WATCH),
        }

    async def _answer(self, caller: str, ask: c.CardAsk) -> c.CardAnswer:
        answer, people, order = self._carding.answer(ask, self._room.clock())
        await self._noted(caller, ask, _SAID[ask.order.purpose], order, people)
        return c.CardAnswer(answer=answer)

    async def _check(self, caller: str, ask: c.CardCheck) -> c.CardChecked:
        genuine, people, order = self._carding.check(ask, self._room.clock())
        said = (
            "A module proved to be the enrolled one"
            if genuine
            else "A module did NOT prove to be the enrolled one"
        )
        await self._noted(caller, ask, said, order, people)
        return c.CardChecked(genuine=genuine)

    async def _mac(self, caller: str, ask: c.CardMac) -> c.CardBytes:
        mac, people, order = self._carding.mac(ask, self._room.clock())
        said = f"The MAC of a write to a module was made (command {ask.header[:4].hex()})"
        await self._noted(caller, ask, said, order, people)
        return c.CardBytes(content=mac)

    async def _seal(self, caller: str, ask: c.CardSeal) -> c.CardBytes:
        content, people, order = self._carding.seal(ask, self._room.clock())
        which = "PIN" if ask.header[3] == 1 else "PUK"
        await self._noted(caller, ask, f"A module's new {which} was sealed for it", order, people)
        return c.CardBytes(content=content)

    async def _noted(
        self, caller: str, ask: c.CardAsk, said: str, order: c.CardOrder, people: tuple[str, ...]
    ) -> None:
        room = self._room
        code = f"security.{ask.order.purpose}"
        room.note(caller, order, code, f"{said}: {order.reason}", officers=people)
        await room.durable()
