"""Opens the store of measurements in the platform: over its key ring, and who verifies evidence.

It decides nothing about readings; it hands `mdms` what only the composition root may fetch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import sqlalchemy as sa

from meterseal.control.sealing import KeyRing
from meterseal.crypto import certificates
from meterseal.errors import MetersealError, TrustError
from meterseal.link.evidence import check_signature
from meterseal.mdms.service import Mdms
from meterseal.mdms.verifier import SignedStatement
from meterseal.security.messages import EvidenceRequest
from meterseal.security.sdk import SecuritySdk

SUITE_CERTIFIED = 1


async def open_measurements(
    directory: Path, engine: sa.Engine, security: SecuritySdk, keys: KeyRing, clock: Callable[[], int]
) -> Mdms:
    """The running store of measurements; `keys` is its ring, which the caller opened."""
    mdms = Mdms.open(directory, engine, keys, Verifier(security), clock=clock)
    mdms.start()
    return mdms


class Verifier:
    """Checks meters' statements: suite 1 by the certificate on record, suite 2 by the security service.

    Which key belongs to a module is asked of the service once and remembered; a signature is checked off the
    event loop, because SM2 takes a quarter of a millisecond and head-ends are waiting for their commits.
    """

    def __init__(self, security: SecuritySdk) -> None:
        self._security = security
        self._points: dict[tuple[bytes, bytes], bytes | None] = {}

    async def verify(self, statements: Sequence[SignedStatement]) -> Sequence[bool]:
        """Does each signature hold? EngineError when the service is away."""
        certified = [item for item in statements if item.suite == SUITE_CERTIFIED]
        symmetric = [item for item in statements if item.suite != SUITE_CERTIFIED]
        points = [await self._point(item.device_id, item.module_id) for item in certified]
        held = await asyncio.to_thread(_check, certified, points)
        held += await self._macs(symmetric)
        verdicts = dict(zip(map(id, [*certified, *symmetric]), held, strict=True))
        return [verdicts[id(item)] for item in statements]

    async def _point(self, device_id: bytes, module_id: bytes) -> bytes | None:
        key = (device_id, module_id)
        if key not in self._points:
            try:
                facts = await self._security.device_facts(device_id, module_id)
            except TrustError:
                self._points[key] = None  # nobody enrolled such a module: no signature of it holds
            else:
                self._points[key] = certificates.parse(facts.chain[0]).point if facts.chain else None
        return self._points[key]

    async def _macs(self, items: list[SignedStatement]) -> list[bool]:
        held: list[bool] = []
        for start in range(0, len(items), 1000):
            requests = []
            for item in items[start : start + 1000]:
                version = await self._version(item.device_id, item.module_id)
                requests.append(
                    EvidenceRequest(
                        device_id=item.device_id,
                        module_id=item.module_id,
                        key_version=version,
                        statement=item.statement,
                        mac=item.signature,
                    )
                )
            good = iter(
                await self._security.check_evidence_batch([one for one in requests if one.key_version])
            )
            held += [bool(one.key_version) and next(good) for one in requests]
        return held

    async def _version(self, device_id: bytes, module_id: bytes) -> int:
        """The module's key version; 0 when nobody enrolled it, and then no mac of it holds."""
        try:
            return (await self._security.device_facts(device_id, module_id)).key_version
        except TrustError:
            return 0


def _check(items: list[SignedStatement], points: list[bytes | None]) -> list[bool]:
    held = []
    for item, point in zip(items, points, strict=True):
        try:
            held.append(point is not None and check_signature(point, item.statement, item.signature))
        except MetersealError:
            held.append(False)
    return held
