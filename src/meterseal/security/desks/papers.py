"""Desk of papers: policies of modules, renewal and end of certificates, withdrawals for head-ends, uses of keys.

It issues nothing itself (`issuer` does) and opens no root (`pki` says what an opened root may do).
"""

from __future__ import annotations

from meterseal.crypto.certificates import parse
from meterseal.errors import LocalError, TrustError
from meterseal.mesh.rpc import Empty
from meterseal.security import papers as p
from meterseal.security.authorise import FACTS, ISSUE, PLATFORM, WATCH
from meterseal.security.desk import Act, Acts, Desk, Order, Orders, Room
from meterseal.security.orders import Done
from meterseal.security.registry import POLICIES, PROFILES, Module

_MOST = 1000
_MOST_LISTED = 100
_MOST_COUNTS = 50_000
_FARTHEST = 100 * 366 * 86_400_000
"""No certificate ends later; a time beyond the largest number is none."""

_CURES = {
    "root": "Set up a new system with a new root before; modules keep the root that they were given.",
    "root-list": "Bring the offline root: any act of it writes a new list.",
    "platform-ca": "Bring the offline root and issue a new platform CA.",
    "device-ca": "Bring the offline root and issue a new device CA, then renew the devices under it.",
    "platform": "Nothing: the service renews it by itself.",
    "device": "Nothing while the device is in reach: its certificate is renewed over the link.",
}


