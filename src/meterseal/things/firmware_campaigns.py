"""Campaigns: which meters take a release, in waves; when the next wave begins, and when no more do.

It says nothing to a meter: blocks are `firmware_sending`'s, the order to switch is the bulk order that officers signed
(`bulk`), from which a device gets its word only when it has the whole image and its wave is open. Who is in which wave
follows from the order itself, so a campaign that is started twice is the same one. It goes on after any stop from what is
written here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import sqlalchemy as sa
from msgspec import Struct

from meterseal.control import read, write
from meterseal.control.tables import bulk_items, down_words
from meterseal.control.tables import bulk_orders as orders
from meterseal.control.tables import firmware_campaigns as table
from meterseal.control.tables import firmware_items as items
from meterseal.crypto.symmetric import sm3
from meterseal.errors import DataError, LocalError
from meterseal.link.act_rows import Act
from meterseal.link.firmware import Phase, Reason, Report, switch_of
from meterseal.security.commanding import part_frame
from meterseal.security.orders import BulkOrder, SignedBulk, decoded
from meterseal.things.bulk import Bulks, Progress

ACT: Final[Act] = "firmware"
State = Literal["waiting", "sending", "ready", "trial", "done", "failed", "cancelled"]
OPEN = ("waiting", "sending", "ready", "trial")
WAVES = (5, 25, 100)
"""How many of a hundred meters are reached by the end of each wave."""
STOP = 10
"""No further wave begins, and none goes on, when more than so many of a hundred meters failed."""
LATE = 3_600_000
"""Milliseconds after the end of the order until a meter that said nothing has failed."""
FELL_BACK = (Reason.NO_REPORT, Reason.NO_START)
_NO_WORD = ("refused", "expired", "unknown", "withdrawn", "deleted")


class Failure(Struct, frozen=True, kw_only=True):
    """A meter that does not run the release, and why: the reason it gave, or what became of its word."""

    device_id: bytes
    code: str


class Campaign(Struct, frozen=True, kw_only=True):
    """How far a campaign is: meters by state; of one asked for by its id, each of them and who failed."""

    id: int
    image: str
    digest: bytes
    state: Literal["running", "stopped", "ended", "cancelled"]
    wave: int
    waves: int
    stop_percent: int
    created_at: int
    meters: dict[str, int]
    order: Progress
    items: dict[str, tuple[int, State]] = {}
    failed: tuple[Failure, ...] = ()


class Campaigns:
    """The campaigns of one platform."""

    def __init__(self, engine: sa.Engine, bulks: Bulks, clock: Callable[[], int]) -> None:
        self._engine = engine
        self._bulks = bulks
        self._clock = clock

    # --- in and out -----------------------------------------------------------------------------------------

    async def start(
        self,
        signed: SignedBulk,
        against: Callable[[BulkOrder], dict[bytes, str]],
        released: Callable[[bytes], str],
        waves: Sequence[int],
        stop_percent: int,
    ) -> int:
        """Begin what officers ordered; the same order again is the same campaign. `released` names the image by the
        digest that the order gives.

        LocalError `firmware.waves`, `firmware.order`, DataError `firmware.unknown`; and what `Bulks.start` raises.
        """
        if not waves or list(waves) != sorted(set(waves)) or waves[0] < 1 or waves[-1] != 100:
            raise LocalError(
                "firmware.waves", "Waves are rising shares of a hundred that end with 100: 5,25,100."
            )
        digest, devices = _ordered(decoded(signed.order, BulkOrder))
        image = released(digest)
        bulk_id = await self._bulks.start(signed, against)
        now = self._clock()
        with write(self._engine) as connection:
            known = connection.execute(sa.select(table.c.id).where(table.c.bulk_id == bulk_id)).scalar()
            if known is not None:
                return int(known)
            made = connection.execute(
                table.insert().values(
                    bulk_id=bulk_id,
                    image=image,
                    digest=digest,
                    state="running",
                    wave=0,
                    waves=len(waves),
                    stop_percent=stop_percent,
                    forgiven=0,
                    created_at=now,
                )
            )
            key = made.inserted_primary_key
            assert key is not None
            shuffled = sorted(devices, key=lambda device_id: sm3(digest, device_id))
            connection.execute(
                items.insert(),
                [
                    {
                        "campaign_id": key[0],
                        "device_id": device_id,
                        "wave": _wave(place, len(shuffled), waves),
                        "state": "waiting",
                        "code": "",
                        "changed_at": now,
                    }
                    for place, device_id in enumerate(shuffled)
                ],
            )
        self.step()
        return int(key[0])

    def cancel(self, campaign_id: int) -> None:
        """Begin nothing more; a meter that was told to switch may do so."""
        row = self._row(campaign_id)
        self._bulks.cancel(row.bulk_id)
        with write(self._engine) as connection:
            connection.execute(
                items.update()
                .where(items.c.campaign_id == campaign_id, items.c.state.in_(("waiting", "sending", "ready")))
                .values(state="cancelled", changed_at=self._clock())
            )
            connection.execute(
                table.update()
                .where(table.c.id == campaign_id, table.c.state.in_(("running", "stopped")))
                .values(state="cancelled")
            )

    def resume(self, campaign_id: int) -> None:
        """Go on after a stop; who failed so far counts no more."""
        self._row(campaign_id)
        with write(self._engine) as connection:
            failed = sa.select(sa.func.count()).where(
                items.c.campaign_id == campaign_id, items.c.state == "failed"
            )
            connection.execute(
                table.update()
                .where(table.c.id == campaign_id, table.c.state == "stopped")
                .values(state="running", forgiven=failed.scalar_subquery())
            )
        self.step()

    def latest(self, limit: int = 50) -> list[Campaign]:
        """The newest first."""
        with read(self._engine) as connection:
            rows = connection.execute(
                sa.select(table).order_by(table.c.id.desc()).limit(max(0, min(limit, 500)))
            ).all()
        return [self._campaign(row) for row in rows]

    def campaign(self, campaign_id: int) -> Campaign:
        """One with all its meters. DataError `firmware.unknown`."""
        row = self._row(campaign_id)
        with read(self._engine) as connection:
            found = connection.execute(
                sa.select(items)
                .where(items.c.campaign_id == campaign_id)
                .order_by(items.c.wave, items.c.device_id)
            ).all()
        failed = tuple(
            Failure(device_id=one.device_id, code=one.code) for one in found if one.state == "failed"
        )
        each = {one.device_id.hex(): (one.wave + 1, one.state) for one in found}
        return self._campaign(row, each, failed)

    # --- under way ------------------------------------------------------------------------------------------

    def sending(self, device_id: bytes) -> tuple[str, bytes] | None:
        """Image and digest that a device is to be given now."""
        with read(self._engine) as connection:
            row = connection.execute(
                _under_way(table.c.image, table.c.digest).where(items.c.device_id == device_id)
            ).first()
        return None if row is None else (row.image, row.digest)

    def all_sending(self, limit: int) -> list[bytes]:
        """Devices that are to be given an image now."""
        with read(self._engine) as connection:
            return [row.device_id for row in connection.execute(_under_way(items.c.device_id).limit(limit))]

    def moved(self, device_id: bytes, report: Report, *, offered: bytes) -> None:
        """What a device says brings it on; `offered` is the digest of the manifest that this answers, b"" for none."""
        with read(self._engine) as connection:
            rows = connection.execute(
                sa.select(items.c.campaign_id, items.c.state, table.c.digest)
                .join(table, table.c.id == items.c.campaign_id)
                .where(items.c.device_id == device_id, items.c.state.in_((*OPEN, "failed")))
            ).all()
        after = [(row, *_after(row.state, row.digest, report, offered=row.digest == offered)) for row in rows]
        moved = [(row.campaign_id, state, code) for row, state, code in after if state != row.state]
        if moved:
            with write(self._engine) as connection:
                for campaign_id, state, code in moved:
                    self._set(connection, campaign_id, device_id, state, code)

    def step(self) -> None:
        """Take note of words that came to nothing; begin the next wave, stop or end."""
        with read(self._engine) as connection:
            running = connection.execute(
                sa.select(table, orders.c.not_after)
                .join(orders, orders.c.id == table.c.bulk_id)
                .where(table.c.state == "running")
            ).all()
        for row in running:
            with write(self._engine) as connection:
                self._settle(connection, row)
                self._advance(connection, row)

    def _settle(self, connection: sa.Connection, row: sa.Row[tuple[object, ...]]) -> None:
        told = sa.case(
            (bulk_items.c.state == "queued", sa.func.coalesce(down_words.c.state, "deleted")),
            else_=bulk_items.c.state,
        )
        found = connection.execute(
            sa.select(items.c.device_id, items.c.state, told.label("word"), bulk_items.c.code)
            .join(
                bulk_items,
                sa.and_(bulk_items.c.bulk_id == row.bulk_id, bulk_items.c.device_id == items.c.device_id),
            )
            .outerjoin(down_words, down_words.c.id == bulk_items.c.word_id)
            .where(items.c.campaign_id == row.id, items.c.state.in_(OPEN))
        ).all()
        late = self._clock() > row.not_after + LATE
        for one in found:
            if one.word == "skipped" and one.state != "trial":
                self._set(connection, row.id, one.device_id, "failed", one.code)
            elif one.word in _NO_WORD and one.state == "ready":
                self._set(connection, row.id, one.device_id, "failed", f"word-{one.word}")
            elif late:
                self._set(connection, row.id, one.device_id, "failed", "silent")

    def _advance(self, connection: sa.Connection, row: sa.Row[tuple[object, ...]]) -> None:
        """Open waves until one has work to do; wave n is open once `wave` is above n."""
        counted = connection.execute(
            sa.select(items.c.wave, items.c.state, sa.func.count())
            .where(items.c.campaign_id == row.id)
            .group_by(items.c.wave, items.c.state)
        ).all()
        failed = sum(number for _, state, number in counted if state == "failed") - row.forgiven
        wave, state = row.wave, "running"
        while True:
            reached = sum(number for at, _, number in counted if at < wave)
            if failed > 0 and failed * 100 > row.stop_percent * reached:
                state = "stopped"
                break
            if any(at < wave and one in OPEN for at, one, _ in counted):
                break
            if wave == row.waves:
                state = "ended"
                break
            wave += 1
        connection.execute(table.update().where(table.c.id == row.id).values(wave=wave, state=state))
        if state == "running":
            connection.execute(
                items.update()
                .where(items.c.campaign_id == row.id, items.c.wave < wave, items.c.state == "waiting")
                .values(state="sending", changed_at=self._clock())
            )

    def _set(
        self, connection: sa.Connection, campaign_id: int, device_id: bytes, state: str, code: str
    ) -> None:
        connection.execute(
            items.update()
            .where(items.c.campaign_id == campaign_id, items.c.device_id == device_id)
            .values(state=state, code=code, changed_at=self._clock())
        )

    def _row(self, campaign_id: int) -> sa.Row[tuple[object, ...]]:
        with read(self._engine) as connection:
            row = connection.execute(sa.select(table).where(table.c.id == campaign_id)).first()
        if row is None:
            raise DataError(
                "firmware.unknown", f"There is no campaign {campaign_id}; see: meterseal firmware show"
            )
        return row

    def _campaign(
        self,
        row: sa.Row[tuple[object, ...]],
        each: dict[str, tuple[int, State]] | None = None,
        failed: tuple[Failure, ...] = (),
    ) -> Campaign:
        with read(self._engine) as connection:
            counted = connection.execute(
                sa.select(items.c.state, sa.func.count())
                .where(items.c.campaign_id == row.id)
                .group_by(items.c.state)
            ).all()
        return Campaign(
            id=row.id,
            image=row.image,
            digest=row.digest,
            state=row.state,
            wave=row.wave,
            waves=row.waves,
            stop_percent=row.stop_percent,
            created_at=row.created_at,
            meters={state: number for state, number in counted},
            order=self._bulks.progress(row.bulk_id),
            items=each or {},
            failed=failed,
        )


def ready(engine: sa.Engine, bulk_id: int, act: str, device_ids: Sequence[bytes]) -> list[bytes]:
    """Which devices of a bulk order may get their word now: of one to run new firmware those that have it whole, while
    their campaign runs; of any other all.
    """
    if act != ACT:
        return list(device_ids)
    with read(engine) as connection:
        found = set(
            connection.execute(
                sa.select(items.c.device_id)
                .join(table, table.c.id == items.c.campaign_id)
                .where(table.c.bulk_id == bulk_id, table.c.state == "running", items.c.state == "ready")
            ).scalars()
        )
    return [device_id for device_id in device_ids if device_id in found]


def _under_way(*columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    return (
        sa.select(*columns)
        .select_from(items)
        .join(table, table.c.id == items.c.campaign_id)
        .where(table.c.state == "running", items.c.state == "sending")
        .order_by(table.c.id.desc())
    )


def _after(state: State, digest: bytes, report: Report, *, offered: bool) -> tuple[State, str]:
    """Where a report leaves a device of a campaign."""
    if report.running == digest:
        return ("trial", "") if report.phase is Phase.TRIAL else ("done", "")
    if state == "failed" or state == "waiting":
        return state, ""
    if report.staged == digest:
        return ("ready", "") if report.phase is Phase.READY else ("sending", "")
    if state in ("ready", "trial"):
        return ("failed", _code(report.reason)) if report.reason in FELL_BACK else (state, "")
    if offered and report.reason not in (Reason.NONE, Reason.BUSY, *FELL_BACK):
        return "failed", _code(report.reason)
    return state, ""


def _code(reason: Reason) -> str:
    return f"firmware.{reason.name.lower().replace('_', '-')}"


def _ordered(order: BulkOrder) -> tuple[bytes, list[bytes]]:
    """The digest that every part of the order names, and the devices. LocalError `firmware.order`."""
    devices = [device_id for part in order.parts for device_id in part.device_ids]
    found = {switch_of(part_frame(part, part.device_ids[0])) for part in order.parts if part.device_ids}
    digest = found.pop() if len(found) == 1 else None
    if order.act != ACT or digest is None:
        raise LocalError(
            "firmware.order",
            "This order does not name one release for all its meters; make it with: firmware plan",
        )
    return digest, devices


def _wave(place: int, count: int, waves: Sequence[int]) -> int:
    """The wave of the meter at this place; each wave has at least one of them."""
    return next(
        number for number, share in enumerate(waves) if place < max(-(-count * share // 100), number + 1)
    )
