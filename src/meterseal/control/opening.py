"""Control store, whether every sealed column still opens: all rows of some tables, a page at a time.

It gives nothing of what it opens to anybody, and mends nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from meterseal.control.engine import read
from meterseal.control.sealing import VERSION, KeyRing, SealedTable
from meterseal.errors import TrustError

PAGE = 500
"""Rows in memory at once."""


class Looked(NamedTuple):
    """What a page had: how many sealed values, and of those that do not open (row, column, sentence)."""

    values: int
    shut: list[tuple[int, str, str]]


def looked(engine: sa.Engine, ring: KeyRing, table: SealedTable) -> Iterator[Looked]:
    """Open every sealed value of a table. A row is known by SQLite's number of it. EngineError `control.*`.

    Rows may be added, changed and sealed anew meanwhile: what does not open is read once more before it is said.
    """
    after = -(1 << 63)
    while rows := _page(engine, table, after, PAGE):
        values, shut = 0, []
        for row in rows:
            for column in table.columns:
                if row[column] is None:
                    continue
                values += 1
                if _why(ring, table, row, column):
                    again = [one for one in _page(engine, table, row[_NUMBER] - 1, 1) if _same(one, row)]
                    if (
                        again
                        and again[0][column] is not None
                        and (why := _why(ring, table, again[0], column))
                    ):
                        shut.append((row[_NUMBER], column, why))
        yield Looked(values, shut)
        after = rows[-1][_NUMBER]


_NUMBER = "rowid"


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return bool(one[_NUMBER] == other[_NUMBER])


def _page(engine: sa.Engine, table: SealedTable, after: int, most: int) -> list[dict[str, Any]]:
    # Columns without a type: what somebody put there need not be what its type can read.
    number = sa.column(_NUMBER, sa.Integer)
    names = dict.fromkeys((*table.row, *table.columns, VERSION))
    columns: list[sa.ColumnElement[Any]] = [number, *(sa.column(name) for name in names)]
    rows = sa.select(*columns).select_from(sa.table(table.table.name))
    query = rows.where(number > after).order_by(number).limit(most)
    with read(engine) as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def _why(ring: KeyRing, table: SealedTable, row: Mapping[str, Any], column: str) -> str:
    """Why a value does not open; empty when it does."""
    if not isinstance(row[column], bytes):
        return "It is no ciphertext."
    try:
        table.open(ring, row, column)
    except TrustError as error:
        return error.message
    except (AttributeError, TypeError, OverflowError):  # what the row is known by is of another kind
        return "It stands in a row that is known by something else than was sealed."
    return ""
