"""Register readings as the utility counts with them: boundaries, steps between them, roll-over.

Pure and exact: scaled integers in, scaled integers out. It does not judge a reading (that was VEE); a missing
or suspect register is simply not usable, and nothing is filled in here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from meterseal.errors import DataError
from meterseal.mdms.multipliers import NOTHING, Multiplied, Stated, Unsaid, factor_at, pieces
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


class Swap(NamedTuple):
    """A meter was taken out, put in, or exchanged for another, with what an installer read off them.

    `last` is the register of the meter that went, `first` of the one that came, in the unit of the medium; None
    where there is none. A reading that ends at `at` is of the one that came. `removed`, `installed`: device ids.
    """

    at: int
    removed: bytes | None
    installed: bytes | None
    last: Decimal | None
    first: Decimal | None


class Readings(NamedTuple):
    """Usable readings of one channel, sorted by `end_at` (int64), as columns of one length.

    `replaced` marks estimates and edits, `vouched` readings of a meter without a module. value =
    register * 10**exponent in the unit of the medium. `swaps` are the changes of meters between its rows. `halves`: how
    far the estimate of an instant may be off in nine cases of ten, in that unit, where it is known. `multiplied`: what
    use is multiplied by where that is not 1; registers never are. `unsaid`: when nobody knows by what, so that no use is
    known.
    """

    medium: Medium
    exponent: int
    end_at: NDArray[np.int64]
    register: NDArray[np.int64]
    quality: NDArray[np.int8]
    vouched: NDArray[np.bool_]
    swaps: tuple[Swap, ...] = ()
    halves: Mapping[int, Decimal] = MappingProxyType({})
    multiplied: tuple[Multiplied, ...] = ()
    unsaid: tuple[Unsaid, ...] = ()

    @property
    def counted(self) -> NDArray[np.int64]:
        """The registers as if one meter had counted all along: differences of it are use, whichever meter counted.

        From the last register of each meter that went to the first of the one that came, nothing was used.
        """
        if not self.swaps:
            return self.register
        base = np.zeros(len(self.end_at), dtype=np.int64)
        for swap in self.swaps:
            counted = self.scaled(swap.last or Decimal(0)) - self.scaled(swap.first or Decimal(0))
            base[self.end_at >= swap.at] += counted
        return self.register + base

    def scaled(self, value: Decimal) -> int:
        """A quantity as a scaled integer of this channel; it must have no more decimals than that (`usable`)."""
        return int(value.scaleb(-self.exponent).to_integral_exact())

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

    @property
    def use_exponent(self) -> int:
        """The exponent of what was used: finer than that of the registers where a multiplier has decimals."""
        return self.exponent + min([0, *(_exponent(one.factor) for one in self.multiplied)])

    def amount(self, used: int) -> Decimal:
        """Return a use of `steps` as an exact quantity."""
        return Decimal(used).scaleb(self.use_exponent)

    def turns(self, since: int, until: int) -> tuple[int, ...]:
        """Instants of since < t < until at which the multiplier changes."""
        return tuple(piece.since for piece in pieces(self.multiplied, since, until)[1:])

    def factor(self, instant: int) -> Decimal:
        """What use right after an instant is multiplied by."""
        return factor_at(self.multiplied, instant)


class Steps(NamedTuple):
    """Use between neighbouring boundaries, one row an interval.

    `used` is multiplied, scaled by `Readings.use_exponent` and 0 where `known` is false; `fell` marks intervals over
    which the register fell without a plausible roll-over; `replaced` counts estimates and edits from boundary to
    boundary, both included.
    """

    used: NDArray[np.int64]
    known: NDArray[np.bool_]
    fell: NDArray[np.bool_]
    replaced: NDArray[np.int64]


class Part(NamedTuple):
    """Use of since <= t < until under one multiplier: the difference of registers, and that times the multiplier."""

    since: int
    until: int
    used: Decimal
    multiplier: Decimal
    amount: Decimal


def usable(
    columns: RegisterColumns,
    medium: Medium,
    swaps: Sequence[Swap] = (),
    stated: Stated = NOTHING,
) -> Readings:
    """Keep the readings one may count with; of `swaps` those between the first of them and the last.

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
    readings = Readings(
        medium,
        columns.exponent,
        columns.end_at[kept],
        columns.register[kept],
        columns.quality[kept],
        columns.origin[kept] != 0,
        halves=_halves(columns),
        multiplied=stated.factors,
        unsaid=stated.unsaid,
    )
    return with_swaps(readings, swaps)


def _halves(columns: RegisterColumns) -> dict[int, Decimal]:
    rows = np.flatnonzero(columns.quality == Quality.ESTIMATED).tolist()
    if not rows:
        return {}
    sure = columns.uncertainty
    return {
        int(columns.end_at[row]): Decimal(half).scaleb(columns.exponent)
        for row in rows
        if (half := sure[row]) is not None
    }


def with_swaps(readings: Readings, swaps: Sequence[Swap]) -> Readings:
    """The readings with the changes of meters between their first row and their last, decimals brought to the finest."""
    if not len(readings.end_at):
        return readings
    first, last = int(readings.end_at[0]), int(readings.end_at[-1])
    between = tuple(swap for swap in swaps if first < swap.at <= last)
    stated = [value for swap in between for value in (swap.last, swap.first) if value is not None]
    return with_exponent(readings, min([readings.exponent, *map(_exponent, stated)]))._replace(swaps=between)


def with_exponent(readings: Readings, exponent: int) -> Readings:
    """The same registers scaled by a finer exponent."""
    scale = 10 ** (readings.exponent - exponent)
    return readings._replace(exponent=exponent, register=readings.register * scale)


def _exponent(value: Decimal) -> int:
    found = value.normalize().as_tuple().exponent
    return found if isinstance(found, int) else 0


