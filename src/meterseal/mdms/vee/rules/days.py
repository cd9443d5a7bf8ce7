"""Station VEE, rules about a whole local day against others: like days, a day that came twice, a unit that slipped.

Sources: high/low usage and multiplier checks of Oracle Utilities MDM; thresholds are ours.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from meterseal.mdms.vee.context import DAY
from meterseal.mdms.vee.rules.rule import Found, Reach, Rule, alike, nth, table
from meterseal.mdms.vee.view import Floats, Ints, Mask, View

BACK = 28
"""Days of history: four of each weekday."""


class HighUse(Struct, frozen=True):
    """A day above `percent` of the mean of like days (working or free) of the 28 before, and above it by more than
    `least` thousandths of the unit; `known` like days are wanted.
    """

    least: int
    percent: int = 500
    known: int = 4


def high_use(view: View, parameters: HighUse) -> Found:
    """Closes of days with far more use than like days before."""
    mean, enough = _like_days(view, parameters.known)
    days = view.days
    over = days.use - mean > view.limit(parameters.least, days.channel)
    return _against_mean(view, enough & over & (days.use * 100.0 > mean * parameters.percent), mean, days.use)


class LowUse(Struct, frozen=True):
    """`days` in a row whose mean is below `percent` of that of the 28 days before them, where that was above `least`
    thousandths; on `used` of them at least something was used, and `known` of the days before are wanted.

    Days without any use count, as they do in an average daily usage: with most of the use going past the meter, there are
    quiet days on which it shows nothing. Without `used` everybody on a journey would be found; nothing at all is `zero`'s.
    Where a meter's use is heating, only days count that were not warmer than those before by more than `warmer` K.
    """

    least: int
    percent: int = 10
    days: int = 14
    known: int = 14
    used: int = 4
    warmer: int = 2


def low_use(view: View, parameters: LowUse) -> Found:
    """Close of the day with which the mean of so many days has fallen far below that of those before, though there was
    some use; told once in as many days.

    What is compared is a mean of whole weeks, and not one day after the other: weekdays and free days are in both, one
    usual day among quiet ones hides nothing, and days that are low already are no measure of what is usual.
    """
    days, count = view.days, max(parameters.days, 1)
    ones = np.ones(len(days.use), np.bool_)
    recent, lately = view.window(ones, count - 1)
    known, total = view.window(ones, count - 1 + BACK)
    some, _ = view.window(days.use > 0, count - 1)
    known, total = known - recent, total - lately
    lately = lately + days.use
    mean = total / np.maximum(known, 1)
    enough = (recent == count - 1) & (known >= parameters.known) & (some + (days.use > 0) >= parameters.used)
    low = enough & (mean > view.limit(parameters.least, days.channel))
    low &= lately * 100.0 < mean * (parameters.percent * count)
    if low.any():
        low &= ~_by_weather(view, low, parameters)
        low &= view.window(low, count)[0] == 0
    return _against_mean(view, low, mean, lately / count)


def _by_weather(view: View, low: Mask, parameters: LowUse) -> Mask:
    """Which of these days end a fall that the weather may have brought: a spring is no theft. So it is where a meter's use
    is heating and nobody knows the weather.
    """
    days, context = view.days, view.context
    heats = np.full(len(low), context.medium == "heat")
    heats |= np.isin(days.channel, np.array(context.heating.channels, np.int64))
    at = np.flatnonzero(low & heats)
    count = max(parameters.days, 1)
    back = np.arange(count + BACK)
    outside = context.weather.days((days.day[at][:, None] - back).ravel(), context.offset)
    outside = outside.reshape(len(at), len(back))
    now, before = outside[:, :count].mean(axis=1), outside[:, count:].mean(axis=1)
    found = np.zeros(len(low), np.bool_)
    found[at] = ~(now - before <= parameters.warmer)
    return found


def _like_days(view: View, known: int) -> tuple[Floats, Mask]:
    """Mean use of the like days in the 28 before each day, and whether there are enough of them."""
    free = view.free
    count, total = (
        np.where(free, of_free, of_working)
        for of_free, of_working in zip(view.window(free, BACK), view.window(~free, BACK), strict=True)
    )
    return total / np.maximum(count, 1), count >= known


def _against_mean(view: View, chosen: Mask, mean: Floats, use: Ints | Floats) -> Found:
    days = view.days
    at = np.flatnonzero(chosen)
    channel = days.channel[at]
    facts = {"use": view.amount(use[at], channel), "mean": view.amount(mean[at], channel)}
    return Found(days.closes[at], facts, days.opens[at])


class CopiedDay(Struct, frozen=True):
    """A day counts as copied when its use is at least `least` digits, in `intervals` of different use at least."""

    least: int = 15
    intervals: int = 4


def copied_day(view: View, parameters: CopiedDay) -> Found:
    """Closes of days whose every interval is that of the day before: a block that was delivered twice."""
    days = view.days
    after = (
        np.flatnonzero(
            (np.diff(days.key) == 1)
            & (days.use[1:] == days.use[:-1])
            & (days.use[1:] >= parameters.least)
            & days.even[1:]
            & days.even[:-1]
        )
        + 1
    )
    if len(after):
        within = np.arange(1, DAY // view.context.interval + 1)
        now = view.use[days.opens[after][:, None] + within]
        then = view.use[days.opens[after - 1][:, None] + within]
        ordered = np.sort(now, axis=1)
        different = 1 + (np.diff(ordered, axis=1) != 0).sum(axis=1)
        after = after[(now == then).all(axis=1) & (different >= parameters.intervals)]
    use = view.amount(days.use[after], days.channel[after])
    return Found(days.closes[after], {"use": use}, days.opens[after])


class Multiplier(Struct, frozen=True):
    """`days` in a row against the `BACK` days before them: a factor is suspected when their mean and their peak both
    changed to within `within` percent of one power of ten; `known` days are wanted, with a mean above `least` thousandths.
    The lower peak has `digits` last digits at least: two numbers of one digit are soon tenfold.
    """

    least: int
    days: int = 7
    within: int = 40
    digits: int = 10
    known: int = 10


def multiplier(view: View, parameters: Multiplier) -> Found:
    """Close of the day with which use has changed by a power of ten for so many days: a multiplier or a unit slipped.

    Not where a multiplier was stated anew within these days or those before them: somebody has looked there.
    """
    days, count = view.days, parameters.days
    if len(days.use) <= count:
        return Found()
    ones = np.ones(len(days.use), np.bool_)
    known, total = view.window(ones, BACK)
    recent, lately = view.window(ones, count - 1)
    recent, lately = recent + 1, lately + days.use
    first = np.arange(len(days.use)) - (count - 1)
    whole = (recent == count) & (first >= 0)
    known, total = known[first], total[first]
    before = total / np.maximum(known, 1)
    enough = whole & (known >= parameters.known) & (before > view.limit(parameters.least, days.channel))
    power = _power(lately / count, before, parameters.within)
    at = np.flatnonzero(enough & (power != 0))
    kept: list[int] = []
    for k in at.tolist():
        low = int(np.searchsorted(days.key, days.key[first[k]] - BACK))
        if _restated(
            view, int(days.channel[k]), int(view.end_at[days.opens[low]]), int(view.end_at[days.closes[k]])
        ):
            continue
        peaks = (_peak(view, int(first[k]), k), _peak(view, low, int(first[k]) - 1))
        now, then = np.array([peaks], np.float64).T
        if min(peaks) >= parameters.digits and int(_power(now, then, parameters.within)[0]) == int(power[k]):
            kept.append(k)
    at = np.array(kept, np.int64)
    # While the window behind still shows the old level it is the same objection.
    at = at[_begins(days.key[at])]
    channel = days.channel[at]
    facts = {
        "factor": 10.0 ** power[at],
        "before": view.amount(before[at], channel),
        "after": view.amount((lately / count)[at], channel),
    }
    return Found(days.closes[at], facts, days.opens[first[at]])


def _restated(view: View, channel: int, after: int, until: int) -> bool:
    """Whether a stated multiplier of a channel begins or ends in after < t < until."""
    mine = (one for one in view.context.multipliers if one.channel == channel)
    return any(after < edge < until for one in mine for edge in (one.since, one.until))


def _begins(keys: Ints) -> Mask:
    return nth(keys, 1)


def _power(now: Floats, before: Floats, within: int) -> Ints:
    """The power of ten by which now differs from before, 0 where it is none."""
    with np.errstate(all="ignore"):
        ratio = np.where((now > 0) & (before > 0), now / np.maximum(before, 1e-300), 1.0)
        power = np.rint(np.log10(ratio))
        off = np.abs(ratio / 10.0**power - 1)
    return np.where((off * 100 <= within) & (np.abs(power) <= 4), power, 0).astype(np.int64)


def _peak(view: View, first: int, last: int) -> int:
    """The highest use of an interval within these days."""
    return max(
        int(view.use[view.days.opens[k] + 1 : view.days.closes[k] + 1].max()) for k in range(first, last + 1)
    )


RULES = (
    Rule(
        "high-use",
        1,
        "warning",
        high_use,
        table(
            {
                ("dwelling", "water"): HighUse(1_500),
                ("dwelling", "gas"): HighUse(6_000),
                ("dwelling", "heat"): HighUse(80_000),
                ("dwelling", "electricity"): HighUse(20_000),
                ("business", "water"): HighUse(20_000),
                ("business", "gas"): HighUse(60_000),
                ("business", "heat"): HighUse(800_000),
                ("business", "electricity"): HighUse(200_000),
            }
        ),
        lambda _: Reach((BACK + 2) * DAY),
    ),
    Rule(
        "low-use",
        3,
        "info",
        low_use,
        table(
            {
                ("dwelling", "water"): LowUse(100),
                ("dwelling", "gas"): LowUse(100),
                ("dwelling", "heat"): LowUse(10_000, days=21),
                ("dwelling", "electricity"): LowUse(1_500),
                ("business", "water"): LowUse(1_000),
                ("business", "gas"): LowUse(1_000),
                ("business", "heat"): LowUse(100_000, days=21),
                ("business", "electricity"): LowUse(15_000),
            }
        ),
        lambda p: Reach((BACK + 2 * p.days + 3) * DAY),
    ),
    Rule("copied-day", 1, "warning", copied_day, alike(CopiedDay()), lambda _: Reach(3 * DAY), fed=True),
    Rule(
        "multiplier",
        1,
        "error",
        multiplier,
        table(
            {
                ("dwelling", "water"): Multiplier(50),
                ("dwelling", "gas"): Multiplier(50),
                ("dwelling", "electricity"): Multiplier(500),
                ("business", "water"): Multiplier(500),
                ("business", "gas"): Multiplier(500),
                ("business", "electricity"): Multiplier(5_000),
            }
        ),
        lambda p: Reach((BACK + 2 * p.days + 3) * DAY),
        ("water", "gas", "electricity"),  # what a heat meter counts changes tenfold with the weather
    ),
)
