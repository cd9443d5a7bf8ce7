"""Station edge, the concentrator (集中器): polls its risers, carries link messages, vouches for plain meters.

It cannot open what it carries for a sealed meter and keeps none of it: the meter does until it is
acknowledged. What it says itself it seals in a session of its own module. No sockets, no clock here;
`gateway` has them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from msgspec import Struct

from meterseal.crypto.symmetric import sm3
from meterseal.edge.agent import Item, LinkAgent, Timing
from meterseal.edge.chip import Chip, Sealed
from meterseal.edge.hunting import Hunt
from meterseal.edge.line import Line
from meterseal.edge.nv import SealedNv
from meterseal.edge.poll import Pace, Riser
from meterseal.edge.schedule import Schedule
from meterseal.errors import LocalError
from meterseal.wire.frame import Frame

HELD = "held/"
SEEN = "seen/"
MOST_HELD = 100_000
"""Vouched answers kept while nothing acknowledges them; beyond that new ones are not taken."""


class MeterAt(Struct, frozen=True, kw_only=True):
    """One meter behind the concentrator: its device id, whether it has no module (`plain`), and the name of its model
    where its number does not tell.
    """

    device_id: bytes
    plain: bool = False
    model: str = ""


class Up(NamedTuple):
    """One message for the head-end, of this device."""

    device_id: bytes
    message: bytes


class VouchOutbox:
    """Answers of plain meters, kept sealed and durable until their record is acknowledged."""

    def __init__(self, store: SealedNv) -> None:
        self._store = store
        names = store.names()
        self._waiting = [name for name in names if name.startswith(HELD)]
        self._held = set(self._waiting)
        self._waiting.reverse()
        self._number = int(max(self._held)[len(HELD) :], 16) + 1 if self._held else 1
        self._seen = {name[len(SEEN) :]: store.read(name) for name in names if name.startswith(SEEN)}

    def __len__(self) -> int:
        return len(self._held)

    def take(self, device_id: bytes, frame: bytes) -> None:
        """Keep an answer; one with the same bytes as the last of this meter says nothing new and is
        dropped.
        """
        digest = sm3(frame)
        if self._seen.get(device_id.hex()) == digest or len(self._held) >= MOST_HELD:
            return
        name = f"{HELD}{self._number:012x}"
        self._number += 1
        self._store.write({name: frame, SEEN + device_id.hex(): digest})
        self._seen[device_id.hex()] = digest
        self._held.add(name)
        self._waiting.insert(0, name)

    def next(self, now: int) -> Item | None:
        """The oldest answer that was not handed out."""
        return Item(name := self._waiting.pop(), name) if self._waiting else None

    def seal(self, item: Item, chip: Chip, now: int) -> Sealed:
        """A vouched record of one answer."""
        frame = self._store.read(str(item.what))
        assert frame is not None
        return chip.seal(frame, now, vouched=True)

    def done(self, items: list[Item]) -> None:
        """Forget answers that are committed, or lie in quarantine."""
        names = [str(item.what) for item in items if item.what in self._held]
        if names:
            self._store.write(dict.fromkeys(names))
            self._held.difference_update(names)


class Concentrator:
    """The whole concentrator without its sockets."""

    def __init__(
        self,
        *,
        device_id: bytes,
        chip: Chip,
        store: SealedNv,
        risers: list[list[MeterAt]],
        pace: Pace,
        timing: Timing,
        jitter: Callable[[], float],
        send: Callable[[Up], None],
        schedule: Schedule | None = None,
    ) -> None:
        self.device_id = device_id
        self.outbox = VouchOutbox(store)
        self.agent = LinkAgent(chip, self.outbox, timing, jitter, direct=True)
        self._send = send
        self.carried_up = self.carried_down = self.strangers = 0
        self.risers = [
            Riser(
                [Line(meter.device_id, plain=meter.plain, model=meter.model) for meter in meters],
                pace,
                self._up,
                self._plain,
                schedule,
            )
            for meters in risers
        ]
        self.hunt = Hunt(self.risers, schedule)
        self._place = {device: riser for riser in self.risers for device in riser.lines}

    def _up(self, device_id: bytes, message: bytes) -> None:
        self.carried_up += 1
        self._send(Up(device_id, message))

    def _plain(self, device_id: bytes, frame: Frame) -> None:
        self.outbox.take(device_id, frame.encode())

    def find(self, device_id: str) -> tuple[Line, Riser]:
        """A plain meter by its device id in hex. LocalError `concentrator.unknown`, or `concentrator.sealed` for a meter
        that only the platform reads.
        """
        try:
            raw = bytes.fromhex(device_id)
        except ValueError:
            raw = b""
        riser = self._place.get(raw)
        if riser is None:
            raise LocalError(
                "concentrator.unknown", f"No meter {device_id[:16]} is behind this concentrator."
            )
        line = riser.lines[raw]
        if not line.plain:
            raise LocalError(
                "concentrator.sealed",
                f"Meter {device_id} has a module: its readings are for the platform alone.",
            )
        return line, riser

    def tick(self, now: int) -> None:
        """Look after what has a time of its own; ten times a second or so."""
        self.hunt.tick(now)

    def reach(self, reachable: bool) -> None:
        """The head-end can, or cannot, take messages now."""
        for riser in self.risers:
            riser.open = reachable

    def speak(self, now: int, most: int = 8) -> None:
        """Send what the concentrator's own module has to say."""
        for _ in range(most):
            message = self.agent.offer(now)
            if message is None:
                return
            self._send(Up(self.device_id, message))

    def receive(self, device_id: bytes, message: bytes, now: int) -> Riser | None:
        """A message from the head-end: for a meter (its riser is returned, to be woken) or for the
        concentrator.
        """
        riser = self._place.get(device_id)
        if riser is not None:
            self.carried_down += 1
            riser.deliver(device_id, message)
        elif device_id == self.device_id:
            # Its own readings travel vouched only; nobody reads or commands a concentrator yet.
            self.agent.receive(message, now)
        else:
            self.strangers += 1
        return riser
