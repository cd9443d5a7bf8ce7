"""Station MDMS, verifier: the port through which MDMS asks whether a meter's signature holds.

It knows no key and follows no chain (`evidence` does).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from meterseal.mdms.state import Pending


class SignedStatement(Struct, frozen=True):
    """One statement to verify. `signature` is r || s (64 bytes, suite 1) or an HMAC-SM3 (32 bytes, suite
    2)."""

    device_id: bytes
    module_id: bytes
    suite: int
    statement: bytes
    signature: bytes


class EvidenceVerifier(Protocol):
    """Who knows the meters' public keys, and for suite 2 the security service."""

    async def verify(self, statements: Sequence[SignedStatement]) -> Sequence[bool]:
        """Does each signature hold? EngineError when nobody can say now."""


def signed_statement(item: Pending) -> SignedStatement:
    """What a verifier is asked about a piece of evidence."""
    return SignedStatement(item.statement.device_id, item.module_id, item.suite, item.raw, item.signature)


def each(verify: Callable[[bytes, bytes, bytes, int], bool]) -> EvidenceVerifier:
    """A verifier out of verify(device_id, statement, signature, suite), called in a worker thread."""
    return _Each(verify)


class _Each:
    def __init__(self, verify: Callable[[bytes, bytes, bytes, int], bool]) -> None:
        self._verify = verify

    async def verify(self, statements: Sequence[SignedStatement]) -> Sequence[bool]:
        return await asyncio.to_thread(self._all, statements)

    def _all(self, statements: Sequence[SignedStatement]) -> list[bool]:
        return [self._verify(one.device_id, one.statement, one.signature, one.suite) for one in statements]
