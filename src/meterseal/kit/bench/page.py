"""Beside the path: writes measured tables into a page, between two marks; the words around them are a person's.

It measures nothing and touches nothing outside the marks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from meterseal.errors import LocalError
from meterseal.kit.bench.registry import BENCHMARKS, Run
from meterseal.kit.bench.report import facts, table

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
_HEAD = "\n## "


def write(page: Path, runs: Sequence[Run]) -> None:
    """Replace the sections of these runs between the marks, and leave other sections; LocalError `use.page` for
    a page without marks.
    """
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise LocalError("use.page", f"{page} cannot be read: {error.strerror}. Give a page.") from None
    before, begun, rest = text.partition(BEGIN)
    between, ended, after = rest.partition(END)
    if not begun or not ended:
        raise LocalError("use.page", f"{page} has no place for figures; put {BEGIN} and {END} into it.")
    sections = {one.partition("\n")[0].strip(): one for one in between.split(_HEAD)[1:]}
    sections |= {run.report.bench: _section(run) for run in runs}
    kept = "".join(f"{_HEAD}{sections[name].rstrip()}\n" for name in BENCHMARKS if name in sections)
    page.write_text(f"{before}{BEGIN}\n{kept}\n{END}{after}", encoding="utf-8")


def _section(run: Run) -> str:
    lines = [run.report.bench, "", BENCHMARKS[run.report.bench].help, "", facts(run.report), ""]
    return "\n".join([*lines, *table(run.report, run.measured)]) + "\n"
