"""Control store, people and money: customers, tariffs, bills, accounts, and the trails of what was refused and done.

Tables alone. Names and addresses stand here as ciphertext only.
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
    Text,
    UniqueConstraint,
)

from meterseal.control.tables.shape import metadata
from meterseal.control.types import Document, Id, Instant

# --- customers and money ---------------------------------------------------------------------------------

customers = Table(
    "customers",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", LargeBinary),  # sealed under the customer's data key; NULL once erased
    Column("address", LargeBinary),  # sealed likewise
    Column("wrapped_key", LargeBinary),  # deleting it erases the person
    Column("key_version", Integer, nullable=False, default=1),  # of the customer's own key
    Column("created_at", Instant, nullable=False),
    Column("erased_at", Instant),
)

tariffs = Table(
    "tariffs",
    metadata,
    Column("code", String(64), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("medium", String(16), nullable=False),
    Column("since", Instant, nullable=False),
    Column("document", Document, nullable=False),
)

agreements = Table(
    "agreements",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("customer_id", ForeignKey("customers.id"), nullable=False, index=True),
    Column("usage_point_id", ForeignKey("usage_points.id"), nullable=False, index=True),
    Column("tariff_code", String(64), nullable=False),
    Column("tariff_version", Integer),  # NULL: whichever version of the code is in force
    Column("since", Instant, nullable=False),
    Column("until", Instant),
    Column("billing_day", SmallInteger, nullable=False),
    Column("sealed_opening", LargeBinary),  # msgpack [use of the year before, exponent]; NULL for none
    Column("key_version", Integer),
)

bills = Table(
    "bills",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("agreement_id", ForeignKey("agreements.id"), nullable=False),
    Column("since", Instant, nullable=False),
    Column("until", Instant, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("version", Integer, nullable=False),
    Column("sealed_document", LargeBinary, nullable=False),  # sums too: price and sum tell the use
    Column("key_version", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    UniqueConstraint("agreement_id", "since", "until", "version"),
)

held_bills = Table(
    "held_bills",
    metadata,
    Column("agreement_id", ForeignKey("agreements.id"), primary_key=True),
    Column("since", Instant, primary_key=True),
    Column("until", Instant, nullable=False),
    Column("code", String(64), nullable=False),
    Column("sentence", Text, nullable=False),
    Column("found_at", Instant, nullable=False),
)

bill_runs = Table(
    "bill_runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("document", Document, nullable=False),
)

# --- accounts --------------------------------------------------------------------------------------------

accounts = Table(
    "accounts",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("customer_id", ForeignKey("customers.id"), index=True),  # set for residents
    Column("password_hash", Text),
    Column("locale", String(16), nullable=False, default="zh_Hans_CN"),
    Column("created_at", Instant, nullable=False),
    Column("disabled_at", Instant),
    CheckConstraint("role in ('resident', 'operator')", name="role"),
)

sign_in_links = Table(
    "sign_in_links",
    metadata,
    Column("token_hash", Id(32), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("expires_at", Instant, nullable=False),
    Column("used_at", Instant),
)

web_sessions = Table(
    "web_sessions",
    metadata,
    Column("token_hash", Id(32), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False, index=True),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
)

# --- audit -----------------------------------------------------------------------------------------------

refusals = Table(
    "refusals",
    metadata,
    Column("id", Integer, primary_key=True),  # 1, 2, 3 … without a hole
    Column("at", Instant, nullable=False, index=True),
    Column("code", String(64), nullable=False),
    Column("sentence", Text, nullable=False),
    Column("device_id", LargeBinary(8), nullable=False),  # empty when the message named none
    Column("session_id", LargeBinary(8), nullable=False),
    Column("counter", BigInteger, nullable=False),
    Column("source", String(128), nullable=False),
    Column("previous", Id(32), nullable=False),
    Column("hash", Id(32), nullable=False),
)

acts = Table(
    "acts",
    metadata,
    Column("id", Integer, primary_key=True),  # 1, 2, 3 … without a hole
    Column("at", Instant, nullable=False),
    Column("actor", String(64), nullable=False),
    Column("act", String(64), nullable=False),
    Column("subject", String(64), nullable=False),  # an id, never a name
    Column("previous", Id(32), nullable=False),
    Column("hash", Id(32), nullable=False),
)

# What each transaction wrote into tables that decide something (ADR 0047); `rowtrail` packs and reads it.
row_trail = Table(
    "row_trail",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # 1, 2, 3 … without a hole
    Column("at", Instant, nullable=False),
    Column(
        "content", LargeBinary, nullable=False
    ),  # msgpack control.rowtrail.Entry: keys and digests of rows
    Column("previous", Id(32), nullable=False),
    Column("hash", Id(32), nullable=False),
    Column("tag", Id(32), nullable=False),  # HMAC over the hash, under the key below
)

trail_keys = Table(
    "trail_keys",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("key_version", Integer, nullable=False),
    Column("sealed_key", LargeBinary, nullable=False),
)
