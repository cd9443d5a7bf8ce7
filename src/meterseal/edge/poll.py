"""Station edge, the concentrator's bus master: whom to ask next on one riser, and what an answer means.

One request at a time, half duplex. It opens nothing of a sealed meter, moves no bytes and reads no clock:
`request` gives the bytes to send, `answer` and `timeout` take what came of them. Ordinary frames only: what plain meters
are asked, and reads and writes of our own E002, which carries link messages in segments (LINK section 5).

What goes first: messages for a meter, what somebody waits for, then each meter in its turn (link messages of a sealed
one; of a plain one its scheduled reading, then whatever else is wanted of it), then frames for everybody, then what may
wait until nothing is due (`spare`), then a search.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from msgspec import Struct

from meterseal.edge.line import PREAMBLE, Line, Make, Wanted
from meterseal.edge.schedule import Schedule
from meterseal.errors import PeerError
from meterseal.wire import encode
from meterseal.wire.bus_search import BusSearch
from meterseal.wire.frame import Frame, parse_frame
from meterseal.wire.meaning import interpret
from meterseal.wire.profile import Timing

DOWN_QUEUE = 64
"""Most messages that wait for one meter; what comes on top is dropped, its sender repeats it."""
_ANYBODY = Timing()
SELDOM = 86_400_000
"""A meter that counted nothing back, or does not say, is asked for it so often, in ms."""
LATE = 3
"""So many requests in a row without an answer, and a meter is asked only now and then."""


class Pace(Struct, frozen=True, kw_only=True):
    """When a riser asks, in ms.

    `answer` is how long a meter may take (0: what its model says); `burst` how many messages are fetched from one
    meter in a row; after a round in which nothing waited the riser rests, from `rest` doubling to `longest_rest`. A
    plain meter is read every `plain` where there is no schedule.
    """

    answer: int = 0
    burst: int = 4
    rest: int = 50
    longest_rest: int = 800
    plain: int = 900_000
    silent: int = 30_000


class Riser:
    """The meters of one bus. `up` gets (device_id, message); `plain` gets (device_id, answer frame, now).

    A meter that got a message is asked right behind it.
    """

    def __init__(
        self,
        lines: list[Line],
        pace: Pace,
        up: Callable[[bytes, bytes], None],
        plain: Callable[[bytes, Frame, int], None],
        schedule: Schedule | None = None,
    ) -> None:
        self.lines = {line.device_id: line for line in lines}
        self.exchanges = self.errors = 0
        self.open = False
        """Are messages fetched for the platform? Not while it is out of reach: nobody would keep them here."""
        self.rest_until = 0
        """When to call `request` again after it gave None; `deliver` and a change of `open` end the rest."""
        self._order = lines
        self._pace = pace
        self._up = up
        self._plain = plain
        self._schedule = schedule
        self._hurried: deque[Line] = deque()
        self._everybody: deque[Make] = deque()
        self.spare: Callable[[int], tuple[Line, Wanted] | None] | None = None
        """Names the next question that waits until nothing else is due; asked anew, it names the same one until that was
        answered.
        """
        self.search: BusSearch | None = None
        """A search for meters that is under way; it is asked on whenever nothing else is due."""
        self._request: Frame | None = None
        self._waits: Wanted | None = None
        self._pending: deque[Line] = deque()
        self._turn = 0
        self._found = self._asked = False
        self._rest = 0
        self._line: Line | None = None
        self._doing = ""
        self._in_turn = self._anew = False
        self._offset = 0
        self._fetched = 0
        self._tries = 0

    def deliver(self, device_id: bytes, message: bytes) -> None:
        """A message for a meter of this bus."""
        line = self.lines[device_id]
        if len(line.down) >= DOWN_QUEUE:
            return
        if not line.down:
            self._pending.append(line)
        line.down.append(message)

    def want(self, device_id: bytes, wanted: Wanted, *, hurried: bool = False) -> None:
        """Ask a plain meter this as well; `hurried`: somebody waits for it."""
        line = self.lines[device_id]
        if hurried:
            line.wanted.appendleft(wanted)
            self._hurried.append(line)
        else:
            line.wanted.append(wanted)

    def hurry(self, device_id: bytes) -> None:
        """Read a plain meter at its next turn, whatever the schedule says: something was done to it."""
        self.lines[device_id].due = 0

    def add(self, line: Line) -> None:
        """A meter is on this bus from now on."""
        self.lines[line.device_id] = line
        self._order.append(line)

    def remove(self, device_id: bytes) -> None:
        """A meter is not on this bus any more; what was under way with it is dropped."""
        line = self.lines.pop(device_id)
        self._order.remove(line)
        self._hurried = deque(other for other in self._hurried if other is not line)
        self._pending = deque(other for other in self._pending if other is not line)
        self._turn = 0
        if self._line is line:
            self._line, self._doing, self._waits, self._request = None, "", None, None

    def say(self, make: Make) -> None:
        """Send a frame that everybody takes and nobody answers, made for the moment at which it is sent."""
        self._everybody.append(make)

    # --- asking -----------------------------------------------------------------------------------------

    def request(self, now: int) -> bytes | None:
        """The bytes to send next, or None while nothing is due before `rest_until`."""
        line = self._line or self._choose(now) or self._spared(now)
        if line is None:
            return self._to_nobody(now)
        self.exchanges += 1
        line.asked_at = now
        if not self._tries:
            line.asked_first = now
        if self._doing == "read":
            return line.read_segment(self._offset)
        if self._request is not None:
            return self._request.encode()
        message = line.down[0]
        chunk = message[self._offset : self._offset + line.chunk]
        return encode.segment_write_request(line.device_id, len(message), self._offset, chunk).encode()

    def _spared(self, now: int) -> Line | None:
        """A meter that something is wanted of which may wait, while nothing else is due."""
        if self._everybody or self.spare is None or (found := self.spare(now)) is None:
            return None
        line, waits = found
        if (request := waits.make(now)) is None:
            return None
        self._request, self._waits = request, waits
        return self._begin(line, "spare", in_turn=False)

    def _to_nobody(self, now: int) -> bytes | None:
        """What goes to no meter in particular, while nothing else is due."""
        while self._everybody:
            said = self._everybody.popleft()(now)
            if said is not None:
                self._doing = "say"
                return said.encode()
        step = self.search.step() if self.search is not None else None
        self._doing = "" if step is None else "search"
        return None if step is None else step.frame.encode()

    def _choose(self, now: int) -> Line | None:
        for _ in range(len(self._pending)):
            line = self._pending.popleft()
            if self._awake(line, now):
                return self._begin(line, "write", in_turn=False)
            self._pending.append(line)
        while self._hurried:
            line = self._hurried.popleft()
            if self._wants(line, now):
                return self._begin(line, "wanted", in_turn=False)
        for _ in range(len(self._order)):
            line = self._order[self._turn]
            if self._awake(line, now):
                if line.plain and self._is_due(line, now):
                    self._request = line.read_register()
                    return self._begin(line, "plain", in_turn=True)
                if not line.failures and self._wants(line, now):
                    return self._begin(line, "wanted", in_turn=True)
                if not line.plain and self.open and now >= self.rest_until:
                    return self._begin(line, "read", in_turn=True)
            self._advance(now)
        if self.rest_until <= now:
            self.rest_until = now + self._pace.rest
        return None

    def _wants(self, line: Line, now: int) -> bool:
        """Whether something else is wanted of a meter; then `_request` is it, and `_waits` who waits for the answer."""
        while line.wanted:
            self._waits = line.wanted.popleft()
            self._request = self._waits.make(now)
            if self._request is not None:
                return True
        return False

    def _is_due(self, line: Line, now: int) -> bool:
        if now < line.due:
            return False
        if self._schedule is None or self._schedule.open(now):
            return True
        line.due, line.attempts = self._schedule.after(now), 0
        return False

    def _awake(self, line: Line, now: int) -> bool:
        return (
            line.failures < LATE
            or now - line.asked_at >= self._pace.silent
            or bool(self._schedule and line.plain)
        )

    def _begin(self, line: Line, doing: str, *, in_turn: bool) -> Line:
        self._line, self._doing, self._in_turn = line, doing, in_turn
        if doing in ("read", "write"):
            self._request = None
        self._asked |= in_turn
        self._offset = self._fetched = self._tries = 0
        self._anew = False
        return line

    def _advance(self, now: int) -> None:
        self._turn += 1
        if self._turn < len(self._order):
            return
        self._turn = 0
        if self._found:
            self._rest = 0
        elif self._asked:
            self._rest = min(max(2 * self._rest, self._pace.rest), self._pace.longest_rest)
            self.rest_until = now + self._rest
        self._found = self._asked = False

    def _leave(self, now: int) -> None:
        in_turn, self._line = self._in_turn, None
        if in_turn:
            self._advance(now)

    # --- what came of it --------------------------------------------------------------------------------

    @property
    def timing(self) -> Timing:
        """How whoever was asked last is spoken to."""
        return self._line.timing if self._line is not None else _ANYBODY

    @property
    def preamble(self) -> bytes:
        """Wake-up bytes before the request."""
        return self._line.preamble if self._line is not None else PREAMBLE * _ANYBODY.preamble_down

    @property
    def patience(self) -> int:
        """How long to wait for the first byte of an answer, in ms after the last byte of the request."""
        if self._line is None and self._doing == "say":
            return self.timing.gap_ms
        if self._line is None and self.search is not None and (step := self.search.step()) is not None:
            return step.wait_ms
        return self._pace.answer or self.timing.answer_ms

    @property
    def protocol(self) -> str:
        """The protocol of the answer that is waited for."""
        return self._line.protocol if self._line else ""

    def answer(self, raw: bytes, now: int) -> bool:
        """Take the bytes 68 .. 16 of an answer; False when they are none to the last request (keep waiting)."""
        line = self._line
        if line is None:
            return False
        try:
            frame, _ = parse_frame(raw, 0, line.protocol)
        except PeerError:
            self.errors += 1
            return False
        if not self._from(line, frame):
            self.errors += 1
            return False
        line.failures = line.attempts = self._tries = 0
        line.heard_at = now
        if self._doing in ("wanted", "spare"):
            errors = self._waits is not None and self._waits.errors
            self._wanted(None if frame.control & 0x40 and not errors else frame, now)
        elif frame.control & 0x40:
            self._refused(line, now)
        elif self._doing == "read":
            self._segment(line, frame, now)
        elif self._doing == "plain":
            line.due = self._next(now)
            self._plain(line.device_id, frame, now)
            if line.protocol == "dlt645" and now >= line.fed_due:
                self.want(line.device_id, self._fed_in(line))
            self._leave(now)
        else:
            self._written(line, now)
        return True

    def _fed_in(self, line: Line) -> Wanted:
        """The other register of a scheduled reading, asked behind it; most meters never count anything there."""

        def answered(frame: Frame | None, now: int) -> None:
            fed = interpret(frame).readings.get("reverse_active_energy") if frame is not None else None
            if frame is None or fed is None or not fed.register:
                line.fed_due = now + SELDOM
            else:
                self._plain(line.device_id, frame, now)

        return Wanted(lambda _: line.read_reverse(), answered, once=True)

    def _from(self, line: Line, frame: Frame) -> bool:
        """Whether a frame is an answer of this meter to what it was asked."""
        if not frame.control & 0x80:
            return False
        if self._doing in ("wanted", "spare"):
            assert self._request is not None
            return line.answers(self._request, frame)
        if frame.address == line.address and frame.meter_type == line.meter_type:
            return True
        return self._doing == "plain" and self._request is not None and line.answers(self._request, frame)

    def _next(self, now: int) -> int:
        return now + self._pace.plain if self._schedule is None else self._schedule.after(now)

    def _wanted(self, frame: Frame | None, now: int) -> None:
        waits, self._waits = self._waits, None
        assert waits is not None
        self._leave(now)
        waits.answered(frame, now)

    def timeout(self, now: int, heard: bytes = b"") -> None:
        """Nothing of use came, only what was `heard`: the request is repeated as often as the model wants, then the meter
        is left until its next turn.
        """
        line = self._line
        if line is None:
            if self._doing == "search" and self.search is not None:
                self.search.heard(heard)
            self._doing = ""
            return
        line.receiver.reset()
        line.failures += 1
        self._tries += 1
        once = self._doing == "wanted" and self._waits is not None and self._waits.once
        if not once and self._tries <= min(
            line.timing.repeats, 1 if self._doing in ("read", "write") else 10
        ):
            self._offset = 0
            return
        if self._doing == "plain":
            line.due = self._again(line, now)
        if self._doing in ("wanted", "spare"):
            self._wanted(None, now)
            return
        if self._doing == "write":
            self._pending.append(line)
        self._leave(now)

    def _again(self, line: Line, now: int) -> int:
        """When a plain meter that kept silent is tried again."""
        schedule = self._schedule
        if schedule is None:
            return now + self._pace.silent
        line.attempts += 1
        if line.attempts < schedule.attempts:
            return now + schedule.retry_seconds * 1_000
        return schedule.after(now + schedule.silent_minutes * 60_000 - 1)

    def lost(self, now: int) -> None:
        """The bus itself went away: what was half done starts over when it is back."""
        line, self._line = self._line, None
        if line is not None:
            line.receiver.reset()
            if self._doing == "write":
                self._pending.append(line)
            elif self._doing == "wanted" and self._waits is not None:
                line.wanted.appendleft(self._waits)
        self._doing, self._waits = "", None
        for other in self._order:
            other.failures = 0

    def _refused(self, line: Line, now: int) -> None:
        """The meter answered with an error: it does not take this message, or has no such data. One that forgot the
        beginning of a message, as after a power cut, gets it once more from offset 0.
        """
        line.receiver.reset()
        if self._doing == "write" and self._offset and not self._anew:
            self._offset, self._anew = 0, True
            return
        if self._doing == "write":
            line.down.popleft()
            if line.down:
                self._pending.append(line)
        elif self._doing == "plain":
            line.due = self._next(now)
        self._leave(now)

    def _written(self, line: Line, now: int) -> None:
        self._offset += line.chunk
        if self._offset < len(line.down[0]):
            return
        line.down.popleft()
        if line.down:
            self._offset, self._anew = 0, False
        elif self.open:
            self._begin(line, "read", in_turn=False)
        else:
            self._leave(now)

    def _segment(self, line: Line, frame: Frame, now: int) -> None:
        try:
            message = line.receiver.feed(frame.data[line.lead :])
        except PeerError:
            self.errors += 1
            self._leave(now)
            return
        if message is None:
            self._offset = line.receiver.received
            if not self._offset:
                self._leave(now)
            return
        self._up(line.device_id, message)
        self._found = True
        self._rest = 0
        self._fetched += 1
        self._offset = 0
        if self._fetched >= self._pace.burst or line.down:
            self._leave(now)
