"""Which devices and modules the platform knows to have been enrolled, for a security service that was brought back.

It enrols nobody and asks nobody; the service reserves what it does not know itself (`security.reserved`).
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from meterseal.control import read
from meterseal.control.tables import concentrators, meters, sessions
from meterseal.security.reserveorders import Pair

PAGE = 1000


def known_modules(engine: sa.Engine) -> Iterator[list[Pair]]:
    """Pages of at most a thousand: meters with their module, whoever had a session, and concentrators by device alone."""
    known = (
        sa.select(meters.c.device_id, meters.c.module_id).where(meters.c.module_id.is_not(None)),
        sa.select(sessions.c.device_id, sessions.c.module_id),
        sa.select(concentrators.c.device_id, sa.literal(b"", sa.LargeBinary).label("module_id")),
    )
    with read(engine) as connection:
        found = connection.execution_options(yield_per=PAGE).execute(sa.union(*known))
        for page in found.partitions():
            yield [Pair(row.device_id, row.module_id) for row in page]
