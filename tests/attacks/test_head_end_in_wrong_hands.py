"""LINK section 6: a head-end in wrong hands.

The attacker has all that the process has: its identity toward security service and platform, every call that these admit
from it, the traffic keys of its sessions, every message that passes. It therefore reads and drops what passes, holds back
and repeats, and can commit interval readings that no meter sent; the last test shows that the meter's own evidence tells
those from what it measured. It makes no evidence, no command and no session for another, gets no key that outlives a
session, and nothing that it does outlives its removal: each conversation begins and ends with an honest one.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from msgspec import structs

from meterseal.app.links import RemoteSessions
from meterseal.bus.local import LocalBus
from meterseal.crypto.handles import SymmetricKey
from meterseal.crypto.sm2 import Sm2PrivateKey
from meterseal.edge.image import state_from_bytes
from meterseal.edge.nv import SealedNv
from meterseal.errors import ConsentError, MetersealError, PeerError, TrustError
from meterseal.headend.ports import StoredSession
from meterseal.link import commands, control, evidence, messages, records, schedule
from meterseal.link.schedule import TrafficKeys, bound_keys
from meterseal.mesh.rpc import Empty, InProcess
from meterseal.model import Batch, Evidence, Opened, Series
from meterseal.security import messages as m
from meterseal.security.sdk import SecuritySdk
from meterseal.wire import encode
from tests.attacks.whole import (
    DAY,
    DAYS,
    ELECTRIC,
    HOUR,
    MASTER,
    SEALED,
    SINCE,
    STORAGE,
    SUITES,
    WATER,
    Device,
    Whole,
    serial,
)

YEARS = 10 * 365 * DAY


class Stolen:
    """Everything that a head-end has."""

    def __init__(self, whole: Whole) -> None:
        self.whole = whole
        self.keys = SecuritySdk(InProcess(whole.offered["keys"], "headend"))
        self.sessions = RemoteSessions(InProcess(whole.offered["platform"], "headend"))
        self.bus = LocalBus(InProcess(whole.offered["platform"], "headend"))

    async def session(self, session_id: bytes) -> tuple[StoredSession, TrafficKeys]:
        """A session with its traffic keys."""
        facts = await self.sessions.get(session_id)
        assert facts is not None
        return facts, await self.keys.unwrap(facts.session_id, facts.device_id, facts.wrapped)

    async def commit(self, device: Device, counter: int, **content: object) -> None:
        """Commit a record that no meter sent."""
        facts, _ = await self.session(device.chip.state().session_id)
        await self.bus.publish(
            Batch(
                (
                    Opened(
                        session_id=facts.session_id,
                        counter=counter,
                        device_id=facts.device_id,
                        module_id=facts.module_id,
                        suite=facts.suite,
                        origin="sealed",
                        received_at=self.whole.clock.now,
                        digest=os.urandom(32),
                        **content,
                    ),
                )
            )
        )


def keys_inside(device: Device) -> schedule.BoundKeys:
    """K_auth … of a module, for the test to compare with; no attacker has them."""
    image = SealedNv(device.nv, STORAGE, serial(device.device_id)).read("state")
    assert image is not None
    state = state_from_bytes(image)
    return bound_keys(SymmetricKey.from_bytes(state.bound_keys[state.key_version], "K_b"))


def statement(device: Device, sequence: int = 1, register: int = 1, day: int = 1) -> bytes:
    return evidence.EvidenceStatement(
        device.device_id, 1, SINCE + day * DAY, register, -2, 0x2C, 0, sequence, bytes(32)
    ).pack()


@asynccontextmanager
async def sane(whole: Whole, device: Device) -> AsyncIterator[Stolen]:
    """An honest handshake first, and everything delivered, proved and one session in force at the end."""
    await whole.shake(device)
    yield Stolen(whole)
    whole.clock.now += 20 * 60_000
    device.repower()
    await whole.deliver(device)
    counts = await whole.counts()
    assert counts.evidence_good == DAYS
    latest = await whole.latest(device.device_id)
    assert latest is not None
    assert latest.session_id == device.chip.state().session_id


@pytest.fixture(params=SEALED, ids=["suite-1", "suite-2"])
def device(request: pytest.FixtureRequest, devices: dict[bytes, Device]) -> Device:
    return devices[request.param]


async def test_it_makes_no_evidence(whole: Whole, device: Device) -> None:
    async with sane(whole, device) as stolen:
        own = Sm2PrivateKey.generate("the attacker's key")
        forged = statement(device, register=999_999)
        signatures = [
            os.urandom(64),
            os.urandom(32),
            bytes(64),
            bytes(32),
            own.sign(evidence.signed_bytes(forged)),
        ]
        for counter, signature in enumerate(signatures, 2**40):
            await stolen.commit(device, counter, evidence=(Evidence(device.device_id, forged, signature),))
        with pytest.raises(PeerError):
            await stolen.commit(device, 2**41, evidence=(Evidence(device.device_id, forged, b""),))
        assert (await whole.counts()).evidence_good == 0


async def test_a_forged_statement_does_not_take_the_place_of_the_true_one(
    whole: Whole, device: Device
) -> None:
    """Committed first, under the sequences that the meter will use: when the true ones come, they count."""
    async with sane(whole, device) as stolen:
        for sequence in range(1, DAYS + 1):
            forged = Evidence(device.device_id, statement(device, sequence, day=sequence), os.urandom(64))
            await stolen.commit(device, 2**40 + sequence, evidence=(forged,))
        counts = await whole.counts()
        assert (counts.evidence, counts.evidence_good) == (DAYS, 0)


async def test_it_gives_no_meter_the_evidence_of_another(whole: Whole, devices: dict[bytes, Device]) -> None:
    donor = devices[ELECTRIC]
    async with sane(whole, devices[WATER]) as stolen:
        await whole.shake(donor)
        sequence = donor.chip.sign(next_freeze(donor))
        sealed = donor.chip.seal_evidence(1, sequence, whole.clock.now)
        _, keys = await stolen.session(sealed.session_id)
        header = records.parse_header(sealed.record)
        proof = control.read_evidence(
            control.open_control(keys, header, sealed.record).content, SUITES[ELECTRIC]
        )
        moved = WATER + proof.statement[8:]
        await stolen.commit(devices[WATER], 2**40, evidence=(Evidence(WATER, moved, proof.signature),))
        assert (await whole.counts()).evidence_good == 0


def next_freeze(device: Device):  # type: ignore[no-untyped-def]
    from meterseal.edge.chip import Freeze

    readings = device.meter.readings
    hours = [(at, readings.register(1, at)) for at in range(SINCE + HOUR, SINCE + DAY + 1, HOUR)]
    return Freeze(1, SINCE + DAY, hours[-1][1], -2, device.meter.unit, 0, tuple(hours))


async def test_it_makes_no_command(whole: Whole, device: Device) -> None:
    async with sane(whole, device) as stolen:
        session_id, now = device.chip.state().session_id, whole.clock.now
        _, keys = await stolen.session(session_id)
        shut = encode.valve_request(WATER, opened=False).encode()
        frame = shut if device.device_id == WATER else write_of(device)
        guess = SymmetricKey.generate("the attacker's key")
        tries = [os.urandom(16), bytes(16), commands.authorise(guess, device.device_id, 1, now + HOUR, frame)]
        down = 1_000
        for authorisation in tries:
            down += 1
            record = commands.seal_guarded(
                keys,
                session_id,
                down,
                number=1,
                not_after=now + HOUR,
                authorisation=authorisation,
                frame=frame,
            )
            with pytest.raises(TrustError):
                device.chip.open(record, now)
        unguarded = records.seal_record(keys, session_id, down + 1, [frame], up=False)
        with pytest.raises(TrustError):
            device.chip.open(unguarded, now)
        assert device.chip.state().command_number == 0


def write_of(device: Device) -> bytes:
    """A write of whatever this protocol has, in clear."""
    from meterseal.wire.frame import Frame

    protocol, meter_type, address = ("dlt645", 0, device.meter.wire_address)
    return Frame(protocol, meter_type, address, 0x14, bytes(12)).encode()  # type: ignore[arg-type]


async def test_an_authorisation_fits_no_other_frame_number_time_or_device(
    whole: Whole, devices: dict[bytes, Device]
) -> None:
    """What the service authorised once, taken apart and put together in every other way."""
    device = devices[WATER]
    async with sane(whole, device) as stolen:
        session_id, now = device.chip.state().session_id, whole.clock.now
        _, keys = await stolen.session(session_id)
        shut, open_ = (encode.valve_request(WATER, opened=flag).encode() for flag in (False, True))
        until = now + HOUR
        good = commands.authorise(keys_inside(device).command, WATER, 7, until, shut)
        foreign = commands.authorise(keys_inside(devices[MASTER]).command, WATER, 7, until, shut)
        wrong = [
            (8, until, good, shut),
            (7, until + 1, good, shut),
            (7, until, good, open_),
            (7, until, foreign, shut),
        ]
        for down, (number, not_after, authorisation, frame) in enumerate(wrong, 500):
            record = commands.seal_guarded(
                keys,
                session_id,
                down,
                number=number,
                not_after=not_after,
                authorisation=authorisation,
                frame=frame,
            )
            with pytest.raises(TrustError):
                device.chip.open(record, now)
        honest = commands.seal_guarded(
            keys, session_id, 600, number=7, not_after=until, authorisation=good, frame=shut
        )
        assert device.chip.open(honest, now).frames == (shut,)
        again = commands.seal_guarded(
            keys, session_id, 601, number=7, not_after=until, authorisation=good, frame=shut
        )
        assert device.chip.open(again, now).frames == ()


async def test_it_answers_no_hello_itself(whole: Whole, device: Device) -> None:
    """Its own N_p, session id, key, chain: a PLATFORM that the service did not make is refused."""
    async with sane(whole, device) as stolen:
        now = whole.clock.now
        hello = device.chip.hello(now)
        true = messages.parse_platform((await stolen.keys.hello(hello, "stolen")).message)
        for at in (*range(6, true.chain_at), true.chain_at, true.signature_at, len(true.message) - 1):
            changed = bytearray(true.message)
            changed[at] ^= 1
            with pytest.raises(TrustError):
                device.chip.platform(bytes(changed), now)
        own = Sm2PrivateKey.generate("the attacker's key")
        head, chain_at = messages.platform_up_to_signature(
            true.suite,
            os.urandom(8),
            os.urandom(32),
            true.key_version,
            own.public_point if true.point else b"",
            true.chain,
        )
        assert chain_at
        forged = head + (own.sign(b"ms1 platform\x00" + bytes(32)) if true.point else b"") + os.urandom(32)
        with pytest.raises(TrustError):
            device.chip.platform(forged, now)
        assert device.chip.platform(true.message, now)


async def test_it_chooses_no_nonce_and_no_session_id(whole: Whole, device: Device) -> None:
    """The service takes HELLO and DEVICE whole and nothing else; asked again it says the same."""
    async with sane(whole, device) as stolen:
        hello = device.chip.hello(whole.clock.now)
        said = {(await stolen.keys.hello(hello, f"way {at}")).message for at in range(5)}
        assert len(said) == 1
        assert set(m.HelloRequest.__struct_fields__) & {"nonce", "session_id", "seed", "point"} == set()
        (platform,) = said
        reply = await stolen.keys.hello(hello)
        sealed = device.chip.platform(platform, whole.clock.now)
        with pytest.raises(TrustError):
            await stolen.keys.device(os.urandom(8), sealed)
        assert messages.session_id_of(sealed) == reply.session_id
        granted = await stolen.keys.device(reply.session_id, sealed)
        assert granted.session_id == reply.session_id


async def test_it_gets_nothing_before_the_device_has_proved_itself(whole: Whole, device: Device) -> None:
    """Between HELLO and DEVICE: neither ES nor any key of the run nor the seed is in what the service answers."""
    async with sane(whole, device) as stolen:
        now = whole.clock.now
        hello = messages.parse_hello(device.chip.hello(now))
        reply = await stolen.keys.hello(hello.encode())
        packed = msgspec.msgpack.encode(reply)
        nonce = messages.parse_platform(reply.message).nonce
        exchange = schedule.exchange_secret(keys_inside(device).link, hello.nonce, nonce)
        assert exchange not in packed
        assert schedule.handshake_secret(exchange, schedule.NO_AGREEMENT) not in packed
        assert set(m.PlatformReply.__struct_fields__) == {
            "message",
            "session_id",
            "device_id",
            "module_id",
            "suite",
        }
        good = device.chip.platform(reply.message, now)
        for at in (0, 6, 14, len(good) // 2, len(good) - 1):
            wrong = bytearray(good)
            wrong[at] ^= 0x80
            with pytest.raises(MetersealError):
                await stolen.keys.device(reply.session_id, bytes(wrong))


async def test_a_device_message_opens_one_session_however_often_it_is_shown(
    whole: Whole, device: Device
) -> None:
    async with sane(whole, device) as stolen:
        now = whole.clock.now
        first = await stolen.keys.hello(device.chip.hello(now))
        sealed = device.chip.platform(first.message, now)
        granted = await stolen.keys.device(first.session_id, sealed)
        assert await stolen.keys.device(first.session_id, sealed) == granted
        second = await stolen.keys.hello(device.chip.hello(now))
        for session_id in (second.session_id, os.urandom(8)):
            with pytest.raises(TrustError):
                await stolen.keys.device(session_id, sealed)
        whole.clock.now += 16 * 60_000
        with pytest.raises(TrustError):
            await stolen.keys.device(first.session_id, sealed)
        await whole.crash_keys()
        with pytest.raises(TrustError):
            await Stolen(whole).keys.device(first.session_id, sealed)


async def test_it_moves_no_session_to_another_device(whole: Whole, devices: dict[bytes, Device]) -> None:
    """Wrapped keys open for their own session and device alone, in the service and in the store."""
    water, electric = devices[WATER], devices[ELECTRIC]
    async with sane(whole, water) as stolen:
        own = await whole.shake(electric)
        facts, _ = await stolen.session(own)
        for session_id, device_id in ((own, WATER), (os.urandom(8), ELECTRIC), (os.urandom(8), WATER)):
            with pytest.raises(TrustError):
                await stolen.keys.unwrap(session_id, device_id, facts.wrapped)
        with pytest.raises(TrustError):
            await stolen.sessions.put(structs.replace(facts, device_id=WATER))


async def test_a_false_session_in_the_store_shuts_no_device_out(whole: Whole, device: Device) -> None:
    """It can store a session that nobody holds; the true one goes on until the next handshake heals it."""
    async with sane(whole, device) as stolen:
        facts, _ = await stolen.session(device.chip.state().session_id)
        false = structs.replace(
            facts, session_id=os.urandom(8), wrapped=os.urandom(200), created_at=whole.clock.now
        )
        await stolen.sessions.put(false)
        ping = device.chip.seal_control(control.PING, whole.clock.now)
        assert await whole.send(ping.record)
        await whole.shake(device)


async def test_a_false_session_from_the_future_is_replaced_by_the_next_true_one(
    whole: Whole, device: Device
) -> None:
    """Stored with a time that never comes and taken into use: the device's next session is the newest all the same."""
    async with sane(whole, device) as stolen:
        facts, _ = await stolen.session(device.chip.state().session_id)
        false = structs.replace(
            facts, session_id=os.urandom(8), wrapped=facts.wrapped[:2] + os.urandom(200), created_at=1 << 62
        )
        await stolen.sessions.put(false)
        await stolen.sessions.reserve_down(false.session_id, 1)
        whole.clock.now += 60_000
        await whole.shake(device)
        ping = device.chip.seal_control(control.PING, whole.clock.now)
        assert await whole.send(ping.record)
        latest = await whole.latest(device.device_id)
        assert latest is not None
        assert latest.session_id == device.chip.state().session_id
        await SecuritySdk(InProcess(whole.offered["keys"], "operator")).rotate("session-wraps")
        await whole.parts.wraps.look()
        assert await stolen.sessions.get(false.session_id) is None
        assert await stolen.sessions.get(latest.session_id) is not None


