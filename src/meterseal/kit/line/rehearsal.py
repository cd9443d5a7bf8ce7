"""Beside the path: a small line of simulated meters and a bus master that reads them, to see the line view at work at once.

It is for `meterseal line` without a line: nothing here is sealed, nothing is stored.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from meterseal.edge.buslink import BusLink
from meterseal.edge.electricity import ElectricityMeter
from meterseal.edge.gas import GasMeter
from meterseal.edge.heat import HeatMeter
from meterseal.edge.line import Line
from meterseal.edge.meter import Meter
from meterseal.edge.node import Node
from meterseal.edge.place import Place
from meterseal.edge.poll import Pace, Riser
from meterseal.edge.water import WaterMeter
from meterseal.kit.bus import Bus, BusServer
from meterseal.kit.line.tap import Tap
from meterseal.wire.frame import Frame

KINDS: tuple[tuple[type[Meter], str], ...] = (
    (WaterMeter, "1078330011223344"),
    (HeatMeter, "2000112233445501"),
    (GasMeter, "3078330000000021"),
    (ElectricityMeter, "d700000000000161"),
)
PACE = Pace(answer=800, rest=700, longest_rest=700, plain=2_000, silent=4_000)


class _Turning:
    """A mechanism that counts one unit of its last digit every second."""

    since = until = 0

    def register(self, channel: int, at: int) -> int:
        return 123_456 + at // 1000 % 500_000

    def stored(self, channel: int, end_at: int) -> int | None:
        return None


class Rehearsal:
    """Four meters on a bus, and somebody who asks each every two seconds."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        meters = [kind(bytes.fromhex(number), _Turning()) for kind, number in KINDS]
        self._server = BusServer(Bus([Node(meter) for meter in meters]), clock)

    async def start(self, tap: Tap) -> None:
        """Switch the meters on and let the tap stand before them."""
        tap.place = Place(f"tcp:127.0.0.1:{await self._server.start('127.0.0.1', 0)}")

    async def ask(self, port: int) -> None:
        """Be the bus master on that port until cancelled; then the meters are switched off."""
        lines = [Line(bytes.fromhex(number), plain=True) for _, number in KINDS]
        riser = Riser(lines, PACE, lambda *_: None, _nothing)
        try:
            await self._ask(riser, port)
        finally:
            await self._server.stop()

    async def _ask(self, riser: Riser, port: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(OSError):
                _, link = await loop.create_connection(lambda: BusLink(riser, self._clock), "127.0.0.1", port)
                try:
                    while not link.closed.is_set():
                        await asyncio.sleep(0.05)
                        link.tick(self._clock())
                finally:
                    link.close()
            await asyncio.sleep(0.2)


def _nothing(device_id: bytes, frame: Frame, now: int) -> None:
    """What was read was seen on the line."""
