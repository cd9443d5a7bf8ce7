"""Down counters are leased from the security service, so that an older copy of this store gives none out twice."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("sessions", sa.Column("skipped", sa.BigInteger(), nullable=False, server_default="0"))
    op.create_table(
        "down_leases",
        sa.Column("id", sa.SmallInteger(), nullable=False),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.Column("leased", sa.BigInteger(), nullable=False),
        sa.Column("skipped", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_down_leases")),
    )
