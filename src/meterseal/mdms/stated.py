"""Station MDMS, what operators stated of one kind, usage point by usage point, as it holds now.

It knows no kind and stores nothing (`facts` does).
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from meterseal.control.tables import point_facts as table
from meterseal.mdms.spans import Span, laid
from meterseal.mdms.store.rows import EVER


def spans_of(
    connection: sa.Connection,
    kind: str,
    usage_point: str | None = None,
    cut: Callable[[str, Span], Span] = lambda _, said: said,
) -> dict[str, list[Span]]:
    """Rising spans of all usage points, or of one, later rows over earlier ones. `cut` ends what was said of a usage point
    where something else ended it.
    """
    query = sa.select(table).where(table.c.kind == kind).order_by(table.c.id)
    if usage_point is not None:
        query = query.where(table.c.usage_point == usage_point)
    spans: dict[str, list[Span]] = {}
    for row in connection.execute(query):
        said = cut(row.usage_point, Span(row.since, EVER if row.until is None else row.until, row.value))
        spans[row.usage_point] = laid(spans.get(row.usage_point, []), said)
    return spans
