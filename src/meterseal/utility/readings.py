"""Register readings as the utility counts with them: boundaries, steps between them, roll-over.

Pure and exact: scaled integers in, scaled integers out. It does not judge a reading (that was VEE); a missing
or suspect register is simply not usable, and nothing is filled in here.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from meterseal.errors import DataError
from meterseal.model import Medium, Quality
from meterseal.utility.calendar import HOUR
from meterseal.utility.ports import RegisterColumns
from meterseal.utility.tariff import UNITS

ROLL_OVER = 10**8
"""Registers have eight digits (CJ/T 188 and DL/T 645): after 99 999 999 comes 0."""

PLAUSIBLE_PER_HOUR: dict[Medium, int] = {"water": 16, "gas": 25, "heat": 200, "electricity": 100}
"""Most a household can use in an hour, in the unit it is billed in; a fall of the register is taken for a
roll-over only when the step it would mean stays below this."""

_USABLE = (Quality.MEASURED, Quality.ESTIMATED, Quality.EDITED)


class Readings(NamedTuple):
    """Usable readings of one channel, sorted by `end_at` (int64), as columns of one length.

    `replaced` marks estimates and edits, `vouched` readings of a meter without a module. value =
    register * 10**exponent in the unit of the medium.
    """

    medium: Medium
    exponent: int
    end_at: NDArray[np.int64]
    register: NDArray[np.int64]
    quality: NDArray[np.int8]
    vouched: NDArray[np.bool_]

    @property
    def replaced(self) -> NDArray[np.bool_]:
        """Which readings are estimates or edits."""
        return np.not_equal(self.quality, Quality.MEASURED)

    def find(self, at: int) -> int | None:
        """Return the row of the register at an instant, or None when there is none to use."""
        row = int(np.searchsorted(self.end_at, at))
        return row if row < len(self.end_at) and self.end_at[row] == at else None

    def value(self, scaled: int) -> Decimal:
        """Return a scaled integer of this channel as an exact quantity."""
        return Decimal(scaled).scaleb(self.exponent)


class Steps(NamedTuple):
    """Use between neighbouring boundaries, one row an interval.

    `used` is scaled like the registers and 0 where `known` is false; `fell` marks intervals over which the
    register fell without a plausible roll-over; `replaced` counts estimates and edits from boundary to
    boundary, both included.
    """

    used: NDArray[np.int64]
    known: NDArray[np.bool_]
    fell: NDArray[np.bool_]
    replaced: NDArray[np.int64]


def usable(columns: RegisterColumns, medium: Medium) -> Readings:
    """Keep the readings one may count with.

    Raises DataError `usage.exponent` when the exponent cannot be one of a register, `usage.unit` when the
    meter counts in another unit than its medium is billed in.
    """
    if len(columns.end_at) and columns.unit.replace("³", "3") != UNITS[medium]:
        raise DataError(
            "usage.unit",
            f"The meter counts {medium} in {columns.unit}, but it is billed in {UNITS[medium]}; check the "
            "meter's profile.",
        )
    if not -6 <= columns.exponent <= 6:
        raise DataError(
            "usage.exponent",
            f"A register with exponent {columns.exponent} cannot be counted with; check the meter's profile.",
            exponent=columns.exponent,
        )
    kept = np.isin(columns.quality, [int(quality) for quality in _USABLE])
    return Readings(
        medium,
        columns.exponent,
        columns.end_at[kept],
        columns.register[kept],
        columns.quality[kept],
        columns.origin[kept] != 0,
    )


def steps(readings: Readings, boundaries: NDArray[np.int64]) -> Steps:
    """Return the use between neighbouring boundaries (rising instants, int64, at least one)."""
    size = len(readings.end_at)
    rows = np.searchsorted(readings.end_at, boundaries)
    inside = np.minimum(rows, max(size - 1, 0))
    if size:
        found = (rows < size) & (readings.end_at[inside] == boundaries)
        registers = np.where(found, readings.register[inside], 0)
    else:
        found = np.zeros(len(boundaries), dtype=bool)
        registers = np.zeros(len(boundaries), dtype=np.int64)
    both = found[:-1] & found[1:]
    used = np.where(both, np.diff(registers), 0)
    rolled = used + ROLL_OVER
    plausible = (used < 0) & (registers[:-1] < ROLL_OVER) & (rolled <= _limits(readings, boundaries))
    used = np.where(plausible, rolled, used)
    fell = used < 0
    after = np.searchsorted(readings.end_at, boundaries, side="right")
    count = np.concatenate(([0], np.cumsum(readings.replaced)))
    return Steps(
        used=np.where(fell, 0, used),
        known=both & ~fell,
        fell=fell,
        replaced=count[after[1:]] - count[rows[:-1]],
    )


def _limits(readings: Readings, boundaries: NDArray[np.int64]) -> NDArray[np.int64]:
    units = PLAUSIBLE_PER_HOUR[readings.medium] * (np.diff(boundaries) // HOUR)
    scale = 10 ** abs(readings.exponent)
    limits = units * scale if readings.exponent < 0 else units // scale
    return np.asarray(limits, dtype=np.int64)


def hour_boundaries(since: int, until: int) -> NDArray[np.int64]:
    """Return the full hours from `since` to `until`, both ends included."""
    return np.arange(since, until + 1, HOUR, dtype=np.int64)
