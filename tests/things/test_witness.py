"""What the platform remembers of the security service's log, against a service whose files are put back."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa
from msgspec import structs

from meterseal.cli import keys_head
from meterseal.control import write
from meterseal.control.tables import concentrators, meters, premises, service_heads, usage_points
from meterseal.errors import ConsentError, EngineError, LocalError, TrustError
from meterseal.security import manifest as mf
from meterseal.security import orders as o
from meterseal.security.backuporders import Head
from meterseal.security.messages import Chained
from meterseal.security.reserveorders import Ended, Pair, ReleaseModule, Reservations
from meterseal.security.restoring import restore
from meterseal.things.enrolled import known_modules, withdrawn_modules
from meterseal.things.monitor import AuditLog
from meterseal.things.witness import CODE, Witness
from tests.control_store import control_at
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
from tests.security.people import Person, fields, founded, operator, ordered
from tests.security.test_factory import row

SECRET = b"the backup's own passphrase"

__all__ = ["bench", "cheap_stretching", "clock", "template"]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    made = control_at(tmp_path / "control.db")
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
    with pytest.raises(TrustError) as caught:
        await bench.module(2)  # the log had named it
    assert caught.value.code == "security.reserved"
    await bench.module(7)


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
    shown = "\n".join(keys_head.said(watching.seen(), await operator(bench).reservations()))
    assert "enrols nobody" in shown
    assert "keys head --accept" in shown
    thief = Module(2)
    for code in ("security.enrolment-held", "security.reserved"):
        with pytest.raises(TrustError) as caught:
            await bench.platform.personalise(thief.device_id, thief.module_id, 1, thief.key.public_point)
        assert caught.value.code == code
        accepted = await watching.accept()
        assert (accepted.lost_at, accepted.held) == (None, False)
    kept = await operator(bench).reservations()
    assert kept.reserved == 2  # the second meter's, and the concentrator
    shown = "\n".join(keys_head.said(watching.seen(), kept))
    assert "\n2 modules and devices" in shown
    assert "--accept" not in shown
    assert "2 modules" in AuditLog(engine).latest()[0].sentence
    await bench.module(3)
    await bench.shake(first)


class Restored:
    """A system that is backed up, goes on, and is brought back; the platform has looked at it before and after."""

    def __init__(self, engine: sa.Engine, bench: Bench, folder: Path, people: tuple[Person, ...]) -> None:
        self.engine, self.bench, self.folder, self.people = engine, bench, folder, people
        self.witness = witness(engine, bench)

    async def back(self) -> Bench:
        assert await self.witness.look()
        self.bench.service.close()
        restore(self.folder / "keys.backup", self.folder / "new", SECRET, PASSPHRASE, self.bench.clock.now)
        self.bench = Bench(self.folder / "new" / "keys", self.bench.clock)
        self.witness = witness(self.engine, self.bench)
        return self.bench

    def fields(self) -> dict[str, object]:
        """What a request carries that is made now; after a restore its id names that."""
        epoch = self.bench.service.room.officers.epoch
        return fields() | {"request_id": o.fresh_request_id(epoch)}

    async def produced(self, rows: tuple[mf.Row, ...], people: Sequence[Person]) -> mf.ProduceReply:
        order = mf.ProductionOrder(**self.fields(), batch="B-7", rows=len(rows), digests=(mf.digest(rows),))  # type: ignore[arg-type]
        await operator(self.bench).submit(ordered("production", order, people))
        return await operator(self.bench).produce(order.request_id, 0, rows)

    async def code_of(self, module: Module) -> str:
        """With which code this module is refused at enrolment, empty when it is enrolled."""
        try:
            await self.bench.platform.personalise(
                module.device_id, module.module_id, 1, module.key.public_point
            )
        except TrustError as error:
            return error.code
        return ""


@pytest.fixture
async def restored(engine: sa.Engine, bench: Bench, tmp_path: Path) -> Restored:
    """Module 1 is in the backup, and so are the officers."""
    people = await founded(bench)
    await bench.module(1)
    await operator(bench).backup(str(tmp_path / "keys.backup"), SECRET)
    return Restored(engine, bench, tmp_path, people)


async def test_modules_of_a_production_that_nobody_installed_are_reserved_too(restored: Restored) -> None:
    """No meter, session or concentrator of the platform names them: only the log of the service did."""
    rows = tuple(row(number) for number in (20, 21))
    made = await restored.produced(rows, restored.people[:1])
    assert len(made.answers) == 2
    await restored.back()
    assert not await restored.witness.look()
    assert await restored.code_of(Module(20)) == "security.enrolment-held"
    await restored.witness.accept()
    assert await restored.code_of(Module(20)) == "security.reserved"
    assert await restored.code_of(Module(30)) == ""


async def test_a_production_that_two_officers_sign_anew_is_the_release_of_its_rows(
    restored: Restored,
) -> None:
    """One officer's signature is not; and it is one for these points alone."""
    rows = (row(20), row(21))
    await restored.produced(rows, restored.people[:1])
    await restored.back()
    await restored.witness.look()
    await restored.witness.accept()
    alone = await restored.produced(rows, restored.people[:1])
    assert [one.code for one in alone.refused] == ["security.reserved"] * 2
    asked = mf.ProductionOrder(**restored.fields(), batch="B-8", rows=2, digests=(mf.digest(rows),))  # type: ignore[arg-type]
    await operator(restored.bench).submit(ordered("production", asked, restored.people))
    thief = structs.replace(rows[0], point=Module(20).key.public_point)
    with pytest.raises(TrustError) as caught:
        await operator(restored.bench).produce(asked.request_id, 0, (thief, rows[1]))
    assert caught.value.code == "security.manifest"
    done = await operator(restored.bench).produce(asked.request_id, 0, rows)
    assert [one.module_id for one in done.answers] == [one.module_id for one in rows]


