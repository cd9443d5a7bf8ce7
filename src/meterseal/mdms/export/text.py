"""Station MDMS, CSV (RFC 4180): one line a reading, readable by any spreadsheet and by a person.

It reads nothing back. Values are exact decimals; no cell can be taken for a formula.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from decimal import Decimal
from io import StringIO
from typing import BinaryIO
from zoneinfo import ZoneInfo

from meterseal.mdms.export import instants
from meterseal.mdms.export.cim import quality_code
from meterseal.mdms.export.series import Exported
from meterseal.mdms.store.rows import ORIGINS
from meterseal.model import Quality

HEADER = (
    "usage_point",
    "medium",
    "channel",
    "end_at",
    "value",
    "unit",
    "quality",
    "reading_quality",
    "origin",
    "version",
    "method",
    "uncertainty",
)
"""`uncertainty`: how far the value may be off in nine cases of ten, in its unit; empty where nothing is stated."""
MULTIPLIER = "multiplier"
"""One column more once a multiplier was stated: values are the register's, and use is their difference times this,
not known where it is empty."""


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def write_csv(series: Iterable[Exported], out: BinaryIO, zone: ZoneInfo, *, multiplied: bool = False) -> int:
    """Write a header and a line for each reading; returns how many readings. A missing register has an empty value."""
    lines = StringIO(newline="")
    writer = csv.writer(lines)
    writer.writerow((*HEADER, MULTIPLIER) if multiplied else HEADER)
    written = 0
    for one in series:
        columns = one.columns()
        halves = ["" if half is None else _decimal(half, one.exponent) for half in one.halves]
        for end_at, register, quality, origin, version, method in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            missing = quality == Quality.MISSING
            writer.writerow(
                (
                    word(one.usage_point),
                    one.medium,
                    one.channel,
                    instants.local(end_at, zone),
                    "" if missing else _decimal(register, one.exponent),
                    word(one.unit),
                    Quality(quality).name.lower(),
                    quality_code(Quality(quality)),
                    ORIGINS[origin],
                    version,
                    word(one.methods[method]),
                    halves[method],
                    *([one.multiplier] if multiplied else ()),
                )
            )
        written += len(columns.end_at)
        out.write(lines.getvalue().encode())
        lines.seek(0)
        lines.truncate()
    out.write(lines.getvalue().encode())
    return written


def _decimal(digits: int, exponent: int) -> str:
    return f"{Decimal(digits).scaleb(exponent):f}"


def word(text: str) -> str:
    """A word from outside: one that a spreadsheet would calculate, blanks or not, stands behind an apostrophe."""
    return f"'{text}" if text.startswith(_FORMULA) or text.lstrip().startswith(_FORMULA) else text
