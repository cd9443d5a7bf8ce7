"""SQL over readings: what is shown, what is written down, and what a query cannot reach, change, fill or outlast."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pytest

from meterseal.app import querying
from meterseal.app.operator import Text
from meterseal.app.querying import Ask, Latest, QueryDesk
from meterseal.app.sqlchild import Orders, answered, close_off, opened
from meterseal.control import acts
from meterseal.errors import DataError, EngineError, LocalError, MetersealError
from meterseal.mdms.facts import Fact
from meterseal.mdms.finding import Finding
from meterseal.mesh.rpc import OPERATOR, InProcess
from meterseal.things.fleet import Fleet
from tests.mdms.fleet import (
    DAY,
    FIRST,
    HOUR,
    batches,
    day_series,
    days,
    device,
    keys,
    open_store,
    point,
    register,
)
from tests.mdms.test_store_contract import bulk_of

METERS, DAYS = 4, 2
NOW = FIRST + 40 * DAY


class Desk:
    """A store with its desk, asked as the command line does."""

    def __init__(self, root: Path) -> None:
        self.mdms, self.engine = open_store(root, METERS)
        self.desk = QueryDesk(self.engine, self.mdms, Fleet(self.engine, lambda: NOW), keys(), lambda: NOW)
        self.rpc = InProcess(self.desk.methods(), OPERATOR)

    async def sql(self, query: str, **more: Any) -> dict[str, Any]:
        given: dict[str, Any] = {
            "sql": query,
            "since": FIRST,
            "until": FIRST + 30 * DAY,
            "author": "li",
            "reason": "a test of this",
        } | more
        found: dict[str, Any] = json.loads((await self.rpc.call("sql", Ask(**given), Text)).json)
        return found

    async def rows(self, query: str, **more: Any) -> list[list[Any]]:
        return list((await self.sql(query, **more))["rows"])

    async def code(self, query: str, **more: Any) -> str:
        with pytest.raises(MetersealError) as caught:
            await self.sql(query, **more)
        return caught.value.code

    async def log(self) -> list[dict[str, Any]]:
        return list(json.loads((await self.rpc.call("sql_log", Latest(), Text)).json))


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(tmp_path)
    for number, records in enumerate(days(METERS, DAYS)):
        for batch in batches(records, 8):
            await made.mdms.publish(batch)
        if not number:
            await made.mdms.compact()
    await made.mdms.append(bulk_of(0, 24 * DAYS + 2, [99_000, None]))
    yield made
    await made.mdms.close()
    made.engine.dispose()


# --- what is shown ----------------------------------------------------------------------------------------------


async def test_a_query_sees_every_visible_reading_of_the_period_with_its_quality(desk: Desk) -> None:
    found = await desk.sql(
        "SELECT usage_point, medium, unit, quality, origin, count(*) n, min(register), max(register), max(value), "
        "max(local_end_at) FROM readings GROUP BY ALL ORDER BY 1, 4"
    )
    assert found["readings"] == 24 * METERS * DAYS + 2
    last = FIRST + DAYS * DAY
    rows = {(row[0], row[3]): row for row in found["rows"]}
    for number in range(1, METERS):
        row = rows[point(number), "measured"]
        assert row[5:8] == [24 * DAYS, register(number, FIRST + HOUR), register(number, last)]
        assert row[8] == pytest.approx(register(number, last) / 100)
        assert row[9] == "2026-11-03 00:00:00"
        assert row[1:3] == [["water", "gas", "heat", "electricity"][number], "kWh" if number > 1 else "m3"]
    missing = rows[point(0), "missing"]
    assert missing[5:9] == [1, None, None, None]
    assert rows[point(0), "measured"][7] == 99_000
    one = await desk.sql("SELECT DISTINCT usage_point FROM readings", device_id=device(2))
    assert one["rows"] == [[point(2)]]
    (series,) = (await desk.sql("SELECT list(register ORDER BY end_at) FROM readings", device_id=device(3)))[
        "rows"
    ]
    assert json.loads(series[0]) == [
        value for day in range(DAYS) for part in day_series(3, day) for value in part.registers
    ]
    some = await desk.sql("SELECT count(*) FROM readings", since=FIRST + DAY, until=FIRST + DAY + HOUR)
    assert some["rows"] == [[METERS]]


async def test_registers_stay_raw_beside_an_exact_multiplier(desk: Desk) -> None:
    query = "SELECT usage_point, multiplier, count(*), max(register) FROM readings GROUP BY ALL ORDER BY 1, 2"
    before = await desk.rows(query)
    assert {row[1] for row in before} == {"1.000000"}
    stated = Fact(usage_point=point(3), kind="multiplier", value="2000/5", since=FIRST + DAY)
    await desk.mdms.state([stated], FIRST)
    after = await desk.rows(query)
    assert [row[1:3] for row in after if row[0] == point(3)] == [["1.000000", 24], ["400.000000", 24]]
    assert max(row[3] for row in after if row[0] == point(3)) == before[-1][3]


async def test_findings_and_usage_points_are_there_and_no_name_is(desk: Desk) -> None:
    await desk.mdms.append(bulk_of(1, 1, [5]))  # contradicts what is stored
    await desk.mdms.settle()
    assert await desk.rows("SELECT usage_point, rule, severity FROM findings") == [
        [point(1), "conflict", "error"]
    ]
    assert await desk.rows("SELECT count(*) FROM findings", since=FIRST + DAY) == [[0]]
    assert len(await desk.rows("SELECT * FROM usage_points")) == METERS
    tables = await desk.rows("SELECT table_name, column_name FROM information_schema.columns")
    assert not any(
        word in column for _, column in tables for word in ("name", "address", "phone", "customer")
    )


async def test_more_rows_than_asked_for_are_said_and_not_given(desk: Desk) -> None:
    found = await desk.sql("SELECT * FROM readings", rows=10)
    assert (len(found["rows"]), found["more"]) == (10, True)
    found = await desk.sql("SELECT * FROM readings LIMIT 10", rows=10)
    assert (len(found["rows"]), found["more"]) == (10, False)
    found = await desk.sql("SELECT repeat('x', 3000000) FROM range(10)")
    assert (len(found["rows"]), found["more"]) == (2, True)


# --- who asked what and why -------------------------------------------------------------------------------------


async def test_who_asked_what_and_why_is_written_down_before_it_is_answered(desk: Desk) -> None:
    await desk.sql("SELECT 1", reason="complaint of 3 May")
    await desk.code("SELECT nothing")
    assert await desk.code("DROP TABLE stored", author="wang") == "sql.select"
    log = await desk.log()
    assert [(one["id"], one["author"], one["outcome"]) for one in log] == [
        (3, "wang", "sql.select"),
        (2, "li", "sql.failed"),
        (1, "li", "1 rows"),
    ]
    assert (log[2]["reason"], log[2]["sql"], log[2]["at"]) == ("complaint of 3 May", "SELECT 1", NOW)
    said = [(act.actor, act.act, act.subject) for act in acts.verified(desk.engine)]
    assert said == [("li", "sql", "question-1"), ("li", "sql", "question-2"), ("wang", "sql", "question-3")]
    stored = Path(str(desk.engine.url.database)).read_bytes()
    wal = Path(f"{desk.engine.url.database}-wal")
    stored += wal.read_bytes() if wal.exists() else b""
    assert b"complaint of 3 May" not in stored


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"reason": "  x "}, "sql.reason"),
        ({"reason": "x" * 501}, "sql.reason"),
        ({"author": " "}, "sql.author"),
        ({"sql": " "}, "sql.query"),
        ({"sql": "SELECT 1 --" + "x" * 20_000}, "sql.query"),
        ({"until": FIRST}, "use.period"),
        ({"rows": 0}, "sql.bounds"),
        ({"rows": 100_001}, "sql.bounds"),
        ({"seconds": 601}, "sql.bounds"),
    ],
)
async def test_a_question_without_a_reason_or_beyond_bounds_is_not_asked(
    desk: Desk, more: dict[str, Any], code: str
) -> None:
    with pytest.raises(LocalError) as caught:
        await desk.sql(more.pop("sql", "SELECT 1"), **more)
    assert caught.value.code == code
    assert await desk.log() == []


# --- attacks ----------------------------------------------------------------------------------------------------


async def test_a_query_reaches_no_file_no_network_no_setting_and_changes_nothing(
    desk: Desk, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    outside = {
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_blob('/proc/self/environ')",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM sniff_csv('/etc/passwd')",
        "SELECT * FROM read_json('http://127.0.0.1:1/x')",
    }
    unknown = {
        "SELECT * FROM '/etc/passwd'",
        "SELECT getenv('HOME')",
        "SELECT * FROM arrow_scan(1::POINTER, 2::POINTER, 3::POINTER)",
        "SELECT * FROM orders",
        "SELECT * FROM read_parquet('s3://bucket/x')",
    }
    refused = {
        f"COPY readings TO '{out}/x.csv'",
        f"COPY (SELECT 1) TO '{out}/x.parquet'",
        f"ATTACH '{out}/x.db'",
        f"EXPORT DATABASE '{out}'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "PRAGMA memory_limit='9GB'",
        "SET memory_limit='9GB'",
        "SET lock_configuration=false",
        "RESET memory_limit",
        "CREATE TABLE x AS SELECT 1",
        "CREATE MACRO f() AS 1",
        "CREATE SECRET (TYPE s3)",
        "INSERT INTO stored SELECT * FROM stored",
        "DELETE FROM stored",
        "UPDATE stored SET register = 0",
        "DROP VIEW readings",
        "CALL pragma_version()",
        "PREPARE v AS SELECT 1",
        "VACUUM",
        "BEGIN",
        "SELECT 1; SELECT 2",
        f"SELECT 1; COPY readings TO '{out}/x.csv'",
    }
    writing = {
        "EXPLAIN ANALYZE DELETE FROM stored",
        "EXPLAIN ANALYZE INSERT INTO points VALUES (9, 'x', 'y')",
        "EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1",
        "WITH x AS (DELETE FROM points RETURNING *) SELECT * FROM x",
    }
    orders = Orders(64, 10, 10, 1000)
    with contextlib.closing(opened(orders)) as connection:
        close_off(connection)
        for query in sorted(writing):
            with pytest.raises(duckdb.Error, match="read-only"):
                answered(connection, query, orders)
        for query in sorted(outside):
            with pytest.raises(duckdb.PermissionException):
                answered(connection, query, orders)
        for query in sorted(unknown):
            with pytest.raises(duckdb.Error):
                answered(connection, query, orders)
        for query in sorted(refused):
            assert answered(connection, query, orders)["kind"] == "NotOneSelect", query
    # Two of each in the very process.
    for query in sorted(outside)[:2]:
        assert await desk.code(query) == "sql.outside", query
    for query in [*sorted(refused)[:2], *sorted(writing)]:
        assert await desk.code(query) == "sql.select", query
    assert list(out.iterdir()) == []


def test_the_kernel_lets_the_process_write_no_file_even_where_duckdb_would(tmp_path: Path) -> None:
    """As if the settings had a hole: external access allowed, and a COPY of it."""
    script = """
