"""What is asked about platforms: enrolment, withdrawal, and what may be said of them. No behaviour but encoding."""

from __future__ import annotations

from msgspec import Struct, structs

from meterseal.security.orders import Request, encoded


class EnrolPlatform(Request, frozen=True, kw_only=True, array_like=True):
    """Purpose `enrol-platform`. `caller` is the name in the platform's certificate on the mesh.

    Domain and business type are those of the project id (2 bytes each); `attestation` is r ‖ s of the platform's
    own key `point` over the request with this field empty.
    """

    caller: str
    domain: bytes
    business: bytes
    contact: str
    purposes: tuple[str, ...]
    point: bytes
    attestation: bytes = b""


class WithdrawPlatform(Request, frozen=True, kw_only=True, array_like=True):
    """Purpose `withdraw-platform`: this caller is answered nothing any more."""

    caller: str
    reason: str


class PlatformFacts(Struct, frozen=True, kw_only=True):
    """What may be said about an enrolled platform; the contact is not among it. `calls` counts since its enrolment."""

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


def attested_bytes(request: EnrolPlatform) -> bytes:
    """What a platform's own key signs."""
    return b"ms1 platform enrolment\x00" + encoded(structs.replace(request, attestation=b""))