def steps(readings: Readings, boundaries: NDArray[np.int64]) -> Steps:
    """Return the use between neighbouring boundaries (rising instants, int64, at least one).

    Where the multiplier changes between two of them the register of that instant must be known, by a reading or by an
    exchange of the meter; where it is not said, no use is known.

    Raises DataError `usage.multiplier` for use too large to be counted with.
    """
    turns = readings.turns(int(boundaries[0]), int(boundaries[-1])) if readings.multiplied else ()
    cuts = np.union1d(boundaries, np.array(turns, dtype=np.int64)) if turns else boundaries
    used, known, fell = _steps(readings, cuts)
    if readings.multiplied:
        used = _multiplied(readings, cuts, used)
    if turns:
        heads = np.searchsorted(cuts, boundaries[:-1])
        used, fell = np.add.reduceat(used, heads), np.logical_or.reduceat(fell, heads)
        known = np.logical_and.reduceat(known, heads)
        used = np.where(known, used, 0)
    for lacks in readings.unsaid:
        inside = (boundaries[:-1] < lacks.until) & (boundaries[1:] > lacks.since)
        used, known, fell = np.where(inside, 0, used), known & ~inside, fell & ~inside
    rows = np.searchsorted(readings.end_at, boundaries)
    after = np.searchsorted(readings.end_at, boundaries, side="right")
    count = np.concatenate(([0], np.cumsum(readings.replaced)))
    return Steps(used=used, known=known, fell=fell, replaced=count[after[1:]] - count[rows[:-1]])


def parts(
    readings: Readings, boundaries: NDArray[np.int64], mine: NDArray[np.bool_] | None = None
) -> tuple[Part, ...]:
    """The use of those intervals between boundaries that are `mine` (default: all) by multiplier, oldest first; none where
    it is 1 all along. All steps must be known.
    """
    spans = (
        pieces(readings.multiplied, int(boundaries[0]), int(boundaries[-1])) if len(boundaries) > 1 else []
    )
    if all(span.factor == 1 for span in spans):
        return ()
    cuts = np.union1d(boundaries, np.array([span.since for span in spans], dtype=np.int64))
    used, _, _ = _steps(readings, cuts)
    if mine is not None:
        used = np.where(mine[np.searchsorted(boundaries, cuts[:-1], side="right") - 1], used, 0)
    found = []
    for span in spans:
        inside = (cuts[:-1] >= span.since) & (cuts[:-1] < span.until)
        raw = readings.value(int(used[inside].sum()))
        found.append(Part(span.since, span.until, raw, span.factor, raw * span.factor))
    return tuple(found)


def _steps(
    readings: Readings, boundaries: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Differences of registers between neighbouring boundaries, scaled like them; which are known, and which fell."""
    size = len(readings.end_at)
    rows = np.searchsorted(readings.end_at, boundaries)
    inside = np.minimum(rows, max(size - 1, 0))
    if size:
        found = (rows < size) & (readings.end_at[inside] == boundaries)
        registers = np.where(found, readings.register[inside], 0)
        counted = np.where(found, readings.counted[inside], 0)
        _exchanged(readings, boundaries, found, counted)
    else:
        found = np.zeros(len(boundaries), dtype=bool)
        registers = counted = np.zeros(len(boundaries), dtype=np.int64)
    both = found[:-1] & found[1:]
    used = np.where(both, np.diff(counted), 0)
    rolled = used + ROLL_OVER
    plausible = (used < 0) & (registers[:-1] < ROLL_OVER) & (rolled <= _limits(readings, boundaries))
    used = np.where(plausible, rolled, used)
    fell = used < 0
    return np.where(fell, 0, used), both & ~fell, fell


def _exchanged(
    readings: Readings,
    boundaries: NDArray[np.int64],
    found: NDArray[np.bool_],
    counted: NDArray[np.int64],
) -> None:
    """What had been counted where meters were exchanged is known from what was read off them, in place.

    Only where the multiplier changes there: without that, an hour with an exchange in it ends with a reading as any other.
    """
    turns = set(readings.turns(int(boundaries[0]), int(boundaries[-1]))) if readings.multiplied else set()
    base = 0
    for swap in readings.swaps:
        last, first = (readings.scaled(value or Decimal(0)) for value in (swap.last, swap.first))
        if swap.at in turns:
            place = int(np.searchsorted(boundaries, swap.at))
            found[place], counted[place] = True, base + last
        base += last - first


def _multiplied(readings: Readings, cuts: NDArray[np.int64], used: NDArray[np.int64]) -> NDArray[np.int64]:
    finer = 10 ** (readings.exponent - readings.use_exponent)
    factors = np.full(len(used), finer, dtype=np.int64)
    for one in readings.multiplied:
        factors[(cuts[:-1] >= one.since) & (cuts[:-1] < one.until)] = int(one.factor * finer)
    if len(used) and int(used.max()) * int(factors.max()) * max(len(used), 1) >= 1 << 62:
        raise DataError(
            "usage.multiplier",
            "What a register counted, times its multiplier, is more than can be counted with; look at the multiplier: "
            "meterseal vee facts show.",
        )
    return used * factors


def _limits(readings: Readings, boundaries: NDArray[np.int64]) -> NDArray[np.int64]:
    units = PLAUSIBLE_PER_HOUR[readings.medium] * (np.diff(boundaries) // HOUR)
    scale = 10 ** abs(readings.exponent)
    limits = units * scale if readings.exponent < 0 else units // scale
    return np.asarray(limits, dtype=np.int64)


def hour_boundaries(since: int, until: int) -> NDArray[np.int64]:
    """Return the full hours from `since` to `until`, both ends included."""
    return np.arange(since, until + 1, HOUR, dtype=np.int64)
