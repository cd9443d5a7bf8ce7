"""T25: every row of both audit logs, taken out, altered, exchanged with its neighbour, or cut off at the end, shows."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable
from pathlib import Path

import pytest
import sqlalchemy as sa

from meterseal.control import write
from meterseal.control.tables import refusals
from meterseal.errors import DataError, EngineError, MetersealError, TrustError
from meterseal.model import Refusal
from meterseal.security.anchororders import TrailAnchor, TrailReset
from meterseal.security.audit import Audit
from meterseal.security.messages import AuditEntry
from meterseal.security.sdk import SecuritySdk
from meterseal.security.vault import Vault
from meterseal.things.anchoring import TrailAnchoring
from meterseal.things.monitor import AuditLog
from tests.control_store import control_at

from .conftest import NOW, PASSPHRASE, Bench
from .people import fields, founded, operator, ordered

ROWS = 12


async def service_log(vault: Vault, folder: Path) -> None:
    Audit.create(folder / "audit.db", vault)
    log = Audit.open(folder / "audit.db", vault)
    for number in range(1, ROWS + 1):
        log.write(AuditEntry(at=NOW + number, code=f"test.{number}", sentence=f"Entry {number}."))
    await log.durable()
    assert log.verify().ok
    log.close()
    vault.close()


def service_finds(folder: Path, *changes: str) -> bool:
    """Whether the service's log shows the change; it is put back afterwards."""
    path = folder / "audit.db"
    before = path.read_bytes()
    with sqlite3.connect(path) as connection:
        for change in changes:
            connection.execute(change)
    connection.close()
    vault = Vault.open(folder / "keys.vault", "keys", PASSPHRASE)
    try:
        log = Audit.open(path, vault)
    except TrustError as error:
        ok = error.code != "security.tampered"
    else:
        ok = log.verify().ok
        log.close()
    vault.close()
    for extra in ("-wal", "-shm"):
        path.with_name(path.name + extra).unlink(missing_ok=True)
    path.write_bytes(before)
    return not ok


async def test_t25_the_services_log_shows_every_row_taken_out_altered_or_exchanged(
    vault: Vault, tmp_path: Path
) -> None:
    await service_log(vault, tmp_path)
    assert not service_finds(tmp_path)
    for number in range(1, ROWS + 1):
        assert service_finds(tmp_path, f"DELETE FROM entry WHERE sequence = {number}"), number
        body = f"UPDATE entry SET body = CAST(substr(body, 1, length(body) - 1) || x'07' AS BLOB) WHERE sequence = {number}"
        assert service_finds(tmp_path, body), number
        assert service_finds(tmp_path, f"UPDATE entry SET hash = zeroblob(32) WHERE sequence = {number}"), (
            number
        )
        if number < ROWS:
            turned = [
                f"UPDATE entry SET sequence = {old} WHERE sequence = {new}"
                for old, new in ((-1, number), (number, number + 1), (number + 1, -1))
            ]
            assert service_finds(tmp_path, *turned), number
    assert not service_finds(tmp_path)


async def test_t25_the_services_log_shows_rows_cut_off_its_end(vault: Vault, tmp_path: Path) -> None:
    await service_log(vault, tmp_path)
    for kept in range(ROWS):
        assert service_finds(tmp_path, f"DELETE FROM entry WHERE sequence > {kept}"), kept


@pytest.fixture
async def engine(tmp_path: Path) -> sa.Engine:
    engine = control_at(tmp_path / "control.db")
    entries = [
        Refusal(NOW + n, "link.tag", f"Sentence {n}.", b"device 1", b"", n) for n in range(1, ROWS + 1)
    ]
    await AuditLog(engine).refused(entries)
    return engine


def platform_finds(engine: sa.Engine, *changes: sa.Executable) -> bool:
    """Whether the platform's log shows the change; it is put back afterwards."""
    with write(engine) as connection:
        before = [dict(row) for row in connection.execute(sa.select(refusals)).mappings()]
        for change in changes:
            connection.execute(change)
    try:
        AuditLog(engine).verify()
    except DataError as error:
        return error.code == "audit.broken"
    else:
        return False
    finally:
        with write(engine) as connection:
            connection.execute(refusals.delete())
            connection.execute(refusals.insert(), before)


