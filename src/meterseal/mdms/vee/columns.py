"""Station VEE, the table that rules look at: register readings of many channels, one after the other.

Pure; nothing here knows a usage point, a version or a unit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

HOUR = 3_600_000
Mask = NDArray[np.bool_]


class Columns(NamedTuple):
    """Rows sorted by (series, end_at), all arrays of one length.

    `series` numbers the channels, rising; `end_at` Unix milliseconds; `register` scaled integers, value =
    register * 10**exponent; where `valid` is False the register says nothing and rules pass over the row.
    """

    series: NDArray[np.int64]
    end_at: NDArray[np.int64]
    register: NDArray[np.int64]
    exponent: NDArray[np.int64]
    valid: Mask

    def part(self, start: int, stop: int) -> Columns:
        """Rows start <= k < stop."""
        here = slice(start, stop)
        return Columns(
            self.series[here], self.end_at[here], self.register[here], self.exponent[here], self.valid[here]
        )


class Steps(NamedTuple):
    """Valid rows alone, each against the valid row before it in its series.

    `row` is the row in the columns; where `follows` is False there is none before, `step` and `elapsed` are
    0. `rank` counts the valid rows of the series before this one.
    """

    row: NDArray[np.int64]
    follows: Mask
    step: NDArray[np.int64]
    elapsed: NDArray[np.int64]
    rank: NDArray[np.int64]


def steps(columns: Columns) -> Steps:
    """Differences between neighbouring valid rows of each series."""
    row = np.flatnonzero(columns.valid)
    series = columns.series[row]
    follows = np.zeros(len(row), np.bool_)
    follows[1:] = series[1:] == series[:-1]
    step, elapsed = (
        np.diff(column[row], prepend=column[row][:1]) * follows
        for column in (columns.register, columns.end_at)
    )
    place = np.arange(len(row))
    starts = np.maximum.accumulate(np.where(follows, 0, place)) if len(row) else place
    return Steps(row, follows, step, elapsed, place - starts)


def mask(columns: Columns, rows: NDArray[np.int64]) -> Mask:
    """True at these rows of the columns."""
    flagged = np.zeros(len(columns.valid), np.bool_)
    flagged[rows] = True
    return flagged
