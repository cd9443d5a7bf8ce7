"""How a process finds its neighbours: its own TLS identity and connections to the others, from its orders.

It opens no connection by itself; a connection is made when it is first used and made again when it is lost. It issues
no certificate: when the one on disk was renewed, `watch` takes it up without a call being lost.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from meterseal.errors import MetersealError
from meterseal.mesh.authority import TlsDirectory
from meterseal.mesh.rpc import Connection
from meterseal.mesh.tls import client_context, reload, server_context

log = structlog.get_logger()
LOOK = 20.0
"""Seconds between looks at the certificate on disk."""


class Reach:
    """One process's view of the mesh."""

    def __init__(self, name: str, orders: dict[str, Any]) -> None:
        self.directory = Path(orders["data"]) / "tls"
        self._files = TlsDirectory(self.directory).files(name)
        self._passwords: dict[str, str] = orders.get("passwords", {})
        self._password = str(orders["password"]).encode()
        self.host = str(orders["host"])
        self.ports: dict[str, int] = orders["ports"]
        self._contexts: list[ssl.SSLContext] = []
        self._connections: list[Connection] = []
        self._shown = self._certificate()
        self._followed: list[tuple[Path, Callable[[], None]]] = []
        self._followed_shown: dict[Path, bytes] = {}

    def password_of(self, name: str) -> bytes:
        """The password of a further key file that this process was given."""
        return self._passwords[name].encode()

    def to(self, name: str, *, patience: float = 10.0) -> Connection:
        """A connection to the process `name`, whose certificate must say so."""
        context = client_context(self._files, self._password)
        connection = Connection.tls(name, "127.0.0.1", self.ports[name], context, patience=patience)
        self._contexts.append(context)
        self._connections.append(connection)
        return connection

    def listening(self) -> ssl.SSLContext:
        """The context for serving others: TLS 1.3, client certificate required."""
        context = server_context(self._files, self._password)
        self._contexts.append(context)
        return context

    def follow(self, certificate: Path, take_up: Callable[[], None]) -> None:
        """Let `take_up` be called whenever a further certificate that this process shows is another one."""
        self._followed.append((certificate, take_up))
        self._followed_shown[certificate] = _content(certificate)

    def _certificate(self) -> bytes:
        return _content(self._files.certificate)

    def renewed(self) -> bool:
        """Take up every certificate on disk that is another one; True when one was."""
        return any([self._renewed_own(), *(self._renewed(*one) for one in self._followed)])

    def _renewed(self, certificate: Path, take_up: Callable[[], None]) -> bool:
        found = _content(certificate)
        if not found or found == self._followed_shown[certificate]:
            return False
        take_up()
        self._followed_shown[certificate] = found
        return True

    def _renewed_own(self) -> bool:
        found = self._certificate()
        if not found or found == self._shown:
            return False
        for context in self._contexts:
            reload(context, self._files, self._password)
        for connection in self._connections:
            connection.renew()
        self._shown = found
        return True

    async def watch(self) -> None:
        """Look for a renewed certificate until cancelled; one that cannot be taken up is tried again."""
        while True:
            await asyncio.sleep(LOOK)
            try:
                if self.renewed():
                    log.info("tls.renewed", process=self._files.certificate.stem)
            except MetersealError as error:
                log.warning("tls.not-renewed", code=error.code, message=error.message)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # it is being replaced; or was never there, which `to` and `listening` say
