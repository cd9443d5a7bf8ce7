"""What operators are shown of the fleet: reads over assets, audit trail, findings and the newest readings.

It changes nothing and knows no customer; usage points are pseudonyms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from meterseal.control.engine import read
from meterseal.control.sealed import CONCENTRATORS, METERS
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import (
    concentrators,
    findings,
    meters,
    quarantine,
    refusals,
    usage_points,
)
from meterseal.mdms.reconciliation import Reconciled
from meterseal.model import MAIN, MEDIA, Medium
from meterseal.people.fleet_messages import (
    Account,
    Counts,
    EvidenceRow,
    Finding,
    InstalledMeter,
    LateMeter,
    MediumFreshness,
    MeterRow,
    OperatorExceptionsPage,
    OperatorHomePage,
    OperatorMeterPage,
    OperatorMetersPage,
    OperatorReconciliationPage,
    OperatorRefusalsPage,
    QuarantineEntry,
    RefusalCount,
    RefusalEntry,
)
from meterseal.people.ports import FleetReadings, StoredCounts
from meterseal.people.rows import facts_of, reading_rows
from meterseal.people.scope import not_found
from meterseal.people.trail import TrailState
from meterseal.utility.bills import FleetBills

HOUR = 3_600_000
DAY = 24 * HOUR
FRESH_WITHIN = 30 * HOUR
"""Meters deliver once a day, after midnight; six hours are allowed for that."""
MOST_LATE = 20
_ID = 8
"""Bytes of a device id."""
MOST_ROWS = 200


class Fleet:
    """Reads for operators; `engine` is the control store, `readings` the store of measurements, `keys` opens
    what the fleet's rows have sealed.
    """

    def __init__(self, engine: sa.Engine, readings: FleetReadings, keys: KeyRing) -> None:
        self._engine = engine
        self._readings = readings
        self._keys = keys

    def home(self, now: int, bills: FleetBills, trail: TrailState) -> OperatorHomePage:
        """Freshness per medium, the meters that are late, and what was counted."""
        latest = self._readings.latest()
        with read(self._engine) as db:
            rows = db.execute(_installed()).all()
            counts = _counts(db, now, self._readings.counts())
        media = tuple(
            found for medium in MEDIA if (found := _freshness(medium, rows, latest, now)) is not None
        )
        late = sorted(
            (row for row in rows if not _fresh(latest.get(row.usage_point_id), now)),
            key=lambda row: (latest.get(row.usage_point_id, 0), row.usage_point_id),
        )
        shown = tuple(
            LateMeter(
                row.usage_point_id,
                row.device_id,
                row.medium,
                latest.get(row.usage_point_id),
                self._concentrator(row),
            )
            for row in late[:MOST_LATE]
        )
        return OperatorHomePage(now, FRESH_WITHIN, media, shown, len(late), counts, bills, trail)

    def meters(self, now: int, medium: Medium | None, after: str, limit: int) -> OperatorMetersPage:
        """One page of meters in the order of usage points."""
        latest = self._readings.latest()
        chosen = _installed() if medium is None else _installed().where(usage_points.c.medium == medium)
        limit = max(1, min(limit, MOST_ROWS))
        with read(self._engine) as db:
            total = db.scalar(sa.select(sa.func.count()).select_from(chosen.subquery())) or 0
            page = (
                chosen.where(meters.c.usage_point_id > after)
                .order_by(meters.c.usage_point_id)
                .limit(limit + 1)
            )
            rows = db.execute(page).all()
        shown = tuple(
            MeterRow(
                row.usage_point_id,
                row.device_id,
                row.medium,
                row.protocol,
                row.plain,
                row.suite,
                latest.get(row.usage_point_id),
                _fresh(latest.get(row.usage_point_id), now),
            )
            for row in rows[:limit]
        )
        return OperatorMetersPage(now, total, shown, shown[-1].usage_point if len(rows) > limit else "")

    def refusals(self, before: int, limit: int, code: str, trail: TrailState) -> OperatorRefusalsPage:
        """One page of the audit trail, newest first; `trail` says whether it holds."""
        limit = max(1, min(limit, MOST_ROWS))
        installed = (
            sa.select(meters.c.device_id, meters.c.usage_point_id).where(meters.c.until.is_(None)).subquery()
        )
        query = (
            sa.select(refusals, installed.c.usage_point_id)
            .outerjoin(installed, installed.c.device_id == refusals.c.device_id)
            .order_by(refusals.c.id.desc())
            .limit(limit + 1)
        )
        if before:
            query = query.where(refusals.c.id < before)
        if code:
            query = query.where(refusals.c.code == code)
        counting = sa.select(refusals.c.code, sa.func.count().label("count")).group_by(refusals.c.code)
        with read(self._engine) as db:
            rows = db.execute(query).all()
            codes = tuple(RefusalCount(*row) for row in db.execute(counting.order_by(sa.desc("count"))))
        entries = tuple(
            RefusalEntry(
                row.id,
                row.at,
                row.code,
                row.sentence,
                row.device_id,
                row.session_id,
                row.counter,
                row.source,
                row.usage_point_id or "",
                row.hash,
            )
            for row in rows[:limit]
        )
        total = sum(found.count for found in codes)
        following = entries[-1].id if len(rows) > limit else 0
        return OperatorRefusalsPage(total, codes, entries, following, trail)

    def exceptions(self, before: int, limit: int, bills: FleetBills) -> OperatorExceptionsPage:
        """The findings made last, of them the latest hours first, with held bills and quarantined records."""
        limit = max(1, min(limit, MOST_ROWS))
        query = (
            sa.select(findings, usage_points.c.medium)
            .join(usage_points, usage_points.c.id == findings.c.usage_point)
            .order_by(findings.c.id.desc())
            .limit(limit + 1)
        )
        if before:
            query = query.where(findings.c.id < before)
        kept = quarantine.c
        newest = (
            sa.select(kept.id, kept.received_at, kept.device_id, kept.reject_class, kept.code)
            .order_by(quarantine.c.id.desc())
            .limit(MOST_ROWS)
        )
        with read(self._engine) as db:
            rows = db.execute(query).all()
            total = db.scalar(sa.select(sa.func.count()).select_from(findings)) or 0
            held = db.execute(newest).all()
        shown = tuple(
            Finding(
                row.id,
                row.usage_point,
                row.medium,
                row.channel,
                row.since,
                row.until,
                row.rule,
                row.version,
                row.severity,
                facts_of(row.detail),
            )
            for row in sorted(rows[:limit], key=lambda row: (row.since, row.id), reverse=True)
        )
        entries = tuple(
            QuarantineEntry(row.id, row.received_at, row.device_id, row.reject_class, row.code)
            for row in held
        )
        return OperatorExceptionsPage(
            total, shown, bills, entries, rows[limit - 1].id if len(rows) > limit else 0
        )

    def meter(
        self, usage_point: str, now: int, until: int, length: int, as_of: int | None = None
    ) -> OperatorMeterPage:
        """One usage point; `until` 0 means the end of the newest readings; with `as_of` also as it stood then.

        ConsentError `people.not-found`.
        """
        with read(self._engine) as db:
            medium = db.scalar(sa.select(usage_points.c.medium).where(usage_points.c.id == usage_point))
            rows = db.execute(_history(usage_point)).all()
        if medium is None:
            raise not_found()
        latest = self._readings.latest().get(usage_point)
        until = until or latest or now
        columns = self._readings.registers(usage_point, MAIN, until - length, until)
        then = columns  # what is to come is as it is now
        if as_of is not None and as_of < now:
            then = self._readings.registers(usage_point, MAIN, until - length, until, as_of)
        evidence = self._readings.evidence_between(usage_point, MAIN, until - length, until)
        return OperatorMeterPage(
            now=now,
            usage_point=usage_point,
            medium=medium,
            unit=columns.unit,
            exponent=columns.exponent,
            since=until - length,
            until=until,
            latest_at=latest,
            fresh=_fresh(latest, now),
            meters=tuple(self._meter(row) for row in rows),
            readings=reading_rows(columns),
            then=() if as_of is None else reading_rows(then),
            then_exponent=then.exponent,
            as_of=as_of or 0,
            evidence=tuple(
                EvidenceRow(
                    e.device_id, e.end_at, e.register, e.exponent, e.sequence, e.suite, e.checked, e.reason
                )
                for e in evidence
            ),
        )

    def _concentrator(self, row: sa.Row[Any]) -> str:
        """The name of the concentrator that a meter hangs on, opened; empty when it hangs on none."""
        if row.master is None:
            return ""
        sealed = {"device_id": row.master, "sealed_name": row.sealed_name, "key_version": row.name_version}
        return (CONCENTRATORS.open(self._keys, sealed) or b"").decode()

    def reconciliation(self, concentrator: str) -> OperatorReconciliationPage:
        """What became of every delivered reading; the hours of one concentrator, or of all together."""
        lines = self._readings.reconciled()
        names = self._names({line.concentrator for line in lines})
        sources: dict[tuple[str, str], list[Reconciled]] = {}
        hours: dict[int, list[Reconciled]] = {}
        for line in lines:
            sources.setdefault((line.way, line.concentrator), []).append(line)
            if concentrator in ("", line.concentrator):
                hours.setdefault(line.hour_at, []).append(line)
        return OperatorReconciliationPage(
            total=_account(lines),
            unaccounted=sum(_account([line]).missing for line in lines),
            sources=tuple(
                msgspec.structs.replace(_account(found), way=way, concentrator=who, name=names.get(who, ""))
                for (way, who), found in sorted(sources.items())
            ),
            hours=tuple(
                msgspec.structs.replace(_account(found), hour_at=hour)
                for hour, found in sorted(hours.items(), reverse=True)
            ),
        )

    def _names(self, ids: Iterable[str]) -> dict[str, str]:
        wanted = [bytes.fromhex(one) for one in ids if len(one) == 2 * _ID]
        with read(self._engine) as db:
            rows = db.execute(sa.select(concentrators).where(concentrators.c.device_id.in_(wanted))).all()
        return {row.device_id.hex(): (CONCENTRATORS.open(self._keys, row) or b"").decode() for row in rows}

    def _meter(self, row: sa.Row[Any]) -> InstalledMeter:
        parameters = METERS.open(self._keys, row)
        profile, _riser = msgspec.msgpack.decode(parameters) if parameters else ("", None)
        state = self._readings.status(row.device_id)
        return InstalledMeter(
            row.device_id,
            row.protocol,
            profile,
            row.since,
            row.until,
            row.plain,
            row.suite,
            row.module_id or b"",
            self._concentrator(row),
            state.valve if state else "",
            state.battery_low if state else None,
        )


def _fresh(latest_at: int | None, now: int) -> bool:
    return latest_at is not None and latest_at > now - FRESH_WITHIN


def _account(lines: Iterable[Reconciled]) -> Account:
    found = list(lines)
    return Account(
        received=sum(line.received for line in found),
        stored=sum(line.stored for line in found),
        repeated=sum(line.repeated for line in found),
        refused=sum(line.refused for line in found),
        held=sum(line.held for line in found),
    )


_MASTER = (
    concentrators.c.device_id.label("master"),
    concentrators.c.sealed_name,
    concentrators.c.key_version.label("name_version"),
)


def _installed() -> sa.Select[Any]:
    return (
        sa.select(
            meters.c.usage_point_id,
            meters.c.device_id,
            meters.c.protocol,
            meters.c.plain,
            meters.c.suite,
            usage_points.c.medium,
            *_MASTER,
        )
        .join(usage_points, usage_points.c.id == meters.c.usage_point_id)
        .outerjoin(concentrators, concentrators.c.device_id == meters.c.concentrator_id)
        .where(meters.c.until.is_(None))
    )


def _history(usage_point: str) -> sa.Select[Any]:
    return (
        sa.select(
            meters,
            *_MASTER,
        )
        .outerjoin(concentrators, concentrators.c.device_id == meters.c.concentrator_id)
        .where(meters.c.usage_point_id == usage_point)
        .order_by(meters.c.since.desc())
    )


def _freshness(
    medium: Medium, rows: Iterable[sa.Row[Any]], latest: Mapping[str, int], now: int
) -> MediumFreshness | None:
    times = [latest.get(row.usage_point_id) for row in rows if row.medium == medium]
    if not times:
        return None
    known = [at for at in times if at is not None]
    fresh = sum(_fresh(at, now) for at in known)
    return MediumFreshness(
        medium, len(times), fresh, len(known) - fresh, len(times) - len(known), max(known, default=None)
    )


def _counts(db: sa.Connection, now: int, stored: StoredCounts) -> Counts:
    def count(table: sa.Table, *where: sa.ColumnElement[bool]) -> int:
        return db.scalar(sa.select(sa.func.count()).select_from(table).where(*where)) or 0

    return Counts(
        stored.records,
        stored.readings,
        stored.repeats,
        count(refusals),
        count(refusals, refusals.c.at > now - DAY),
        count(findings),
        count(quarantine),
    )
