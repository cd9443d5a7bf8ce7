"""Calls to a running system and to its security service, over their Unix sockets.

It opens no file of the system; when that is down, it says so and how to start it. What is printed is `cli.answers`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from meterseal.app import config
from meterseal.app.door import KEYS, operator_connection, socket_path
from meterseal.app.lock import in_use
from meterseal.cli.waiting import waiting
from meterseal.errors import EngineError
from meterseal.mesh.rpc import Connection

if TYPE_CHECKING:
    from meterseal.security.sdk import SecuritySdk

T = TypeVar("T", bound=Struct)
Answer = TypeVar("Answer")
LONG_RUN = 3600.0
"""Seconds that a run over all readings or bills may take."""


def ask(
    data: Path, method: str, request: Struct, reply: type[T], *, timeout: float = 60.0, doing: str = ""
) -> T:
    """One call to the running system; errors as `over`. `doing` is shown while it takes its time."""
    layout = config.Layout(data)
    with waiting(doing):
        return over(
            layout,
            lambda: operator_connection(layout, timeout),
            lambda way: way.call(method, request, reply),
            "The system",
        )


def over(
    layout: config.Layout,
    make: Callable[[], Connection],
    call: Callable[[Connection], Awaitable[Answer]],
    who: str,
) -> Answer:
    """What `call` says over a connection of its own; EngineError `app.down` when the system does not run, `app.no-answer`
    when `who` is slow.
    """
    config.load(layout)

    async def run() -> Answer:
        connection = make()
        try:
            return await call(connection)
        finally:
            await connection.close()

    try:
        return asyncio.run(run())
    except EngineError as error:
        if error.code != "mesh.unreachable":
            raise
        if in_use(layout):
            raise EngineError(
                "app.no-answer",
                f"{who} of {layout.root} runs but did not answer: it is starting, or busy. Try again in a moment.",
            ) from None
        raise EngineError(
            "app.down",
            f"The system of {layout.root} is not running. Start it with: meterseal up --data {layout.root}",
        ) from None


def ask_keys(
    data: Path, call: Callable[[SecuritySdk], Awaitable[Answer]], *, timeout: float = 120.0
) -> Answer:
    """Calls to the running security service; errors as `over`."""
    from meterseal.security.sdk import SecuritySdk  # slow to import, and most commands ask the system alone

    layout = config.Layout(data)
    return over(
        layout,
        lambda: Connection.unix(socket_path(layout, KEYS), timeout=timeout),
        lambda way: call(SecuritySdk(way)),
        "The security service",
    )


def epoch(data: Path) -> bytes:
    """What the ids of new requests begin with; empty while the system is down, or was never restored."""
    return ask_keys(data, lambda sdk: sdk.epoch()) if in_use(config.Layout(data)) else b""
