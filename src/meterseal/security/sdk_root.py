"""The calling half of the desk of the root; what officers order there goes through `submit`.

It holds no key and no decision.
"""

from __future__ import annotations

from meterseal.mesh.rpc import Empty
from meterseal.security import rootorders as r
from meterseal.security.client import Client
from meterseal.security.orders import Done
from meterseal.security.rootorders import QuorumFacts


class RootClient(Client):
    """The calls of this desk."""

    async def quorum(self) -> QuorumFacts:
        """Who opens the root."""
        return await self._rpc.call("quorum", Empty(), QuorumFacts)

    async def coming_quorum(self) -> r.ComingQuorum:
        """The shares of a quorum that is being set up; LocalError `security.quorum` when there is none."""
        return await self._rpc.call("coming_quorum", Empty(), r.ComingQuorum)

    async def root_opening(self) -> r.Opening:
        """The act that waits for the root to be opened; TrustError `security.root-closed` when none does."""
        return await self._rpc.call("root_opening", Empty(), r.Opening)

    async def open_root(self, passphrase: bytes) -> Done:
        """Carry out the act that waits, under the lab default; TrustError `security.quorum`, `security.passphrase`."""
        return await self._rpc.call("open_root", r.OpenByPassphrase(passphrase=passphrase), Done)
