"""Station MDMS, answers about the past: up to which journal entry a moment was answered, so that it is answered so again.

It reads no reading (`store` does). A moment is shown by what had been received up to it; what was received then and is
stored only later, because it was on its way, came by a slow path or is stamped by a clock that was set back, must not
change what was shown already. So the first question about a moment of the past keeps the entry that was the newest, for it
and for all moments before it that had not been asked for.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from meterseal.control.engine import read, write
from meterseal.control.tables import answered
from meterseal.mdms.store.rows import EVER


class Answers:
    """The table `answered`: moments and entries, both rising. Any thread may call.

    `newest` gives the newest stored journal entry, `clock` now (Unix ms): what lies after it has not happened yet, and is
    answered by what is there, without a promise.
    """

    def __init__(self, engine: sa.Engine, newest: Callable[[], int], clock: Callable[[], int]) -> None:
        self._engine, self._newest, self._clock = engine, newest, clock

    def upto(self, as_of: int | None) -> int:
        """The journal entry up to which a moment is answered, for good. Raises EngineError `control.*`."""
        if as_of is None:
            return EVER
        with read(self._engine) as connection:
            found = _kept(connection, as_of)
        if found is not None:
            return found
        if as_of > self._clock():
            return EVER
        entry = self._newest()
        with write(self._engine) as connection:
            found = _kept(connection, as_of)
            if found is not None:
                return found
            last = connection.execute(sa.select(answered).order_by(answered.c.at.desc()).limit(1)).first()
            if last is not None and last.entry >= entry:
                # Nothing came since: the same row answers for both.
                connection.execute(answered.update().where(answered.c.at == last.at).values(at=as_of))
                return int(last.entry)
            connection.execute(answered.insert().values(at=as_of, entry=entry))
        return entry

    def given_up(self, entry: int) -> None:
        """A start found no journal entry beyond this one: what was answered by later ones is gone, and others will have
        their numbers.
        """
        with read(self._engine) as connection:
            newest = connection.execute(sa.select(sa.func.max(answered.c.entry))).scalar() or 0
        if newest > entry:
            with write(self._engine) as connection:
                connection.execute(answered.update().where(answered.c.entry > entry).values(entry=entry))


def _kept(connection: sa.Connection, as_of: int) -> int | None:
    query = sa.select(answered.c.entry).where(answered.c.at >= as_of).order_by(answered.c.at).limit(1)
    found: int | None = connection.execute(query).scalar()
    return found
