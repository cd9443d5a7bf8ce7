"""Station edge, passing on: words of the platform for plain meters, brought to them by their concentrator (ADR 0040).

What commands a meter was authorised for the concentrator's module, number by number, before it comes here; what has no
number may only read. It knows no key and no socket. What is lost by a power cut is not done: the platform never learns
more of it than that it was sent.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, Protocol

from meterseal.edge.agent import Item, LinkAgent, Order
from meterseal.edge.chip import Chip, fits
from meterseal.edge.line import Wanted
from meterseal.edge.poll import Riser
from meterseal.errors import PeerError, TrustError
from meterseal.link.acts import act_of
from meterseal.link.commands import is_read
from meterseal.model import medium_of
from meterseal.wire.frame import Frame, parse_frame, try_frame
from meterseal.wire.roster import Listed, is_roster, listed_of, refusal, roster_answer, silence

AGAIN, PATIENCE = 15_000, 90_000
"""Milliseconds until a silent meter is told again, and after which the platform hears that it keeps silent: whoever waits
behind it has their turn then.
"""
ONCE = frozenset({"purchase", "write"})
"""What must not be told twice to a meter that may have heard it: money, and makers' own orders that no table explains."""
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


class _Asked(NamedTuple):
    """An order that is under way; `due` is when a silent meter is told again, 0 while it is being asked."""

    order: Order
    frame: Frame
    until: int
    due: int = 0


class Passing:
    """Brings orders to plain meters and their answers back. The platform hears of each what became of it, within PATIENCE:
    whoever waits behind it has their turn then.
    """

    def __init__(self, place: Place, chip: Chip, agent: LinkAgent) -> None:
        self._place = place
        self._chip = chip
        self._agent = agent
        self._asked: dict[int, _Asked] = {}
        """What is under way, in the order in which it came."""
        self._count = 0
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
        if frame.protocol == "dlt645" and try_frame(order.frame, 0, "cjt188").frame is not None:
            self.refused += 1  # a question to one meter that another one on the bus could take for an order
            return None
        riser = self._place.riser_of(frame.device_id)
        reads = sum(not one.order.number for one in self._asked.values())
        if riser is None or not (order.number or (is_read(frame) and reads < READS)):
            # Of a meter that is not here, or has a module, nothing can be said; and nothing goes on a bus unguarded
            # that a meter might act on.
            self.refused += 1
            if riser is None:
                self._answer(order, refusal(frame))
            return None
        if order.number:
            self._end(lambda one: bool(one.order.number) and one.frame.device_id == frame.device_id)
        until = min(order.not_after, now + PATIENCE) if order.number else now + READ_FOR
        self._ask(riser, _Asked(order, frame, until))
        return riser

    def tick(self, now: int) -> None:
        """Try again whoever kept silent, while the command lasts; say of what lasts no more that nothing came."""
        self._end(lambda one: now >= one.until or self._place.riser_of(one.frame.device_id) is None)
        for number, one in list(self._asked.items()):
            riser = self._place.riser_of(one.frame.device_id)
            if one.due and now >= one.due and riser is not None:
                del self._asked[number]
                self._ask(riser, one._replace(due=0))

    def _end(self, which: Callable[[_Asked], bool]) -> None:
        """End what is under way without an answer: it goes on no bus any more. One that comes all the same goes up."""
        for number, one in list(self._asked.items()):
            if which(one):
                del self._asked[number]
                self._answer(one.order, silence(one.frame), number)

    def _ask(self, riser: Riser, asked: _Asked) -> None:
        self._count += 1
        number, (order, frame, until, _) = self._count, asked
        self._asked[number] = asked

        single, sent = bool(order.number) and not _repeatable(frame), False

        def make(at: int) -> Frame | None:
            nonlocal sent
            if number not in self._asked or at >= until or (single and sent):
                return None  # also where the bus was lost just when it was told: it may have been heard
            sent = True
            return frame

        def answered(answer: Frame | None, at: int) -> None:
            waited = self._asked.pop(number, None)
            if answer is not None:
                self._answer(order, answer if fits(answer) else silence(frame), number)
                riser.hurry(frame.device_id)
            elif waited is not None and order.number and not single and at + AGAIN < until:
                self._asked[number] = asked._replace(due=at + AGAIN)
            elif waited is not None:
                self._answer(order, silence(frame), number)

        riser.want(frame.device_id, Wanted(make, answered, errors=True, once=single), hurried=True)

    def _answer(self, order: Order, answer: Frame, read: int = 0) -> None:
        self.passed += 1
        raw = answer.encode()
        if order.number:
            with suppress(TrustError):  # a later command came meanwhile: this one is not asked for again
                self._chip.keep_answer(order.number, raw)
        self._agent.queue(Item(("answer", order.number or -read), raw))


def _repeatable(frame: Frame) -> bool:
    medium = medium_of(frame.device_id)
    return medium is not None and act_of(frame, medium) not in ONCE
