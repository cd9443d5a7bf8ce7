"""The head-end's UDP socket: one message in each datagram, order and delivery never assumed (LINK section 5).

Moves bytes only. Nothing shows that a datagram's sender receives at the address in it, so every HELLO from here must bring
a cookie, and no address gets a row in a table before the uplink has limits for all of them together. An answer goes to the
address that asked. Whoever has shown nothing hears a RETRY at most, 23 bytes and shorter than any HELLO. What is longer
(ACK, SESSION, a word) goes where a cookie or a record with a good tag came from; who catches such a record on its way and
is quicker with it can so draw, once, what was due to the device to an address of his choice. What is lost is sent again by
the device.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

from meterseal.errors import EngineError
from meterseal.headend.link import REMEMBERED, Receive, Ways
from meterseal.hostport import family, written
from meterseal.link.messages import LONGEST

RECEIVE_BUFFER = 4 * 1024 * 1024
"""Bytes that the kernel may keep for us while a batch is judged."""

Address = tuple[Any, ...]


class Datagrams:
    """The way to one address."""

    def __init__(self, transport: asyncio.DatagramTransport, address: Address) -> None:
        self._transport = transport
        self._address = address
        self.source = str(address[0])
        self.concentrator_id = b""

    def send(self, device_id: bytes, message: bytes) -> None:
        """Send one datagram; what the network does not take is lost, as any datagram may be."""
        if not self._transport.is_closing():
            self._transport.sendto(message, self._address)


class UdpListener(asyncio.DatagramProtocol):
    """One UDP socket."""

    def __init__(self, receive: Receive, host: str, port: int) -> None:
        self._receive = receive
        self._place = host, port
        self._links: Ways[Address, Datagrams] = Ways(REMEMBERED)
        self._transport: asyncio.DatagramTransport | None = None
        self._paused = False
        self.dropped = 0

    async def start(self) -> str:
        """Listen; returns host:port. EngineError `headend.port`."""
        host, port = self._place
        loop = asyncio.get_running_loop()
        try:
            self._transport, _ = await loop.create_datagram_endpoint(
                lambda: self, local_addr=(host, port), family=family(host)
            )
        except OSError as error:
            raise EngineError(
                "headend.port",
                f"The head-end cannot listen on UDP {written(host, port)} ({error.strerror}). Choose another port.",
            ) from None
        bound = self._transport.get_extra_info("socket")
        with contextlib.suppress(
            OSError
        ):  # the kernel's own size then; datagrams may be lost a little sooner
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        return written(host, bound.getsockname()[1])

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if self._paused or not 0 < len(data) <= LONGEST or self._transport is None:
            self.dropped += 1
            return
        transport = self._transport
        link = self._links.of(addr, lambda: Datagrams(transport, addr))
        self._receive(link, b"", data, proven=False, way="udp")

    def error_received(self, exc: Exception) -> None:
        """Somebody's port is closed; the datagram is lost and nothing else."""

    def pause(self, paused: bool) -> None:
        """Drop or take what comes: a datagram cannot wait with its sender, who repeats it."""
        self._paused = paused

    async def stop(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.abort()