async def test_a_module_withdrawn_after_the_backup_is_out_of_service_from_the_first_look_on(
    restored: Restored,
) -> None:
    bench = restored.bench
    stolen = await bench.module(2)
    await operator(bench).backup(str(restored.folder / "later.backup"), SECRET)
    (restored.folder / "later.backup").replace(restored.folder / "keys.backup")
    await bench.platform.withdraw(stolen.device_id, stolen.module_id)
    seen = (await bench.headend.revoked_since(0))[-1].sequence
    bench = await restored.back()
    assert bench.service.room.registry.of_device(stolen.device_id) is not None  # as the backup has it
    run = stolen.run()
    begun = await bench.headend.hello(run.hello(bench.clock.now))
    assert not await restored.witness.look()
    assert bench.service.room.registry.of_device(stolen.device_id) is None
    with pytest.raises(TrustError) as caught:
        await bench.headend.device(begun.session_id, run.platform(begun.message, bench.clock.now))
    assert caught.value.code == "link.no-run"
    with pytest.raises(TrustError) as caught:
        await bench.headend.hello(stolen.run().hello(bench.clock.now))
    assert caught.value.code == "link.withdrawn"
    # A head-end that ran on has seen the numbers of before, and hears of it all the same.
    (again,) = await bench.headend.revoked_since(seen)
    assert again.module_id == stolen.module_id
    await restored.witness.accept()
    assert len(await bench.headend.revoked_since(0)) == 1
    bench = restored.bench = bench.restarted()
    with pytest.raises(TrustError):
        await bench.headend.hello(stolen.run().hello(bench.clock.now))
    assert await restored.code_of(stolen) == "security.module-bound"


