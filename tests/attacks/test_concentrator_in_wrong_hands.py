"""LINK section 6: a concentrator in wrong hands.

The attacker has its TLS identity, so that it may put any device's name on an envelope, its module to use as it likes, and
the buses with every meter on them. In the worst case it has even taken the traffic keys out of that module. It therefore
drops and delays what passes, speaks plain requests to its meters, and invents what *plain* meters behind it say: those
readings carry the origin "vouched" to the bill. It opens no sealed record, seals for no meter with a module, commits no
counter of another, makes no session, no command and no evidence, and shuts nobody out for good.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from meterseal.app import operator
from meterseal.edge.chip import GUARDED
from meterseal.edge.node import Node, Secured
from meterseal.errors import MetersealError, TrustError
from meterseal.link import commands, control, messages, records
from meterseal.link.schedule import TrafficKeys
from meterseal.mdms.store.rows import ORIGINS
from meterseal.wire import encode
from meterseal.wire.frame import Frame, parse_frame
from tests.attacks.test_head_end_in_wrong_hands import Stolen, statement
from tests.attacks.whole import (
    DAYS,
    ELECTRIC,
    HOUR,
    MASTER,
    PLAIN,
    SEALED,
    WATER,
    Device,
    Line,
    Whole,
    serial,
)
from tests.wire import built

MINUTE = 60_000


class Taken:
    """A concentrator's identity and module; what it sends goes over its own link, in any device's name."""

    def __init__(self, whole: Whole, devices: dict[bytes, Device]) -> None:
        self.whole, self.own = whole, devices[MASTER]
        self.line = Line(f"concentrator {MASTER.hex()}", MASTER)

    async def send(self, device_id: bytes, message: bytes) -> list[bytes]:
        return await self.whole.send(message, device_id, self.line)

    async def shake(self) -> bytes:
        now = self.whole.clock.now
        (answer,) = await self.send(MASTER, self.own.chip.hello(now))
        (session,) = await self.send(MASTER, self.own.chip.platform(answer, now))
        return self.own.chip.session(session, now).session_id

    async def keys(self) -> tuple[bytes, TrafficKeys]:
        """The worst case: traffic keys out of its own module (read here where the head-end has them)."""
        session_id = self.own.chip.state().session_id
        return session_id, (await Stolen(self.whole).session(session_id))[1]

    def vouch(self, *frames: bytes) -> bytes:
        """A record of its module over any frames, vouched."""
        return self.own.chip.seal(b"".join(frames), self.whole.clock.now, vouched=True).record


def reading(device_id: bytes, volume: int, at: int) -> bytes:
    return built.current_data_answer(device_id, built.volume_payload(volume, 0, at)).encode()


@asynccontextmanager
async def sane(whole: Whole, devices: dict[bytes, Device]) -> AsyncIterator[Taken]:
    """First and last everybody is heard: the concentrator vouches for its plain meter, a sealed meter delivers all."""
    taken = Taken(whole, devices)
    await taken.shake()
    await whole.shake(devices[WATER])
    (answer,) = await taken.send(MASTER, taken.vouch(reading(PLAIN, 100, whole.clock.now)))
    assert answer
    assert await origins(whole, PLAIN) == {"vouched"}
    yield taken
    whole.clock.now += 20 * MINUTE
    await taken.shake()
    assert await taken.send(MASTER, taken.vouch(reading(PLAIN, 101, whole.clock.now)))
    devices[WATER].repower()
    await whole.deliver(devices[WATER])
    assert (await whole.counts()).evidence_good == DAYS
    assert await origins(whole, WATER) == {"sealed"}


async def origins(whole: Whole, device_id: bytes) -> set[str]:
    """Origins of all stored readings of a meter."""
    shown = await whole.asked("readings", operator.BillQuery(device_id=device_id))
    return {ORIGINS[origin] for origin in shown["origin"]}


async def standing(whole: Whole) -> tuple[object, ...]:
    """All that an attack must leave as it was."""
    counts = await whole.counts()
    sessions = [await whole.latest(device_id) for device_id in (WATER, ELECTRIC)]
    kept = [(one.session_id, one.consumed) for one in sessions if one is not None]
    return counts.readings, counts.evidence, counts.evidence_good, kept


async def test_it_opens_no_sealed_record(whole: Whole, devices: dict[bytes, Device]) -> None:
    async with sane(whole, devices) as taken:
        clear = reading(WATER, 31_415_926, whole.clock.now)
        register = bytes.fromhex("26594131")
        assert register in clear
        record = devices[WATER].chip.seal(clear, whole.clock.now).record
        assert register[:3] not in record
        assert register[1:] not in record
        session_id, keys = await taken.keys()
        assert not records.check_tag(keys, record)
        header = records.parse_header(record)
        try:
            opened = records.open_frames(keys, header, records.parse_body(header, record, "cjt188"))
        except MetersealError:
            opened = []  # one in 256 times noise ends like a padding
        assert register not in b"".join(frame.data for frame in opened)
        with pytest.raises(TrustError):
            taken.own.chip.open(record, whole.clock.now)
        assert session_id != header.session_id


async def test_it_vouches_for_no_meter_with_a_module(whole: Whole, devices: dict[bytes, Device]) -> None:
    async with sane(whole, devices) as taken:
        before = await standing(whole)
        for device_id in SEALED:
            kind = reading(device_id, 1, whole.clock.now) if device_id == WATER else electric()
            (answer,) = await taken.send(MASTER, taken.vouch(kind))
            assert taken.own.chip.open(answer, whole.clock.now).reason == control.UNKNOWN_METER
        mixed = taken.vouch(reading(PLAIN, 102, whole.clock.now), reading(WATER, 1, whole.clock.now))
        (answer,) = await taken.send(MASTER, mixed)
        assert taken.own.chip.open(answer, whole.clock.now).reason == control.UNKNOWN_METER
        assert await standing(whole) == before
        assert await origins(whole, WATER) == set()


def electric() -> bytes:
    """An energy reading of the electricity meter."""
    from meterseal.edge.electricity import ElectricityMeter
    from tests.attacks.whole import SINCE, Counting

    return ElectricityMeter(ELECTRIC, Counting(ELECTRIC)).interval_frames(SINCE, SINCE + HOUR)[0].encode()


async def test_it_vouches_for_no_meter_of_another_concentrator_or_of_nobody(
    whole: Whole, devices: dict[bytes, Device]
) -> None:
    async with sane(whole, devices) as taken:
        before = await standing(whole)
        stranger = bytes.fromhex("1078330000000001")
        (answer,) = await taken.send(MASTER, taken.vouch(reading(stranger, 1, whole.clock.now)))
        assert taken.own.chip.open(answer, whole.clock.now).reason == control.UNKNOWN_METER
        assert await standing(whole) == before


async def test_its_module_seals_no_foreign_frame_as_its_own(
    whole: Whole, devices: dict[bytes, Device]
) -> None:
    async with sane(whole, devices) as taken:
        with pytest.raises(TrustError):
            taken.own.chip.seal(reading(WATER, 1, whole.clock.now), whole.clock.now)
        with pytest.raises(TrustError):
            devices[WATER].chip.seal(reading(PLAIN, 1, whole.clock.now), whole.clock.now)
        with pytest.raises(TrustError):
            devices[WATER].chip.seal(reading(WATER, 1, whole.clock.now), whole.clock.now, vouched=True)


async def test_its_session_keys_seal_nothing_for_another_meter(
    whole: Whole, devices: dict[bytes, Device]
) -> None:
    """The worst case, keys and all: another meter's frame, not vouched, and another's evidence, in its own session."""
    async with sane(whole, devices) as taken:
        before = await standing(whole)
        session_id, keys = await taken.keys()
        frame = reading(WATER, 1, whole.clock.now)
        word = control.evidence(statement(devices[WATER]), os.urandom(64))
        for record in (
            records.seal_record(keys, session_id, 70_001, [frame], up=True),
            control.seal_control(keys, session_id, 70_002, word, up=True),
        ):
            answers = await taken.send(MASTER, record)
            assert [taken.own.chip.open(one, whole.clock.now).kind for one in answers] == [control.REJECT]
        assert await standing(whole) == before


async def test_it_commits_no_counter_that_was_never_sent(whole: Whole, devices: dict[bytes, Device]) -> None:
    """Records in another's session under its own keys, changed counters, cut and turned ones: none is consumed."""
    async with sane(whole, devices) as taken:
        before = await standing(whole)
        _, keys = await taken.keys()
        session_id, now = devices[WATER].chip.state().session_id, whole.clock.now
        frame = reading(WATER, 1, now)
        true = devices[WATER].chip.seal(reading(WATER, 5, now), now).record
        tries = [records.seal_record(keys, session_id, counter, [frame], up=True) for counter in range(1, 9)]
        tries += [true[:12] + (99).to_bytes(6, "big") + true[18:], true[:-1], true + b"\x00"]
        tries += [true[:3] + bytes((true[3] ^ bit,)) + true[4:] for bit in (1, 2, 4, 8, 16, 32, 64, 128)]
        for record in tries:
            assert await taken.send(WATER, record) == []
        assert await standing(whole) == before
        codes = set(await whole.refusals())
        assert codes <= {"link.tag", "link.length", "link.flags", "link.direction", "link.counter"}
        assert await taken.send(WATER, true)


