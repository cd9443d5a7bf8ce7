"""The calling half of the desk of the ledger.

It holds no key and no decision.
"""

from __future__ import annotations

from meterseal.mesh.rpc import Empty
from meterseal.security.client import Client
from meterseal.security.ledgerorders import LedgerHead, SignCheckpoint


class LedgerClient(Client):
    """The calls of this desk."""

    async def sign_checkpoint(self, asked: SignCheckpoint) -> LedgerHead:
        """The next checkpoint; TrustError `security.ledger-shorter`, `security.ledger-changed`."""
        return await self._rpc.call("sign_checkpoint", asked, LedgerHead)

    async def ledger_head(self) -> LedgerHead:
        """The newest checkpoint that was signed, and every version of the key."""
        return await self._rpc.call("ledger_head", Empty(), LedgerHead)
