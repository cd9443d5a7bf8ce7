"""The calling half of the desk of the anchor.

It holds no key and no decision.
"""

from __future__ import annotations

from meterseal.mesh.rpc import Empty
from meterseal.security.anchororders import AnchorTrail, TrailAnchor
from meterseal.security.client import Client


class AnchorsClient(Client):
    """The calls of this desk."""

    async def anchor_trail(self, rows: int, head: bytes) -> TrailAnchor:
        """Say what the platform's trail has come to; TrustError `security.trail-shorter`, `security.trail-changed`."""
        return await self._rpc.call("anchor_trail", AnchorTrail(rows=rows, head=head), TrailAnchor)

    async def trail_anchor(self) -> TrailAnchor:
        """What the platform's trail had come to when it was last said."""
        return await self._rpc.call("trail_anchor", Empty(), TrailAnchor)
