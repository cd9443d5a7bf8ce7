"""Readings and findings as pages list them, made from what the store answers.

It asks nothing and decides nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from meterseal.model import Quality
from meterseal.people.fleet_messages import ReadingRow
from meterseal.utility.ports import RegisterColumns

SEALED = 0


def facts_of(detail: Any) -> tuple[tuple[str, str], ...]:
    """Parameters and counts of a finding as text."""
    if not isinstance(detail, dict):
        return ()
    return tuple(
        (str(name), str(value))
        for name, value in sorted(detail.items())
        if isinstance(value, str | int | float)
    )


def reading_rows(columns: RegisterColumns) -> tuple[ReadingRow, ...]:
    """The rows of columns, as pages show them."""
    names = (columns.end_at, columns.register, columns.quality, columns.origin)
    return tuple(
        ReadingRow(
            end_at, None if quality == Quality.MISSING else register, Quality(quality), _origin(origin)
        )
        for end_at, register, quality, origin in zip(
            *(np.asarray(column).tolist() for column in names), strict=True
        )
    )


def _origin(code: int) -> str:
    return "sealed" if code == SEALED else "vouched"
