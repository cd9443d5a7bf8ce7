"""Opens a line of an issued bill to the readings it was made of: hour by hour, or day by day.

It prices and decides nothing: the bill is what it is. The rows of a line add up to the line, or say that they do not.

A row lies between two neighbouring usable registers, so that rows always add up; where a register is missing a row is
longer than its hour or day. A band's rows are its hours. Lines of tiers share one difference of registers: the first
tier's line holds the use that came first, and a row in which a limit was crossed stands in both with its part.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from meterseal.errors import LocalError
from meterseal.model import Quality
from meterseal.utility.bills import Bill, Determinant, UsedRow
from meterseal.utility.calendar import HOUR, clock_hours, days
from meterseal.utility.readings import Readings, hour_boundaries, steps
from meterseal.utility.tariff import TariffBook, TimeOfUse
from meterseal.utility.views import RowResolution

WORSE = (Quality.MEASURED, Quality.ESTIMATED, Quality.EDITED)


class Share(NamedTuple):
    """The part of a determinant's running use that a line prices: lo < use <= hi, and whether the last use is in it."""

    lo: Decimal
    hi: Decimal
    last: bool


def determinant_of(bill: Bill, line: int | None, determinant: int | None) -> tuple[int, Share]:
    """The number of the determinant behind a line (or the one named), and which part of it the line prices.

    Raises LocalError `bill.no-line` when there is none, as for a fixed charge.
    """
    number = determinant if line is None else None
    if line is not None and determinant is None and 0 <= line < len(bill.lines):
        number = bill.lines[line].determinant
    if number is None or not 0 <= number < len(bill.determinants):
        raise LocalError(
            "bill.no-line", f"Bill {bill.bill_id} has no such line that was made of readings; see its lines."
        )
    chosen = bill.determinants[number]
    whole = chosen.amount - (chosen.carried or 0)
    lo, hi, last = Decimal(0), whole, True
    if line is not None and chosen.kind == "register":
        shared = [place for place, one in enumerate(bill.lines) if one.determinant == number]
        lo = sum((bill.lines[place].charge.quantity for place in shared if place < line), Decimal(0))
        hi, last = lo + bill.lines[line].charge.quantity, line == shared[-1]
    return number, Share(lo, hi, last)


def rows(
    chosen: Determinant, share: Share, readings: Readings, book: TariffBook, own_since: int, by: RowResolution
) -> tuple[UsedRow, ...]:
    """All rows of a line, oldest first; none when a boundary register of the bill is not there any more.

    Nothing before `own_since`, when the agreement began, is cut into days or hours: a year's use that sets the tier
    counts per usage point, and may have been somebody else's.
    """
    first, last = chosen.readings.first.end_at, chosen.readings.last.end_at
    if readings.find(first) is None or readings.find(last) is None or first == last:
        return ()
    cuts = hour_boundaries(first, last) if by == "hour" or chosen.kind == "hours" else _midnights(first, last)
    ends = np.unique(
        np.concatenate((cuts[(cuts >= own_since) & np.isin(cuts, readings.end_at)], [first, last]))
    )
    rows_ = np.searchsorted(readings.end_at, ends)
    found_ = steps(readings, ends)
    used = [
        readings.amount(step) + (readings.value(min(fall, 0)) * readings.factor(at) if fell else 0)
        for step, fall, fell, at in zip(
            found_.used.tolist(),
            np.diff(readings.register[rows_]).tolist(),
            found_.fell.tolist(),
            ends[:-1].tolist(),
            strict=True,
        )
    ]
    quality = np.maximum(_rank(readings.quality[rows_[:-1]]), _rank(readings.quality[rows_[1:]]))
    vouched = readings.vouched[rows_[1:]]
    mine = _of_band(chosen, ends, book)
    found, running = [], Decimal(0)
    for place in np.flatnonzero(mine).tolist():
        amount = used[place]
        begin, running = running, running + amount
        counted = _clip(running, share) - _clip(begin, share)
        still = amount == 0 and share.lo <= begin and (begin < share.hi or share.last)
        if counted == 0 and not still:
            continue
        found.append(
            UsedRow(
                since=int(ends[place]),
                until=int(ends[place + 1]),
                register=int(readings.register[rows_[place + 1]]),
                used=amount,
                counted=counted,
                quality=WORSE[int(quality[place])],
                origin="vouched" if vouched[place] else "sealed",
            )
        )
    return tuple(found)


def adds_up(found: tuple[UsedRow, ...], chosen: Determinant, share: Share, readings: Readings) -> bool:
    """Whether rows are what the bill was made of: the same boundary registers, and the same sum."""
    for edge in (chosen.readings.first, chosen.readings.last):
        row = readings.find(edge.end_at)
        if row is None or readings.value(int(readings.register[row])) != Decimal(edge.register).scaleb(
            edge.exponent
        ):
            return False
    return sum((row.counted for row in found), Decimal(0)) == share.hi - share.lo


def _midnights(first: int, last: int) -> NDArray[np.int64]:
    return np.array([day.since for day in days(first, last)], dtype=np.int64)


def _of_band(chosen: Determinant, ends: NDArray[np.int64], book: TariffBook) -> NDArray[np.bool_]:
    """Which rows belong to the determinant: those of its band's hours, else all."""
    if chosen.kind != "hours":
        return np.ones(len(ends) - 1, dtype=bool)
    (segment, *_) = book.segments(chosen.since, chosen.until)
    assert isinstance(segment.tariff, TimeOfUse)
    by_hour = np.array(segment.tariff.by_hour())[np.array(clock_hours(chosen.since, chosen.until))]
    return np.asarray(by_hour[(ends[:-1] - chosen.since) // HOUR] == chosen.band, dtype=bool)


def _rank(quality: NDArray[np.int8]) -> NDArray[np.int64]:
    return np.where(quality == Quality.EDITED, 2, np.where(quality == Quality.ESTIMATED, 1, 0))


def _clip(value: Decimal, share: Share) -> Decimal:
    return min(max(value, share.lo), share.hi)
