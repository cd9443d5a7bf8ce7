"""Station edge, the concentrator's sockets: its buses, serial or over TCP, and its link to the head-end over TLS 1.3.

Moves bytes and keeps time; what they mean is `concentrator`'s, how a bus is spoken on `buslink`'s. Towards the head-end
go envelopes behind a 2-byte length (LINK section 5).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable

from msgspec import Struct

from meterseal.edge.buslink import BusLink
from meterseal.edge.concentrator import Concentrator, Up
from meterseal.edge.place import Place
from meterseal.edge.poll import Riser
from meterseal.errors import PeerError
from meterseal.link.transport import MessageReader, frame_message, pack_envelope, unpack_envelope
from meterseal.mesh.sm_tls import SmContext

TICK = 0.1
"""How often, in seconds, silence on a bus and the module's own messages are looked after."""
HEADEND = "urn:meterseal:process:headend"


class Address(Struct, frozen=True):
    """A host and a TCP port."""

    host: str
    port: int


class Backoff(Struct, frozen=True, kw_only=True):
    """Pauses between attempts to connect, in seconds: from `first` doubling to `longest`, half of it
    random.
    """

    first: float = 0.05
    longest: float = 30.0


class Uplink(asyncio.Protocol):
    """The connection to the head-end. `reach` hears whether messages can be taken."""

    def __init__(
        self, receive: Callable[[bytes, bytes], None], reach: Callable[[bool], None], *, tls: bool
    ) -> None:
        self._receive = receive
        self._reach = reach
        self._tls = tls
        self._reader = MessageReader()
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if self._tls and not _is_headend(transport.get_extra_info("peercert")):
            transport.abort()
            return
        self._transport = transport
        self._reach(True)

    def data_received(self, chunk: bytes) -> None:
        try:
            for message in self._reader.feed(chunk):
                self._receive(*unpack_envelope(message))
        except PeerError:
            # A stream that lost its framing does not find it again.
            self.close()

    def pause_writing(self) -> None:
        self._reach(False)

    def resume_writing(self) -> None:
        self._reach(True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._reach(False)
        self.closed.set()

    def send(self, up: Up) -> None:
        """Send with the next turn of the loop, together with whatever else comes in this one."""
        if self._transport is None:
            return
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(frame_message(pack_envelope(up.device_id, up.message)))

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None:
            self._transport.write(b"".join(out))

    def close(self) -> None:
        """End this connection."""
        if self._transport is not None:
            self._transport.abort()


def _is_headend(certificate: dict[str, object] | None) -> bool:
    """Does the verified certificate name the head-end process, and nobody else?"""
    names = (certificate or {}).get("subjectAltName", ())
    return names == (("URI", HEADEND),)


class Gateway:
    """A concentrator at work, until `run` is cancelled.

    `tls` is the client context, or that of RFC 8998, with the concentrator's certificate (None only for a
    head-end that listens without TLS, in tests); `clock` gives Unix ms, `jitter` numbers in [0, 1).
    """

    def __init__(
        self,
        make: Callable[[Callable[[Up], None]], Concentrator],
        *,
        buses: list[Place],
        headend: Address,
        tls: ssl.SSLContext | SmContext | None,
        backoff: Backoff,
        clock: Callable[[], int],
        jitter: Callable[[], float],
    ) -> None:
        self.concentrator = make(self._send)
        self.reachable = False
        self._buses = buses
        self._headend = headend
        self._tls = tls
        self._backoff = backoff
        self._clock = clock
        self._jitter = jitter
        self._uplink: Uplink | None = None
        self._links: dict[int, BusLink] = {}
        self._link_of = {id(riser): number for number, riser in enumerate(self.concentrator.risers)}

    def _send(self, up: Up) -> None:
        if self._uplink is not None:
            self._uplink.send(up)

    def _receive(self, device_id: bytes, message: bytes) -> None:
        riser = self.concentrator.receive(device_id, message, self._clock())
        if riser is None:
            self.concentrator.speak(self._clock())
            return
        self.wake(riser)

    def _reach(self, reachable: bool) -> None:
        self.reachable = reachable
        self.concentrator.reach(reachable)
        if reachable:
            for link in self._links.values():
                link.wake()

    def wake(self, riser: Riser) -> None:
        """Something was wanted of a meter of this bus: let it be asked now."""
        link = self._links.get(self._link_of[id(riser)])
        if link is not None:
            link.wake()

    def read_back(self, device_id: bytes, days: int) -> None:
        """Have a plain meter's last days read back, whenever nothing else is due on its bus."""
        self.concentrator.backfill.again(device_id, days, self._clock())

    def status(self) -> dict[str, object]:
        """Public counts for whoever watches."""
        concentrator = self.concentrator
        return {
            "reachable": self.reachable,
            "buses": len(self._links),
            "exchanges": sum(riser.exchanges for riser in concentrator.risers),
            "errors": sum(riser.errors for riser in concentrator.risers),
            "up": concentrator.carried_up,
            "down": concentrator.carried_down,
            "held": len(concentrator.outbox),
            "dropped": concentrator.outbox.dropped,
            "read_back": concentrator.backfill.filled,
            "missing": concentrator.backfill.missing,
            "to_read_back": concentrator.backfill.waiting(),
            "told": len(concentrator.strangers.told),
            "untold": concentrator.strangers.untold,
            "alarms": concentrator.watch.told,
            "passed": concentrator.passing.passed,
            "clock_good": concentrator.clock.good(self._clock()),
            "unknown": sum(
                len(concentrator.hunt.state(number).unknown) for number in range(len(concentrator.risers))
            ),
        }

    async def run(self) -> None:
        """Keep every bus and the head-end connected, for good."""
        async with asyncio.TaskGroup() as group:
            for number, riser in enumerate(self.concentrator.risers):
                group.create_task(self._keep_bus(number, riser))
            group.create_task(self._keep_uplink())
            group.create_task(self._keep_time())

    async def _keep_time(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            now = self._clock()
            self.concentrator.tick(now)
            for link in list(self._links.values()):
                link.tick(now)
            if self.reachable:
                self.concentrator.speak(now)

    async def _keep_bus(self, number: int, riser: Riser) -> None:
        pause = self._backoff.first
        while True:
            with contextlib.suppress(OSError):
                await self._hold_bus(number, BusLink(riser, self._clock, baud=self._buses[number].baud))
                pause = self._backoff.first
            pause = await self._rest(pause)

    async def _hold_bus(self, number: int, link: BusLink) -> None:
        """Be on the bus until it is lost; OSError when nobody is there."""
        await self._buses[number].connect(lambda: link)
        self._links[number] = link
        try:
            await link.closed.wait()
        finally:
            self._links.pop(number, None)
            link.close()

    async def _keep_uplink(self) -> None:
        loop = asyncio.get_running_loop()
        pause = self._backoff.first
        while True:
            with contextlib.suppress(OSError, ssl.SSLError):
                began = loop.time()
                where = self._headend.host, self._headend.port
                if isinstance(self._tls, SmContext):
                    await self._tls.connect(self._new_uplink, *where)
                else:
                    name = self._headend.host if self._tls else None
                    await loop.create_connection(
                        self._new_uplink, *where, ssl=self._tls, server_hostname=name
                    )
                assert self._uplink is not None
                try:
                    await self._uplink.closed.wait()
                finally:
                    self._uplink.close()
                    self._uplink = None
                # A head-end that hangs up at once does not know this certificate: do not hammer it.
                if loop.time() - began > self._backoff.longest:
                    pause = self._backoff.first
            pause = await self._rest(pause)

    def _new_uplink(self) -> Uplink:
        self._uplink = Uplink(self._receive, self._reach, tls=self._tls is not None)
        return self._uplink

    async def _rest(self, pause: float) -> float:
        await asyncio.sleep(pause * (0.5 + 0.5 * self._jitter()))
        return min(2 * pause, self._backoff.longest)
