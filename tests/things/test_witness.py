"""What the platform remembers of the security service's log, against a service whose files are put back."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from meterseal.control import open_control, write
from meterseal.control.tables import service_heads
from meterseal.errors import EngineError
from meterseal.security.backuporders import Head
from meterseal.things.monitor import AuditLog
from meterseal.things.witness import CODE, Witness
from tests.security.conftest import Bench, Clock, bench, cheap_stretching, clock, template

__all__ = ["bench", "cheap_stretching", "clock", "template"]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    made = open_control(tmp_path / "control.db")
    yield made
    made.dispose()


def witness(engine: sa.Engine, bench: Bench) -> Witness:
    return Witness(engine, bench.platform, AuditLog(engine), bench.clock)


def codes(engine: sa.Engine) -> list[str]:
    return [entry.code for entry in AuditLog(engine).latest()]


async def test_a_log_that_goes_on_and_restarts_is_no_alarm(engine: sa.Engine, bench: Bench) -> None:
    for number in range(3):
        await bench.module(number)
        assert await witness(engine, bench).look()
        bench = bench.restarted()
        assert await witness(engine, bench).look()
    assert codes(engine) == []
    assert witness(engine, bench).seen().sequence == bench.service.room.audit.head()[0]


async def test_a_keys_directory_that_was_put_back_is_alarmed_once_and_until_it_is_accepted(
    engine: sa.Engine, bench: Bench, tmp_path: Path
) -> None:
    await bench.module(1)
    bench = bench.restarted()
    bench.service.close()
    shutil.copytree(bench.directory, tmp_path / "older")
    bench = Bench(bench.directory, bench.clock)
    await bench.module(2)
    assert await witness(engine, bench).look()
    remembered = witness(engine, bench).seen()
    bench.service.close()
    shutil.rmtree(bench.directory)
    shutil.copytree(tmp_path / "older", bench.directory)
    bench.clock.now += 1
    bench = Bench(bench.directory, bench.clock)
    for number in range(2, 6):  # the same length and more, with other entries
        assert not await witness(engine, bench).look()
        await bench.module(number)
    assert bench.service.room.audit.head()[0] > remembered.sequence
    assert codes(engine) == [CODE]
    seen = witness(engine, bench).seen()
    assert (seen.sequence, seen.hash) == (remembered.sequence, remembered.hash)
    assert seen.lost_at == bench.clock.now
    accepted = await witness(engine, bench).accept()
    assert (accepted.sequence, accepted.lost_at) == (bench.service.room.audit.head()[0], None)
    assert await witness(engine, bench).look()
    assert codes(engine) == ["security.head-accepted", CODE]


async def test_a_changed_memory_is_alarmed_too(engine: sa.Engine, bench: Bench) -> None:
    await bench.module(1)
    assert await witness(engine, bench).look()
    with write(engine) as connection:
        connection.execute(service_heads.update().values(hash=bytes(32)))
    assert not await witness(engine, bench).look()


class Away:
    """A service that comes back."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.here = bench, False

    async def audit_head(self, known: int = 0) -> Head:
        if not self.here:
            raise EngineError("mesh.unreachable", "Away.")
        return await self.bench.platform.audit_head(known)


async def test_the_end_of_the_platform_takes_a_last_look(
    engine: sa.Engine, bench: Bench, clock: Clock
) -> None:
    service = Away(bench)
    work = Witness(engine, service, AuditLog(engine), clock)
    task = asyncio.create_task(work.run())
    await asyncio.sleep(0.02)
    assert work.seen().sequence == 0
    service.here = True
    await bench.module(1)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert work.seen().sequence == bench.service.room.audit.head()[0] > 0
    assert codes(engine) == []