async def test_a_device_that_was_told_everything_wrong_is_heard_again(whole: Whole, device: Device) -> None:
    """CLOSE, REKEY, the last of all down counters, keys that are none: the device shakes hands again by itself."""
    async with sane(whole, device) as stolen:
        session_id, now = device.chip.state().session_id, whole.clock.now
        _, keys = await stolen.session(session_id)
        key = control.Word(control.KEY, b"\x02" + os.urandom(35))
        with pytest.raises(TrustError):
            device.chip.open(control.seal_control(keys, session_id, 900, key, up=False), now)
        for counter, word in enumerate(
            (control.Word(control.REKEY), control.Word(control.CLOSE, b"\x00"), control.Word(control.PING)),
            901,
        ):
            device.agent.receive(control.seal_control(keys, session_id, counter, word, up=False), now)
        last = control.seal_control(
            keys, session_id, records.LAST_COUNTER, control.Word(control.PING), up=False
        )
        device.agent.receive(last, now)


async def test_half_open_runs_and_old_hellos_lock_nobody_out_for_good(whole: Whole, device: Device) -> None:
    async with sane(whole, device) as stolen:
        hellos = [device.chip.hello(whole.clock.now) for _ in range(12)]
        for hello in hellos * 3:
            await stolen.keys.hello(hello, "stolen")
            with pytest.raises(MetersealError):
                await stolen.keys.device(
                    messages.session_id_of((await stolen.keys.hello(hello)).message), b"MS"
                )


