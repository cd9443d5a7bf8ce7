"""Station edge, one bus as bytes: requests out, answers found in whatever comes, silence measured at the line's speed.

It decides nothing: whom to ask and what an answer means is `poll`'s. One request is outstanding.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from meterseal.edge.poll import Riser
from meterseal.wire.frame import LENGTH_AT

LONGEST_ANSWER = 4096
LONGEST_FRAME = 288
"""Bytes of the longest frame of either protocol with its wake-up bytes."""
BITS = 11
"""Of a byte on the line: start, eight data, parity, stop."""
TURN = 0.03
"""Seconds between an answer and the next request on a serial port, in which the meter leaves the line."""


def frame_size(received: bytes, protocol: str) -> int:
    """How many bytes the frame takes that begins at the first byte; 0 while its length is not there yet."""
    at = LENGTH_AT["dlt645" if protocol == "dlt645" else "cjt188"]
    return received[at] + at + 3 if len(received) > at else 0


class BusLink(asyncio.Protocol):
    """One riser's socket or serial port. `baud` is the line's speed; 0 where a serial server at the other end has it, and
    then the speed of the meter's model is reckoned with.
    """

    def __init__(self, riser: Riser, clock: Callable[[], int], *, baud: int = 0) -> None:
        self._riser = riser
        self._clock = clock
        self._baud = baud
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._no_answers: set[int] = set()
        self._silent_at = self._latest = 0
        self._resting = True
        self._turning = False
        self.closed: asyncio.Event = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask(self._clock())

    def data_received(self, chunk: bytes) -> None:
        if self._resting:
            return  # nobody was asked
        now = self._clock()
        riser = self._riser
        self._received = (self._received + chunk)[:LONGEST_ANSWER]
        self._silent_at = min(max(self._silent_at, now + riser.timing.gap_ms), self._latest)
        if not riser.protocol:
            return  # a search hears everything until the line is idle
        begin = self._received.find(b"\x68")
        while begin >= 0:
            rest = self._received[begin:]
            size = frame_size(rest, riser.protocol)
            if size and len(rest) >= size and begin not in self._no_answers:
                if riser.answer(rest[:size], now):
                    self._turn(now)
                    return
                self._no_answers.add(begin)
            begin = self._received.find(b"\x68", begin + 1)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._riser.lost(self._clock())
        self.closed.set()

    def _turn(self, now: int) -> None:
        if not self._baud:
            self._ask(now)
            return
        self._turning = self._resting = True
        asyncio.get_running_loop().call_later(TURN, self._turned)

    def _turned(self) -> None:
        self._turning = False
        self._ask(self._clock())

    def wake(self) -> None:
        """Ask now if the bus rests: something was delivered, or the head-end came back."""
        if self._resting and not self._turning:
            self._ask(self._clock())

    def tick(self, now: int) -> None:
        """Look after silence: a meter that does not answer, or a rest that is over."""
        if self._turning:
            return
        if self._resting:
            if now >= self._riser.rest_until:
                self._ask(now)
        elif now > self._silent_at:
            self._riser.timeout(now, self._received)
            self._ask(now)

    def _ask(self, now: int) -> None:
        if self._transport is None:
            return
        riser = self._riser
        request = riser.request(now)
        self._received = b""
        self._no_answers.clear()
        self._resting = request is None
        if request is None:
            return
        raw = riser.preamble + request
        speed = self._baud or riser.timing.baud
        self._silent_at = now + len(raw) * BITS * 1_000 // speed + riser.patience
        self._latest = self._silent_at + LONGEST_FRAME * BITS * 1_000 // speed
        self._transport.write(raw)

    def close(self) -> None:
        """End this connection."""
        if self._transport is not None:
            self._transport.abort()
