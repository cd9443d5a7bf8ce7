"""Values in the control store that are of another kind than their column: text where a number belongs, or nothing at all.

It compares no value with what was written (`rowcheck` does) and mends none. SQLite keeps whatever somebody puts into a
column, and NOT NULL is a word in its schema; every writer of ours goes through columns with types. So such a value is
somebody else's, and it may end a question half-way that would have shown more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from meterseal.control.engine import read
from meterseal.control.tables import metadata
from meterseal.control.types import Document
from meterseal.errors import DataError, MetersealError

UNFIT = (
    TypeError,
    ValueError,
    OverflowError,
    AttributeError,
    msgspec.MsgspecError,
    sa.exc.StatementError,
)
"""What Python says where a value of another kind is taken for one of ours."""
AT_START = (
    "stores",
    "segments",
    "rollups",
    "trail_keys",
    "data_keys",
    "wrapping_floors",
    "service_heads",
    "ledger_checkpoints",
)
"""Tables that a start cannot go on without, all of them small."""
OTHER = "A value in it is of another kind than we write: it was changed."
"""What became of a row, or a table, that a question ended at so."""
_KINDS = {"integer": "a whole number", "text": "text", "blob": "bytes", "null": "nothing", "real": "a number"}


class Misfit(NamedTuple):
    """A value of another kind; `where` names table and row, by SQLite's number of it."""

    table: str
    row: int
    column: str
    found: str
    wanted: str

    @property
    def where(self) -> str:
        """Where it stands."""
        return f"{self.table}, row number {self.row}"

    @property
    def sentence(self) -> str:
        """What is wrong with it."""
        return (
            f"Its column {self.column} holds {_KINDS[self.found]}, where {_KINDS[self.wanted]} belongs: no program of ours "
            "writes that. Compare with a backup."
        )


def why(error: Exception) -> str:
    """What to say of an error that ended a question: its own sentence, or `OTHER` for one of Python's."""
    return error.message if isinstance(error, MetersealError) else OTHER


def kind_of(column: sa.Column[Any]) -> str:
    """What SQLite calls a value of this column."""
    if isinstance(column.type, sa.LargeBinary) or isinstance(
        getattr(column.type, "impl", None), sa.LargeBinary
    ):
        return "blob"
    return "text" if isinstance(column.type, sa.String | Document) else "integer"


def misfits(connection: sa.Connection, tables: Iterable[str], most: int = 100) -> Iterator[Misfit]:
    """Values of another kind, at most so many of each table; one pass over it. A table that is not there has none, nor has
    one whose rows have no numbers, which the schema names."""
    there = set(sa.inspect(connection).get_table_names())
    for table in (metadata.tables[name] for name in sorted(tables) if name in there):
        if not _numbered(connection, table.name):
            continue
        wrong = {
            column.name: f"""typeof("{column.name}") NOT IN ('{kind_of(column)}', '{"null" if column.nullable else ""}')"""
            for column in table.columns
        }
        kinds = ", ".join(f'typeof("{name}"), {test}' for name, test in wrong.items())
        query = f'SELECT rowid, {kinds} FROM "{table.name}" WHERE {" OR ".join(wrong.values())} LIMIT {most}'  # noqa: S608 - names of our own tables
        for row in connection.exec_driver_sql(query):
            for place, column in enumerate(table.columns):
                if row[2 * place + 2]:
                    yield Misfit(table.name, row[0], column.name, row[2 * place + 1], kind_of(column))


def _numbered(connection: sa.Connection, table: str) -> bool:
    """Have its rows numbers, or did somebody make it WITHOUT ROWID?"""
    try:
        connection.exec_driver_sql(f'SELECT rowid FROM "{table}" LIMIT 0')  # noqa: S608 - as above
    except sa.exc.OperationalError as error:
        if "no such column" not in str(error.orig):
            raise
        return False
    return True


def check(engine: sa.Engine, tables: Iterable[str] = AT_START) -> None:
    """DataError `control.kind` that names the first value of another kind. EngineError `control.*`."""
    with read(engine) as connection:
        found = next(misfits(connection, tables, 1), None)
    if found is not None:
        raise DataError("control.kind", f"{found.where} of the control store: {found.sentence}")
