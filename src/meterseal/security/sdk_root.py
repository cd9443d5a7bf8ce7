"""The calling half of the desk of the root.

It holds no key and no decision.
"""

from __future__ import annotations

from collections.abc import Sequence

from meterseal.mesh.rpc import Empty
from meterseal.security import rootorders as r
from meterseal.security.client import Client
from meterseal.security.rootorders import QuorumFacts


class RootClient(Client):
    """The calls of this desk."""

    async def quorum(self) -> QuorumFacts:
        """Who opens the root."""
        return await self._rpc.call("quorum", Empty(), QuorumFacts)

    async def quorum_begin(
        self, threshold: int, officers: Sequence[str], passphrase: bytes
    ) -> r.QuorumShares:
        """Shares of the root for these officers; nothing changes before `quorum_confirm`."""
        request = r.QuorumBegin(threshold=threshold, officers=tuple(officers), passphrase=passphrase)
        return await self._rpc.call("quorum_begin", request, r.QuorumShares)

    async def quorum_confirm(self, sealed: Sequence[bytes]) -> QuorumFacts:
        """Every holder showed their share: from now on the quorum opens the root, and the passphrase does not."""
        return await self._rpc.call("quorum_confirm", r.Shares(sealed=tuple(sealed)), QuorumFacts)

    async def root_ceremony(self) -> bytes:
        """The SM2 point that shares are sealed to for the next opening."""
        return (await self._rpc.call("root_ceremony", Empty(), r.CeremonyPoint)).point

    async def open_root(self, shares: Sequence[bytes] = (), passphrase: bytes = b"") -> QuorumFacts:
        """Open the root for one act within five minutes."""
        request = r.OpenRoot(shares=tuple(shares), passphrase=passphrase)
        return await self._rpc.call("open_root", request, QuorumFacts)
