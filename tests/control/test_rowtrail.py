"""The trail of rows: what somebody else changes, adds, takes away or puts back in a covered table is found."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from meterseal.app import rowwatch
from meterseal.app.rowwatch import RowWatch
from meterseal.control import read, write
from meterseal.control.acts import Act, append
from meterseal.control.covered import COVERED, ELSEWHERE, LEFT_OUT
from meterseal.control.rowcheck import Compared, compared
from meterseal.control.rowitems import Entry, Item, Written, digest
from meterseal.control.rowtrail import RowTrail
from meterseal.control.sealing import KeyRing
from meterseal.control.tables import (
    accounts,
    acts,
    agreements,
    metadata,
    point_facts,
    row_trail,
    web_sessions,
)
from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import DataError, EngineError
from meterseal.security.anchororders import TrailAnchor
from meterseal.things.monitor import AuditLog
from tests.control.covered_rows import fill, value
from tests.control_store import control_at

KEYS = KeyRing({1: SymmetricKey.from_bytes(bytes(16), "a test's data key")}, 1)
NOW = 1_793_500_000_000
FILLED = len(COVERED) - 1
"""Tables that the fixture fills."""


class Kept:
    """A store under its trail; whatever works on `path` beside it is somebody else."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.start()

    def start(self) -> None:
        self.engine = control_at(self.path)
        self.trail = RowTrail.begin(self.engine, KEYS, lambda: NOW, "journal-given-up")

    def again(self) -> None:
        self.engine.dispose()
        self.start()

    def look(self) -> Compared:
        self.trail.verify()
        return compared(self.engine, self.trail)

    def found(self) -> list[tuple[str, str]]:
        """(row, the last words) of each difference."""
        return [(one.where, one.sentence.split(":")[-1].split()[-1]) for one in self.look().differences]

    def attack(self, *statements: str) -> None:
        with sqlite3.connect(self.path) as raw:
            for statement in statements:
                raw.execute(statement)
        raw.close()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path / "control.db")
    fill(made.engine, 1, 2)
    yield made
    made.engine.dispose()


def test_every_table_is_covered_or_says_why_it_is_not() -> None:
    names = [covered.name for covered in COVERED]
    assert len(names) == len(set(names))
    assert not set(names) & set(ELSEWHERE)
    assert set(names) | set(ELSEWHERE) == set(metadata.tables)
    left_out = {
        f"{covered.name}.{column}"
        for covered in COVERED
        for column in set(metadata.tables[covered.name].columns.keys()) - {*covered.fixed, *covered.rest}
    }
    moving = (
        "sequence",
        "counts",
        "journal_ended",
        "journal_begun",
        "journal_faults",
    )  # with every compaction
    assert left_out == {"accounts.locale", *(f"stores.{name}" for name in moving)}
    assert {name.partition(".")[0] for name in left_out} == set(LEFT_OUT)


def _twice(engine: sa.Engine) -> None:
    with write(engine) as connection:
        connection.exec_driver_sql("DELETE FROM bills")
        connection.exec_driver_sql("INSERT INTO premises VALUES ('x1')")


def test_what_this_program_writes_is_as_it_was_written_after_every_kind_of_statement(kept: Kept) -> None:
    before = kept.look()
    assert (before.differences, before.rows, before.before) == ((), 2 * FILLED + 1, 0)  # and the trail's key
    with write(kept.engine) as connection:
        connection.execute(agreements.update().where(agreements.c.id == "x1").values(until=NOW))
        connection.execute(web_sessions.delete())
        connection.execute(accounts.update().values(locale="en"))
        connection.execute(
            point_facts.insert()
            .prefix_with("OR IGNORE")
            .values(id=1, usage_point="x1", channel=0, kind="size", value="9", since=0, recorded_at=0)
        )
    with pytest.raises(sa.exc.IntegrityError):
        _twice(kept.engine)
    with write(kept.engine) as connection:
        connection.execute(
            acts.insert().values(
                id=3, at=1, actor="o", act="a", subject="s", previous=bytes(32), hash=bytes(32)
            )
        )
    kept.again()
    after = kept.look()
    assert (after.differences, after.rows) == ((), 2 * FILLED + 1 - 2 + 1)