async def test_it_sets_no_device_ahead_in_time_for_good(whole: Whole, device: Device) -> None:
    """TIME far ahead moves no bound; under suite 1 no clock either, past the platform's certificate."""
    async with sane(whole, device) as stolen:
        session_id, now = device.chip.state().session_id, whole.clock.now
        _, keys = await stolen.session(session_id)
        bound = device.chip.state().time_bound
        ping = device.chip.seal_control(control.PING, now)
        for counter, ahead in enumerate((DAY, 31 * DAY, YEARS), 800):
            word = control.time(now + ahead, ping.counter)
            device.agent.receive(control.seal_control(keys, session_id, counter, word, up=False), now)
            at = device.agent.clock_to_set()
            assert at <= now + 30 * DAY or SUITES[device.device_id] == 2
        assert device.chip.state().time_bound == bound
        device.meter.set_clock(now + YEARS, now)
        await whole.shake(device)  # SESSION brings the time of the service
        whole.clock.now += 1_000
        await deliver_clock(whole, device)
        assert device.meter.clock(whole.clock.now) == pytest.approx(whole.clock.now, abs=5_000)
        assert device.chip.state().time_bound <= whole.clock.now


async def deliver_clock(whole: Whole, device: Device) -> None:
    """A handshake by the agent, whose SESSION may set the meter's clock."""
    device.agent.restart(whole.clock.now)
    for _ in range(40):
        whole.clock.now += 250
        message = device.agent.offer(whole.clock.now)
        for answer in await whole.send(message) if message else []:
            device.agent.receive(answer, whole.clock.now)
        if at := device.agent.clock_to_set():
            device.meter.set_clock(at, whole.clock.now)
            return
    raise AssertionError("SESSION brought no time")


