"""Station link, identities: ids of LINK section 1, and the two questions that a handshake asks about a chain.

It holds no trust of its own: roots, bounds, times and revocation lists are arguments.
"""

from __future__ import annotations

from collections.abc import Sequence

from meterseal.crypto import certificates
from meterseal.crypto.certificates import PLATFORM_LIFETIME, Certificate
from meterseal.errors import TrustError

CONCENTRATOR = b"\xf0"
"""First byte of a concentrator's device_id."""


def is_concentrator(device_id: bytes) -> bool:
    """Whether this id is a concentrator's, whose module speaks of others than itself."""
    return device_id[:1] == CONCENTRATOR


def check_platform_chain(
    chain: Sequence[bytes],
    *,
    root: bytes,
    project_id: bytes,
    bound: int,
    longest: int | None = PLATFORM_LIFETIME,
) -> Certificate:
    """The platform's leaf, if its chain holds for this project and ended not before the device's bound of
    time.

    `bound` is Unix ms; notBefore is compared with nothing (LINK section 1). Raises TrustError `link.chain`
    (with the reason as fact `cause`) or `link.project`.
    """
    try:
        leaf = certificates.verify_chain(
            chain, root=root, purpose="platform", at=bound, ended_only=True, longest=longest
        )
    except TrustError as error:
        raise TrustError("link.chain", error.message, cause=error.code) from None
    if leaf.identity("project") != project_id:
        raise TrustError("link.project", "The platform's certificate is for another project; it is refused.")
    return leaf


def check_device_chain(
    chain: Sequence[bytes],
    *,
    root: bytes,
    device_id: bytes,
    module_id: bytes,
    at: int,
    crls: Sequence[bytes] | None,
) -> Certificate:
    """The device's leaf, if its chain holds at `at` (Unix ms), is not revoked and names this device and
    module.

    Raises TrustError `link.chain` (with the reason as fact `cause`) or `link.identity`.
    """
    try:
        leaf = certificates.verify_chain(chain, root=root, purpose="device", at=at, crls=crls)
    except TrustError as error:
        raise TrustError("link.chain", error.message, cause=error.code) from None
    if (leaf.identity("device"), leaf.identity("module")) != (device_id, module_id):
        raise TrustError(
            "link.identity", "The certificate names another device or module than the HELLO did."
        )
    return leaf


def check_renewed_chain(
    chain: Sequence[bytes],
    *,
    root: bytes,
    device_id: bytes,
    module_id: bytes,
    point: bytes,
    until: int,
    bound: int,
) -> Certificate:
    """The leaf of a chain that may take the place of a module's own (control CERT, ADR 0011).

    It must hold under the module's `root` and not have ended at its `bound` of time, name this device and
    module, carry the module's own public `point` (65 bytes) and end after the present leaf's `until` (Unix
    ms). Raises TrustError `link.chain` (with the reason as fact `cause`), `link.identity`, `link.point` or
    `link.renewal`.
    """
    try:
        leaf = certificates.verify_chain(chain, root=root, purpose="device", at=bound, ended_only=True)
    except TrustError as error:
        raise TrustError("link.chain", error.message, cause=error.code) from None
    if (leaf.identity("device"), leaf.identity("module")) != (device_id, module_id):
        raise TrustError("link.identity", "The renewed certificate names another device or module; refused.")
    if leaf.point != point:
        raise TrustError(
            "link.point", "The renewed certificate is for another key than this module's; refused."
        )
    if leaf.until <= until:
        raise TrustError(
            "link.renewal", "The renewed certificate ends no later than the present one; refused."
        )
    return leaf
