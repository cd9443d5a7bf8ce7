"""The proof of one file by itself: what it counts, what a step to another format does, that writers cannot evade it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import EngineError, TrustError
from meterseal.security.proof import Proof
from meterseal.security.revisions import Revisions
from meterseal.security.store import Store

KEY = SymmetricKey.from_bytes(bytes(range(16)), "a test's key")
SCHEMA = (
    "CREATE TABLE keyed(id BLOB PRIMARY KEY, n INTEGER) WITHOUT ROWID; CREATE TABLE plain(word TEXT, n REAL)"
)


def proof_of(store: Store) -> Proof:
    return Proof(store, KEY, "test", Revisions())


def made(path: Path) -> Store:
    store = Store.create(path, SCHEMA, 1)
    proof = proof_of(store)
    with store.transaction() as connection:
        proof.begin(connection)
    proof.open()
    return store


def opened(path: Path) -> Store:
    store = Store.open(path, 1)
    try:
        proof_of(store).open()
    except BaseException:
        store.close()
        raise
    return store


WRITES = (
    "INSERT INTO keyed VALUES (x'01', 1), (x'02', 2), (x'03', NULL)",
    "INSERT OR REPLACE INTO keyed VALUES (x'02', 7)",
    "REPLACE INTO keyed VALUES (x'02', 8)",
    "INSERT OR IGNORE INTO keyed VALUES (x'02', 9)",
    "INSERT INTO keyed VALUES (x'02', 1) ON CONFLICT DO UPDATE SET n = n + excluded.n",
    "UPDATE keyed SET n = n",
    "UPDATE keyed SET id = x'09' WHERE id = x'01'",
    "UPDATE OR REPLACE keyed SET id = x'09' WHERE id = x'02'",
    "INSERT INTO plain VALUES ('a', 1.5), ('a', 1.5), (NULL, -0.0)",
    "UPDATE plain SET n = 2 WHERE rowid = 1",
    "DELETE FROM plain WHERE rowid = 2",
    "DELETE FROM keyed",
)


def test_every_way_of_writing_is_counted(tmp_path: Path) -> None:
    store = made(tmp_path / "file.db")
    for write in WRITES:
        with store.transaction() as connection:
            connection.execute(write)
        store.close()
        store = opened(tmp_path / "file.db")
    store.close()


@pytest.mark.parametrize("number", range(len(WRITES)), ids=lambda number: f"write {number + 1}")
def test_every_way_of_writing_shows_when_it_was_not_ours(tmp_path: Path, number: int) -> None:
    store = made(tmp_path / "file.db")
    with store.transaction() as connection:
        for write in WRITES[:number]:
            connection.execute(write)
    store.close()
    connection = sqlite3.connect(tmp_path / "file.db")
    dump = "SELECT *, 0 FROM keyed UNION ALL SELECT word, n, rowid FROM plain"
    before = connection.execute(dump).fetchall()
    connection.execute(WRITES[number])
    after = connection.execute(dump).fetchall()
    connection.commit()
    connection.close()
    if before == after:
        opened(tmp_path / "file.db").close()
    else:
        with pytest.raises(TrustError) as caught:
            opened(tmp_path / "file.db")
        assert caught.value.code == "security.tampered"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE keyed SET n = '1' WHERE id = x'01'",
        "UPDATE keyed SET id = CAST(id AS TEXT) WHERE id = x'01'",
        "UPDATE plain SET rowid = 9 WHERE rowid = 1",
        "UPDATE plain SET word = CAST(x'ff' AS TEXT)",
        "CREATE INDEX another ON keyed(n)",
        "CREATE VIEW another AS SELECT * FROM keyed",
        "CREATE TABLE another(x)",
        "ALTER TABLE keyed RENAME TO other",
        "PRAGMA user_version = 0",
        "DELETE FROM proof",
        "UPDATE proof SET sealed = 'text'",
        "UPDATE proof SET revision = 'text'",
        "DROP TABLE proof",
    ],
)
def test_a_value_or_a_schema_of_another_kind_shows(tmp_path: Path, change: str) -> None:
    store = made(tmp_path / "file.db")
    with store.transaction() as connection:
        connection.execute("INSERT INTO keyed VALUES (x'01', x'31')")
        connection.execute("INSERT INTO plain VALUES ('a', 1)")
    store.close()
    connection = sqlite3.connect(tmp_path / "file.db")
    connection.execute(change)
    connection.commit()
    connection.close()
    with pytest.raises(TrustError) as caught:
        opened(tmp_path / "file.db")
    assert caught.value.code == "security.tampered"


def test_what_was_rolled_back_is_not_counted(tmp_path: Path) -> None:
    store = made(tmp_path / "file.db")

    def wrong() -> None:
        with store.transaction() as connection:
            connection.execute("INSERT INTO keyed VALUES (x'01', 1)")
            connection.execute("INSERT INTO keyed VALUES (x'01', 1)")

    with pytest.raises(EngineError):
        wrong()
    with store.transaction() as connection:
        connection.execute("INSERT INTO keyed VALUES (x'02', 1)")
    store.close()
    opened(tmp_path / "file.db").close()


def test_a_commit_that_changes_nothing_raises_no_revision(tmp_path: Path) -> None:
    store = made(tmp_path / "file.db")
    for statement in ("UPDATE keyed SET n = n", "DELETE FROM plain"):
        with store.transaction() as connection:
            connection.execute(statement)
    assert store.rows("SELECT revision FROM proof") == [(1,)]
    store.tie()
    assert store.rows("SELECT revision FROM proof") == [(2,)]
    store.close()


def test_a_step_to_another_format_is_proven_with_what_it_made(tmp_path: Path) -> None:
    store = made(tmp_path / "file.db")
    with store.transaction() as connection:
        connection.execute("INSERT INTO keyed VALUES (x'01', 1)")
    store.close()
    store = Store.open(tmp_path / "file.db", 1)
    proof = proof_of(store).open()

    def step(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE keyed ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'")
        connection.execute("UPDATE keyed SET n = n + 1")
        connection.execute("DROP TABLE plain")
        connection.execute("CREATE TABLE fresh(id INTEGER PRIMARY KEY)")
        connection.execute("INSERT INTO fresh VALUES (3)")

    with store.transaction() as connection:
        proof.reform(connection, step)
    with store.transaction() as connection:
        connection.execute("UPDATE keyed SET colour = 'blue'")
        connection.execute("INSERT INTO fresh VALUES (4)")
    store.close()
    opened(tmp_path / "file.db").close()
    connection = sqlite3.connect(tmp_path / "file.db")
    connection.execute("UPDATE keyed SET colour = 'red'")
    connection.commit()
    connection.close()
    with pytest.raises(TrustError) as caught:
        opened(tmp_path / "file.db")
    assert caught.value.code == "security.tampered"
