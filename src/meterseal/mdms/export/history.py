"""Station MDMS, the multipliers of all time as a table: what readings that left long ago are multiplied by now.

It says nothing of readings (`series` does) and reads nothing back. A row holds for since < end_at <= until: of intervals
that end then, of every channel of electricity and of channel 1 of other media. Time that no row has is multiplied by 1.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from io import StringIO

from msgspec import Struct

from meterseal.mdms.export.text import word
from meterseal.mdms.multipliers import Stated
from meterseal.mdms.store.rows import EVER

HEADER = ("usage_point", "since", "until", "multiplier")


class Held(Struct, frozen=True, kw_only=True):
    """A multiplier of since < end_at <= until, an exact decimal number; empty where nobody knows it (`multipliers`)."""

    usage_point: str
    since: int
    until: int
    multiplier: str


def held(stated: Mapping[str, Stated]) -> Iterator[Held]:
    """All that are not 1, by usage point and rising."""
    for point, of in sorted(stated.items()):
        spans = [(one.since, one.until, f"{one.factor:f}") for one in of.factors]
        spans += [(one.since, one.until, "") for one in of.unsaid]
        for since, until, multiplier in sorted(spans):
            yield Held(usage_point=point, since=since, until=until, multiplier=multiplier)


def as_csv(rows: Iterator[Held] | tuple[Held, ...]) -> bytes:
    """A header and a line for each, instants in UTC to the millisecond, an open end empty."""
    lines = StringIO(newline="")
    writer = csv.writer(lines)
    writer.writerow(HEADER)
    for one in rows:
        writer.writerow((word(one.usage_point), _at(one.since), _at(one.until), one.multiplier))
    return lines.getvalue().encode()


def _at(instant: int) -> str:
    if not 0 < instant < EVER:
        return ""
    return datetime.fromtimestamp(instant / 1000, UTC).isoformat(timespec="milliseconds")
