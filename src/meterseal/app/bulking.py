"""The operator's desk for orders to many meters: a dry run that shows whom one would reach, its start, progress and end.

It signs nothing and decides nothing alone: policy is `things.commands`, the authorisation the security service's, the way
of an order `things.bulk`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from meterseal.control import read
from meterseal.control.sealed import METERS
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import meters, usage_points
from meterseal.errors import LocalError, MetersealError
from meterseal.link.acts import COMMANDS, Act, Command
from meterseal.mesh.rpc import OPERATOR, Methods, offered_to
from meterseal.model import Medium
from meterseal.security.commanding import part_frame
from meterseal.security.orders import BulkOrder, BulkPart, CommandPolicy, SignedBulk, decoded
from meterseal.security.sdk import SecuritySdk
from meterseal.things import commands
from meterseal.things.bulk import Bulks, Progress, Skipped
from meterseal.things.verbs import frame_of
from meterseal.wire.profile import Profile, profile_of, profiles

PLAIN, ABSENT = "command.plain", "fleet.unknown"


class Filter(Struct, frozen=True, kw_only=True):
    """Meters in place that everything given fits; nothing given is refused, so that nobody means all by leaving out."""

    medium: Medium | None = None
    zone: str = ""
    concentrator_id: bytes = b""
    model: str = ""
    device_ids: tuple[bytes, ...] = ()
    everything: bool = False


class PlanBulk(Struct, frozen=True, kw_only=True):
    """A dry run: what `act` with these values would say to whom; `ser` as sent, `until` Unix ms."""

    act: Act
    said: dict[str, str]
    which: Filter
    ser: int
    until: int


class Plan(Struct, frozen=True, kw_only=True):
    """What an order would hold (`security.orders.BulkOrder`), who is left out and why, the limits, how long it takes.

    `minutes` is how many the limits of zones and system need at least, `most` how many devices such an order may name.
    """

    parts: tuple[BulkPart, ...]
    skipped: tuple[Skipped, ...]
    officers: int
    most: int
    minutes: int
    policy: CommandPolicy


class BulkQuery(Struct, frozen=True, kw_only=True):
    """One order by its id, or the newest."""

    bulk_id: int = 0
    limit: int = 50


class Progresses(Struct, frozen=True, kw_only=True):
    """How far orders are, newest first."""

    orders: list[Progress]


class BulkDesk:
    """What the Unix socket serves about orders to many meters."""

    def __init__(
        self,
        engine: sa.Engine,
        security: SecuritySdk,
        bulks: Bulks,
        fleet: KeyRing,
        clock: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._security = security
        self._bulks = bulks
        self._fleet = fleet
        self._clock = clock

    def methods(self) -> Methods:
        """The table, to be joined with the desk's."""
        return offered_to(
            OPERATOR,
            {
                "bulk_plan": (self.plan, PlanBulk),
                "bulk_start": (self.start, SignedBulk),
                "bulk_orders": (self.orders, BulkQuery),
                "bulk_cancel": (self.cancel, BulkQuery),
            },
        )

    async def plan(self, _: str, asked: PlanBulk) -> Plan:
        """Whom an order would reach, and who is left out. Nothing is queued or counted.

        LocalError `command.bulk` for what no bulk order may say, `command.filter` for a filter that says nothing.
        """
        row = COMMANDS[asked.act]
        if not row.officers or not row.bulk:
            raise LocalError(
                "command.bulk", f"To {row.english} is said to one meter at a time: meterseal device command"
            )
        commands.timely(asked.act, asked.until, self._clock())
        which = asked.which
        if which == Filter():
            raise LocalError(
                "command.filter", "Say which meters are meant: a filter, a list, or all of them."
            )
        skipped: dict[bytes, str] = dict.fromkeys(which.device_ids, ABSENT)
        found = [one for one in self._meters(which) if not which.device_ids or one[0] in skipped]
        for device_id, *_rest in found:
            skipped.pop(device_id, None)
        sealed = [one for one in found if not one[3]]
        skipped |= {one[0]: PLAIN for one in found if one[3]}
        zones = await self._zones([one[0] for one in sealed])
        grouped: dict[tuple[str, int, bytes], list[bytes]] = {}
        for device_id, medium, profile, _plain in sealed:
            zone = zones[device_id]
            if which.zone and zone != which.zone:
                continue
            made = self._frame(asked, device_id, medium, profile) if zone else "security.not-enrolled"
            if isinstance(made, str):
                skipped[device_id] = made
            else:
                grouped.setdefault((zone, *made), []).append(device_id)
        parts = tuple(
            BulkPart(zone=zone, control=control, data=data, device_ids=tuple(device_ids))
            for (zone, control, data), device_ids in sorted(grouped.items())
        )
        policy = (await self._security.command_room()).policy
        return Plan(
            parts=parts,
            skipped=tuple(Skipped(device_id=one, code=code) for one, code in sorted(skipped.items())),
            officers=max(row.officers, policy.signatures),
            most=min(row.bulk, policy.supply_bulk) if row.supply else row.bulk,
            minutes=_minutes(parts, row, policy),
            policy=policy,
        )

    async def start(self, _: str, asked: SignedBulk) -> Progress:
        """Take up a signed order; the same again is the same one."""
        if decoded(asked.order, BulkOrder).act == "firmware":
            raise LocalError(
                "command.bulk",
                "Firmware goes out in waves and behind its image: meterseal firmware start FILE",
            )
        return self._bulks.progress(await self._bulks.start(asked, self.against))

    async def orders(self, _: str, asked: BulkQuery) -> Progresses:
        """One order with whom it skipped, or the newest."""
        if asked.bulk_id:
            return Progresses(orders=[self._bulks.progress(asked.bulk_id)])
        return Progresses(orders=self._bulks.latest(asked.limit))

    async def cancel(self, _: str, asked: BulkQuery) -> Progress:
        """Take back what was not sent."""
        self._bulks.cancel(asked.bulk_id)
        return self._bulks.progress(asked.bulk_id)

    # --- whom it reaches ------------------------------------------------------------------------------------

    def against(self, order: BulkOrder) -> dict[bytes, str]:
        """What speaks against each device here, whatever was signed: the same rules as for one command."""
        if order.act not in COMMANDS:
            raise LocalError("command.bulk", "This order says nothing that is known here; make it anew.")
        act: Act = order.act
        commands.timely(act, order.not_after, self._clock())
        named = tuple(device_id for part in order.parts for device_id in part.device_ids)
        here = {one[0]: one for one in self._meters(Filter(device_ids=named))}
        found: dict[bytes, str] = {}
        for part in order.parts:
            for device_id in part.device_ids:
                if device_id not in here:
                    found[device_id] = ABSENT
                elif here[device_id][3]:
                    found[device_id] = PLAIN
                else:
                    code = _refused(device_id, here[device_id][1], part, act)
                    if code:
                        found[device_id] = code
        return found

    def _frame(
        self, asked: PlanBulk, device_id: bytes, medium: Medium, profile: Profile | None
    ) -> tuple[int, bytes] | str:
        """Control code and data for one meter, or the code of what is against it."""
        try:
            frame = frame_of(
                device_id,
                asked.act,
                asked.said,
                profile or profile_of(device_id),
                ser=asked.ser,
                until=asked.until,
                now=self._clock(),
            )
            commands.check(device_id, medium, frame.encode(), asked.act)
        except MetersealError as error:
            if error.code == "use.fields":
                raise
            return error.code
        return frame.control, frame.data

    def _meters(self, which: Filter) -> Iterator[tuple[bytes, Medium, Profile | None, bool]]:
        """Meters in place: device, medium, model where it is known, whether plain."""
        query = (
            sa.select(meters, usage_points.c.medium)
            .join(usage_points, usage_points.c.id == meters.c.usage_point_id)
            .where(meters.c.until.is_(None))
            .order_by(meters.c.device_id)
        )
        if which.medium:
            query = query.where(usage_points.c.medium == which.medium)
        if which.concentrator_id:
            query = query.where(meters.c.concentrator_id == which.concentrator_id)
        wanted = set(which.device_ids)
        with read(self._engine) as connection:
            rows = connection.execute(query).all()
        for row in rows:
            if wanted and row.device_id not in wanted:
                continue
            name = self._model(row)
            if not which.model or name == which.model:
                yield row.device_id, row.medium, profiles().get(name), row.plain

    def models(self) -> set[str]:
        """The models that meters in place were enrolled with."""
        with read(self._engine) as connection:
            rows = connection.execute(sa.select(meters).where(meters.c.until.is_(None))).all()
        return {self._model(row) for row in rows} - {""}

    def _model(self, row: sa.Row[Any]) -> str:
        packed = METERS.open(self._fleet, row, "sealed_parameters")
        return str(msgspec.msgpack.decode(packed)[0]) if packed else ""

    async def _zones(self, device_ids: list[bytes]) -> dict[bytes, str]:
        found: dict[bytes, str] = {}
        for start in range(0, len(device_ids), _ZONES):
            some = device_ids[start : start + _ZONES]
            found |= dict(zip(some, (await self._security.command_room(some)).zones_of, strict=True))
        return found


_ZONES = 2000


def _refused(device_id: bytes, medium: Medium, part: BulkPart, act: Act) -> str:
    try:
        commands.check(device_id, medium, part_frame(part, device_id).encode(), act)
    except MetersealError as error:
        return error.code
    return ""


def _minutes(parts: tuple[BulkPart, ...], row: Command, policy: CommandPolicy) -> int:
    """How many minutes the limits make of an order, were nothing else said; 0 where they let nothing out at all."""
    zones: dict[str, int] = {}
    for part in parts:
        zones[part.zone] = zones.get(part.zone, 0) + len(part.device_ids)
    zone = (
        min(policy.per_zone_minute, policy.supply_per_zone_minute) if row.supply else policy.per_zone_minute
    )
    if not zone or not policy.per_minute:
        return 0
    return max(
        [-(-sum(zones.values()) // policy.per_minute), *(-(-number // zone) for number in zones.values())]
    )