async def test_an_envelope_lends_no_other_name(whole: Whole, devices: dict[bytes, Device]) -> None:
    """Its own records and handshakes in another's name, and another's in its own."""
    async with sane(whole, devices) as taken:
        before = await standing(whole)
        now = whole.clock.now
        assert await taken.send(WATER, taken.vouch(reading(PLAIN, 103, now))) == []
        assert await taken.send(WATER, taken.own.chip.hello(now)) == []
        hello = devices[ELECTRIC].chip.hello(now)
        assert await taken.send(MASTER, hello) == []
        assert await standing(whole) == before
        assert set(await whole.refusals()) == {"link.envelope"}


async def test_it_makes_no_session_for_another(whole: Whole, devices: dict[bytes, Device]) -> None:
    """Its own HELLO with another's ids, another's HELLO with changed fields, answers crossed between runs."""
    async with sane(whole, devices) as taken:
        before = await standing(whole)
        now, water, electric_ = whole.clock.now, devices[WATER], devices[ELECTRIC]
        own = taken.own.chip.hello(now)
        assert await taken.send(WATER, own[:7] + WATER + serial(WATER) + own[23:]) == []
        hello = water.chip.hello(now)
        for at in range(6, len(hello), 7):
            assert await taken.send(WATER, hello[:at] + bytes((hello[at] ^ 1,)) + hello[at + 1 :]) == []
            whole.clock.now += 10_000
        (mine,) = await taken.send(MASTER, taken.own.chip.hello(whole.clock.now))
        (theirs,) = await taken.send(WATER, water.chip.hello(whole.clock.now))
        with pytest.raises(TrustError):
            water.chip.platform(mine, whole.clock.now)
        sealed = taken.own.chip.platform(mine, whole.clock.now)
        crossed = sealed[:6] + messages.parse_platform(theirs).session_id + sealed[14:]
        assert await taken.send(WATER, crossed) == []
        with pytest.raises(TrustError):
            electric_.chip.platform(theirs, whole.clock.now)
        assert await standing(whole) == before


