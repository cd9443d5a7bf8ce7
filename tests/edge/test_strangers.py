"""Meters that nobody named: found by a search, told to the platform once each, across cuts, and never without bound."""

from __future__ import annotations

import pytest

from meterseal.edge.held import HELD
from meterseal.edge.nv import SealedNv
from meterseal.edge.schedule import DAY, MINUTE, Schedule
from meterseal.edge.strangers import A_SEARCH, MOST_TOLD, TOLD
from meterseal.wire.frame import Frame
from meterseal.wire.meaning import interpret
from tests.edge.platform import STORAGE
from tests.edge.site import Site

WATER, OTHER, POWER = (
    bytes.fromhex(one) for one in ("1078330000000001", "1078330000000002", "d700003100000004")
)
NIGHTLY = Schedule(every_minutes=60, search_at=("02:00",))


class Searched(Site):
    """A site that knows the first meter and has all of them on its wire."""

    def __init__(self, devices: list[bytes]) -> None:
        super().__init__(devices, NIGHTLY, suite=2)
        self.devices = devices[:1]
        self.power_on()
        self.begin()
        self.platform.frames.clear()

    def nights(self, number: int) -> None:
        """Some nights pass, each with a search."""
        for _ in range(number):
            self.run(self.now + DAY, 4 * MINUTE)
            while len(self.concentrator.outbox):
                self.turn(100)

    @property
    def told(self) -> list[Frame]:
        """What came of meters that were found."""
        return [frame for _, frame in self.platform.frames if interpret(frame).di in (0xE003, 0xE0030000)]


def test_an_unknown_meter_is_told_once_with_its_bus_and_time_whatever_nights_and_cuts_follow() -> None:
    site = Searched([WATER, OTHER, POWER])
    began = site.now
    site.nights(1)
    assert {frame.device_id for frame in site.told} == {OTHER, POWER}
    for frame in site.told:
        meaning = interpret(frame)
        assert meaning.recognised
        assert meaning.readings["bus"].register == 0
        assert meaning.frozen_at is not None
        assert began < meaning.frozen_at <= site.now
    for _ in range(2):
        site.power_on()
        site.begin()
        site.nights(1)
    assert len(site.told) == 2
    assert set(site.concentrator.strangers.told) == {OTHER, POWER}


def test_a_meter_that_is_set_up_here_is_forgotten_and_told_anew_if_it_is_taken_out_again() -> None:
    site = Searched([WATER, OTHER])
    site.nights(1)
    site.devices = [WATER, OTHER]
    site.power_on()
    assert site.concentrator.strangers.told == {}
    assert not [name for name in site.store.pages if name.startswith(TOLD)]
    site.devices = [WATER]
    site.power_on()
    site.begin()
    site.nights(1)
    assert [frame.device_id for frame in site.told] == [OTHER, OTHER]


def numbers(tens: int, count: int) -> list[bytes]:
    """Made-up numbers on a bus; another `tens`, others."""
    return [bytes.fromhex(f"1099{tens:02d}{number:010d}") for number in range(count)]


def test_who_answers_under_thousands_of_numbers_is_told_of_so_often_and_no_more() -> None:
    site = Searched([WATER])
    strangers, held = site.concentrator.strangers, site.concentrator.outbox
    before = len(held)
    for night in range(3):
        strangers.tell(0, numbers(night, 1_000), site.now + night, utc_offset_minutes=480)
    told = MOST_TOLD + 2 * A_SEARCH
    assert len(held) - before == told
    assert len(strangers.told) == MOST_TOLD
    assert strangers.untold == 3_000 - told
    names = [name for name in site.store.pages if name.startswith(TOLD)]
    assert len(names) == MOST_TOLD
    assert not [name for name in site.store.pages if "1099" in name]


@pytest.mark.parametrize("changing", [False, True])
def test_whoever_fills_the_table_with_false_numbers_hides_a_new_meter_for_nights_and_not_for_good(
    changing: bool,
) -> None:
    site = Searched([WATER])
    for night in range(20):
        site.concentrator.strangers.tell(
            0, numbers(night if changing else 0, 500), site.now + night * DAY, utc_offset_minutes=480
        )
    nights = 0
    while OTHER not in site.concentrator.strangers.told:
        nights += 1
        assert nights < 60
        found = [*numbers(20 + nights if changing else 0, 500), OTHER]
        if nights % 7 == 0:
            site.power_on()
        site.concentrator.strangers.tell(0, found, site.now + (20 + nights) * DAY, utc_offset_minutes=480)
    site.power_on()
    assert len(site.concentrator.strangers.told) == MOST_TOLD
    assert OTHER in site.concentrator.strangers.told


def test_false_numbers_on_one_bus_take_nothing_of_the_room_of_another() -> None:
    site = Searched([WATER])
    strangers = site.concentrator.strangers
    strangers.tell(0, numbers(0, 1_000), site.now, utc_offset_minutes=480)
    strangers.tell(1, [OTHER, POWER], site.now, utc_offset_minutes=480)
    assert {strangers.told[one].bus for one in (OTHER, POWER)} == {1}


def test_a_stranger_that_is_there_is_told_once_and_one_that_was_long_away_anew() -> None:
    site = Searched([WATER])

    def after(days: int, *found: bytes) -> int:
        """How many are told of now, in the search of that day."""
        site.power_on()
        held = site.concentrator.outbox
        held.expire(site.now + days * DAY)
        before = len(held)
        site.concentrator.strangers.tell(0, found, site.now + days * DAY, utc_offset_minutes=480)
        return len(held) - before

    assert after(0, OTHER, POWER) == 2
    assert [after(days, OTHER) for days in range(5, 70, 5)] == [0] * 13
    assert set(site.concentrator.strangers.told) == {OTHER}
    assert after(71, OTHER, POWER) == 1


def test_nothing_is_told_before_the_time_is_known() -> None:
    site = Site([WATER], NIGHTLY, suite=2)
    site.devices, site.online = [], False
    site.power_on()
    site.run(site.now + DAY, 4 * MINUTE)
    assert site.concentrator.hunt.last[0].unknown == (WATER,)
    assert not [name for name in site.store.pages if name.startswith((HELD, TOLD))]
    site.online = True
    site.begin()
    site.turn(100)
    assert set(site.concentrator.strangers.told) == {WATER}


def test_a_page_that_is_no_whole_page_is_dropped() -> None:
    site = Searched([WATER, OTHER])
    site.nights(1)
    (name,) = [name for name in site.store.pages if name.startswith(TOLD)]
    SealedNv(site.store, STORAGE, b"held").write({name: b"short"})
    site.power_on()
    assert site.concentrator.strangers.told == {}
    assert name not in site.store.pages
