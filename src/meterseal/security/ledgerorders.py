"""What is said about checkpoints of the ledger. No behaviour."""

from __future__ import annotations

from msgspec import Struct

from meterseal.security.checkpoints import LedgerKey
from meterseal.security.orders import Request


class SignCheckpoint(Struct, frozen=True, kw_only=True):
    """Sign what a ledger has come to. `proof` says that it only grew since the newest checkpoint, that of the service
    or, where the service was put back to an older copy, `newest`."""

    store_id: str
    size: int
    root: bytes
    begins: int
    proof: tuple[bytes, ...]
    newest: str = ""


class LedgerHead(Struct, frozen=True, kw_only=True):
    """The newest checkpoint that was signed ("" when none was), every version of the key, and the root (DER)."""

    note: str
    keys: tuple[LedgerKey, ...]
    root: bytes
    reset: bool = False
    """Two officers let the next one begin again from an older state."""


class LedgerReset(Request, frozen=True, kw_only=True, array_like=True):
    """Purpose `ledger-reset`: sign a tree that does not follow from the last one, because the platform's store was
    brought back from a backup."""

    reason: str
