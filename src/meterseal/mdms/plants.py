"""Station MDMS, plants: of which usage points of electricity it is stated that a generator feeds in there, and how large.

It judges no reading and prices nothing. Without one stated what a meter says it fed in is a finding, and nobody is paid
for it.
"""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from meterseal.mdms.spans import Span
from meterseal.mdms.stated import spans_of

KIND = "plant"


class Fed(NamedTuple):
    """since <= t < until, in which a plant is stated, whatever its size."""

    since: int
    until: int


def stated(connection: sa.Connection, usage_point: str | None = None) -> dict[str, tuple[Fed, ...]]:
    """When a plant is stated of all usage points, or of one, that ever had one."""
    spans = spans_of(connection, KIND, usage_point)
    return {point: together(of) for point, of in spans.items() if of}


def together(spans: list[Span]) -> tuple[Fed, ...]:
    """Rising spans of any size, those that meet made one."""
    found: list[Fed] = []
    for span in spans:
        if found and found[-1].until == span.since:
            found[-1] = Fed(found[-1].since, span.until)
        else:
            found.append(Fed(span.since, span.until))
    return tuple(found)
