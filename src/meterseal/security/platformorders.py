"""What is asked about platforms: enrolment, withdrawal, certificates, and what may be said of them. No behaviour but
encoding.
"""

from __future__ import annotations

from msgspec import Struct, structs

from meterseal.security.orders import Request, encoded


class EnrolPlatform(Request, frozen=True, kw_only=True, array_like=True):
    """Purpose `enrol-platform`. `caller` is the name that the platform's certificate on the mesh will carry.

    Domain and business type are those of the project id (2 bytes each); `tls_request` is PKCS#10 (DER) over the key of
    that certificate (`mesh.requests`), empty for a process of our own that was withdrawn and comes back. `attestation`
    is r ‖ s of the platform's own SM2 key `point` over the request with this field empty.
    """

    caller: str
    domain: bytes
    business: bytes
    contact: str
    purposes: tuple[str, ...]
    point: bytes
    tls_request: bytes = b""
    attestation: bytes = b""


class WithdrawPlatform(Request, frozen=True, kw_only=True, array_like=True):
    """Purpose `withdraw-platform`: this caller is answered nothing any more."""

    caller: str
    reason: str


class CertificateRequest(Struct, frozen=True, kw_only=True):
    """A new certificate for the key of an enrolled platform: for the operator by its name, for a platform its own."""

    name: str = ""


class PlatformCertificate(Struct, frozen=True, kw_only=True):
    """A certificate of the mesh and the root that the security service shows itself under, both PEM."""

    certificate: bytes
    root: bytes


class PlatformFacts(Struct, frozen=True, kw_only=True):
    """What may be said about an enrolled platform; the contact is not among it. `calls` counts since its enrolment.

    `caller` is how the audit log names it: `platform:NAME`, or the name of a process of ours.
    """

    caller: str
    domain: bytes
    business: bytes
    project_id: bytes
    purposes: tuple[str, ...]
    enrolled_at: int
    approved_by: tuple[str, ...]
    withdrawn_at: int | None
    calls: dict[str, int]


class PlatformList(Struct, frozen=True, kw_only=True):
    """Every platform that is or was enrolled."""

    platforms: tuple[PlatformFacts, ...]


class LentRequest(Struct, frozen=True, kw_only=True):
    """Which modules have their newest session with this platform."""

    name: str


class LentSession(Struct, frozen=True, kw_only=True):
    """A module whose newest session a platform opened, and until when the module seals in it at most (Unix ms)."""

    device_id: bytes
    module_id: bytes
    until: int


class LentList(Struct, frozen=True, kw_only=True):
    """How many there are, when the last of them ends, and the first thousand, soonest end first."""

    count: int
    until: int
    sessions: tuple[LentSession, ...]


def attested_bytes(request: EnrolPlatform) -> bytes:
    """What a platform's own key signs."""
    return b"ms1 platform enrolment\x00" + encoded(structs.replace(request, attestation=b""))
