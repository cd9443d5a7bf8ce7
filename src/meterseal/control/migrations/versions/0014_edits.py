"""What people wished to change of readings."""

import sqlalchemy as sa
from alembic import op

from meterseal.control.types import Id, Instant

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "edits",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("usage_point", sa.String(length=32), nullable=False),
        sa.Column("channel", sa.SmallInteger(), nullable=False),
        sa.Column("since", Instant, nullable=False),
        sa.Column("until", Instant, nullable=False),
        sa.Column("undoes", sa.Integer(), nullable=True),
        sa.Column("people", sa.SmallInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("author", sa.String(length=64), nullable=False),
        sa.Column("officers", sa.String(length=512), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("saved_at", Instant, nullable=True),
        sa.Column("sealed_content", sa.LargeBinary(), nullable=False),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("digest", Id(length=32), nullable=False),
        sa.CheckConstraint(
            "state in ('proposed', 'saved', 'undone', 'withdrawn')", name=op.f("ck_edits_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_edits")),
    )
    with op.batch_alter_table("edits", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_edits_usage_point"), ["usage_point"], unique=False)
