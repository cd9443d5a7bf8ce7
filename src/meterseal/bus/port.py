"""The bus as its users see it: one promise, kept by every adapter.

It chooses no adapter; the application does.
"""

from __future__ import annotations

from typing import Protocol

from meterseal.model import Batch


class Publisher(Protocol):
    """The sending side."""

    async def publish(self, batch: Batch) -> None:
        """Return only when all of the batch is durably committed; acknowledgements may leave after that.

        Raises EngineError when it is not, or when nobody knows: then send the batch again. Committing a
        record twice changes nothing.
        """
