"""What a concentrator holds for plain meters: a week offline, bounds, times, clocks; a thousand meters in memory."""

from __future__ import annotations

from itertools import pairwise

import pytest

from meterseal.edge.held import HELD, HeldAnswers
from meterseal.edge.marks import SEEN
from meterseal.edge.nv import MemoryNv, SealedNv
from meterseal.edge.restating import blocks
from meterseal.edge.schedule import DAY, MINUTE, Schedule
from meterseal.wire import encode
from meterseal.wire import identifiers as ids
from meterseal.wire.frame import Frame, parse_frame
from meterseal.wire.meaning import interpret
from tests.crypto.pki import NOW
from tests.edge.platform import STORAGE
from tests.edge.site import HOUR, Site
from tests.wire import built

WATER, GAS, POWER = (
    bytes.fromhex(one) for one in ("1078330000000001", "3078330000000002", "d700003100000004")
)
SEALED_POWER = bytes.fromhex("d700003100000009")


def test_after_a_week_without_a_head_end_every_reading_arrives_once_at_its_own_time() -> None:
    site = Site([WATER, GAS, POWER], Schedule(every_minutes=60))
    site.begin()
    began = site.now
    site.platform.frames.clear()
    site.online = False
    site.run(began + 3 * DAY, 4 * MINUTE)
    site.wire.off.add(GAS)
    site.run(began + 4 * DAY, 4 * MINUTE)
    site.wire.off.clear()
    site.run(began + 7 * DAY, 4 * MINUTE)
    assert len(site.concentrator.outbox) > 400
    site.online = True
    while len(site.concentrator.outbox):
        site.turn(100)
    for device in (WATER, POWER):
        times = site.came(device)
        assert len(times) == len(set(times)) == 7 * 24
        assert times == sorted(times)
        assert {later - one for one, later in pairwise(times)} <= {
            56 * MINUTE,
            60 * MINUTE,
            64 * MINUTE,
        }
    away = site.came(GAS)
    assert len(away) == len(set(away))
    assert 6 * 24 <= len(away) <= 6 * 24 + 1
    assert site.concentrator.outbox.dropped == 0
    held = [name for name in site.store.pages if name.startswith(HELD)]
    assert held == []


def test_what_was_read_while_the_clock_was_not_known_good_goes_up_as_it_came() -> None:
    site = Site([POWER], Schedule(every_minutes=60))
    site.turn(100)  # nobody told the time yet
    site.begin()
    (_, frame), *_ = site.platform.frames
    assert interpret(frame).interval is None
    site.run(site.now + 2 * HOUR)
    assert interpret(site.platform.frames[-1][1]).interval is not None


def test_a_clock_that_jumps_or_disagrees_is_not_good_until_the_platform_was_asked() -> None:
    site = Site([POWER], Schedule(every_minutes=60))
    site.begin()
    site.online = False
    site.turn(2 * HOUR)
    assert not site.concentrator.clock.good(site.now)
    site.online = True
    site.run(site.now + 5 * MINUTE)
    assert site.concentrator.clock.good(site.now)
    site.concentrator.clock.told(site.now + 60_000, site.now)
    assert not site.concentrator.clock.good(site.now)


@pytest.mark.parametrize("device", [POWER, WATER])
def test_plain_clocks_are_set_to_the_platforms_time(device: bytes) -> None:
    site = Site([device], Schedule(every_minutes=60, clock_at=("08:10",)))
    site.begin()
    site.wire.nodes[device].meter.set_clock(site.now - 3 * MINUTE, site.now)
    site.wire.asked.clear()
    site.run(site.now + 30 * MINUTE)
    asked = [frame for frame in site.wire.asked if frame.control in (0x08, 0x04)]
    assert len(asked) == 1
    if device == POWER:
        assert asked[0].address == b"\x99" * 6
        assert site.concentrator.clock.set == 1


