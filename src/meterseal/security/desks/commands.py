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
    BulkGranted,
    CommandPolicyChange,
    CommandRoom,
    Done,
    KeyUpdate,
    KeyUpdateRequest,
    RoomRequest,
    SignedBulk,
    SignedCommand,
    ZoneChange,
)


class CommandDesk(Desk):
    """authorise_command, authorise_bulk, command_room, key_update, lease_counters; and the orders `command-policy` and
    `zone`."""

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
            "authorise_bulk": Act(self._bulk, SignedBulk, PLATFORM),
            "command_room": Act(self._limits, RoomRequest, PLATFORM),
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
        if fresh:
            room.note(caller, authorised, "security.command-authorised", said, officers=people)
        else:  # said as by nobody's signature: a platform may ask as often as it likes
            room.note(caller, authorised, "security.command-repeated", f"Asked for again: {said}")
        await room.durable()
        return authorised

    async def _bulk(self, caller: str, request: SignedBulk) -> BulkGranted:
        room = self._room
        granted, order, new = self._commanding.bulk(
            request.order, request.signatures, request.device_ids, room.clock()
        )
        for grant in granted.grants:
            if grant.authorised is not None and grant.device_id in new:
                said = f"Command {grant.authorised.number} of a bulk order to {order.act}: {order.reason}"
                room.note(
                    caller, grant.authorised, "security.command-authorised", said, officers=granted.officers
                )
        await room.durable()
        return granted

    async def _limits(self, caller: str, request: RoomRequest) -> CommandRoom:
        zones = self._commanding.zones(request.device_ids)
        return self._commanding.granting.room(self._room.clock(), zones)

    async def _key_update(self, caller: str, request: KeyUpdateRequest) -> KeyUpdate:
        room = self._room
        update = room.keylife.update(request.device_id)
        key = f"DIAK version {update.version}"
        room.note(caller, update, "security.key-update", "A module's new bound key was made for it.", key=key)
        await room.durable()
        return update

    async def _lease(self, caller: str, request: LeaseRequest) -> Lease:
        leased = self._leasing.until
        lease = self._leasing.lease(request)
        if request.known > leased:
            said = (
                f"The platform knew of {request.known} down counters and {leased} were leased here: believed."
            )
            self._room.note(caller, lease, "security.counters-unknown", said)
        if lease.before > request.known:
            said = f"Down counters up to {lease.before} were leased, and the platform knew of {request.known}: skipped."
            self._room.note(caller, lease, "security.counters-skipped", said)
        await self._room.durable()
        return lease

    async def _policy(self, caller: str, change: CommandPolicyChange, people: tuple[str, ...]) -> Done:
        self._commanding.granting.set_policy(change)
        return Done(
            sentence=f"A command needs {change.signatures} signatures, valves, relays and loads two; a zone has "
            f"{change.per_zone_minute} a minute, {change.supply_per_zone_minute} of them for valves, relays and loads, the "
            f"system {change.per_minute}; a bulk order for those names at most {change.supply_bulk} devices.",
            officers=people,
        )

    async def _zone(self, caller: str, change: ZoneChange, people: tuple[str, ...]) -> Done:
        self._commanding.set_zone(change)
        registry = self._room.registry
        modules = [
            one for device_id in change.device_ids if (one := registry.of_device(device_id)) is not None
        ]
        said = f"The module is in zone {change.zone} from now on: {change.reason}"
        await self._room.note_each(caller, modules, "security.zone-set", said, officers=people)
        return Done(
            sentence=f"{len(change.device_ids)} modules are in zone {change.zone} from now on: {change.reason}",
            officers=people,
        )