async def test_t25_the_platforms_log_shows_every_row_taken_out_altered_or_exchanged(
    engine: sa.Engine,
) -> None:
    def row(number: int) -> sa.ColumnElement[bool]:
        return refusals.c.id == number

    assert not platform_finds(engine)
    for number in range(1, ROWS + 1):
        if number < ROWS:
            assert platform_finds(engine, refusals.delete().where(row(number)))
        for change in (
            {"sentence": "Nothing."},
            {"at": 1},
            {"code": "x"},
            {"counter": 99},
            {"hash": bytes(32)},
        ):
            assert platform_finds(engine, refusals.update().where(row(number)).values(**change)), number
        for change in ({"previous": b"\x01" * 32}, {"device_id": b"device 2"}, {"source": "elsewhere"}):
            assert platform_finds(engine, refusals.update().where(row(number)).values(**change)), number
        if number < ROWS:
            turned = ((number, 99), (number + 1, number), (99, number + 1))
            assert platform_finds(
                engine, *(refusals.update().where(row(a)).values(id=b) for a, b in turned)
            ), number
    assert not platform_finds(engine)


def cut(engine: sa.Engine, kept: int) -> None:
    with write(engine) as connection:
        connection.execute(refusals.delete().where(refusals.c.id > kept))


async def refuse(engine: sa.Engine, count: int, at: int = 1) -> None:
    for number in range(count):
        await AuditLog(engine).refused([Refusal(NOW + at + number, "link.tag", "Another sentence.")])


async def code_of(act: Awaitable[object]) -> str:
    with pytest.raises(MetersealError) as caught:
        await act
    return caught.value.code


async def test_t25_the_platforms_log_shows_rows_cut_off_its_end(engine: sa.Engine, bench: Bench) -> None:
    """The security service knows how far the trail had come: every cut shows, written over again or not."""
    assert await TrailAnchoring(AuditLog(engine), bench.platform).look() == ROWS
    with write(engine) as connection:
        before = [dict(row) for row in connection.execute(sa.select(refusals)).mappings()]
    for kept in range(ROWS):
        for after in (0, 1, ROWS - kept, ROWS - kept + 3):
            cut(engine, kept)
            await refuse(engine, after)
            started = TrailAnchoring(AuditLog(engine), bench.platform)
            assert AuditLog(engine).verify() == kept + after  # the chain itself says nothing
            assert await code_of(started.verified()) == "audit.cut", (kept, after)
            assert await code_of(started.look()) == "audit.cut", (kept, after)
            assert (await bench.platform.trail_anchor()).rows == ROWS
            with write(engine) as connection:
                connection.execute(refusals.delete())
                connection.execute(refusals.insert(), before)
    assert await TrailAnchoring(AuditLog(engine), bench.platform).verified() == (ROWS, ROWS)


async def test_t25_rows_after_the_last_anchor_are_not_missed_when_they_are_cut(
    engine: sa.Engine, bench: Bench
) -> None:
    """What remains: the rows of the last seconds, which no anchor names yet."""
    anchoring = TrailAnchoring(AuditLog(engine), bench.platform)
    await anchoring.look()
    await refuse(engine, 2)
    assert await anchoring.verified() == (ROWS + 2, ROWS)
    cut(engine, ROWS)
    assert await anchoring.verified() == (ROWS, ROWS)


async def test_t25_a_row_put_behind_the_last_anchor_is_not_anchored(engine: sa.Engine, bench: Bench) -> None:
    """Who writes into the platform's store cannot have an entry of his own believed by waiting for the next look."""
    anchoring = TrailAnchoring(AuditLog(engine), bench.platform)
    assert await anchoring.look() == ROWS
    with write(engine) as connection:
        last = dict(connection.execute(sa.select(refusals).where(refusals.c.id == ROWS)).mappings().one())
        forged = last | {"id": ROWS + 1, "sentence": "Never happened.", "previous": last["hash"]}
        connection.execute(refusals.insert(), forged)
    assert await code_of(anchoring.look()) == "audit.broken"
    assert (await bench.platform.trail_anchor()).rows == ROWS
    cut(engine, ROWS)
    assert await anchoring.look() == ROWS


