"""The schema of the control store as it lies in the file, beside the one that the migrations make.

It reads no row. A trigger acts within our own transactions, and so does a default that somebody gave a column; an index
of other columns, or a constraint that is gone, lets twice be what is there once. Only what a schema says is compared:
whether an index holds what its table does, `PRAGMA integrity_check` says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from meterseal.control.engine import raw_of, upgrade
from meterseal.crypto.symmetric import sm3

_QUERY = "SELECT type, name, tbl_name, sql FROM main.sqlite_schema ORDER BY type, name"
_OWN = re.compile(r"sqlite_(stat\d|sequence)")
"""Tables that SQLite keeps for itself; nothing reads them but SQLite. A trigger may have such a name, and acts."""
_TOKEN = re.compile(r"""("(?:[^"]|"")*"|`[^`]*`|\[[^\]]*\])|('(?:[^']|'')*')|(\w+)|\S""")
_WORD = re.compile(r"[a-z_][a-z0-9_]*")
_SAYS = re.compile(
    r"always|as|asc|autoincrement|by|check|collate|conflict|constraint|create|default|deferrable|deferred|desc|exists|"
    r"foreign|from|generated|immediate|index|initially|key|match|not|null|on|primary|references|rowid|strict|stored|table|"
    r"unique|virtual|where|without"
)
"""Words that say something where they stand bare, and are a mere name within quotes."""


class Strange(NamedTuple):
    """A part of a schema that is not as the migrations make it."""

    where: str
    sentence: str


def found(connection: sa.Connection) -> dict[tuple[str, str], str]:
    """(type, name) of each part of the file's schema, with what it says, however blanks, quotes and case are."""
    rows = connection.exec_driver_sql(_QUERY).all()
    return {(str(row[0]), str(row[1])): _plain(str(row[2]), str(row[3])) for row in rows if not _own(row)}


def mark(connection: sa.Connection) -> bytes:
    """One hash over all of it."""
    rows = connection.exec_driver_sql(_QUERY).all()
    return sm3(*(repr(tuple(row)).encode() for row in rows if not _own(row)))


def _own(row: Sequence[Any]) -> bool:
    return row[0] == "table" and _OWN.fullmatch(str(row[1])) is not None


def cookie(connection: sa.Connection) -> int:
    """SQLite's own number of the schema, by which a connection that is open reads it again."""
    (number,) = raw_of(connection).execute("PRAGMA main.schema_version").fetchone()
    return int(number)


def strange(connection: sa.Connection) -> list[Strange]:
    """What differs from what the migrations make, in the order of names."""
    is_, should = found(connection), _made()
    said: list[Strange] = []
    for key in sorted(is_.keys() | should.keys()):
        kind, name = key
        where = f"{kind} {name}"
        if key not in is_:
            said.append(
                Strange(
                    where,
                    "It is missing, with what it held or kept apart. Restore the control store from a backup.",
                )
            )
        elif key not in should:
            if kind in ("trigger", "view"):
                said.append(
                    Strange(where, "No program of ours makes one, and it acts when we write: drop it.")
                )
            else:
                said.append(Strange(where, "No program of ours makes it: it was added. Drop it."))
        elif is_[key] != should[key]:
            said.append(
                Strange(
                    where,
                    "It is not as this program makes it: columns, defaults, keys or constraints were changed. Restore the "
                    "control store from a backup.",
                )
            )
    return said


@cache
def _made() -> dict[tuple[str, str], str]:
    """What the migrations make, run once in memory."""
    engine = sa.create_engine("sqlite://")
    try:
        upgrade(engine)
        with engine.connect() as connection:
            return found(connection)
    finally:
        engine.dispose()


@lru_cache(maxsize=1024)
def _plain(of: str, sql: str) -> str:
    """Its words, whatever blanks stand between them, with constraints in the order of their text: a migration that writes
    a table anew leaves them in any."""
    head, parts, tail, depth = list[str](), [list[str]()], list[str](), 0
    for word in map(_word, _TOKEN.finditer(sql)):
        before, depth = depth, depth + (word == "(") - (word == ")")
        if tail:
            tail.append(word)
        elif not before:
            head.append(word)
        elif not depth:
            tail.append(word)
        elif word == "," and depth == 1:
            parts.append([])
        else:
            parts[-1].append(word)
    named = [part for part in parts if part[:1] == ["constraint"]]
    return repr((of.lower(), head, [part for part in parts if part not in named] + sorted(named), tail))


def _word(match: re.Match[str]) -> str:
    """Names are the same within quotes and without; whatever else stands in quotes stays in them."""
    quoted, text, bare = match.groups()
    if not quoted:
        return text or (bare or match[0]).lower()
    name = quoted[1:-1].lower()
    return name if _WORD.fullmatch(name) and not _SAYS.fullmatch(name) else f'"{name}"'
