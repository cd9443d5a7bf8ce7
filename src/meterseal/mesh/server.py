"""The listening end of the mesh: mutual TLS between processes, or a Unix socket for the operator's commands.

It decides nothing about a call beyond who is calling; the table of methods does.

Whose call it is follows from the certificate (`tls.Peer`), never from what is said. Only certificates of
processes are heard here, those of concentrators are not. Connections, calls in flight and message sizes are
bounded (promise 7).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
import stat
import struct
from collections.abc import Callable
from pathlib import Path

import msgspec

from meterseal.errors import EngineError, LocalError, MetersealError
from meterseal.mesh.frames import Answer, Request, frame, read_frame
from meterseal.mesh.method import Failure, Methods, dispatch, failure_of_unexpected, pack, unpack
from meterseal.mesh.tls import peer_of

OPERATOR = "operator"
"""Caller name of whoever may open the Unix socket: the account that runs the system."""

_CONNECTIONS = 256
_IN_FLIGHT = 64
_NIL = msgspec.Raw(b"\xc0")


class Server:
    """A listening table of methods; made by `serve` and `serve_unix`."""

    def __init__(self, methods: Methods, caller_of: Callable[[asyncio.StreamWriter], str | None]) -> None:
        self._methods = methods
        self._caller_of = caller_of
        self._connections: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._socket_file: Path | None = None

    def _listen(self, listener: asyncio.Server, socket_file: Path | None = None) -> None:
        self._listener = listener
        self._socket_file = socket_file

    @property
    def port(self) -> int:
        """The TCP port that is listened on (the kernel chooses one for 0); 0 for a Unix socket."""
        assert self._listener is not None
        name = self._listener.sockets[0].getsockname()
        return int(name[1]) if isinstance(name, tuple) else 0

    async def close(self, grace: float = 2.0) -> None:
        """Stop listening, let calls in flight finish for `grace` seconds, then end every connection."""
        assert self._listener is not None
        self._listener.close()
        if self._connections:
            for task in self._connections:
                task.cancel()
            await asyncio.wait(self._connections, timeout=grace + 1.0)
        if self._socket_file is not None:
            self._socket_file.unlink(missing_ok=True)

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._connections) >= _CONNECTIONS:
            writer.transport.abort()
            return
        self._connections.add(task)
        try:
            caller = self._caller_of(writer)
            if caller is not None:
                await self._converse(caller, reader, writer)
        except asyncio.CancelledError:
            pass  # close() ends connections; asyncio would log a cancelled connection handler as a fault
        except (MetersealError, OSError, ssl.SSLError):
            pass  # a peer that breaks the framing or goes away is simply gone
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _converse(
        self, caller: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, grace: float = 2.0
    ) -> None:
        room = asyncio.Semaphore(_IN_FLIGHT)
        sending = asyncio.Lock()
        calls: set[asyncio.Task[None]] = set()

        async def run(request: Request) -> None:
            try:
                outcome = await dispatch(self._methods, caller, request.method, request.body)
                with contextlib.suppress(OSError, ssl.SSLError):
                    async with sending:
                        writer.write(_answer(request.number, outcome))
                        await writer.drain()
            finally:
                room.release()

        try:
            while True:
                await room.acquire()  # a caller that floods waits here, not in our memory
                message = await read_frame(reader)
                if message is None:
                    break
                task = asyncio.create_task(run(unpack(message, Request)))
                calls.add(task)
                task.add_done_callback(calls.discard)
        finally:
            if calls:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait(calls, timeout=grace)
            for left in tuple(calls):
                left.cancel()


def _answer(number: int, outcome: msgspec.Struct | Failure) -> bytes:
    if isinstance(outcome, Failure):
        return frame(Answer(number, outcome, _NIL))
    try:
        return frame(Answer(number, None, msgspec.Raw(pack(outcome))))
    except LocalError as error:
        return frame(Answer(number, Failure(error.kind, error.code, error.message), _NIL))
    except (TypeError, msgspec.MsgspecError):
        return frame(Answer(number, failure_of_unexpected(), _NIL))


def _process_name(writer: asyncio.StreamWriter) -> str | None:
    peer = peer_of(writer)
    return peer.name if peer is not None and peer.kind == "process" else None


async def serve(methods: Methods, *, host: str, port: int, context: ssl.SSLContext) -> Server:
    """Listen with mutual TLS; EngineError `mesh.port-busy` or `mesh.listen` when it cannot."""
    server = Server(methods, _process_name)
    try:
        listener = await asyncio.start_server(
            server._on_connection,
            host,
            port,
            ssl=context,
            ssl_handshake_timeout=5.0,
            backlog=256,
            limit=1 << 20,
        )
    except OSError as error:
        raise _cannot_listen(f"{host}:{port}", error) from None
    server._listen(listener)
    return server


async def serve_unix(methods: Methods, path: Path, caller: str = OPERATOR) -> Server:
    """Listen on a Unix socket of mode 0600 for our own account; a stale socket file is replaced.

    EngineError `mesh.port-busy` when another process already answers there, LocalError `mesh.path` when the
    path is longer than the system allows.
    """
    if len(os.fsencode(path)) > 107:
        raise LocalError(
            "mesh.path",
            f"The socket path {path} is longer than 107 bytes; choose a data directory with a shorter path.",
        )
    if _answers(path):
        raise _cannot_listen(str(path), OSError(errno.EADDRINUSE, "in use"))
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()  # left behind by a process that was killed
        listening.bind(os.fspath(path))
        path.chmod(0o600)  # nothing can connect before start_unix_server calls listen
        listening.setblocking(False)
        server = Server(methods, lambda writer: caller if _same_account(writer) else None)
        listener = await asyncio.start_unix_server(
            server._on_connection, sock=listening, backlog=64, limit=1 << 20
        )
    except OSError as error:
        listening.close()
        raise _cannot_listen(str(path), error) from None
    server._listen(listener, path)
    return server


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return False
        return True


def _same_account(writer: asyncio.StreamWriter) -> bool:
    link = writer.get_extra_info("socket")
    if link is None or not hasattr(socket, "SO_PEERCRED"):
        return True  # no such question on this system: the mode of the socket file decides
    raw = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid = struct.unpack("3i", raw)[1]
    return uid in (0, os.getuid())


def _cannot_listen(where: str, error: OSError) -> EngineError:
    if error.errno == errno.EADDRINUSE:
        return EngineError(
            "mesh.port-busy",
            f"Cannot listen on {where}: another program already does; stop it or choose another address.",
        )
    return EngineError(
        "mesh.listen", f"Cannot listen on {where}: {os.strerror(error.errno or 0)}; check the address."
    )
