"""Station MDMS, the point of a run: up to where it saw everything that is only ever appended.

It reads nothing by it (`unreadable`, `facts`, `changes`, `surroundings` do) and knows no clock: what came later has a
higher number, whatever instant it is stamped with.
"""

from __future__ import annotations

from msgspec import Struct

from meterseal.mdms.store.rows import EVER


class Seen(Struct, frozen=True):
    """The newest journal entry, and the newest row of facts, changes, exchanges, weather and kinds of days."""

    entry: int
    fact: int
    change: int
    exchange: int
    weather: int
    day: int


EVERYTHING = Seen(EVER, EVER, EVER, EVER, EVER, EVER)
"""For what is no run and is not replayed: an edit that is planned, a rule that is tried."""
