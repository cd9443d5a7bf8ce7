"""Handshakes with the service: both suites, repeats, limits, and attacks named after what they try."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from msgspec import structs

from meterseal.crypto.expose import expose
from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.errors import EngineError, MetersealError, PeerError, TrustError
from meterseal.link import messages as wire
from meterseal.security.runs import HALF_OPEN

from .conftest import DAY, NOW, Bench, Module

MINUTE = 60_000


@pytest.mark.parametrize("suite", [1, 2])
async def test_both_sides_end_with_the_same_keys(bench: Bench, suite: int) -> None:
    module = await bench.module(1, suite)
    session, reply = await bench.shake(module)
    assert session.keys == reply.keys
    assert session.session_id == reply.session_id
    assert (session.records_allowed, session.seconds_allowed) == (
        reply.records_allowed,
        reply.seconds_allowed,
    )
    assert session.policy == reply.policy == 2
    assert session.clock == bench.clock.now
    assert (reply.device_id, reply.module_id, reply.suite) == (module.device_id, module.module_id, suite)


async def test_a_session_is_taken_up_by_another_headend_after_a_restart(bench: Bench) -> None:
    _, reply = await bench.shake(await bench.module(1))
    again = bench.restarted()
    assert await again.headend.unwrap(reply.session_id, reply.device_id, reply.wrapped) == reply.keys


@pytest.mark.parametrize("what", ["session", "device", "byte", "cut", "empty"])
async def test_wrapped_keys_open_only_in_their_place(bench: Bench, what: str) -> None:
    _, reply = await bench.shake(await bench.module(1))
    session_id, device_id, wrapped = reply.session_id, reply.device_id, reply.wrapped
    if what == "session":
        session_id = bytes(8)
    elif what == "device":
        device_id = bytes(8)
    elif what == "byte":
        wrapped = wrapped[:-1] + bytes((wrapped[-1] ^ 1,))
    else:
        wrapped = wrapped[:10] if what == "cut" else b""
    with pytest.raises(TrustError) as caught:
        await bench.headend.unwrap(session_id, device_id, wrapped)
    assert caught.value.code == "security.wrapped"


async def test_the_same_hello_and_device_get_the_same_bytes_for_15_minutes(bench: Bench) -> None:
    module = await bench.module(1)
    run = module.run()
    hello = run.hello(NOW)
    first = await bench.headend.hello(hello)
    bench.clock.now += 10 * MINUTE
    assert await bench.headend.hello(hello) == first
    device = run.platform(first.message, NOW)
    granted = await bench.headend.device(first.session_id, device, gathered=True)
    used = {facts.id: facts.used for facts in (await bench.platform.usage()).keys}
    assert await bench.headend.device(first.session_id, device, gathered=True) == granted
    assert await bench.headend.hello(hello) == first
    after = {facts.id: facts.used for facts in (await bench.platform.usage()).keys}
    assert after["DIAK"] == used["DIAK"]
    bench.clock.now += 6 * MINUTE
    with pytest.raises(TrustError) as caught:
        await bench.headend.device(first.session_id, device, gathered=True)
    assert caught.value.code == "link.no-run"
    assert (await bench.headend.hello(hello)).message != first.message


async def test_another_device_message_after_a_good_one_is_refused(bench: Bench) -> None:
    module = await bench.module(1)
    run = module.run()
    first = await bench.headend.hello(run.hello(NOW))
    device = run.platform(first.message, NOW)
    await bench.headend.device(first.session_id, device)
    with pytest.raises(TrustError) as caught:
        await bench.headend.device(first.session_id, device[:-1] + bytes((device[-1] ^ 1,)))
    assert caught.value.code == "link.order"


async def test_a_fourth_half_open_run_takes_the_place_of_the_oldest(bench: Bench) -> None:
    module = await bench.module(1)
    runs = [module.run() for _ in range(HALF_OPEN + 1)]
    replies = [await bench.headend.hello(run.hello(NOW)) for run in runs]
    devices = [run.platform(reply.message, NOW) for run, reply in zip(runs, replies, strict=True)]
    with pytest.raises(TrustError) as caught:
        await bench.headend.device(replies[0].session_id, devices[0])
    assert caught.value.code == "link.no-run"
    for reply, device in list(zip(replies, devices, strict=True))[1:]:
        assert (await bench.headend.device(reply.session_id, device)).device_id == module.device_id


async def test_the_table_of_runs_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from meterseal.security import handshake

    monkeypatch.setattr(handshake, "MOST_RUNS", 8)
    modules = [await bench.module(number, 2) for number in range(1, 13)]
    for module in modules:
        await bench.headend.hello(module.run().hello(NOW))
    assert len(bench.service.room.handshakes) == 8
    table = bench.service.room.handshakes._tables["headend"]
    assert len(table._by_hello) == 8
    assert sum(len(runs) for runs in table._half_open.values()) == 8
    bench.clock.now += 16 * MINUTE
    await bench.shake(modules[0])
    table = bench.service.room.handshakes._tables["headend"]
    assert len(table) == len(table._by_hello) == 1
    assert table._half_open == {}


async def refused(bench: Bench, message: bytes) -> MetersealError:
    """The refusal of a HELLO, which must be in the audit log with its reason."""
    with pytest.raises((TrustError, PeerError)) as caught:
        await bench.headend.hello(message, "attacker")
    logged = (await bench.refusals())[-1]
    assert (logged.code, logged.sentence) == (caught.value.code, caught.value.message)
    assert logged.source == "attacker"
    assert len(bench.service.room.handshakes) == 0
    return caught.value


async def test_a_module_copied_to_another_meter(bench: Bench) -> None:
    module = await bench.module(1)
    other = await bench.module(2)
    error = await refused(bench, module.run(device_id=other.device_id).hello(NOW))
    assert error.code == "link.module-copied"
    assert module.device_id.hex() in error.message
    assert other.device_id.hex() in error.message


async def test_a_module_that_nobody_enrolled(bench: Bench) -> None:
    known = await bench.module(1)
    stranger = Module(9)
    stranger.given, stranger.k_bound = known.given, known.k_bound
    assert (await refused(bench, stranger.run().hello(NOW))).code == "link.unknown-module"


async def test_a_wrong_key(bench: Bench) -> None:
    module = await bench.module(1)
    module.k_bound = SymmetricKey.generate("guessed")
    assert (await refused(bench, module.run().hello(NOW))).code == "link.hello-mac"


async def test_a_key_version_that_is_not_the_enrolled_one(bench: Bench) -> None:
    module = await bench.module(1)
    error = await refused(bench, module.run(key_version=2).hello(NOW))
    assert error.code == "link.key-version"
    assert "version 2" in error.message


async def test_a_downgrade_to_suite_2(bench: Bench) -> None:
    module = await bench.module(1)
    assert (await refused(bench, module.run(suite=2, chain=()).hello(NOW))).code == "link.suite"


async def test_an_upgrade_to_suite_1_by_a_suite_2_module(bench: Bench) -> None:
    module = await bench.module(1, 2)
    assert (await refused(bench, module.run(suite=1).hello(NOW))).code == "link.suite"


async def test_a_withdrawn_module_and_its_half_open_run(bench: Bench) -> None:
    module = await bench.module(1)
    run = module.run()
    reply = await bench.headend.hello(run.hello(NOW))
    await bench.platform.withdraw(module.device_id, module.module_id)
    with pytest.raises(TrustError) as caught:
        await bench.headend.device(reply.session_id, run.platform(reply.message, NOW))
    assert caught.value.code == "link.no-run"
    assert (await refused(bench, module.run().hello(NOW))).code == "link.withdrawn"
    lists = (await bench.platform.anchors()).lists
    from cryptography import x509

    assert module.given is not None
    serial = x509.load_der_x509_certificate(module.given.chain[0]).serial_number
    assert x509.load_der_x509_crl(lists[2]).get_revoked_certificate_by_serial_number(serial) is not None


async def test_a_hello_with_any_one_bit_changed(bench: Bench) -> None:
    module = await bench.module(1, 2)
    hello = module.run().hello(NOW)
    for bit in range(0, len(hello) * 8, 5):
        changed = bytearray(hello)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises((TrustError, PeerError)):
            await bench.headend.hello(bytes(changed))
    assert len(bench.service.room.handshakes) == 0


async def test_a_device_message_with_any_one_bit_changed(bench: Bench) -> None:
    module = await bench.module(1, 2)
    run = module.run()
    reply = await bench.headend.hello(run.hello(NOW))
    device = run.platform(reply.message, NOW)
    used = bench.service.room.keys.facts("DIAK", 1).used
    for bit in range(0, len(device) * 8, 3):
        changed = bytearray(device)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises((TrustError, PeerError)):
            await bench.headend.device(reply.session_id, bytes(changed))
    assert bench.service.room.keys.facts("DIAK", 1).used == used
    assert (await bench.headend.device(reply.session_id, device)).module_id == module.module_id


async def credential_refused(
    bench: Bench, module: Module, change: Callable[[Module], None]
) -> MetersealError:
    """The refusal of a DEVICE whose maker has the bound key but not a credential that holds."""
    change(module)
    run = module.run()
    reply = await bench.headend.hello(run.hello(NOW))
    with pytest.raises(TrustError) as caught:
        await bench.headend.device(reply.session_id, run.platform(reply.message, NOW))
    return caught.value


async def test_a_stolen_bound_key_without_the_modules_private_key(bench: Bench) -> None:
    def forget_key(module: Module) -> None:
        module.key = Sm2PrivateKey.generate("another")

    assert (await credential_refused(bench, await bench.module(1), forget_key)).code == "link.signature"


async def test_a_stolen_bound_key_with_another_modules_certificate(bench: Bench) -> None:
    other = await bench.module(2)

    def borrow(module: Module) -> None:
        assert module.given is not None
        assert other.given is not None
        module.given = structs.replace(module.given, chain=other.given.chain)
        module.key = other.key

    assert (await credential_refused(bench, await bench.module(1), borrow)).code == "link.identity"


async def test_the_platforms_own_chain_shown_as_a_device(bench: Bench) -> None:
    anchors = await bench.platform.anchors()

    def reflect(module: Module) -> None:
        assert module.given is not None
        module.given = structs.replace(module.given, chain=anchors.platform_chain)

    assert (await credential_refused(bench, await bench.module(1), reflect)).code == "link.chain"


@pytest.mark.parametrize(
    ("gathered", "later", "code"),
    [
        (False, 9_000, ""),
        (False, 11_000, ""),
        (False, 30_000, ""),
        (False, 30_001, "link.time-out"),
        (False, 14 * MINUTE, "link.time-out"),
        (False, 16 * MINUTE, "link.no-run"),
        (True, 9_000, ""),
        (True, 11_000, ""),
        (True, 14 * MINUTE, ""),
        (True, 16 * MINUTE, "link.no-run"),
    ],
)
async def test_a_device_held_back_is_refused_beyond_the_time_out_of_the_way_it_came(
    bench: Bench, gathered: bool, later: int, code: str
) -> None:
    run = (await bench.module(1)).run()
    reply = await bench.headend.hello(run.hello(NOW))
    device = run.platform(reply.message, NOW)
    bench.clock.now += later
    if not code:
        assert await bench.headend.device(reply.session_id, device, gathered=gathered)
        return
    with pytest.raises(TrustError) as caught:
        await bench.headend.device(reply.session_id, device, gathered=gathered)
    assert caught.value.code == code


async def test_a_copy_that_came_straight_and_too_late_ends_no_gathered_run(bench: Bench) -> None:
    """Who overhears a bus and sends what he hears over IP shortens nobody's time."""
    run = (await bench.module(1)).run()
    hello = run.hello(NOW)
    reply = await bench.headend.hello(hello, "attacker")
    assert await bench.headend.hello(hello, "concentrator") == reply
    device = run.platform(reply.message, NOW)
    bench.clock.now += MINUTE
    with pytest.raises(TrustError, match="too late"):
        await bench.headend.device(reply.session_id, device)
    assert await bench.headend.device(reply.session_id, device, gathered=True)


