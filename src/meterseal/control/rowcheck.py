"""Compares the tables that the trail of rows covers with the trail: rows that were changed, added, taken away or put back.

It writes nothing, and does not look at the chain or its anchor (`rowtrail`, `things.anchoring`).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from meterseal.control import schema
from meterseal.control.covered import COVERED, ELSEWHERE, LEFT_OUT, Covered
from meterseal.control.kinds import misfits
from meterseal.control.rowitems import Item, digest, rows_of, whole
from meterseal.control.rowtrail import BEGUN, FOREIGN, PLANTED, RowTrail, as_held
from meterseal.control.tables import metadata, row_trail, trail_keys

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


def compared(
    engine: sa.Engine, trail: RowTrail, most: int = 100, only: frozenset[str] | None = None
) -> Compared:
    """The schema against what the migrations make, and every covered row (of the tables `only`, where these are said)
    against the newest entry about it, in one snapshot. Of tables that are not covered as a whole, that each value is of its
    column's kind, unless `only` some tables are looked at; of these that each index holds what its table
    does (of all tables `PRAGMA integrity_check` says it, in `ledger verify` and `store check`). EngineError `control.*`.
    """
    found: list[Difference] = []
    more = rows = before = entries = 0
    looked_at = [covered for covered in COVERED if only is None or covered.name in only]
    with as_held(engine) as connection:
        found += [Difference(*one) for one in schema.strange(connection)]
        if only is not None:
            found += _indices(connection, only)
        else:
            found += [
                Difference(one.where, one.sentence)
                for one in misfits(connection, (*ELSEWHERE, *LEFT_OUT), most)
            ]
        trail_stands = _has(connection, row_trail.name, row_trail.columns.keys())
        looked_at = [
            covered
            for covered in looked_at
            if trail_stands and _has(connection, covered.name, (*covered.fixed, *covered.rest))
        ]  # what is not is named above
        shares = 1 + _count(connection, looked_at) // AT_ONCE
        for here in (_Share(number, shares) for number in range(shares)):
            told: dict[str, dict[str, _Known]] = {covered.name: {} for covered in looked_at}
            for one in _replayed(connection, trail, told, here) if trail_stands else ():
                if one is None:
                    entries += here.first
                elif len(found) < most:
                    found.append(one)
                else:
                    more += 1
            for covered in looked_at:
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


def _indices(connection: sa.Connection, tables: frozenset[str]) -> Iterator[Difference]:
    """What SQLite finds wrong in some tables: a row that an index leaves out is one that no question finds. A table that is
    not there the schema names."""
    for table in sorted(tables.intersection(sa.inspect(connection).get_table_names())):
        for row in connection.exec_driver_sql(f"PRAGMA main.integrity_check('{table}')"):
            if row[0] != "ok":
                yield Difference(f"table {table}", f"{row[0]}. Restore the control store from a backup.")


def _count(connection: sa.Connection, tables: Sequence[Covered]) -> int:
    counts = (sa.select(sa.func.count()).select_from(metadata.tables[covered.name]) for covered in tables)
    return sum(connection.execute(count).scalar_one() for count in counts)


def _has(connection: sa.Connection, table: str, columns: Iterable[str]) -> bool:
    """Has the file every one of these columns?"""
    there = {row[1] for row in connection.exec_driver_sql(f'PRAGMA main.table_xinfo("{table}")')}
    return there.issuperset(columns)


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
                "It was written while the schema was not as at the start of this program, or had a trigger or view: these, "
                "and defaults, may have changed rows with it. Compare with a backup.",
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
