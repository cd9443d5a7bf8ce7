"""The way down with real sealed records: words reach the device that is heard, in its newest session, and nobody else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from msgspec import structs

from meterseal.headend.downlink import Downlink, sealed
from meterseal.headend.ports import Answer, Down, Enrolment, WordKind
from meterseal.headend.sessions import LiveSession, SessionCache
from meterseal.link import commands, control, records
from meterseal.link.records import Header
from meterseal.wire import encode
from meterseal.wire import identifiers as ids
from tests.headend.ground import ELECTRIC, MASTER, NOW, WATER, Device, Line, Platform

READ = Down(kind="request", content=encode.read_request(WATER, ids.METERING, 3).encode())


class Ground:
    def __init__(self, *devices: Device) -> None:
        self.platform = Platform(*devices)
        self.sessions = SessionCache(self.platform, self.platform)
        self.now = NOW
        self.downlink = Downlink(self.platform, self.platform, self.sessions, self.platform, lambda: self.now)
        self.work = asyncio.create_task(self.downlink.run())

    async def live(self, device: Device) -> LiveSession:
        found = await self.sessions.get(device.facts.session_id, NOW)
        assert found is not None
        return found

    async def settle(self) -> None:
        await asyncio.sleep(0.02)
        assert not self.work.done()


@pytest.fixture
async def ground() -> AsyncIterator[Ground]:
    made = Ground()
    yield made
    made.work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await made.work


def add(ground: Ground, device: Device) -> Device:
    ground.platform.stored[device.facts.session_id] = device.facts
    ground.platform.keys[device.facts.session_id] = device.keys
    return device


async def test_a_word_for_a_device_that_was_heard_goes_out_at_once(ground: Ground) -> None:
    device, line = add(ground, Device()), Line()
    ground.downlink.heard(await ground.live(device), line)  # type: ignore[arg-type]
    ground.platform.queue(WATER, READ)
    await ground.settle()
    (sent,) = line.sent
    header = records.parse_header(sent[1], up=False)
    assert (sent[0], header.session_id, header.counter) == (WATER, device.facts.session_id, 1)
    (frame,) = records.open_frames(device.keys, header, records.parse_body(header, sent[1]))
    assert frame.encode() == READ.content


async def test_a_word_for_a_device_that_nobody_heard_waits_and_goes_with_its_first_record(
    ground: Ground,
) -> None:
    device, line = add(ground, Device()), Line()
    ground.platform.queue(WATER, READ)
    await ground.settle()
    assert ground.platform.takes == []
    assert ground.downlink.awaits(WATER)
    ground.downlink.heard(await ground.live(device), line)  # type: ignore[arg-type]
    await ground.settle()
    assert len(line.sent) == 1
    assert not ground.downlink.awaits(WATER)


async def test_a_silent_meter_is_found_over_its_concentrators_connection(ground: Ground) -> None:
    add(ground, Device())
    line = Line(concentrator_id=MASTER)
    ground.platform.enrolled[WATER] = Enrolment(
        device_id=WATER, plain=False, medium="water", concentrator_id=MASTER
    )
    ground.platform.queue(WATER, READ)
    await ground.settle()
    ground.downlink.joined(line)  # type: ignore[arg-type]
    ground.now += 60_000
    await asyncio.sleep(1.1)  # the next look for words that are due
    assert [device_id for device_id, _ in line.sent] == [WATER]
    ground.downlink.parted(line)  # type: ignore[arg-type]
    assert ground.downlink._masters == {}


async def test_an_older_session_does_not_take_the_way_from_a_newer_one(ground: Ground) -> None:
    old, new = add(ground, Device()), Device()
    new.facts = structs.replace(new.facts, created_at=NOW + 1)
    add(ground, new)
    line, late = Line(), Line()
    ground.downlink.heard(await ground.live(new), line)  # type: ignore[arg-type]
    ground.downlink.heard(await ground.live(old), late)  # type: ignore[arg-type]
    ground.platform.queue(WATER, READ)
    await ground.settle()
    assert (len(line.sent), late.sent) == (1, [])


async def test_a_head_end_that_is_not_the_owner_any_more_sends_nothing_and_forgets_the_way(
    ground: Ground,
) -> None:
    device, line = add(ground, Device()), Line()
    ground.downlink.heard(await ground.live(device), line)  # type: ignore[arg-type]
    ground.platform.owners[device.facts.session_id] = 99
    ground.platform.queue(WATER, READ)
    await ground.settle()
    assert (line.sent, ground.downlink._routes) == ([], {})


async def test_a_session_past_its_limits_carries_no_word(ground: Ground) -> None:
    device = Device()
    device.facts = structs.replace(device.facts, seconds_allowed=1)
    add(ground, device)
    line = Line()
    ground.now += 1_000
    ground.downlink.heard(await ground.live(device), line)  # type: ignore[arg-type]
    ground.platform.queue(WATER, READ)
    await ground.settle()
    assert (line.sent, ground.platform.takes) == ([], [])


async def test_a_platform_that_is_away_costs_no_word(ground: Ground) -> None:
    device, line = add(ground, Device()), Line()
    ground.downlink.heard(await ground.live(device), line)  # type: ignore[arg-type]
    ground.platform.queue(WATER, READ)
    ground.platform.away = True
    await ground.settle()
    ground.platform.away = False
    ground.now += 5_000
    await asyncio.sleep(1.1)
    assert len(line.sent) == 1


async def test_answers_are_shown_to_the_queue_and_the_next_word_follows(ground: Ground) -> None:
    device, line = add(ground, Device()), Line()
    ground.downlink.heard(await ground.live(device), line)  # type: ignore[arg-type]
    ground.platform.expected = {b"the answer"}
    found = await ground.downlink.answered([Answer(WATER, b"the answer"), Answer(WATER, b"another")])
    await ground.settle()
    assert found == [True, False]
    assert ground.platform.takes == [(WATER, False)]


@pytest.mark.parametrize("kind", ["key", "cert", "rekey", "close"])
def test_words_of_control_are_sealed_as_their_kind(kind: WordKind) -> None:
    device = Device()
    content = {"key": bytes(36), "cert": bytes(100), "rekey": b"", "close": b"\x01"}[kind]
    record = sealed(LiveSession(device.facts, device.keys), 7, Down(kind=kind, content=content))
    word = device.hear(record)
    expected = {"key": control.KEY, "cert": control.CERT, "rekey": control.REKEY, "close": control.CLOSE}
    assert (word.kind, word.content) == (expected[kind], content)


def test_a_guarded_command_keeps_number_end_and_authorisation() -> None:
    device = Device(ELECTRIC)
    frame = encode.relay_request(ELECTRIC, 0x1A, NOW).encode()
    down = Down(kind="guarded", content=frame, number=5, not_after=NOW, authorisation=b"a" * 16)
    record = sealed(LiveSession(device.facts, device.keys), 1, down)
    header: Header = records.parse_header(record, up=False)
    got = commands.open_guarded(device.keys, header, record, ELECTRIC, "dlt645")
    assert (got.number, got.not_after, got.authorisation) == (5, NOW, b"a" * 16)
    assert got.frame.encode() == frame


def test_a_request_travels_plain_where_the_policy_is_plain_only() -> None:
    device = Device(policy=0)
    record = sealed(LiveSession(device.facts, device.keys), 1, READ)
    assert records.parse_header(record, up=False).plain


async def test_a_session_whose_counters_are_used_up_is_told_to_make_a_new_one(ground: Ground) -> None:
    """REKEY and nothing else, at most once a minute: the word waits for the session that follows."""
    device = Device()
    device.facts = structs.replace(device.facts, records_allowed=3)
    add(ground, device)
    await ground.platform.reserve_down(device.facts.session_id, 10)
    line = Line()
    ground.downlink.heard(await ground.live(device), line)  # type: ignore[arg-type]
    ground.platform.queue(WATER, READ)
    await ground.settle()
    assert ground.platform.takes == []
    (sent,) = line.sent
    header = records.parse_header(sent[1], up=False)
    assert control.open_control(device.keys, header, sent[1]).kind == control.REKEY