async def test_a_module_enrolled_and_withdrawn_after_the_backup_comes_back_by_no_release(
    restored: Restored,
) -> None:
    gone = await restored.bench.module(2)
    await restored.bench.platform.withdraw(gone.device_id, gone.module_id)
    bench = await restored.back()
    await restored.witness.look()
    await restored.witness.accept()
    release = ReleaseModule(
        **restored.fields(),  # type: ignore[arg-type]
        device_id=gone.device_id,
        module_id=gone.module_id,
        point=gone.key.public_point,
        reason="it was enrolled before",
    )
    await operator(bench).submit(ordered("release-module", release, restored.people))
    row_of_it = mf.Row(gone.module_id, gone.device_id, gone.key.public_point, 1)
    (refused,) = (await restored.produced((row_of_it,), restored.people)).refused
    assert refused.code == "security.withdrawn-before"
    assert await restored.code_of(gone) == "security.withdrawn-before"
    restored.bench = bench.restarted()
    assert await restored.code_of(gone) == "security.withdrawn-before"
    other = Module(3)
    other.device_id = gone.device_id
    release = structs.replace(
        release, **restored.fields(), module_id=other.module_id, point=other.key.public_point
    )
    await operator(restored.bench).submit(ordered("release-module", release, restored.people))
    assert await restored.code_of(other) == ""  # the meter gets a new module


async def test_a_second_restore_forgets_nobody_who_was_withdrawn_before_the_first(restored: Restored) -> None:
    bench = restored.bench
    first = await bench.module(2)
    await operator(bench).backup(str(restored.folder / "later.backup"), SECRET)
    (restored.folder / "later.backup").replace(restored.folder / "keys.backup")
    await bench.platform.withdraw(first.device_id, first.module_id)
    bench = await restored.back()
    await restored.witness.look()
    await restored.witness.accept()
    second = await bench.module(3)
    await bench.platform.withdraw(second.device_id, second.module_id)
    restored.bench.service.close()
    (restored.folder / "new").rename(restored.folder / "first")
    restored.bench = Bench(restored.folder / "first" / "keys", bench.clock)
    restored.witness = witness(restored.engine, restored.bench)
    bench = await restored.back()
    assert not await restored.witness.look()
    assert bench.service.room.registry.of_device(first.device_id) is None
    await restored.witness.accept()
    assert await restored.code_of(second) == "security.withdrawn-before"


async def test_a_platform_from_before_reads_the_log_from_its_beginning(
    engine: sa.Engine, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It remembers the head, and learns from a long log some at a time, whatever came in between."""
    modules = [await bench.module(number) for number in range(6)]
    watching = witness(engine, bench)
    monkeypatch.setattr("meterseal.things.witness._PAGES", 0)
    assert await watching.look()
    assert watching.seen().learned == 0
    monkeypatch.setattr("meterseal.things.witness._PAGES", 1)
    monkeypatch.setattr("meterseal.things.witness._AT_ONCE", 4)
    await bench.platform.withdraw(modules[0].device_id, modules[0].module_id)
    found = []
    for _ in range(3):
        assert await witness(engine, bench).look()
        found.append(watching.seen().learned)
    assert found[0] == 4
    assert found == sorted(found)
    assert found[-1] == watching.seen().sequence
    known = {pair.module_id for page in known_modules(engine) for pair in page}
    assert known == {one.module_id for one in modules}
    assert [pair for page in withdrawn_modules(engine) for pair in page] == [
        Pair(modules[0].device_id, modules[0].module_id)
    ]


async def test_only_the_platform_says_who_was_withdrawn_and_names_them_whole(bench: Bench) -> None:
    module = await bench.module(1)
    pair = Pair(module.device_id, module.module_id)
    for client in (bench.headend, operator(bench)):
        with pytest.raises(ConsentError) as denied:
            await client.end_modules([pair])
        assert denied.value.code == "mesh.denied"
    for wrong in ([Pair(b"", b"")], [pair] * 1001):
        with pytest.raises(LocalError) as caught:
            await bench.platform.end_modules(wrong)
        assert caught.value.code == "security.request"
    for other in ([Pair(bytes(8), module.module_id)], [Pair(module.device_id, bytes(8))], []):
        assert (await bench.platform.end_modules(other)).again == 0  # another device's, or another module
    await bench.shake(module)
    assert (await bench.platform.end_modules([pair, pair])).again == 1
    assert (await bench.platform.end_modules([pair])).again == 0


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

    async def audit(self, since: int = 0, limit: int = 100) -> tuple[Chained, ...]:
        return await self.bench.platform.audit(since, limit)

    async def end_modules(self, pairs: Sequence[Pair]) -> Ended:
        return await self.bench.platform.end_modules(pairs)

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
