"""The audit trail of refused messages: hash-chained rows that a person can read.

It changes nothing but itself; a refusal is written here and nowhere else (DESIGN promise 2).
"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from meterseal.control import chains, read, write
from meterseal.control.chains import GENESIS
from meterseal.control.tables import refusals
from meterseal.crypto.symmetric import sm3
from meterseal.errors import DataError
from meterseal.model import Refusal


class AuditEntry(Struct, frozen=True, kw_only=True):
    """One refusal with its place in the chain."""

    id: int
    at: int
    code: str
    sentence: str
    device_id: bytes
    session_id: bytes
    counter: int
    source: str
    hash: bytes


class AuditLog:
    """Refusals, each row carrying SM3(previous hash ‖ row)."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    async def refused(self, entries: list[Refusal]) -> None:
        """Append refusals in one transaction."""
        if not entries:
            return
        with write(self._engine) as connection:
            number, previous = chains.end(connection, refusals)
            rows = []
            for entry in entries:
                number += 1
                digest = _link(previous, number, entry)
                rows.append(
                    {
                        "id": number,
                        "at": entry.at,
                        "code": entry.code,
                        "sentence": entry.sentence,
                        "device_id": entry.device_id,
                        "session_id": entry.session_id,
                        "counter": entry.counter,
                        "source": entry.source[:128],
                        "previous": previous,
                        "hash": digest,
                    }
                )
                previous = digest
            connection.execute(refusals.insert(), rows)

    def latest(self, limit: int = 50, before: int | None = None) -> list[AuditEntry]:
        """The newest refusals first; `before` is the id of the last one of the page above."""
        query = sa.select(refusals).order_by(refusals.c.id.desc()).limit(max(0, min(limit, 500)))
        if before is not None:
            query = query.where(refusals.c.id < before)
        with read(self._engine) as connection:
            rows = connection.execute(query).all()
        names = AuditEntry.__struct_fields__
        return [AuditEntry(**{name: getattr(row, name) for name in names}) for row in rows]

    def count(self) -> int:
        """How many refusals were written; what meters raise the alarm about stands beside them and is none."""
        query = sa.select(sa.func.count()).select_from(refusals).where(refusals.c.code.not_like("meter.%"))
        with read(self._engine) as connection:
            return int(connection.execute(query).scalar_one())

    def head(self) -> tuple[int, bytes]:
        """Number and hash of the last entry."""
        with read(self._engine) as connection:
            return chains.end(connection, refusals)

    def hash_of(self, number: int) -> bytes | None:
        """The hash of an entry, None when there is none."""
        with read(self._engine) as connection:
            found: bytes | None = connection.execute(
                sa.select(refusals.c.hash).where(refusals.c.id == number)
            ).scalar()
        return found

    def verify(self) -> int:
        """Recompute the whole chain; returns its length. DataError `audit.broken` names the first row that differs."""
        return self.verify_from(0, GENESIS)[0]

    def verify_from(self, number: int, previous: bytes) -> tuple[int, bytes]:
        """Recompute the chain after entry `number`, which was verified with hash `previous` before (0: all of it).

        Returns the last entry and its hash, for the next call. Entries up to `number` are counted, and that entry's
        hash is compared; whether their words were changed only a call from 0 can say. Errors as `verify`.
        """
        at, known = number, previous
        with read(self._engine) as connection:
            if known != _hash_at(connection, at):
                number, previous = 0, GENESIS  # from the beginning, to name the entry
            query = sa.select(refusals).order_by(refusals.c.id)
            if number:  # else all of it: an entry below the first one would be shown like any other
                query = query.where(refusals.c.id > number)
            for row in connection.execute(query).yield_per(1000):
                number += 1
                entry = Refusal(
                    row.at, row.code, row.sentence, row.device_id, row.session_id, row.counter, row.source
                )
                if (
                    row.id != number
                    or row.previous != previous
                    or row.hash != _link(previous, number, entry)
                    or (number == at and row.hash != known)
                ):
                    raise _broken(number)
                previous = row.hash
        if number < at:
            raise _broken(number + 1)
        return number, previous


def _hash_at(connection: sa.Connection, number: int) -> bytes | None:
    """The hash of an entry, None when not as many stand up to it as it says."""
    if not number:
        return GENESIS
    earlier = sa.select(sa.func.count()).select_from(refusals).where(refusals.c.id <= number)
    if connection.execute(earlier).scalar_one() != number:
        return None
    here = sa.select(refusals.c.hash).where(refusals.c.id == number)
    found: bytes | None = connection.execute(here).scalar()
    return found


def _broken(number: int) -> DataError:
    return DataError(
        "audit.broken",
        f"The audit trail was changed at entry {number}: its hash does not follow from the one before. "
        "Compare with a backup.",
        entry=number,
    )


def _link(previous: bytes, number: int, entry: Refusal) -> bytes:
    bounded = msgspec.structs.replace(entry, source=entry.source[:128])
    return sm3(previous, number.to_bytes(8), msgspec.msgpack.encode(bounded))