import sys
from meterseal.app import sqlchild
orders = sqlchild.Orders(64, 10, 10, 1000)
sqlchild._confine(orders)
connection = sqlchild.opened(orders)
def copied():
    connection.execute(f"COPY (SELECT 1) TO '{sys.argv[1]}'")
def written():
    with open(sys.argv[1], "w") as file:
        file.write("x")
for attack in (copied, written):
    try:
        attack()
    except Exception as error:
        print("refused")
"""
    target = tmp_path / "out.csv"
    done = subprocess.run(
        [sys.executable, "-c", script, target], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.split() == ["refused"] * 2, done.stderr
    assert not target.exists() or target.stat().st_size == 0


async def test_a_join_that_explodes_is_ended_and_nothing_is_spilled(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than the memory, more than the time, in ways that DuckDB sees and ways that it does not."""
    monkeypatch.setattr(querying, "MEMORY_MB", 64)
    before = set(Path("/tmp").iterdir()) | set(Path.cwd().iterdir())
    for query in (
        "SELECT count(DISTINCT (a.register, b.register, c.register, d.register)) FROM readings a, readings b, readings c, "
        "readings d",
        "SELECT list(range) FROM range(100000000)",
        "SELECT sum(hash(a.range) % 7 * hash(b.range)) FROM range(10000000) a, range(10000000) b",
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT max(n) FROM r",
    ):
        with pytest.raises(EngineError) as caught:
            await desk.sql(query, seconds=1)
        assert caught.value.code == "sql.limit", query
    assert [one["outcome"] for one in await desk.log()] == ["sql.limit"] * 4
    assert {
        path for path in set(Path("/tmp").iterdir()) | set(Path.cwd().iterdir()) if "duckdb" in path.name
    } <= before
    assert not [child for child in psutil.Process().children() if "sqlchild" in " ".join(child.cmdline())]


