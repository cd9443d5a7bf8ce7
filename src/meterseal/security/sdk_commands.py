"""The calling half of the desk of commands: authorisations and key updates.

It holds no key and no decision.
"""

from __future__ import annotations

from collections.abc import Sequence

from meterseal.security.client import Client
from meterseal.security.leaseorders import Lease, LeaseRequest
from meterseal.security.orders import (
    Authorised,
    BulkGranted,
    CommandRoom,
    KeyUpdate,
    KeyUpdateRequest,
    OfficerSignature,
    RoomRequest,
    SignedBulk,
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

    async def authorise_bulk(
        self, order: bytes, signatures: Sequence[OfficerSignature], device_ids: Sequence[bytes] = ()
    ) -> BulkGranted:
        """Authorise what officers signed (`orders.BulkOrder`) for up to 25 of its devices; each has a grant of its own.

        What refuses the whole order is raised, as `authorise_command` and LocalError `security.bulk`.
        """
        request = SignedBulk(order=order, signatures=tuple(signatures), device_ids=tuple(device_ids))
        return await self._rpc.call("authorise_bulk", request, BulkGranted)

    async def command_room(self, device_ids: Sequence[bytes] = ()) -> CommandRoom:
        """The limits of commands, what went out in this minute, and the zones of these devices (up to 5000)."""
        return await self._rpc.call("command_room", RoomRequest(device_ids=tuple(device_ids)), CommandRoom)

    async def lease_counters(self, known: int, wanted: int) -> Lease:
        """Down counters to reserve from: up to where leases went before, and up to where they go now."""
        return await self._rpc.call("lease_counters", LeaseRequest(known=known, wanted=wanted), Lease)

    async def key_update(self, device_id: bytes) -> KeyUpdate:
        """Content of KEY for a device's module; LocalError `security.key-current` when it has the newest."""
        return await self._rpc.call("key_update", KeyUpdateRequest(device_id=device_id), KeyUpdate)
