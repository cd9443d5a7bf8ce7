"""The calling half of the desk of papers: certificates, policies, what ended, uses of keys.

It holds no key and no decision.
"""

from __future__ import annotations

from meterseal.mesh.rpc import Empty
from meterseal.security import papers as p
from meterseal.security.client import Client


class PapersClient(Client):
    """The calls of this desk."""

    async def set_policy(self, device_id: bytes, module_id: bytes, policy: int, profile: str = "") -> None:
        """Grant a module the same or a stricter message policy from its next session on, and mend the name of its profile
        unless empty.

        TrustError `security.not-enrolled`, `security.policy-lowered` (officers order that: purpose `lower-policy`);
        LocalError `security.policy`.
        """
        request = p.PolicyRequest(device_id=device_id, module_id=module_id, policy=policy, profile=profile)
        await self._rpc.call("set_policy", request, Empty)

    async def renew(self, device_id: bytes) -> p.Renewal:
        """A newer certificate for a device's module; the same one until the module has shown it.

        TrustError `security.not-enrolled`; LocalError `security.no-chain`, `security.no-later`.
        """
        return await self._rpc.call("renew", p.RenewRequest(device_id=device_id), p.Renewal)

    async def renewals_due(self, within_ms: int, limit: int = 1000) -> p.DueReply:
        """Devices whose certificate ends within so many ms or stands under an older CA."""
        return await self._rpc.call("renewals_due", p.DueRequest(within=within_ms, limit=limit), p.DueReply)

    async def expiring(self, within_ms: int) -> p.ExpiringReply:
        """Every certificate and list that ends within so many ms, soonest first."""
        return await self._rpc.call("expiring", p.ExpiringRequest(within=within_ms), p.ExpiringReply)

    async def revoked_since(self, after: int, limit: int = 1000) -> tuple[p.GoneModule, ...]:
        """Modules taken out of service after this sequence number, in their order: cut their sessions."""
        request = p.GoneRequest(after=after, limit=limit)
        return (await self._rpc.call("revoked_since", request, p.GoneReply)).modules

    async def authorities(self) -> p.AuthoritiesReply:
        """The CAs in all their open versions, and how many modules still have to move to the newest."""
        return await self._rpc.call("authorities", Empty(), p.AuthoritiesReply)

    async def usage_over_time(self, since: int, *, by_day: bool = False) -> tuple[p.Uses, ...]:
        """How often each key was used since then (Unix ms); LocalError `security.span` for too much at once."""
        request = p.UsesRequest(since=since, by_day=by_day)
        return (await self._rpc.call("usage_over_time", request, p.UsesReply)).uses
