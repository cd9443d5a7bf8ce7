"""Runs the portal on one listening address inside the caller's event loop; `serve_portal` is all `app` needs.

It reads no settings file and opens no link to the platform.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from litestar import Litestar

from meterseal.errors import EngineError
from meterseal.mesh.rpc import Rpc
from meterseal.people.portal.app import create_app
from meterseal.people.portal.settings import PortalSettings

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


async def serve_portal(
    queries: Rpc, *, host: str, port: int, stop: asyncio.Event, ready: Callable[[], Any] = lambda: None
) -> None:
    """Serve the portal in front of `queries` until `stop` is set; `ready()` is called once the port answers.

    On a loopback address only loopback names are answered, so no foreign name can be bound to it. Raises
    LocalError `portal.not-built`, EngineError `portal.listen`.
    """
    names = LOOPBACK if host in ("127.0.0.1", "::1", "localhost") else ()
    await serve(create_app(queries, PortalSettings(hosts=names)), host, port, stop, ready)


async def serve(
    app: Litestar, host: str, port: int, stop: asyncio.Event, started: Callable[[], Any] = lambda: None
) -> None:
    """Serve until `stop` is set; `started()` is called once the port answers.

    Access lines are never written: an address may hold a one-time link. Raises EngineError `portal.listen`.
    """
    _claim(host, port)
    logging.getLogger("_granian").setLevel(logging.ERROR)
    server = Server(
        app,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        websockets=False,
        log_enabled=False,
        log_access=False,
        http1_settings=HTTP1Settings(header_read_timeout=10_000),
    )
    running = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(stop.wait())
    try:
        await _answers(host, port, running)
        if not running.done():
            started()
        await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        server.stop()  # type: ignore[no-untyped-call]  # granian ships it without types
        ended, _ = await asyncio.wait([running], timeout=10)
    if ended and not running.cancelled() and (why := running.exception()) is not None:
        raise _cannot_listen(host, port, str(why).partition("\n")[0])


def _claim(host: str, port: int) -> None:
    """Refuse a busy port before granian meets it: its own words would be a stack of addresses."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise _cannot_listen(host, port, error.strerror or "") from None


def _cannot_listen(host: str, port: int, why: str) -> EngineError:
    return EngineError(
        "portal.listen",
        f"The portal cannot listen on {host} port {port} ({why}). Choose another port.",
        port=port,
    )


async def _answers(host: str, port: int, running: asyncio.Task[None]) -> None:
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
    raise _cannot_listen(host, port, "no answer within 4 seconds")
