"""`python -m meterseal.app.sqlchild`: one query over readings that are handed in, in a process that can do nothing else.

It has no key, no path and no connection; it gets frames on standard input, answers one JSON object, and ends.

What a query can reach is what was handed in. DuckDB runs in memory without a directory to spill to, without files, network,
extensions and other settings; one SELECT is taken. Beside that the kernel lets the process write no byte into any file,
hold no more memory than it was given and run no longer; it runs after everybody else, and is the first to go where the
machine has no memory left. Reading is DuckDB's to refuse: whoever finds a hole reads what the platform's user may.

A frame is kind 1 ‖ length 4 ‖ payload: "O" orders (JSON, first), "R" readings (Arrow), "D" words and usage points (JSON),
"F" findings (JSON), "Q" the query (last).
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from msgspec import Struct

FRAME = struct.Struct(">cI")
_MEBI = 1 << 20
SLACK = 3 << 30
"""Address space beside what DuckDB may fill: libraries, allocators' reserves and the batch in hand."""

_TABLES = """
CREATE TABLE stored (point INTEGER, channel SMALLINT, ended BIGINT, register BIGINT, exponent TINYINT, unit INTEGER,
                     quality TINYINT, origin TINYINT, version SMALLINT, method INTEGER);
CREATE TABLE points (point INTEGER, usage_point VARCHAR, medium VARCHAR);
CREATE TABLE words (word INTEGER, text VARCHAR);
CREATE TABLE names (kind VARCHAR, code TINYINT, text VARCHAR);
CREATE TABLE factors (usage_point VARCHAR, since BIGINT, until BIGINT, factor DECIMAL(13, 6));
CREATE TABLE found (usage_point VARCHAR, channel SMALLINT, since BIGINT, until BIGINT, rule VARCHAR, version SMALLINT,
                    severity VARCHAR, detail VARCHAR);
"""
_VIEWS = """
CREATE VIEW readings AS
  SELECT p.usage_point, p.medium, s.channel, make_timestamp_ms(s.ended) AS end_at,
         make_timestamp_ms(s.ended + 28800000) AS local_end_at, s.register, s.exponent,
         s.register * power(10, s.exponent) AS value, u.text AS unit, q.text AS quality, o.text AS origin, s.version,
         m.text AS method, CASE WHEN f.since IS NULL THEN 1 ELSE f.factor END AS multiplier
  FROM stored s JOIN points p USING (point) JOIN words u ON u.word = s.unit JOIN words m ON m.word = s.method
       JOIN names q ON q.kind = 'quality' AND q.code = s.quality JOIN names o ON o.kind = 'origin' AND o.code = s.origin
       LEFT JOIN factors f ON f.usage_point = p.usage_point AND (s.channel = 1 OR p.medium = 'electricity')
            AND f.since < s.ended AND s.ended <= f.until;
CREATE VIEW findings AS
  SELECT usage_point, channel, make_timestamp_ms(since) AS since, make_timestamp_ms(until) AS until, rule, version,
         severity, detail FROM found;
CREATE VIEW usage_points AS SELECT usage_point, medium FROM points;
"""


class Orders(Struct, frozen=True):
    """What a query may use: MB that DuckDB may fill, seconds of CPU, rows and bytes of its answer."""

    memory_mb: int
    seconds: int
    rows: int
    bytes: int


class Handed(Struct, frozen=True):
    """What numbers in readings stand for: (usage point, medium) by point, texts of units and methods, names of codes."""

    points: tuple[tuple[str, str], ...]
    words: tuple[str, ...]
    qualities: tuple[str, ...]
    origins: tuple[str, ...]
    factors: tuple[tuple[str, int, int, str | None], ...] = ()
    """(usage point, since, until, multiplier) where that is not 1; None where nobody knows it (`multipliers`)."""


def main() -> int:
    """Answer one query; 0 when something was answered."""
    import duckdb  # before the limits; what is asked comes after them

    frames = _frames(sys.stdin.buffer)
    orders = msgspec.json.decode(next(frames)[1], type=Orders)
    _confine(orders)
    try:
        connection = opened(orders)
        query = _filled(connection, frames)
        close_off(connection)
        begun = time.monotonic()
        answer = answered(connection, query, orders)
        answer["seconds"] = round(time.monotonic() - begun, 3)
    except (duckdb.Error, RuntimeError) as error:
        said = str(error).partition("Traceback (most recent call last)")[
            0
        ]  # DuckDB quotes Python's, paths and all
        answer = {"error": said.strip()[:2000], "kind": type(error).__name__}
    except MemoryError:
        answer = {"error": "", "kind": "OutOfMemoryException"}
    sys.stdout.write(json.dumps(answer, ensure_ascii=False))
    sys.stdout.flush()
    return 0


