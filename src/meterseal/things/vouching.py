"""Where the commit happens, vouching is asked for once more: a module enrolled since ends it there too.

It judges no seal; the head-end has proved the record before and holds what this refuses when it comes again.
"""

from __future__ import annotations

import sqlalchemy as sa

from meterseal.bus.port import Publisher
from meterseal.control import read
from meterseal.errors import TrustError
from meterseal.model import Batch
from meterseal.things.fleet import enrolments


class VouchedFor:
    """A Publisher in front of the store of measurements."""

    def __init__(self, engine: sa.Engine, store: Publisher) -> None:
        self._engine = engine
        self._store = store

    async def publish(self, batch: Batch) -> None:
        """As `Publisher.publish`; TrustError `link.vouching` when a vouched reading is of a meter that is not plain
        behind that concentrator (any more). Then nothing of the batch was kept, and its records may come one by one.
        """
        vouched = {
            (device_id, opened.device_id)
            for opened in batch.opened
            if opened.origin == "vouched"
            for device_id in (
                *(series.device_id for series in opened.series),
                *(status.device_id for status in opened.statuses),
            )
        }
        if vouched:
            with read(self._engine) as connection:
                found = enrolments(connection, {device_id for device_id, _ in vouched})
            if not vouched <= {(one.device_id, one.concentrator_id) for one in found if one.plain}:
                raise TrustError(
                    "link.vouching", "A vouched reading is of a meter that has a module now; seal it there."
                )
        await self._store.publish(batch)
