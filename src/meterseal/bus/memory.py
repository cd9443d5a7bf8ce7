"""The bus inside one process: hands each batch straight to whoever commits it.

It keeps nothing and joins nothing; for tests and for a system in one process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from meterseal.errors import EngineError
from meterseal.model import Batch


class MemoryBus:
    """A Publisher whose consumer lives in this process; `consumer` returns once a batch is durable."""

    def __init__(self, consumer: Callable[[Batch], Awaitable[None]]) -> None:
        self._consumer = consumer
        self._open = True

    async def publish(self, batch: Batch) -> None:
        """As `Publisher.publish`."""
        if not self._open:
            raise EngineError(
                "bus.closed", "The bus is closed; send the batch again when the platform is back."
            )
        await self._consumer(batch)

    def close(self) -> None:
        """Refuse further batches."""
        self._open = False
