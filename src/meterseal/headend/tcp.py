"""The head-end's sockets: streams of messages behind a 2-byte length; TCP from devices, TLS from concentrators.

Moves bytes only; what a message means is the uplink's. A concentrator's messages come in envelopes (LINK section 5) and
are accepted on its mutually authenticated link alone; a single device speaks for itself.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable

from meterseal.errors import EngineError, PeerError
from meterseal.hostport import written
from meterseal.link.transport import MessageReader, frame_message, pack_envelope, unpack_envelope
from meterseal.mesh.sm_tls import SmContext

HIGH_WATER = 512 * 1024
"""Bytes waiting to be sent to one peer before it is dropped: it does not read what it asked for."""
HANDSHAKE_WITHIN = 5.0
"""Seconds a TLS handshake may take."""


class Stream(asyncio.Protocol):
    """One connection; `concentrator_id` is empty for a device that speaks for itself."""

    def __init__(
        self,
        receive: Callable[[Stream, bytes, bytes], None],
        opened: Callable[[Stream], None],
        closed: Callable[[Stream], None],
        *,
        enveloped: bool,
    ) -> None:
        self._receive = receive
        self._opened = opened
        self._closed = closed
        self._enveloped = enveloped
        self._reader = MessageReader()
        self._transport: asyncio.Transport | None = None
        self.source = ""
        self.concentrator_id = b""
        self.heard_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self.source = str(peer[0]) if peer else ""
        if self._enveloped:
            self.concentrator_id = concentrator_of(transport.get_extra_info("peercert"))
            self.source = f"concentrator {self.concentrator_id.hex()}"
            if not self.concentrator_id:
                transport.abort()
        self.heard_at = asyncio.get_running_loop().time()
        self._opened(self)

    def data_received(self, data: bytes) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        try:
            for message in self._reader.feed(data):
                if self._enveloped:
                    device_id, inner = unpack_envelope(message)
                    self._receive(self, device_id, inner)
                else:
                    self._receive(self, b"", message)
        except PeerError:
            # A stream that lost its framing cannot be trusted to find it again.
            self.drop()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed(self)

    def send(self, device_id: bytes, message: bytes) -> None:
        """Send one message to a device behind this link; a peer that does not read is dropped."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if transport.get_write_buffer_size() > HIGH_WATER:
            transport.abort()
            return
        transport.write(frame_message(pack_envelope(device_id, message) if self._enveloped else message))

    def drop(self) -> None:
        """Close this connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def pause(self, paused: bool) -> None:
        """Stop or resume reading: what waits in the kernel is the sender's, not ours."""
        if self._transport is not None and not self._transport.is_closing():
            if paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()


def concentrator_of(certificate: dict[str, object] | None) -> bytes:
    """The concentrator's id from its verified certificate; empty when the certificate names none."""
    names = (certificate or {}).get("subjectAltName", ())
    assert isinstance(names, tuple)
    for kind, value in names:
        if kind == "URI" and str(value).startswith("urn:meterseal:concentrator:"):
            try:
                device_id = bytes.fromhex(str(value).rpartition(":")[2])
            except ValueError:
                return b""
            return device_id if len(device_id) == 8 else b""
    return b""


class Listener:
    """One listening socket with a bound on its connections.

    Over the bound a new connection takes the place of the longest silent one of the source that holds most of them,
    so that whoever opens very many pushes out his own.
    """

    def __init__(
        self,
        receive: Callable[[Stream, bytes, bytes], None],
        *,
        tls: ssl.SSLContext | SmContext | None,
        limit: int = 4096,
        joined: Callable[[Stream], None] = lambda link: None,
        parted: Callable[[Stream], None] = lambda link: None,
    ) -> None:
        self._receive = receive
        self._joined = joined
        self._parted = parted
        self._tls = tls
        self._limit = limit
        self.links: set[Stream] = set()
        self._pending = 0
        self._paused = False
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port."""
        loop = asyncio.get_running_loop()
        standard = self._tls if isinstance(self._tls, ssl.SSLContext) else None
        try:
            self._server = await loop.create_server(
                self._tls.serving(self._connect) if isinstance(self._tls, SmContext) else self._connect,
                host,
                port,
                backlog=256,
                ssl=standard,
                ssl_handshake_timeout=HANDSHAKE_WITHIN if standard else None,
            )
        except OSError as error:
            raise EngineError(
                "headend.port",
                f"The head-end cannot listen on {written(host, port)} ({error.strerror}). Choose another port.",
            ) from None
        return int(self._server.sockets[0].getsockname()[1])

    def _connect(self) -> asyncio.Protocol:
        # A connection counts from here, but asyncio never tells of one whose TLS handshake fails: for those the
        # handshake's own time limit counts it out again.
        if self._tls is not None:
            if self._pending >= self._limit:
                return _Refused()
            self._pending += 1
            asyncio.get_running_loop().call_later(HANDSHAKE_WITHIN, self._no_longer_pending)
        return Stream(self._receive, self._opened, self._closed, enveloped=self._tls is not None)

    def _no_longer_pending(self) -> None:
        self._pending -= 1

    def _opened(self, link: Stream) -> None:
        if len(self.links) >= self._limit:
            (crowd, _), *_ = Counter(other.source for other in self.links).most_common(1)
            oldest = min(
                (other for other in self.links if other.source == crowd), key=lambda other: other.heard_at
            )
            self._closed(oldest)
            oldest.drop()
        self.links.add(link)
        if self._paused:
            # Not at once: asyncio of Python 3.11 begins to read after it told of the connection, whatever was said then.
            asyncio.get_running_loop().call_soon(lambda: link.pause(self._paused))
        self._joined(link)

    def _closed(self, link: Stream) -> None:
        self.links.discard(link)
        self._parted(link)

    def pause(self, paused: bool) -> None:
        """Pause or resume reading on every connection, later ones included."""
        self._paused = paused
        for link in self.links:
            link.pause(paused)

    async def stop(self) -> None:
        """Close the socket and every connection."""
        if self._server is not None:
            self._server.close()
        for link in list(self.links):
            link.drop()


class _Refused(asyncio.Protocol):
    """What a connection over the limit gets: an immediate end."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()
