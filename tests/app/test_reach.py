"""How processes find each other: each under its own name, and nobody under another's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from meterseal.app.reach import Reach
from meterseal.errors import EngineError, LocalError, TrustError
from meterseal.mesh.authority import Passwords, TlsDirectory
from meterseal.mesh.rpc import serve
from tests.mesh.conftest import NOW, PASSPHRASE, Ask, Desk, Say


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Passwords]:
    data = tmp_path_factory.mktemp("data")
    return data, TlsDirectory(data / "tls").provision(PASSPHRASE, NOW)


Made = tuple[Path, Passwords]


def reach(made: Made, name: str, ports: dict[str, int] | None = None, password: str | None = None) -> Reach:
    data, passwords = made
    orders: dict[str, Any] = {
        "data": str(data),
        "host": "127.0.0.1",
        "ports": ports or {},
        "password": passwords.of(name).decode("latin-1") if password is None else password,
    }
    return Reach(name, orders)


@contextlib.asynccontextmanager
async def serving(made: Made, name: str) -> AsyncIterator[int]:
    server = await serve(Desk().methods(), host="127.0.0.1", port=0, context=reach(made, name).listening())
    try:
        yield server.port
    finally:
        await server.close()


async def test_a_neighbour_is_reached_under_our_own_name(made: Made) -> None:
    async with serving(made, "platform") as port:
        connection = reach(made, "headend", {"platform": port}).to("platform")
        assert (await connection.call("echo", Ask("hello"), Say)).text == "headend: hello"
        await connection.close()


async def test_a_process_that_answers_under_another_name_is_not_spoken_to(made: Made) -> None:
    async with serving(made, "web") as port:
        connection = reach(made, "headend", {"platform": port}).to("platform")
        with pytest.raises(TrustError) as refused:
            await connection.call("echo", Ask("a secret"), Say)
        assert refused.value.code == "mesh.peer-name"
        await connection.close()


async def test_a_neighbour_that_is_away_is_said_within_the_patience(made: Made) -> None:
    async with serving(made, "platform") as port:
        pass
    connection = reach(made, "headend", {"platform": port}).to("platform", patience=0.2)
    with pytest.raises(EngineError) as refused:
        await connection.call("echo", Ask("hello"), Say)
    assert refused.value.code == "mesh.unreachable"
    await connection.close()


async def test_a_neighbour_that_starts_later_is_found(made: Made) -> None:
    async with serving(made, "platform") as port:
        pass
    connection = reach(made, "headend", {"platform": port}).to("platform", patience=5)
    call = asyncio.create_task(connection.call("echo", Ask("late"), Say))
    await asyncio.sleep(0.1)
    context = reach(made, "platform").listening()
    server = await serve(Desk().methods(), host="127.0.0.1", port=port, context=context)
    assert (await call).text == "headend: late"
    await connection.close()
    await server.close()


def test_a_wrong_password_and_a_missing_identity_are_said(made: Made, tmp_path: Path) -> None:
    with pytest.raises(TrustError):
        reach(made, "headend", password="wrong").listening()
    with pytest.raises(LocalError):
        reach((tmp_path, made[1]), "headend").listening()
