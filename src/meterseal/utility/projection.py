"""Station utility, what the running period will probably cost: use so far, the hours to come, and the tariff.

Pure. A projection is an estimate and says so; bills never look at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from meterseal.utility.calendar import HOUR, Period, clock_hours, days
from meterseal.utility.outlook import Outlook
from meterseal.utility.rating import RatingInput, Use, rate
from meterseal.utility.readings import Readings, hour_boundaries, steps
from meterseal.utility.tariff import Segment, TariffBook, TimeOfUse
from meterseal.utility.views import Projection


def project(
    readings: Readings,
    period: Period,
    as_of: int,
    uses: tuple[Use, ...],
    book: TariffBook,
    accumulated: Decimal,
    month_begins: bool,
    outlook: Outlook | None,
) -> Projection | None:
    """Carry the period on to its end: by the outlook, or by the mean of its complete days; None when there is neither."""
    segments = book.segments(*period)

    def rated(course: Sequence[Fraction]) -> tuple[Decimal, int]:
        ahead: list[Use] = []
        for part in segments:
            since, until = max(part.since, as_of), part.until
            if since < until:
                hours = course[(since - as_of) // HOUR : (until - as_of) // HOUR]
                ahead += _expected(readings, part, Period(since, until), hours)
        whole = rate(RatingInput(segments, (*uses, *ahead), accumulated, month_begins))
        return sum((use.amount for use in (*uses, *ahead)), Decimal(0)), whole.total_fen

    if outlook is not None:
        used, cost = rated(outlook.hours)
        low, high = (rated([hour * share for hour in outlook.hours]) for share in (outlook.low, outlook.high))
        return Projection(
            used=used, cost_fen=cost, days=0, low=low[0], high=high[0], low_fen=low[1], high_fen=high[1]
        )
    mean, complete = _mean_day(readings, period.since, as_of)
    if not complete:
        return None
    used, cost = rated([mean[hour] for hour in clock_hours(as_of, period.until)])
    return Projection(used=used, cost_fen=cost, days=complete)


def _mean_day(readings: Readings, since: int, until: int) -> tuple[list[Fraction], int]:
    """Mean use of each hour of the day over the complete days, and how many these are."""
    sums = [0] * 24
    complete = 0
    for day in days(since, until):
        found = steps(readings, hour_boundaries(*day))
        if day.until - day.since == 24 * HOUR and found.known.all():
            complete += 1
            for hour, used in zip(clock_hours(*day), found.used.tolist(), strict=True):
                sums[hour] += used
    return [Fraction(total, max(complete, 1)) for total in sums], complete


def _expected(readings: Readings, segment: Segment, rest: Period, course: Sequence[Fraction]) -> list[Use]:
    if not isinstance(segment.tariff, TimeOfUse):
        return [Use(*rest, readings.amount(_whole(sum(course, Fraction(0)))))]
    by_hour = segment.tariff.by_hour()
    hours = list(zip(clock_hours(*rest), course, strict=True))
    return [
        Use(
            *rest,
            readings.amount(
                _whole(sum((used for hour, used in hours if by_hour[hour] == band.band), Fraction(0)))
            ),
            band.band,
        )
        for band in segment.tariff.bands
    ]


def _whole(amount: Fraction) -> int:
    """Round a projected scaled integer half up."""
    return int((amount * 2 + 1) // 2)
