"""The trail of rows, its parts: how a row is named and digested, and what an entry holds.

It writes no entry and compares nothing (`rowtrail` and `rowcheck` do).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from meterseal.control.covered import Covered
from meterseal.crypto.symmetric import sm3

_AT_ONCE = 5_000


class Item(Struct, frozen=True, array_like=True):
    """A row as it was left: SM3 over its fixed columns and over the others; both empty: it is gone. `found`: SM3 over both
    as the transaction found them, so that what somebody else wrote is not made ours by our next write; empty: it was new.
    """

    key: str
    fixed: bytes
    rest: bytes
    found: bytes = b""


class Written(Struct, frozen=True, array_like=True):
    """The rows of one table; `fixed` and `rest` name the columns under the two digests."""

    table: str
    fixed: tuple[str, ...]
    rest: tuple[str, ...]
    items: tuple[Item, ...]


class Entry(Struct, frozen=True, array_like=True):
    """What one transaction wrote."""

    note: str
    written: tuple[Written, ...]


def key_of(columns: Sequence[str], of: str = "") -> str:
    """The SQL by which a row is named in the trail."""
    return " || '|' || ".join(f'quote({of}"{name}")' for name in columns)


def digest(values: Iterable[object]) -> bytes:
    """SM3 over columns as SQLite holds them; of none it is empty."""
    held = list(values)
    return sm3(msgspec.msgpack.encode(held)) if held else b""


def whole(fixed: bytes, rest: bytes) -> bytes:
    """One hash over the two of a row."""
    return sm3(fixed, rest)


def rows_of(
    connection: sa.Connection, covered: Covered, columns: Sequence[str]
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """(key, columns) of every row of a table, as SQLite holds them."""
    names = ", ".join(f'"{name}"' for name in columns)
    query = f'SELECT {key_of(covered.key)}, {names} FROM "{covered.name}"'  # noqa: S608 - names of our own tables
    for row in connection.exec_driver_sql(query).yield_per(_AT_ONCE):
        yield row[0], tuple(row[1:])


def item_of(covered: Covered, key: str, values: Sequence[Any], found: bytes = b"") -> Item:
    """What an entry says of a row as it stands."""
    cut = len(covered.fixed)
    return Item(key, digest(values[:cut]), digest(values[cut:]), found)


def part_of(covered: Covered, items: Iterable[Item]) -> Written:
    """What an entry says of a table."""
    return Written(covered.name, covered.fixed, covered.rest, tuple(items))
