"""An ASGI application on one listening address, inside the caller's event loop.

It knows no application and reads no settings; who may ask what is the application's. Access lines are never written: an
address may hold a one-time link or a device's name.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

from meterseal.errors import EngineError


async def serve(
    app: Any,
    host: str,
    port: int,
    stop: asyncio.Event,
    started: Callable[[], Any] = lambda: None,
    *,
    busy: Callable[[str], EngineError],
) -> None:
    """Serve until `stop` is set; `started()` is called once the port answers. Raises what `busy` makes of a reason."""
    _claim(host, port, busy)
    logging.getLogger("_granian").setLevel(logging.ERROR)
    server = Server(
        app,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        websockets=False,
        http=HTTPModes.http1,  # nobody here asks by HTTP/2, whose streams and header tables are one more thing to flood
        log_enabled=False,
        log_access=False,
        http1_settings=HTTP1Settings(header_read_timeout=10_000),
    )
    running = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(stop.wait())
    try:
        await _answers(host, port, running, busy)
        if not running.done():
            started()
        await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        server.stop()  # type: ignore[no-untyped-call]  # granian ships it without types
        ended, _ = await asyncio.wait([running], timeout=10)
    if ended and not running.cancelled() and (why := running.exception()) is not None:
        raise busy(str(why).partition("\n")[0])


def _claim(host: str, port: int, busy: Callable[[str], EngineError]) -> None:
    """Refuse a busy port before granian meets it: its own words would be a stack of addresses."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise busy(error.strerror or "") from None


async def _answers(
    host: str, port: int, running: asyncio.Task[None], busy: Callable[[str], EngineError]
) -> None:
    """Return once the port takes a connection or the server has ended."""
    for _ in range(200):
        if running.done():
            return
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(0.02)
            continue
        writer.close()
        return
    raise busy("no answer within 4 seconds")
