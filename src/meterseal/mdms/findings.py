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
from meterseal.control.sealed import FINDINGS
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import findings
from meterseal.control.writes import insert_new
from meterseal.crypto.handles import SymmetricKey
from meterseal.mdms.finding import Finding

RUN = "vee-"
"""Before the time of a run of the rules, in the name of what found something."""


class Findings:
    """The findings table of one store."""

    def __init__(self, engine: sa.Engine, keys: KeyRing, mark: SymmetricKey) -> None:
        self._engine = engine
        self._keys = keys
        self._mark = mark

    def append(self, found: Sequence[Finding]) -> int:
        """Store the findings that are new, in one transaction; returns how many were."""
        if not found:
            return 0
        with write(self._engine) as connection:
            return insert_new(connection, findings, [self._row(finding) for finding in found])

    def latest(
        self,
        limit: int = 100,
        usage_point: str | None = None,
        period: tuple[int, int] | None = None,
        as_of: int | None = None,
    ) -> list[Finding]:
        """Newest findings first, of one usage point or of all; of a period those that reach into since < t < until; with
        `as_of` as the last run of the rules that found something by then left them.
        """
        query = sa.select(findings).order_by(findings.c.id.desc()).limit(limit)
        if as_of is not None:
            run = findings.c.run
            first, newest = (f"{RUN}{at:013d}" for at in (0, as_of))  # Unix ms have 13 digits till 2286
            runs = sa.and_(run >= first, run <= newest)
            last = sa.select(sa.func.coalesce(sa.func.max(findings.c.id), 0)).where(runs)
            query = query.where(findings.c.id <= last.scalar_subquery())
        if usage_point is not None:
            query = query.where(findings.c.usage_point == usage_point)
        if period is not None:
            query = query.where(findings.c.since < period[1], findings.c.until > period[0])
        with read(self._engine) as connection:
            return [self._finding(row) for row in connection.execute(query).all()]

    def begun_before(self, found: Sequence[Finding]) -> set[int]:
        """Those (`id`) before whose beginning the same rule had found something of their channel already."""
        with read(self._engine) as connection:
            return {
                id(one)
                for one in found
                if connection.execute(
                    sa.select(findings.c.id)
                    .where(
                        findings.c.usage_point == one.usage_point,
                        findings.c.channel == one.channel,
                        findings.c.since < one.since,
                        findings.c.rule == one.rule,
                    )
                    .limit(1)
                ).first()
            }

    def _row(self, finding: Finding) -> dict[str, Any]:
        row = msgspec.structs.asdict(finding)
        row["sealed_values"] = row.pop("values")
        # Keyed, because a plain hash would tell a register: it has eight digits.
        row["digest"] = self._mark.mac(b"meterseal mark\0", finding.content)
        return FINDINGS.seal(self._keys, row)

    def _finding(self, row: sa.Row[Any]) -> Finding:
        names = [name for name in Finding.__struct_fields__ if name != "values"]
        return Finding(**{name: getattr(row, name) for name in names}, values=FINDINGS.open(self._keys, row))
