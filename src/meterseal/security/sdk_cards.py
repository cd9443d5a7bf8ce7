"""The calling half of the desk of cards: what a host with a module in its reader asks for.

It holds no key and no decision.
"""

from __future__ import annotations

from meterseal.security import cardorders as c
from meterseal.security.client import Client


class CardsClient(Client):
    """The calls of this desk; all raise what `carding.Carding.answer` names."""

    async def card_answer(self, ask: c.CardAsk) -> bytes:
        """The answer 8 for EXTERNAL AUTHENTICATE, for the purpose of the order."""
        return (await self._rpc.call("card_answer", ask, c.CardAnswer)).answer

    async def card_check(self, ask: c.CardCheck) -> bool:
        """Whether the enrolled module gave this answer to INTERNAL AUTHENTICATE."""
        return (await self._rpc.call("card_check", ask, c.CardChecked)).genuine

    async def card_mac(self, ask: c.CardMac) -> bytes:
        """The MAC 4 of UPDATE BINARY or PUT POLICY."""
        return (await self._rpc.call("card_mac", ask, c.CardBytes)).content

    async def card_seal(self, ask: c.CardSeal) -> bytes:
        """Ciphertext ‖ MAC of a new PIN or PUK."""
        return (await self._rpc.call("card_seal", ask, c.CardBytes)).content
