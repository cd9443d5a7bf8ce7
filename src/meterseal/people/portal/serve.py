"""Runs the portal on one listening address inside the caller's event loop; `serve_portal` is all `app` needs.

It reads no settings file and opens no link to the platform.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from meterseal.errors import EngineError
from meterseal.mesh import asgi
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
    app = create_app(queries, PortalSettings(hosts=names))
    await asgi.serve(app, host, port, stop, ready, busy=lambda why: _cannot_listen(host, port, why))


def _cannot_listen(host: str, port: int, why: str) -> EngineError:
    return EngineError(
        "portal.listen",
        f"The portal cannot listen on {host} port {port} ({why}). Choose another port.",
        port=port,
    )
