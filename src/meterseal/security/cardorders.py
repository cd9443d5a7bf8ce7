"""What is asked about a module's card commands: the orders of officers and the answers under them. No behaviour."""

from __future__ import annotations

from msgspec import Struct

from meterseal.security.messages import Secret
from meterseal.security.orders import Request, SignedOrder

CHECK, RIGHTS, LOCK, UNLOCK, DESTROY = "card-check", "card-rights", "card-lock", "card-unlock", "card-destroy"
NEEDED = {CHECK: 1, RIGHTS: 1, LOCK: 2, UNLOCK: 2, DESTROY: 2}
"""Purposes of a `CardOrder`, and how many officers with the role `keys` sign it: two for what changes a life."""


class CardOrder(Request, frozen=True, kw_only=True, array_like=True):
    """Answer to this one module for the purpose that is signed for; `reason` is what the audit log keeps."""

    device_id: bytes
    module_id: bytes
    reason: str


class CardAsk(Struct, frozen=True, kw_only=True):
    """An answer to EXTERNAL AUTHENTICATE, for the module's challenge (16 bytes).

    `key_version` is the one that the module says it stands on, 0 for the one that the registry knows.
    """

    order: SignedOrder
    device_id: bytes
    module_id: bytes
    challenge: bytes
    key_version: int = 0


class CardAnswer(Secret, frozen=True, kw_only=True):
    """The folded answer, 8 bytes."""

    answer: bytes


class CardCheck(CardAsk, frozen=True, kw_only=True):
    """What a module answered to INTERNAL AUTHENTICATE with this challenge of the host."""

    answer: bytes


class CardChecked(Struct, frozen=True, kw_only=True):
    """Whether it is the module that was enrolled."""

    genuine: bool


class CardMac(CardAsk, frozen=True, kw_only=True):
    """The MAC of UPDATE BINARY or PUT POLICY: the command's header 5 and its data."""

    header: bytes
    content: bytes


class CardSeal(CardAsk, Secret, frozen=True, kw_only=True):
    """Ciphertext and MAC of a new PIN or PUK (8 bytes as it travels), for the command's header 5."""

    header: bytes
    plain: bytes


class CardBytes(Secret, frozen=True, kw_only=True):
    """A MAC 4, or ciphertext ‖ MAC."""

    content: bytes
