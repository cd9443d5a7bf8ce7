"""What rules know of usage points, appended and never changed."""

import sqlalchemy as sa
from alembic import op

from meterseal.control.types import Instant

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "point_facts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("usage_point", sa.String(length=32), nullable=False),
        sa.Column("channel", sa.SmallInteger(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("value", sa.String(length=64), nullable=False),
        sa.Column("since", Instant, nullable=False),
        sa.Column("until", Instant, nullable=True),
        sa.Column("recorded_at", Instant, nullable=False),
        sa.CheckConstraint(
            "kind in ('class', 'size', 'main', 'group', 'heats', 'limit', 'vacant', 'heating', 'event')",
            name=op.f("ck_point_facts_kind"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_point_facts")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("point_facts", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_point_facts_kind_usage_point"), ["kind", "usage_point"], unique=False
        )
