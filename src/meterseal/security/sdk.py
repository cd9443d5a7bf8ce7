"""The SDK of the security service: what head-end, platform and command line call; the only way in.

It holds no key and no decision; each call is one method of the service, whose refusals arrive as the same
errors.
"""

from __future__ import annotations

from collections.abc import Sequence

from meterseal.crypto.handles import SymmetricKey
from meterseal.link.schedule import TrafficKeys
from meterseal.mesh.rpc import Empty
from meterseal.security import messages as m
from meterseal.security.sdk_anchors import AnchorsClient
from meterseal.security.sdk_cards import CardsClient
from meterseal.security.sdk_commands import CommandsClient
from meterseal.security.sdk_diagnosis import DiagnosisClient
from meterseal.security.sdk_editing import EditingClient
from meterseal.security.sdk_factory import FactoryClient
from meterseal.security.sdk_firmware import FirmwareClient
from meterseal.security.sdk_keylife import KeyLifeClient
from meterseal.security.sdk_ledger import LedgerClient
from meterseal.security.sdk_papers import PapersClient
from meterseal.security.sdk_persons import PersonsClient
from meterseal.security.sdk_platforms import PlatformsClient
from meterseal.security.sdk_reserving import ReservingClient
from meterseal.security.sdk_root import RootClient
from meterseal.security.sdk_upkeep import UpkeepClient