class PapersDesk(Desk):
    """set_policy, renew, renewals_due, expiring, revoked_since, authorities, usage_over_time; and the orders
    `revoke-platform` and `lower-policy`.
    """

    def __init__(self, room: Room) -> None:
        self._room = room

    def acts(self) -> Acts:
        """What this desk answers."""
        return {
            "set_policy": Act(self._set_policy, p.PolicyRequest, ISSUE),
            "renew": Act(self._renew, p.RenewRequest, PLATFORM),
            "renewals_due": Act(self._due, p.DueRequest, WATCH),
            "expiring": Act(self._expiring, p.ExpiringRequest, WATCH),
            "revoked_since": Act(self._gone, p.GoneRequest, FACTS),
            "authorities": Act(self._authorities, Empty, WATCH),
            "usage_over_time": Act(self._uses, p.UsesRequest, WATCH),
        }

    def orders(self) -> Orders:
        """What officers may order here."""
        return {
            "revoke-platform": Order(self._revoke_platform, p.RevokePlatform, "ca"),
            "lower-policy": Order(self._lower_policy, p.LowerPolicy, "keys", needed=1),
        }

    async def _set_policy(self, caller: str, request: p.PolicyRequest) -> Empty:
        room = self._room
        module = self._in_service(request.device_id, request.module_id)
        profile = request.profile or module.profile
        if request.policy not in POLICIES or profile not in PROFILES:
            raise LocalError(
                "security.policy",
                f"A policy is 0 (plain only), 1 (both) or 2 (cipher only), and a profile one of "
                f"{', '.join(sorted(PROFILES))}; nothing was changed.",
            )
        if request.policy < module.policy:
            raise TrustError(
                "security.policy-lowered",
                f"Policy {request.policy} is nearer to plain than {module.policy}, which module "
                f"{module.module_id.hex()} has: that needs an officer's order (keys request lower-policy). Nothing was "
                "changed.",
            )
        said = self._grant(module, request.policy, profile)
        room.note(caller, request, "security.policy-set", said)
        await room.durable()
        return Empty()

    async def _lower_policy(self, caller: str, asked: p.LowerPolicy, people: tuple[str, ...]) -> Done:
        module = self._in_service(asked.device_id, asked.module_id)
        if asked.policy not in POLICIES or asked.policy >= module.policy:
            raise LocalError(
                "security.policy",
                f"{asked.policy} is no policy below {module.policy}, which module {module.module_id.hex()} has; nothing "
                "was changed.",
            )
        return Done(sentence=self._grant(module, asked.policy, module.profile), officers=people)

    def _grant(self, module: Module, policy: int, profile: str) -> str:
        self._room.registry.set_policy(module, policy, profile)
        return f"Policy {module.policy} became {policy}, profile {module.profile} became {profile}."

    async def _renew(self, caller: str, request: p.RenewRequest) -> p.Renewal:
        room = self._room
        before = self._in_service(request.device_id)
        module = room.pki.renew_device(before, room.clock())
        if module.renewed != before.renewed:
            key = f"DEVICE-CA version {room.pki.version('device')}"
            room.note(caller, module, "security.renewed", "A newer device certificate was issued.", key=key)
        await room.durable()
        chain = room.pki.device_chain(module.renewed)
        return p.Renewal(device_id=module.device_id, module_id=module.module_id, chain=chain)

    async def _due(self, caller: str, request: p.DueRequest) -> p.DueReply:
        registry, limit = self._room.registry, max(0, min(request.limit, _MOST))
        ending, soon = registry.ending(self._room.clock() + min(request.within, _FARTHEST), limit)
        under, old = registry.under(self._room.pki.version("device"), limit)
        ids = dict.fromkeys(module.device_id for module in (*soon, *old))
        return p.DueReply(device_ids=tuple(ids)[:limit], ending=ending, under_old_ca=under)

    async def _expiring(self, caller: str, request: p.ExpiringRequest) -> p.ExpiringReply:
        room, now = self._room, self._room.clock()
        end = now + min(request.within, _FARTHEST)
        items = [
            p.Expiring(
                kind=one.kind, name=one.name, serial=f"{one.serial:x}", until=one.until, cure=_CURES[one.kind]
            )
            for one in room.pki.endings(now)
            if one.until < end
        ]
        count, modules = room.registry.ending(end, _MOST_LISTED)
        items += [
            p.Expiring(
                kind="device",
                name=f"device {module.device_id.hex()}",
                serial=f"{parse(module.leaf).serial:x}",
                until=module.until,
                cure=_CURES["device"],
            )
            for module in modules
        ]
        await room.authorities.durable()
        return p.ExpiringReply(items=tuple(sorted(items, key=lambda one: one.until)), devices=count)

    async def _gone(self, caller: str, request: p.GoneRequest) -> p.GoneReply:
        gone = self._room.registry.gone_since(request.after, max(0, min(request.limit, _MOST)))
        return p.GoneReply(
            modules=tuple(
                p.GoneModule(
                    sequence=one.sequence, device_id=one.device_id, module_id=one.module_id, at=one.at
                )
                for one in gone
            )
        )

    async def _authorities(self, caller: str, request: Empty) -> p.AuthoritiesReply:
        room = self._room
        found = [
            p.AuthorityFacts(
                purpose=purpose,
                version=version,
                serial=f"{parse(der).serial:x}",
                until=parse(der).until,
                issues=version == room.pki.version(purpose),
                standing=room.registry.standing_on(version) if purpose == "device" else 0,
            )
            for purpose in ("platform", "device")
            for version, der in room.pki.authorities(purpose).items()
        ]
        return p.AuthoritiesReply(
            authorities=tuple(found), to_move=room.registry.under(room.pki.version("device"), 0)[0]
        )

    async def _revoke_platform(self, caller: str, request: p.RevokePlatform, people: tuple[str, ...]) -> Done:
        identity = self._room.pki.revoke_platform(self._room.clock())
        said = f"The platform's certificate was revoked; version {identity.version} took its place."
        return Done(sentence=said, officers=people)

    async def _uses(self, caller: str, request: p.UsesRequest) -> p.UsesReply:
        room = self._room
        uses = await room.uses.since(request.since, room.clock(), by_day=request.by_day)
        if len(uses) > _MOST_COUNTS:
            raise LocalError(
                "security.span",
                f"That is more than {_MOST_COUNTS} counts; ask for a later time, or by the day.",
            )
        return p.UsesReply(uses=tuple(uses))

    def _in_service(self, device_id: bytes, module_id: bytes = b"") -> Module:
        module = self._room.registry.of_device(device_id)
        if module is None or (module_id and module.module_id != module_id):
            raise TrustError(
                "security.not-enrolled", f"Device {device_id.hex()} has no such module in service."
            )
        return module
