"""Control store, everything about measurements except the values: keys, manifest, findings, evidence, ledger, facts.

Tables alone; the values are in the sealed journal and segments.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
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
    Column("ledger_from", Document),  # from which entry the ledger begins, from which leaf the rule of today
    Column("journal_ended", BigInteger),  # last entry of the journal's files that were ended
    Column("journal_begun", BigInteger),  # first entry of the file that is being written
    Column("journal_faults", Document),  # what of the journal the last start that was refused could not read
    Column("journal_given", Document),  # entries that somebody gave up, from first to last
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

# Roll-ups of readings (ADR 0039): they hold from a journal entry on, and are done when all of them was taken away.
rollups = Table(
    "rollups",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Instant, nullable=False),
    Column("content", LargeBinary, nullable=False),  # msgpack mdms.entries.Rollup
    Column("done", Boolean, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("readings", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
)

# What a utility states about how long readings are kept, appended and never changed (ADR 0039).
retentions = Table(
    "retentions",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # 1, 2, 3 … without a hole
    Column("at", Instant, nullable=False),
    Column("author", String(64), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("subject", String(48), nullable=False),  # medium and kind of channel, or a usage point
    Column(
        "intervals", Integer
    ),  # days after which they are kept by the day, or 1 while a usage point is held
    Column("days", Integer),  # days after which they are kept by the month
    Column("sealed_reason", LargeBinary),
    Column("key_version", Integer),
    CheckConstraint("kind in ('rule', 'hold')", name="kind"),
)

# What was asked in SQL, by whom and why (ADR 0039), written down before it is answered.
questions = Table(
    "questions",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # 1, 2, 3 … without a hole
    Column("at", Instant, nullable=False),
    Column("author", String(64), nullable=False),
    Column(
        "outcome", String(64), nullable=False
    ),  # rows or a code; empty while it runs, or when it was cut off
    Column(
        "sealed_content", LargeBinary, nullable=False
    ),  # msgpack app.querying.Asked: reason, query, period
    Column("key_version", Integer, nullable=False),
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

# Which leaves lost their salts with a person (ADR 0047): written in the transaction that destroys them.
ledger_erasures = Table(
    "ledger_erasures",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("usage_point", String(32), nullable=False),
    Column("first_day", Integer, nullable=False),  # local days since 1970, both included
    Column("last_day", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),  # of the tree then
    Column("leaves", BigInteger, nullable=False),
    Column("digest", Id(32), nullable=False),  # SM3 over number and hash of each of these leaves
    sqlite_autoincrement=True,
)

ledger_checkpoints = Table(
    "ledger_checkpoints",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    Column("at", Instant, nullable=False),
    Column("note", Text, nullable=False),  # the signed text, as published
)

# What is around the meters, the same for all of them: nothing here is anybody's. Appended and never changed, a later row of
# an hour (or of a day, below) wins, so that what a run knew is found again (ADR 0042).
weather = Table(
    "weather",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("hour", Integer, nullable=False, index=True),  # hours since 1970 UTC
    Column("centidegrees", SmallInteger, nullable=False),  # mean outdoor temperature of the hour
    sqlite_autoincrement=True,
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
        "kind in ('class', 'size', 'main', 'group', 'zone', 'heats', 'limit', 'multiplier', 'plant', 'vacant', 'heating', "
        "'event', 'clock')",
        name="kind",
    ),
    sqlite_autoincrement=True,
)

# When a meter's clock was last seen to stand as the newest of its facts says (ADR 0049).
clock_sights = Table(
    "clock_sights",
    metadata,
    Column("usage_point", String(32), primary_key=True),
    Column("device_id", Id(), primary_key=True),
    Column("at", Instant, nullable=False),
)

# What heat meters showed of their water, hour by hour of a local day (ADR 0050): sealed as readings are.
heat_days = Table(
    "heat_days",
    metadata,
    Column("usage_point", String(32), primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),  # local days since 1970
    Column("sealed_hours", LargeBinary, nullable=False),
    Column("key_version", Integer, nullable=False),
)

# What an operator changed of rules and of the order of methods (ADR 0039): appended and never changed.
vee_changes = Table(
    "vee_changes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # 1, 2, 3 … without a hole
    Column("kind", String(16), nullable=False),
    Column("rule", String(32), nullable=False),  # empty: the order of methods
    Column("medium", String(16), nullable=False),  # empty here and below: every one
    Column("customer", String(16), nullable=False),
    Column("zone", String(64), nullable=False),
    Column("since", Instant, nullable=False),
    Column("until", Instant),
    Column("state", String(16), nullable=False),
    Column("setting", Document, nullable=False),  # parameters by name, or the order
    Column("tried", Document, nullable=False),  # what its trial counted
    Column("author", String(64), nullable=False),
    Column("sealed_reason", LargeBinary, nullable=False),
    Column("key_version", Integer, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    CheckConstraint("kind in ('rule', 'order')", name="kind"),
    CheckConstraint("state in ('on', 'off')", name="state"),
)

day_kinds = Table(
    "day_kinds",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("day", Integer, nullable=False),  # local days since 1970
    Column("kind", String(16), nullable=False),
    CheckConstraint("kind in ('holiday', 'workday')", name="kind"),
    sqlite_autoincrement=True,
)