async def test_counters_that_were_never_sent_cost_no_more_than_their_session(
    whole: Whole, device: Device
) -> None:
    """It can commit the counters that a device will use, which drops those records; a new session is free of them."""
    async with sane(whole, device) as stolen:
        for counter in range(200, 260):
            await stolen.commit(device, counter)
        assert (await whole.counts()).readings == 0
        await whole.shake(device)


async def test_it_calls_nothing_that_is_not_its_own(whole: Whole, device: Device) -> None:
    """Every method that security service and platform offer to others, asked for in the head-end's name."""
    async with sane(whole, device):
        foreign = 0
        for process in ("keys", "platform"):
            for name, method in whole.offered[process].items():
                if "headend" in method.callers:
                    continue
                foreign += 1
                with pytest.raises(ConsentError) as refused:
                    await InProcess(whole.offered[process], "headend").call(name, Empty(), Empty)
                assert refused.value.code == "mesh.denied"
        assert foreign > 20


async def test_it_reads_no_store(whole: Whole, device: Device) -> None:
    """None of its calls answers a reading, and no data key comes to it."""
    async with sane(whole, device):
        offered = whole.offered["platform"]
        own = {name for name, method in offered.items() if "headend" in method.callers}
        assert own <= ALLOWED, own - ALLOWED
        for name in ("data_key", "unwrap_data_key"):
            assert "headend" not in whole.offered["keys"][name].callers


