"""Alarms out of what was refused and held, and what meters themselves raised: how often seals, counters, identities and
decryption failed (HM 8.4.3), how often a meter said that it was opened.

It counts what the audit trail and the quarantine hold and changes nothing; no count names a meter.
"""

from __future__ import annotations

import sqlalchemy as sa

from meterseal.control import read
from meterseal.control.tables import meters, quarantine, refusals
from meterseal.things.alarm import UNKNOWN, Count, alarm_of


def counts(engine: sa.Engine, since: int = 0) -> list[Count]:
    """Every code that was refused or held since then, most frequent first."""
    found: list[Count] = []
    with read(engine) as connection:
        for table, at, held in (
            (refusals, refusals.c.at, False),
            (quarantine, quarantine.c.received_at, True),
        ):
            query = (
                sa.select(table.c.code, sa.func.count(), sa.func.max(at))
                .where(at >= since, table.c.code != UNKNOWN)
                .group_by(table.c.code)
            )
            found += [
                Count(code=code, alarm=alarm_of(code), held=held, count=number, last_at=last)
                for code, number, last in connection.execute(query)
            ]
        enrolled = sa.select(meters.c.device_id).where(meters.c.until.is_(None))
        number, last = connection.execute(
            sa.select(sa.func.count(refusals.c.device_id.distinct()), sa.func.max(refusals.c.at)).where(
                refusals.c.at >= since, refusals.c.code == UNKNOWN, refusals.c.device_id.not_in(enrolled)
            )
        ).one()
        if number:
            found.append(Count(code=UNKNOWN, alarm=alarm_of(UNKNOWN), held=False, count=number, last_at=last))
    return sorted(found, key=lambda one: (-one.count, one.code))
