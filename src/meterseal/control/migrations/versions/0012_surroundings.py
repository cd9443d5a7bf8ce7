"""The weather by the hour, and days that are not what their weekday says."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "weather",
        sa.Column("hour", sa.Integer(), nullable=False),
        sa.Column("centidegrees", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hour", name=op.f("pk_weather")),
    )
    op.create_table(
        "day_kinds",
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.CheckConstraint("kind in ('holiday', 'workday')", name=op.f("ck_day_kinds_kind")),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_day_kinds")),
    )
