"""Control store, the field: premises, meters and modules, sessions of the link, and what waits to be said to devices.

Tables alone; who writes which of them is said by the stations that do.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
)

from meterseal.control.tables.shape import metadata
from meterseal.control.types import Id, Instant

# --- assets ----------------------------------------------------------------------------------------------

premises = Table("premises", metadata, Column("id", String(32), primary_key=True))

usage_points = Table(
    "usage_points",
    metadata,
    Column("id", String(32), primary_key=True),  # a pseudonym: random, says nothing of the place
    Column("premises_id", ForeignKey("premises.id"), nullable=False, index=True),
    Column("medium", String(16), nullable=False),
    CheckConstraint("medium in ('water', 'gas', 'heat', 'electricity')", name="medium"),
)

concentrators = Table(
    "concentrators",
    metadata,
    Column("device_id", Id(), primary_key=True),
    Column("sealed_name", LargeBinary, nullable=False),  # a name may say where it hangs
    Column("key_version", Integer, nullable=False),
)

meters = Table(
    "meters",
    metadata,
    Column("device_id", Id(), primary_key=True),
    Column("usage_point_id", ForeignKey("usage_points.id"), nullable=False, index=True),
    Column("protocol", String(16), nullable=False),  # cjt188, dlt645
    Column("sealed_parameters", LargeBinary),  # msgpack [profile, riser]
    Column("key_version", Integer),
    Column("since", Instant, nullable=False),  # at its usage point while since <= end_at < until
    Column("until", Instant),
    Column("plain", Boolean, nullable=False, default=False),  # no module: a concentrator vouches for it
    Column("concentrator_id", ForeignKey("concentrators.device_id"), index=True),
    Column("suite", SmallInteger),  # 1, 2; NULL for plain meters
    Column("module_id", Id()),
    Column("project", Id(16)),
)

# Where a meter was before it was put in place again; its row in `meters` says where it is or was last.
former_installations = Table(
    "former_installations",
    metadata,
    Column("device_id", Id(), primary_key=True),
    Column("since", Instant, primary_key=True),
    Column("until", Instant, nullable=False),
    Column("usage_point_id", ForeignKey("usage_points.id"), nullable=False, index=True),
)

# What an installer read off the meters as one was taken out, put in, or exchanged for another (ADR 0035).
meter_changes = Table(
    "meter_changes",
    metadata,
    Column("usage_point_id", ForeignKey("usage_points.id"), primary_key=True),
    Column("at", Instant, primary_key=True),
    Column("removed", Id()),
    Column("installed", Id()),
    Column("recorded_at", Instant, nullable=False),
    Column(
        "sealed_stated", LargeBinary, nullable=False
    ),  # msgpack things.exchange.Stated: registers, reason, who
    Column("key_version", Integer, nullable=False),
)

meter_status = Table(
    "meter_status",
    metadata,
    Column("device_id", Id(), primary_key=True),
    Column("at", Instant, nullable=False),
    Column("sealed_state", LargeBinary, nullable=False),  # msgpack [valve, battery_low, raw]
    Column("key_version", Integer, nullable=False),
    Column("received_at", Instant, nullable=False),
)

# --- sessions of the link --------------------------------------------------------------------------------

sessions = Table(
    "sessions",
    metadata,
    Column("session_id", Id(), primary_key=True),
    Column("device_id", Id(), nullable=False),
    Column("module_id", Id(), nullable=False),
    Column("suite", SmallInteger, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),  # traffic keys, wrapped by the security service
    Column("policy", SmallInteger, nullable=False),  # of SESSION: 0 plain, 1 both, 2 cipher only
    Column("records_allowed", BigInteger, nullable=False),
    Column("seconds_allowed", BigInteger, nullable=False),
    Column("platform_until", Instant),  # notAfter of the platform certificate (suite 1)
    Column("created_at", Instant, nullable=False),
    Column("replaced_at", Instant),
    Column("owner_epoch", BigInteger, nullable=False, default=0),
    Column("down_reserved", BigInteger, nullable=False, default=0),
    Column("profile", String(64), nullable=False, server_default="meterseal-1"),  # how its records are sealed
    Column("skipped", BigInteger, nullable=False, server_default="0"),  # of `down_leases.skipped`, by now
    Index(None, "device_id", "created_at"),
)

# One row: how many down counters were reserved in all, how many the security service has on record as leased, and how
# many were skipped in every session because an older copy of this store may have been put back (ADR 0020).
down_leases = Table(
    "down_leases",
    metadata,
    Column("id", SmallInteger, primary_key=True),
    Column("reserved", BigInteger, nullable=False),
    Column("leased", BigInteger, nullable=False),
    Column("skipped", BigInteger, nullable=False),
)

# Written only by the store of measurements, in the transaction that moves its journal position; without a
# foreign key, because a counter is consumed whether or not its session is still kept.
consumed_counters = Table(
    "consumed_counters",
    metadata,
    Column("session_id", Id(), primary_key=True),
    Column("ranges", LargeBinary, nullable=False),  # link.counters, as bytes
    Column("changed_at", Instant, nullable=False),
)

# What waits to be said to devices, and what became of it (ADR 0015). Content and answer hold ciphertext only.
down_words = Table(
    "down_words",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("device_id", Id(), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column(
        "request_id", Id(16), nullable=False, unique=True
    ),  # asking again for the same word makes no second one
    Column("number", BigInteger),  # of a guarded command, given by the security service
    Column("created_at", Instant, nullable=False),
    Column("not_after", Instant, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("sent_at", Instant),
    Column("sent_session", Id()),
    Column("ended_at", Instant),
    Column("key_version", Integer, nullable=False),
    Column("sealed_content", LargeBinary, nullable=False),
    Column("sealed_answer", LargeBinary),
    Index(None, "device_id", "state"),
    Index(None, "state", "id"),
    CheckConstraint("kind in ('request', 'guarded', 'key', 'cert', 'rekey', 'close')", name="kind"),
    CheckConstraint(
        "state in ('waiting', 'sent', 'done', 'refused', 'expired', 'unknown', 'withdrawn')", name="state"
    ),
    sqlite_autoincrement=True,  # an id is never given twice, even after the newest row is gone
)

# Orders for many devices that officers signed, and how far each is (ADR 0028); what a device was told is a word.
bulk_orders = Table(
    "bulk_orders",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("request_id", Id(16), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("not_after", Instant, nullable=False),
    Column("key_version", Integer, nullable=False),
    Column("sealed_content", LargeBinary, nullable=False),  # msgpack SignedBulk
    CheckConstraint("state in ('running', 'ended', 'cancelled')", name="state"),
    sqlite_autoincrement=True,
)

bulk_items = Table(
    "bulk_items",
    metadata,
    Column("bulk_id", ForeignKey("bulk_orders.id"), primary_key=True),
    Column("device_id", Id(), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("code", String(64), nullable=False),  # why it was skipped
    Column("word_id", Integer, index=True),
    Index(None, "bulk_id", "state"),
    CheckConstraint("state in ('pending', 'queued', 'skipped', 'cancelled')", name="state"),
)
