"""Beside the path: a bus of meters behind a TCP socket, half duplex, one request at a time.

It moves bytes and keeps time; what a request means is the node's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from meterseal.edge.node import Node
from meterseal.errors import EngineError
from meterseal.wire.codec import Reader
from meterseal.wire.frame import Frame


class Answering(Protocol):
    """Something that answers the requests of a bus master."""

    def answer(self, request: Frame, now: int) -> bytes:
        """The answer, empty for silence."""


class Bus:
    """The meters of one riser, found by the address bytes of a frame."""

    def __init__(self, nodes: list[Node], record: Callable[[bytes, bytes], None] | None = None) -> None:
        self._nodes: dict[bytes, Node] = {}
        for node in nodes:
            kind = b"" if node.meter.protocol == "dlt645" else node.meter.device_id[:1]
            self._nodes[kind + node.meter.wire_address] = node
            node.on_offer = record

    def answer(self, request: Frame, now: int) -> bytes:
        """See `Answering`; a frame for nobody here is passed over in silence."""
        kind = b"" if request.protocol == "dlt645" else bytes((request.meter_type,))
        node = self._nodes.get(kind + request.address)
        if node is not None:
            return node.answer(request, now)
        for other in self._nodes.values():  # wildcards are point to point: the first that feels addressed
            answer = other.answer(request, now)
            if answer:
                return answer
        return b""


class _Line(asyncio.Protocol):
    """The bus master's connection."""

    def __init__(self, bus: Answering, clock: Callable[[], int], lines: set[_Line]) -> None:
        self._bus = bus
        self._clock = clock
        self._lines = lines
        self._reader = Reader()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._lines.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lines.discard(self)

    def data_received(self, chunk: bytes) -> None:
        self._reader.feed(chunk)
        while (request := self._reader.next_frame()) is not None:
            answer = self._bus.answer(request, self._clock())
            if answer and self.transport is not None:
                self.transport.write(answer)


class BusServer:
    """One listening socket for one bus."""

    def __init__(self, bus: Answering, clock: Callable[[], int]) -> None:
        self._bus = bus
        self._clock = clock
        self._lines: set[_Line] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; the port. EngineError `kit.port` when it is taken."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(self._line, host, port)
        except OSError as error:
            raise EngineError(
                "kit.port", f"Port {port} of {host} cannot be used ({error.strerror}); give another one."
            ) from None
        return int(self._server.sockets[0].getsockname()[1])

    def _line(self) -> _Line:
        return _Line(self._bus, self._clock, self._lines)

    async def stop(self) -> None:
        """Close the socket and every connection."""
        if self._server is not None:
            self._server.close()
        for line in list(self._lines):
            if line.transport is not None:
                line.transport.abort()
