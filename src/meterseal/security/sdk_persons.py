"""The calling half of the desk of persons: officers, and what two of them signed.

It holds no key and no decision.
"""

from __future__ import annotations

from meterseal.mesh.rpc import Empty
from meterseal.security.client import Client
from meterseal.security.orders import Done, Founding, OfficerFacts, OfficerList, SignedOrder


class PersonsClient(Client):
    """The calls of this desk."""

    async def found_officers(self, request: Founding) -> tuple[OfficerFacts, ...]:
        """Write the first officers down; TrustError `security.founded` once there are any."""
        return (await self._rpc.call("found_officers", request, OfficerList)).officers

    async def officers(self) -> tuple[OfficerFacts, ...]:
        """Everybody who is or was an officer."""
        return (await self._rpc.call("officers", Empty(), OfficerList)).officers

    async def epoch(self) -> bytes:
        """What the ids of new requests begin with (`orders.fresh_request_id`); empty before any restore."""
        return (await self._rpc.call("officers", Empty(), OfficerList)).epoch

    async def submit(self, order: SignedOrder) -> Done:
        """Carry out what officers signed; TrustError `security.officer`, `.signature`, `.role`, `.two-persons`,
        `.expired`, `.replayed`, `.project`, and those of the act.
        """
        return await self._rpc.call("submit", order, Done)
