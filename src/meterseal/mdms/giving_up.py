"""Station MDMS, giving up: files of a journal that are lost for good, so that a store starts again without them.

It opens no entry and brings nothing back. The store is down, and the caller sees to that.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from msgspec import Struct

from meterseal.control import acts
from meterseal.control.engine import read, write
from meterseal.control.tables import stores
from meterseal.errors import LocalError
from meterseal.mdms.store.journal import Noted, files_in, reaches

ACT = "journal-given-up"


class Missing(Struct, frozen=True):
    """Entries of the journal that are not there: from `first` to `last`, which is 0 when nobody knows it."""

    first: int
    last: int

    @property
    def named(self) -> str:
        """As the trail of acts names them."""
        return f"entries {self.first} to {self.last or 'unknown'}"


def missing(engine: sa.Engine, directory: Path) -> Missing | None:
    """What the journal in `directory` lacks at its end; None when nothing is known to be missing.

    LocalError `store.hole` when it goes on behind what is missing: no start takes it then. EngineError `mdms.disk`,
    `control.*`.
    """
    with read(engine) as connection:
        row = connection.execute(sa.select(stores)).first()
    if row is None or row.journal_ended is None:
        return None
    noted = Noted(row.journal_ended, row.journal_begun)
    last = reaches(directory, row.sequence)
    behind = [path.name for path in files_in(directory) if int(path.stem) > last + 1]
    if behind and last < noted.ended:
        raise LocalError(
            "store.hole",
            f"The journal in {directory} has nothing from entry {last + 1} on, and goes on with {behind[0]}: no start "
            "takes what stands behind a hole. Restore the missing file. If it is lost for good, move this file and those "
            "after it to another place, with the readings that they hold, and give up again. Nothing was changed.",
        )
    if last < noted.ended:
        return Missing(last + 1, noted.ended if noted.begun is None else 0)
    if noted.lacks(directory, row.sequence):
        return Missing(last + 1, 0)
    return None


def give_up(engine: sa.Engine, directory: Path, lost: Missing, *, actor: str, now: int) -> None:
    """Let the next start take the journal as it is, and write down who said so. LocalError `store.changed` when something
    else is missing than `lost`, and as `missing`; then nothing was changed."""
    if missing(engine, directory) != lost:
        raise LocalError(
            "store.changed", "Something else is missing by now. Look again before you give it up."
        )
    with write(engine) as connection:
        connection.execute(stores.update().values(journal_ended=None, journal_begun=None))
        acts.append(connection, acts.Act(now, actor, ACT, lost.named))
