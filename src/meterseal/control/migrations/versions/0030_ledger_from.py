"""From where on the ledger holds is a column of its own, which the trail of rows covers; counts change all the time."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    op.add_column("stores", sa.Column("ledger_from", sa.Text(), nullable=True))
    op.execute(
        "UPDATE stores SET ledger_from = (SELECT json_group_object(key, value) FROM (SELECT key, value FROM "
        "json_each(stores.counts) WHERE key IN ('leaves_from', 'leaves_in_time_from') ORDER BY key)) "
        "WHERE json_extract(counts, '$.leaves_from') IS NOT NULL"
    )
