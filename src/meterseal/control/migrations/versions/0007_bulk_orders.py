"""Orders for many devices, and how far each is."""

import sqlalchemy as sa
from alembic import op

from meterseal.control.types import Id, Instant

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "bulk_orders",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("request_id", Id(16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("not_after", Instant, nullable=False),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("sealed_content", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("state in ('running', 'ended', 'cancelled')", name=op.f("ck_bulk_orders_state")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bulk_orders")),
        sa.UniqueConstraint("request_id", name=op.f("uq_bulk_orders_request_id")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "bulk_items",
        sa.Column("bulk_id", sa.Integer(), nullable=False),
        sa.Column("device_id", Id(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("word_id", sa.Integer(), nullable=True),
        sa.CheckConstraint(
            "state in ('pending', 'queued', 'skipped', 'cancelled')", name=op.f("ck_bulk_items_state")
        ),
        sa.ForeignKeyConstraint(
            ["bulk_id"], ["bulk_orders.id"], name=op.f("fk_bulk_items_bulk_id_bulk_orders")
        ),
        sa.PrimaryKeyConstraint("bulk_id", "device_id", name=op.f("pk_bulk_items")),
    )
    with op.batch_alter_table("bulk_items", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_bulk_items_bulk_id_state"), ["bulk_id", "state"], unique=False)
        batch_op.create_index(batch_op.f("ix_bulk_items_word_id"), ["word_id"], unique=False)
