"""How long readings are kept, and what was rolled up."""

import sqlalchemy as sa
from alembic import op

from meterseal.control.types import Instant

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.create_table(
        "rollups",
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("readings", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_rollups")),
    )
    op.create_table(
        "retentions",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("author", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("subject", sa.String(length=48), nullable=False),
        sa.Column("intervals", sa.Integer(), nullable=True),
        sa.Column("days", sa.Integer(), nullable=True),
        sa.Column("sealed_reason", sa.LargeBinary(), nullable=True),
        sa.Column("key_version", sa.Integer(), nullable=True),
        sa.CheckConstraint("kind in ('rule', 'hold')", name=op.f("ck_retentions_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_retentions")),
    )
