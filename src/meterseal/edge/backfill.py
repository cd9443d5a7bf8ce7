"""Station edge, back-fill (补抄): what plain meters froze while nobody read them, asked for whenever nothing else is due.

It chooses whose turn it is and hands on what came; what is asked is `freezes`', what is missed stands in the marks of
`held`. A local midnight that no freeze tells of is said to be missing, and nothing is invented.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from meterseal.edge.freezes import DAY, HOUR, Heard, Missed, Talk, talk
from meterseal.edge.held import HeldAnswers
from meterseal.edge.line import Line, Wanted
from meterseal.edge.poll import Riser
from meterseal.edge.restating import restated
from meterseal.edge.schedule import Schedule
from meterseal.wire.asked import Ask
from meterseal.wire.frame import Frame
from meterseal.wire.sheet import Value

SILENCES = 2
"""So often one question may get no answer of a meter that answers for its register right after; then it is taken for
refused: some meters keep silent where they should refuse.
"""
OFTEN = 2 * HOUR
"""Meters that are read at least so often have their hours read back too."""


class _Conversation:
    """What is going on with one meter."""

    def __init__(self, line: Line, missed: Missed) -> None:
        self.line, self.missed = line, missed
        self._talk: Talk = talk(line, missed)
        self.question: Ask | None = None
        self.found: dict[int, Value] | None = None
        """What came of it, once it is over."""
        self.silences = 0
        self.doubted = False
        """It kept silent, and is asked for its register to see whether it is there at all."""
        self._go(lambda: next(self._talk))

    def hear(self, heard: Heard) -> None:
        """Go on with what was heard, or with the time alone where nothing was asked."""
        self.silences = 0
        self._go(lambda: self._talk.send(heard))

    def _go(self, step: Callable[[], Ask | None]) -> None:
        try:
            self.question = step()
        except StopIteration as over:
            self.question, self.found = None, over.value


class Backfill:
    """The back-fill of all buses of one concentrator. `good` says whether its own clock is known good."""

    def __init__(
        self,
        risers: list[Riser],
        schedule: Schedule | None,
        held: HeldAnswers,
        good: Callable[[int], bool],
    ) -> None:
        self._schedule = schedule
        self._held = held
        self._good = good
        self._turns = {id(riser): deque(self._plain(riser)) for riser in risers}
        self._now: dict[bytes, _Conversation] = {}
        """Those begun, by meter: one that falls silent goes on where it was, whoever else was asked meanwhile."""
        reads_back = schedule is not None and schedule.backfill_days
        longest = schedule.longest() if schedule is not None else 0
        self._hourly = longest <= OFTEN
        self.expected = longest * 3 // 2 if reads_back else 0
        """Readings further apart than this, in ms, show that some were missed; 0 where none are read back."""
        self.filled = self.missing = 0
        """Freezes read back, and midnights that no meter told of, since the start."""
        held.marks.keep({line.device_id for turn in self._turns.values() for line in turn})
        if reads_back:
            for riser in risers:
                riser.spare = partial(self._spare, riser)

    @staticmethod
    def _plain(riser: Riser) -> list[Line]:
        return [line for line in riser.lines.values() if line.plain]

    def add(self, riser: Riser, line: Line) -> None:
        """A plain meter is on this bus from now on."""
        self._turns[id(riser)].append(line)

    def remove(self, riser: Riser, device_id: bytes) -> None:
        """A meter is gone, and what was missed of it with it."""
        turn = self._turns[id(riser)]
        self._turns[id(riser)] = deque(line for line in turn if line.device_id != device_id)
        self._now.pop(device_id, None)
        self._held.marks.keep({line.device_id for turn in self._turns.values() for line in turn})

    def waiting(self) -> int:
        """How many meters have something to be read back."""
        return len(self._held.marks.missed)

    def again(self, device_id: bytes, days: int, now: int) -> None:
        """Read a meter's last days back as after an outage, for a concentrator that took another's place."""
        mark = self._held.marks[device_id]
        since = min(mark.since or now, now - days * DAY)
        self._held.note(device_id, replace(mark, since=since, until=now))

    # --- towards the bus --------------------------------------------------------------------------------

    def _spare(self, riser: Riser, now: int) -> tuple[Line, Wanted] | None:
        """The next question on this bus; the same until it is answered."""
        assert self._schedule is not None
        if not self._held.marks.missed or not self._good(now) or not self._schedule.open(now):
            return None
        turn = self._turns[id(riser)]
        for _ in range(len(turn)):
            conversation = self._conversation(riser, turn[0], now)
            if conversation is not None:
                question = conversation.question
                return None if question is None else (turn[0], self._wanted(riser, conversation, question))
            turn.rotate(-1)
        return None

    def _conversation(self, riser: Riser, line: Line, now: int) -> _Conversation | None:
        """The one that is going on with this meter, perhaps a new one; None where there is nothing to ask it now."""
        mark = self._held.marks[line.device_id]
        running = self._now.get(line.device_id)
        doubted = running is not None and running.doubted
        if not mark.until or (line.failures and not doubted):
            return None
        schedule = self._schedule
        assert schedule is not None
        since = max(mark.since, mark.until - schedule.backfill_days * DAY)
        missed = Missed(since, mark.until, self._hourly, schedule.utc_offset_minutes)
        if running is None or running.missed != missed:
            running = self._now[line.device_id] = _Conversation(line, missed)
        elif running.question is None and running.found is None:
            running.hear(Heard(None, now))  # it waits for a time
        if running.found is not None:
            self._end(riser, running, now)
            return None
        return running

    def _wanted(self, riser: Riser, conversation: _Conversation, question: Ask) -> Wanted:
        line, offset = conversation.line, conversation.missed.utc_offset_minutes

        def make(now: int) -> Frame | None:
            return (
                line.read_register()
                if conversation.doubted
                else line.ask(question, utc_offset_minutes=offset)
            )

        def answered(frame: Frame | None, now: int) -> None:
            silent, doubted = frame is None and line.failures > 0, conversation.doubted
            conversation.doubted = silent and not doubted
            if silent:  # not there: it is asked on when it is heard again
                return
            if doubted:
                conversation.silences += 1
                if conversation.silences < SILENCES:
                    return
                frame = None
            conversation.hear(Heard(frame, now))
            if conversation.found is not None:
                self._end(riser, conversation, now)

        return Wanted(make, answered)

    def _end(self, riser: Riser, conversation: _Conversation, now: int) -> None:
        """Hold what came, and say which midnights did not."""
        found, missed = conversation.found, conversation.missed
        assert found is not None
        lost = [at for at in missed.midnights if at not in found]
        told: dict[int, Value | None] = {**found, **dict.fromkeys(lost)}
        self._held.take_back(conversation.line.device_id, restated(conversation.line.device_id, told), now)
        self.filled += len(found)
        self.missing += len(lost)
        self._now.pop(conversation.line.device_id, None)
        self._turns[id(riser)].rotate(-1)
