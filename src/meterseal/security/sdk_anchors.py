"""The calling half of the desk of the anchor.

It holds no key and no decision.
"""

from __future__ import annotations

from meterseal.security.anchororders import REFUSALS, AnchorTrail, AskAnchor, TrailAnchor
from meterseal.security.client import Client


class AnchorsClient(Client):
    """The calls of this desk."""

    async def anchor_trail(self, rows: int, head: bytes, trail: str = REFUSALS) -> TrailAnchor:
        """Say what a trail of the platform's has come to; TrustError `security.trail-shorter`, `security.trail-changed`."""
        return await self._rpc.call(
            "anchor_trail", AnchorTrail(rows=rows, head=head, trail=trail), TrailAnchor
        )

    async def trail_anchor(self, trail: str = REFUSALS) -> TrailAnchor:
        """What a trail of the platform's had come to when it was last said."""
        return await self._rpc.call("trail_anchor", AskAnchor(trail=trail), TrailAnchor)
