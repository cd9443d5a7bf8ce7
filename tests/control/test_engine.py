"""The control store opens, upgrades, refuses what it must, and says in one sentence what is wrong."""

from __future__ import annotations

import shutil
import stat
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from meterseal.control import open_control, read, write
from meterseal.control.engine import HEAD, alembic_config
from meterseal.control.tables import (
    day_kinds,
    metadata,
    point_facts,
    premises,
    row_trail,
    tariffs,
    usage_points,
    weather,
)
from meterseal.control.writes import insert_new, upsert
from meterseal.errors import DataError, EngineError, LocalError


def test_migrations_make_exactly_the_tables_of_the_code(tmp_path: Path) -> None:
    engine = open_control(tmp_path / "control.db")
    with read(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert set(metadata.tables) <= set(sa.inspect(connection).get_table_names())
    assert ScriptDirectory.from_config(alembic_config()).get_heads() == [HEAD]


def test_opening_again_keeps_what_is_there_and_only_the_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "control.db"
    engine = open_control(path)
    with write(engine) as connection:
        connection.execute(premises.insert().values(id="pr-1"))
    engine.dispose()
    engine = open_control(path)
    with read(engine) as connection:
        assert connection.execute(sa.select(premises.c.id)).scalars().all() == ["pr-1"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_store_that_never_got_its_tables_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    engine = open_control(path)
    with write(engine) as connection:
        metadata.drop_all(connection)
        connection.exec_driver_sql("delete from alembic_version")
    engine.dispose()
    with read(open_control(path)) as connection:
        assert connection.execute(sa.select(premises)).all() == []


def test_facts_of_a_store_that_knew_no_zones_stay_and_zones_may_be_stated(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    plain = sa.create_engine(f"sqlite:///{path}")
    with plain.begin() as connection:
        command.upgrade(alembic_config(connection), "0014")
        connection.exec_driver_sql(
            "insert into point_facts (id, usage_point, channel, kind, value, since, recorded_at)"
            " values (7, 'up-1', 1, 'size', '10', 0, 5)"
        )
    plain.dispose()
    engine = open_control(path)
    row = {"usage_point": "up-1", "channel": 1, "since": 0, "recorded_at": 6}
    with write(engine) as connection:
        connection.execute(point_facts.insert().values(kind="zone", value="east", **row))
        assert connection.execute(sa.select(point_facts.c.id, point_facts.c.value)).all() == [
            (7, "10"),
            (8, "east"),
        ]
        with pytest.raises(sa.exc.IntegrityError):
            connection.execute(point_facts.insert().values(kind="songs", value="east", **row))
        indexes = sa.inspect(connection).get_indexes("point_facts")
    assert [index["column_names"] for index in indexes] == [["kind", "usage_point"]]
    engine.dispose()


def test_weather_and_days_of_a_store_that_overwrote_them_stay_and_are_numbered(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        command.upgrade(alembic_config(connection), "0019")
        connection.exec_driver_sql("insert into weather values (5, 120), (4, -30)")
        connection.exec_driver_sql("insert into day_kinds values (9, 'holiday')")
    engine.dispose()
    engine = open_control(path)
    with read(engine) as connection:
        assert connection.execute(sa.select(weather)).all() == [(1, 4, -30), (2, 5, 120)]
        assert connection.execute(sa.select(day_kinds)).all() == [(1, 9, "holiday")]
    engine.dispose()


def test_a_store_of_a_newer_program_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "control.db"
    engine = open_control(path)
    with write(engine) as connection:
        connection.exec_driver_sql("update alembic_version set version_num = '0999'")
    engine.dispose()
    before = path.read_bytes()
    with pytest.raises(LocalError, match="newer version") as caught:
        open_control(path)
    assert caught.value.code == "control.newer"
    assert caught.value.facts == {"found": "0999", "known": HEAD}
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"not a database at all" * 100, None])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "control.db"
    if content is None:
        other = sa.create_engine(f"sqlite:///{path}")
        with other.begin() as connection:
            connection.exec_driver_sql("create table songs (title text)")
        other.dispose()
    else:
        path.write_bytes(content)
    with pytest.raises(LocalError) as caught:
        open_control(path)
    assert caught.value.code == "control.unreadable"


@pytest.mark.parametrize("how", ["replaced", "removed"])
def test_attack_a_file_that_was_replaced_while_it_is_open_is_neither_read_nor_written(
    tmp_path: Path, how: str
) -> None:
    """A pooled connection wrote on into the file that was gone, and a new one mixed its log into the other file."""
    path, away = tmp_path / "control.db", tmp_path / "away.db"
    engine = open_control(path)
    with write(engine) as connection:
        connection.execute(premises.insert(), [{"id": "1" * 32}])
    path.rename(away)
    if how == "replaced":
        shutil.copy(away, path)

    def attempt(transaction: Callable[[sa.Engine], AbstractContextManager[sa.Connection]]) -> None:
        with transaction(engine) as connection:
            connection.execute(sa.select(premises)).all()

    for transaction in (read, write):
        with pytest.raises(EngineError) as caught:
            attempt(transaction)
        assert caught.value.code == "control.replaced"
    away.replace(path)
    for transaction in (read, write):
        attempt(transaction)


@pytest.mark.parametrize("how", ["replaced", "removed"])
def test_attack_no_further_connection_is_opened_to_a_file_that_was_replaced(tmp_path: Path, how: str) -> None:
    """While another one was busy a new one was opened: closed again, it wrote the log of the old file into the other."""
    path, other = tmp_path / "control.db", tmp_path / "other.db"
    open_control(other).dispose()
    engine = open_control(path)
    with write(engine) as connection:
        connection.execute(premises.insert(), [{"id": "1" * 32}])
    path.rename(tmp_path / "away.db")
    if how == "replaced":
        shutil.copy(other, path)
    with engine.connect(), pytest.raises(EngineError) as caught, read(engine) as connection:
        connection.execute(sa.select(premises)).all()
    assert caught.value.code == "control.replaced"
    engine.dispose()
    assert path.exists() == (how == "replaced")
    if how == "replaced":
        assert path.read_bytes() == other.read_bytes()


def test_a_table_that_is_gone_is_said_as_what_it_is(tmp_path: Path) -> None:
    engine = open_control(tmp_path / "control.db")
    with write(engine) as connection:
        connection.exec_driver_sql("DROP TABLE row_trail")

    def attempt() -> None:
        with read(engine) as connection:
            connection.execute(sa.select(row_trail)).all()

    with pytest.raises(DataError) as caught:
        attempt()
    assert caught.value.code == "control.schema"
    assert "no such table: row_trail" in caught.value.message
    assert "Restore the control store from a backup" in caught.value.message


def test_a_directory_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EngineError) as caught:
        open_control(tmp_path / "file" / "control.db")
    assert caught.value.code == "control.failed"


def test_a_full_disk_undoes_the_whole_transaction(tmp_path: Path) -> None:
    engine = open_control(tmp_path / "control.db")

    def fill() -> None:
        with write(engine) as connection:
            pages = connection.exec_driver_sql("pragma page_count").scalar_one()
            connection.exec_driver_sql(f"pragma max_page_count = {pages + 2}")
            connection.execute(premises.insert(), [{"id": f"{n:032d}"} for n in range(5_000)])

    with pytest.raises(EngineError) as caught:
        fill()
    assert caught.value.code == "control.full"
    with read(engine) as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(premises)).scalar_one() == 0


