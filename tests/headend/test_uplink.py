"""The uplink with real sealed records: committed before acknowledged, whatever fails on the way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest
from structlog.testing import capture_logs

from meterseal.crypto.symmetric import sm3
from meterseal.errors import DataError, EngineError, TrustError
from meterseal.headend import pipeline
from meterseal.headend.delivery import Delivery
from meterseal.headend.downlink import Downlink
from meterseal.headend.ports import Enrolment
from meterseal.headend.sessions import SessionCache
from meterseal.headend.telling import FOUND_A_DAY, FOUND_IN_ALL, STATEMENTS_A_DAY, TOO_MANY
from meterseal.headend.uplink import BATCH, WAITING, Uplink
from meterseal.link import control
from meterseal.link.evidence import EvidenceStatement
from meterseal.model import Batch, Refusal
from meterseal.wire import encode
from tests.headend.ground import ELECTRIC, MASTER, NOW, OTHER, WATER, Device, Line, Platform, water


class Handshakes:
    """Counts, and breaks when told to."""

    def __init__(self) -> None:
        self.taken = 0
        self.error: Exception | None = None

    async def take(self, link: Line, arrival: pipeline.Arrival) -> list[Refusal]:
        self.taken += 1
        if self.error is not None:
            raise self.error
        return [Refusal(arrival.received_at, "link.hello-mac", "No.", source=arrival.source)]


class Ground:
    """An uplink over a platform in memory."""

    def __init__(self, *devices: Device, platform: Platform | None = None) -> None:
        self.platform = platform or Platform(*devices)
        self.handshakes = Handshakes()
        self.pauses: list[bool] = []
        self.now = NOW
        sessions = SessionCache(self.platform, self.platform)
        self.uplink = Uplink(
            sessions=sessions,
            handshakes=self.handshakes,
            delivery=Delivery(self.platform, lambda: self.now),
            downlink=Downlink(self.platform, self.platform, sessions, self.platform, lambda: self.now),
            topology=self.platform,
            audit=self.platform,
            publisher=self.platform,
            clock=lambda: self.now,
            pause=self.pauses.append,
        )

    async def settle(self) -> None:
        """Until nothing moves any more."""
        for _ in range(20):
            await asyncio.sleep(0)
        while self.uplink._queue or self.uplink._running:
            await asyncio.sleep(0.001)

    async def send(self, line: Line, *messages: bytes) -> None:
        for message in messages:
            self.uplink.receive(line, b"", message)
        await self.settle()


Start = Callable[..., Ground]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    tasks: list[asyncio.Task[None]] = []

    def begin(*devices: Device, platform: Platform | None = None) -> Ground:
        ground = Ground(*devices, platform=platform)
        tasks.append(asyncio.create_task(ground.uplink.run()))
        return ground

    yield begin
    for task in tasks:
        assert not task.done(), "the uplink ended by itself"
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_committed_then_acknowledged(start: Start) -> None:
    device, line = Device(), Line()
    ground = start(device)
    await ground.send(line, *(device.seal() for _ in range(5)))
    assert ground.platform.committed == [1, 2, 3, 4, 5]
    assert line.acked(device) == {1, 2, 3, 4, 5}
    assert ground.uplink.counts["accepted"] == 5


async def test_what_was_not_committed_gets_no_ack_and_goes_forward_again(start: Start) -> None:
    device, line = Device(), Line()
    ground = start(device)
    await ground.send(line, device.seal())
    ground.platform.away = True
    record = device.seal()
    await ground.send(line, record)
    assert line.acked(device) == {1}
    ground.platform.away = False
    await ground.send(line, record)
    assert ground.platform.committed == [1, 2]
    assert line.acked(device) == {1, 2}


async def test_a_repeat_after_the_commit_is_acknowledged_and_not_published(start: Start) -> None:
    device, line = Device(), Line()
    ground = start(device)
    record = device.seal()
    await ground.send(line, record)
    await ground.send(line, record)
    assert ground.platform.committed == [1]
    assert ground.uplink.counts["again"] == 1
    assert len(line.sent) == 2
    assert [entry.code for entry in ground.platform.audit] == ["link.replay"]


async def test_a_lost_acknowledgement_is_given_again(start: Start) -> None:
    device, lost, line = Device(), Line(), Line()
    ground = start(device)
    record = device.seal()
    await ground.send(lost, record)
    await ground.send(line, record)
    assert line.acked(device) == {1}


async def test_a_quarantined_record_is_rejected_once_it_is_durable_and_again_when_repeated(
    start: Start,
) -> None:
    device, line = Device(), Line()
    ground = start(device)
    record = device.seal(water(OTHER))
    ground.platform.away = True
    await ground.send(line, record)
    assert line.sent == []
    ground.platform.away = False
    await ground.send(line, record)
    await ground.send(line, record)
    rejects = [
        control.read_reject(word.content) for word in line.words(device) if word.kind == control.REJECT
    ]
    assert rejects == [(1, pipeline.DOES_NOT_DECODE)] * 2
    assert sum(len(batch.quarantined) for batch in ground.platform.batches) == 1


@pytest.mark.parametrize("restarts", ["restarted", "another one, which knew the session before"])
async def test_a_quarantined_record_repeated_to_a_restarted_head_end_or_another_one_is_rejected_again(
    start: Start, restarts: str
) -> None:
    device = Device()
    first = start(device)
    second = start(device, platform=first.platform)
    if restarts != "restarted":
        await second.send(Line(), device.seal())
    record = device.seal(water(OTHER))
    await first.send(Line(), record)
    line = Line()
    await second.send(line, record)
    rejects = [control.read_reject(word.content) for word in line.words(device)]
    assert rejects == [(device.counter, pipeline.DOES_NOT_DECODE)]


async def test_a_forged_record_changes_nothing_and_hears_nothing(start: Start) -> None:
    device, line = Device(), Line()
    ground = start(device)
    record = device.seal()
    await ground.send(line, record[:-1] + bytes((record[-1] ^ 1,)), b"MR\x01" + bytes(40), b"?")
    assert (ground.platform.batches, line.sent) == ([], [])
    assert [entry.code for entry in ground.platform.audit] == ["link.tag", "link.length", "link.length"]
    assert ground.uplink.counts["refused"] == 3
    await ground.send(line, record)
    assert line.acked(device) == {1}


async def test_refusals_are_written_though_the_commit_of_the_batch_failed(start: Start) -> None:
    class NoCommit(Platform):
        async def publish(self, batch: Batch) -> None:
            self.away = True
            try:
                self._here()
            finally:
                self.away = False

    device, line = Device(), Line()
    ground = start(device)
    ground.platform.publish = NoCommit.publish.__get__(ground.platform)  # type: ignore[method-assign]
    good, bad = device.seal(), device.seal()
    await ground.send(line, good, bad[:-1] + bytes((bad[-1] ^ 1,)))
    assert line.sent == []
    assert [entry.code for entry in ground.platform.audit] == ["link.tag"]


async def test_a_ping_is_answered_with_the_time_and_not_committed(start: Start) -> None:
    device, line = Device(), Line()
    ground = start(device)
    await ground.send(line, device.word(control.ping()))
    assert control.read_time(line.words(device)[0].content) == (NOW, 1)
    assert ground.platform.batches == []


async def test_vouching_is_judged_by_the_topology(start: Start) -> None:
    master, line = Device(MASTER), Line(concentrator_id=MASTER)
    ground = start(master)
    ground.platform.enrolled[WATER] = Enrolment(
        device_id=WATER, plain=True, medium="water", concentrator_id=MASTER
    )
    await ground.send(line, master.seal(water(), vouched=True), master.seal(water(OTHER), vouched=True))
    assert line.acked(master) == {1}
    assert [one.code for one in ground.platform.batches[0].quarantined] == ["link.vouching"]


async def test_meters_that_a_concentrator_found_stand_in_the_trail_and_are_no_readings(start: Start) -> None:
    master, line = Device(MASTER), Line(concentrator_id=MASTER)
    ground = start(master)
    found = [encode.found_report(one, 3, NOW - 5_000).encode() for one in (WATER, ELECTRIC)]
    await ground.send(line, master.seal(*found, vouched=True))
    assert line.acked(master) == {1}
    entries = {entry.device_id: entry for entry in ground.platform.audit}
    assert {entry.code for entry in entries.values()} == {"meter.unknown"}
    assert set(entries) == {WATER, ELECTRIC}
    for device_id, entry in entries.items():
        assert all(word in entry.sentence for word in (MASTER.hex(), device_id.hex(), "bus 3"))
    (batch,) = ground.platform.batches
    assert (batch.quarantined, batch.opened[0].series, batch.opened[0].statuses) == ((), (), ())


async def test_a_finding_carries_no_reading_of_a_stranger_past_the_topology(start: Start) -> None:
    master, line = Device(MASTER), Line(concentrator_id=MASTER)
    ground = start(master)
    found = encode.found_report(WATER, 0, NOW).encode()
    await ground.send(line, master.seal(found, water(), vouched=True))
    assert [one.code for one in ground.platform.batches[0].quarantined] == ["link.vouching"]
    assert ground.platform.audit == []


async def test_a_concentrator_in_wrong_hands_fills_no_trail_with_meters_that_it_makes_up(
    start: Start,
) -> None:
    master, line = Device(MASTER), Line(concentrator_id=MASTER)
    ground = start(master)
    for block in range(40):
        frames = [
            encode.found_report(bytes.fromhex(f"10{block:04d}{number:010d}"), 0, NOW).encode()
            for number in range(10)
        ]
        await ground.send(line, master.seal(*frames, vouched=True))
    assert len(ground.platform.audit) == FOUND_A_DAY


async def test_false_numbers_on_one_bus_hide_no_new_meter_on_another(start: Start) -> None:
    """A concentrator tells of each once: what were dropped here nobody would hear of again."""
    master, line = Device(MASTER), Line(concentrator_id=MASTER)
    ground = start(master)
    for block in range(30):
        false = [
            encode.found_report(bytes.fromhex(f"10{block:04d}{number:010d}"), 0, NOW).encode()
            for number in range(10)
        ]
        await ground.send(line, master.seal(*false, vouched=True))
    await ground.send(line, master.seal(encode.found_report(WATER, 1, NOW).encode(), vouched=True))
    assert [entry.device_id for entry in ground.platform.audit].count(WATER) == 1
    assert len(ground.platform.audit) == FOUND_A_DAY + 1


async def test_a_concentrator_that_makes_up_buses_fills_no_trail_either(start: Start) -> None:
    master, line = Device(MASTER), Line(concentrator_id=MASTER)
    ground = start(master)
    for block in range(260):
        false = [
            encode.found_report(bytes.fromhex(f"10{block:04d}{number:010d}"), block % 256, NOW).encode()
            for number in range(10)
        ]
        await ground.send(line, master.seal(*false, vouched=True))
    assert len(ground.platform.audit) == FOUND_IN_ALL


async def test_false_alarms_of_many_plain_meters_hide_no_true_one_of_another(start: Start) -> None:
    """Whoever owns a bus lets its meters raise everything, over and over; on another bus a cover is opened."""
    master, line = Device(MASTER), Line(concentrator_id=MASTER)
    ground = start(master)
    owned = [bytes.fromhex(f"10{number:014d}") for number in range(100)]
    for one in (*owned, WATER):
        ground.platform.enrolled[one] = Enrolment(
            device_id=one, plain=True, medium="water", concentrator_id=MASTER
        )
    everything = b"\x87\x70"
    for _ in range(25):
        for at in range(0, len(owned), 25):
            frames = [encode.alarm_report(one, everything, NOW).encode() for one in owned[at : at + 25]]
            await ground.send(line, master.seal(*frames, vouched=True))
    filled = len(ground.platform.audit)
    await ground.send(line, master.seal(encode.alarm_report(WATER, b"\x00\x20", NOW).encode(), vouched=True))
    (true,) = [entry for entry in ground.platform.audit if entry.device_id == WATER]
    assert true.code == "meter.removed"
    assert filled == len({(one.device_id, one.code) for one in ground.platform.audit}) - 1
    ground.now += 86_400_000
    await ground.send(line, master.seal(encode.alarm_report(WATER, b"\x00\x20", NOW).encode(), vouched=True))
    assert len([entry for entry in ground.platform.audit if entry.device_id == WATER]) == 2


async def test_an_alarm_that_could_not_be_written_is_heard_when_it_is_said_again(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    master, line = Device(MASTER), Line(concentrator_id=MASTER)
    ground = start(master)
    ground.platform.enrolled[WATER] = Enrolment(
        device_id=WATER, plain=True, medium="water", concentrator_id=MASTER
    )
    record = master.seal(encode.alarm_report(WATER, b"\x00\x20", NOW).encode(), vouched=True)

    async def full(_: object) -> None:
        raise EngineError("control.full", "The disk is full.")

    with monkeypatch.context() as disk:
        disk.setattr(ground.platform, "refused", full)
        disk.setattr(ground.platform, "publish", full)
        for _ in range(3):
            await ground.send(line, record)
        assert line.acked(master) == set()
    await ground.send(line, record)
    assert line.acked(master) == {1}
    assert [entry.code for entry in ground.platform.audit] == ["meter.removed"]


def signed(device: Device, sequence: int, status: int = 0x0020, end_at: int = NOW) -> bytes:
    """The record of a signed freeze with this status."""
    said = EvidenceStatement(
        device.facts.device_id, 1, end_at, 5, -2, 0x2C, status, sequence, bytes(32)
    ).pack()
    return device.word(control.evidence(said, bytes(64)))


async def test_statements_that_were_not_committed_count_when_they_are_and_their_alarm_is_written_then(
    start: Start,
) -> None:
    device, line = Device(), Line()
    ground = start(device)
    await ground.send(line, device.seal())
    record = signed(device, 1)
    ground.platform.away = True
    for _ in range(2 * STATEMENTS_A_DAY // 100):
        await ground.send(line, *[record] * 100)
    assert line.acked(device) == {1}
    ground.platform.away = False
    await ground.send(line, record)
    assert line.acked(device) == {1, 2}
    assert [one.code for one in ground.platform.audit] == ["meter.removed"]


async def test_statements_beyond_a_days_are_counted_in_a_line_each_day_and_readings_come_on(
    start: Start,
) -> None:
    device, line = Device(), Line()
    ground = start(device)
    await ground.send(line, *(signed(device, number, 0) for number in range(1, STATEMENTS_A_DAY + 101)))
    assert len(ground.platform.committed) == STATEMENTS_A_DAY
    await ground.send(line, device.seal())
    assert len(ground.platform.committed) == STATEMENTS_A_DAY + 1
    (first,) = ground.platform.audit
    assert (first.code, first.device_id) == (TOO_MANY, WATER)
    ground.now += 86_400_000
    more = [signed(device, number, 0) for number in range(1, STATEMENTS_A_DAY + 2)]
    await ground.send(line, *more)
    (_, second) = ground.platform.audit
    assert second.code == TOO_MANY
    counts = [int(one.sentence.split(": ")[1].split()[0]) for one in (first, second)]
    assert sum(counts) == 101
    assert ground.uplink.counts["dropped"] == 101


async def test_an_alarm_of_a_time_to_come_stands_at_the_time_at_which_it_came(start: Start) -> None:
    device, line = Device(), Line()
    ground = start(device)
    await ground.send(
        line, signed(device, 1, end_at=NOW + 400 * 86_400_000), signed(device, 2, 0x0040, NOW - 9)
    )
    assert sorted(one.at for one in ground.platform.audit) == [NOW - 9, NOW]


async def test_a_concentrator_that_vouches_on_after_a_module_was_enrolled_is_rejected_at_once(
    start: Start,
) -> None:
    master, line = Device(MASTER), Line(concentrator_id=MASTER)
    ground = start(master)
    known = Enrolment(device_id=WATER, plain=True, medium="water", concentrator_id=MASTER)
    ground.platform.enrolled[WATER] = known
    await ground.send(line, master.seal(water(), vouched=True))
    ground.platform.enrolled[WATER] = Enrolment(device_id=WATER, plain=False, medium="water")
    await ground.send(line, master.seal(water(), vouched=True))
    assert line.acked(master) == {1}
    assert [one.code for one in ground.platform.batches[-1].quarantined] == ["link.vouching"]


async def test_a_batch_of_vouched_records_asks_for_their_meters_once(start: Start) -> None:
    master, line = Device(MASTER), Line(concentrator_id=MASTER)
    ground = start(master)
    for device_id in (WATER, OTHER):
        ground.platform.enrolled[device_id] = Enrolment(
            device_id=device_id, plain=True, medium="water", concentrator_id=MASTER
        )
    meters = (WATER, OTHER, WATER, OTHER)
    await ground.send(
        line, *(master.seal(water(one, at=NOW + i), vouched=True) for i, one in enumerate(meters))
    )
    assert line.acked(master) == {1, 2, 3, 4}
    assert ground.platform.enrolments_asked == 1
    await ground.send(line, Device().seal())
    assert ground.platform.enrolments_asked == 1


async def test_a_record_that_lost_its_vouching_on_the_way_to_the_commit_is_rejected_when_it_comes_again(
    start: Start,
) -> None:
    """The platform refuses it, so it is not answered; enrolled in the meantime, it is held at its next coming."""
    master, other, line = Device(MASTER), Device(), Line(concentrator_id=MASTER)
    ground = start(master, other)
    ground.platform.enrolled[WATER] = Enrolment(
        device_id=WATER, plain=True, medium="water", concentrator_id=MASTER
    )
    publish = ground.platform.publish

    async def enrolled_meanwhile(batch: Batch) -> None:
        if any(one.origin == "vouched" for one in batch.opened):
            ground.platform.enrolled[WATER] = Enrolment(device_id=WATER, plain=False, medium="water")
            raise TrustError("link.vouching", "It has a module now.")
        await publish(batch)

    ground.platform.publish = enrolled_meanwhile  # type: ignore[method-assign]
    record = master.seal(water(), vouched=True)
    await ground.send(line, record, other.seal())
    assert line.acked(other) == {1}
    assert line.words(master) == []
    await ground.send(line, record)
    assert [control.read_reject(word.content) for word in line.words(master)] == [(1, pipeline.UNKNOWN_METER)]


# --- defects of ours -----------------------------------------------------------------------------------


async def test_a_record_that_the_platform_cannot_take_holds_up_no_other(start: Start) -> None:
    good, bad, line = Device(), Device(), Line()
    ground = start(good, bad)
    poison = bad.seal()
    ground.platform.poison.add(sm3(poison))
    await ground.send(line, good.seal(), poison, good.seal())
    assert ground.platform.committed == [1, 2]
    assert line.acked(good) == {1, 2}
    assert line.words(bad) == []


@pytest.mark.parametrize("error", [TrustError("security.wrapped", "No."), ZeroDivisionError("a defect")])
async def test_a_session_that_cannot_be_opened_costs_no_other_its_answer(
    start: Start, error: Exception
) -> None:
    good, bad, line = Device(), Device(), Line()
    ground = start(good, bad)
    unwrap = ground.platform.unwrap

    async def broken(session: object) -> object:
        if session == bad.facts:
            raise error
        return await unwrap(session)  # type: ignore[arg-type]

    ground.platform.unwrap = broken  # type: ignore[assignment,method-assign]
    with capture_logs() as logged:
        await ground.send(line, bad.seal(), good.seal())
    assert line.acked(good) == {1}
    assert [entry["event"] for entry in logged] == ["uplink.unjudged"]


async def test_counters_skipped_without_end_cost_no_other_its_answer(start: Start) -> None:
    good, bad, line = Device(), Device(), Line()
    ground = start(good, bad)
    await ground.send(Line(), bad.seal())
    session = await ground.uplink.sessions.get(bad.facts.session_id, NOW)
    assert session is not None

    def full(counter: int) -> bool:
        raise TrustError("link.counter-ranges", "Skipped too often.")

    session.consumed = type("Full", (), {"add": staticmethod(full), "__contains__": lambda self, _: False})()
    await ground.send(line, bad.seal(), good.seal())
    assert line.acked(good) == {1}


@pytest.mark.parametrize("error", [ZeroDivisionError("a defect"), DataError("x.y", "No.")])
async def test_a_defect_in_a_handshake_is_logged_and_ends_nothing(start: Start, error: Exception) -> None:
    device, line = Device(), Line()
    ground = start(device)
    ground.handshakes.error = error
    with capture_logs() as logged:
        await ground.send(line, b"MS\x01\x01")
    assert [entry["event"] for entry in logged] == ["uplink.defect"]
    await ground.send(line, device.seal())
    assert line.acked(device) == {1}


async def test_handshakes_are_no_records(start: Start) -> None:
    ground = start()
    await ground.send(Line(), b"MS\x01\x01")
    assert (ground.handshakes.taken, ground.uplink.counts["records"]) == (1, 0)
    assert [entry.code for entry in ground.platform.audit] == ["link.hello-mac"]


# --- overload ------------------------------------------------------------------------------------------


async def test_a_flood_from_one_source_is_dropped_and_others_are_served(start: Start) -> None:
    device, flood, line = Device(), Line("198.51.100.1"), Line()
    ground = start(device)
    for _ in range(12_000):
        ground.uplink.receive(flood, b"", b"MR")
    assert ground.uplink.counts["dropped"] >= 3_900
    ground.uplink.receive(line, b"", device.seal())
    await ground.settle()
    assert line.acked(device) == {1}
    assert len(ground.platform.audit) <= 110


async def test_more_waiting_than_is_worked_off_pauses_the_sockets_and_resumes_them(start: Start) -> None:
    ground = start()
    line = Line(concentrator_id=MASTER)
    for _ in range(WAITING + BATCH):
        ground.uplink.receive(line, b"", b"MR")
    assert ground.pauses == [True]
    await ground.settle()
    assert ground.pauses == [True, False]
    assert ground.uplink.counts["records"] == WAITING + BATCH


async def test_a_full_disk_is_one_sentence_when_it_begins_and_a_count_when_it_ends(start: Start) -> None:
    """The review found 228 lines with a code and no sentence."""

    class Full:
        async def publish(self, batch: Batch) -> None:
            raise EngineError("mdms.full", "The disk that holds the readings is full. Free some space.")

    device, line = Device(), Line()
    ground = start(device)
    free = ground.platform.publish
    with capture_logs() as logged:
        for _ in range(5):
            ground.platform.publish = Full.publish.__get__(ground.platform)  # type: ignore[method-assign]
            await ground.send(line, device.seal())
        ground.platform.publish = free  # type: ignore[method-assign]
        await ground.send(line, device.seal())
        await ground.send(line, device.seal())
    said = [entry for entry in logged if entry["event"].startswith("uplink.")]
    assert said == [
        {
            "event": "uplink.not-committed",
            "log_level": "warning",
            "code": "mdms.full",
            "message": "The disk that holds the readings is full. Free some space.",
        },
        {"event": "uplink.not-committed.over", "log_level": "warning", "code": "mdms.full", "times": 5},
    ]


async def test_made_up_addresses_fill_no_audit_trail(start: Start) -> None:
    ground = start()
    for number in range(1_000):
        line = Line()
        line.source = f"198.51.100.{number}"
        ground.uplink.receive(line, b"", b"\x01" + bytes(60), proven=False)
    await ground.settle()
    assert ground.uplink.counts["refused"] == 1_000
    assert 0 < len(ground.platform.audit) <= 100
    line = Line()
    line.source = "203.0.113.9"
    ground.uplink.receive(line, b"", b"\x01" + bytes(60))
    await ground.settle()
    assert ground.platform.audit[-1].source == "203.0.113.9"  # a way that is proven is heard none the less
