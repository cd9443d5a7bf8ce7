"""Station edge, passing on: words of the platform for plain meters, brought to them by their concentrator (ADR 0040).

What commands a meter was authorised for the concentrator's module, number by number, before it comes here; what has no
number may only read. It knows no key and no socket. What is lost by a power cut is not done: the platform never learns
more of it than that it was sent.
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple, Protocol

from meterseal.edge.agent import Item, LinkAgent, Order
from meterseal.edge.chip import Chip
from meterseal.edge.line import Wanted
from meterseal.edge.poll import Riser
from meterseal.errors import PeerError, TrustError
from meterseal.link.commands import is_read
from meterseal.wire.frame import Frame, parse_frame
from meterseal.wire.roster import Listed, is_roster, listed_of, roster_answer, silence

AGAIN, PATIENCE = 15_000, 90_000
"""Milliseconds until a silent meter is told again, and after which the platform hears that it keeps silent: whoever waits
behind it has their turn then.
"""
READS = 32
"""Reads on request that may wait at once; the platform repeats what is dropped."""
READ_FOR = 60_000
"""Milliseconds after which a read that did not get its turn is dropped."""


class Place(Protocol):
    """The concentrator's own list of meters."""

    def riser_of(self, device_id: bytes) -> Riser | None:
        """The bus of a plain meter; None for any other device."""

    def relist(self, device_id: bytes, listed: Listed, now: int) -> bool:
        """Change the list; False where it cannot be."""


class _Command(NamedTuple):
    order: Order
    frame: Frame
    due: int
    until: int


class Passing:
    """Brings orders to plain meters and their answers back."""

    def __init__(self, place: Place, chip: Chip, agent: LinkAgent) -> None:
        self._place = place
        self._chip = chip
        self._agent = agent
        self._silent: dict[bytes, _Command] = {}
        """Commands whose meter did not answer, by meter."""
        self._reads: dict[int, int] = {}
        """Until when each read waits, by its number."""
        self._asked = 0
        self.passed = self.refused = 0

    def take(self, order: Order, now: int) -> Riser | None:
        """Begin to carry out what the module found good; the bus that is to be woken."""
        try:
            frame, _ = parse_frame(order.frame)
        except PeerError:
            self.refused += 1
            return None
        if order.number and is_roster(frame):
            listed = listed_of(frame)
            done = listed is not None and self._place.relist(frame.device_id, listed, now)
            self._answer(order, roster_answer(frame, done=done))
            return None
        riser = self._place.riser_of(frame.device_id)
        self._reads = {number: until for number, until in self._reads.items() if now < until}
        if riser is None or not (order.number or (is_read(frame) and len(self._reads) < READS)):
            # Of a meter that is not here, or has a module, nothing can be said; and nothing goes on a bus unguarded
            # that a meter might act on.
            self.refused += 1
            return None
        until = min(order.not_after, now + PATIENCE) if order.number else now + READ_FOR
        self._ask(riser, order, frame, until)
        return riser

    def tick(self, now: int) -> None:
        """Try again whoever kept silent, while the command lasts."""
        for device_id, waiting in list(self._silent.items()):
            if now < waiting.due:
                continue
            del self._silent[device_id]
            riser = self._place.riser_of(device_id)
            if riser is not None:
                self._ask(riser, waiting.order, waiting.frame, waiting.until)

    def _ask(self, riser: Riser, order: Order, frame: Frame, until: int) -> None:
        self._asked += 1
        read = self._asked
        if not order.number:
            self._reads[read] = until

        def make(at: int) -> Frame | None:
            if at >= until:
                self._answer(order, silence(frame), read)
            return frame if at < until else None

        def answered(answer: Frame | None, at: int) -> None:
            self._reads.pop(read, None)
            if answer is not None:
                self._answer(order, answer, read)
                riser.hurry(frame.device_id)
            elif order.number and at + AGAIN < until:
                self._silent[frame.device_id] = _Command(order, frame, at + AGAIN, until)
            else:
                self._answer(order, silence(frame), read)

        riser.want(frame.device_id, Wanted(make, answered, errors=True), hurried=True)

    def _answer(self, order: Order, answer: Frame, read: int = 0) -> None:
        self.passed += 1
        raw = answer.encode()
        if order.number:
            self._silent.pop(answer.device_id, None)
            with suppress(TrustError):  # a later command came meanwhile: this one is not asked for again
                self._chip.keep_answer(order.number, raw)
        self._agent.queue(Item(("answer", order.number or -read), raw))
