"""The calling half of the desk of the factory.

It holds no key and no decision.
"""

from __future__ import annotations

from meterseal.security.client import Client
from meterseal.security.manifest import (
    ProduceReply,
    ProduceRequest,
    ProductionRequest,
    ProductionState,
    Row,
)


class FactoryClient(Client):
    """The calls of this desk."""

    async def produce(self, request_id: bytes, chunk: int, rows: tuple[Row, ...]) -> ProduceReply:
        """Enrol one chunk of an opened production, or learn row by row why not; asked again, the same certificates.

        LocalError `security.no-production`; TrustError `security.manifest`.
        """
        request = ProduceRequest(request_id=request_id, chunk=chunk, rows=rows)
        return await self._rpc.call("produce", request, ProduceReply)

    async def production(self, request_id: bytes) -> ProductionState:
        """How far a production is; LocalError `security.no-production`."""
        return await self._rpc.call("production", ProductionRequest(request_id=request_id), ProductionState)
