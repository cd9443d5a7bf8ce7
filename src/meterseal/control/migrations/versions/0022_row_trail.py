"""The trail of rows, and the key that its entries are under."""

import sqlalchemy as sa
from alembic import op

from meterseal.control.types import Id, Instant

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.create_table(
        "row_trail",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("previous", Id(32), nullable=False),
        sa.Column("hash", Id(32), nullable=False),
        sa.Column("tag", Id(32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_row_trail")),
    )
    op.create_table(
        "trail_keys",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trail_keys")),
    )
