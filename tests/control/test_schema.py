"""A control store whose schema or values are not of our making: each is named, and hides no other change."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from meterseal.control import acts, read, write
from meterseal.control.kinds import check, misfits
from meterseal.control.rowcheck import compared
from meterseal.control.tables import agreements, metadata
from meterseal.errors import DataError, LocalError
from meterseal.mdms import giving_up
from tests.control.covered_rows import fill, value
from tests.control.test_rowtrail import NOW, Kept
from tests.control_store import control_at


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path / "control.db")
    fill(made.engine, 1, 2)
    yield made
    made.engine.dispose()


def schema_says(table: str, old: str, new: str, cookie: int = 0) -> tuple[str, ...]:
    """The statements by which somebody has the schema say something else of a table; with another `cookie` connections that
    are open read it again.
    """
    return (
        "PRAGMA writable_schema=ON",
        f"UPDATE sqlite_schema SET sql = replace(sql, '{old}', '{new}') WHERE name = '{table}'",
        *([f"PRAGMA schema_version={cookie}"] if cookie else []),
        "PRAGMA writable_schema=RESET",
    )


PREMISES = "CONSTRAINT fk_usage_points_premises_id FOREIGN KEY(premises_id) REFERENCES premises (id)"
TAMPERED = {
    "table agreements": schema_says("agreements", "until BIGINT", "until BIGINT DEFAULT 5"),
    "table accounts": schema_says("accounts", "NOT NULL", ""),
    "table bills": schema_says(
        "bills", "UNIQUE (agreement_id, since, until, version)", "UNIQUE (id, version)"
    ),
    "table meters": ("ALTER TABLE meters ADD COLUMN more AS (since + 1)",),
    "table quarantine": schema_says("quarantine", "code VARCHAR(64)", "code VARCHAR(64) COLLATE NOCASE"),
    "table sessions": schema_says("sessions", "device_id BLOB NOT NULL", "device_id BLOBNOTNULL"),
    "table findings": schema_says("findings", "channel SMALLINT NOT NULL", 'channel SMALLINT "NOT" "NULL"'),
    "table retentions": schema_says("retentions", "''hold''", "''Hold''"),
    "table usage_points": (
        *schema_says("usage_points", "medium VARCHAR(16)", f'"{PREMISES}", medium VARCHAR(16)')[:2],
        *schema_says("usage_points", f", \n\t{PREMISES}", ""),
    ),
    "table down_words": (
        "DROP TABLE down_words",
        "CREATE TABLE down_words (id BLOB PRIMARY KEY) WITHOUT ROWID",
    ),
    "trigger sqlite_stat1": (
        "PRAGMA writable_schema=ON",
        "INSERT INTO sqlite_schema VALUES ('trigger', 'sqlite_stat1', 'weather', 0, 'CREATE TRIGGER sqlite_stat1 AFTER "
        "INSERT ON weather BEGIN SELECT 1; END')",
        "PRAGMA schema_version=7001",
        "PRAGMA writable_schema=RESET",
    ),
    "table extra": ("CREATE TABLE extra (id INTEGER)",),
    "index ix_findings_more": ("CREATE UNIQUE INDEX ix_findings_more ON findings (usage_point)",),
    "index ix_point_facts_kind_usage_point": ("DROP INDEX ix_point_facts_kind_usage_point",),
    "view v": ("CREATE VIEW v AS SELECT 1",),
}


@pytest.mark.parametrize("where", TAMPERED)
def test_a_schema_that_the_migrations_do_not_make_is_named_and_hides_no_changed_row(
    kept: Kept, where: str
) -> None:
    kept.attack(*TAMPERED[where], "UPDATE point_facts SET value = '400' WHERE id = 2")
    places = [one for one, _ in kept.found()]
    assert where in places
    assert "point_facts, row 2" in places


def test_a_table_that_is_gone_is_named_beside_rows_of_others(kept: Kept) -> None:
    kept.attack("DROP TABLE weather", "UPDATE point_facts SET value = '400' WHERE id = 2")
    assert {"table weather", "index ix_weather_hour", "point_facts, row 2"} <= {
        one for one, _ in kept.found()
    }


def test_a_trail_of_rows_that_is_gone_is_named_and_ends_no_comparison(kept: Kept) -> None:
    kept.attack("DROP TABLE row_trail", "DROP TABLE weather")
    assert [one.where for one in compared(kept.engine, kept.trail).differences] == [
        "index ix_weather_hour",
        "table row_trail",
        "table weather",
    ]


def test_a_table_that_is_gone_is_named_where_only_some_tables_are_compared(kept: Kept) -> None:
    kept.attack("DROP TABLE tariffs")
    looked = compared(kept.engine, kept.trail, only=frozenset(("point_facts", "tariffs")))
    assert "table tariffs" in {one.where for one in looked.differences}


def test_a_default_that_stood_in_the_file_while_we_wrote_is_told_after_it_was_taken_away(kept: Kept) -> None:
    """A column that we leave empty takes it within our own transaction, so that the row is as we wrote it."""
    kept.attack(*schema_says("agreements", "until BIGINT", "until BIGINT DEFAULT 5", 7001))
    with write(kept.engine) as connection:
        row = {name: value(agreements.c[name], 3) for name in set(agreements.columns.keys()) - {"until"}}
        connection.execute(agreements.insert().values(row | {"customer_id": "x1", "usage_point_id": "x1"}))
    kept.attack(*schema_says("agreements", "until BIGINT DEFAULT 5", "until BIGINT", 7002))
    with read(kept.engine) as connection:
        query = sa.select(agreements.c.until).where(agreements.c.id == "x3")
        assert connection.execute(query).scalar() == 5, "somebody ended the agreement as we wrote it"
    assert kept.found() == [("entry 3 of the trail of rows", "backup.")]


def test_a_trigger_with_a_name_of_sqlites_own_is_told_after_it_was_taken_away(kept: Kept) -> None:
    kept.attack(*TAMPERED["trigger sqlite_stat1"])
    with write(kept.engine) as connection:
        acts.append(connection, acts.Act(NOW, "li", "something", "else"))
    kept.attack("PRAGMA writable_schema=ON", "DELETE FROM sqlite_schema WHERE name = 'sqlite_stat1'")
    kept.again()
    assert kept.found() == [("entry 3 of the trail of rows", "backup.")]


def test_a_trigger_that_a_connection_read_before_it_was_taken_away_acts_in_none_of_our_writes(
    kept: Kept,
) -> None:
    """SQLite reads a schema again where its number is another one: who puts it back has a trigger stay in memory."""
    kept.attack(
        "CREATE TRIGGER t AFTER INSERT ON acts BEGIN UPDATE tariffs SET code = 'x9' WHERE rowid = 1; END",
        "PRAGMA schema_version=7001",
    )
    with read(kept.engine) as connection:
        before = connection.exec_driver_sql("SELECT * FROM tariffs").all()
    kept.attack("DROP TRIGGER t", "PRAGMA schema_version=7001")
    with write(kept.engine) as connection:
        acts.append(connection, acts.Act(NOW, "li", "something", "else"))
    with read(kept.engine) as connection:
        assert connection.exec_driver_sql("SELECT * FROM tariffs").all() == before
    assert kept.found() == []


def test_how_a_schema_is_quoted_and_spaced_is_all_one(kept: Kept) -> None:
    """Another version of SQLite writes names in quotes where it renames a table."""
    kept.attack(
        *schema_says("usage_points", "TABLE usage_points (", 'table   "usage_points"('),
        *schema_says("usage_points", "REFERENCES premises (id)", 'references [premises] ( "id" )'),
    )
    assert kept.found() == []


def test_an_index_that_leaves_a_row_out_under_a_schema_that_says_nothing_of_it_is_named(kept: Kept) -> None:
    """Questions go by the index, a look goes over the table."""
    from meterseal.mdms.integrity import control_faults

    kept.attack(
        "DROP INDEX ix_point_facts_kind_usage_point",
        "CREATE INDEX ix_point_facts_kind_usage_point ON point_facts (kind, usage_point) WHERE id <> 2",
        *schema_says("ix_point_facts_kind_usage_point", " WHERE id <> 2", ""),
    )
    kept.again()
    assert kept.found() == []
    looked = compared(kept.engine, kept.trail, only=frozenset(("point_facts", "tariffs")))
    assert {one.where for one in looked.differences} == {"table point_facts"}
    assert any("ix_point_facts_kind_usage_point" in one for one in control_faults(kept.engine))


def test_a_value_of_another_kind_in_any_column_of_any_table_is_named(kept: Kept) -> None:
    """NOT NULL is a word in the schema, and a type no more than a wish."""
    with contextlib.closing(sqlite3.connect(kept.path, isolation_level=None)) as raw:
        raw.execute("PRAGMA writable_schema=ON")
        raw.execute("UPDATE sqlite_schema SET sql = replace(sql, 'NOT NULL', '') WHERE type = 'table'")
        raw.execute("PRAGMA writable_schema=RESET")
    kept.again()
    missed = []
    with contextlib.closing(sqlite3.connect(kept.path, isolation_level=None)) as raw:
        raw.execute("PRAGMA ignore_check_constraints=ON")
        raw.execute("PRAGMA synchronous=OFF")
        for table in metadata.sorted_tables:
            names = ", ".join(table.columns.keys())
            row = [value(column, 7) for column in table.columns]
            row = [str(one).replace("'", '"') if isinstance(one, dict) else one for one in row]
            raw.execute(f"INSERT INTO {table.name} ({names}) VALUES ({', '.join('?' * len(row))})", row)
            (number,) = raw.execute("SELECT last_insert_rowid()").fetchone()
            for column, was in zip(table.columns, row, strict=True):
                update = f"UPDATE {table.name} SET {column.name} = ? WHERE rowid = ?"
                for other in (
                    b"\xff" if isinstance(was, int | str) else 1.5,
                    *([] if column.nullable else [None]),
                ):
                    try:
                        raw.execute(update, (other, number))
                    except sqlite3.Error:
                        continue  # of a row's number SQLite itself sees that it is one
                    with read(kept.engine) as connection:
                        if not any(one.column == column.name for one in misfits(connection, [table.name])):
                            missed.append((table.name, column.name, other))
                    raw.execute(update, (was, number))
    assert not missed


def test_a_start_names_the_value_of_another_kind_that_it_meets(kept: Kept) -> None:
    check(kept.engine)
    kept.attack("UPDATE stores SET sequence = 'x' WHERE rowid = 1")
    with pytest.raises(DataError) as refused:
        check(kept.engine)
    assert refused.value.code == "control.kind"
    assert "stores, row number 1" in refused.value.message
    assert "column sequence holds text, where a whole number belongs" in refused.value.message


@pytest.mark.parametrize("table", ["row_trail", "acts", "refusals"])
@pytest.mark.parametrize("value", ["'text'", "NULL", "5"])
def test_a_last_hash_of_another_kind_keeps_none_of_our_writes_out_and_is_named(
    kept: Kept, table: str, value: str
) -> None:
    from meterseal.model import Refusal
    from meterseal.things.monitor import AuditLog

    log = AuditLog(kept.engine)

    async def refused() -> None:
        await log.refused([Refusal(at=NOW, code="a", sentence="b", source="c")])

    import asyncio

    asyncio.run(refused())
    with write(kept.engine) as connection:
        connection.exec_driver_sql("DELETE FROM acts")
        acts.append(connection, acts.Act(NOW, "li", "something", "x"))
    kept.attack(
        *schema_says(table, "hash BLOB NOT NULL", "hash BLOB"),
        f"UPDATE {table} SET hash = {value} WHERE id = (SELECT max(id) FROM {table})",
    )
    with write(kept.engine) as connection:
        acts.append(connection, acts.Act(NOW, "li", "something", "else"))
    asyncio.run(refused())
    verified = {
        "row_trail": kept.trail.verify,
        "acts": lambda: acts.verified(kept.engine),
        "refusals": log.verify,
    }
    with pytest.raises(DataError) as found:
        verified[table]()
    assert found.value.code == "audit.broken"


@pytest.mark.parametrize("number", [(1 << 63) - 1, 1 << 62, (1 << 62) - 1, (1 << 62) - 2])
@pytest.mark.parametrize("table", ["row_trail", "acts"])
def test_a_number_beyond_all_of_ours_keeps_no_entry_out(kept: Kept, table: str, number: int) -> None:
    kept.attack(f"UPDATE {table} SET id = {number} WHERE id = (SELECT max(id) FROM {table})")
    for _ in range(3):
        with write(kept.engine) as connection:
            acts.append(connection, acts.Act(NOW, "li", "something", "else"))
    with pytest.raises(DataError) as found:
        kept.trail.verify() if table == "row_trail" else acts.verified(kept.engine)
    assert found.value.code == "audit.broken"


@pytest.mark.parametrize(
    ("version", "code"),
    [
        ("'0029'", "control.unreadable"),
        ("7", "control.newer"),
        ("x'ff'", "control.newer"),
        ("'9999'", "control.newer"),
    ],
)
def test_another_data_version_in_the_file_is_refused_in_a_sentence(
    kept: Kept, version: str, code: str
) -> None:
    kept.engine.dispose()
    kept.attack(f"UPDATE alembic_version SET version_num = {version}")
    with pytest.raises(LocalError) as refused:
        control_at(kept.path)
    assert refused.value.code == code


# --- entries of the journal that somebody gave up -------------------------------------------------------


def given_up(kept: Kept, given: str, *more: str, acts_: int = 1) -> list[tuple[str, str]]:
    """What a look finds after a start, where entries were given up while the platform was down."""
    kept.attack(
        "UPDATE stores SET journal_given = NULL", "DELETE FROM row_trail"
    )  # as a store in which nothing was given up
    kept.again()
    kept.engine.dispose()
    engine = control_at(kept.path)
    with write(engine) as connection:
        for _ in range(acts_):
            acts.append(connection, acts.Act(NOW, "li", giving_up.ACT, "5 to 9"))
    engine.dispose()
    kept.attack(f"UPDATE stores SET journal_given = '{given}' WHERE id = 'x1'", *more)
    kept.start()
    return [one for one in kept.found() if one[0].startswith("stores")]


def test_entries_given_up_with_their_act_are_taken_up_at_the_next_start(kept: Kept) -> None:
    assert given_up(kept, "[[5,9]]") == []
    kept.engine.dispose()
    engine = control_at(kept.path)
    with write(engine) as connection:
        acts.append(connection, acts.Act(NOW, "li", giving_up.ACT, "12"))
    engine.dispose()
    kept.attack("UPDATE stores SET journal_given = '[[5,9],[12,12]]' WHERE id = 'x1'")
    kept.start()
    assert kept.found() == []


@pytest.mark.parametrize(
    ("given", "more", "acts_"),
    [
        ("[[5,9]]", (), 0),
        ("[[5,9],[12,12]]", (), 1),
        ("[[5,9]]", ("UPDATE stores SET ledger_from = '{}' WHERE id = 'x1'",), 1),
        ("words", (), 1),
        ("5", (), 1),
    ],
)
def test_entries_given_up_without_an_act_or_with_another_change_beside_them_are_named(
    kept: Kept, given: str, more: tuple[str, ...], acts_: int
) -> None:
    assert given_up(kept, given, *more, acts_=acts_) == [("stores, row 'x1'", "back.")]


def test_only_some_tables_are_compared_where_only_these_matter(kept: Kept) -> None:
    kept.attack(
        "UPDATE point_facts SET value = '400' WHERE id = 2", "UPDATE findings SET channel = 7 WHERE id = 1"
    )
    found = compared(kept.engine, kept.trail, only=frozenset(("point_facts", "tariffs")))
    assert [one.where for one in found.differences] == ["point_facts, row 2"]
    assert found.rows == 3
