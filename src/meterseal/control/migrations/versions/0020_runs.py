"""What runs of the rules saw and said, trials, answers about the past; weather and kinds of days as they were told."""

import sqlalchemy as sa
from alembic import op

from meterseal.control.types import Instant

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.create_table(
        "vee_runs",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", Instant, nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ("entry", "fact", "change", "exchange", "weather", "day")
        ),
        sa.Column("channels", sa.Integer(), nullable=False),
        sa.Column("looked", sa.LargeBinary(), nullable=False),
        sa.Column("program", sa.Text(), nullable=False),
        sa.Column("readings", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("findings", "versions", "unread")),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vee_runs")),
    )
    op.create_table(
        "vee_channels",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vee_channels")),
    )
    op.create_table(
        "vee_exchanges",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("usage_point", sa.String(length=32), nullable=False),
        sa.Column("begins", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vee_exchanges")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "vee_trials",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("change", sa.LargeBinary(), nullable=False),
        sa.Column("tried", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vee_trials")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "answered",
        sa.Column("at", Instant, nullable=False),
        sa.Column("entry", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("at", name=op.f("pk_answered")),
    )
    op.rename_table("weather", "weather_before")
    op.create_table(
        "weather",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("hour", sa.Integer(), nullable=False),
        sa.Column("centidegrees", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_weather")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_weather_hour"), "weather", ["hour"])
    op.execute(
        "insert into weather (hour, centidegrees) select hour, centidegrees from weather_before order by hour"
    )
    op.drop_table("weather_before")
    op.rename_table("day_kinds", "day_kinds_before")
    op.create_table(
        "day_kinds",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.CheckConstraint("kind in ('holiday', 'workday')", name=op.f("ck_day_kinds_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_day_kinds")),
        sqlite_autoincrement=True,
    )
    op.execute("insert into day_kinds (day, kind) select day, kind from day_kinds_before order by day")
    op.drop_table("day_kinds_before")
