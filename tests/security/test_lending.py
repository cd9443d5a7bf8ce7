"""Sessions that another's platform opens: what it takes from nobody, how long they last, what a withdrawal ends."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from meterseal.errors import ConsentError, EngineError, LocalError, MetersealError, TrustError
from meterseal.mesh.rpc import InProcess
from meterseal.security import handshake
from meterseal.security.handshake import PARTNER_RECORDS, PARTNER_SECONDS, RECORDS_ALLOWED, SECONDS_ALLOWED
from meterseal.security.platformorders import WithdrawPlatform
from meterseal.security.runs import HALF_OPEN
from meterseal.security.sdk import SecuritySdk
from meterseal.security.sdk_platforms import PartnerSdk

from .conftest import DAY, NOW, PASSPHRASE, Bench, Module
from .people import Person, fields, founded, operator, ordered
from .test_partners import enrolment


def partner(bench: Bench, name: str = "billing") -> PartnerSdk:
    return PartnerSdk(InProcess(bench.service.methods(), f"platform:{name}"))


async def enrolled(bench: Bench, *names: str) -> tuple[Person, ...]:
    people = await founded(bench)
    for name in names or ("billing",):
        await operator(bench).submit(ordered("enrol-platform", enrolment(name)[0], people))
    return people


async def withdrawn(bench: Bench, people: Iterable[Person], name: str = "billing") -> str:
    asked = WithdrawPlatform(**fields(bench.clock.now + 1000), caller=name, reason="its contract ended")  # type: ignore[arg-type]
    return (await operator(bench).submit(ordered("withdraw-platform", asked, people))).sentence


async def shaken(bench: Bench, sdk: PartnerSdk | SecuritySdk, module: Module) -> tuple[int, int]:
    """A handshake over this caller; what the module was granted: records and seconds."""
    run = module.run()
    reply = await sdk.hello(run.hello(bench.clock.now))
    given = await sdk.device(reply.session_id, run.platform(reply.message, bench.clock.now))
    session = run.session(given.message, bench.clock.now)
    return session.records_allowed, session.seconds_allowed


async def lent(bench: Bench, name: str = "billing") -> list[bytes]:
    return [one.device_id for one in (await operator(bench).lent_sessions(name)).sessions]


# --- what somebody overheard ------------------------------------------------------------------------------


async def test_an_overheard_hello_that_a_platform_shows_first_takes_the_run_from_nobody(bench: Bench) -> None:
    module = await bench.module(1)
    await enrolled(bench)
    run = module.run()
    hello = run.hello(NOW)
    taken = await partner(bench).hello(hello)
    own = await bench.headend.hello(hello)
    assert taken.session_id != own.session_id
    device = run.platform(own.message, NOW)
    with pytest.raises(TrustError) as caught:
        await partner(bench).device(own.session_id, device)
    assert caught.value.code == "link.no-run"
    reply = await bench.headend.device(own.session_id, device)
    assert run.session(reply.message, NOW).keys == reply.keys
    assert await lent(bench) == []


async def test_recorded_hellos_push_no_run_of_ours_out(bench: Bench) -> None:
    module = await bench.module(1)
    await enrolled(bench)
    recorded = [module.run().hello(NOW) for _ in range(2 * HALF_OPEN)]
    run = module.run()
    own = await bench.headend.hello(run.hello(NOW))
    for hello in recorded:
        await partner(bench).hello(hello)
    reply = await bench.headend.device(own.session_id, run.platform(own.message, NOW))
    assert run.session(reply.message, NOW).keys == reply.keys


async def test_a_platforms_runs_are_bounded_by_themselves(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshake, "PARTNER_RUNS", 4)
    modules = [await bench.module(number, 2) for number in range(1, 9)]
    await enrolled(bench, "billing", "meters")
    for module in modules:
        await bench.headend.hello(module.run().hello(NOW))
        await partner(bench).hello(module.run().hello(NOW))
    await partner(bench, "meters").hello(modules[0].run().hello(NOW))
    tables = bench.service.room.handshakes._tables
    assert {name: len(table) for name, table in tables.items()} == {
        "headend": 8,
        "platform:billing": 4,
        "platform:meters": 1,
    }


# --- what a session of its is worth -----------------------------------------------------------------------


async def test_a_platforms_session_ends_within_a_day_and_ours_does_not(bench: Bench) -> None:
    module = await bench.module(1)
    await enrolled(bench)
    assert await shaken(bench, partner(bench), module) == (PARTNER_RECORDS, PARTNER_SECONDS)
    assert await shaken(bench, bench.headend, module) == (RECORDS_ALLOWED, SECONDS_ALLOWED)
    assert 1000 * PARTNER_SECONDS == DAY


async def test_a_withdrawal_says_which_modules_seal_for_it_still_and_until_when(bench: Bench) -> None:
    first, second, third = [await bench.module(number) for number in (1, 2, 3)]
    people = await enrolled(bench)
    for module in (first, second, third):
        await shaken(bench, partner(bench), module)
        bench.clock.now += 60_000
    await shaken(bench, bench.headend, third)  # its newest session is ours now
    run = first.run()
    begun = await partner(bench).hello(run.hello(bench.clock.now))
    assert "2 modules have their newest session with it" in await withdrawn(bench, people)
    for call in (
        partner(bench).device(begun.session_id, run.platform(begun.message, bench.clock.now)),
        partner(bench).hello(second.run().hello(bench.clock.now)),
    ):
        with pytest.raises(ConsentError) as caught:
            await call
        assert caught.value.code == "security.platform-withdrawn"
    assert len(bench.service.room.handshakes._tables.get("platform:billing", ())) == 0
    assert await lent(bench) == [first.device_id, second.device_id]
    found = (await operator(bench).lent_sessions("billing")).sessions[0]
    assert (found.module_id, found.until) == (first.module_id, NOW + DAY)
    bench = bench.restarted()
    assert await lent(bench) == [first.device_id, second.device_id]
    await shaken(bench, bench.headend, first)
    assert await lent(bench) == [second.device_id]
    bench.clock.now = NOW + DAY + 60_000
    assert await lent(bench) == []
    bench = bench.restarted()
    assert await lent(bench) == []
    await enrolled_again_and_shaken(bench, people, third)
    assert [one for (one,) in bench.service.room.registry.store.rows("SELECT module_id FROM lent")] == [
        third.module_id
    ]


async def enrolled_again_and_shaken(bench: Bench, people: Iterable[Person], module: Module) -> None:
    await operator(bench).submit(
        ordered("enrol-platform", enrolment("billing-2", bench.clock.now + 1000)[0], people)
    )
    await shaken(bench, partner(bench, "billing-2"), module)


async def test_a_platform_withdrawn_after_the_backup_is_answered_nothing_before_the_restore_is_accepted(
    bench: Bench,
) -> None:
    """The backup has it enrolled: officers withdraw it again, and only then the operator lets calls go on."""
    people = await enrolled(bench, "billing", "meters")
    await bench.platform.hold_enrolment("this system was brought back from a backup")
    for _ in range(2):
        for name in ("billing", "meters"):
            with pytest.raises(ConsentError) as caught:
                await partner(bench, name).anchors()
            assert caught.value.code == "security.platform-held"
        bench = bench.restarted()
    await bench.shake(await held_module(bench))
    await withdrawn(bench, people)
    await bench.platform.accept_head()
    await partner(bench, "meters").anchors()
    with pytest.raises(ConsentError) as caught:
        await partner(bench).anchors()
    assert caught.value.code == "security.platform-withdrawn"


async def held_module(bench: Bench) -> Module:
    """A module that was enrolled before; our own head-ends go on meanwhile."""
    await bench.platform.accept_head()
    module = await bench.module(1)
    await bench.platform.hold_enrolment("this system was brought back from a backup")
    return module


async def test_a_disk_that_takes_no_writes_gives_no_session_that_is_not_written_down(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same DEVICE shown again is answered only once its session is noted, and then it is in the log."""
    module = await bench.module(1)
    await enrolled(bench)
    run = module.run()
    begun = await partner(bench).hello(run.hello(NOW))
    device = run.platform(begun.message, NOW)
    store = bench.service.room.registry.store

    def full() -> None:
        raise EngineError("security.disk-full", "The disk is full; free space.")

    with monkeypatch.context() as patch:
        patch.setattr(store, "transaction", full)
        for _ in range(2):
            with pytest.raises(EngineError):
                await partner(bench).device(begun.session_id, device)
    reply = await partner(bench).device(begun.session_id, device)
    assert run.session(reply.message, NOW).keys == reply.keys
    assert await lent(bench) == [module.device_id]
    codes = [one.entry.code for one in await operator(bench).audit(limit=1000)]
    assert codes.count("security.session") == 1