ALLOWED = {
    "publish", "session_put", "session_get", "session_latest", "session_reserve", "enrolment", "enrolments",
    "refused", "words_wait", "words_take", "words_answered", "words_firmware",
}  # fmt: skip
"""Calls of a head-end to the platform: sessions, topology, commits, refusals and down words; none reads measurements."""


async def facts(whole: Whole, device: Device):  # type: ignore[no-untyped-def]
    await whole.mdms.settle()
    return whole.mdms.evidence_between(whole.points[device.device_id], 1, SINCE, SINCE + DAYS * DAY)


@pytest.mark.parametrize("device_id", SEALED, ids=["suite-1", "suite-2"])
async def test_an_invented_day_breaks_the_chain_at_its_evidence(
    whole: Whole, devices: dict[bytes, Device], device_id: bytes
) -> None:
    device = devices[device_id]
    stolen = Stolen(whole)
    await whole.shake(device)
    readings = device.meter.readings
    unit = "kWh" if device_id == ELECTRIC else "m3"
    invented = tuple(readings.register(1, SINCE + DAY + k * HOUR) + 50 for k in range(1, 25))
    profile = Series(device_id, 1, unit, -2, SINCE + DAY + HOUR, HOUR, invented)
    await stolen.commit(device, 2**40, series=(profile,))
    device.repower()
    await whole.deliver(device)
    said = {one.end_at: one.checked for one in await facts(whole, device)}
    assert said[SINCE + DAY] in ("signed", "mac")
    assert said[SINCE + 2 * DAY] == "chain-broken"
