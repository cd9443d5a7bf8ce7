"""Sessions of modules that were taken out of service are closed here within seconds, also while they are in use.

The security service says which modules those are; it refuses their handshakes itself.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from meterseal.errors import MetersealError
from meterseal.headend.downlink import Downlink
from meterseal.headend.sessions import SessionCache

EVERY = 15.0
"""Seconds between two questions; an open session of a revoked module is to be cut within 60."""
AT_ONCE = 1000

log = structlog.get_logger()


class Gone(Protocol):
    """One withdrawal, in its place in their order."""

    @property
    def sequence(self) -> int: ...

    @property
    def device_id(self) -> bytes: ...

    @property
    def module_id(self) -> bytes: ...


class Source(Protocol):
    """The security service, as far as it is asked here."""

    async def revoked_since(self, after: int, limit: int = AT_ONCE) -> tuple[Gone, ...]: ...


class Revocations:
    """Asks again and again; `run` works until it is cancelled."""

    def __init__(self, source: Source, sessions: SessionCache, downlink: Downlink) -> None:
        self._source = source
        self._sessions = sessions
        self._downlink = downlink
        self._after = 0

    async def run(self) -> None:
        """Ask every few seconds; a service that is away is asked again."""
        while True:
            try:
                await self.look()
            except MetersealError as error:
                log.warning("revocations.unheard", code=error.code)
            await asyncio.sleep(EVERY)

    async def look(self) -> None:
        """Close what was withdrawn since the last look."""
        while gone := await self._source.revoked_since(self._after, AT_ONCE):
            for module in gone:
                self._sessions.cut(module.module_id)
                self._downlink.forget(module.device_id, module.module_id)
            self._after = gone[-1].sequence