def test_a_changed_value_in_any_column_of_any_covered_table_is_found(kept: Kept) -> None:
    missed = []
    with contextlib.closing(sqlite3.connect(kept.path, isolation_level=None)) as raw:
        raw.execute("PRAGMA ignore_check_constraints=ON")
        for covered in COVERED:
            for column in (*covered.fixed, *covered.rest):
                query = f'SELECT rowid, "{column}" FROM "{covered.name}" LIMIT 1'
                row, was = raw.execute(query).fetchone()
                other = {bytes: b"other", str: "other", int: 77}[type(was)]
                update = f'UPDATE "{covered.name}" SET "{column}" = ? WHERE rowid = ?'
                raw.execute(update, (other, row))
                if not any(where.startswith(f"{covered.name}, row ") for where, _ in kept.found()):
                    missed.append((covered.name, column))
                gone = raw.execute(f"SELECT 1 FROM {covered.name} WHERE rowid = ?", (row,)).fetchone() is None
                raw.execute(update, (was, other if gone else row))  # the number of a row was its rowid
    assert missed == []
    assert kept.found() == []


def test_rows_added_and_taken_away_in_any_covered_table_are_found(kept: Kept) -> None:
    with contextlib.closing(sqlite3.connect(kept.path, isolation_level=None)) as raw:
        for covered in COVERED:
            name, table = covered.name, metadata.tables[covered.name]
            if name == "trail_keys":
                continue  # has one row, which a changed value shows above
            raw.execute("BEGIN")
            rows = raw.execute(f"SELECT * FROM {name}").fetchall()
            raw.execute(f"DELETE FROM {name} WHERE rowid = 2")
            raw.execute("COMMIT")
            assert [how for where, how in kept.found() if where.startswith(f"{name}, row ")] == ["removed."]
            raw.execute(f"DELETE FROM {name}")
            assert [how for _, how in kept.found()] == ["removed.", "removed."], name
            more = tuple(value(column, 3) for column in table.columns)
            more = tuple(str(one) if isinstance(one, dict) else one for one in more)
            names = ", ".join(table.columns.keys())
            raw.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(more))})", rows)
            raw.execute(f"INSERT INTO {name} ({names}) VALUES ({', '.join('?' * len(more))})", more)
            assert [how for where, how in kept.found() if where.startswith(f"{name}, row ")] == ["added."], (
                name
            )
            raw.execute(f"DELETE FROM {name} WHERE rowid = (SELECT max(rowid) FROM {name})")
            assert kept.found() == [], name


