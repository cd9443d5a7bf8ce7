"""The listening side: it says when it serves, ends when told, and refuses a busy port in one sentence."""

from __future__ import annotations

import asyncio
import socket

import pytest

from meterseal.errors import EngineError
from meterseal.mesh.rpc import InProcess
from meterseal.people.portal.serve import serve_portal


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def get(port: int, host: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /sign-in HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer


async def test_it_serves_from_ready_until_told_to_end() -> None:
    port, stop, ready = free_port(), asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(
        serve_portal(InProcess({}, "web"), host="127.0.0.1", port=port, stop=stop, ready=ready.set)
    )
    await asyncio.wait_for(ready.wait(), 10)
    assert (await get(port, f"127.0.0.1:{port}")).startswith(b"HTTP/1.1 200")
    assert (await get(port, "evil.example")).startswith(b"HTTP/1.1 421"), (
        "loopback answers loopback names only"
    )
    stop.set()
    await asyncio.wait_for(running, 10)
    with pytest.raises(OSError, match=r"."):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_busy_port_is_one_sentence_and_never_ready() -> None:
    told: list[str] = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = int(taken.getsockname()[1])
        with pytest.raises(EngineError) as caught:
            await serve_portal(
                InProcess({}, "web"),
                host="127.0.0.1",
                port=port,
                stop=asyncio.Event(),
                ready=lambda: told.append("ready"),
            )
    assert caught.value.code == "portal.listen"
    assert str(port) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert told == []
