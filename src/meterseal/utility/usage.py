"""Usage information (EUIS): use by hour, day and billing period, and the running period so far.

Pure: from usable readings to what people see. Estimates are marked and counted, holes stay holes; a
projection says that it is one. Who may see it is decided elsewhere (people).
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from meterseal.errors import DataError
from meterseal.model import Quality
from meterseal.utility.calendar import HOUR, Period, is_billing_start
from meterseal.utility.determinants import segment_uses
from meterseal.utility.outlook import Outlook
from meterseal.utility.projection import project
from meterseal.utility.rating import RatingInput, Use, rate
from meterseal.utility.readings import Readings, hour_boundaries, steps
from meterseal.utility.tariff import UNITS, Segment, TariffBook, TimeOfUse
from meterseal.utility.views import PeriodToDate, Resolution, UsageSeries


class Progress(NamedTuple):
    """How far the readings of a period have come.

    `latest_at` is the newest usable hourly register, `complete_to` the end of the last hour before the first
    hole (None without the register at the beginning).
    """

    latest_at: int | None
    complete_to: int | None


def usage_series(
    usage_point: str, readings: Readings, resolution: Resolution, boundaries: NDArray[np.int64]
) -> UsageSeries:
    """Return the use between neighbouring boundaries (rising instants)."""
    found = steps(readings, boundaries)
    quality = np.where(found.known, Quality.MEASURED, Quality.MISSING)
    quality = np.where(found.known & (found.replaced > 0), Quality.ESTIMATED, quality)
    quality = np.where(found.fell, Quality.SUSPECT, quality)
    inside = readings.end_at[(readings.end_at >= boundaries[0]) & (readings.end_at <= boundaries[-1])]
    unbroken = int(np.argmin(found.known)) if not found.known.all() else len(found.known)
    return UsageSeries(
        usage_point=usage_point,
        medium=readings.medium,
        unit=UNITS[readings.medium],
        exponent=readings.use_exponent,
        resolution=resolution,
        starts=tuple(boundaries[:-1].tolist()),
        ends=tuple(boundaries[1:].tolist()),
        used=tuple(
            value if known else None
            for value, known in zip(found.used.tolist(), found.known.tolist(), strict=True)
        ),
        quality=tuple(Quality(value) for value in quality.tolist()),
        latest_at=int(inside[-1]) if len(inside) else None,
        complete_to=int(boundaries[unbroken]) if unbroken else None,
        estimated=int((quality == Quality.ESTIMATED).sum()),
        missing=int((~found.known).sum()),
    )


def progress(readings: Readings, since: int, until: int) -> Progress:
    """Say how far the hourly registers of a period have come."""
    hourly = readings.end_at[readings.end_at % HOUR == 0]
    inside = hourly[(hourly >= since) & (hourly <= until)]
    known = steps(readings, hour_boundaries(since, until)).known
    unbroken = len(known) if known.all() else int(np.argmin(known))
    begun = readings.find(since) is not None
    return Progress(
        latest_at=int(inside[-1]) if len(inside) else None,
        complete_to=since + unbroken * HOUR if begun else None,
    )


def period_to_date(
    readings: Readings,
    period: Period,
    book: TariffBook,
    accumulated: Decimal,
    billing_day: int,
    now: int,
    foresee: Callable[[int], Outlook | None] = lambda as_of: None,
) -> PeriodToDate:
    """Rate the running period up to its newest reading (time of use: up to the first hole).

    `accumulated` is the year's use before the period, `foresee` the hours that follow the instant up to which is
    rated. Raises DataError `tariff.none`; readings that do not allow a cost leave `used` and `cost_fen` None.
    """
    until = min(period.until, now - now % HOUR)
    reached = progress(readings, period.since, until)
    hourly = any(isinstance(part.tariff, TimeOfUse) for part in book.segments(*period))
    as_of = reached.complete_to if hourly or reached.complete_to is None else reached.latest_at
    nothing = PeriodToDate(*period, None, None, None, (), 0, 0)
    if as_of is None:
        return nothing
    month_begins = is_billing_start(period.since, billing_day)
    if as_of == period.since:
        segments: tuple[Segment, ...] = ()
        uses: tuple[Use, ...] = ()
    else:
        segments = book.segments(period.since, as_of)
        try:
            uses = tuple(one.use for part in segments for one in segment_uses(readings, part))
        except DataError:
            return nothing
    hours = steps(readings, hour_boundaries(period.since, as_of))
    rated = rate(RatingInput(segments, uses, accumulated, month_begins)) if segments else None
    return PeriodToDate(
        since=period.since,
        until=period.until,
        as_of=as_of,
        used=sum((use.amount for use in uses), Decimal(0)),
        cost_fen=rated.total_fen if rated else 0,
        lines=rated.lines if rated else (),
        estimated=int((hours.known & (hours.replaced > 0)).sum()),
        missing=int((~hours.known).sum()),
        projection=project(readings, period, as_of, uses, book, accumulated, month_begins, foresee(as_of)),
    )
