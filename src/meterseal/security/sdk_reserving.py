"""The calling half of the desk of reservations.

It holds no key and no decision.
"""

from __future__ import annotations

from collections.abc import Sequence

from meterseal.mesh.rpc import Empty
from meterseal.security.client import Client
from meterseal.security.reserveorders import Ended, EndModules, Hold, Pair, Reservations, Reserve


class ReservingClient(Client):
    """The calls of this desk."""

    async def hold_enrolment(self, reason: str) -> Reservations:
        """Have nobody enrolled until `accept_head`, because the directory was put back."""
        return await self._rpc.call("hold_enrolment", Hold(reason=reason), Reservations)

    async def reserve_modules(self, pairs: Sequence[Pair]) -> Reservations:
        """Say which modules were enrolled, at most a thousand at once; LocalError `security.request`."""
        return await self._rpc.call("reserve_modules", Reserve(pairs=tuple(pairs)), Reservations)

    async def end_modules(self, pairs: Sequence[Pair]) -> Ended:
        """Say which modules were withdrawn, at most a thousand at once; how many of them were in service again.
        LocalError `security.request`.
        """
        return await self._rpc.call("end_modules", EndModules(pairs=tuple(pairs)), Ended)

    async def accept_head(self) -> Reservations:
        """Take the service as it stands for the right one; enrolment goes on."""
        return await self._rpc.call("accept_head", Empty(), Reservations)

    async def reservations(self) -> Reservations:
        """Whether enrolment is held, and how many modules are reserved."""
        return await self._rpc.call("reservations", Empty(), Reservations)
