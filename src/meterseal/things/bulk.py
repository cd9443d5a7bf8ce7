"""Orders for many devices: which meters one would reach, and its way from the officers' signatures to a word for each.

It authorises nothing: the security service does, device by device and within its limits of the minute, which pace the
order. Whatever stops at whatever moment, a device is told at most once: the word of a device is known by an id made of the
order's and the device's, and the service gives the same order the same number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec
import sqlalchemy as sa
import structlog
from msgspec import Struct

from meterseal.control import read, write
from meterseal.control.sealed import BULK_ORDERS
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import bulk_items as items
from meterseal.control.tables import bulk_orders as table
from meterseal.control.tables import down_words, firmware_campaigns, firmware_items
from meterseal.errors import DataError, EngineError, LocalError, MetersealError
from meterseal.headend.ports import Down
from meterseal.security.commanding import AT_ONCE, item_id
from meterseal.security.orders import (
    Authorised,
    BulkGranted,
    BulkOrder,
    OfficerSignature,
    SignedBulk,
    decoded,
)
from meterseal.things.words import KEPT_FOR, DownWords, Word

log = structlog.get_logger()

Stage = Literal["running", "ended", "cancelled"]
TURN = 5.0
"""Seconds between turns of the orders that run."""
LIMITED = "security.command-limit"
"""What the service answers while a zone, or all, had their commands of the minute."""


Ready = Callable[[int, str, Sequence[bytes]], list[bytes]]
"""By order and act, which of its devices may get their word now; none for all. What waits is asked for again."""


class Service(Protocol):
    """What is asked of the security service; the SDK is one."""

    async def authorise_bulk(
        self, order: bytes, signatures: Sequence[OfficerSignature], device_ids: Sequence[bytes] = ()
    ) -> BulkGranted: ...


class Skipped(Struct, frozen=True, kw_only=True):
    """A device that is not told, and why."""

    device_id: bytes
    code: str


class Progress(Struct, frozen=True, kw_only=True):
    """How far an order is: devices by outcome. `pending` waits for the service's limits, `skipped` never gets a word,
    `cancelled` was taken back; every other is the state of the device's word (`things.words`).

    `skipped` names the devices with the code of what was against each, of one order asked for by its id.
    """

    id: int
    act: str
    officers: tuple[str, ...]
    reason: str
    state: Stage
    created_at: int
    not_after: int
    outcomes: dict[str, int]
    skipped: tuple[Skipped, ...] = ()


class Bulks:
    """The orders of one platform. Coroutines belong to one event loop."""

    def __init__(
        self,
        engine: sa.Engine,
        keys: KeyRing,
        words: DownWords,
        service: Service,
        clock: Callable[[], int],
        ready: Ready | None = None,
    ) -> None:
        self._ready = ready
        self._engine = engine
        self._keys = keys
        self._words = words
        self._service = service
        self._clock = clock
        self._turn = asyncio.Lock()

    # --- in and out -----------------------------------------------------------------------------------------

    async def start(self, signed: SignedBulk, against: Callable[[BulkOrder], dict[bytes, str]]) -> int:
        """Take up an order that the service lets stand; its id. `against` says by device what speaks against it here.

        The same order again is the same one. Raises what `SecuritySdk.authorise_bulk` raises for a whole order.
        """
        order = decoded(signed.order, BulkOrder)
        await self._service.authorise_bulk(signed.order, signed.signatures)
        refused = against(order)
        with write(self._engine) as connection:
            known = connection.execute(
                sa.select(table.c.id).where(table.c.request_id == order.request_id)
            ).scalar()
            if known is not None:
                return int(known)
            self._forget(connection)
            row = {
                "request_id": order.request_id,
                "state": "running",
                "created_at": self._clock(),
                "not_after": order.not_after,
                "sealed_content": msgspec.msgpack.encode(signed),
            }
            made = connection.execute(table.insert().values(BULK_ORDERS.seal(self._keys, row)))
            key = made.inserted_primary_key
            assert key is not None
            bulk_id = int(key[0])
            devices = [device_id for part in order.parts for device_id in part.device_ids]
            connection.execute(
                items.insert(),
                [
                    {
                        "bulk_id": bulk_id,
                        "device_id": device_id,
                        "state": "skipped" if device_id in refused else "pending",
                        "code": refused.get(device_id, ""),
                    }
                    for device_id in devices
                ],
            )
        return bulk_id

    def cancel(self, bulk_id: int) -> None:
        """Take back what was not sent; DataError `bulk.none`. A meter that was told may act on it."""
        self._row(bulk_id)
        with write(self._engine) as connection:
            connection.execute(
                items.update()
                .where(items.c.bulk_id == bulk_id, items.c.state == "pending")
                .values(state="cancelled")
            )
            connection.execute(
                table.update()
                .where(table.c.id == bulk_id, table.c.state == "running")
                .values(state="cancelled")
            )
            queued = connection.execute(
                sa.select(items.c.word_id).where(items.c.bulk_id == bulk_id, items.c.word_id.is_not(None))
            ).scalars()
            words = [int(word) for word in queued]
        for word_id in words:
            self._words.withdraw(word_id)

    def progress(self, bulk_id: int) -> Progress:
        """One order with the devices that it skipped. DataError `bulk.none`."""
        row = self._row(bulk_id)
        with read(self._engine) as connection:
            skipped = connection.execute(
                sa.select(items.c.device_id, items.c.code)
                .where(items.c.bulk_id == bulk_id, items.c.state == "skipped")
                .order_by(items.c.device_id)
            ).all()
        return self._progress(row, tuple(Skipped(device_id=one.device_id, code=one.code) for one in skipped))

    def latest(self, limit: int = 50) -> list[Progress]:
        """The newest orders first."""
        with read(self._engine) as connection:
            rows = connection.execute(
                sa.select(table).order_by(table.c.id.desc()).limit(max(0, min(limit, 500)))
            ).all()
        return [self._progress(row, ()) for row in rows]

    # --- under way ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Carry on, turn by turn; a failure is logged and tried again."""
        while True:
            try:
                await self.step()
            except MetersealError as error:
                log.warning("bulk.failed", code=error.code)
            except Exception:  # a defect ends this turn, not the orders, and is said in full
                log.exception("bulk.defect")
            await asyncio.sleep(TURN)

    async def step(self) -> None:
        """Queue what the service lets out now. Raises EngineError while it is away; nothing is lost by that."""
        async with self._turn:
            with read(self._engine) as connection:
                rows = connection.execute(
                    sa.select(table).where(table.c.state == "running").order_by(table.c.id)
                ).all()
            for row in rows:
                await self._advance(row)

    async def _advance(self, row: sa.Row[tuple[object, ...]]) -> None:
        signed = self._open(row)
        order = decoded(signed.order, BulkOrder)
        zones = {device_id: part.zone for part in order.parts for device_id in part.device_ids}
        with read(self._engine) as connection:
            found = set(
                connection.execute(
                    sa.select(items.c.device_id).where(items.c.bulk_id == row.id, items.c.state == "pending")
                ).scalars()
            )
        pending = [device_id for device_id in zones if device_id in found]
        if self._ready is not None and order.not_after > self._clock():
            waits, pending = len(pending), self._ready(row.id, order.act, pending)
            if waits and not pending:
                return
        full = set[str]()
        while pending and self._runs(row.id):
            lot = [device_id for device_id in pending if zones[device_id] not in full][:AT_ONCE]
            if not lot:
                return
            pending = [device_id for device_id in pending if device_id not in set(lot)]
            try:
                granted = await self._service.authorise_bulk(signed.order, signed.signatures, lot)
            except EngineError:
                raise
            except MetersealError as error:  # its time is over, or its officers left: nobody is told any more
                self._skip(row.id, [*lot, *pending], error.code)
                break
            for grant in granted.grants:
                if grant.authorised is not None:
                    await self._queue(row.id, order, grant.authorised, granted.officers)
                elif grant.code == LIMITED:
                    full.add(zones[grant.device_id])
                else:
                    self._skip(row.id, [grant.device_id], grant.code)
        self._close(row.id)

    async def _queue(
        self, bulk_id: int, order: BulkOrder, given: Authorised, officers: tuple[str, ...]
    ) -> None:
        word = Word(
            request_id=item_id(order.request_id, given.device_id),
            device_id=given.device_id,
            not_after=given.not_after,
            down=Down(
                kind="guarded",
                content=given.frame,
                number=given.number,
                not_after=given.not_after,
                authorisation=given.authorisation,
            ),
            key_version=given.key_version,
            module_id=given.module_id,
            act=order.act,
            officers=officers,
            reason=order.reason,
            bulk_id=bulk_id,
        )
        word_id = await self._words.put(word)
        with write(self._engine) as connection:
            done = connection.execute(
                items.update()
                .where(
                    items.c.bulk_id == bulk_id,
                    items.c.device_id == given.device_id,
                    items.c.state == "pending",
                )
                .values(state="queued", word_id=word_id)
            )
        if not done.rowcount:  # cancelled while the service was asked
            self._words.withdraw(word_id)

    async def again(self, word: Word) -> Authorised:
        """The authorisation of a word of an order anew, after its module's key moved; what refused it is raised."""
        signed = self._open(self._row(word.bulk_id))
        granted = await self._service.authorise_bulk(signed.order, signed.signatures, [word.device_id])
        (grant,) = granted.grants
        if grant.authorised is None:
            raise LocalError(grant.code, grant.sentence)
        return grant.authorised

    # --- at rest --------------------------------------------------------------------------------------------

    def _runs(self, bulk_id: int) -> bool:
        with read(self._engine) as connection:
            state = connection.execute(sa.select(table.c.state).where(table.c.id == bulk_id)).scalar()
        return state == "running"

    def _skip(self, bulk_id: int, device_ids: list[bytes], code: str) -> None:
        with write(self._engine) as connection:
            for device_id in device_ids:
                connection.execute(
                    items.update()
                    .where(
                        items.c.bulk_id == bulk_id, items.c.device_id == device_id, items.c.state == "pending"
                    )
                    .values(state="skipped", code=code)
                )

    def _close(self, bulk_id: int) -> None:
        with write(self._engine) as connection:
            left = sa.select(items.c.device_id).where(items.c.bulk_id == bulk_id, items.c.state == "pending")
            connection.execute(
                table.update()
                .where(table.c.id == bulk_id, table.c.state == "running", ~sa.exists(left))
                .values(state="ended")
            )

    def _forget(self, connection: sa.Connection) -> None:
        """Delete orders as old as words may be."""
        old = sa.select(table.c.id).where(table.c.not_after < self._clock() - KEPT_FOR)
        gone = sa.select(firmware_campaigns.c.id).where(firmware_campaigns.c.bulk_id.in_(old))
        connection.execute(firmware_items.delete().where(firmware_items.c.campaign_id.in_(gone)))
        connection.execute(firmware_campaigns.delete().where(firmware_campaigns.c.bulk_id.in_(old)))
        connection.execute(items.delete().where(items.c.bulk_id.in_(old)))
        connection.execute(table.delete().where(table.c.not_after < self._clock() - KEPT_FOR))

    def _row(self, bulk_id: int) -> sa.Row[tuple[object, ...]]:
        with read(self._engine) as connection:
            row = connection.execute(sa.select(table).where(table.c.id == bulk_id)).first()
        if row is None:
            raise DataError("bulk.none", f"There is no bulk order {bulk_id}; see: meterseal device bulk show")
        return row

    def _open(self, row: sa.Row[tuple[object, ...]]) -> SignedBulk:
        plain = BULK_ORDERS.open(self._keys, row, "sealed_content") or b""
        return msgspec.msgpack.decode(plain, type=SignedBulk)

    def _progress(self, row: sa.Row[tuple[object, ...]], skipped: tuple[Skipped, ...]) -> Progress:
        self._words.expire()
        signed = self._open(row)
        order = decoded(signed.order, BulkOrder)
        state = sa.case(
            (items.c.state == "queued", sa.func.coalesce(down_words.c.state, "deleted")), else_=items.c.state
        )
        with read(self._engine) as connection:
            found = connection.execute(
                sa.select(state, sa.func.count())
                .select_from(items.outerjoin(down_words, down_words.c.id == items.c.word_id))
                .where(items.c.bulk_id == row.id)
                .group_by(state)
            ).all()
        return Progress(
            id=row.id,
            act=order.act,
            officers=tuple(sorted({one.officer for one in signed.signatures})),
            reason=order.reason,
            state=row.state,
            created_at=row.created_at,
            not_after=row.not_after,
            outcomes={name: number for name, number in found},
            skipped=skipped,
        )