async def test_the_anchor_only_rises(bench: Bench) -> None:
    head, other = b"h" * 32, b"o" * 32
    assert (await bench.platform.trail_anchor()).rows == 0
    for rows in (1, 5):
        assert (await bench.platform.anchor_trail(rows, head)).rows == rows
    revision = bench.service.room.book.revision
    assert (await bench.platform.anchor_trail(5, head)).at == NOW
    assert bench.service.room.book.revision == revision
    bench = bench.restarted()
    for rows, said, code in (
        (4, head, "security.trail-shorter"),
        (5, other, "security.trail-changed"),
        (0, head, "security.request"),
        (-1, head, "security.request"),
        (2**48, head, "security.request"),
        (6, b"short", "security.request"),
    ):
        assert await code_of(bench.platform.anchor_trail(rows, said)) == code
        assert (await bench.refusals())[-1].code == code
    kept = await operator(bench).trail_anchor()
    assert (kept.rows, kept.head) == (5, head)
    assert await code_of(operator(bench).anchor_trail(6, head)) == "mesh.denied"
    assert await code_of(bench.headend.anchor_trail(6, head)) == "mesh.denied"


async def test_two_officers_let_a_restored_trail_begin_again(engine: sa.Engine, bench: Bench) -> None:
    anchoring = TrailAnchoring(AuditLog(engine), bench.platform)
    await anchoring.look()
    cut(engine, 4)
    an, bo = await founded(bench)
    for signers, code in (([an], "security.two-persons"), ([an, bo], "")):
        order = ordered("trail-reset", TrailReset(**fields(), reason="disk of 3 May"), signers)  # type: ignore[arg-type]
        if code:
            assert await code_of(bench.platform.submit(order)) == code
        else:
            await bench.platform.submit(order)
    empty = ordered("trail-reset", TrailReset(**fields(), reason=""), [an, bo])  # type: ignore[arg-type]
    assert await code_of(bench.platform.submit(empty)) == "security.request"
    fresh = TrailAnchoring(AuditLog(engine), bench.platform)
    assert await fresh.look() == 4
    assert await fresh.verified() == (4, 4)


class Away:
    """A way to the service that is cut until it is mended."""

    def __init__(self, security: SecuritySdk) -> None:
        self.security, self.cut, self.calls = security, True, 0

    async def anchor_trail(self, rows: int, head: bytes, trail: str) -> TrailAnchor:
        self._passes()
        return await self.security.anchor_trail(rows, head, trail)

    async def trail_anchor(self, trail: str) -> TrailAnchor:
        self._passes()
        return await self.security.trail_anchor(trail)

    def _passes(self) -> None:
        self.calls += 1
        if self.cut:
            raise EngineError("mesh.unreachable", "The way is cut.")


async def test_a_service_that_is_away_holds_up_no_refusal_and_is_told_later(
    engine: sa.Engine, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meterseal.things.anchoring.PAUSE", 0.01)
    way = Away(bench.platform)
    anchoring = TrailAnchoring(AuditLog(engine), way)
    work = asyncio.create_task(anchoring.run())
    while way.calls < 3:
        await asyncio.sleep(0.01)
    await refuse(engine, 5)
    assert await anchoring.verified() == (ROWS + 5, None)
    way.cut = False
    while (await bench.platform.trail_anchor()).rows < ROWS + 5:
        await asyncio.sleep(0.01)
    monkeypatch.setattr("meterseal.things.anchoring.PAUSE", 3600.0)
    await asyncio.sleep(0.05)
    revision = bench.service.room.book.revision
    await refuse(engine, 50, at=100)
    work.cancel()  # the end of the process says the rest, in one call
    with contextlib.suppress(asyncio.CancelledError):
        await work
    assert (await bench.platform.trail_anchor()).rows == ROWS + 55
    assert bench.service.room.book.revision == revision + 1
