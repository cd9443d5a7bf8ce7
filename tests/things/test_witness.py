"""What the platform remembers of the security service's log, against a service whose files are put back."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from meterseal.control import open_control, write
from meterseal.control.tables import concentrators, meters, premises, service_heads, usage_points
from meterseal.errors import EngineError, TrustError
from meterseal.security.backuporders import Head
from meterseal.security.reserveorders import Pair, Reservations
from meterseal.security.restoring import restore
from meterseal.things.enrolled import known_modules
from meterseal.things.monitor import AuditLog
from meterseal.things.witness import CODE, Witness
from tests.security.conftest import (
    PASSPHRASE,
    Bench,
    Clock,
    Module,
    bench,
    cheap_stretching,
    clock,
    template,
)
from tests.security.people import operator

SECRET = b"the backup's own passphrase"

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
        assert witness(engine, bench).seen().lost_at == bench.clock.now
        with pytest.raises(TrustError) as caught:
            await bench.module(number)
        assert caught.value.code == "security.enrolment-held"
    assert bench.service.room.audit.head()[0] > remembered.sequence
    assert codes(engine) == [CODE]
    seen = witness(engine, bench).seen()
    assert (seen.sequence, seen.hash) == (remembered.sequence, remembered.hash)
    assert seen.lost_at == bench.clock.now
    accepted = await witness(engine, bench).accept()
    assert (accepted.sequence, accepted.lost_at) == (bench.service.room.audit.head()[0], None)
    assert await witness(engine, bench).look()
    assert codes(engine) == ["security.head-accepted", CODE]
    await bench.module(2)


def knows(engine: sa.Engine, *modules: Module) -> None:
    """The platform's own store has these meters with their modules, and a concentrator."""
    with write(engine) as connection:
        connection.execute(premises.insert().values(id="p"))
        connection.execute(usage_points.insert().values(id="u", premises_id="p", medium="water"))
        for one in modules:
            connection.execute(
                meters.insert().values(
                    device_id=one.device_id,
                    usage_point_id="u",
                    protocol="cjt188",
                    since=0,
                    plain=False,
                    suite=1,
                    module_id=one.module_id,
                )
            )
        connection.execute(
            concentrators.insert().values(device_id=b"\xf0" + bytes(7), sealed_name=b"", key_version=1)
        )


async def test_with_the_acceptance_the_service_learns_which_modules_it_has_forgotten(
    engine: sa.Engine, bench: Bench, tmp_path: Path
) -> None:
    """Module 2 was enrolled after the backup: nobody gets its keys with a point of their own after the restore."""
    first = await bench.module(1)
    await operator(bench).backup(str(tmp_path / "keys.backup"), SECRET)
    later = await bench.module(2)
    knows(engine, first, later)
    assert await witness(engine, bench).look()
    bench.service.close()
    restore(tmp_path / "keys.backup", tmp_path / "new", SECRET, PASSPHRASE, bench.clock.now)
    bench = Bench(tmp_path / "new" / "keys", bench.clock)
    watching = witness(engine, bench)
    assert not await watching.look()
    assert watching.seen().held
    thief = Module(2)
    for code in ("security.enrolment-held", "security.reserved"):
        with pytest.raises(TrustError) as caught:
            await bench.platform.personalise(thief.device_id, thief.module_id, 1, thief.key.public_point)
        assert caught.value.code == code
        accepted = await watching.accept()
        assert (accepted.lost_at, accepted.held) == (None, False)
    assert (await bench.platform.reservations()).reserved == 2  # the second meter's, and the concentrator
    assert "2 modules" in AuditLog(engine).latest()[0].sentence
    await bench.module(3)
    await bench.shake(first)


async def test_the_list_of_modules_comes_in_pages(engine: sa.Engine) -> None:
    many = [Module(number) for number in range(3)]
    knows(engine, *many)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("meterseal.things.enrolled.PAGE", 3)
        pages = list(known_modules(engine))
    assert [len(page) for page in pages] == [3, 1]
    found = {(pair.device_id, pair.module_id) for page in pages for pair in page}
    assert found == {(one.device_id, one.module_id) for one in many} | {(b"\xf0" + bytes(7), b"")}


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

    async def hold_enrolment(self, reason: str) -> Reservations:
        return await self.bench.platform.hold_enrolment(reason)

    async def reserve_modules(self, pairs: Sequence[Pair]) -> Reservations:
        return await self.bench.platform.reserve_modules(pairs)

    async def accept_head(self) -> Reservations:
        return await self.bench.platform.accept_head()


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
