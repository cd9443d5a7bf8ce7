"""A tls directory, one method table and both ends of a link, for the mesh tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import Struct

from meterseal.errors import TrustError
from meterseal.mesh.authority import Passwords, TlsDirectory
from meterseal.mesh.rpc import Connection, Method, Methods, Server, serve
from meterseal.mesh.tls import client_context, server_context

NOW = int(time.time() * 1000)  # noqa: TID251  # TLS judges certificates by the machine's clock
PASSPHRASE = b"correct horse battery staple"


class Ask(Struct, frozen=True):
    text: str = ""
    blob: bytes = b""


class Say(Struct, frozen=True):
    text: str = ""
    blob: bytes = b""


class Desk:
    """A small process: echoes, waits, refuses, breaks."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.calls: list[str] = []

    def methods(self) -> Methods:
        both = frozenset({"headend", "platform"})
        return {
            "echo": Method(self.echo, Ask, both),
            "wait": Method(self.wait, Ask, both),
            "refuse": Method(self.refuse, Ask, both),
            "break": Method(self.broken, Ask, both),
            "huge": Method(self.huge, Ask, both),
            "platform-only": Method(self.echo, Ask, frozenset({"platform"})),
        }

    async def echo(self, caller: str, ask: Ask) -> Say:
        self.calls.append(caller)
        return Say(f"{caller}: {ask.text}", ask.blob)

    async def wait(self, caller: str, ask: Ask) -> Say:
        await self.release.wait()
        return Say(ask.text)

    async def refuse(self, caller: str, ask: Ask) -> Say:
        raise TrustError("desk.no", "No, and this is why.")

    async def broken(self, caller: str, ask: Ask) -> Say:
        raise ValueError(f"secret payload {ask.text}")

    async def huge(self, caller: str, ask: Ask) -> Say:
        return Say("", bytes(17 * 1024 * 1024))


class Setup:
    def __init__(self, directory: Path) -> None:
        self.tls = TlsDirectory(directory)
        self.passwords: Passwords = self.tls.provision(PASSPHRASE, NOW)

    def client(self, name: str, server: Server, to: str = "keys", **options: float) -> Connection:
        context = client_context(self.tls.files(name), self.passwords.of(name))
        return Connection.tls(to, "127.0.0.1", server.port, context, **options)

    async def serve(self, methods: Methods, name: str = "keys", port: int = 0) -> Server:
        context = server_context(self.tls.files(name), self.passwords.of(name))
        return await serve(methods, host="127.0.0.1", port=port, context=context)


@pytest.fixture(scope="session")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    return Setup(tmp_path_factory.mktemp("mesh") / "tls")


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
async def server(setup: Setup, desk: Desk) -> AsyncIterator[Server]:
    running = await setup.serve(desk.methods())
    yield running
    desk.release.set()
    await running.close()