@pytest.mark.parametrize("at_once", [1, 7, 40])
def test_a_store_with_more_rows_than_memory_should_hold_is_compared_in_shares(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr("meterseal.control.rowcheck.AT_ONCE", at_once)
    whole = kept.look()
    assert (whole.differences, whole.rows, whole.before, whole.entries) == ((), 2 * FILLED + 1, 0, 2)
    kept.attack(
        "UPDATE meters SET since = 9",
        "DELETE FROM tariffs WHERE version = 1",
        "INSERT INTO premises VALUES ('x9')",
    )
    assert sorted(how for _, how in kept.found()) == ["added.", "back.", "back.", "removed."]


def test_an_older_row_put_back_is_found(kept: Kept) -> None:
    """Both are rows that the platform wrote, sealed and all: only which of them was the last is not said by themselves."""
    copy = kept.path.with_name("copy.db")
    kept.engine.dispose()
    shutil.copy(kept.path, copy)
    kept.start()
    with write(kept.engine) as connection:
        connection.execute(agreements.update().where(agreements.c.id == "x1").values(until=NOW))
    assert kept.found() == []
    kept.attack(
        f"ATTACH '{copy}' AS old",
        "DELETE FROM agreements WHERE id = 'x1'",
        "INSERT INTO agreements SELECT * FROM old.agreements WHERE id = 'x1'",
    )
    assert kept.found() == [("agreements, row 'x1'", "back.")]


def _forge(kept: Kept, key: bytes | None, *statements: str) -> None:
    """Change rows as somebody who knows how the trail is made: with an entry that fits."""
    kept.engine.dispose()
    engine = control_at(kept.path)
    forged = RowTrail.begin(engine, KEYS, lambda: NOW)
    if key is not None:
        forged._key = key
    with write(engine) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


CHANGE = "UPDATE point_facts SET value = '80' WHERE id = 1"


def test_an_entry_written_without_the_key_is_not_believed(kept: Kept) -> None:
    _forge(kept, b"guessed", CHANGE)
    kept.start()
    with pytest.raises(DataError, match="not written by this platform") as found:
        kept.look()
    assert found.value.code == "audit.broken"


def test_with_the_key_what_is_never_changed_still_cannot_be_changed_or_taken_away(kept: Kept) -> None:
    _forge(kept, None, CHANGE, "DELETE FROM tariffs WHERE version = 2")
    kept.start()
    assert kept.found() == [("tariffs, row 'x2'|2", "does."), ("point_facts, row 1", "written.")]


def test_an_entry_of_somebody_elses_under_the_running_platform_is_named(kept: Kept) -> None:
    with write(kept.engine) as connection:
        connection.execute(agreements.update().where(agreements.c.id == "x1").values(until=NOW))
    engine = control_at(kept.path)
    forged = RowTrail.begin(engine, KEYS, lambda: NOW)
    assert forged.verify() == 3
    with write(engine) as connection:
        connection.exec_driver_sql("UPDATE agreements SET until = 5 WHERE id = 'x2'")
    engine.dispose()
    assert kept.found() == [], "so far it is an entry like others"
    with write(kept.engine) as connection:
        connection.execute(agreements.update().where(agreements.c.id == "x1").values(until=NOW + 1))
    assert kept.found() == [("entry 5 of the trail of rows", "it.")]
    with write(kept.engine) as connection:
        connection.execute(agreements.update().where(agreements.c.id == "x1").values(until=NOW + 2))
    assert kept.found() == [("entry 5 of the trail of rows", "it.")], "once, and for ever"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE row_trail SET content = x'92a090' WHERE id = 2",
        "UPDATE row_trail SET at = at + 1 WHERE id = 1",
        "DELETE FROM row_trail WHERE id = 1",
        "UPDATE row_trail SET id = id + 1 WHERE id = 2",
        "UPDATE row_trail SET tag = zeroblob(32)",
        "UPDATE row_trail SET hash = zeroblob(32) WHERE id = 2",
        "UPDATE row_trail SET at = -1 WHERE id = 2",
        "UPDATE row_trail SET at = 'never' WHERE id = 2",
        "UPDATE row_trail SET content = 'words' WHERE id = 2",
        "UPDATE row_trail SET content = CAST(x'ff' AS TEXT) WHERE id = 2",
        "UPDATE row_trail SET tag = 5 WHERE id = 2",
    ],
)
def test_a_changed_entry_is_named(kept: Kept, statement: str) -> None:
    kept.attack(statement)
    kept.again()
    with pytest.raises(DataError) as found:
        kept.look()
    assert found.value.code == "audit.broken"


def test_an_entry_below_the_first_one_is_not_believed(kept: Kept) -> None:
    """No key is needed to write what an entry says, and below 1 it is in nobody's chain."""
    (covered,) = (one for one in COVERED if one.name == "point_facts")
    row = {column: value(point_facts.c[column], 3) for column in covered.fixed}
    said = Written("point_facts", covered.fixed, (), (Item("3", digest(row.values()), b""),))
    with contextlib.closing(sqlite3.connect(kept.path, isolation_level=None)) as raw:
        raw.execute(f"INSERT INTO point_facts VALUES ({', '.join('?' * len(row))})", [*row.values()])
        raw.execute(
            "INSERT INTO row_trail SELECT -7, at, ?, previous, hash, tag FROM row_trail WHERE id = 1",
            [msgspec.msgpack.encode(Entry("", (said,)))],
        )
    assert compared(kept.engine, kept.trail).differences == (), "the entry fits the row"
    with pytest.raises(DataError) as found:
        kept.look()
    assert found.value.code == "audit.broken"


