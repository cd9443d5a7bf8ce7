"""Desk of commands: authorisations for guarded commands, and key updates for modules.

It sends nothing; the platform keeps the queue and the head-end delivers.
"""

from __future__ import annotations

from meterseal.security.authorise import PARTNER, PLATFORM
from meterseal.security.commanding import Commanding
from meterseal.security.desk import Act, Acts, Desk, Order, Orders, Room
from meterseal.security.leaseorders import Lease, LeaseRequest
from meterseal.security.leasing import Leasing
from meterseal.security.orders import (
    Authorised,
    CommandPolicyChange,
    Done,
    KeyUpdate,
    KeyUpdateRequest,
    SignedCommand,
    ZoneChange,
)


class CommandDesk(Desk):
    """authorise_command, key_update, lease_counters; and the orders `command-policy` and `zone`."""

    purpose = "commands"

    def __init__(self, room: Room) -> None:
        self._room = room
        self._commanding = Commanding(
            room.keys, room.tree, room.registry, room.book, room.officers, room.project_id
        )

        self._leasing = Leasing(room.book)

    def acts(self) -> Acts:
        """What this desk answers."""
        return {
            "authorise_command": Act(self._authorise, SignedCommand, PLATFORM | PARTNER),
            "key_update": Act(self._key_update, KeyUpdateRequest, PLATFORM),
            "lease_counters": Act(self._lease, LeaseRequest, PLATFORM),
        }

    def orders(self) -> Orders:
        """What officers may order here."""
        return {
            "command-policy": Order(self._policy, CommandPolicyChange, "command"),
            "zone": Order(self._zone, ZoneChange, "command"),
        }

    async def _authorise(self, caller: str, request: SignedCommand) -> Authorised:
        room = self._room
        authorised, order, people, fresh = self._commanding.authorise(
            request.order, request.signatures, room.clock()
        )
        said = f"Command {authorised.number} for zone {order.zone}: {order.reason}"
        if not fresh:
            said = f"Asked for again: {said}"
        room.note(caller, authorised, "security.command-authorised", said, officers=people)
        await room.durable()
        return authorised

    async def _key_update(self, caller: str, request: KeyUpdateRequest) -> KeyUpdate:
        room = self._room
        update = room.keylife.update(request.device_id)
        key = f"DIAK version {update.version}"
        room.note(caller, update, "security.key-update", "A module's new bound key was made for it.", key=key)
        await room.durable()
        return update

    async def _lease(self, caller: str, request: LeaseRequest) -> Lease:
        lease = self._leasing.lease(request)
        if lease.before > request.known:
            said = f"Down counters up to {lease.before} were leased, and the platform knew of {request.known}: skipped."
            self._room.note(caller, lease, "security.counters-skipped", said)
        await self._room.durable()
        return lease

    async def _policy(self, caller: str, change: CommandPolicyChange, people: tuple[str, ...]) -> Done:
        self._commanding.set_policy(change)
        return Done(
            sentence=f"A command needs {change.signatures} signatures; a zone has {change.per_zone_minute} a minute, the "
            f"system {change.per_minute}.",
            officers=people,
        )

    async def _zone(self, caller: str, change: ZoneChange, people: tuple[str, ...]) -> Done:
        self._commanding.set_zone(change)
        for device_id in change.device_ids:
            module = self._room.registry.of_device(device_id)
            said = f"The module is in zone {change.zone} from now on: {change.reason}"
            self._room.note(caller, module, "security.zone-set", said, officers=people)
        return Done(
            sentence=f"{len(change.device_ids)} modules are in zone {change.zone} from now on: {change.reason}",
            officers=people,
        )
