"""Billing determinants: the exact quantities of a period, taken from registers and never guessed.

Pure. It prices nothing (rating) and asks no evidence (proof); what cannot be determined raises DataError with
a `bill.*` code, and the bill is held.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from meterseal.errors import DataError
from meterseal.model import Quality
from meterseal.utility.calendar import HOUR, clock_hours, local
from meterseal.utility.rating import Use
from meterseal.utility.readings import Part, Readings, hour_boundaries, parts, steps
from meterseal.utility.tariff import Segment, TimeOfUse


class Measured(NamedTuple):
    """A use with the readings it came from: registers at `first_at` and `last_at`, counts by quality.

    For kind "hours" the counts are hours of the band; an hour is as good as the worse of its two registers. `parts` is
    the use by multiplier, empty where that is 1.
    """

    use: Use
    kind: Literal["register", "hours"]
    first_at: int
    last_at: int
    measured: int
    estimated: int
    edited: int
    vouched: int
    parts: tuple[Part, ...] = ()


def segment_uses(readings: Readings, segment: Segment) -> tuple[Measured, ...]:
    """Return what one segment's tariff prices: one register difference, or one sum of hours a band.

    Raises DataError `bill.boundary-missing`, `bill.negative-use`, `bill.hours-missing`, `bill.hours-differ`.
    """
    whole = by_register(readings, segment.since, segment.until)
    if not isinstance(segment.tariff, TimeOfUse):
        return (whole,)
    bands = _by_hours(readings, segment, segment.tariff)
    if sum(band.use.amount for band in bands) != whole.use.amount:
        raise DataError(
            "bill.hours-differ",
            "The hours of the period do not add up to the difference of its boundary registers; "
            "look at the findings of this usage point and edit the reading that is wrong.",
        )
    return bands


def by_register(readings: Readings, since: int, until: int) -> Measured:
    """Return the register difference of a period, multiplied.

    Raises DataError `bill.boundary-missing`, `bill.negative-use`, `bill.multiplier-changed` or
    `bill.multiplier-unstated`.
    """
    _check_said(readings, since, until)
    rows = []
    for at in (since, until):
        row = readings.find(at)
        if row is None:
            raise DataError(
                "bill.boundary-missing",
                f"There is no usable register for {_when(at)}; it may still arrive, or an estimate or an "
                "edit must be made for it.",
                at=at,
            )
        rows.append(row)
    counts = _counts(readings, np.unique(np.array(rows)))
    if until <= since:
        return Measured(Use(since, until, readings.amount(0)), "register", since, until, *counts)
    edges = np.array([since, until], dtype=np.int64)
    step = steps(readings, edges)
    if step.fell[0]:
        raise _fell(since, until)
    if not step.known[0]:
        raise _unread(readings, since, until)
    use = Use(since, until, readings.amount(int(step.used[0])))
    return Measured(use, "register", since, until, *counts, parts=parts(readings, edges))


def _by_hours(readings: Readings, segment: Segment, tariff: TimeOfUse) -> tuple[Measured, ...]:
    boundaries = hour_boundaries(segment.since, segment.until)
    hours = steps(readings, boundaries)
    if hours.fell.any():
        at = int(boundaries[int(np.argmax(hours.fell))])
        raise _fell(at, at + HOUR)
    if not hours.known.all():
        first = int(boundaries[int(np.argmin(hours.known))])
        missing = int((~hours.known).sum())
        raise DataError(
            "bill.hours-missing",
            f"{missing} hours of the period have no usable register, the first begins {_when(first)}; they "
            "may still arrive, or estimates or edits must be made for them.",
            missing=missing,
            first=first,
        )
    rows = np.searchsorted(readings.end_at, boundaries)
    by_hour = np.array(tariff.by_hour())[np.array(clock_hours(segment.since, segment.until))]
    worse = np.maximum(_rank(readings.quality[rows[:-1]]), _rank(readings.quality[rows[1:]]))
    vouched = readings.vouched[rows[1:]]
    found = []
    for band in tariff.bands:
        mine = by_hour == band.band
        use = Use(segment.since, segment.until, readings.amount(int(hours.used[mine].sum())), band.band)
        counts = (*_by_rank(worse[mine]), int(vouched[mine].sum()))
        split = parts(readings, boundaries, mine)
        found.append(Measured(use, "hours", segment.since, segment.until, *counts, parts=split))
    return tuple(found)


def _rank(quality: NDArray[np.int8]) -> NDArray[np.int64]:
    """0 measured, 1 estimated, 2 edited: the order of the counts."""
    return np.where(quality == Quality.EDITED, 2, np.where(quality == Quality.ESTIMATED, 1, 0))


def _counts(readings: Readings, rows: NDArray[np.int64]) -> tuple[int, int, int, int]:
    return *_by_rank(_rank(readings.quality[rows])), int(readings.vouched[rows].sum())


def _by_rank(ranks: NDArray[np.int64]) -> tuple[int, int, int]:
    return int((ranks == 0).sum()), int((ranks == 1).sum()), int((ranks == 2).sum())


def _fell(since: int, until: int) -> DataError:
    return DataError(
        "bill.negative-use",
        f"The register fell between {_when(since)} and {_when(until)}, and not by a plausible roll-over; "
        "look at the findings of this usage point and edit the reading that is wrong.",
        since=since,
        until=until,
    )


def _check_said(readings: Readings, since: int, until: int) -> None:
    """It is known by what the registers are multiplied all the time."""
    for lacks in readings.unsaid:
        if lacks.since < until and lacks.until > since:
            raise DataError(
                "bill.multiplier-unstated",
                f"The register was multiplied until the meter was exchanged at {_exactly(lacks.since)}, and nobody said by "
                "what that of the new meter is to be multiplied. State it from that instant on, 1 where it counts all of "
                "the use (meterseal vee facts import FILE.csv: usage point, multiplier, value, "
                f"{local(lacks.since).isoformat()}).",
                at=lacks.since,
            )


def _unread(readings: Readings, since: int, until: int) -> DataError:
    """The multiplier changed where no register was read."""
    turns = readings.turns(since, until)
    at = next((turn for turn in turns if readings.find(turn) is None), turns[0])
    return DataError(
        "bill.multiplier-changed",
        f"The multiplier changed at {_when(at)}, and there is no usable register for that moment: how much was used before "
        "it is not known. State it from the moment of a reading on, of the exchange of the meter, or edit a reading in.",
        at=at,
    )


def _exactly(at: int) -> str:
    return local(at).strftime("%Y-%m-%d %H:%M:%S") if at % 60_000 else _when(at)


def _when(at: int) -> str:
    return local(at).strftime("%Y-%m-%d %H:%M")
