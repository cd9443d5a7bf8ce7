"""The listening end of the mesh: mutual TLS between processes, or a Unix socket for the operator's commands.

It decides nothing about a call beyond who is calling; the table of methods does.

Whose call it is follows from the certificate (`tls.Peer`), never from what is said. A listener hears processes, or
other people's platforms (`platform:NAME`), never both and no concentrator. Connections, calls in flight and message
sizes are bounded (promise 7). Whoever is refused before a method runs, without a certificate even, is counted
(`tally`).
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
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from meterseal.errors import EngineError, LocalError, MetersealError, PeerError
from meterseal.hostport import written
from meterseal.mesh.frames import LARGEST, Answer, Request, frame, read_frame
from meterseal.mesh.method import Failure, Methods, dispatch, failure_of_unexpected, pack, unpack
from meterseal.mesh.tally import Tally
from meterseal.mesh.tls import PLATFORMS, peer_of

OPERATOR = "operator"
"""Caller name of whoever may open the Unix socket: the account that runs the system."""

_CONNECTIONS = 256
_EACH_PLATFORM = 16
_LARGEST_OF_PLATFORM = 1 << 20
"""Bytes of a message of another's platform, a batch of evidence with room to spare: also one that was withdrawn may
begin that many on each of its connections, since its certificate stays good TLS.
"""
_SHAKING = 128
_SHAKE_WITHIN = 5.0
_IN_FLIGHT = 64
_READ_AHEAD = 1 << 20
_NIL = msgspec.Raw(b"\xc0")

CallerOf = Callable[[asyncio.StreamWriter], str | None]


class Server:
    """A listening table of methods; made by `serve` and `serve_unix`."""

    def __init__(self, methods: Methods, caller_of: CallerOf, tally: Tally | None = None) -> None:
        self._methods = methods
        self._caller_of = caller_of
        self._tally = tally
        self._connections: set[asyncio.Task[None]] = set()
        self._callers: Counter[str] = Counter()
        self._shaking: dict[asyncio.Task[None], str] = {}
        self._accepting: list[asyncio.Task[None]] = []
        self._sockets: list[socket.socket] = []
        self._listener: asyncio.Server | None = None
        self._socket_file: Path | None = None

    def _listen(self, listener: asyncio.Server, socket_file: Path) -> None:
        self._listener = listener
        self._socket_file = socket_file

    def _listen_tls(self, sockets: list[socket.socket], context: ssl.SSLContext) -> None:
        self._sockets = sockets
        self._accepting = [asyncio.create_task(self._accept(one, context)) for one in sockets]

    @property
    def port(self) -> int:
        """The TCP port that is listened on (the kernel chooses one for 0); 0 for a Unix socket."""
        return int(self._sockets[0].getsockname()[1]) if self._sockets else 0

    async def close(self, grace: float = 2.0) -> None:
        """Stop listening, let calls in flight finish for `grace` seconds, then end every connection."""
        if self._listener is not None:
            self._listener.close()
        tasks = {*self._accepting, *self._shaking, *self._connections}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=grace + 1.0)
        for one in self._sockets:
            one.close()
        if self._socket_file is not None:
            self._socket_file.unlink(missing_ok=True)

    def _refused(self, code: str, caller: str = "", method: str = "", source: str = "") -> None:
        if self._tally is not None:
            self._tally.note(code, caller, method, source)

    async def _accept(self, listening: socket.socket, context: ssl.SSLContext) -> None:
        """Take connections; TLS is done here and not by asyncio's server, which says nothing of those that fail."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                link, address = await loop.sock_accept(listening)
            except OSError:
                await asyncio.sleep(0.1)  # no file left, say: those that are open may end meanwhile
                continue
            source = str(address[0])
            if len(self._shaking) >= _SHAKING:
                # The oldest goes, not the newest: who is silent after connecting keeps nobody out who is not.
                oldest = next(iter(self._shaking))
                self._refused("mesh.busy", source=self._shaking.pop(oldest))
                oldest.cancel()
            task = asyncio.create_task(self._shake(link, context, source))
            self._shaking[task] = source
            task.add_done_callback(lambda done: self._shaking.pop(done, None))

    async def _shake(self, link: socket.socket, context: ssl.SSLContext, source: str) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_READ_AHEAD, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, link, ssl=context, ssl_handshake_timeout=_SHAKE_WITHIN
            )
        except (OSError, ssl.SSLError) as error:
            link.close()
            self._refused(_code_of(error), source=source)
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        task = asyncio.create_task(self._on_connection(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        caller, source = self._caller_of(writer), _source(writer)
        try:
            if caller is None:
                self._refused(
                    "mesh.account" if self._socket_file is not None else "mesh.caller", source=source
                )
            elif len(self._connections) > _CONNECTIONS or not self._room_for(caller):
                self._refused("mesh.busy", caller, source=source)
            else:
                self._callers[caller] += 1
                try:
                    await self._converse(caller, source, reader, writer)
                finally:
                    self._callers[caller] -= 1
        except asyncio.CancelledError:
            pass  # close() ends connections; asyncio would log a cancelled connection handler as a fault
        except PeerError as error:
            self._refused(error.code, caller or "", source=source)  # it breaks the framing, and is gone
        except (MetersealError, OSError, ssl.SSLError):
            pass  # a peer that goes away is simply gone
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    def _room_for(self, caller: str) -> bool:
        """One of other people's platforms may not take every connection from the rest of them."""
        return not caller.startswith(PLATFORMS) or self._callers[caller] < _EACH_PLATFORM

    async def _converse(
        self,
        caller: str,
        source: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        grace: float = 2.0,
    ) -> None:
        def refused(code: str, who: str, method: str) -> None:
            self._refused(code, who, method, source)

        largest = _LARGEST_OF_PLATFORM if caller.startswith(PLATFORMS) else LARGEST
        room = asyncio.Semaphore(_IN_FLIGHT)
        sending = asyncio.Lock()
        calls: set[asyncio.Task[None]] = set()

        async def run(request: Request) -> None:
            try:
                outcome = await dispatch(self._methods, caller, request.method, request.body, refused)
                with contextlib.suppress(OSError, ssl.SSLError):
                    async with sending:
                        writer.write(_answer(request.number, outcome))
                        await writer.drain()
            finally:
                room.release()

        try:
            while True:
                await room.acquire()  # a caller that floods waits here, not in our memory
                message = await read_frame(reader, largest=largest)
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


def _process(writer: asyncio.StreamWriter) -> str | None:
    peer = peer_of(writer)
    return peer.name if peer is not None and peer.kind == "process" else None


def _platform(writer: asyncio.StreamWriter) -> str | None:
    peer = peer_of(writer)
    return PLATFORMS + peer.name if peer is not None and peer.kind == "platform" else None


def _source(writer: asyncio.StreamWriter) -> str:
    name: Any = writer.get_extra_info("peername")
    return str(name[0]) if isinstance(name, tuple) else ""


def _code_of(error: OSError) -> str:
    """Why TLS was not completed; the certificate's own words may be anything and go no further."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "mesh.certificate"
    if isinstance(error, ssl.SSLError) and error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "mesh.no-certificate"
    return "mesh.handshake"


async def serve(
    methods: Methods,
    *,
    host: str,
    port: int,
    context: ssl.SSLContext,
    platforms: bool = False,
    tally: Tally | None = None,
) -> Server:
    """Listen with mutual TLS for processes, or with `platforms` for other people's platforms and nobody else.

    EngineError `mesh.port-busy` or `mesh.listen` when it cannot.
    """
    server = Server(methods, _platform if platforms else _process, tally)
    sockets: list[socket.socket] = []
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for family, _, _, _, address in dict.fromkeys(found):
            made = socket.create_server(address[:2], family=family, backlog=256)
            made.setblocking(False)
            sockets.append(made)
    except OSError as error:
        for one in sockets:
            one.close()
        raise _cannot_listen(written(host, port), error) from None
    server._listen_tls(sockets, context)
    return server


async def serve_unix(
    methods: Methods, path: Path, caller: str = OPERATOR, tally: Tally | None = None
) -> Server:
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
        server = Server(methods, lambda writer: caller if _same_account(writer) else None, tally)
        listener = await asyncio.start_unix_server(
            server._on_connection, sock=listening, backlog=64, limit=_READ_AHEAD
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
