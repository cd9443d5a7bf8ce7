"""Station edge, back-fill (补抄), the conversation: which freezes a plain meter is asked for, and what its answers give.

Pure: a generator that yields questions and is sent answers; it neither keeps anything nor knows a bus. CJ/T 188's history 2
(D2nn) says no time and is never asked for.

Whatever a meter answers, the conversation ends: each freeze is asked for a bounded number of times, going back in time, and
times that do not go back, lie ahead or lie before what was missed end a row.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Literal, NamedTuple

from msgspec.structs import replace

from meterseal.edge.line import Line
from meterseal.edge.metering.clock import midnight, settlement
from meterseal.model import medium_of
from meterseal.wire import identifiers as ids
from meterseal.wire.asked import Ask
from meterseal.wire.fields import moment_at, to_clock
from meterseal.wire.frame import Frame
from meterseal.wire.meaning import interpret
from meterseal.wire.sheet import Meaning, Value

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
APART = 15 * MINUTE
"""A meter whose clock differs by more from ours does not place its freezes in time (ADR 0010)."""
MARGIN = MINUTE
"""So near a full hour of the meter its entries may move on while they are asked for."""
TRIES = 3
"""So often an entry is asked for that may have moved on meanwhile."""
MOST_ENTRIES = 254
UNREADABLE = 3
"""So many entries in a row that say no time, and the row ends."""
FORWARD = "forward_active_energy"
DATE_AND_TIME, DATE, TIME, SETTLEMENT_DAY = 0x0400010C, 0x04000101, 0x04000102, 0x04000B01
DATE_1997, TIME_1997, SETTLEMENT_DAY_1997 = 0xC010, 0xC011, 0xC117
SETTLED = 0x00010000
SETTLED_1997 = (0x9410, 0x9810)
TIMED = 0xD300
LOADS = 0x06040001
RECORDS = 4
"""Load records asked for at once; so many fit in one answer."""
SETTLED_188 = 0xD120
MONTHS = 12


class Missed(NamedTuple):
    """What a meter froze later than `since` and before `until` (Unix ms) is wanted; every hour of it if `hourly`."""

    since: int
    until: int
    hourly: bool
    utc_offset_minutes: int

    @property
    def midnights(self) -> list[int]:
        """Local midnights in it."""
        first = midnight(self.since, self.utc_offset_minutes) + DAY
        return list(range(first, self.until, DAY))


class Heard(NamedTuple):
    """What came of a question: the answer, None where the meter refused; and when (Unix ms)."""

    frame: Frame | None
    now: int


Talk = Generator[Ask | None, Heard, dict[int, Value]]
"""Questions; None asks for nothing and wants to be called again later. It returns registers by their time."""


def talk(line: Line, missed: Missed) -> Talk:
    """The conversation with one meter. What it returns lies in the missed time; a time that is not in it was not given."""
    row = _Row(line, missed)
    if line.protocol == "cjt188":
        return row.gathered()
    return row.older() if line.is_1997 else row.newer()


Place = Literal["end", "skip", "read", "unreadable"]


class _Entry(NamedTuple):
    place: Place
    at: int | None


class _Row:
    """What is found of one meter, while it is being found."""

    def __init__(self, line: Line, missed: Missed) -> None:
        self._line = line
        self._missed = missed
        self._found: dict[int, Value] = {}
        self._ahead = 0
        """By how much the meter's clock is ahead of ours, in ms."""

    def newer(self) -> Talk:
        """DL/T 645-2007: hours 0504 and 0604, days 0506, each with its time, and settlement days 0001."""
        if not (yield from self._clock_645()):
            return {}
        if self._missed.hourly:
            yield from self._dated(0x05040000, "hourly_freeze")
            yield from self._loads()
        if self._left:
            yield from self._dated(0x05060000, "daily_freeze")
        if self._left:
            places = [SETTLED + back for back in range(1, MONTHS + 1)]
            yield from self._settled(SETTLEMENT_DAY, places)
        return self._found

    def older(self) -> Talk:
        """DL/T 645-1997: the last two settlement days."""
        if (yield from self._clock_645()):
            yield from self._settled(SETTLEMENT_DAY_1997, list(SETTLED_1997))
        return self._found

    def gathered(self) -> Talk:
        """CJ/T 188: timed freezes D3nn, which say their time, and settlement days D120..D12B."""
        said, now = yield from self._ask(ids.METERING)
        if said is None or said.clock_at is None or abs(said.clock_at - now) > APART:
            return {}
        self._ahead = said.clock_at - now
        yield from self._timed()
        if self._left:
            places = [SETTLED_188 + back for back in range(MONTHS)]
            yield from self._settled(ids.SETTLEMENT_DAY, places)
        return self._found

    @property
    def _left(self) -> list[int]:
        return [at for at in self._missed.midnights if at not in self._found]

    # --- asking -----------------------------------------------------------------------------------------

    def _ask(self, di: int, payload: bytes = b"") -> Generator[Ask | None, Heard, tuple[Meaning | None, int]]:
        frame, now = yield Ask(kind="read", di=di, payload=payload)
        if frame is None:
            return None, now
        if frame.protocol == "cjt188":  # it answers what was asked; by its bytes alone D3D2 could be D2D3
            frame = replace(frame, data=di.to_bytes(2, "big") + frame.data[2:])
        return interpret(frame, self._missed.utc_offset_minutes), now

    def _moved(self, asked_at: int, now: int) -> bool:
        """Whether the meter may have frozen something between two moments, so that its entries moved on."""
        local = self._ahead + self._missed.utc_offset_minutes * MINUTE
        return (asked_at - MARGIN + local) // HOUR != (now + MARGIN + local) // HOUR

    def _calm(self, now: int) -> Generator[Ask | None, Heard, None]:
        """Wait until the meter's clock is no longer near a full hour."""
        while self._moved(now, now):
            now = (yield None).now

    def _clock_645(self) -> Generator[Ask | None, Heard, bool]:
        """Learn how far ahead the meter's clock is; False where it does not say, or is too far off."""
        for _ in range(TRIES):  # between date and time a midnight may pass
            text = None
            if not self._line.is_1997:
                said, now = yield from self._ask(DATE_AND_TIME)
                text = said.clock if said is not None else None
            if text is None:
                date, _ = yield from self._ask(DATE_1997 if self._line.is_1997 else DATE)
                time, now = yield from self._ask(TIME_1997 if self._line.is_1997 else TIME)
                parts = [text_of(date, "date"), text_of(time, "time")]
                text = f"{parts[0]}T{parts[1]}" if all(parts) else None
            at = moment_at(text, self._missed.utc_offset_minutes)
            if at is None:
                return False
            if abs(at - now) <= APART:
                self._ahead = at - now
                return True
        return False

    # --- rows -------------------------------------------------------------------------------------------

    def _dated(self, di: int, name: str) -> Generator[Ask | None, Heard, None]:
        """Entries 1, 2 … of a freeze of DL/T 645-2007, back in time: the time of each, then its register."""
        last, unreadable = self._missed.until, 0
        for number in range(1, MOST_ENTRIES + 1):
            entry = yield from self._entry(di + number, f"{name}_{number}", last)
            if entry is None:
                return
            last = min(last, entry.at or last)
            unreadable = unreadable + 1 if entry.place == "unreadable" else 0
            if unreadable >= UNREADABLE:
                return

    def _entry(self, di: int, name: str, last: int) -> Generator[Ask | None, Heard, _Entry | None]:
        """One entry; None where the row ends with it."""
        for _ in range(TRIES):
            said, asked_at = yield from self._ask(di)
            at = moment_at(text_of(said, f"{name}_time"), self._missed.utc_offset_minutes)
            place: Place = "end" if said is None else self._place(at, last)
            if place != "read":
                return None if place == "end" else _Entry(place, at)
            said, now = yield from self._ask(di + 0x100)
            if not self._moved(asked_at, now):
                if said is not None:
                    self._take(at, said.readings.get(f"{FORWARD}_{name}"))
                return _Entry(place, at)
            yield from self._calm(now)
        return None

    def _loads(self) -> Generator[Ask | None, Heard, None]:
        """Load records of the energies (class 4) of DL/T 645-2007, forward in time, up to the first hour that is there."""
        offset = self._missed.utc_offset_minutes
        at = self._missed.since
        first = min(self._found, default=self._missed.until)
        for _ in range(MOST_ENTRIES):
            if at >= first - HOUR:
                return
            since = to_clock(at + MINUTE, offset)[1:6]
            said, _ = yield from self._ask(LOADS, bytes((RECORDS,)) + since)
            readings = said.readings if said is not None else {}
            before = at
            for number in range(1, RECORDS + 1):
                time = readings.get(f"load_{number}_time")
                taken_at = moment_at(time.text if time is not None else None, offset)
                if taken_at is None or not at < taken_at < first:
                    break
                at = taken_at
                if (at + offset * MINUTE) % HOUR == 0:
                    self._take(at, readings.get(f"load_{number}_{FORWARD}"))
            if at == before:
                return

    def _timed(self) -> Generator[Ask | None, Heard, None]:
        """Entries D300, D301 … of CJ/T 188-2018, back in time: time and register of each in one answer."""
        last, unreadable = self._missed.until, 0
        for number in range(MOST_ENTRIES):
            said, _ = yield from self._ask(TIMED + number)
            if said is None or (place := self._place(said.frozen_at, last)) == "end":
                return
            if place == "read" and said.recognised:
                self._take(said.frozen_at, said.readings.get(f"cumulative_{self._main}"))
            last = min(last, said.frozen_at or last)
            unreadable = unreadable + 1 if place == "unreadable" else 0
            if unreadable >= UNREADABLE:
                return

    def _place(self, at: int | None, last: int) -> Place:
        """What becomes of an entry of this time, where the one before it was of `last`."""
        if at is None:
            return "unreadable"
        if at <= self._missed.since:
            return "end"
        if at >= self._missed.until or at in self._found:
            return "skip"
        return "read" if at < last else "end"  # it does not go back in time

    def _settled(self, day_at: int, places: list[int]) -> Generator[Ask | None, Heard, None]:
        """The registers of settlement days, 1 the last; they say no time, which follows from the day of the month."""
        said, now = yield from self._ask(day_at)
        moment = _settlement_of(said)
        if moment is None:
            return
        day, hour = moment
        offset = self._missed.utc_offset_minutes
        for back, di in enumerate(places):
            for _ in range(TRIES):
                at = settlement(now + self._ahead - hour * HOUR, day, offset, back) + hour * HOUR
                if at >= self._missed.until:
                    break
                if at <= self._missed.since:
                    return
                asked_at = now
                said, now = yield from self._ask(di)
                if said is None:
                    return
                if not self._moved(asked_at, now):
                    names = (f"{FORWARD}_settlement_{back + 1}", f"settlement_{self._main}")
                    self._take(
                        at, next((said.readings[name] for name in names if name in said.readings), None)
                    )
                    break
                yield from self._calm(now)

    @property
    def _main(self) -> str:
        return "energy" if medium_of(self._line.device_id) == "heat" else "volume"

    def _take(self, at: int | None, value: Value | None) -> None:
        if at is not None and value is not None and value.register is not None and value.unit:
            self._found.setdefault(at, value)


def text_of(said: Meaning | None, name: str) -> str | None:
    """What an answer says of one name in words, None where it does not."""
    value = said.readings.get(name) if said is not None else None
    return value.text if value is not None else None


def _settlement_of(said: Meaning | None) -> tuple[int, int] | None:
    """Day and hour of the settlement day: DDhh of DL/T 645, a bare day of CJ/T 188."""
    if said is None:
        return None
    bare = said.readings.get("settlement_day")
    text = text_of(said, "settlement_day_1")
    if bare is not None and bare.register is not None:
        day, hour = bare.register, 0
    elif text is not None and len(text) == 4 and text.isdecimal():
        day, hour = int(text[:2]), int(text[2:])
    else:
        return None
    return (day, hour) if 1 <= day <= 28 and hour < 24 else None
