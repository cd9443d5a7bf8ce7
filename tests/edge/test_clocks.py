"""What clocks of plain meters show beside their concentrator's: told at once where they are off, and once a week."""

from __future__ import annotations

import pytest

from meterseal.edge.clocks import AGAIN, EVERY, MOVED
from meterseal.edge.schedule import DAY, MINUTE, Schedule
from meterseal.wire import identifiers as ids
from meterseal.wire.fields import moment_at
from meterseal.wire.meaning import interpret
from tests.edge.site import HOUR, Alive, Site

WATER, POWER = bytes.fromhex("1078330000000001"), bytes.fromhex("d700003100000004")
HOURLY = Schedule(every_minutes=60)


class Clocked(Site):
    """A site of one meter that lives, whose clock is looked at."""

    def __init__(self, device: bytes, schedule: Schedule = HOURLY) -> None:
        super().__init__([device], schedule, suite=2)
        self.alive = Alive(device, self.now)
        self.wire.nodes[device].meter = self.alive.meter
        self.begin()

    def hours(self, number: int) -> None:
        for _ in range(number):
            self.run(self.now + HOUR, 4 * MINUTE)
            self.alive.live(self.now)

    def off(self, by: int) -> None:
        self.alive.meter.set_clock(self.alive.meter.clock(self.now) + by, self.now)

    @property
    def seen(self) -> list[tuple[int, int, int]]:
        """Of what came up: least and most that the clock leads by, and until when it was known to stand otherwise (s)."""
        found = []
        for _, frame in self.platform.frames:
            meaning = interpret(frame)
            if meaning.di in (ids.CLOCK, ids.CLOCK_645):
                shown, asked, answered, agreed = (at_ms(one.text) for one in meaning.readings.values())
                found.append(((shown - answered) // 1_000, (shown + 1_000 - asked) // 1_000, agreed // 1_000))
        return found


def at_ms(text: str | None) -> int:
    at = moment_at(text, 480)
    assert at is not None
    return at


@pytest.mark.parametrize("device", [WATER, POWER])
def test_a_clock_that_falls_back_an_hour_is_told_within_a_look_with_when_it_was_still_right(
    device: bytes,
) -> None:
    site = Clocked(device)
    site.hours(EVERY // HOUR + 2)
    ((least, most, _),) = site.seen
    assert -3 <= least <= 0 <= most <= 3
    fell = site.now
    site.off(-HOUR)
    site.hours(EVERY // HOUR + 1)
    _, (least, most, agreed) = site.seen
    assert least <= -3_600 <= most
    assert most - least <= 3
    assert fell - EVERY - HOUR <= agreed * 1_000 <= fell


@pytest.mark.parametrize("by", [-20_000, 20_000])
def test_what_is_within_the_seconds_of_a_good_clock_is_told_once_a_week(by: int) -> None:
    assert abs(by) < MOVED
    site = Clocked(WATER)
    site.hours(2)
    site.off(by)
    site.hours(3)
    assert len(site.seen) == 1
    site.hours(AGAIN // HOUR)
    assert len(site.seen) == 2


def test_the_day_s_setting_of_a_clock_is_told_too() -> None:
    site = Clocked(WATER, Schedule(every_minutes=60, clock_at=("03:00",)))
    site.alive.meter.clear_writes = True
    site.off(-HOUR)
    site.hours(DAY // HOUR + 2)
    assert len(site.seen) == 2
    (_, off, _), (least, most, _) = site.seen
    assert off < -3_500
    assert -3 <= least <= 0 <= most <= 3
    assert site.concentrator.clock.set >= 1


def test_a_concentrator_whose_own_clock_is_not_known_good_tells_of_no_other() -> None:
    site = Clocked(WATER)
    site.hours(2)
    site.online = False
    site.hours(30)
    site.off(-HOUR)
    site.hours(3)
    assert not site.concentrator.clock.good(site.now)
    assert site.concentrator.clocks.told == 1
