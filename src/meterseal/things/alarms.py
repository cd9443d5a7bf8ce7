"""Alarms out of what was refused and held, and what meters themselves raised: how often seals, counters, identities and
decryption failed (HM 8.4.3), how often a meter said that it was opened.

It counts what the audit trail and the quarantine hold and changes nothing; no count names a meter.
"""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa
from msgspec import Struct

from meterseal.control import read
from meterseal.control.tables import meters, quarantine, refusals

Alarm = Literal[
    "integrity", "counter", "decryption", "identity", "policy", "content", "load", "tamper", "meter", "other"
]

UNKNOWN = "meter.unknown"
"""A meter that a concentrator found: an alarm of as many as are not enrolled now."""

KINDS: dict[str, Alarm] = {
    "control.row-changed": "integrity",
    "security.put-back": "integrity",
    "link.tag": "integrity",
    "link.fin": "integrity",
    "link.signature": "integrity",
    "link.hello-mac": "integrity",
    "link.replay": "counter",
    "link.counter": "counter",
    "link.counter-ranges": "counter",
    "link.order": "counter",
    "link.no-run": "counter",
    "link.time-out": "counter",
    "link.padding": "decryption",
    "link.module-copied": "identity",
    "link.withdrawn": "identity",
    "link.unknown-module": "identity",
    "link.identity": "identity",
    "link.project": "identity",
    "link.point": "identity",
    "link.chain": "identity",
    "link.envelope": "identity",
    "link.address": "identity",
    "link.session": "identity",
    "link.vouching": "identity",
    "link.key-version": "identity",
    "link.suite": "policy",
    "link.policy": "policy",
    "link.direction": "policy",
    "link.flags": "policy",
    "link.rate": "load",
    "meter.removed": "tamper",
    "meter.magnet": "tamper",
    "meter.fault": "meter",
    "meter.reverse": "meter",
    "meter.valve": "meter",
    "meter.battery": "meter",
    "meter.power": "meter",
    "meter.clock": "meter",
    "meter.too-many": "load",
    UNKNOWN: "meter",
}
"""Which alarm a code belongs to; codes of frames (`wire.*`) and of shapes are `content`."""


class Count(Struct, frozen=True, kw_only=True):
    """How often one code was seen, and when last (Unix ms). `held`: it lies in quarantine, under a good seal."""

    code: str
    alarm: Alarm
    held: bool
    count: int
    last_at: int


def alarm_of(code: str) -> Alarm:
    """The alarm that a code of a refusal belongs to."""
    known = KINDS.get(code)
    if known is not None:
        return known
    return "content" if code.startswith(("wire.", "link.length", "link.header", "mdms.")) else "other"


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
