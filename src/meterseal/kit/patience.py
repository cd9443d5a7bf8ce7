"""Beside the path: an operator who asks again while a process is being restarted.

Only calls that may be repeated go through here; every request of the operator's desk is of that kind.
"""

from __future__ import annotations

import asyncio

from msgspec import Struct

from meterseal.errors import EngineError
from meterseal.mesh.rpc import Rpc, T


class Patient:
    """An Rpc that repeats a call for `within` seconds while the other side cannot be reached."""

    def __init__(self, desk: Rpc, *, within: float = 30.0) -> None:
        self._desk = desk
        self._within = within

    async def call(self, method: str, request: Struct, reply: type[T]) -> T:
        """As Rpc.call; raises the last EngineError when patience ends."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._within
        while True:
            try:
                return await self._desk.call(method, request, reply)
            except EngineError:
                if loop.time() > until:
                    raise
                await asyncio.sleep(0.1)
