"""Beside the path: the report of a benchmark as DESIGN section 7 fixes it, and the table that a person reads.

It measures nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET, Struct, UnsetType

from meterseal.kit.bench.machine import Machine
from meterseal.kit.bench.timing import Measured


class Result(Struct, frozen=True, kw_only=True):
    """A row of a report as DESIGN section 7 fixes it; keys that do not apply are absent."""

    name: str
    rate: float
    unit: str
    cores: int
    limit: float | UnsetType = UNSET
    limit_name: str | UnsetType = UNSET
    ratio: float | UnsetType = UNSET
    cpu_s_per_million: float
    peak_mb: float | UnsetType = UNSET


class Report(Struct, frozen=True, kw_only=True):
    """What `meterseal bench NAME --json` prints; `seconds` is how long the whole run took."""

    bench: str
    machine: Machine
    seconds: float
    results: tuple[Result, ...]


def result(measured: Measured) -> Result:
    """The row of what was measured; the rate is the best slice's, the CPU seconds are the middle slice's."""
    rate, limit, of = measured.rate, measured.limit, measured.case.limit
    return Result(
        name=measured.case.name,
        rate=round(rate, 2),
        unit=measured.case.unit,
        cores=1,
        limit=round(limit, 2) if limit is not None else UNSET,
        limit_name=of.name if of is not None else UNSET,
        ratio=round(rate / limit, 4) if limit is not None else UNSET,
        cpu_s_per_million=round(measured.cpu_s_per_million, 3),
        peak_mb=measured.peak_mb,
    )


def table(report: Report, measured: Sequence[Measured]) -> list[str]:
    """The report as a Markdown table, which is readable as it is; medians and wall rates stand beside the best."""
    rounds = {one.case.name: one for one in measured}
    head = ("row", "best", "median", "unit", "limit", "ratio", "CPU s per million", "wall rate", "goal")
    rows: list[tuple[str, ...]] = []
    for row in report.results:
        one = rounds.get(row.name)
        rows.append(
            (
                row.name,
                _number(row.rate),
                _number(one.median_rate) if one else "",
                row.unit,
                _number(row.limit) if row.limit is not UNSET else "",
                f"{row.ratio:.2f}" if row.ratio is not UNSET else "",
                _number(row.cpu_s_per_million),
                _number(1 / min(cost.wall for cost in one.costs)) if one else "",
                _number(one.case.goal) if one and one.case.goal else "",
            )
        )
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    rule = "|".join(
        "-" * (width + 2) if at in _TEXT else "-" * (width + 1) + ":" for at, width in enumerate(widths)
    )
    lines = [_line(head, widths), f"|{rule}|", *(_line(row, widths) for row in rows)]
    names = {row.limit_name: None for row in report.results if row.limit_name is not UNSET}
    return lines + [""] * bool(names) + [f"Limit: {name}." for name in names]


def facts(report: Report) -> str:
    """The machine in one sentence."""
    m = report.machine
    return (
        f"{m.cpu}, {m.cores} cores, Python {m.python}, {m.libcrypto} for SM2, cryptography with {m.cryptography}, "
        f"command openssl: {m.openssl}; {m.load:.1f} programs wanted a core in the minute before, "
        f"{report.seconds:.0f} s in all."
    )


_TEXT = (0, 3)
"""Columns of words."""


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    aligned = (
        cell.ljust(width) if at in _TEXT else cell.rjust(width)
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return f"| {' | '.join(aligned)} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