def test_no_clock_is_set_on_a_bus_with_a_sealed_electricity_meter_nor_while_the_own_one_is_unknown() -> None:
    site = Site([POWER, SEALED_POWER], Schedule(every_minutes=60, clock_at=("08:10",)), [SEALED_POWER])
    site.begin()
    site.run(site.now + 30 * MINUTE)
    assert not [frame for frame in site.wire.asked if frame.control == 0x08]
    alone = Site([POWER], Schedule(every_minutes=60, clock_at=("08:10",)))
    alone.online = False
    alone.run(alone.now + 30 * MINUTE)
    assert not [frame for frame in alone.wire.asked if frame.control == 0x08]


def energy(number: int) -> Frame:
    return built.energy_answer(POWER, number)


def test_too_many_and_too_old_answers_are_dropped_oldest_first_and_counted() -> None:
    store = SealedNv(MemoryNv(), STORAGE, b"held")
    held = HeldAnswers(store, most=3, kept=HOUR)
    for number in range(5):
        held.take(POWER, energy(number), NOW + number)
    assert (len(held), held.dropped) == (3, 2)
    held.expire(NOW + HOUR + 3)
    assert (len(held), held.dropped) == (2, 3)
    again = HeldAnswers(store, most=3, kept=HOUR)
    assert len(again) == 2
    assert again.next(NOW + HOUR + 3) is not None
    again.expire(NOW + 9 * HOUR)  # what was handed out is on its way and stays
    assert (len(again), again.dropped) == (1, 1)


def test_no_meters_number_stands_in_the_names_of_pages_and_older_ones_are_renamed() -> None:
    memory = MemoryNv()
    store = SealedNv(memory, STORAGE, b"held")
    raw = energy(7).encode()
    store.write({f"{HELD}{5:012x}": raw, SEEN + POWER.hex(): b"d" * 32})
    held = HeldAnswers(store)
    held.take(WATER, energy(8), NOW)
    assert len(held) == 2
    assert not [name for name in memory.pages if POWER.hex() in name or WATER.hex() in name]
    assert len(HeldAnswers(store)) == 2


def test_a_register_is_restated_exactly_or_not_at_all() -> None:
    frame, _ = parse_frame(blocks(energy(12_345_678), NOW + 7))
    block = interpret(frame).interval
    assert block is not None
    assert (block.registers, block.exponent, block.unit, block.start_at) == (
        (12_345_678,),
        -2,
        "kWh",
        NOW - NOW % 1_000,
    )
    assert blocks(encode.read_request(POWER, 0x00010000), NOW) == b""


def test_a_thousand_meters_are_read_in_rounds_and_nothing_grows_with_the_rounds() -> None:
    devices = [bytes.fromhex(f"1078330000{number:06d}") for number in range(1_000)]
    site = Site(devices, Schedule(every_minutes=60))
    site.begin()

    assert {frame.device_id for _, frame in site.platform.frames} == set(devices)
    before, began = len(site.store.pages), len(site.platform.frames)
    site.run(site.now + HOUR, 4 * MINUTE)
    while len(site.concentrator.outbox):
        site.turn(100)
    new = [interpret(frame).di for _, frame in site.platform.frames[began:]]
    assert {di: new.count(di) for di in new} == {
        ids.METERING: 1_000,
        ids.CLOCK: 1_000,
    }  # the clocks for a week
    assert len(site.store.pages) == before == 1_000  # what was answered last, by meter
    assert all(line.heard_at > site.now - 2 * HOUR for line in site.riser.lines.values())


def test_the_time_is_asked_for_though_readings_wait_at_every_moment() -> None:
    site = Site([WATER, POWER], Schedule(every_minutes=60))
    site.begin()
    site.power_on()  # the session is kept: no handshake tells the time
    for number in range(200):
        site.concentrator.outbox.take(POWER, energy(number), site.now, timed=False)
    for _ in range(20):
        site.turn(100)
    assert site.concentrator.clock.good(site.now)
