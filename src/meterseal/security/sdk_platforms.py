"""The SDK for platforms of other people: what an enrolled one may ask of the security service, over mutual TLS.

It holds no decision; the service admits each call by the caller's certificate, purposes and project, counts it and
writes it down.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

from meterseal.mesh.client import Connection
from meterseal.mesh.rpc import Empty
from meterseal.mesh.tls import Files, client_context
from meterseal.security import messages as m
from meterseal.security.client import Client
from meterseal.security.orders import Authorised, OfficerSignature, SignedCommand
from meterseal.security.platformorders import (
    CertificateRequest,
    LentList,
    LentRequest,
    PlatformCertificate,
    PlatformFacts,
    PlatformList,
)

SERVICE = "keys"
"""Name in the certificate that the security service shows."""


class PlatformsClient(Client):
    """What the operator asks about platforms."""

    async def platforms(self) -> tuple[PlatformFacts, ...]:
        """Every platform that is or was enrolled, and how often it called for each purpose."""
        return (await self._rpc.call("platforms", Empty(), PlatformList)).platforms

    async def lent_sessions(self, name: str) -> LentList:
        """Modules whose newest session this platform opened, withdrawn or not."""
        return await self._rpc.call("lent_sessions", LentRequest(name=name), LentList)

    async def platform_certificate(self, name: str = "") -> PlatformCertificate:
        """A new certificate for an enrolled platform's key; LocalError `security.platform` when it is not enrolled."""
        return await self._rpc.call(
            "platform_certificate", CertificateRequest(name=name), PlatformCertificate
        )


class PartnerSdk(Client):
    """Every call of another's platform. Each may raise ConsentError `security.platform-unknown`,
    `security.platform-withdrawn`, `security.platform-purpose`, `security.platform-project` (nothing was done, the
    reason is in the audit log) and `security.platform-rate` (wait).
    """

    async def certificate(self) -> PlatformCertificate:
        """A new certificate of the mesh for the caller itself, in good time before its own ends (90 days)."""
        return await self._rpc.call("platform_certificate", CertificateRequest(), PlatformCertificate)

    async def anchors(self) -> m.Anchors:
        """Purpose `trail`: root, chains and revocation lists, as `SecuritySdk.anchors`."""
        return await self._rpc.call("anchors", Empty(), m.Anchors)

    async def device_facts(self, device_id: bytes, module_id: bytes = b"") -> m.DeviceFacts:
        """Purpose `modules`: as `SecuritySdk.device_facts`."""
        request = m.FactsRequest(device_id=device_id, module_id=module_id)
        return await self._rpc.call("device_facts", request, m.DeviceFacts)

    async def check_evidence_batch(self, requests: Sequence[m.EvidenceRequest]) -> tuple[bool, ...]:
        """Purpose `modules`: as `SecuritySdk.check_evidence_batch`."""
        batch = m.EvidenceBatch(requests=tuple(requests))
        return (await self._rpc.call("check_evidence", batch, m.EvidenceAnswer)).good

    async def hello(self, message: bytes) -> m.PlatformReply:
        """Purpose `link`: PLATFORM for a HELLO that this platform received."""
        return await self._rpc.call("hello", m.HelloRequest(message=message), m.PlatformReply)

    async def device(self, session_id: bytes, message: bytes) -> m.SessionReply:
        """Purpose `link`: SESSION and the session's keys for a DEVICE, in a handshake that this platform began."""
        request = m.DeviceRequest(session_id=session_id, message=message)
        return await self._rpc.call("device", request, m.SessionReply)

    async def authorise_command(self, order: bytes, signatures: Sequence[OfficerSignature]) -> Authorised:
        """Purpose `commands`: as `SecuritySdk.authorise_command`; the officers are the system's."""
        request = SignedCommand(order=order, signatures=tuple(signatures))
        return await self._rpc.call("authorise_command", request, Authorised)


class PartnerConnection:
    """One platform's way to the service; `async with` gives the SDK and closes the connection."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext) -> None:
        self._connection = Connection.tls(SERVICE, host, port, context)

    @classmethod
    def of(cls, directory: Path, name: str, password: bytes, host: str, port: int) -> PartnerConnection:
        """From NAME.crt, NAME.tls.key and root.crt in a directory, as `meterseal keys platform` writes them.

        TrustError `mesh.passphrase`; LocalError `mesh.files`.
        """
        files = Files(directory / f"{name}.crt", directory / f"{name}.tls.key", directory / "root.crt")
        return cls(host, port, client_context(files, password))

    async def __aenter__(self) -> PartnerSdk:
        return PartnerSdk(self._connection)

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()