def test_a_block_that_raises_leaves_nothing(tmp_path: Path) -> None:
    engine = open_control(tmp_path / "control.db")

    def half() -> None:
        with write(engine) as connection:
            connection.execute(premises.insert().values(id="pr-1"))
            raise KeyError

    with pytest.raises(KeyError):
        half()
    with read(engine) as connection:
        assert connection.execute(sa.select(premises)).all() == []


def test_read_then_write_is_one_snapshot_between_threads(tmp_path: Path) -> None:
    engine = open_control(tmp_path / "control.db")
    with write(engine) as connection:
        connection.execute(premises.insert().values(id="0"))

    def count_up() -> None:
        for _ in range(20):
            with write(engine) as connection:
                value = int(connection.execute(sa.select(premises.c.id)).scalar_one())
                connection.execute(premises.update().values(id=str(value + 1)))

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with read(engine) as connection:
        assert connection.execute(sa.select(premises.c.id)).scalar_one() == "80"


def test_a_reader_neither_waits_for_a_writer_nor_sees_half_of_it(tmp_path: Path) -> None:
    engine = open_control(tmp_path / "control.db")
    with write(engine) as writer, read(engine) as reader:
        writer.execute(premises.insert().values(id="pr-1"))
        assert reader.execute(sa.select(premises)).all() == []


def test_a_second_writer_gives_up_with_a_sentence(tmp_path: Path) -> None:
    engine = open_control(tmp_path / "control.db")

    def second() -> None:
        with engine.connect() as raw:
            raw.connection.execute("pragma busy_timeout = 10")  # type: ignore[attr-defined]
        with write(engine):
            pass

    with write(engine) as connection:
        connection.execute(premises.insert().values(id="pr-1"))
        with pytest.raises(EngineError) as caught:
            second()
    assert caught.value.code == "control.busy"


def test_rows_that_are_there_stay_and_upserts_replace(tmp_path: Path) -> None:
    engine = open_control(tmp_path / "control.db")
    tariff = {"code": "t", "version": 1, "medium": "gas", "since": 0, "document": {"b": 2, "a": 1}}
    with write(engine) as connection:
        assert insert_new(connection, tariffs, [tariff]) == 1
        assert insert_new(connection, tariffs, [tariff | {"since": 5}, tariff | {"version": 2}]) == 1
        upsert(connection, tariffs, [tariff | {"medium": "heat"}])
        rows = connection.execute(sa.select(tariffs).order_by(tariffs.c.version)).all()
        text = connection.exec_driver_sql("select document from tariffs").scalars().first()
    assert [(row.version, row.medium, row.since) for row in rows] == [(1, "heat", 0), (2, "gas", 0)]
    assert rows[0].document == {"a": 1, "b": 2}
    assert text == '{"a":1,"b":2}'


@pytest.mark.parametrize(
    ("table", "values"),
    [
        (tariffs, {"code": "t", "version": 1, "medium": "gas", "since": 1.5, "document": {}}),
        (tariffs, {"code": "t", "version": 1, "medium": "gas", "since": True, "document": {}}),
    ],
)
def test_times_are_whole_milliseconds(tmp_path: Path, table: sa.Table, values: dict[str, object]) -> None:
    engine = open_control(tmp_path / "control.db")

    def insert() -> None:
        with write(engine) as connection:
            connection.execute(table.insert().values(**values))

    with pytest.raises(sa.exc.StatementError, match="whole Unix milliseconds"):
        insert()


def test_a_medium_that_nobody_knows_is_refused_by_the_store(tmp_path: Path) -> None:
    engine = open_control(tmp_path / "control.db")

    def insert() -> None:
        with write(engine) as connection:
            connection.execute(premises.insert().values(id="pr-1"))
            connection.execute(usage_points.insert().values(id="up-1", premises_id="pr-1", medium="steam"))

    with pytest.raises(sa.exc.IntegrityError):
        insert()
