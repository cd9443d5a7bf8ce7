"""Station MDMS, quarantine: records with a good seal that cannot become readings, kept sealed until
somebody looks.

It releases nothing; what is here was acknowledged or rejected to its device already.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from meterseal.control.engine import read, write
from meterseal.control.tables import quarantine as table
from meterseal.control.writes import insert_new
from meterseal.mdms.store.sealing import KeyRing, place
from meterseal.model import Quarantined


class Quarantine:
    """The quarantine table of one store."""

    def __init__(self, engine: sa.Engine, keys: KeyRing, store_id: str) -> None:
        self._engine = engine
        self._keys = keys
        self._store_id = store_id

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
                "key_version": self._keys.version,
                "sealed_record": self._keys.seal(
                    one.record, self._place(one.session_id, one.counter, one.code)
                ),
            }
            for one in held
        ]
        with write(self._engine) as connection:
            insert_new(connection, table, rows)

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
                record=self._keys.open(
                    row.sealed_record, self._place(row.session_id, row.counter, row.code), row.key_version
                ),
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

    def _place(self, session_id: bytes, counter: int, code: str) -> bytes:
        return place(self._store_id, "quarantine", session_id + counter.to_bytes(8) + code.encode())
