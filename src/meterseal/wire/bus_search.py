"""Station wire, the search of a bus: which meters are there, found by asking wildcard addresses and narrowing them.

It sends and waits for nothing: `step` says what to ask, `heard` takes everything that came until the line was idle.
Several meters that answer at once garble one another; what is left of it only says that somebody is there.

An address byte AA stands for any. AA in every byte is confirmed for both protocols; AA in the high bytes with digits in
the low ones is DL/T 645's way (缩位寻址) and known of single CJ/T 188 makers only, so `narrowing` is asked for.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from meterseal.errors import LocalError
from meterseal.wire import identifiers as ids
from meterseal.wire.codec import search
from meterseal.wire.encode import READ_ADDRESS, READ_ADDRESS_645
from meterseal.wire.fields import to_bcd
from meterseal.wire.frame import Frame, Protocol
from meterseal.wire.scan import PREAMBLE

ANY: Final = 0xAA
SIZE: Final[dict[Protocol, int]] = {"cjt188": 7, "dlt645": 6}
"""Address bytes."""
DIGITS: Final = tuple(to_bcd(value, 1) for value in range(100))
"""What one address byte may be."""


class Step(Struct, frozen=True):
    """What to ask next and how long to wait for the first byte of an answer, in ms."""

    frame: Frame
    wait_ms: int


class _Heard(Struct, frozen=True):
    """The meters whose whole answers were in what came, and whether there was anything else."""

    meters: tuple[bytes, ...]
    noise: bool


class _Todo(Struct, frozen=True):
    """An address to ask for, by its low bytes; or, with `signs`, the end of a narrowing.

    `signs` is how often anybody had been heard when it began, `seen` who had answered whole before.
    """

    low: bytes
    tries: int = 0
    signs: int | None = None
    seen: tuple[bytes, ...] = ()


class BusSearch:
    """One search. Take a `step`, send it, give what was `heard` (b"" for silence), until there is no step.

    `narrowing` goes on with one more address byte fixed wherever several meters answered. `thorough` does so wherever
    anybody answered: a meter may drown another without a trace, so only this finds everybody on any bus; it asks a
    hundred questions for each byte of each meter. `repeats` is how often garbled answers are asked again where there
    is nothing to narrow. After `most` questions it stops. Addresses that are no digits are not found by narrowing.
    """

    def __init__(
        self,
        protocol: Protocol,
        *,
        narrowing: bool,
        thorough: bool = False,
        meter_type: int = ANY,
        high_first: bool = True,
        wait_ms: int = 1_000,
        repeats: int = 2,
        most: int = 100_000,
    ) -> None:
        if thorough and not narrowing:
            raise LocalError(
                "wire.field", "A thorough search narrows addresses; ask for narrowing, or for neither."
            )
        self._protocol, self._narrowing, self._thorough = protocol, narrowing, thorough
        self._type = meter_type if protocol == "cjt188" else 0
        self._lead = ids.write_di(ids.ADDRESS, high_first=high_first) + b"\x00" if self._type else b""
        self._wait, self._repeats, self._most = wait_ms, repeats, most
        self._todo = [_Todo(b"")]
        self._signs = 0
        self._doubted: bytes | None = None
        self._found: dict[bytes, None] = {}
        self._unresolved: dict[bytes, None] = {}
        self.asked = 0

    @property
    def found(self) -> tuple[bytes, ...]:
        """Device ids of the meters whose whole answer was heard, in the order in which they were found."""
        return tuple(self._found)

    @property
    def unresolved(self) -> tuple[bytes, ...]:
        """Addresses, in wire order with AA for any, under which somebody answers who could not be told apart."""
        return tuple(self._unresolved)

    def step(self) -> Step | None:
        """What to ask now; the same until something was heard. None when the search is over."""
        if self._doubted is not None:
            return Step(self._request(self._doubted), self._wait)
        if not self._todo:
            return None
        return Step(self._request(self._todo[-1].low), self._wait)

    def heard(self, received: bytes) -> None:
        """Take what came on the line for the present step. Raises LocalError `wire.field` when there is none."""
        step = self.step()
        if step is None:
            raise LocalError("wire.field", "The search is over; nothing was asked.")
        self.asked += 1
        got = self._read(received, step.frame)
        self._signs += bool(got.meters or got.noise)
        if self._doubted is not None:
            self._confirm(got)
        else:
            self._judge(got)
        while self._todo and self._todo[-1].signs is not None:
            self._narrowed(self._todo.pop())
        if self.asked >= self._most:
            self._give_up()

    def _request(self, low: bytes) -> Frame:
        address = low + bytes((ANY,)) * (SIZE[self._protocol] - len(low))
        if self._protocol == "dlt645":
            return Frame("dlt645", 0, address, READ_ADDRESS_645, b"")
        return Frame("cjt188", self._type, address, READ_ADDRESS, self._lead)

    def _read(self, received: bytes, request: Frame) -> _Heard:
        """Whole answers to the request, and whether other bytes than wake-up bytes came with them."""
        meters: dict[bytes, None] = {}
        noise, at = False, 0
        while at < len(received):
            found = search(received, at)
            frame = found.frame
            if frame is None:
                noise = noise or bool(received[at:].strip(bytes((PREAMBLE,))))
                break
            before = found.trial.start - found.preamble
            noise = noise or before > at or not self._answers(request, frame)
            if self._answers(request, frame):
                meters[frame.device_id] = None
            at = found.next
        return _Heard(tuple(meters), noise)

    def _answers(self, request: Frame, frame: Frame) -> bool:
        if frame.protocol != self._protocol or frame.control != request.control | 0x80:
            return False
        if self._type not in (0, ANY, frame.meter_type):
            return False
        if any(asked not in (ANY, byte) for asked, byte in zip(request.address, frame.address, strict=True)):
            return False
        if self._protocol == "dlt645":
            return frame.data == frame.address
        return len(frame.data) > 1 and ids.read_di(frame.data)[0] == ids.ADDRESS

    def _judge(self, got: _Heard) -> None:
        """One question was answered: by nobody, by one, by several or by noise."""
        low = self._todo[-1].low
        whole = len(low) == SIZE[self._protocol]
        if not got.meters and not got.noise:
            self._todo.pop()
        elif whole and got.meters:
            self._todo.pop()
            self._keep(got.meters)
        elif self._narrowing and not whole and (self._thorough or got.noise or len(got.meters) > 1):
            self._narrow(got.meters)
        elif len(got.meters) == 1 and not got.noise:
            self._doubted = self._address(got.meters[0])
        else:
            self._again(got)

    def _again(self, got: _Heard) -> None:
        """Nothing to narrow: meters that answered whole are kept, and the same is asked again a few times."""
        self._keep(got.meters)
        last = self._todo.pop()
        if last.tries < self._repeats:
            self._todo.append(_Todo(last.low, last.tries + 1))
        elif got.noise or not got.meters:
            self._leave(last.low)

    def _confirm(self, got: _Heard) -> None:
        """The one that seemed to answer was asked alone: two answers on top of one another can look like a third."""
        self._doubted = None
        if len(got.meters) == 1:
            self._keep(got.meters)
            self._todo.pop()
        elif self._narrowing:
            self._narrow(())
        else:
            self._again(_Heard((), noise=True))

    def _narrow(self, seen: tuple[bytes, ...]) -> None:
        low = self._todo.pop().low
        self._todo.append(_Todo(low, signs=self._signs, seen=seen))
        self._todo += [_Todo(low + digits) for digits in reversed(DIGITS)]

    def _narrowed(self, end: _Todo) -> None:
        """A narrowing is over. Where nobody answered to it, these meters know no narrowed addresses, or no digits."""
        if self._signs == end.signs:
            self._leave(end.low)
            self._todo += [_Todo(self._address(meter)) for meter in end.seen if meter not in self._found]

    def _address(self, device_id: bytes) -> bytes:
        return device_id[:0:-1] if self._protocol == "cjt188" else device_id[:1:-1]

    def _leave(self, low: bytes) -> None:
        self._unresolved[self._request(low).address] = None

    def _keep(self, meters: tuple[bytes, ...]) -> None:
        self._found.update(dict.fromkeys(meters))

    def _give_up(self) -> None:
        self._doubted = None
        for todo in self._todo:
            self._leave(todo.low)
        self._todo.clear()
