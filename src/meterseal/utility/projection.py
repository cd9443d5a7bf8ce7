"""Station utility, what the running period will probably cost: use so far, the hours to come, and the tariff.

Pure. A projection is an estimate and says so; bills never look at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from msgspec.structs import replace

from meterseal.utility.calendar import HOUR, Period, clock_hours, days
from meterseal.utility.feedin import FedPart, credit_fen
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
        course = outlook.course(readings)
        used, cost = rated(course)
        low, high = (rated([hour * share for hour in course]) for share in (outlook.low, outlook.high))
        return Projection(
            used=used, cost_fen=cost, days=0, low=low[0], high=high[0], low_fen=low[1], high_fen=high[1]
        )
    mean, complete = _mean_day(readings, period.since, as_of)
    if not complete:
        return None
    used, cost = rated([mean[hour] for hour in clock_hours(as_of, period.until)])
    return Projection(used=used, cost_fen=cost, days=complete)


def less_credit(
    projection: Projection,
    readings: Readings,
    period: Period,
    as_of: int,
    parts: Sequence[FedPart],
    outlook: Outlook | None,
) -> Projection | None:
    """Take off what will be paid for what is fed in, within the times of which a plant is stated (`parts`, at least one);
    `readings` are of that.

    The band then holds at least nine times of ten, for use and sun need not be at odds. None without complete days.
    Raises DataError `tariff.no-feed-in`.
    """
    if all(one.segment.until <= as_of for one in parts):  # of what is over all is known
        credit = credit_fen(parts)
        low, high = (
            None if one is None else one - credit for one in (projection.low_fen, projection.high_fen)
        )
        less = replace(projection, cost_fen=projection.cost_fen - credit, credit_fen=credit)
        return replace(less, low_fen=low, high_fen=high)
    if outlook is None:
        mean, complete = _mean_day(readings, max(period.since, parts[0].segment.since), as_of)
        if not complete:
            return None
        course = [mean[hour] for hour in clock_hours(as_of, period.until)]
        days = complete
    else:
        course, days = outlook.course(readings), projection.days

    def fen(share: Fraction) -> int:
        return credit_fen([_carried_on(readings, one, as_of, course, share) for one in parts])

    credit = fen(Fraction(1))
    less = replace(projection, cost_fen=projection.cost_fen - credit, credit_fen=credit, days=days)
    if outlook is None or projection.low_fen is None or projection.high_fen is None:
        return replace(less, low_fen=None, high_fen=None)
    least, most = fen(outlook.low), fen(outlook.high)
    return replace(less, low_fen=projection.low_fen - most, high_fen=projection.high_fen - least)


def _carried_on(
    readings: Readings, part: FedPart, as_of: int, course: Sequence[Fraction], share: Fraction
) -> FedPart:
    """The part with that share of the hours of the course, from `as_of` on, that lie whole within it."""
    since, until = part.segment.since, part.segment.until
    ahead = course[max(-((as_of - since) // HOUR), 0) : max((until - as_of) // HOUR, 0)]
    more = readings.amount(_whole(sum(ahead, Fraction(0)) * share))
    return part._replace(quantity=part.quantity + more)


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
