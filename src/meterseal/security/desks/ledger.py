"""Desk of the ledger: signs its checkpoints, and by two people lets it begin again after a restore.

It holds no rule of its own; `security.ledgering` has them.
"""

from __future__ import annotations

from meterseal.mesh.rpc import Empty
from meterseal.security.authorise import PLATFORM, WATCH
from meterseal.security.desk import Act, Acts, Desk, Order, Orders, Room
from meterseal.security.ledgering import Ledgering
from meterseal.security.ledgerorders import LedgerHead, LedgerReset, SignCheckpoint
from meterseal.security.orders import Done


class LedgerDesk(Desk):
    """sign_checkpoint, ledger_head; and the order `ledger-reset`."""

    purpose = "trail"

    def __init__(self, room: Room) -> None:
        self._room = room
        self._ledgering = Ledgering(room.book, room.authorities, room.pki)

    def acts(self) -> Acts:
        """What this desk answers."""
        return {
            "sign_checkpoint": Act(self._sign, SignCheckpoint, PLATFORM),
            "ledger_head": Act(self._head, Empty, WATCH),
        }

    def orders(self) -> Orders:
        """What officers may order here."""
        return {"ledger-reset": Order(self._reset, LedgerReset, "keys")}

    async def _sign(self, caller: str, asked: SignCheckpoint) -> LedgerHead:
        signed = self._ledgering.sign(asked, self._room.clock())
        await self._room.durable()
        return signed

    async def _head(self, caller: str, request: Empty) -> LedgerHead:
        return self._ledgering.head

    async def _reset(self, caller: str, order: LedgerReset, people: tuple[str, ...]) -> Done:
        before = self._ledgering.reset(order)
        said = f"The ledger may begin again after checkpoint {before}: {order.reason}"
        return Done(sentence=said, officers=people)
