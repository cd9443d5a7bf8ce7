"""Buses for the tests of the concentrator: meters that answer all at once, in memory and on a virtual serial pair."""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import Callable
from functools import reduce

from meterseal.edge.meter import Meter
from meterseal.edge.node import Node
from meterseal.edge.poll import Riser
from meterseal.wire.codec import Reader
from meterseal.wire.frame import Frame, parse_frame
from tests.edge.field import KINDS, Counting


def meter(device: bytes) -> Meter:
    return KINDS[device[0]](device, Counting(device, 3))


class Wire:
    """Meters on one pair of wires: whoever is addressed answers, two at once garble one another."""

    def __init__(self, devices: list[bytes]) -> None:
        self.nodes = {device: Node(meter(device)) for device in devices}
        self.named = {node.meter.wire_address: {device: node} for device, node in self.nodes.items()}
        self.off: set[bytes] = set()
        self.asked: list[Frame] = []

    def answer(self, request: Frame, now: int) -> bytes:
        self.asked.append(request)
        answers = [
            answer
            for device, node in (self.named.get(request.address) or self.nodes).items()
            if device not in self.off and (answer := node.answer(request, now))
        ]
        if len(answers) < 2:
            return b"".join(answers)
        size = max(map(len, answers))
        return reduce(
            lambda one, other: bytes(a & b for a, b in zip(one, other, strict=True)),
            (answer.ljust(size, b"\xff") for answer in answers),
        )


def exchange(riser: Riser, wire: Wire, now: int) -> Frame | None:
    """One request of the riser and what comes of it; the request, None while it rests."""
    raw = riser.request(now)
    if raw is None:
        return None
    request, _ = parse_frame(raw)
    heard = wire.answer(request, now)
    if not heard or not riser.protocol or not riser.answer(heard, now):
        riser.timeout(now, heard)
    return request


class Pair:
    """The meters' end of a virtual serial pair; `bend` changes what the line carries back."""

    def __init__(self, wire: Wire, clock: Callable[[], int], bend: Callable[[bytes], bytes]) -> None:
        self.wire, self.clock, self.bend = wire, clock, bend
        self.reader = Reader()
        self.raw = b""
        self.ours, theirs = os.openpty()
        tty.setraw(theirs)
        tty.setraw(self.ours)
        self.theirs = theirs
        self.place = f"serial:{os.ttyname(theirs)}:38400:N"  # a virtual pair has no parity
        asyncio.get_running_loop().add_reader(self.ours, self._heard)

    def _heard(self) -> None:
        raw = os.read(self.ours, 1024)
        self.raw += raw
        self.reader.feed(raw)
        while (request := self.reader.next_frame()) is not None:
            answer = self.wire.answer(request, self.clock())
            if answer:
                os.write(self.ours, self.bend(answer))

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.ours)
        os.close(self.ours)
        os.close(self.theirs)
