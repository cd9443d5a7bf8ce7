"""Station MDMS, quarantine: records with a good seal that cannot become readings, kept sealed until
somebody looks.

It releases nothing; what is here was acknowledged or rejected to its device already.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from meterseal.control.engine import read, write
from meterseal.control.sealed import QUARANTINE
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import quarantine as table
from meterseal.control.writes import insert_new
from meterseal.model import Quarantined


class Quarantine:
    """The quarantine table of one store."""

    def __init__(self, engine: sa.Engine, keys: KeyRing) -> None:
        self._engine = engine
        self._keys = keys

    def append(self, held: Sequence[Quarantined]) -> None:
        """Store records in one transaction; the same record again is one."""
        if not held:
            return
        rows = [
            {
                "session_id": one.session_id,
                "counter": one.counter,
                "device_id": one.device_id,
                "received_at": one.received_at,
                "reject_class": one.reject_class,
                "code": one.code,
                "sealed_record": one.record,
            }
            for one in held
        ]
        with write(self._engine) as connection:
            insert_new(connection, table, [QUARANTINE.seal(self._keys, row) for row in rows])

    def latest(self, limit: int = 100) -> list[Quarantined]:
        """Newest first, records opened."""
        query = sa.select(table).order_by(table.c.id.desc()).limit(limit)
        with read(self._engine) as connection:
            rows = connection.execute(query).all()
        return [
            Quarantined(
                session_id=row.session_id,
                counter=row.counter,
                device_id=row.device_id,
                received_at=row.received_at,
                reject_class=row.reject_class,
                code=row.code,
                record=QUARANTINE.open(self._keys, row) or b"",
            )
            for row in rows
        ]

    def rejected(self, session_id: bytes) -> list[tuple[int, int]]:
        """(counter, class of REJECT) of a session's records, without those of code `mdms.*`, which were
        acknowledged before they could not be placed."""
        query = sa.select(table.c.counter, table.c.reject_class).where(
            table.c.session_id == session_id, table.c.code.not_like("mdms.%")
        )
        with read(self._engine) as connection:
            return [(row.counter, row.reject_class) for row in connection.execute(query)]
