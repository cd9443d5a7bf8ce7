"""`meterseal sql`: one SELECT over the readings and findings of a period, answered by the running system and written down.

It formats; what a query may see and use is decided where it runs (`app.querying`, `app.sqlchild`).
"""

from __future__ import annotations

import csv
import json as json_module
import sys
import time
from typing import Annotated, Any, Literal

from meterseal.app.operator import Text
from meterseal.app.querying import MOST_ROWS, Ask, Latest
from meterseal.cli.answers import plain, show
from meterseal.cli.arguments import Data, Json, between, device_id_of
from meterseal.cli.calls import LONG_RUN, ask
from meterseal.cli.retention import login
from meterseal.cli.times import at, day

TOMORROW = 86_400_000


def sql(
    query: str = "",
    *,
    data: Data,
    since: str = "",
    until: str = "",
    reason: str = "",
    by: str = "",
    meter: str = "",
    rows: Annotated[int, between(1, MOST_ROWS)] = 1000,
    within: Annotated[int, between(1, 600)] = 60,
    format: Literal["table", "csv", "json"] = "table",
    log: bool = False,
    json: Json = False,
) -> int:
    """Ask readings, findings and usage points of a period in SQL (DuckDB's), one SELECT at a time.

    Views: readings (usage_point, medium, channel, end_at and local_end_at, register, exponent, value, unit, quality,
    origin, version, method), findings (usage_point, channel, since, until, rule, version, severity, detail) and
    usage_points (usage_point, medium). Registers are cumulative; usage points are pseudonyms, and no name is anywhere. Who
    asked, why and what is written down before it is answered.

    Parameters
    ----------
    query
        The SELECT.
    since
        First day, as 2026-11-01; the day before today when left out.
    until
        The day after the last one; everything since when left out.
    reason
        Why you ask; it is written down.
    by
        Who asks; your login name when left out. It is written down as you say it.
    meter
        Only the usage point of this device.
    rows
        At most so many rows.
    within
        At most so many seconds.
    format
        table, csv or json.
    log
        List the newest questions instead: when, who, why, what, and what came of it.
    """
    if log:
        answer = ask(data, "sql_log", Latest(), Text)
        show(answer.json, as_json=json or format == "json", lines=_log)
        return 0
    now = time.time_ns() // 1_000_000
    request = Ask(
        sql=query,
        since=day(since) if since else now - TOMORROW,
        until=day(until) if until else now + TOMORROW,
        author=by or login(),
        reason=reason,
        device_id=device_id_of(meter) if meter else b"",
        rows=rows,
        seconds=within,
    )
    found = json_module.loads(
        ask(data, "sql", request, Text, timeout=LONG_RUN, doing="gathering the readings and asking").json
    )
    if json or format == "json":
        print(json_module.dumps(found, ensure_ascii=False))
        return 0
    if format == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([_cell(name) for name in found["columns"]])
        writer.writerows([_cell(value) for value in row] for row in found["rows"])
    else:
        _table(found)
    if found["more"]:
        print("There are more rows; raise --rows or ask for sums.", file=sys.stderr)
    return 0


def _cell(value: Any) -> Any:
    """A spreadsheet takes a text that begins like a formula for one."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _table(found: dict[str, Any]) -> None:
    texts = [[_text(value) for value in row] for row in [found["columns"], *found["rows"]]]
    widths = [max(len(row[at]) for row in texts) for at in range(len(found["columns"]))]
    right = [any(isinstance(row[at], int | float) for row in found["rows"]) for at in range(len(widths))]
    for row in texts:
        cells = [
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        ]
        print("  ".join(cells).rstrip())
    print(
        f"{len(found['rows'])} rows of {found['readings']} readings, {found['seconds']} s; question {found['id']}"
    )


def _text(value: Any) -> str:
    return "" if value is None else plain(str(value))


def _log(found: list[dict[str, Any]]) -> list[str]:
    return [
        f"{one['id']:>5}  {at(one['at'])}  {one['author']}  {one['outcome'] or 'cut off'}  {one['reason']}: {one['sql']}"
        for one in found
    ] or ["nobody has asked yet"]