async def test_a_period_that_holds_too_much_is_refused_before_it_is_opened_whole(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(querying, "MOST_READINGS", 100)
    with pytest.raises(DataError) as caught:
        await desk.sql("SELECT 1")
    assert caught.value.code == "sql.too-much"
    assert await desk.rows("SELECT count(*) FROM readings", until=FIRST + DAY) == [[METERS * 23]]


def test_columns_that_are_too_many_or_too_long_are_no_answer() -> None:
    """Rows were counted and names were not: joins of joins make hundreds of megabytes of them."""
    orders = Orders(64, 10, 10, 5000)
    parts = [f'a0 AS (SELECT 1 AS "{"x" * 700}")']
    parts += [f"a{k} AS (SELECT * FROM a{k - 1} p, a{k - 1} q)" for k in (1, 2, 3)]
    with contextlib.closing(opened(orders)) as connection:
        close_off(connection)
        few = answered(connection, f"WITH {', '.join(parts)} SELECT * FROM a2", orders)
        assert len(few["columns"]) == 4
        many = answered(connection, f"WITH {', '.join(parts)} SELECT * FROM a3", orders)
    assert many["kind"] == "Wide"


@pytest.mark.parametrize(
    "said", [b"x" * (3 * querying.MOST_BYTES), b"[" * 100_000, b'{"rows": [[{}]]}', b'{"columns": 7}']
)
async def test_a_process_that_a_query_took_over_is_not_believed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: bytes
) -> None:
    (tmp_path / "said").write_bytes(said)
    lying = tmp_path / "lying"
    lying.write_text(f'#!/bin/sh\ncat "{tmp_path / "said"}"\ncat >/dev/null\n')
    lying.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(lying))
    assert await desk.code("SELECT 1") == "sql.limit"


