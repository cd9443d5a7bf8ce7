"""Station MDMS, changes of rules that were tried: what each trial counted, kept for those who make the change after it.

It tries nothing (`vee.trial` does) and allows nothing (`changes` does). No reading and no person stands in it.
"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from meterseal.control.engine import read, write
from meterseal.control.tables import vee_trials as table
from meterseal.mdms.vee.settings import RuleChange
from meterseal.mdms.vee.trial import Trial

TRIALS = 64
"""Trials that are kept: the newest of so many changes."""


class Tried(Struct, frozen=True):
    """What a trial showed before its change was made."""

    at: int
    since: int
    readings: int
    flags_now: int
    would_flag: int
    new: int
    gone: int


class Trials:
    """The table `vee_trials`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def keep(self, change: RuleChange, said: Trial) -> None:
        """A change was tried: what it showed before is forgotten, and the oldest trials beyond TRIALS."""
        tried = Tried(
            at=said.until,
            since=said.since,
            readings=said.readings,
            flags_now=said.flags_now,
            would_flag=said.would_flag,
            new=said.new_count,
            gone=said.gone_count,
        )
        name = _name(change)
        kept = sa.select(table.c.id).order_by(table.c.id.desc()).limit(TRIALS)
        with write(self._engine) as connection:
            connection.execute(table.delete().where(table.c.change == name))
            connection.execute(table.insert().values(change=name, tried=msgspec.to_builtins(tried)))
            connection.execute(table.delete().where(table.c.id.not_in(kept)))

    def of(self, change: RuleChange) -> Tried | None:
        """What the newest trial of the same change showed, None where none is kept."""
        with read(self._engine) as connection:
            row = connection.execute(sa.select(table).where(table.c.change == _name(change))).one_or_none()
        return msgspec.convert(row.tried, Tried) if row is not None else None


def _name(change: RuleChange) -> bytes:
    """The same for the same change, whatever the order of its values."""
    said = (change.rule, change.medium, change.customer, change.on, sorted(change.values.items()))
    return msgspec.msgpack.encode(said)
