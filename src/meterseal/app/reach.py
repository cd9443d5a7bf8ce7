"""How a process finds its neighbours: its own TLS identity and connections to the others, from its orders.

It opens no connection by itself; a connection is made when it is first used and made again when it is lost.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from meterseal.mesh.authority import TlsDirectory
from meterseal.mesh.rpc import Connection
from meterseal.mesh.tls import client_context, server_context


class Reach:
    """One process's view of the mesh."""

    def __init__(self, name: str, orders: dict[str, Any]) -> None:
        self._files = TlsDirectory(Path(orders["data"]) / "tls").files(name)
        self._password = str(orders["password"]).encode()
        self.host = str(orders["host"])
        self.ports: dict[str, int] = orders["ports"]

    def to(self, name: str, *, patience: float = 10.0) -> Connection:
        """A connection to the process `name`, whose certificate must say so."""
        context = client_context(self._files, self._password)
        return Connection.tls(name, "127.0.0.1", self.ports[name], context, patience=patience)

    def listening(self) -> ssl.SSLContext:
        """The context for serving others: TLS 1.3, client certificate required."""
        return server_context(self._files, self._password)
