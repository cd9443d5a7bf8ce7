"""Images of firmware, campaigns that renew meters, what devices say of theirs."""

import sqlalchemy as sa
from alembic import op

from meterseal.control.types import Id, Instant

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "firmware_images",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=96), nullable=False),
        sa.Column("model", sa.String(length=32), nullable=False),
        sa.Column("hardware", sa.Integer(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("lowest", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("root", Id(32), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("released_at", Instant, nullable=True),
        sa.Column("manifest", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_firmware_images")),
        sa.UniqueConstraint("name", name=op.f("uq_firmware_images_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "firmware_campaigns",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("bulk_id", sa.Integer(), nullable=False),
        sa.Column("image", sa.String(length=96), nullable=False),
        sa.Column("digest", Id(32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("wave", sa.SmallInteger(), nullable=False),
        sa.Column("waves", sa.SmallInteger(), nullable=False),
        sa.Column("stop_percent", sa.SmallInteger(), nullable=False),
        sa.Column("forgiven", sa.Integer(), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.CheckConstraint(
            "state in ('running', 'stopped', 'ended', 'cancelled')", name=op.f("ck_firmware_campaigns_state")
        ),
        sa.ForeignKeyConstraint(
            ["bulk_id"], ["bulk_orders.id"], name=op.f("fk_firmware_campaigns_bulk_id_bulk_orders")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_firmware_campaigns")),
        sa.UniqueConstraint("bulk_id", name=op.f("uq_firmware_campaigns_bulk_id")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "firmware_items",
        sa.Column("campaign_id", sa.Integer(), nullable=False),
        sa.Column("device_id", Id(), nullable=False),
        sa.Column("wave", sa.SmallInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("changed_at", Instant, nullable=False),
        sa.CheckConstraint(
            "state in ('waiting', 'sending', 'ready', 'trial', 'done', 'failed', 'cancelled')",
            name=op.f("ck_firmware_items_state"),
        ),
        sa.ForeignKeyConstraint(
            ["campaign_id"],
            ["firmware_campaigns.id"],
            name=op.f("fk_firmware_items_campaign_id_firmware_campaigns"),
        ),
        sa.PrimaryKeyConstraint("campaign_id", "device_id", name=op.f("pk_firmware_items")),
    )
    with op.batch_alter_table("firmware_items", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_firmware_items_device_id"), ["device_id"], unique=False)
    op.create_table(
        "firmware_devices",
        sa.Column("device_id", Id(), nullable=False),
        sa.Column("session_id", Id(), nullable=False),
        sa.Column("counter", sa.BigInteger(), nullable=False),
        sa.Column("reported_at", Instant, nullable=False),
        sa.Column("model", sa.String(length=32), nullable=False),
        sa.Column("hardware", sa.Integer(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("phase", sa.SmallInteger(), nullable=False),
        sa.Column("reason", sa.SmallInteger(), nullable=False),
        sa.Column("report", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("device_id", name=op.f("pk_firmware_devices")),
    )
    op.create_table(
        "firmware_keys",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_firmware_keys")),
    )
