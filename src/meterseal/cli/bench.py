"""`meterseal bench`: what this machine does in a CPU second, beside what bounds it; nothing leaves the machine.

It measures nothing itself; the kit does.
"""

from __future__ import annotations

import json as json_module
import sys
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

from meterseal.cli.arguments import Json


def bench(
    name: str = "",
    /,
    *,
    seconds: Annotated[float, Parameter(validator=Number(gte=0.01, lte=3600))] = 2.0,
    json: Json = False,
    page: Path | None = None,
    readings: Annotated[int | None, Parameter(validator=Number(gte=10_000, lte=1_000_000_000))] = None,
) -> int:
    """Measure one benchmark, or `all`; without a name, list them.

    Parameters
    ----------
    name
        The benchmark, or `all`.
    seconds
        Timed seconds for each row, at most an hour; its preparation comes on top.
    json
        Print one JSON object (with `all` one a line).
    page
        Write the tables between the marks of this page too; other tables there stay.
    readings
        Over so many readings, where the benchmark is one over readings.
    """
    from meterseal.kit.bench import registry, report

    if not name:
        _listed(as_json=json)
        return 0
    runs = []
    for one in registry.BENCHMARKS if name == "all" else (name,):
        run = registry.run(one, seconds, readings)
        runs.append(run)
        if json:
            sys.stdout.write(msgspec.json.encode(run.report).decode() + "\n")
            sys.stdout.flush()
            continue
        print(f"{one}: {registry.BENCHMARKS[one].help}", report.facts(run.report), "", sep="\n")
        print(*report.table(run.report, run.measured), "", sep="\n", flush=True)
    if page is not None:
        from meterseal.kit.bench.page import write

        write(page, runs)
    return 0


def _listed(*, as_json: bool) -> None:
    from meterseal.kit.bench.registry import BENCHMARKS

    if as_json:
        rows = [{"bench": name, "help": one.help} for name, one in BENCHMARKS.items()]
        print(json_module.dumps({"benchmarks": rows}))
        return
    for name, one in BENCHMARKS.items():
        print(f"{name:<12} {one.help}")
