"""Station edge, a concentrator's own clock and those of its plain meters: whether the one is good, and the others' setting.

Pure: it only says what to ask of whom. A meter with a module gets its time from its own session and never from here; a
broadcast reaches every electricity meter of a bus, so a bus with a sealed one gets none.
"""

from __future__ import annotations

from meterseal.edge.line import Line, Wanted
from meterseal.edge.poll import Riser
from meterseal.edge.schedule import Schedule
from meterseal.wire.asked import Ask
from meterseal.wire.frame import Frame

GOOD_FOR = 86_400_000
"""How long after the platform's time was seen the clock is good enough to set others by."""
ASKED_AFTER = 21_600_000
"""How long after that it is asked for again."""
AGREED = 2_000
"""A clock that differs by more from the platform's is not good."""
JUMP = 300_000
"""A clock that moves on by more than this between two looks, or back, was set by somebody or slept."""
STANDARD_TIME = 0xA015


class Timekeeping:
    """The clock of one concentrator, and when it sets those of the plain meters of its risers."""

    def __init__(self, risers: list[Riser], schedule: Schedule | None) -> None:
        self._risers = risers
        self._schedule = schedule
        self._checked: int | None = None
        self._asked: int | None = None
        self._looked: int | None = None
        self._at: int | None = None
        self._refused: set[bytes] = set()
        self.set = 0
        """Broadcasts sent and clocks of single meters set."""

    def good(self, now: int, within: int = GOOD_FOR) -> bool:
        """Whether the concentrator's own clock agreed with the platform's not longer ago than that, and ran on since."""
        return self._checked is not None and 0 <= now - self._checked <= within

    def told(self, at: int, now: int) -> None:
        """The platform's time, as the module gave it out: of a session, or of an answer to a question for it."""
        self._checked = now if abs(at - now) <= AGREED else None

    def wants(self, now: int) -> bool:
        """Whether to ask the platform for its time; at most once a minute."""
        fresh = self._checked is not None and 0 <= now - self._checked < ASKED_AFTER
        if fresh or (self._asked is not None and 0 <= now - self._asked < 60_000):
            return False
        self._asked = now
        return True

    def tick(self, now: int) -> None:
        """Notice a clock that jumped; set the meters' when it is time."""
        if self._looked is not None and not 0 <= now - self._looked <= JUMP:
            self._checked = None
        self._looked = now
        if self._schedule is None:
            return
        if self._at is not None and now >= self._at and self.good(now):
            for riser in self._risers:
                self._set(riser, self._schedule.utc_offset_minutes)
        if self._at is None or now >= self._at:
            self._at = self._schedule.clock_after(now)

    def _set(self, riser: Riser, offset: int) -> None:
        electric = [line for line in riser.lines.values() if line.protocol == "dlt645"]
        if electric and all(line.plain for line in electric):
            first = electric[0]
            riser.say(lambda now: self._broadcast(first, now, offset))
        for line in riser.lines.values():
            if line.plain and line.protocol == "cjt188" and line.device_id not in self._refused:
                self._one(riser, line, offset)

    def _broadcast(self, line: Line, now: int, offset: int) -> Frame | None:
        if not self.good(now):
            return None
        self.set += 1
        return line.ask(Ask(kind="time", at=now, broadcast=True), utc_offset_minutes=offset)

    def _one(self, riser: Riser, line: Line, offset: int) -> None:
        def make(now: int) -> Frame | None:
            if not self.good(now):
                return None
            return line.ask(Ask(kind="time", di=STANDARD_TIME, at=now), utc_offset_minutes=offset)

        def answered(frame: Frame | None, now: int) -> None:
            if frame is not None:
                self.set += 1
            elif not line.failures:  # it refused; who is silent may take it another day
                self._refused.add(line.device_id)

        riser.want(line.device_id, Wanted(make, answered))