async def test_devices_of_two_modules_swapped_between_runs(bench: Bench) -> None:
    runs = [(await bench.module(number)).run() for number in (1, 2)]
    replies = [await bench.headend.hello(run.hello(NOW)) for run in runs]
    devices = [run.platform(reply.message, NOW) for run, reply in zip(runs, replies, strict=True)]
    for index in (0, 1):
        with pytest.raises(TrustError) as caught:
            await bench.headend.device(replies[index].session_id, devices[1 - index])
        assert caught.value.code == "link.session"
    assert await bench.headend.device(replies[0].session_id, devices[0])


async def test_a_platform_message_reflected_as_a_hello(bench: Bench) -> None:
    run = (await bench.module(1)).run()
    reply = await bench.headend.hello(run.hello(NOW))
    with pytest.raises(PeerError):
        await bench.headend.hello(reply.message)
    with pytest.raises(PeerError):
        await bench.headend.device(reply.session_id, reply.message)


async def test_a_point_that_is_not_on_the_curve(bench: Bench) -> None:
    module = await bench.module(1)

    class OffCurve:
        public_point = b"\x04" + bytes(63) + b"\x07"

        def agree(self, peer_point: bytes) -> bytes:
            return bytes(32)

    module.ephemeral = OffCurve  # type: ignore[assignment,method-assign]
    assert (await refused(bench, module.run().hello(NOW))).code == "link.point"


