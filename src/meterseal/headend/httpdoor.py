"""The HTTP/1.1 under the carriers' door: connections counted in all and by address, all within sizes and times.

It knows no carrier and answers nothing of its own but refusals of what is no HTTP; h11 reads the protocol. A general server
takes whoever comes until its own table is full; here whoever holds most connections gives way first.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from ipaddress import IPv6Address, ip_address

import h11
from msgspec import Struct

from meterseal.errors import EngineError
from meterseal.hostport import written

MOST, MOST_OF_ONE = 256, 64
"""Connections in all, and from one address (of IPv6 from one network of 64 bits, which one host commands)."""
LONGEST_HEAD = 16 * 1024
HEAD_WITHIN = 10.0
"""Seconds for a request's head, and that a connection may lie idle between two."""
ANSWER_WITHIN = 10.0
"""Seconds that an answer may take to be read."""
_TAKEN = 16 * 1024

Body = Callable[[int], Awaitable[bytes | None]]
"""Read the body up to a size; None for one that is longer or broken off."""


class Ask(Struct, frozen=True):
    """One request's head; names of headers in lower case, of repeated ones the last."""

    method: str
    path: str
    headers: dict[bytes, bytes]


Answer = Callable[[Ask, Body], Awaitable[int]]
"""The status of a request; the answer's content is always `{}`."""


class HttpDoor:
    """One listening port."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], tuple[str, asyncio.StreamWriter]] = {}
        self.refused = 0
        """Connections that were over a bound."""

    async def start(self, host: str, port: int) -> None:
        """Listen. EngineError `headend.port`."""
        try:
            self._server = await asyncio.start_server(self._take, host, port, limit=_TAKEN, backlog=128)
        except OSError as error:
            raise EngineError(
                "headend.port",
                f"The head-end cannot listen on HTTP {written(host, port)} ({error.strerror}). Choose another port.",
            ) from None

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
        works = list(self._open)
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        source = network_of(str(peer[0])) if peer else ""
        held = Counter(source for source, _ in self._open.values())
        if held[source] >= MOST_OF_ONE:
            self.refused += 1
            writer.transport.abort()
            return
        if len(self._open) >= MOST:
            self.refused += 1
            (crowd, _), *_ = held.most_common(1)
            oldest = next(work for work, (of, _) in self._open.items() if of == crowd)
            _, theirs = self._open.pop(oldest)
            theirs.transport.abort()
            oldest.cancel()
        work = asyncio.current_task()
        assert work is not None
        self._open[work] = source, writer
        try:
            await self._serve(reader, writer)
        except (OSError, TimeoutError, h11.ProtocolError):
            pass  # a peer that went away, was too slow or speaks no HTTP; nothing was taken of it
        except asyncio.CancelledError:
            pass  # it gave way, or the door closes; Python 3.11 would log each as a defect, at whatever rate peers like
        finally:
            self._open.pop(work, None)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = h11.Connection(h11.SERVER, max_incomplete_event_size=LONGEST_HEAD)
        while True:
            try:
                async with asyncio.timeout(HEAD_WITHIN):
                    head = await _next(talk, reader)
            except h11.RemoteProtocolError:
                await _say(talk, writer, 400)
                return
            if not isinstance(head, h11.Request):
                return
            if {b"content-length", b"transfer-encoding"} <= dict(head.headers).keys():
                # A proxy that goes by the other one sees another request behind it (RFC 9112 section 6.1).
                await _say(talk, writer, 400)
                return
            asked = Ask(
                head.method.decode("ascii"), head.target.decode("ascii", "replace"), dict(head.headers)
            )

            async def body(most: int) -> bytes | None:
                return await _body(talk, reader, writer, most)

            await _say(talk, writer, await self._answer(asked, body))
            if talk.our_state is not h11.DONE or talk.their_state is not h11.DONE:
                return  # what was not read of a body is not waited for
            talk.start_next_cycle()


def network_of(address: str) -> str:
    """What connections are counted by: an IPv4 address, or the upper 64 bits of an IPv6 one."""
    with contextlib.suppress(ValueError):
        found = ip_address(address.partition("%")[0])
        if isinstance(found, IPv6Address):
            mapped = found.ipv4_mapped
            return str(mapped) if mapped else str(IPv6Address(int(found) >> 64 << 64))
    return address


async def _next(talk: h11.Connection, reader: asyncio.StreamReader) -> h11.Event | type[h11.PAUSED]:
    while True:
        event = talk.next_event()
        if event is not h11.NEED_DATA:
            assert not isinstance(event, type) or event is h11.PAUSED
            return event
        talk.receive_data(await reader.read(_TAKEN))


async def _body(
    talk: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: int
) -> bytes | None:
    if talk.they_are_waiting_for_100_continue:
        writer.write(talk.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
    found = b""
    try:
        while True:
            event = await _next(talk, reader)
            if isinstance(event, h11.EndOfMessage):
                return found
            if not isinstance(event, h11.Data) or len(found) + len(event.data) > most:
                return None
            found += bytes(event.data)
    except (h11.RemoteProtocolError, OSError):
        return None


async def _say(talk: h11.Connection, writer: asyncio.StreamWriter, status: int) -> None:
    if talk.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    headers = [("content-type", "application/json"), ("content-length", "2")]
    answer = h11.Response(status_code=status, headers=headers)
    for event in (answer, h11.Data(data=b"{}"), h11.EndOfMessage()):
        writer.write(talk.send(event) or b"")
    async with asyncio.timeout(ANSWER_WITHIN):
        await writer.drain()