@pytest.mark.parametrize("at_once", [9, 1_000_000])
def test_a_value_that_cannot_be_read_hides_no_other_change(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr("meterseal.control.rowcheck.AT_ONCE", at_once)
    kept.attack(
        "UPDATE point_facts SET value = '400' WHERE id = 2",
        "UPDATE point_facts SET channel = CAST(x'ff' AS TEXT) WHERE id = 1",
        "INSERT INTO premises VALUES (CAST(x'ff' AS TEXT))",
    )
    assert sorted(where for where, _ in kept.found()) == [
        "point_facts, row 1",
        "point_facts, row 2",
        "premises, row b\"'\\xff'\"",
    ]


def test_a_trigger_that_acts_within_our_own_writes_is_named_and_so_is_what_it_wrote(kept: Kept) -> None:
    kept.attack("CREATE TRIGGER t AFTER INSERT ON acts BEGIN UPDATE meters SET usage_point_id = 'x2'; END")
    assert kept.found() == [("trigger t", "it.")]
    with write(kept.engine) as connection:
        append(connection, Act(NOW, "operator", "something", "else"))
    kept.attack("DROP TRIGGER t")
    assert kept.found() == [("entry 3 of the trail of rows", "backup.")]
    with write(kept.engine) as connection:
        append(connection, Act(NOW, "operator", "something", "more"))
    assert len(kept.found()) == 1, "what follows is our own"


def test_our_own_next_write_of_a_row_makes_nobody_elses_change_ours(kept: Kept) -> None:
    """Changed, added, or added and ended, between two looks: what the transaction found is said with what it left."""
    kept.attack(
        "UPDATE agreements SET tariff_version = 2 WHERE id = 'x1'",
        "INSERT INTO accounts SELECT 'x9', role, customer_id, password_hash, locale, created_at, disabled_at FROM accounts "
        "WHERE id = 'x1'",
        "INSERT INTO web_sessions SELECT zeroblob(32), account_id, created_at, expires_at FROM web_sessions LIMIT 1",
    )
    with write(kept.engine) as connection:
        connection.execute(agreements.update().where(agreements.c.id == "x1").values(until=NOW))
        connection.execute(accounts.update().where(accounts.c.id == "x9").values(password_hash="their own"))
        connection.execute(web_sessions.delete().where(web_sessions.c.token_hash == bytes(32)))
    assert kept.found() == [
        ("agreements, row 'x1'", "before."),
        ("accounts, row 'x9'", "added."),
        (f"web_sessions, row X'{'00' * 32}'", "added."),
    ]


def test_a_row_that_we_write_again_and_again_is_found_as_we_left_it(kept: Kept) -> None:
    """In every column of every table that may be changed, within one transaction and across them."""
    changed = 0
    for covered in COVERED:
        table = metadata.tables[covered.name]
        first = sa.and_(*(table.c[name] == value(table.c[name], 1) for name in covered.key))
        for name in (
            set(covered.rest) - {"usage_point_id", "concentrator_id"} if covered.name != "trail_keys" else ()
        ):
            with write(kept.engine) as connection:
                for number in (3, 4):
                    connection.execute(
                        table.update().where(first).values({name: value(table.c[name], number)})
                    )
            changed += 1
        if covered.goes:
            with write(kept.engine) as connection:
                row = {column.name: value(column, 1) for column in table.columns}
                connection.execute(table.delete().where(first))
                connection.execute(table.insert().values(row))
                connection.execute(table.delete().where(first))
            changed += 1
    assert changed > 40
    kept.again()
    assert kept.found() == []


def test_a_trail_whose_end_was_cut_off_no_longer_tells_of_the_last_rows(kept: Kept) -> None:
    """What is left is whole in itself: the rows give it away, and its head at the security service where they went too."""
    kept.attack("DELETE FROM row_trail WHERE id = 2")
    kept.again()
    assert {how for _, how in kept.found()} == {"added."}


def test_a_key_of_another_store_is_refused_with_what_to_do(kept: Kept) -> None:
    kept.attack("UPDATE trail_keys SET sealed_key = zeroblob(60)")
    kept.engine.dispose()
    engine = control_at(kept.path)
    with pytest.raises(DataError, match="from a backup") as refused:
        RowTrail.begin(engine, KEYS, lambda: NOW)
    assert refused.value.code == "audit.key"
    engine.dispose()


def test_a_first_transaction_that_is_undone_takes_no_trigger_of_the_connection_with_it(kept: Kept) -> None:
    kept.again()
    with pytest.raises(sa.exc.IntegrityError):
        _twice(kept.engine)
    with write(kept.engine) as connection:
        connection.execute(agreements.update().where(agreements.c.id == "x1").values(until=NOW))
    assert kept.found() == []


def test_connections_that_write_after_one_another_and_beside_readers_all_note_it(kept: Kept) -> None:
    with read(kept.engine) as one, read(kept.engine) as two:
        one.execute(sa.select(agreements)).all()
        two.execute(sa.select(agreements)).all()
        for number in range(3):
            with write(kept.engine) as connection:
                connection.execute(agreements.update().where(agreements.c.id == "x1").values(until=number))
    assert kept.found() == []


def test_a_commit_that_fails_leaves_neither_rows_nor_entry(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise sa.exc.OperationalError("COMMIT", None, Exception("disk full"))

    monkeypatch.setattr(kept.engine.dialect, "do_commit", fails)
    with pytest.raises(EngineError), write(kept.engine) as connection:
        connection.execute(agreements.update().values(until=NOW))
    monkeypatch.undo()
    assert kept.found() == []
    with write(kept.engine) as connection:
        connection.execute(agreements.update().values(until=NOW))
    assert kept.found() == []


def test_what_stood_before_the_trail_is_counted_apart_until_it_is_written_again(tmp_path: Path) -> None:
    engine = control_at(tmp_path / "control.db")
    fill(engine, 1)
    trail = RowTrail.begin(engine, KEYS, lambda: NOW)
    look = compared(engine, trail)
    assert (look.rows, look.before, look.differences) == (FILLED + 1, FILLED, ())
    with write(engine) as connection:
        connection.execute(agreements.update().values(until=NOW))
    look = compared(engine, trail)
    assert (look.rows, look.before, look.differences) == (FILLED + 1, FILLED - 1, ())
    engine.dispose()


def test_a_table_that_is_covered_since_an_upgrade_is_taken_up_once(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is added to it by hand before the next start is not taken up with it, nor where it was empty."""
    with contextlib.closing(sqlite3.connect(kept.path)) as raw, raw:
        raw.execute("DELETE FROM weather")
    fewer = tuple(covered for covered in COVERED if covered.name not in ("weather", "tariffs"))
    kept.engine.dispose()
    kept.path.with_name("old.db").write_bytes(kept.path.read_bytes())
    old = Kept.__new__(Kept)
    old.path = kept.path.with_name("old.db")
    with contextlib.closing(sqlite3.connect(old.path)) as raw, raw:
        raw.execute("DELETE FROM row_trail")
    monkeypatch.setattr("meterseal.control.rowtrail.COVERED", fewer)
    old.start()
    monkeypatch.undo()
    old.again()
    assert (old.found(), old.trail.verify()) == ([], 2)
    old.attack("INSERT INTO weather VALUES (9, 9, 9)", "UPDATE tariffs SET since = 9 WHERE version = 1")
    old.again()
    assert old.found() == [("tariffs, row 'x1'|1", "back."), ("weather, row 9", "added.")]
    old.engine.dispose()
    kept.start()


def test_only_the_act_that_is_written_without_a_key_is_taken_up_at_the_next_start(kept: Kept) -> None:
    kept.engine.dispose()
    engine = control_at(kept.path)
    with write(engine) as connection:
        for act in ("journal-given-up", "customer.erased"):
            append(connection, Act(NOW, "operator", act, "x"))
    engine.dispose()
    kept.start()
    assert kept.found() == [("acts, row 4", "added.")]
    with read(kept.engine) as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(row_trail)).scalar() == 3


class Away:
    """A security service that does not answer."""

    async def trail_anchor(self, trail: str) -> TrailAnchor:
        raise EngineError("mesh.away", "It is away.")

    async def anchor_trail(self, rows: int, head: bytes, trail: str) -> TrailAnchor:
        raise EngineError("mesh.away", "It is away.")


async def test_neither_a_clock_that_was_set_back_nor_a_look_that_failed_ends_the_looking(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [NOW]
    watch = RowWatch(kept.engine, kept.trail, Away(), AuditLog(kept.engine), lambda: now[0])

    def fails(*_: object) -> Compared:
        raise EngineError("control.busy", "Another program has locked it.")

    with monkeypatch.context() as patch:
        patch.setattr(rowwatch, "compared", fails)
        await watch.watch()
    assert "could not be compared" in watch.says
    await watch.watch()
    assert watch.says == ""
    kept.attack("UPDATE agreements SET until = 5 WHERE id = 'x1'")
    now[0] -= 400 * 86_400_000
    await watch.watch()
    assert "agreements, row 'x1'" in watch.says
