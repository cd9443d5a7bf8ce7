"""The search of a concentrator's bus: meters that answer at once are told apart, and nothing that is due waits for it."""

from __future__ import annotations

from itertools import pairwise

from meterseal.edge.hunting import Hunt
from meterseal.edge.line import Line
from meterseal.edge.poll import Pace, Riser
from meterseal.edge.schedule import MINUTE, Schedule
from meterseal.wire.frame import Frame
from tests.edge.buses import Wire, exchange
from tests.edge.test_schedule import MIDNIGHT

WATER, OTHER, THIRD, POWER = (
    bytes.fromhex(one)
    for one in ("1078330000000001", "1078330000000002", "1078330000000103", "d700003100000004")
)
SEARCH = (0x03, 0x13)
"""Control codes of read-address."""


class Searched:
    """A riser that knows one plain meter, on a wire with these."""

    def __init__(self, devices: list[bytes], schedule: Schedule | None = None) -> None:
        self.wire, self.now = Wire(devices), MIDNIGHT
        self.riser = Riser(
            [Line(WATER, plain=True)],
            Pace(answer=50, plain=10_000),
            lambda *_: None,
            lambda *_: None,
            schedule,
        )
        self.hunt = Hunt([self.riser], schedule)

    def step(self, ms: int = 100) -> Frame | None:
        self.now += ms
        self.hunt.tick(self.now)
        return exchange(self.riser, self.wire, self.now)


def test_meters_that_answer_at_once_are_told_apart_and_the_known_one_is_no_find() -> None:
    bus = Searched([WATER, OTHER, THIRD, POWER])
    bus.hunt.begin(0)
    for _ in range(5_000):
        bus.step()
        if bus.hunt.last[0].ended_at:
            break
    assert set(bus.hunt.last[0].unknown) == {OTHER, THIRD, POWER}
    assert not bus.hunt.state(0).searching


def test_what_is_due_goes_before_the_next_question_of_a_search() -> None:
    bus = Searched([WATER, OTHER])
    bus.step()
    bus.hunt.begin(0)
    asked = [bus.step() for _ in range(500)]
    reads = [at for at, frame in enumerate(asked) if frame is not None and frame.control not in SEARCH]
    assert len(reads) == 5  # every ten seconds of the fifty
    assert {later - one for one, later in pairwise(reads)} == {100}
    assert any(frame is not None and frame.control in SEARCH for frame in asked)


def test_a_search_begins_at_its_time_of_day_and_at_no_other() -> None:
    bus = Searched([WATER], Schedule(every_minutes=60, search_at=("00:10",)))
    asked = [(bus.now, frame) for _ in range(30) if (frame := bus.step(MINUTE)) is not None]
    searched = [at for at, frame in asked if frame.control in SEARCH]
    assert searched
    assert min(searched) == MIDNIGHT + 10 * MINUTE


def test_a_line_that_is_lost_in_a_search_goes_on_with_it() -> None:
    bus = Searched([OTHER])
    bus.riser.lines[WATER].due = bus.now + 10**9
    bus.hunt.begin(0)
    bus.hunt.tick(bus.now)
    assert bus.riser.request(bus.now) is not None
    bus.riser.lost(bus.now)
    for _ in range(300):
        bus.step()
    assert bus.hunt.last[0].unknown == (OTHER,)
