"""The registry's file: its tables in today's format, and the steps from each older format to the next.

It keeps no module and answers no question; `registry` does.

A step runs in one transaction together with the new format number, so a file has one format or the other,
whenever the power goes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from meterseal.crypto.certificates import parse
from meterseal.security.store import Store

Step = Callable[[sqlite3.Connection], None]
Reform = Callable[[sqlite3.Connection, Step], None]

FORMAT = 4

SCHEMA = """ CREATE TABLE setting(name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID; CREATE TABLE
         module(device_id BLOB NOT NULL, module_id BLOB NOT NULL UNIQUE, suite INTEGER NOT NULL,
         key_version INTEGER NOT NULL, project_id BLOB NOT NULL, point BLOB NOT NULL, leaf BLOB NOT NULL,
         state TEXT NOT NULL, lab INTEGER NOT NULL, enrolled_at INTEGER NOT NULL, policy INTEGER NOT NULL
         DEFAULT 2, profile TEXT NOT NULL DEFAULT 'meterseal-1', renewed BLOB NOT NULL DEFAULT x'', until
         INTEGER NOT NULL DEFAULT 0, authority INTEGER NOT NULL DEFAULT 0, withdrawn_at INTEGER, gone INTEGER,
         zone TEXT NOT NULL DEFAULT 'default',
         PRIMARY KEY(device_id, module_id)) WITHOUT ROWID; CREATE UNIQUE INDEX module_in_service ON
         module(device_id) WHERE state = 'active'; CREATE INDEX module_ending ON module(until) WHERE state =
         'active'; CREATE UNIQUE INDEX module_gone ON module(gone) WHERE gone IS NOT NULL; CREATE TABLE
         certificate(issuer TEXT NOT NULL, serial TEXT NOT NULL, der BLOB NOT NULL, issued_at INTEGER NOT
         NULL, revoked_at INTEGER, authority INTEGER NOT NULL DEFAULT 1, until INTEGER NOT NULL DEFAULT 0,
         module_id BLOB NOT NULL DEFAULT x'', PRIMARY KEY(issuer, serial)) WITHOUT ROWID; CREATE INDEX
         certificate_of_module ON certificate(module_id); CREATE TABLE production(request_id BLOB PRIMARY KEY,
         batch TEXT NOT NULL, opened_at INTEGER NOT NULL, officers TEXT NOT NULL, rows INTEGER NOT NULL,
         digests BLOB NOT NULL) WITHOUT ROWID; CREATE TABLE production_chunk(request_id BLOB NOT NULL,
         chunk INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY(request_id, chunk)) WITHOUT ROWID; CREATE
         TABLE use_total(vault TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, seen INTEGER NOT
         NULL, PRIMARY KEY(vault, id, version)) WITHOUT ROWID; CREATE TABLE use_count(vault TEXT NOT NULL, id
         TEXT NOT NULL, version INTEGER NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL, uses INTEGER
         NOT NULL, PRIMARY KEY(vault, id, version, since, until)) WITHOUT ROWID; CREATE TABLE lent(module_id
         BLOB PRIMARY KEY, device_id BLOB NOT NULL, caller TEXT NOT NULL, until INTEGER NOT NULL) WITHOUT ROWID;
         """
"""`gone` numbers the withdrawals in their order. `use_count` holds uses of a key in a span, `use_total` their sum. `lent`
are modules whose newest session another's platform opened.
"""


def upgrade(store: Store, reform: Reform | None = None) -> None:
    """Bring a registry file of an older format to `FORMAT`, one durable step after the other; `reform` proves anew what
    a step makes of a file that has a proof.
    """
    while (found := store.rows("PRAGMA user_version")[0][0]) < FORMAT:
        with store.transaction() as connection:
            connection.execute(f"PRAGMA user_version={found + 1:d}")
            if reform is None:
                _STEPS[found](connection)
            else:
                reform(connection, _STEPS[found])


def _to_2(connection: sqlite3.Connection) -> None:
    """Policies and profiles, renewals, the CA of each certificate, productions, and uses over time."""
    for column in (
        "policy INTEGER NOT NULL DEFAULT 2",
        "profile TEXT NOT NULL DEFAULT 'meterseal-1'",
        "renewed BLOB NOT NULL DEFAULT x''",
        "until INTEGER NOT NULL DEFAULT 0",
        "authority INTEGER NOT NULL DEFAULT 0",
        "withdrawn_at INTEGER",
        "gone INTEGER",
    ):
        connection.execute(f"ALTER TABLE module ADD COLUMN {column}")
    for column in (
        "authority INTEGER NOT NULL DEFAULT 1",
        "until INTEGER NOT NULL DEFAULT 0",
        "module_id BLOB NOT NULL DEFAULT x''",
    ):
        connection.execute(f"ALTER TABLE certificate ADD COLUMN {column}")
    known = {"setting", "module", "module_in_service", "certificate", "lent"}
    for statement in SCHEMA.split(";"):
        words = statement.split()
        if words and _made(words) not in known:
            connection.execute(statement)
    for issuer, serial, der in connection.execute("SELECT issuer, serial, der FROM certificate").fetchall():
        read = parse(der)
        connection.execute(
            "UPDATE certificate SET until = ?, module_id = ? WHERE issuer = ? AND serial = ?",
            (read.until, read.identity("module"), issuer, serial),
        )
    for module_id, leaf in connection.execute(
        "SELECT module_id, leaf FROM module WHERE suite = 1"
    ).fetchall():
        connection.execute(
            "UPDATE module SET until = ?, authority = 1 WHERE module_id = ?", (parse(leaf).until, module_id)
        )
    # When a module of suite 2 was withdrawn was not written down; its certificate would have said it.
    connection.execute(
        "UPDATE module SET withdrawn_at = coalesce((SELECT max(revoked_at) FROM certificate "
        "WHERE certificate.module_id = module.module_id), enrolled_at) WHERE state = 'withdrawn'"
    )
    connection.execute(
        "UPDATE module SET gone = (SELECT count(*) FROM module AS other WHERE other.state = 'withdrawn' AND "
        "(other.withdrawn_at, other.module_id) <= (module.withdrawn_at, module.module_id)) "
        "WHERE state = 'withdrawn'"
    )


def _to_3(connection: sqlite3.Connection) -> None:
    """The zone of each module: until officers say otherwise, the one that everybody is in."""
    connection.execute("ALTER TABLE module ADD COLUMN zone TEXT NOT NULL DEFAULT 'default'")


def _to_4(connection: sqlite3.Connection) -> None:
    """Sessions that other people's platforms opened; what they opened before is not known."""
    connection.execute(next(one for one in SCHEMA.split(";") if "CREATE TABLE lent(" in one))


def _made(words: list[str]) -> str:
    """The name of the table or index that a CREATE statement makes."""
    name = words[words.index("INDEX" if "INDEX" in words[:3] else "TABLE") + 1]
    return name.split("(")[0]


_STEPS = {1: _to_2, 2: _to_3, 3: _to_4}
