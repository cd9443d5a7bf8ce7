"""Which leaves lost their salts with a person."""

import sqlalchemy as sa
from alembic import op

from meterseal.control.types import Id

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.create_table(
        "ledger_erasures",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("usage_point", sa.String(length=32), nullable=False),
        sa.Column("first_day", sa.Integer(), nullable=False),
        sa.Column("last_day", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("leaves", sa.BigInteger(), nullable=False),
        sa.Column("digest", Id(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ledger_erasures")),
        sqlite_autoincrement=True,
    )