async def test_it_commands_no_meter(whole: Whole, devices: dict[bytes, Device]) -> None:
    """Plain writes on the bus, guarded records of its own making, and a true command of one meter sent to another."""
    async with sane(whole, devices) as taken:
        water, now = devices[WATER], whole.clock.now
        node = Node(water.meter, Secured(water.chip, water.agent, water.outbox))
        shut = encode.valve_request(WATER, opened=False)
        assert water.meter.state.valve == "open"
        answer, _ = parse_frame(node.answer(shut, now), 0, "cjt188")
        assert answer.control & 0x40
        session_id, keys = await taken.keys()
        for target in (session_id, water.chip.state().session_id):
            record = commands.seal_guarded(
                keys,
                target,
                5_000,
                number=1,
                not_after=now + HOUR,
                authorisation=os.urandom(16),
                frame=shut.encode(),
            )
            with pytest.raises(TrustError):
                water.chip.open(record, now)
            water.agent.receive(record, now)
        assert water.meter.state.valve == "open"
        assert water.chip.state().command_number == 0
        assert GUARDED != control.ACK


async def test_it_reads_no_sealed_meter_in_clear(whole: Whole, devices: dict[bytes, Device]) -> None:
    async with sane(whole, devices):
        water = devices[WATER]
        water.agent.policy = 2
        node = Node(water.meter, Secured(water.chip, water.agent, water.outbox))
        request = Frame("cjt188", 0x10, water.meter.wire_address, 0x01, b"\x1f\x90\x01")
        answer, _ = parse_frame(node.answer(request, whole.clock.now), 0, "cjt188")
        assert answer.control & 0x40
        assert len(answer.data) < 8