class SecuritySdk(
    PersonsClient,
    PlatformsClient,
    AnchorsClient,
    LedgerClient,
    CommandsClient,
    CardsClient,
    KeyLifeClient,
    ReservingClient,
    RootClient,
    UpkeepClient,
    PapersClient,
    DiagnosisClient,
    FactoryClient,
    FirmwareClient,
    EditingClient,
):
    """Every call of the service; a newer desk brings a client of its own, which this class then derives from."""

    async def hello(self, message: bytes, source: str = "") -> m.PlatformReply:
        """PLATFORM for a HELLO; TrustError or PeerError `link.*` when there is none to send."""
        return await self._rpc.call("hello", m.HelloRequest(message=message, source=source), m.PlatformReply)

    async def device(
        self, session_id: bytes, message: bytes, source: str = "", *, gathered: bool = False
    ) -> m.SessionReply:
        """SESSION and the session's keys for a DEVICE, which a concentrator may have carried (`gathered`);
        TrustError or PeerError `link.*` when there are none.
        """
        request = m.DeviceRequest(session_id=session_id, message=message, source=source, gathered=gathered)
        return await self._rpc.call("device", request, m.SessionReply)

    async def unwrap(self, session_id: bytes, device_id: bytes, wrapped: bytes) -> TrafficKeys:
        """Traffic keys of a stored session; TrustError `security.wrapped`."""
        request = m.UnwrapRequest(session_id=session_id, device_id=device_id, wrapped=wrapped)
        return await self._rpc.call("unwrap", request, TrafficKeys)

    async def personalise(
        self, device_id: bytes, module_id: bytes, suite: int, module_point: bytes
    ) -> m.Personalisation:
        """Enrol one module; TrustError `security.module-bound`, `security.device-bound`."""
        request = m.PersonaliseRequest(
            device_id=device_id, module_id=module_id, suite=suite, module_point=module_point
        )
        return await self._rpc.call("personalise", request, m.Personalisation)

    async def personalise_batch(
        self, requests: Sequence[m.PersonaliseRequest]
    ) -> tuple[m.Personalisation, ...]:
        """Enrol up to 1000 modules, all or none; answers in the order of the requests."""
        batch = m.PersonaliseBatch(requests=tuple(requests))
        return (await self._rpc.call("personalise_batch", batch, m.PersonaliseBatchReply)).answers

    async def lab_issue(self, device_id: bytes, module_id: bytes, suite: int) -> m.LabCredentials:
        """Enrol a lab device and get its keys in clear; TrustError `security.not-lab` outside labs."""
        request = m.LabRequest(device_id=device_id, module_id=module_id, suite=suite)
        return await self._rpc.call("lab_issue", request, m.LabCredentials)

    async def withdraw(self, device_id: bytes, module_id: bytes) -> None:
        """Take a module out of service and revoke its certificate; TrustError `security.not-enrolled`."""
        await self._rpc.call("withdraw", m.WithdrawRequest(device_id=device_id, module_id=module_id), Empty)

    async def check_evidence(
        self, device_id: bytes, module_id: bytes, key_version: int, statement: bytes, mac: bytes
    ) -> bool:
        """Whether a suite 2 module made this evidence (statement 65 bytes, mac 32)."""
        one = m.EvidenceRequest(
            device_id=device_id, module_id=module_id, key_version=key_version, statement=statement, mac=mac
        )
        return (await self.check_evidence_batch([one]))[0]

    async def check_evidence_batch(self, requests: Sequence[m.EvidenceRequest]) -> tuple[bool, ...]:
        """`check_evidence` for up to 1000 statements, in their order."""
        batch = m.EvidenceBatch(requests=tuple(requests))
        return (await self._rpc.call("check_evidence", batch, m.EvidenceAnswer)).good

    async def data_key(self, purpose: str, key_id: str) -> m.DataKey:
        """A new data key for one purpose, under a name of the caller's choice; keep only its wrapped form."""
        return await self._rpc.call("data_key", m.DataKeyRequest(purpose=purpose, key_id=key_id), m.DataKey)

    async def unwrap_data_key(self, purpose: str, key_id: str, wrapped: bytes) -> m.DataKey:
        """The data key in `wrapped`; TrustError `security.wrapped` for another purpose or name."""
        request = m.UnwrapDataKeyRequest(purpose=purpose, key_id=key_id, wrapped=wrapped)
        return await self._rpc.call("unwrap_data_key", request, m.DataKey)

    async def device_facts(self, device_id: bytes, module_id: bytes = b"") -> m.DeviceFacts:
        """The device's module in service, or the one named, withdrawn ones too; TrustError
        `security.not-enrolled`.
        """
        request = m.FactsRequest(device_id=device_id, module_id=module_id)
        return await self._rpc.call("device_facts", request, m.DeviceFacts)

    async def anchors(self) -> m.Anchors:
        """Root, chains and revocation lists for a verifier."""
        return await self._rpc.call("anchors", Empty(), m.Anchors)

    async def audit(self, since: int = 0, limit: int = 100, *, newest: bool = False) -> tuple[m.Chained, ...]:
        """Entries of the audit log after `since`, or its last `limit`; oldest first, at most 1000."""
        request = m.AuditRequest(since=since, limit=limit, newest=newest)
        return (await self._rpc.call("audit", request, m.AuditReply)).entries

    async def verify_audit(self) -> m.AuditState:
        """Walk the chain of the audit log."""
        return await self._rpc.call("verify_audit", Empty(), m.AuditState)

    async def usage(self) -> m.UsageReply:
        """Every key's state, uses and limit, and how many modules are in service."""
        return await self._rpc.call("usage", Empty(), m.UsageReply)


class DataKeySource:
    """Data keys as opaque handles, for whoever seals with them; wrapped forms are the caller's to store."""

    def __init__(self, security: SecuritySdk) -> None:
        self._security = security

    async def new(self, purpose: str, key_id: str) -> tuple[SymmetricKey, bytes, int]:
        """A new data key: its handle, its wrapped form, and the version of the key that wraps it."""
        made = await self._security.data_key(purpose, key_id)
        return SymmetricKey.from_bytes(made.key, f"the data key {key_id}"), made.wrapped, made.version

    async def open(self, purpose: str, key_id: str, version: int, wrapped: bytes) -> SymmetricKey:
        """The data key in `wrapped`, which names its wrapping version itself; TrustError
        `security.wrapped`.
        """
        opened = await self._security.unwrap_data_key(purpose, key_id, wrapped)
        return SymmetricKey.from_bytes(opened.key, f"the data key {key_id}")
