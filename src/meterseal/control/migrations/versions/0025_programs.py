"""The versions that judge are kept once, and not in the row of every run; rows of before keep what they have."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    op.create_table(
        "vee_programs",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("versions", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vee_programs")),
    )
