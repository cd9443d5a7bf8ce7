"""Station utility, what the running period will probably cost: use so far, the hours to come, and the tariff.

Pure. A projection is an estimate and says so; bills never look at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from math import lcm
from typing import NamedTuple

from msgspec.structs import replace

from meterseal.utility.calendar import HOUR, Period, clock_hours, days
from meterseal.utility.feedin import FedPart, credit_fen
from meterseal.utility.outlook import Outlook
from meterseal.utility.rating import RatingInput, Use, rate
from meterseal.utility.readings import Readings, hour_boundaries, steps
from meterseal.utility.tariff import Segment, TariffBook, TimeOfUse
from meterseal.utility.views import BandName, Projection

WHOLE = Fraction(1)


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

    def rated(parts: Sequence[_Ahead], share: Fraction = WHOLE) -> tuple[Decimal, int]:
        ahead = [
            Use(one.since, one.until, readings.amount(_whole(one.used * share)), one.band) for one in parts
        ]
        whole = rate(RatingInput(segments, (*uses, *ahead), accumulated, month_begins))
        return sum((use.amount for use in (*uses, *ahead)), Decimal(0)), whole.total_fen

    if outlook is not None:
        parts = _parts(segments, as_of, outlook.course(readings))
        used, cost = rated(parts)
        low, high = rated(parts, outlook.low), rated(parts, outlook.high)
        return Projection(
            used=used, cost_fen=cost, days=0, low=low[0], high=high[0], low_fen=low[1], high_fen=high[1]
        )
    mean, complete = _mean_day(readings, period.since, as_of)
    if not complete:
        return None
    used, cost = rated(_parts(segments, as_of, [mean[hour] for hour in clock_hours(as_of, period.until)]))
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
        course: Sequence[Fraction] = [mean[hour] for hour in clock_hours(as_of, period.until)]
        days = complete
    else:
        course, days = outlook.course(readings), projection.days

    def fen(share: Fraction) -> int:
        return credit_fen([_carried_on(readings, one, as_of, course, share) for one in parts])

    credit = fen(WHOLE)
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
    more = readings.amount(_whole(_added(ahead) * share))
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


class _Ahead(NamedTuple):
    """What will be used in the rest of a segment, or of it in one band."""

    since: int
    until: int
    used: Fraction
    band: BandName | None = None


def _parts(segments: Sequence[Segment], as_of: int, course: Sequence[Fraction]) -> list[_Ahead]:
    """The hours from `as_of` on, added up as the tariff of each prices them."""
    found: list[_Ahead] = []
    for one in segments:
        since, until = max(one.since, as_of), one.until
        if since >= until:
            continue
        hours = course[(since - as_of) // HOUR : (until - as_of) // HOUR]
        if not isinstance(one.tariff, TimeOfUse):
            found.append(_Ahead(since, until, _added(hours)))
            continue
        by_hour = one.tariff.by_hour()
        by_band: dict[BandName, list[Fraction]] = {band.band: [] for band in one.tariff.bands}
        for hour, used in zip(clock_hours(since, until), hours, strict=True):
            by_band[by_hour[hour]].append(used)
        found += [_Ahead(since, until, _added(of), band) for band, of in by_band.items()]
    return found


def _added(amounts: Sequence[Fraction]) -> Fraction:
    """The exact sum, by one denominator: fractions that are added one by one are brought to lowest terms each time."""
    common = lcm(*{one.denominator for one in amounts})
    return Fraction(sum(one.numerator * (common // one.denominator) for one in amounts), common)


def _whole(amount: Fraction) -> int:
    """Round a projected scaled integer half up."""
    return int((amount * 2 + 1) // 2)