async def test_a_time_with_a_zone_is_refused_in_words_that_show_no_path(desk: Desk) -> None:
    with pytest.raises(DataError) as caught:
        await desk.sql("SELECT now(), [now()]")
    assert "cast it" in caught.value.message
    assert "/" not in caught.value.message
    assert len(await desk.rows("SELECT now()::TIMESTAMP")) == 1


async def test_newer_findings_of_other_times_hide_none_of_the_period(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(querying, "MOST_FINDINGS", 2)
    found = [
        Finding(
            run="t",
            usage_point=point(0),
            channel=1,
            rule="gap",
            version=1,
            severity="warning",
            since=FIRST + day * DAY,
            until=FIRST + day * DAY + HOUR,
            detail={},
        )
        for day in (12, 20, 21, 22)
    ]
    desk.mdms._findings.append(found)
    asked = "SELECT count(*) FROM findings WHERE rule = 'gap'"
    assert await desk.rows(asked, since=FIRST + 12 * DAY, until=FIRST + 13 * DAY) == [[1]]
    assert await desk.code(asked, since=FIRST + 20 * DAY) == "sql.too-much"


async def test_a_caller_who_goes_away_leaves_no_process(desk: Desk) -> None:
    task = asyncio.create_task(
        desk.sql("SELECT count(*) FROM range(10000000) a, range(10000000) b", seconds=100)
    )
    for _ in range(400):
        await asyncio.sleep(0.05)
        found = [one for one in psutil.Process().children() if "sqlchild" in " ".join(one.cmdline())]
        if found:
            break
    assert found
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not psutil.pid_exists(found[0].pid) or found[0].status() == psutil.STATUS_ZOMBIE
    assert [one["outcome"] for one in await desk.log()] == ["ended"]
    assert await desk.rows("SELECT 1") == [[1]]  # the next one is answered


async def test_a_few_questions_wait_for_their_turn_and_further_ones_are_refused(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, answered_ = asyncio.Event(), asyncio.Event(), QueryDesk._answered

    async def slow(self: QueryDesk, asked: Ask, usage_point: str | None) -> dict[str, Any]:
        begun.set()
        await go_on.wait()
        return await answered_(self, asked, usage_point)

    monkeypatch.setattr(QueryDesk, "_answered", slow)
    monkeypatch.setattr(querying, "MOST_WAITING", 2)
    first = asyncio.create_task(desk.sql("SELECT 1"))
    await begun.wait()
    impatient = asyncio.create_task(desk.code("SELECT 2", seconds=1))
    patient = asyncio.create_task(desk.sql("SELECT 3"))
    for _ in range(6000):
        if desk.desk._waiting == 2:
            break
        await asyncio.sleep(0.01)
    assert await desk.code("SELECT 4") == "sql.busy"
    assert (
        await impatient == "sql.busy"
    )  # it would have taken a second for its answer, and no longer for its turn
    go_on.set()
    assert [(await one)["rows"] for one in (first, patient)] == [[[1]], [[3]]]
    assert (await desk.sql("SELECT 5"))["rows"] == [[5]]
    assert [one["sql"] for one in await desk.log()] == ["SELECT 5", "SELECT 3", "SELECT 1"]


async def test_the_process_runs_after_everybody_else_and_goes_first_where_memory_ends(desk: Desk) -> None:
    task = asyncio.create_task(
        desk.sql("SELECT count(*) FROM range(10000000) a, range(10000000) b", seconds=100)
    )
    seen = 0
    for _ in range(1200):
        await asyncio.sleep(0.05)
        for one in psutil.Process().children():
            with contextlib.suppress(OSError, psutil.Error):
                if "sqlchild" in " ".join(one.cmdline()) and one.nice() > psutil.Process().nice():
                    seen = int(Path(f"/proc/{one.pid}/oom_score_adj").read_text())
        if seen:
            break
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert seen == 1000


async def test_attack_a_module_where_the_platform_stands_is_not_run_by_the_process(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    around = tmp_path / "around"
    for name in ("meterseal", "duckdb"):
        (around / name).mkdir(parents=True)
        (around / name / "__init__.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\n")
    monkeypatch.chdir(around)
    assert (await desk.sql("SELECT 7"))["rows"] == [[7]]
    assert not (tmp_path / "run").exists()


async def test_the_process_has_none_of_the_platforms_environment(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METERSEAL_PASSPHRASE", "hunter2")
    task = asyncio.create_task(
        desk.sql("SELECT count(*) FROM range(10000000) a, range(10000000) b", seconds=2)
    )
    seen: dict[str, str] = {}
    for _ in range(400):
        await asyncio.sleep(0.02)
        for one in psutil.Process().children():
            if "sqlchild" in " ".join(one.cmdline()) and os.path.exists(f"/proc/{one.pid}/environ"):  # noqa: PTH110
                raw = Path(f"/proc/{one.pid}/environ").read_bytes()
                seen = dict(part.split("=", 1) for part in raw.decode().split("\0") if "=" in part)
        if seen:
            break
    assert "METERSEAL_PASSPHRASE" not in seen
    assert set(seen) <= {"PYTHONPATH", "PATH", "LANG"}
    with pytest.raises(EngineError):
        await task
