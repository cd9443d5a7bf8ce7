"""The calling end of the mesh: one connection to one process, made when first needed and made again when
lost.

It repeats no call by itself: whoever calls knows whether that is safe.

Calls run side by side and are matched by number. A call waits for the connection for at most `patience`
seconds and for its answer for at most `timeout`; then, and when the connection is lost under it, it fails
with EngineError `mesh.unreachable`. Attempts to connect back off with jitter, so that a restarted process
is not met by all at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from meterseal.errors import EngineError, MetersealError, TrustError
from meterseal.hostport import written
from meterseal.mesh.frames import Answer, Request, frame, read_frame
from meterseal.mesh.method import T, pack, rebuilt, unpack
from meterseal.mesh.tls import Peer, peer_of

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 1.0


class _Line:
    """One connection and the calls that wait on it."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.waiting: dict[int, asyncio.Future[msgspec.Raw]] = {}
        self.retired = False

    def answered(self, number: int) -> None:
        """A call is over; a line that takes no new ones ends with its last."""
        self.waiting.pop(number, None)
        if self.retired and not self.waiting:
            self.writer.transport.abort()


class Connection:
    """An Rpc to another process; made by `Connection.tls` or `Connection.unix`."""

    def __init__(
        self,
        name: str,
        dial: Callable[[], Awaitable[_Streams]],
        *,
        patience: float = 5.0,
        timeout: float = 30.0,
    ) -> None:
        self._name = name
        self._dial = dial
        self._patience = patience
        self._timeout = timeout
        self._number = 0
        self._line: _Line | None = None
        self._listening: set[asyncio.Task[None]] = set()
        self._connecting = asyncio.Lock()
        self._closed = False

    @classmethod
    def tls(
        cls,
        server: str,
        host: str,
        port: int,
        context: ssl.SSLContext,
        *,
        patience: float = 5.0,
        timeout: float = 30.0,
    ) -> Connection:
        """A connection to the process `server`, whose certificate must carry that very name."""

        async def dial() -> _Streams:
            reader, writer = await asyncio.open_connection(
                host, port, ssl=context, ssl_handshake_timeout=5.0, limit=1 << 20
            )
            if peer_of(writer) != Peer("process", server):
                writer.transport.abort()
                raise TrustError(
                    "mesh.peer-name",
                    f"What answers at {written(host, port)} is not the process {server}; nothing was sent. Check "
                    "the address.",
                )
            return reader, writer

        return cls(server, dial, patience=patience, timeout=timeout)

    @classmethod
    def unix(cls, path: Path, *, patience: float = 1.0, timeout: float = 60.0) -> Connection:
        """A connection of the operator to the Unix socket of a running system."""

        async def dial() -> _Streams:
            return await asyncio.open_unix_connection(os.fspath(path), limit=1 << 20)

        return cls(path.name, dial, patience=patience, timeout=timeout)

    async def call(self, method: str, request: Struct, reply: type[T]) -> T:
        """As Rpc.call; EngineError `mesh.unreachable`, TrustError `mesh.peer-name` or
        `mesh.peer-certificate`.
        """
        line = await self._connected()
        self._number += 1
        number = self._number
        answer: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        line.waiting[number] = answer
        try:
            async with asyncio.timeout(self._timeout):
                line.writer.write(frame(Request(number, method, msgspec.Raw(pack(request)))))
                await line.writer.drain()
                body = await answer
        except (TimeoutError, OSError, ssl.SSLError):
            raise self._unreachable("did not answer in time") from None
        finally:
            line.answered(number)
        return unpack(body, reply)

    async def close(self) -> None:
        """End the connection; calls in flight and later ones fail."""
        self._closed = True
        for listening in tuple(self._listening):
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening

    def renew(self) -> None:
        """Make the next call on a new connection, under the certificate of now; calls in flight end on the old."""
        line, self._line = self._line, None
        if line is not None:
            line.retired = True
            if not line.waiting:
                line.writer.transport.abort()

    async def _connected(self) -> _Line:
        if self._line is not None:
            return self._line
        try:
            async with asyncio.timeout(self._patience), self._connecting:
                pause = _FIRST_PAUSE
                while True:
                    if self._closed:
                        raise self._unreachable("was closed on this side")
                    if self._line is not None:  # another call connected while this one waited
                        return self._line
                    try:
                        reader, writer = await self._dial()
                    except ssl.SSLCertVerificationError:
                        raise TrustError(
                            "mesh.peer-certificate",
                            f"The certificate shown for the process {self._name} does not stand under our "
                            "root or has "
                            "ended; nothing was sent. Check the tls directory.",
                        ) from None
                    except (OSError, ssl.SSLError):
                        await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, no secret
                        pause = min(pause * 2, _LONGEST_PAUSE)
                        continue
                    line = self._line = _Line(writer)
                    listening = asyncio.create_task(self._listen(reader, line))
                    self._listening.add(listening)
                    listening.add_done_callback(self._listening.discard)
                    return line
        except TimeoutError:
            raise self._unreachable("does not answer") from None

    async def _listen(self, reader: asyncio.StreamReader, line: _Line) -> None:
        reason = "ended the connection before it answered"
        try:
            while (message := await read_frame(reader)) is not None:
                answer = unpack(message, Answer)
                waiting = line.waiting.get(answer.number)
                if waiting is None or waiting.done():
                    continue  # its caller gave up
                if answer.failure is not None:
                    waiting.set_exception(rebuilt(answer.failure))
                else:
                    waiting.set_result(answer.body)
        except ssl.SSLError:
            reason = "refused our certificate"
        except (MetersealError, OSError):
            reason = "broke off"
        finally:
            if self._line is line:
                self._line = None
            for left in line.waiting.values():
                if not left.done():
                    left.set_exception(self._unreachable(reason))
            line.writer.transport.abort()

    def _unreachable(self, what: str) -> EngineError:
        return EngineError(
            "mesh.unreachable", f"The process {self._name} {what}; see whether it runs, then try again."
        )
