"""Station MDMS, where devices measure: installation periods from the control store, remembered for a while.

It changes no installation. A device that is not known is asked for again with every batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from meterseal.control.engine import read
from meterseal.control.tables import former_installations, meter_changes, meters, usage_points
from meterseal.errors import DataError
from meterseal.mdms.entries import Place
from meterseal.model import Medium

KEPT = 1_000_000
_ASKED_AT_ONCE = 500


class Places:
    """Installation periods by device id."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._known: dict[bytes, tuple[Place, ...]] = {}
        self._media: dict[str, str] = {}

    def of(self, device_ids: Iterable[bytes]) -> tuple[Place, ...]:
        """The places of these devices, unknown ones left out; sorted, so that equal batches are equal
        entries."""
        wanted = sorted(set(device_ids))
        unknown = [device_id for device_id in wanted if device_id not in self._known and len(device_id) == 8]
        for start in range(0, len(unknown), _ASKED_AT_ONCE):
            self._ask(unknown[start : start + _ASKED_AT_ONCE])
        return tuple(place for device_id in wanted for place in self._known.get(device_id, ()))

    def since(self, device_id: bytes, usage_point: str, end_at: int) -> int:
        """When the device was put in place at the usage point where it measured at an instant; 0 when it never was."""
        found = [
            place.since
            for place in self.of([device_id])
            if place.usage_point == usage_point and place.since <= end_at
        ]
        return max(found, default=0)

    def replaced(self, as_of: int | None = None) -> dict[str, tuple[int, ...]]:
        """Usage points at which more than one meter was put in place, with the instants, rising; with `as_of` without the
        changes of meters that were written down later.
        """
        periods = _periods().subquery()
        several = sa.select(periods.c.usage_point_id).group_by(periods.c.usage_point_id)
        query = (
            sa.select(periods.c.usage_point_id, periods.c.since)
            .where(periods.c.usage_point_id.in_(several.having(sa.func.count() > 1)))
            .order_by(periods.c.usage_point_id, periods.c.since)
        )
        later = sa.select(meter_changes.c.usage_point_id, meter_changes.c.at)
        found: dict[str, tuple[int, ...]] = {}
        with read(self._engine) as connection:
            unknown = set()
            if as_of is not None:
                rows = connection.execute(later.where(meter_changes.c.recorded_at > as_of))
                unknown = {(row.usage_point_id, row.at) for row in rows}
            for row in connection.execute(query):
                if (row.usage_point_id, row.since) in unknown:
                    continue
                found[row.usage_point_id] = (*found.get(row.usage_point_id, ()), row.since)
        return found

    def require(self, points: Iterable[str], medium: Medium) -> None:
        """DataError `mdms.unknown-usage-point` unless all of these are usage points of this medium."""
        unknown = sorted({one for one in points if self._media.get(one) != medium})
        for start in range(0, len(unknown), _ASKED_AT_ONCE):
            query = sa.select(usage_points.c.id, usage_points.c.medium).where(
                usage_points.c.id.in_(unknown[start : start + _ASKED_AT_ONCE])
            )
            with read(self._engine) as connection:
                found = connection.execute(query).all()
            if len(self._media) + len(found) > KEPT:
                self._media.clear()
            self._media.update({row.id: row.medium for row in found})
        strange = [one for one in unknown if self._media.get(one) != medium]
        if strange:
            raise DataError(
                "mdms.unknown-usage-point",
                f"Nothing of these readings was kept: {len(strange)} of their usage points, {strange[0]} the first, are "
                f"not known to measure {medium}. Enter them before, or correct the readings.",
            )

    def forget(self) -> None:
        """Meters were installed, moved or removed: ask again."""
        self._known.clear()
        self._media.clear()

    def _ask(self, device_ids: list[bytes]) -> None:
        periods = _periods(device_ids).subquery()
        query = (
            sa.select(periods, usage_points.c.medium)
            .join(usage_points, usage_points.c.id == periods.c.usage_point_id)
            .order_by(periods.c.device_id, periods.c.since)
        )
        with read(self._engine) as connection:
            rows = connection.execute(query).all()
            behind = {
                row.device_id: row.concentrator_id or b""
                for row in connection.execute(
                    sa.select(meters.c.device_id, meters.c.concentrator_id).where(
                        meters.c.device_id.in_(device_ids)
                    )
                )
            }
        if len(self._known) + len(rows) > KEPT:
            self._known.clear()
        found: dict[bytes, tuple[Place, ...]] = {}
        for row in rows:
            place = Place(
                row.device_id,
                row.usage_point_id,
                row.medium,
                row.since,
                row.until or 0,
                behind.get(row.device_id, b""),
            )
            found[row.device_id] = (*found.get(row.device_id, ()), place)
        self._known.update(found)


def _periods(device_ids: list[bytes] | None = None) -> sa.CompoundSelect[Any]:
    """Every installation period (of these devices): the newest of each device, and those before it."""
    return sa.union_all(
        *(
            sa.select(table.c.device_id, table.c.usage_point_id, table.c.since, table.c.until).where(
                sa.true() if device_ids is None else table.c.device_id.in_(device_ids)
            )
            for table in (meters, former_installations)
        )
    )
