"""Meters that were exchanged, taken out and put in place again."""

import sqlalchemy as sa
from alembic import op

from meterseal.control.types import Id, Instant

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "former_installations",
        sa.Column("device_id", Id(), nullable=False),
        sa.Column("since", Instant, nullable=False),
        sa.Column("until", Instant, nullable=False),
        sa.Column("usage_point_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["usage_point_id"],
            ["usage_points.id"],
            name=op.f("fk_former_installations_usage_point_id_usage_points"),
        ),
        sa.PrimaryKeyConstraint("device_id", "since", name=op.f("pk_former_installations")),
    )
    with op.batch_alter_table("former_installations", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_former_installations_usage_point_id"), ["usage_point_id"], unique=False
        )
    op.create_table(
        "meter_changes",
        sa.Column("usage_point_id", sa.String(length=32), nullable=False),
        sa.Column("at", Instant, nullable=False),
        sa.Column("removed", Id(), nullable=True),
        sa.Column("installed", Id(), nullable=True),
        sa.Column("recorded_at", Instant, nullable=False),
        sa.Column("sealed_stated", sa.LargeBinary(), nullable=False),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["usage_point_id"], ["usage_points.id"], name=op.f("fk_meter_changes_usage_point_id_usage_points")
        ),
        sa.PrimaryKeyConstraint("usage_point_id", "at", name=op.f("pk_meter_changes")),
    )
