"""All tables of the control store: the one place that says what is remembered about assets, people and money.

No query and no rule here. What could show a reading, a name or a key is a `…sealed…` or `wrapped…` column and
holds only SM4-GCM ciphertext, associated data = table || row key || key version (DESIGN section 5). Times are
`Instant` columns named `…_at`, or `since`/`until` for half-open periods; `until` is NULL while it lasts.
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
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from meterseal.control.types import Document, Id, Instant

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

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

# --- firmware (ADR 0030) ---------------------------------------------------------------------------------

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

# --- measurements: everything about them except the values -----------------------------------------------

data_keys = Table(
    "data_keys",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("purpose", String(32), nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
)

# Per kind of wrapped key: the version of the security service's wrapping key below which nothing is stored any more.
wrapping_floors = Table(
    "wrapping_floors",
    metadata,
    Column("kind", String(32), primary_key=True),
    Column("version", Integer, nullable=False),
)

# The head of another process's audit log as it was last seen; `lost_at` while a later look did not find it there.
service_heads = Table(
    "service_heads",
    metadata,
    Column("service", String(32), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("lost_at", Instant),
    Column("learned", BigInteger, nullable=False, server_default="0"),  # entries that were read for modules
)

service_modules = Table(  # whom the security service enrolled and withdrew, as its log says
    "service_modules",
    metadata,
    Column("module_id", Id(), primary_key=True),
    Column("device_id", Id(), nullable=False),
    Column("withdrawn_at", Instant),
)

stores = Table(
    "stores",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("sequence", BigInteger, nullable=False),  # last journal entry that is in segments and tables
    Column("counts", Document, nullable=False),  # what came, up to that entry
    Column("sealed_mark", LargeBinary, nullable=False),  # the key that digests of findings are made with
    Column("key_version", Integer, nullable=False),
)

segments = Table(
    "segments",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("store_id", String(32), nullable=False),
    Column("medium", String(16), nullable=False),
    Column("month", Integer, nullable=False),  # 202611: month of end_at, UTC
    Column("path", String(256), nullable=False),
    Column("key_version", Integer, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("digest", Id(32), nullable=False),  # SM3 of the sealed file
    Column("first_usage_point", String(32), nullable=False),
    Column("last_usage_point", String(32), nullable=False),
    Column("first_end_at", Instant, nullable=False),
    Column("last_end_at", Instant, nullable=False),
    Column("journal_first", BigInteger, nullable=False),
    Column("journal_last", BigInteger, nullable=False),
    Column("created_at", Instant, nullable=False),
    Index(None, "store_id", "medium", "month"),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("session_id", Id(), nullable=False),
    Column("counter", BigInteger, nullable=False),
    Column("device_id", Id(), nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("reject_class", SmallInteger, nullable=False),  # 1 does not decode, 2 policy, 3 unknown meter
    Column("code", String(64), nullable=False),
    Column("key_version", Integer, nullable=False),
    Column("sealed_record", LargeBinary, nullable=False),
    UniqueConstraint("session_id", "counter", "code", "device_id"),
)

findings = Table(
    "findings",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("usage_point", String(32), nullable=False),
    Column("channel", SmallInteger, nullable=False),
    Column("since", Instant, nullable=False),
    Column("until", Instant, nullable=False),
    Column("rule", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("severity", String(16), nullable=False),
    Column("detail", Document, nullable=False),  # parameters and counts, never a register
    Column("sealed_values", LargeBinary),  # the registers it is about, where that matters
    Column("key_version", Integer),
    Column("digest", Id(32), nullable=False),  # keyed: the same finding has the same one
    Column("run", String(32), nullable=False),
    UniqueConstraint("usage_point", "channel", "since", "until", "rule", "digest"),
    CheckConstraint("severity in ('info', 'warning', 'error')", name="severity"),
)

# What people wished to change of readings (ADR 0038). The versions are in the store of measurements once it is saved.
edits = Table(
    "edits",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # 1, 2, 3 … without a hole
    Column("usage_point", String(32), nullable=False, index=True),
    Column("channel", SmallInteger, nullable=False),
    Column("since", Instant, nullable=False),
    Column("until", Instant, nullable=False),
    Column("undoes", Integer),  # the edit that it takes back
    Column("people", SmallInteger, nullable=False),  # officers who must sign it
    Column("state", String(16), nullable=False),
    Column("author", String(64), nullable=False),
    Column("officers", String(512), nullable=False),  # ids of those who signed, between commas
    Column("created_at", Instant, nullable=False),
    Column("saved_at", Instant),
    Column(
        "sealed_content", LargeBinary, nullable=False
    ),  # msgpack mdms.edits.Content: reason, effect, versions
    Column("key_version", Integer, nullable=False),
    Column("digest", Id(32), nullable=False),  # keyed: of all of it but state, officers and saved_at
    CheckConstraint("state in ('proposed', 'saved', 'undone', 'withdrawn')", name="state"),
)

evidence = Table(
    "evidence",
    metadata,
    Column("device_id", Id(), primary_key=True),
    Column("channel", SmallInteger, primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("usage_point", String(32), nullable=False),
    Column("end_at", Instant, nullable=False),
    Column("suite", SmallInteger, nullable=False),
    Column("module_id", Id(), nullable=False),
    Column("checked", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("received_at", Instant, nullable=False),
    Column("key_version", Integer, nullable=False),
    Column("sealed_statement", LargeBinary, nullable=False),  # statement 65 || signature
    Index(None, "usage_point", "channel", "end_at"),
    Index(None, "checked", "usage_point"),
    CheckConstraint(
        "checked in ('signed', 'mac', 'bad', 'chain-broken', 'chain-open', 'unchecked')", name="checked"
    ),
)

ledger_seeds = Table(
    "ledger_seeds",
    metadata,
    Column(
        "usage_point", String(32), primary_key=True
    ),  # or "device:" and a device that is installed nowhere
    Column("key_version", Integer, nullable=False),
    Column("sealed_nodes", LargeBinary, nullable=False),  # keys that the salts of leaves are made of
)

ledger_checkpoints = Table(
    "ledger_checkpoints",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    Column("at", Instant, nullable=False),
    Column("note", Text, nullable=False),  # the signed text, as published
)

# What is around the meters, the same for all of them: nothing here is anybody's.
weather = Table(
    "weather",
    metadata,
    Column("hour", Integer, primary_key=True),  # hours since 1970 UTC
    Column("centidegrees", SmallInteger, nullable=False),  # mean outdoor temperature of the hour
)

# What rules know of usage points (ADR 0032): appended and never changed, a later row wins over an earlier one where both
# say something, so that what a run knew is found again.
point_facts = Table(
    "point_facts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("usage_point", String(32), nullable=False),  # empty: of all of them
    Column("channel", SmallInteger, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("value", String(64), nullable=False),  # empty: it holds no longer
    Column("since", Instant, nullable=False),
    Column("until", Instant),
    Column("recorded_at", Instant, nullable=False),
    Index(None, "kind", "usage_point"),
    CheckConstraint(
        "kind in ('class', 'size', 'main', 'group', 'heats', 'limit', 'vacant', 'heating', 'event')",
        name="kind",
    ),
    sqlite_autoincrement=True,
)

day_kinds = Table(
    "day_kinds",
    metadata,
    Column("day", Integer, primary_key=True),  # local days since 1970
    Column("kind", String(16), nullable=False),
    CheckConstraint("kind in ('holiday', 'workday')", name="kind"),
)