async def test_an_ended_platform_certificate_answers_nobody(bench: Bench) -> None:
    module = await bench.module(1)
    bench.clock.now = NOW + 26 * 365 * DAY
    error = await refused(bench, module.run().hello(NOW))
    assert error.code == "security.platform-ended"


async def test_a_meter_after_a_year_of_renewals(bench: Bench) -> None:
    module = await bench.module(1)
    for _ in range(24):
        bench.clock.now += 16 * DAY
        session, reply = await bench.shake(module)
        assert session.keys == reply.keys


async def test_the_key_is_used_up_at_its_limit_and_no_session_comes_out(bench: Bench) -> None:
    module = await bench.module(1)
    entry = bench.service.room.keys._entries["DIAK", 1]
    entry.limit = entry.used + 2
    for _ in range(2):
        await bench.shake(module)
    run = module.run()
    reply = await bench.headend.hello(run.hello(NOW))
    device = run.platform(reply.message, NOW)
    for _ in range(2):
        with pytest.raises(TrustError) as caught:
            await bench.headend.device(reply.session_id, device)
        assert caught.value.code == "security.limit"
    entry.limit += 1
    assert await bench.headend.device(reply.session_id, device)


async def test_uses_equal_handshakes_and_every_session_is_in_the_log(bench: Bench) -> None:
    modules = [await bench.module(number, 1 + number % 2) for number in range(1, 9)]
    before = {facts.id: facts.used for facts in (await bench.platform.usage()).keys}
    await asyncio.gather(*(bench.shake(module) for module in modules))
    after = {facts.id: facts.used for facts in (await bench.platform.usage()).keys}
    assert after["DIAK"] - before["DIAK"] == 8
    assert after["WRAP-SESSION"] - before["WRAP-SESSION"] == 8
    assert after["PLATFORM"] - before["PLATFORM"] == 4  # suite 1 alone is signed
    logged = [one.entry for one in await bench.platform.audit(limit=1000)]
    assert sum(entry.code == "security.session" for entry in logged) == 8
    assert (await bench.platform.verify_audit()).ok


