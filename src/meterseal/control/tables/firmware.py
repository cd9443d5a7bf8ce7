"""Control store, firmware (ADR 0030): images, campaigns, and what each device said of itself last.

Tables alone; what is released says the repository, whose word is verified each time.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
)

from meterseal.control.tables.shape import metadata
from meterseal.control.types import Id, Instant

# Images that were imported; which of them are released says the repository, whose word is verified each time.
firmware_images = Table(
    "firmware_images",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(96), nullable=False, unique=True),
    Column("model", String(32), nullable=False),
    Column("hardware", Integer, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("lowest", BigInteger, nullable=False),
    Column("size", Integer, nullable=False),
    Column("root", Id(32), nullable=False),  # of the tree over its blocks
    Column("created_at", Instant, nullable=False),
    Column("released_at", Instant),
    Column("manifest", LargeBinary),  # as it was released
    sqlite_autoincrement=True,
)

# Who renews which meters, in waves; the order that officers signed is the bulk order.
firmware_campaigns = Table(
    "firmware_campaigns",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("bulk_id", ForeignKey("bulk_orders.id"), nullable=False, unique=True),
    Column("image", String(96), nullable=False),
    Column("digest", Id(32), nullable=False),  # of the manifest
    Column("state", String(16), nullable=False),
    Column("wave", SmallInteger, nullable=False),
    Column("waves", SmallInteger, nullable=False),
    Column("stop_percent", SmallInteger, nullable=False),
    Column("forgiven", Integer, nullable=False),  # failures that somebody has looked at
    Column("created_at", Instant, nullable=False),
    CheckConstraint("state in ('running', 'stopped', 'ended', 'cancelled')", name="state"),
    sqlite_autoincrement=True,
)

firmware_items = Table(
    "firmware_items",
    metadata,
    Column("campaign_id", ForeignKey("firmware_campaigns.id"), primary_key=True),
    Column("device_id", Id(), primary_key=True, index=True),
    Column("wave", SmallInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("code", String(64), nullable=False),  # why it failed
    Column("changed_at", Instant, nullable=False),
    CheckConstraint(
        "state in ('waiting', 'sending', 'ready', 'trial', 'done', 'failed', 'cancelled')", name="state"
    ),
)

# What each device said of its firmware last.
firmware_devices = Table(
    "firmware_devices",
    metadata,
    Column("device_id", Id(), primary_key=True),
    Column("session_id", Id(), nullable=False),
    Column("counter", BigInteger, nullable=False),
    Column("reported_at", Instant, nullable=False),
    Column("model", String(32), nullable=False),
    Column("hardware", Integer, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("phase", SmallInteger, nullable=False),
    Column("reason", SmallInteger, nullable=False),
    Column("report", LargeBinary, nullable=False),  # its very bytes
)

firmware_keys = Table(
    "firmware_keys",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("key_version", Integer, nullable=False),
    Column("sealed_key", LargeBinary, nullable=False),  # signs that a list of releases is the newest
)
