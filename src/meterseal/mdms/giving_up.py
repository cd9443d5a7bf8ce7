"""Station MDMS, giving up: entries of a journal that are lost for good, so that a store starts again without them.

It brings nothing back, and takes nothing away: what is given up and can be read all the same is read. The store is down,
and the caller sees to that.

Without keys it sees which entries no file has, and where bytes are no frames. Of frames that are whole and do not open it
knows from the last start that was refused, as long as these bytes stand there.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
import sqlalchemy as sa

from meterseal.control import acts
from meterseal.control.engine import read, write
from meterseal.control.tables import stores
from meterseal.errors import LocalError
from meterseal.mdms.store.faults import Fault, gives
from meterseal.mdms.store.files import disk
from meterseal.mdms.store.journal import Noted
from meterseal.mdms.store.strict import LookingJournal

ACT = "journal-given-up"


class _Seen:
    """What the control store says of a journal (`journal.Book`); nothing is noted."""

    def __init__(self, row: sa.Row[tuple[object, ...]]) -> None:
        self.noted = None if row.journal_ended is None else Noted(row.journal_ended, row.journal_begun)
        self.given: Sequence[tuple[int, int]] = ()

    def note(self, noted: Noted) -> None:
        raise AssertionError("somebody who looks notes nothing")


def unreadable(engine: sa.Engine, directory: Path) -> tuple[Fault, ...]:
    """What of the journal in `directory` is missing or damaged and was not given up yet, in the order of entries.

    Raises DataError `mdms.journal-damaged` where entries stand in no order that anybody wrote; EngineError `mdms.disk`,
    `control.*`.
    """
    with read(engine) as connection:
        row = connection.execute(sa.select(stores)).first()
    if row is None:
        return ()
    found = LookingJournal(directory, row.id, None, _Seen(row)).faults(row.sequence)
    known = [one for one in msgspec.convert(row.journal_faults or [], list[Fault]) if one.damaged]
    stands = [one for one in known if one.first > row.sequence and _still(directory, one)]
    if known and stands == known:  # as that start saw it, which had the keys
        found = [one for one in found if not one.damaged]
    found += [one for one in stands if not any(_within(one, other) for other in found)]
    given = [(first, last) for first, last in row.journal_given or ()]
    return tuple(
        sorted((one for one in found if not gives(given, one.first, one.last)), key=lambda one: one.first)
    )


def _within(one: Fault, other: Fault) -> bool:
    return other.first <= one.first and (not other.last or 0 < one.last <= other.last)


def _still(directory: Path, fault: Fault) -> bool:
    """Do those bytes stand there that did not open?"""
    path = directory / fault.file
    with disk(path):
        if not path.exists():
            return False
        with path.open("rb") as file:
            file.seek(fault.offset)
            return zlib.crc32(file.read(fault.end - fault.offset)) == fault.check


def give_up(engine: sa.Engine, directory: Path, lost: tuple[Fault, ...], *, actor: str, now: int) -> None:
    """Let the next start go on without these, and write down who said so. LocalError `store.changed` when something
    else cannot be read than `lost`; then nothing was changed."""
    if unreadable(engine, directory) != lost:
        raise LocalError(
            "store.changed", "Something else cannot be read by now. Look again before you give it up."
        )
    with write(engine) as connection:
        row = connection.execute(sa.select(stores)).one()
        given = [*(row.journal_given or ()), *([one.first, one.last] for one in lost)]
        values: dict[str, object] = {"journal_given": given}
        if any(not one.last for one in lost):  # how far it reached nobody knows: what is there is its end
            values |= {"journal_ended": None, "journal_begun": None}
        connection.execute(stores.update().values(values))
        for one in lost:
            acts.append(connection, acts.Act(now, actor, ACT, one.entries))
