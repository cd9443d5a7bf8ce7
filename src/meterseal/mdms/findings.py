"""Station MDMS, findings: what ingest and the rules noticed, appended and never overwritten.

It judges nothing. The same finding has the same digest, so finding it again adds no row.

`detail` holds parameters and counts in clear; registers, where a finding is about them, are sealed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from meterseal.control.engine import read, write
from meterseal.control.tables import findings
from meterseal.control.writes import insert_new
from meterseal.mdms.finding import Finding
from meterseal.mdms.store.sealing import KeyRing, place


class Findings:
    """The findings table of one store."""

    def __init__(self, engine: sa.Engine, keys: KeyRing, store_id: str) -> None:
        self._engine = engine
        self._keys = keys
        self._store_id = store_id

    def append(self, found: Sequence[Finding]) -> int:
        """Store the findings that are new, in one transaction; returns how many were."""
        if not found:
            return 0
        rows = [self._row(finding) for finding in found]
        with write(self._engine) as connection:
            return insert_new(connection, findings, rows)

    def latest(self, limit: int = 100, usage_point: str | None = None) -> list[Finding]:
        """Newest findings first, of one usage point or of all."""
        query = sa.select(findings).order_by(findings.c.id.desc()).limit(limit)
        if usage_point is not None:
            query = query.where(findings.c.usage_point == usage_point)
        with read(self._engine) as connection:
            return [self._finding(row) for row in connection.execute(query).all()]

    def _row(self, finding: Finding) -> dict[str, Any]:
        digest = self._keys.mark(finding.content)
        row = msgspec.structs.asdict(finding) | {
            "digest": digest,
            "sealed_values": None,
            "key_version": None,
        }
        values = row.pop("values")
        if values is not None:
            row["sealed_values"] = self._keys.seal(values, self._place(digest))
            row["key_version"] = self._keys.version
        return row

    def _finding(self, row: sa.Row[Any]) -> Finding:
        values = None
        if row.sealed_values is not None:
            values = self._keys.open(row.sealed_values, self._place(row.digest), row.key_version)
        names = [name for name in Finding.__struct_fields__ if name != "values"]
        return Finding(**{name: getattr(row, name) for name in names}, values=values)

    def _place(self, digest: bytes) -> bytes:
        return place(self._store_id, "finding", digest)
