"""What anybody may ask about the ledger without signing in: its newest checkpoint, who signs, and proofs by number.

No behaviour. Nothing in an answer says whose a leaf is or what it holds: hashes under secret salts.
"""

from __future__ import annotations

from msgspec import Struct


class LedgerCheckpoint(Struct, frozen=True):
    """The newest checkpoint that was signed, with the keys that may have signed any."""


class LedgerInclusion(Struct, frozen=True, kw_only=True):
    """Prove leaf `leaf` in the tree of `size` leaves; 0 is the size of the newest checkpoint."""

    leaf: int
    size: int = 0


class LedgerConsistency(Struct, frozen=True, kw_only=True):
    """Prove that the tree of `old` leaves is the beginning of that of `new`; 0 as above."""

    old: int
    new: int = 0


class Published(Struct, frozen=True, kw_only=True):
    """The answer as it is published: JSON, and for a checkpoint the note beside it ("" before there is one)."""

    json: str
    note: str = ""
