"""What plain meters raise the alarm about: told to the platform within hours, once each, across cuts."""

from __future__ import annotations

import pytest

from meterseal.edge.metering.inputs import BatteryIn, BatteryOut, Disturbed, Input, Opened
from meterseal.edge.schedule import MINUTE, Schedule
from meterseal.edge.watching import COUNTERS, EVERY, SEEN, SILENCES, AlarmBits
from meterseal.headend.findings import is_alarm, raised
from meterseal.model import MAGNET, REMOVED
from meterseal.wire.frame import Frame
from tests.edge.field import CONCENTRATOR
from tests.edge.site import HOUR, Alive, Site

WATER, POWER = bytes.fromhex("1078330000000001"), bytes.fromhex("d700003100000004")
HOURLY = Schedule(every_minutes=60)
OURS = AlarmBits(removed=REMOVED, magnet=MAGNET)


class Watched(Site):
    """A site of one meter that lives, and whose alarms are listened to."""

    def __init__(self, device: bytes, alarms: dict[str, AlarmBits] | None = None) -> None:
        super().__init__([device], HOURLY, suite=2, alarms=alarms)
        self.alive = Alive(device, self.now)
        self.wire.nodes[device].meter = self.alive.meter
        self.begin()
        self.hours(7)

    def hours(self, number: int) -> None:
        for _ in range(number):
            self.run(self.now + HOUR, 4 * MINUTE)
            self.alive.live(self.now)
        while len(self.concentrator.outbox):
            self.turn(100)

    def feel(self, what: Input) -> None:
        self.alive.meter.feed(what, self.now)

    @property
    def codes(self) -> list[str]:
        """What came up, in the head-end's codes."""
        found = [frame for _, frame in self.platform.frames if is_alarm(frame)]
        return [code for frame in found for code, _ in raised(frame, CONCENTRATOR)]


def test_an_opened_plain_water_meter_is_told_at_its_next_reading_and_once() -> None:
    site = Watched(WATER, {"water-generic": OURS})
    assert site.codes == []
    site.feel(Opened())
    site.hours(2)
    assert site.codes == ["meter.removed"]
    for _ in range(3):
        site.power_on()
        site.begin()
        site.hours(2)
    assert site.codes == ["meter.removed"]
    site.feel(Disturbed("magnet"))
    site.hours(2)
    assert site.codes == ["meter.removed", "meter.magnet"]


def test_what_nobody_documented_of_a_second_status_byte_is_no_alarm() -> None:
    site = Watched(WATER)
    site.feel(Opened())
    site.feel(Disturbed("magnet"))
    site.hours(3)
    assert site.codes == []


@pytest.mark.parametrize(
    ("what", "code"), [(Opened(), "meter.removed"), (Disturbed("magnet"), "meter.magnet")]
)
def test_a_counter_of_an_electricity_meter_that_rose_is_told_within_a_look(what: Input, code: str) -> None:
    site = Watched(POWER)
    assert site.codes == []
    site.feel(what)
    site.hours(EVERY // HOUR + 1)
    assert site.codes == [code]
    site.power_on()
    site.begin()
    site.hours(EVERY // HOUR + 1)
    assert site.codes == [code]


def test_an_electricity_meter_whose_power_failed_says_so_when_it_is_back() -> None:
    site = Watched(POWER)
    site.feel(BatteryOut())
    site.feel(BatteryIn())
    site.hours(EVERY // HOUR + 1)
    assert site.codes == ["meter.power"]


def test_a_meter_is_asked_once_for_what_it_lacks_and_answers_for_its_register_all_the_same() -> None:
    site = Watched(POWER)
    site.wire.asked.clear()
    site.hours(2 * EVERY // HOUR)
    asked = [int.from_bytes(frame.data[:4], "little") for frame in site.wire.asked if len(frame.data) == 4]
    lacks = {0x03300E00, 0x03360000}  # our meter has no such counters; it said so at the first look
    assert not lacks & set(asked)
    assert {di for di, *_ in COUNTERS} - lacks <= set(asked)
    assert asked.count(0x00010000) >= 11


def test_a_meter_that_is_gone_leaves_no_page_and_a_broken_page_is_dropped() -> None:
    site = Watched(POWER)
    (name,) = [name for name in site.store.pages if name.startswith(SEEN)]
    assert POWER.hex() not in name
    site.devices = [WATER]
    site.power_on()
    assert not [name for name in site.store.pages if name.startswith(SEEN)]


def test_a_meter_that_keeps_silent_where_it_should_refuse_is_read_on_and_asked_so_often_only() -> None:
    site = Watched(POWER)
    site.hours(1)
    answer, quiet = site.wire.answer, bytes.fromhex("00003503")

    def silent(request: Frame, now: int) -> bytes:
        heard = answer(request, now)
        return b"" if request.data == quiet else heard

    site.wire.answer = silent  # type: ignore[method-assign]
    site.wire.asked.clear()
    before = len(site.platform.frames)
    site.hours(4 * EVERY // HOUR)
    assert sum(frame.data == quiet for frame in site.wire.asked) == SILENCES
    assert len(site.platform.frames) - before >= 4 * EVERY // HOUR  # its register, each hour
    site.feel(Opened())
    site.hours(EVERY // HOUR + 1)
    assert site.codes == ["meter.removed"]
