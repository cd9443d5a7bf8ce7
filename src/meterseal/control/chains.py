"""Where a hash-chained table ends: what the next row follows, whatever somebody made of the last one.

It verifies no chain; `acts`, `rowtrail` and `things.monitor` each do theirs.
"""

from __future__ import annotations

import sqlalchemy as sa

GENESIS = bytes(32)
"""What the first row follows."""
_LARGEST = 1 << 48
"""No chain of ours comes so far."""


def end(connection: sa.Connection, table: sa.Table) -> tuple[int, bytes]:
    """Number and hash of the last row; 0 and `GENESIS` of an empty table.

    A number beyond all of ours, or a hash that is none, is somebody else's: it must not keep our next row out, and whoever
    verifies the chain names it. Behind such a number the chain goes on where its numbers without a gap end.
    """
    query = sa.select(table.c.id, table.c.hash)
    row = connection.execute(query.order_by(table.c.id.desc()).limit(1)).first()
    if row is not None and not (type(row.id) is int and row.id < _LARGEST):
        after = table.alias()
        ours = table.c.id.between(0, _LARGEST - 1) & ~sa.exists().where(after.c.id == table.c.id + 1)
        row = connection.execute(query.where(ours).order_by(table.c.id).limit(1)).first()
    if row is None or row.id < 0:
        return 0, GENESIS
    return row.id, row.hash if type(row.hash) is bytes else GENESIS
