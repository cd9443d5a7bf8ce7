"""The bus between two processes of one machine: a call to the platform that answers after the commit.

It queues nothing: while the platform is away every batch is refused, and the devices keep what they sent.
"""

from __future__ import annotations

from msgspec import Struct

from meterseal.bus.port import Publisher
from meterseal.mesh.method import Method, Methods, Rpc
from meterseal.model import Batch

METHOD = "publish"


class Committed(Struct, frozen=True, array_like=True):
    """The answer: this many records are durable."""

    records: int


class LocalBus:
    """A Publisher over the mesh."""

    def __init__(self, platform: Rpc) -> None:
        self._platform = platform

    async def publish(self, batch: Batch) -> None:
        """As `Publisher.publish`."""
        await self._platform.call(METHOD, batch, Committed)


def methods(store: Publisher) -> Methods:
    """What the platform offers: head-ends publish into `store`."""

    async def publish(_caller: str, batch: Batch) -> Committed:
        await store.publish(batch)
        return Committed(len(batch.opened) + len(batch.quarantined))

    return {METHOD: Method(publish, Batch, frozenset({"headend"}))}
