"""Compares the tables that the trail of rows covers with the trail: rows that were changed, added, taken away or put back.

It writes nothing, and does not look at the chain or its anchor (`rowtrail`, `things.anchoring`).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

import sqlalchemy as sa

from meterseal.control.covered import COVERED, Covered
from meterseal.control.rowtrail import (
    BEGUN,
    FOREIGN,
    PLANTED,
    Item,
    RowTrail,
    as_held,
    digest,
    planted,
    rows_of,
    whole,
)
from meterseal.control.tables import metadata, trail_keys

AT_ONCE = 1_000_000
"""Rows that are held in memory at once, about; a store with more is gone through as often as it takes."""


class Difference(NamedTuple):
    """One row that is not as the trail says; `where` names table and key, and holds no other column."""

    where: str
    sentence: str


class Compared(NamedTuple):
    """What was looked at: rows that stand, how many of them are from before the trail, and entries."""

    rows: int
    before: int
    entries: int
    differences: tuple[Difference, ...]
    more: int


_Columns = tuple[tuple[str, ...], tuple[str, ...]]


class _Known(NamedTuple):
    fixed: bytes
    rest: bytes
    columns: _Columns
    before: bool


class _Share(NamedTuple):
    """A part of all rows, by their keys: as many as memory should hold."""

    number: int
    of: int

    @property
    def first(self) -> bool:
        """Is it the first one, in which what is said of entries is said?"""
        return not self.number

    def has(self, key: str) -> bool:
        """Is a row in it? A key is bytes where somebody put text there that is none."""
        return self.of == 1 or zlib.crc32(repr(key).encode()) % self.of == self.number


def compared(engine: sa.Engine, trail: RowTrail, most: int = 100) -> Compared:
    """Every covered row against the newest entry about it, in one snapshot. EngineError `control.*`."""
    found: list[Difference] = []
    more = rows = before = entries = 0
    with as_held(engine) as connection:
        for kind, name in planted(connection):
            found.append(
                Difference(
                    f"{kind} {name}", "No program of ours makes one, and it acts when we write: drop it."
                )
            )
        shares = 1 + _count(connection) // AT_ONCE
        for here in (_Share(number, shares) for number in range(shares)):
            told: dict[str, dict[str, _Known]] = {covered.name: {} for covered in COVERED}
            for one in _replayed(connection, trail, told, here):
                if one is None:
                    entries += here.first
                elif len(found) < most:
                    found.append(one)
                else:
                    more += 1
            for covered in COVERED:
                known = told[covered.name]
                before += sum(one.before for one in known.values())
                for difference in _table(connection, covered, known, here):
                    if difference is None:
                        rows += 1
                    elif len(found) < most:
                        found.append(difference)
                    else:
                        more += 1
    return Compared(rows, before, entries, tuple(found), more)


def _count(connection: sa.Connection) -> int:
    counts = (sa.select(sa.func.count()).select_from(metadata.tables[covered.name]) for covered in COVERED)
    return sum(connection.execute(count).scalar_one() for count in counts)


def _replayed(
    connection: sa.Connection, trail: RowTrail, told: dict[str, dict[str, _Known]], here: _Share
) -> Iterator[Difference | None]:
    """Put together what the trail says of each row; None for each entry, and what no program of ours writes."""
    sets: dict[_Columns, _Columns] = {}
    goes = {covered.name: covered.goes for covered in COVERED}
    for number, entry in trail.entries(connection):
        yield None
        if entry.note == FOREIGN and here.first:
            yield Difference(
                f"entry {number} of the trail of rows",
                "What stands before it was written by another program while this platform ran, or an older copy was put "
                "back under it.",
            )
        if entry.note == PLANTED and here.first:
            yield Difference(
                f"entry {number} of the trail of rows",
                "It was written while a trigger or view that is not ours stood in the file, which may have changed rows "
                "with it. Compare with a backup.",
            )
        for part in entry.written:
            known = told.get(part.table)
            if known is None:
                continue  # a table that is not covered any more
            columns = sets.setdefault((part.fixed, part.rest), (part.fixed, part.rest))
            own = part.table == trail_keys.name  # the key of the trail is made right before it begins
            for item in part.items:
                if not here.has(item.key):
                    continue
                last = known.get(item.key)
                if item.found and (sentence := _not_ours(last, columns, item.found)):
                    yield _said(part.table, item, f"Entry {number} found it {sentence}")
                if not item.fixed:
                    known.pop(item.key, None)
                    if not goes[part.table]:
                        yield _said(
                            part.table,
                            item,
                            f"Entry {number} takes it away, which no act of this program does.",
                        )
                    continue
                if last is not None and last.columns[0] == part.fixed and last.fixed != item.fixed:
                    yield _said(
                        part.table, item, f"Entry {number} changes what is never changed once it was written."
                    )
                known[item.key] = _Known(item.fixed, item.rest, columns, entry.note == BEGUN and not own)


def _not_ours(last: _Known | None, columns: _Columns, found: bytes) -> str:
    """What is wrong with a row as one of our own transactions found it, before it wrote it; empty where nothing is."""
    if last is None:
        return "there, and nothing that this platform wrote said so: it was added."
    if last.columns == columns and whole(last.fixed, last.rest) != found:
        return "otherwise than this platform had left it: it was changed before."
    return ""


def _said(table: str, item: Item, sentence: str) -> Difference:
    return Difference(f"{table}, row {item.key}", sentence)


def _table(
    connection: sa.Connection, covered: Covered, known: dict[str, _Known], here: _Share
) -> Iterator[Difference | None]:
    """None for each row that is as it was written. What is left of `known` is not stored any more."""
    columns = (*covered.fixed, *covered.rest)
    place = {name: number for number, name in enumerate(columns)}
    for key, values in rows_of(connection, covered, columns):
        if not here.has(key):
            continue
        where = f"{covered.name}, row {key}"
        one = known.pop(key, None)
        if one is None:
            yield Difference(where, "Nothing that this platform wrote says so: it was added.")
            continue
        fixed, rest = (
            digest(values[place[name]] if name in place else None for name in names) for names in one.columns
        )
        if (fixed, rest) == (one.fixed, one.rest):
            yield None
        else:
            yield Difference(
                where, "It is not as this platform wrote it last: it was changed, or an older one put back."
            )
    for key in known:
        yield Difference(
            f"{covered.name}, row {key}", "It was written and is not stored any more: it was removed."
        )
