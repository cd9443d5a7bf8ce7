"""Desk of platforms: who is enrolled to call this service, by two officers' order; and their certificates on the mesh.

It admits no call itself; `service` asks `security.platforms` before every act.
"""

from __future__ import annotations

import msgspec

from meterseal.errors import LocalError
from meterseal.mesh.rpc import OPERATOR, Empty
from meterseal.mesh.tls import PLATFORMS
from meterseal.security.authorise import OPERATOR as OPERATORS
from meterseal.security.authorise import PARTNER, WATCH
from meterseal.security.desk import Act, Acts, Desk, Order, Orders, Room
from meterseal.security.orders import Done
from meterseal.security.platformorders import (
    CertificateRequest,
    EnrolPlatform,
    LentList,
    LentRequest,
    LentSession,
    PlatformCertificate,
    PlatformList,
    WithdrawPlatform,
)
from meterseal.security.platforms import ENROLLED

HOUR = 3_600_000
MOST_LENT = 1000
_CERTIFICATE_COSTS = 100
"""Calls: the second root is opened by Argon2id for each certificate, and a platform needs one in two months."""


class PlatformDesk(Desk):
    """platforms, lent_sessions, platform_certificate; and the orders `enrol-platform` and `withdraw-platform`."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def acts(self) -> Acts:
        """What this desk answers."""
        return {
            "platforms": Act(self._list, Empty, WATCH),
            "lent_sessions": Act(self._lent, LentRequest, WATCH),
            "platform_certificate": Act(
                self._certificate, CertificateRequest, OPERATORS | PARTNER, purpose=ENROLLED
            ),
        }

    def orders(self) -> Orders:
        """What officers may order here."""
        return {
            "enrol-platform": Order(self._enrol, EnrolPlatform, "enrol"),
            "withdraw-platform": Order(self._withdraw, WithdrawPlatform, "enrol"),
        }

    async def _list(self, caller: str, request: Empty) -> PlatformList:
        return PlatformList(platforms=self._room.platforms.all())

    async def _certificate(self, caller: str, request: CertificateRequest) -> PlatformCertificate:
        room, name = self._room, request.name
        if caller != OPERATOR:
            name = caller.removeprefix(PLATFORMS)  # its own, whatever it asks for
            room.platforms.charge(caller, _CERTIFICATE_COSTS)
        asked = room.platforms.tls_request(name)
        if room.tls is None:
            raise LocalError(
                "security.no-tls", "This service has no TLS authority; ask the one of the system."
            )
        certificate, root = await room.tls.platform(name, asked)
        room.platforms.tls_request(name)  # withdrawn meanwhile, it gets none
        said = f"Platform {PLATFORMS}{name} was given a certificate of the mesh."
        room.note(caller, request, "security.platform-certificate", said)
        await room.durable()
        return PlatformCertificate(certificate=certificate, root=root)

    async def _enrol(self, caller: str, request: EnrolPlatform, people: tuple[str, ...]) -> Done:
        enrolled = self._room.platforms.enrol(request, people)
        said = f"Platform {enrolled} is enrolled for {', '.join(request.purposes)}."
        return Done(sentence=said, officers=people)

    async def _withdraw(self, caller: str, request: WithdrawPlatform, people: tuple[str, ...]) -> Done:
        room = self._room
        gone = room.platforms.withdraw(request)
        room.handshakes.dismiss(gone)
        said = f"Platform {gone} was withdrawn: {request.reason}."
        held = room.lending.of(gone, room.clock())
        if held:
            left = -(-(held[-1].until - room.clock()) // HOUR)
            said += (
                f" {len(held)} modules have their newest session with it and seal in it for {left} hours at most, or until "
                "their next handshake with ours: meterseal keys platform sessions names them."
            )
        return Done(
            sentence=said,
            officers=people,
            facts=msgspec.json.encode({"modules": len(held)}).decode(),
        )

    async def _lent(self, caller: str, request: LentRequest) -> LentList:
        room = self._room
        caller = room.platforms.named(request.name)
        if caller not in {one.caller for one in room.platforms.all()}:
            raise LocalError("security.platform", f"There is and was no platform {request.name[:64]}.")
        held = room.lending.of(caller, room.clock())
        return LentList(
            count=len(held),
            until=held[-1].until if held else 0,
            sessions=tuple(
                LentSession(device_id=one.device_id, module_id=one.module_id, until=one.until)
                for one in held[:MOST_LENT]
            ),
        )
