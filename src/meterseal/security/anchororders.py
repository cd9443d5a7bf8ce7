"""What is said about the anchors of the platform's trails. No behaviour."""

from __future__ import annotations

from msgspec import Struct

from meterseal.security.orders import Request

HASH = 32
REFUSALS, ROWS = "", "rows"
TRAILS = (REFUSALS, ROWS)
"""Refused messages, whose anchor had no name when it was the only one, and the rows that the platform wrote (ADR 0047)."""


class TrailAnchor(Struct, frozen=True, kw_only=True):
    """Rows of the platform's trail, hash of the last one (32 bytes), when it was said (Unix ms); no rows: none yet."""

    rows: int = 0
    head: bytes = bytes(HASH)
    at: int = 0


class AnchorTrail(Struct, frozen=True, kw_only=True):
    """What one of the platform's trails has come to."""

    rows: int
    head: bytes
    trail: str = REFUSALS


class AskAnchor(Struct, frozen=True, kw_only=True):
    """Ask for the anchor of a trail."""

    trail: str = REFUSALS


class TrailReset(Request, frozen=True, kw_only=True, array_like=True):
    """Purpose `trail-reset`: forget the anchors, because the platform's trails were brought back from a backup."""

    reason: str
