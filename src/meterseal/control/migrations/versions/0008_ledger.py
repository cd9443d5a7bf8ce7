"""Keys of the ledger's salts, and its signed checkpoints."""

import sqlalchemy as sa
from alembic import op

from meterseal.control.types import Instant

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "ledger_seeds",
        sa.Column("usage_point", sa.String(length=32), nullable=False),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("sealed_nodes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("usage_point", name=op.f("pk_ledger_seeds")),
    )
    op.create_table(
        "ledger_checkpoints",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_ledger_checkpoints")),
    )
