"""Station MDMS, where devices measure: installation periods from the control store, remembered for a while.

It changes no installation. A device that is not known is asked for again with every batch.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from meterseal.control.engine import read
from meterseal.control.tables import meters, usage_points
from meterseal.mdms.entries import Place

KEPT = 1_000_000
_ASKED_AT_ONCE = 500


class Places:
    """Installation periods by device id."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._known: dict[bytes, Place] = {}

    def of(self, device_ids: Iterable[bytes]) -> tuple[Place, ...]:
        """The places of these devices, unknown ones left out; sorted, so that equal batches are equal
        entries."""
        wanted = sorted(set(device_ids))
        unknown = [device_id for device_id in wanted if device_id not in self._known and len(device_id) == 8]
        for start in range(0, len(unknown), _ASKED_AT_ONCE):
            self._ask(unknown[start : start + _ASKED_AT_ONCE])
        return tuple(self._known[device_id] for device_id in wanted if device_id in self._known)

    def forget(self) -> None:
        """Meters were installed, moved or removed: ask again."""
        self._known.clear()

    def _ask(self, device_ids: list[bytes]) -> None:
        query = (
            sa.select(
                meters.c.device_id,
                meters.c.usage_point_id,
                usage_points.c.medium,
                meters.c.since,
                meters.c.until,
            )
            .join(usage_points, usage_points.c.id == meters.c.usage_point_id)
            .where(meters.c.device_id.in_(device_ids))
        )
        with read(self._engine) as connection:
            rows = connection.execute(query).all()
        if len(self._known) + len(rows) > KEPT:
            self._known.clear()
        for row in rows:
            self._known[row.device_id] = Place(
                row.device_id, row.usage_point_id, row.medium, row.since, row.until or 0
            )