def opened(orders: Orders) -> Any:
    """A database in memory with empty tables."""
    import duckdb

    connection = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_community_extensions": "false",
            "allow_unsigned_extensions": "false",
            "temp_directory": "",
            "memory_limit": f"{orders.memory_mb}MB",
            "threads": "2",
        },
    )
    connection.execute(_TABLES)
    return connection


def close_off(connection: Any) -> None:
    """Make the views, and let nothing be reached or set any more."""
    connection.execute(_VIEWS)
    for setting in (
        "python_enable_replacements = false",
        "max_temp_directory_size = '0B'",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}")


def _filled(connection: Any, frames: Iterator[tuple[bytes, bytes]]) -> str:
    """Take in what is handed over; gives the query."""
    from arro3.io import read_ipc_stream

    for kind, payload in frames:
        if kind == b"R":
            connection.register("batch", read_ipc_stream(io.BytesIO(payload)).read_all())
            connection.execute("INSERT INTO stored SELECT * FROM batch")
            connection.unregister("batch")
        elif kind == b"D":
            _hand(connection, msgspec.json.decode(payload, type=Handed))
        elif kind == b"F":
            _many(connection, "found", 8, msgspec.json.decode(payload))
        else:
            return payload.decode()
    raise SystemExit(1)  # whoever asked went away


def _confine(orders: Orders) -> None:
    """From here on the kernel refuses files to write, core dumps, more memory and more time."""
    from meterseal.app.child import harden

    os.nice(10)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # not ours to write once it is hardened
    harden()
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    memory = (orders.memory_mb * _MEBI) + SLACK
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (orders.seconds, orders.seconds))
    os.chdir("/")


def _frames(stream: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    while head := stream.read(FRAME.size):
        kind, size = FRAME.unpack(head)
        yield kind, stream.read(size)


def _hand(connection: Any, handed: Handed) -> None:
    _many(connection, "points", 3, [(number, *one) for number, one in enumerate(handed.points)])
    _many(connection, "words", 2, list(enumerate(handed.words)))
    codes = [("quality", code, name) for code, name in enumerate(handed.qualities)]
    codes += [("origin", code, name) for code, name in enumerate(handed.origins)]
    _many(connection, "names", 3, codes)
    _many(connection, "factors", 4, list(handed.factors))


def _many(connection: Any, table: str, columns: int, rows: list[Any]) -> None:
    """Rows in strokes of a few hundred: one statement each would cost a millisecond."""
    one = f"({', '.join('?' * columns)})"
    for start in range(0, len(rows), 500):
        some = rows[start : start + 500]
        values = ", ".join([one] * len(some))
        connection.execute(
            f"INSERT INTO {table} VALUES {values}",  # noqa: S608  # our own names; values are bound
            [value for row in some for value in row],
        )


def answered(connection: Any, query: str, orders: Orders) -> dict[str, Any]:
    """Columns, types, rows, and whether there are more; for anything but one SELECT an error of kind `NotOneSelect`.

    Raises duckdb.Error.
    """
    import duckdb

    statements = duckdb.extract_statements(query)
    kinds = duckdb.StatementType
    if len(statements) != 1 or statements[0].type not in (kinds.SELECT, kinds.EXPLAIN):
        return {"error": "", "kind": "NotOneSelect"}
    connection.execute("BEGIN TRANSACTION READ ONLY")  # EXPLAIN ANALYZE and WITH carry out what they contain
    try:
        return _answer(connection, statements[0], orders)
    finally:
        with contextlib.suppress(duckdb.Error):
            connection.rollback()


def _answer(connection: Any, statement: Any, orders: Orders) -> dict[str, Any]:
    cursor = connection.execute(statement)
    columns = [one[0] for one in cursor.description]
    types = [str(one[1]) for one in cursor.description]
    if any("WITH TIME ZONE" in one for one in types):
        return {
            "error": "a time WITH TIME ZONE is not given out; cast it, as in now()::TIMESTAMP",
            "kind": "Zone",
        }
    rows: list[list[Any]] = []
    size, more = len(json.dumps([columns, types])), False
    if size > orders.bytes:
        return {"error": "its columns have too long names and types, or are too many", "kind": "Wide"}
    while not more and (some := cursor.fetchmany(500)):
        for row in some:
            plain = [_plain(value) for value in row]
            size += len(json.dumps(plain))
            if len(rows) == orders.rows or size > orders.bytes:
                more = True
                break
            rows.append(plain)
    return {"columns": columns, "types": types, "rows": rows, "more": more}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    if hasattr(value, "isoformat"):
        return (
            value.isoformat(" ") if hasattr(value, "hour") and hasattr(value, "year") else value.isoformat()
        )
    return str(value)


if __name__ == "__main__":
    raise SystemExit(main())
