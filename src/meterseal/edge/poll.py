"""Station edge, the concentrator's bus master: whom to ask next on one riser, and what an answer means.

One request at a time, half duplex. It opens nothing of a sealed meter, moves no bytes and reads no clock:
`request` gives the bytes to send, `answer` and `timeout` take what came of them. Ordinary frames only:
reads, and reads and writes of our own E002, which carries link messages in segments (LINK section 5).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from msgspec import Struct

from meterseal.errors import PeerError
from meterseal.link.segments import SegmentReceiver
from meterseal.wire import encode
from meterseal.wire import identifiers as ids
from meterseal.wire.frame import LENGTH_AT, Frame, address_of, parse_frame

DOWN_QUEUE = 64
"""Most messages that wait for one meter; what comes on top is dropped, its sender repeats it."""
LATE = 3
"""So many requests in a row without an answer, and a meter is asked only now and then."""


class Pace(Struct, frozen=True, kw_only=True):
    """When a riser asks, in ms.

    `answer` is how long a meter may take; `burst` how many messages are fetched from one meter in a row;
    after a round in which nothing waited the riser rests, from `rest` doubling to `longest_rest`. A plain
    meter is read every `plain`.
    """

    answer: int = 1_000
    burst: int = 4
    rest: int = 50
    longest_rest: int = 800
    plain: int = 900_000
    silent: int = 30_000


class Line:
    """What the bus master knows of one meter."""

    def __init__(self, device_id: bytes, *, plain: bool) -> None:
        self.device_id = device_id
        self.plain = plain
        self.protocol, self.meter_type, self.address = address_of(device_id)
        self.down: deque[bytes] = deque()
        self.chunk = encode.SEGMENT_DOWN[self.protocol]
        self.lead = 3 if self.protocol == "cjt188" else 4
        self.receiver = SegmentReceiver()
        self.failures = 0
        self.asked_at = 0
        self.plain_at = 0
        self._reads: dict[int, bytes] = {}

    def read_segment(self, offset: int) -> bytes:
        """The request for a segment; the same bytes each time, so they are kept."""
        request = self._reads.get(offset)
        if request is None:
            request = self._reads[offset] = encode.segment_read_request(self.device_id, offset).encode()
        return request

    def read_register(self) -> bytes:
        """The ordinary request for current data: 901F, or forward active energy."""
        di = ids.METERING if self.protocol == "cjt188" else 0x00010000
        return encode.read_request(self.device_id, di).encode()


def frame_size(received: bytes, protocol: str) -> int:
    """How many bytes the frame takes that begins at the first byte; 0 while its length is not there yet."""
    at = LENGTH_AT["dlt645" if protocol == "dlt645" else "cjt188"]
    return received[at] + at + 3 if len(received) > at else 0


class Riser:
    """The meters of one bus. `up` gets (device_id, message); `plain` gets (device_id, answer frame).

    Messages for a meter go first, and the meter is asked right behind them; otherwise each meter has its
    turn.
    """

    def __init__(
        self,
        lines: list[Line],
        pace: Pace,
        up: Callable[[bytes, bytes], None],
        plain: Callable[[bytes, Frame], None],
    ) -> None:
        self.lines = {line.device_id: line for line in lines}
        self.exchanges = 0
        self.errors = 0
        self.open = False
        """Are messages fetched for the platform? Not while it is out of reach: nobody would keep them here.
        """
        self.rest_until = 0
        """When to call `request` again after it gave None; `deliver` and a change of `open` end the rest."""
        self._order = lines
        self._pace = pace
        self._up = up
        self._plain = plain
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

    # --- asking -----------------------------------------------------------------------------------------

    def request(self, now: int) -> bytes | None:
        """The bytes to send next, or None while nothing is due before `rest_until`."""
        line = self._line or self._choose(now)
        if line is None:
            return None
        self.exchanges += 1
        line.asked_at = now
        if self._doing == "read":
            return line.read_segment(self._offset)
        if self._doing == "plain":
            return line.read_register()
        message = line.down[0]
        chunk = message[self._offset : self._offset + line.chunk]
        return encode.segment_write_request(line.device_id, len(message), self._offset, chunk).encode()

    def _choose(self, now: int) -> Line | None:
        for _ in range(len(self._pending)):
            line = self._pending.popleft()
            if self._awake(line, now):
                return self._begin(line, "write", in_turn=False)
            self._pending.append(line)
        for _ in range(len(self._order)):
            line = self._order[self._turn]
            if self._awake(line, now):
                if line.plain and now >= line.plain_at:
                    return self._begin(line, "plain", in_turn=True)
                if not line.plain and self.open and now >= self.rest_until:
                    return self._begin(line, "read", in_turn=True)
            self._advance(now)
        if self.rest_until <= now:
            self.rest_until = now + self._pace.rest
        return None

    def _awake(self, line: Line, now: int) -> bool:
        return line.failures < LATE or now - line.asked_at >= self._pace.silent

    def _begin(self, line: Line, doing: str, *, in_turn: bool) -> Line:
        self._line, self._doing, self._in_turn = line, doing, in_turn
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
    def protocol(self) -> str:
        """The protocol of the answer that is waited for."""
        return self._line.protocol if self._line else ""

    def answer(self, raw: bytes, now: int) -> bool:
        """Take the bytes 68 .. 16 of an answer; False when they are none to the last request (keep
        waiting).
        """
        line = self._line
        if line is None:
            return False
        try:
            frame, _ = parse_frame(raw, 0, line.protocol)
        except PeerError:
            self.errors += 1
            return False
        if frame.address != line.address or frame.meter_type != line.meter_type or not frame.control & 0x80:
            self.errors += 1
            return False
        line.failures = self._tries = 0
        if frame.control & 0x40:
            self._refused(line, now)
        elif self._doing == "read":
            self._segment(line, frame, now)
        elif self._doing == "plain":
            line.plain_at = now + self._pace.plain
            self._plain(line.device_id, frame)
            self._leave(now)
        else:
            self._written(line, now)
        return True

    def timeout(self, now: int) -> None:
        """Nothing came: the request is repeated once, then the meter is left until its next turn."""
        line = self._line
        if line is None:
            return
        line.receiver.reset()
        line.failures += 1
        self._tries += 1
        if self._tries < 2:
            self._offset = 0
            return
        if self._doing == "plain":
            line.plain_at = now + self._pace.silent
        if self._doing == "write":
            self._pending.append(line)
        self._leave(now)

    def lost(self, now: int) -> None:
        """The bus itself went away: what was half done starts over when it is back."""
        line, self._line = self._line, None
        if line is not None:
            line.receiver.reset()
            if self._doing == "write":
                self._pending.append(line)
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
            line.plain_at = now + self._pace.plain
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
