"""Station edge, the controller's end of the link: which message waits for the bus, and what a message from
the platform means.

It holds no key (the module does), moves no bytes and reads no clock. It keeps every record until its
counter is acknowledged or rejected and repeats it byte for byte; it begins a handshake when there is no
session, when told to (REKEY), when a limit of the session is reached and after eight sends without an
answer, and then seals again what is unacknowledged. While it calls, RETRY makes it send the same HELLO with
the cookie.

    silent --HELLO--> calling --PLATFORM, DEVICE--> proving --SESSION--> open
       ^                 |                             |                   |
       +---- eight sends unanswered, or time-out ------+---- REKEY, limit, eight sends unacknowledged
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from msgspec import Struct
from msgspec.structs import replace

from meterseal.edge.apdu import Sw
from meterseal.edge.chip import FRAMES, GUARDED, Chip, Opened, Sealed
from meterseal.errors import PeerError, TrustError
from meterseal.link.control import ACK, CLOSE, FIRMWARE, PING, REJECT, REKEY
from meterseal.link.messages import PLATFORM, RETRY, SESSION, parse_hello, parse_retry
from meterseal.link.proving import patience

HANDSHAKE, RECORD = b"\x4d\x53", b"\x4d\x52"


class Timing(Struct, frozen=True, kw_only=True):
    """When a device repeats itself, in ms.

    A message without an answer is sent again after `repeat`, then after twice that and so on, at most
    `slowest`; after `sends` of them a new handshake begins, at a random moment within `backoff`. `window`
    is how many records may be unacknowledged (LINK allows 64). Having heard nothing for `silence`, a device asks
    with PING, and takes as many of them without an answer for the end of its session. `handshake` ends a wait for
    PLATFORM or SESSION sooner than LINK's own time-out, never later.
    """

    repeat: int = 5_000
    slowest: int = 900_000
    sends: int = 8
    backoff: int = 2_000
    handshake: int = 900_000
    window: int = 24
    silence: int = 6 * 3_600_000


class Item(NamedTuple):
    """Something to be sealed and delivered once: `key` names it, `what` is the outbox's own."""

    key: Hashable
    what: object


class Outbox(Protocol):
    """What a device has to deliver."""

    def next(self, now: int) -> Item | None:
        """The next item, each handed out once; None when there is nothing to send."""

    def seal(self, item: Item, chip: Chip, now: int) -> Sealed | None:
        """A record of the item in the session that is open; None for one that no record can carry: it is forgotten."""

    def done(self, items: list[Item]) -> None:
        """These items were acknowledged or rejected: forget them, durably."""


class Station(Protocol):
    """What the link's end asks of its device's firmware."""

    def heard(self, content: bytes, reason: int, now: int) -> None:
        """A word about firmware came, and what the module has against it (0: nothing)."""

    def report(self, session_id: bytes, now: int) -> bytes | None:
        """What to say of firmware in this session now; None for nothing."""


class Order(NamedTuple):
    """A frame from the platform that the module found good: a read request, or a guarded command with its
    number and its end (Unix ms).
    """

    frame: bytes
    number: int
    not_after: int = 0


@dataclass(slots=True)
class _Sent:
    item: Item
    sealed: Sealed
    sends: int
    due: int


