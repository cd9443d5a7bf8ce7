"""What is said about the anchor of the platform's audit trail. No behaviour."""

from __future__ import annotations

from msgspec import Struct

from meterseal.security.orders import Request

HASH = 32


class TrailAnchor(Struct, frozen=True, kw_only=True):
    """Rows of the platform's trail, hash of the last one (32 bytes), when it was said (Unix ms); no rows: none yet."""

    rows: int = 0
    head: bytes = bytes(HASH)
    at: int = 0


class AnchorTrail(Struct, frozen=True, kw_only=True):
    """What the platform's trail has come to."""

    rows: int
    head: bytes


class TrailReset(Request, frozen=True, kw_only=True, array_like=True):
    """Purpose `trail-reset`: forget the anchor, because the platform's trail was brought back from a backup."""

    reason: str
