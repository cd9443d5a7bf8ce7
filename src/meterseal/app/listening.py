"""Where a running system listens, told to the operator over its Unix socket.

It opens no settings: these lie sealed, and who may ask here needs no passphrase for them.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from meterseal.mesh.rpc import OPERATOR, Connection, Empty, Method, Methods


class Listening(Struct, frozen=True, kw_only=True):
    """Host and public ports of a running system, as it was started."""

    host: str
    web: int
    headend_tcp: int
    headend_tls: int
    platforms: int


def methods(orders: dict[str, Any]) -> Methods:
    """What the operator's socket answers, from the orders of the process that serves it."""
    host, ports = str(orders["host"]), orders["ports"]
    said = Listening(
        host=host,
        web=ports["web"],
        headend_tcp=ports["headend_tcp"],
        headend_tls=ports["headend_tls"],
        platforms=ports["platforms"],
    )

    async def listening(_: str, asked: Empty) -> Listening:
        return said

    return {"listening": Method(listening, Empty, frozenset({OPERATOR}))}


async def where(desk: Connection) -> Listening:
    """Ask it; EngineError `mesh.unreachable` when the system is down."""
    return await desk.call("listening", Empty(), Listening)
