"""Local days, years and billing periods of the utility: where a bill begins and ends.

It knows no readings and no prices, and it reads no clock: every instant is an argument.

All instants are Unix milliseconds UTC; local time is Asia/Shanghai; periods are half-open and begin at local
midnight.
"""

from __future__ import annotations

from calendar import monthrange
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from meterseal.errors import DataError

ZONE = ZoneInfo("Asia/Shanghai")
HOUR = 3_600_000
_EPOCH = datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC"))
_MILLISECOND = timedelta(milliseconds=1)


class Period(NamedTuple):
    """`since` <= t < `until`."""

    since: int
    until: int


def midnight(day: date) -> int:
    """Return the instant at which a local day begins."""
    return (datetime(day.year, day.month, day.day, tzinfo=ZONE) - _EPOCH) // _MILLISECOND


def local(at: int) -> datetime:
    """Return an instant as local wall clock time."""
    return (_EPOCH + at * _MILLISECOND).astimezone(ZONE)


def local_day(at: int) -> date:
    """Return the local day an instant falls into."""
    return local(at).date()


def year_start(at: int) -> int:
    """Return the first instant of the local calendar year that `at` falls into."""
    return midnight(date(local_day(at).year, 1, 1))


def next_midnight(at: int) -> int:
    """Return the first local midnight after `at`."""
    return midnight(local_day(at) + timedelta(days=1))


def days(since: int, until: int) -> tuple[Period, ...]:
    """Return the local days of a period; the first and the last may be parts of a day."""
    found = []
    while since < until:
        end = min(next_midnight(since), until)
        found.append(Period(since, end))
        since = end
    return tuple(found)


def billing_start(year: int, month: int, billing_day: int) -> date:
    """Return the day a billing period begins in a month; 29 to 31 become the last day of a shorter month.

    Raises DataError `bill.billing-day` outside 1 to 31.
    """
    if not 1 <= billing_day <= 31:
        raise DataError(
            "bill.billing-day",
            f"Billing day {billing_day} is not a day of a month; give a day from 1 to 31.",
            billing_day=billing_day,
        )
    return date(year, month, min(billing_day, monthrange(year, month)[1]))


def is_billing_start(at: int, billing_day: int) -> bool:
    """Say whether a regular billing period begins at `at`."""
    day = local_day(at)
    return midnight(day) == at and day == billing_start(day.year, day.month, billing_day)


def billing_period(at: int, billing_day: int) -> Period:
    """Return the regular billing period that contains `at`."""
    day = local_day(at)
    begin = billing_start(day.year, day.month, billing_day)
    if day < begin:
        before = date(day.year, day.month, 1) - timedelta(days=1)
        begin = billing_start(before.year, before.month, billing_day)
    after = date(begin.year, begin.month, 28) + timedelta(days=4)
    end = billing_start(after.year, after.month, billing_day)
    return Period(midnight(begin), midnight(end))


def billing_periods(since: int, until: int, billing_day: int) -> tuple[Period, ...]:
    """Return the billing periods of an agreement that ran `since` to `until`, cut to it at both ends."""
    found = []
    at = since
    while at < until:
        period = billing_period(at, billing_day)
        end = min(period.until, until)
        found.append(Period(at, end))
        at = end
    return tuple(found)


@lru_cache(maxsize=256)
def clock_hours(since: int, until: int) -> tuple[int, ...]:
    """Return the local clock hour, 0 to 23, of each full hour that begins in a period."""
    return tuple(local(at).hour for at in range(since, until, HOUR))
