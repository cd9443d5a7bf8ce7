"""What an operator changed of rules and of the order of methods."""

import sqlalchemy as sa
from alembic import op

from meterseal.control.types import Instant

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.create_table(
        "vee_changes",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("rule", sa.String(length=32), nullable=False),
        sa.Column("medium", sa.String(length=16), nullable=False),
        sa.Column("customer", sa.String(length=16), nullable=False),
        sa.Column("zone", sa.String(length=64), nullable=False),
        sa.Column("since", Instant, nullable=False),
        sa.Column("until", Instant, nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("setting", sa.Text(), nullable=False),
        sa.Column("tried", sa.Text(), nullable=False),
        sa.Column("author", sa.String(length=64), nullable=False),
        sa.Column("sealed_reason", sa.LargeBinary(), nullable=False),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("recorded_at", Instant, nullable=False),
        sa.CheckConstraint("kind in ('rule', 'order')", name=op.f("ck_vee_changes_kind")),
        sa.CheckConstraint("state in ('on', 'off')", name=op.f("ck_vee_changes_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vee_changes")),
    )
