"""Station edge, the concentrator's local maintenance port: a Unix socket that its own user and root may open, nobody else.

It answers questions about the concentrator and its buses; it commands no meter, opens no sealed one and has no keys.
A question is one line of JSON, {"ask": "status" | "meters" | "search" | "read" | "backfill", …}; so is the answer. Who
connects is known from the kernel (SO_PEERCRED), besides the mode of the socket; whoever is neither gets nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from meterseal.errors import EngineError, LocalError, MetersealError

SOCKET = "maintenance.sock"
LONGEST_LINE = 4_096
LONGEST_ANSWER = 1 << 20
MOST_PEERS = 4
IDLE = 60.0
"""Seconds after which a peer that asks nothing is let go."""
_PEER = struct.Struct("3i")

Ask = Callable[[dict[str, Any]], Awaitable[object]]


def allowed(uid: int) -> bool:
    """Whether this user may ask: the one the concentrator runs as, and root."""
    return uid in (os.geteuid(), 0)


class MaintenancePort:
    """The listening socket; `ask` answers a question, or raises one of our errors."""

    def __init__(
        self, directory: Path, ask: Ask, *, may: Callable[[int], bool] = allowed, idle: float = IDLE
    ) -> None:
        self.path = directory / SOCKET
        self._ask = ask
        self._may = may
        self._idle = idle
        self._server: asyncio.Server | None = None
        self._peers: set[asyncio.Task[None]] = set()
        self.refused = 0
        """Peers that were not allowed, or one too many."""

    async def start(self) -> None:
        """Listen. EngineError `concentrator.port` when the socket cannot be made."""
        before = os.umask(0o177)
        try:
            self.path.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._peer, self.path, limit=LONGEST_LINE)
        except OSError as error:
            raise EngineError(
                "concentrator.port", f"The maintenance port {self.path} cannot be opened: {error.strerror}."
            ) from None
        finally:
            os.umask(before)

    async def stop(self) -> None:
        """Close the socket and every connection."""
        if self._server is not None:
            self._server.close()
        for peer in list(self._peers):
            peer.cancel()
        await asyncio.gather(*self._peers, return_exceptions=True)
        self.path.unlink(missing_ok=True)

    async def _peer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(self._peers) >= MOST_PEERS or not self._may(_uid(writer)):
                self.refused += 1
                return
            self._peers.add(task)
            with contextlib.suppress(TimeoutError, ValueError, ConnectionError):
                while line := await self._line(reader):
                    writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                    await writer.drain()
        finally:
            self._peers.discard(task)
            writer.close()

    async def _line(self, reader: asyncio.StreamReader) -> bytes:
        async with asyncio.timeout(self._idle):
            return await reader.readline()

    async def _answer(self, line: bytes) -> dict[str, object]:
        try:
            question = json.loads(line)
        except (ValueError, RecursionError):
            question = None
        if not isinstance(question, dict):
            return {"error": {"code": "concentrator.ask", "message": "Ask with one JSON object on one line."}}
        try:
            return {"answer": await self._ask(question)}
        except MetersealError as error:
            return {"error": {"code": error.code, "message": error.message}}


def _uid(writer: asyncio.StreamWriter) -> int:
    peer = writer.get_extra_info("socket")
    raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return int(_PEER.unpack(raw)[1])


async def ask(directory: Path, question: dict[str, Any], *, timeout: float = 30.0) -> Any:
    """Ask the running concentrator of a directory. EngineError `concentrator.down` when none runs or this user may not
    ask; LocalError with its code and sentence when it refuses.
    """
    path = directory / SOCKET
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_unix_connection(path, limit=LONGEST_ANSWER)
            try:
                writer.write(json.dumps(question).encode() + b"\n")
                line = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        line = b""
    if not line:
        raise EngineError(
            "concentrator.down",
            f"No concentrator answers at {path}: it does not run, or answers its own user and root alone.",
        )
    reply = json.loads(line)
    if "error" in reply:
        raise LocalError(reply["error"]["code"], reply["error"]["message"])
    return reply["answer"]
