"""Modules that were taken out of service: their sessions' keys are destroyed, and nothing more is said to them.

Who is out of service is the security service's to say; the head-ends ask it themselves and close what they hold open.
"""

from __future__ import annotations

from typing import Protocol

from meterseal.security.papers import GoneModule
from meterseal.things.sessions import SessionStore
from meterseal.things.words import DownWords


class Service(Protocol):
    """What is asked of the security service; the SDK is one."""

    async def revoked_since(self, after: int, limit: int = 1000) -> tuple[GoneModule, ...]: ...


class Revoking:
    """Follows the list of withdrawals. After a start it goes through the whole of it once; that changes nothing again."""

    def __init__(self, service: Service, sessions: SessionStore, words: DownWords) -> None:
        self._service = service
        self._sessions = sessions
        self._words = words
        self._after = 0

    async def run(self) -> int:
        """Cut what was withdrawn since the last run; how many modules. EngineError when the service is away."""
        count = 0
        while gone := await self._service.revoked_since(self._after):
            for module in gone:
                self._sessions.cut(module.device_id, module.module_id)
                stale = [
                    word_id
                    for word_id, _, _, word in self._words.opened(module.device_id)
                    if word.module_id in (b"", module.module_id) and word.down.kind != "request"
                ]
                self._words.end(stale, "withdrawn")
            self._after = gone[-1].sequence
            count += len(gone)
        return count
