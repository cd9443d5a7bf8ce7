"""Control store, what runs of the rules saw and said, and what was answered of the past (ADR 0042).

Tables alone; nothing in them is changed once it is written, but the last line of `answered`. Runs go by retention.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, String, Table

from meterseal.control.tables.shape import metadata
from meterseal.control.types import Document, Instant

# A run of the rules: the point that everything it read was cut by, what it looked at, and a keyed digest of what it said.
vee_runs = Table(
    "vee_runs",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # 1, 2, 3 … without a hole
    Column("at", Instant, nullable=False),
    Column("entry", BigInteger, nullable=False),  # newest journal entry that it saw; below, newest rows
    Column("fact", BigInteger, nullable=False),
    Column("change", BigInteger, nullable=False),
    Column("exchange", BigInteger, nullable=False),
    Column("weather", BigInteger, nullable=False),
    Column("day", BigInteger, nullable=False),
    Column("channels", Integer, nullable=False),
    Column(
        "looked", LargeBinary, nullable=False
    ),  # numbers of channels (vee_channels) and since when, packed
    Column(
        "program", Document, nullable=False
    ),  # the versions that judged, or which of vee_programs, under "set"
    Column("readings", BigInteger, nullable=False),
    Column("findings", Integer, nullable=False),
    Column("versions", Integer, nullable=False),
    Column("unread", Integer, nullable=False),  # channels of which a file could not be read
    Column("digest", LargeBinary, nullable=False),
)

# Versions of the program, its rules and methods, as runs had them; a hash over them names them.
vee_programs = Table(
    "vee_programs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("versions", Document, nullable=False),
)

# Channels that runs looked at, by number: those of a row are numbered from its id on.
vee_channels = Table(
    "vee_channels",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("count", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),
)

# Usage points whose meter was exchanged, as runs came to know of it: a later row wins.
vee_exchanges = Table(
    "vee_exchanges",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("usage_point", String(32), nullable=False),
    Column("begins", Document, nullable=False),  # instants at which each meter was put in place
    sqlite_autoincrement=True,
)

# Changes of rules that were tried lately, and so may be made.
vee_trials = Table(
    "vee_trials",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("change", LargeBinary, nullable=False),  # rule, medium, class and values, packed
    Column("tried", Document, nullable=False),  # when, and what it counted
    sqlite_autoincrement=True,
)

# Up to which journal entry moments of the past were answered: what came later stays out of every answer about them.
answered = Table(
    "answered",
    metadata,
    Column("at", Instant, primary_key=True),
    Column("entry", BigInteger, nullable=False),
)
