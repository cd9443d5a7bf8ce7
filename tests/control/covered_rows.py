"""A control store with one or two rows in every table that the trail of rows covers."""

from __future__ import annotations

import sqlalchemy as sa

from meterseal.control import write
from meterseal.control.covered import COVERED
from meterseal.control.tables import metadata

WORDS = {
    "medium": "water",
    "severity": "info",
    "role": "resident",
    "state": "proposed",
}
KINDS = {"point_facts": "multiplier", "vee_changes": "rule", "day_kinds": "holiday", "retentions": "rule"}
STATES = {"vee_changes": "on", "edits": "proposed"}


def value(column: sa.Column[object], number: int) -> object:
    """One that the column takes, another for each number."""
    if column.name == "kind":
        return KINDS.get(column.table.name, f"kind {number}")
    if column.name == "state":
        return STATES.get(column.table.name, f"x{number}")
    if column.name in WORDS:
        return WORDS[column.name]
    kind = column.type.__class__.__name__
    if kind == "Document":
        return {"number": number}
    if kind == "Boolean":
        return False
    if kind == "Id":
        return bytes([number]) * int(column.type.length)  # type: ignore[attr-defined]
    if kind == "LargeBinary":
        return f"sealed {number}".encode()
    if kind in ("String", "Text"):
        return f"x{number}"
    assert kind in ("Instant", "Integer", "BigInteger", "SmallInteger"), f"{column} is {kind}"
    return number


def fill(engine: sa.Engine, *numbers: int) -> None:
    """A row of each number in every covered table, and in those that they refer to."""
    names = {covered.name for covered in COVERED} - {"trail_keys"}  # the trail's own, which it makes
    with write(engine) as connection:
        for table in metadata.sorted_tables:
            if table.name in names:
                for number in numbers:
                    row = {column.name: value(column, number) for column in table.columns}
                    connection.execute(table.insert().values(row))
