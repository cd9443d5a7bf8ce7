"""The calling half of the desk of edits.

It holds no key and no decision.
"""

from __future__ import annotations

from meterseal.security.client import Client
from meterseal.security.editorders import EditSigned
from meterseal.security.orders import SignedOrder


class EditingClient(Client):
    """The call of this desk."""

    async def judge_edit(self, order: SignedOrder) -> EditSigned:
        """Who signed that an edit be saved; the same again is the same statement.

        TrustError `security.officer`, `.signature`, `.role`, `.two-persons`, `.project`, `.expired`, `.restored`;
        LocalError `security.request`.
        """
        return await self._rpc.call("judge_edit", order, EditSigned)