class LinkAgent:
    """One device's end of the link; every method takes `now` in Unix ms. `direct`: it speaks straight over IP,
    whatever its module was made for.
    """

    def __init__(
        self,
        chip: Chip,
        outbox: Outbox,
        timing: Timing,
        jitter: Callable[[], float],
        *,
        direct: bool = False,
    ) -> None:
        self._chip = chip
        self._outbox = outbox
        self._timing = timing
        self._jitter = jitter
        self._direct = direct
        state = chip.state()
        self._patience = min(timing.handshake, patience(gathered=state.gathered and not direct))
        self.session_id = state.session_id
        self.policy = state.policy
        self.phase = "open" if state.session_id else "silent"
        self.handshakes = 0
        self.refused = 0
        self._message = b""
        self._due = self._begun = self._sends = 0
        self._sent: dict[tuple[bytes, int], _Sent] = {}
        self._retired: dict[tuple[bytes, int], Item] = {}
        self._again: deque[Item] = deque()
        self._ping = False
        self._ask_time = False
        self._heard_at: int | None = None
        self._asked_at = self._asked = 0
        self.station: Station | None = None
        """The device's firmware, where it can be renewed."""

    # --- towards the platform ---------------------------------------------------------------------------

    def offer(self, now: int) -> bytes | None:
        """The next message for the platform, or None when nothing waits."""
        if self.phase == "open":
            message = self._due_record(now) or self._new_record(now)
            if message is not None or self.phase == "open":
                return message
        waiting = self.phase in ("calling", "proving")
        if waiting and now - self._begun >= self._patience:
            self.restart(now)
            return None
        if now < self._due:
            return None
        if not waiting:
            return self._hello(now)
        if self._sends >= self._timing.sends:
            self.restart(now)
            return None
        self._sends += 1
        self._due = now + self._wait(self._sends)
        return self._message

    def waiting(self) -> int:
        """How many records are unacknowledged."""
        return len(self._sent) + len(self._again)

    def restart(self, now: int) -> None:
        """Begin a new handshake soon."""
        self.phase = "silent"
        self._due = now + int(self._jitter() * self._timing.backoff)

    def _hello(self, now: int) -> bytes | None:
        try:
            self._message = self._chip.hello(now, direct=self._direct)
        except TrustError:
            # A module that is not personalised, or destroyed, has nothing to say.
            self._due = now + self._timing.slowest
            return None
        self.phase = "calling"
        self._begun, self._sends, self._due = now, 1, now + self._wait(1)
        return self._message

    def _wait(self, sends: int) -> int:
        return int(min(self._timing.repeat << (sends - 1), self._timing.slowest))

    def _due_record(self, now: int) -> bytes | None:
        for sent in self._sent.values():
            if sent.due > now:
                continue
            if sent.sends >= self._timing.sends:
                self.restart(now)
                return None
            sent.sends += 1
            sent.due = now + self._wait(sent.sends)
            return sent.sealed.record
        return None

    def _new_record(self, now: int) -> bytes | None:
        if self.phase != "open" or len(self._sent) >= self._timing.window:
            return None
        item = None if self._ask_time else self._again.popleft() if self._again else self._outbox.next(now)
        try:
            if self._ask_time:
                self._ask_time = False
                return self._chip.seal_control(PING, now).record
            if item is None:
                if not self._ping and self.station is not None:
                    said = self.station.report(self.session_id, now)
                    if said is not None:
                        return self._chip.seal_control(FIRMWARE, now, said).record
                if not self._ping and not self._too_silent(now):
                    return None
                self._ping = False
                return self._chip.seal_control(PING, now).record
            sealed = self._outbox.seal(item, self._chip, now)
            if sealed is None:
                self._outbox.done([item])
                return None
        except TrustError as error:
            if item is not None:
                self._again.appendleft(item)
            if error.facts.get("word") != Sw.FULL:
                self.restart(now)
            return None
        self._ping = False
        self._sent[sealed.session_id, sealed.counter] = _Sent(item, sealed, 1, now + self._wait(1))
        return sealed.record

    def _too_silent(self, now: int) -> bool:
        """Is it time for a PING because nothing came down for so long? After enough of them a handshake begins."""
        if self._heard_at is None:
            self._heard_at = now
        if now - self._heard_at < self._timing.silence:
            return False
        if self._asked and now < self._asked_at + self._wait(self._asked):
            return False
        if self._asked >= self._timing.sends:
            self.restart(now)
            return False
        self._asked += 1
        self._asked_at = now
        return True

    def _hear(self, now: int) -> None:
        self._heard_at, self._asked_at, self._asked = now, 0, 0

    # --- from the platform ------------------------------------------------------------------------------

    def receive(self, message: bytes, now: int) -> list[Order]:
        """Take one message from the platform; what the meter is asked to do. What does not hold changes
        nothing.
        """
        try:
            if message[:2] == HANDSHAKE and len(message) > 3:
                self._handshake(message, now)
            elif message[:2] == RECORD:
                return self._record(self._chip.open(message, now), now)
        except (TrustError, PeerError):
            self.refused += 1
        return []

    def clock_to_set(self) -> int:
        """A platform time that the module allows the clock to be set to; 0 when there is none. Asked once."""
        at, self._clock_at = self._clock_at, 0
        return at

    _clock_at = 0

    def _handshake(self, message: bytes, now: int) -> None:
        if message[3] == RETRY and self.phase == "calling":
            # The cookie is the way's, not the module's: it enters no mac and no hash (LINK section 3).
            self._message = replace(parse_hello(self._message), cookie=parse_retry(message)).encode()
            self._due = now
        elif message[3] == PLATFORM and self.phase in ("calling", "proving"):
            device = self._chip.platform(message, now)
            if self.phase == "calling":
                self.phase, self._message = "proving", device
                self._begun, self._sends, self._due = now, 0, now
        elif message[3] == SESSION and self.phase == "proving":
            grant = self._chip.session(message, now)
            self.phase, self.session_id, self.policy = "open", grant.session_id, grant.policy
            self._hear(now)
            self._clock_at = grant.clock_at
            self._message, self._ping = b"", True
            self.handshakes += 1
            self._retired = {place: sent.item for place, sent in self._sent.items()}
            self._again.extendleft(sent.item for sent in reversed(self._sent.values()))
            self._sent = {}

    def _record(self, opened: Opened, now: int) -> list[Order]:
        self._hear(now)
        self._clock_at = opened.clock_at or self._clock_at
        if opened.kind in (ACK, REJECT):
            self._forget(opened)
        elif opened.kind == FIRMWARE and self.station is not None:
            self.station.heard(opened.firmware, opened.reason, now)
        elif opened.kind == REKEY:
            self.restart(now)
        elif opened.kind == CLOSE:
            self._due = now + self._timing.backoff
            self.phase = "silent"
        elif opened.kind == GUARDED:
            if opened.answer:
                self._again.append(Item(("answer", opened.number), opened.answer))
                return []
            return [Order(frame, opened.number, opened.not_after) for frame in opened.frames]
        elif opened.kind == FRAMES:
            return [Order(frame, 0) for frame in opened.frames]
        return []

    def _forget(self, opened: Opened) -> None:
        done: list[Item] = []
        for counter in opened.done:
            sent = self._sent.pop((opened.session_id, counter), None)
            item = sent.item if sent is not None else self._retired.pop((opened.session_id, counter), None)
            if item is None:
                continue
            done.append(item)
            if sent is None:
                self._drop_other_copy(item)
        if opened.session_id == self.session_id:
            self._retired = {}
        if done:
            self._outbox.done(done)

    def _drop_other_copy(self, item: Item) -> None:
        for place, sent in self._sent.items():
            if sent.item.key == item.key:
                del self._sent[place]
                self._chip.release(*place)
                return
        self._again = deque(other for other in self._again if other.key != item.key)

    def ask_time(self) -> None:
        """Ask the platform for its time, before whatever waits: nothing but PING is answered with it."""
        self._ask_time = True

    def queue(self, item: Item) -> None:
        """Deliver this as well, before what the outbox has next: an answer to a request."""
        self._again.append(item)
