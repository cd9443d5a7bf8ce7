"""What is asked about certificates, policies and uses of keys, and what is answered: structs, no behaviour.

Ids are bytes in the order of LINK section 1, times Unix milliseconds.
"""

from __future__ import annotations

from msgspec import Struct

from meterseal.security.orders import Request


class PolicyRequest(Struct, frozen=True, kw_only=True):
    """What a module's next session grants: 0 plain only, 1 both, 2 cipher only, and a security profile by name. A policy
    below the one in force needs an officer (`LowerPolicy`).

    The profile is that which the module was personalised with and keeps; another one here mends the registry. Empty: as it
    stands.
    """

    device_id: bytes
    module_id: bytes
    policy: int
    profile: str = ""


class LowerPolicy(Request, frozen=True, kw_only=True, array_like=True):
    """Purpose `lower-policy` (role keys, one officer): grant a module a policy nearer to plain (1 both, 0 plain only)
    from its next session on.
    """

    device_id: bytes
    module_id: bytes
    policy: int


class WithdrawModules(Request, frozen=True, kw_only=True, array_like=True):
    """Purpose `withdraw-modules` (role enrol, two officers): these modules are out of service from now on, up to 5000; one
    that is already stays so, and one that nobody enrolled is named in what came of the order.
    """

    module_ids: tuple[bytes, ...]
    reason: str


class RenewRequest(Struct, frozen=True, kw_only=True):
    """Ask for a newer certificate for the module in service of a device."""

    device_id: bytes


class Renewal(Struct, frozen=True, kw_only=True):
    """The chain (leaf, CA; DER) that control CERT carries to the module."""

    device_id: bytes
    module_id: bytes
    chain: tuple[bytes, bytes]


class DueRequest(Struct, frozen=True, kw_only=True):
    """Which modules should be sent a newer certificate: those whose own ends within so many ms, or whose CA is not
    the newest.
    """

    within: int
    limit: int = 1000


class DueReply(Struct, frozen=True, kw_only=True):
    """The first of them, most urgent first, and how many there are."""

    device_ids: tuple[bytes, ...]
    ending: int
    under_old_ca: int


class ExpiringRequest(Struct, frozen=True, kw_only=True):
    """What ends within so many ms."""

    within: int


class Expiring(Struct, frozen=True, kw_only=True):
    """One certificate or list that ends soon. `kind`: root, root-list, platform-ca, device-ca, platform, device, tls.

    `cure` says what to do, or that the system does it by itself.
    """

    kind: str
    name: str
    serial: str
    until: int
    cure: str


class ExpiringReply(Struct, frozen=True, kw_only=True):
    """Soonest first; of devices at most 100 are listed, `devices` counts them all."""

    items: tuple[Expiring, ...]
    devices: int


class GoneRequest(Struct, frozen=True, kw_only=True):
    """Withdrawals after this sequence number; a head-end asks with the last one it has seen."""

    after: int
    limit: int = 1000


class GoneModule(Struct, frozen=True, kw_only=True):
    """A module that was taken out of service: its sessions are to be cut."""

    sequence: int
    device_id: bytes
    module_id: bytes
    at: int


class GoneReply(Struct, frozen=True, kw_only=True):
    """In their order."""

    modules: tuple[GoneModule, ...]


class AuthorityFacts(Struct, frozen=True, kw_only=True):
    """One version of a CA. `standing`: modules in service whose certificate it signed (device CA)."""

    purpose: str
    version: int
    serial: str
    until: int
    issues: bool
    standing: int


class AuthoritiesReply(Struct, frozen=True, kw_only=True):
    """Every version that is not closed; `to_move` counts modules under an older device CA than the newest."""

    authorities: tuple[AuthorityFacts, ...]
    to_move: int


class RevokePlatform(Request, frozen=True, kw_only=True, array_like=True):
    """Purpose `revoke-platform` (role ca): revoke the platform's own certificate and put a new one in its place."""


class UsesRequest(Struct, frozen=True, kw_only=True):
    """Uses since then (Unix ms), by the hour, or by the day (UTC)."""

    since: int
    by_day: bool = False


class Uses(Struct, frozen=True, kw_only=True):
    """How often one key was used in [since, until) (Unix ms)."""

    vault: str
    id: str
    version: int
    since: int
    until: int
    uses: int


class UsesReply(Struct, frozen=True, kw_only=True):
    """Counts, oldest first."""

    uses: tuple[Uses, ...]
