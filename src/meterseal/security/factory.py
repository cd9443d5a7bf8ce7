"""Production: a signed manifest opened once, its chunks enrolled one by one, each whole or not at all.

It reads no file and checks no signature: `manifest` and `officers` do.

A chunk's modules, their certificates and the note that the chunk is done are one transaction. Whoever was cut off asks
for the chunk again: what was enrolled comes back with the same certificates and fresh envelopes, what was not is
enrolled now; no serial is ever issued twice and no module gets two certificates.
"""

from __future__ import annotations

import sqlite3

import msgspec

from meterseal.crypto.symmetric import equal
from meterseal.errors import LocalError, MetersealError, TrustError
from meterseal.security.manifest import (
    CHUNK,
    MOST_CHUNKS,
    ProduceReply,
    ProduceRequest,
    ProductionOrder,
    ProductionState,
    Row,
    RowRefusal,
    digest,
)
from meterseal.security.messages import PersonaliseRequest
from meterseal.security.personalise import Personaliser
from meterseal.security.registry import Registry

_DIGEST = 32


class Factory:
    """The productions of one system."""

    def __init__(self, registry: Registry, personaliser: Personaliser) -> None:
        self._registry = registry
        self._personaliser = personaliser

    def open(self, order: ProductionOrder, officers: tuple[str, ...], now: int) -> None:
        """Write a signed order down; LocalError `security.production` when it does not fit together."""
        expected = -(-order.rows // CHUNK)
        if not 0 < expected <= MOST_CHUNKS or len(order.digests) != expected:
            raise LocalError(
                "security.production",
                f"{order.rows} rows make {expected} chunks of {CHUNK}, at most {MOST_CHUNKS}; this order lists "
                f"{len(order.digests)}. Make it anew.",
            )
        if any(len(one) != _DIGEST for one in order.digests):
            raise LocalError("security.production", "A chunk's digest has 32 bytes; make the order anew.")
        with self._registry.store.transaction() as connection:
            connection.execute(
                "INSERT INTO production VALUES (?, ?, ?, ?, ?, ?)",
                (
                    order.request_id,
                    order.batch,
                    now,
                    ",".join(officers),
                    order.rows,
                    b"".join(order.digests),
                ),
            )

    def state(self, request_id: bytes) -> ProductionState:
        """How far a production is; LocalError `security.no-production`."""
        batch, opened_at, officers, rows, digests = self._opened(request_id)
        done = self._registry.store.rows(
            "SELECT chunk FROM production_chunk WHERE request_id = ? ORDER BY chunk", request_id
        )
        return ProductionState(
            batch=batch,
            rows=rows,
            chunks=len(digests) // _DIGEST,
            done=tuple(chunk for (chunk,) in done),
            opened_at=opened_at,
            officers=tuple(officers.split(",")),
        )

    async def produce(self, request: ProduceRequest, now: int) -> ProduceReply:
        """Enrol one chunk, or say of each row that is refused why, and enrol none.

        LocalError `security.no-production`; TrustError `security.manifest` for rows that were not signed.
        """
        _, _, officers, _, digests = self._opened(request.request_id)
        two = len(officers.split(",")) > 1
        start = request.chunk * _DIGEST
        signed = digests[start : start + _DIGEST] if request.chunk >= 0 else b""
        if not request.rows or len(request.rows) > CHUNK or not equal(digest(request.rows), signed):
            raise TrustError(
                "security.manifest",
                f"Chunk {request.chunk} is not the one that the maker's officer signed; nothing was enrolled.",
            )
        asked = [_asked(row) for row in request.rows]
        refused = self._refused(asked, request.chunk, signed=two)
        if refused:
            return ProduceReply(refused=refused)

        def done(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR IGNORE INTO production_chunk VALUES (?, ?, ?)",
                (request.request_id, request.chunk, now),
            )

        return ProduceReply(answers=tuple(await self._personaliser.personalise(asked, now, done, signed=two)))

    def _refused(
        self, asked: list[PersonaliseRequest], chunk: int, *, signed: bool
    ) -> tuple[RowRefusal, ...]:
        refused = []
        modules: set[bytes] = set()
        devices: set[bytes] = set()
        for number, one in enumerate(asked, chunk * CHUNK + 1):
            try:
                if one.module_id in modules or one.device_id in devices:
                    raise LocalError(
                        "security.request",
                        f"Module {one.module_id.hex()} or its device stands twice in the chunk.",
                    )
                self._personaliser.known(one, signed=signed)
            except MetersealError as error:
                refused.append(RowRefusal(row=number, code=error.code, sentence=error.message))
            modules.add(one.module_id)
            devices.add(one.device_id)
        return tuple(refused)

    def _opened(self, request_id: bytes) -> tuple[str, int, str, int, bytes]:
        rows = self._registry.store.rows(
            "SELECT batch, opened_at, officers, rows, CAST(digests AS BLOB) FROM production WHERE request_id = ?",
            request_id,
        )
        if not rows:
            raise LocalError(
                "security.no-production",
                "No production of this order is open; submit the signed order first.",
            )
        return msgspec.convert(rows[0], tuple[str, int, str, int, bytes])


def _asked(row: Row) -> PersonaliseRequest:
    return PersonaliseRequest(
        device_id=row.device_id, module_id=row.module_id, suite=row.suite, module_point=row.point
    )