async def test_whose_sessions_are_asked_for_that_never_was(bench: Bench) -> None:
    await enrolled(bench)
    for name in ("bliling", "", "platform:bliling"):
        with pytest.raises(LocalError) as caught:
            await operator(bench).lent_sessions(name)
        assert caught.value.code == "security.platform"
    assert (await operator(bench).lent_sessions("headend")).count == 0


async def test_what_is_lent_cannot_be_taken_out_of_the_file(bench: Bench) -> None:
    """Somebody with the stopped service's disk who would hide which modules a platform still holds."""
    import sqlite3

    module = await bench.module(1)
    await enrolled(bench)
    await shaken(bench, partner(bench), module)
    bench.service.close()
    with sqlite3.connect(bench.directory / "registry.db") as connection:
        connection.execute("DELETE FROM lent")
    connection.close()
    with pytest.raises(MetersealError) as caught:
        Bench(bench.directory, bench.clock, PASSPHRASE)
    assert caught.value.code == "security.tampered"


async def test_only_who_watches_the_system_is_told_whose_modules_seal_for_whom(bench: Bench) -> None:
    await enrolled(bench)
    for caller in ("platform:billing", "headend", "web"):
        with pytest.raises(ConsentError) as caught:
            await SecuritySdk(InProcess(bench.service.methods(), caller)).lent_sessions("billing")
        assert caught.value.code == "mesh.denied"
