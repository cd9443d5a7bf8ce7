"""The calling half of the desk of commands: authorisations and key updates.

It holds no key and no decision.
"""

from __future__ import annotations

from collections.abc import Sequence

from meterseal.security.client import Client
from meterseal.security.leaseorders import Lease, LeaseRequest
from meterseal.security.orders import (
    Authorised,
    KeyUpdate,
    KeyUpdateRequest,
    OfficerSignature,
    SignedCommand,
)


class CommandsClient(Client):
    """The calls of this desk."""

    async def authorise_command(self, order: bytes, signatures: Sequence[OfficerSignature]) -> Authorised:
        """Authorise what officers signed (`orders.CommandOrder`); the same order again gives the same number.

        TrustError `security.officer`, `.signature`, `.role`, `.two-persons`, `.expired`, `.replayed`,
        `.not-enrolled`, `.command-limit`; LocalError `security.command`, `security.request`.
        """
        request = SignedCommand(order=order, signatures=tuple(signatures))
        return await self._rpc.call("authorise_command", request, Authorised)

    async def lease_counters(self, known: int, wanted: int) -> Lease:
        """Down counters to reserve from: up to where leases went before, and up to where they go now."""
        return await self._rpc.call("lease_counters", LeaseRequest(known=known, wanted=wanted), Lease)

    async def key_update(self, device_id: bytes) -> KeyUpdate:
        """Content of KEY for a device's module; LocalError `security.key-current` when it has the newest."""
        return await self._rpc.call("key_update", KeyUpdateRequest(device_id=device_id), KeyUpdate)
