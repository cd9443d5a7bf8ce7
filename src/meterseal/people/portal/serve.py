"""Runs the portal on one listening address inside the caller's event loop; `serve_portal` is all `app` needs.

It reads no settings file and opens no link to the platform.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
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
        started()
        await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        server.stop()  # type: ignore[no-untyped-call]  # granian ships it without types
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(running, 10)


async def _answers(host: str, port: int, running: asyncio.Task[None]) -> None:
    for _ in range(200):
        if running.done():
            break
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(0.02)
            continue
        writer.close()
        return
    why = running.exception() if running.done() and not running.cancelled() else None
    raise EngineError(
        "portal.listen", f"The portal cannot listen on {host} port {port} ({why}). Choose another port."
    )