async def test_a_full_disk_gives_no_session_and_the_repeat_gives_it_once_there_is_room(bench: Bench) -> None:
    module = await bench.module(1)
    run = module.run()
    reply = await bench.headend.hello(run.hello(NOW))
    device = run.platform(reply.message, NOW)
    bench.service.room.audit._store._connection.execute("PRAGMA query_only=ON")  # the file takes no writes
    with pytest.raises(EngineError) as caught:
        await bench.headend.device(reply.session_id, device)
    assert caught.value.code == "security.read-only"
    bench.service.room.audit._store._connection.execute("PRAGMA query_only=OFF")
    granted = await bench.headend.device(reply.session_id, device)
    assert run.session(granted.message, NOW).keys == granted.keys
    logged = [one.entry.code for one in await bench.platform.audit(limit=1000)]
    assert logged.count("security.session") == 1


async def test_any_bytes_are_refused_and_never_a_fault(bench: Bench) -> None:
    import random

    chance = random.Random(2)
    seeds = [(await bench.module(1)).run().hello(NOW), b"MS\x01\x01\x00\x00", b""]
    for _ in range(300):
        message = bytearray(chance.choice(seeds))
        for _ in range(chance.randrange(1, 6)):
            where = chance.randrange(len(message) + 1)
            message[where : where + chance.randrange(3)] = chance.randbytes(chance.randrange(4))
        if bytes(message) in seeds[:1]:
            continue
        for call in (bench.headend.hello(bytes(message)), bench.headend.device(bytes(8), bytes(message))):
            with pytest.raises((TrustError, PeerError)):
                await call


async def test_the_secrets_of_a_session_print_nowhere(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    module = await bench.module(1)
    _, reply = await bench.shake(module)
    shown = repr(reply) + repr(bench.service.room.handshakes.__dict__) + "".join(capfd.readouterr())
    for secret in (reply.keys.up_enc, reply.keys.down_mac, expose(module.k_bound)):
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown


def test_the_wire_has_no_answer_for_a_refusal() -> None:
    """There is no message type by which the platform could say why: HELLO, PLATFORM, DEVICE, SESSION,
    RETRY.
    """
    assert sorted(wire.KINDS.values()) == ["DEVICE", "HELLO", "PLATFORM", "RETRY", "SESSION"]
