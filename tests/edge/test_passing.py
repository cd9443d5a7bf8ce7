"""Words that a concentrator passes on to plain meters: whatever is cut, late, silent or for somebody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from meterseal.edge.agent import Order
from meterseal.edge.chip import Chip
from meterseal.edge.module import Module
from meterseal.edge.nv import MemoryNv, SealedNv
from meterseal.edge.passing import PATIENCE, READS
from meterseal.edge.schedule import MINUTE, Schedule
from meterseal.wire import encode
from meterseal.wire import identifiers as ids
from meterseal.wire.frame import Frame, parse_frame
from meterseal.wire.roster import Listed, roster_frame, silence
from tests.edge.field import CONCENTRATOR
from tests.edge.platform import STORAGE
from tests.edge.site import HOUR, Site
from tests.edge.test_power_cuts import PowerCut

WATER, GAS, SEALED = (
    bytes.fromhex(f"{kind}7833000000000{end}") for kind, end in (("10", 1), ("30", 2), ("10", 3))
)
CLOSE = encode.valve_request(WATER, opened=False, ser=7)
LEAVE = roster_frame(GAS, Listed("remove"), 8)


class Told(Site):
    """A site of two plain meters and a sealed one that takes words, and counts what the first was told."""

    def __init__(self) -> None:
        super().__init__([WATER, GAS, SEALED], Schedule(every_minutes=60), sealed=[SEALED], suite=2)
        self.told: list[bool] = []
        self.ends: dict[int, int] = {}
        for device in (WATER, GAS):
            self.wire.nodes[device].meter.clear_writes = True
        meter: Any = self.wire.nodes[WATER].meter
        turn = meter.turn_valve

        def counted(*, opened: bool, now: int) -> object:
            self.told.append(opened)
            return turn(opened=opened, now=now)

        meter.turn_valve = counted
        self.begin()

    def again(self) -> None:
        """The concentrator and its module begin anew on what they wrote."""
        self.chip = Chip(Module(SealedNv(self.memory, STORAGE, b"concentr")))
        self.power_on()
        self.begin()

    def command(self, frame: Frame, number: int, lasts: int = HOUR) -> None:
        until = self.ends.setdefault(number, self.now + lasts)
        record = self.platform.command(CONCENTRATOR, frame, number, until)
        self.concentrator.receive(CONCENTRATOR, record, self.now)

    def turns(self, count: int, step: int = 200) -> None:
        for _ in range(count):
            self.turn(step)

    @property
    def readings(self) -> int:
        return sum(frame.control in (0x81, 0x91) for _, frame in self.platform.frames)

    @property
    def answers(self) -> list[Frame]:
        """What came up that is no reading."""
        return [frame for _, frame in self.platform.frames if frame.control not in (0x81, 0x91)]


def cut_at(stores: list[MemoryNv], place: int, *, after: bool) -> Callable[[], int]:
    """Let these memories lose power together at their write number `place`; how many there were so far."""
    count = 0

    def cutting(store: MemoryNv) -> None:
        write = store.write

        def once(pages: Any) -> None:
            nonlocal count
            count += 1
            if count == place and not after:
                raise PowerCut
            write(pages)
            if count == place:
                raise PowerCut

        store.write = once  # type: ignore[method-assign]

    for store in stores:
        cutting(store)
    return lambda: count


def life(place: int, *, after: bool) -> tuple[Told, int]:
    """A command and a change of the list, with the supply lost at one write; then both words come again."""
    site = Told()
    written = cut_at([site.memory, site.store], place, after=after)
    for frame, number in ((CLOSE, 1), (LEAVE, 2)):
        try:
            site.command(frame, number)
            site.turns(5)
        except PowerCut:
            site.again()
            site.command(frame, number)
            site.turns(5)
    return site, written()


def test_power_lost_at_any_write_tells_no_meter_twice_and_leaves_one_list_or_the_other() -> None:
    whole, writes = life(0, after=False)
    assert whole.told == [False]
    assert {frame.device_id for frame in whole.answers} == {WATER, GAS}
    assert writes > 5
    for place in range(1, writes + 1):
        for after in (False, True):
            site, _ = life(place, after=after)
            assert site.told in ([False], [])  # a number that was written and not yet carried out never is
            listed = GAS in site.riser.lines
            site.again()
            assert (GAS in site.riser.lines) == listed
            before = site.readings
            site.run(site.now + 2 * HOUR, 10 * MINUTE)
            site.turns(20)
            assert site.readings > before


def test_an_answered_command_that_is_repeated_gets_its_answer_again_from_the_module_alone() -> None:
    site = Told()
    site.command(CLOSE, 1)
    site.turns(5)
    (first,) = site.answers
    site.again()
    site.command(CLOSE, 1)
    site.turns(5)
    assert site.answers == [first, first]
    assert site.told == [False]


def test_of_a_silent_meter_the_platform_hears_after_a_minute_and_a_half() -> None:
    site = Told()
    site.wire.off.add(WATER)
    site.command(CLOSE, 1)
    site.turns(PATIENCE // 1_000 + 20, 1_000)
    assert [frame for _, frame in site.platform.frames if frame.data == silence(CLOSE).data]
    site.wire.off.clear()
    site.turns(60, 1_000)
    assert site.told == []


@pytest.mark.parametrize(
    ("frame", "most"),
    [
        (CLOSE, 100),
        (encode.write_request(WATER, 0xA013, bytes.fromhex("01 64 00 00 00"), ser=7), 1),
        (encode.write_request(WATER, 0xA0F0, b"\x01", ser=7), 1),
    ],
    ids=["valve", "purchase", "what no table explains"],
)
def test_a_silent_meter_is_told_again_only_what_does_no_harm_twice(frame: Frame, most: int) -> None:
    site = Told()
    site.wire.off.add(WATER)
    site.wire.asked.clear()
    site.command(frame, 1)
    site.turns(PATIENCE // 1_000 + 20, 1_000)
    times = sum(one.data == frame.data for one in site.wire.asked)
    assert times == 1 if most == 1 else 3 <= times <= most
    assert [up for _, up in site.platform.frames if up.data == silence(frame).data]


def test_a_purchase_is_not_told_again_when_the_bus_was_lost_in_between() -> None:
    site = Told()
    frame = encode.write_request(WATER, 0xA013, bytes.fromhex("01 64 00 00 00"), ser=7)
    site.command(frame, 1)
    assert site.riser.request(site.now) is not None
    site.riser.lost(site.now)
    site.wire.asked.clear()
    site.turns(PATIENCE // 1_000 + 20, 1_000)
    assert frame.data not in [one.data for one in site.wire.asked]
    assert [up for _, up in site.platform.frames if up.data == silence(frame).data]


def test_a_late_answer_to_an_earlier_number_harms_nothing() -> None:
    """The bus was away while a second command came."""
    site = Told()
    request = site.riser.request
    site.command(CLOSE, 1)
    asked = request(site.now)
    assert asked is not None
    site.command(LEAVE, 2)
    assert site.riser.answer(site.wire.answer(parse_frame(asked)[0], site.now), site.now)
    site.turns(5)
    assert {frame.device_id for frame in site.answers} == {WATER, GAS}
    assert site.told == [False]


@pytest.mark.parametrize(
    "device", [SEALED, bytes.fromhex("1078330000000099"), bytes.fromhex("10aaaaaaaaaaaaaa")]
)
def test_nothing_goes_on_the_bus_for_whoever_is_not_plain_on_its_list(device: bytes) -> None:
    site = Told()
    site.wire.asked.clear()
    site.command(encode.valve_request(device, opened=False, ser=7), 1)
    site.concentrator.receive(
        CONCENTRATOR,
        site.platform.request(CONCENTRATOR, encode.read_request(device, ids.METERING, 7)),
        site.now,
    )
    site.turns(5)
    assert site.concentrator.passing.refused == 2
    assert not [frame for frame in site.wire.asked if frame.data[2:3] == b"\x07"]
    assert site.told == []


def test_an_order_without_a_number_only_reads_and_so_many_at_once() -> None:
    site = Told()
    passing = site.concentrator.passing
    assert passing.take(Order(CLOSE.encode(), 0), site.now) is None
    assert passing.take(Order(LEAVE.encode(), 0), site.now) is None
    assert passing.take(Order(b"\x68no frame", 0), site.now) is None
    read = Order(encode.read_request(WATER, ids.METERING, 7).encode(), 0)
    taken = [passing.take(read, site.now) is not None for _ in range(2 * READS)]
    assert taken == [True] * READS + [False] * READS
    site.turns(READS + 5)
    assert passing.take(read, site.now) is not None
    assert GAS in site.riser.lines
    assert site.told == []