async def test_what_it_holds_back_sets_no_device_ahead_in_time(
    whole: Whole, devices: dict[bytes, Device]
) -> None:
    """SESSION and TIME, kept and handed over later: a late one sets no clock, and none sets it ahead."""
    async with sane(whole, devices) as taken:
        water, now = devices[WATER], whole.clock.now
        (platform,) = await taken.send(WATER, water.chip.hello(now))
        (session,) = await taken.send(WATER, water.chip.platform(platform, now))
        late = now + 16 * MINUTE
        with pytest.raises(TrustError):
            water.chip.session(session, late)
        await whole.shake(water)
        ping = water.chip.seal_control(control.PING, now)
        (time,) = await taken.send(WATER, ping.record)
        with pytest.raises(TrustError):
            water.chip.open(time, late)
        assert water.chip.state().time_bound <= now


async def test_what_it_says_again_changes_nothing(whole: Whole, devices: dict[bytes, Device]) -> None:
    """Everything that passed, up and down, once more: at once, after a restart, and a day later."""
    async with sane(whole, devices) as taken:
        water, now = devices[WATER], whole.clock.now
        record = water.chip.seal(reading(WATER, 7, now), now).record
        (ack,) = await taken.send(WATER, record)
        water.chip.open(ack, now)
        before = await standing(whole)
        for wait, restart in ((0, ()), (0, ("headend", "keys", "platform")), (24 * HOUR, ())):
            whole.clock.now += wait
            await whole.restart(*restart)
            assert len(await taken.send(WATER, record)) == 1
            with pytest.raises(TrustError):
                water.chip.open(ack, whole.clock.now)
        assert await standing(whole) == before


async def test_a_flood_in_a_meters_name_shuts_that_meter_out_on_its_own_link_only(
    whole: Whole, devices: dict[bytes, Device]
) -> None:
    """HELLOs without end in a meter's name: limited there; the same meter over another way is answered at once."""
    async with sane(whole, devices) as taken:
        electric_ = devices[ELECTRIC]
        hello = electric_.chip.hello(whole.clock.now)
        answered = [bool(await taken.send(ELECTRIC, hello)) for _ in range(40)]
        assert answered[0]
        assert not answered[-1]
        assert await whole.shake(electric_)
        whole.clock.now += MINUTE
        assert await taken.send(ELECTRIC, electric_.chip.hello(whole.clock.now))


async def test_a_device_message_held_back_does_not_replace_the_session_in_use(
    whole: Whole, devices: dict[bytes, Device]
) -> None:
    """DEVICE of an earlier run, delivered after a later run's session is in use: the session in use stays."""
    async with sane(whole, devices) as taken:
        water, now = devices[WATER], whole.clock.now
        (platform,) = await taken.send(WATER, water.chip.hello(now))
        held = water.chip.platform(platform, now)
        session_id = await whole.shake(water)
        ping = water.chip.seal_control(control.PING, now)
        assert await taken.send(WATER, ping.record)
        await taken.send(WATER, held)
        latest = await whole.latest(WATER)
        assert latest is not None
        assert latest.session_id == session_id
