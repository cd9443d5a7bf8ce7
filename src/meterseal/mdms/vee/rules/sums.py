"""Station VEE, rules about sums: intervals against their register, sub-meters against their main meter.

Source: sum check of Oracle Utilities MDM and of the California VEE rules: abs(S - R) within a tolerance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from msgspec import Struct

from meterseal.mdms.vee.context import DAY, Main
from meterseal.mdms.vee.rules.rule import Found, Reach, Rule, alike
from meterseal.mdms.vee.view import View


class RegisterSum(Struct, frozen=True):
    """`tolerance`: last digits that the sum of a day's intervals may differ from the difference of its registers."""

    tolerance: int = 0


def register_sum(view: View, parameters: RegisterSum) -> Found:
    """Closes of days whose intervals do not add up to the register's difference, because one of them is not known.

    Days with another meter or unit have no difference to be held against. Multipliers are of no account.
    """
    opens, closes, _ = view.midnights
    if not len(opens):
        return Found()
    sums = np.cumsum(view.counted)
    summed = sums[closes] - sums[opens]
    register = view.register[closes] - view.register[opens]
    if len(view.rolled):
        register = register + view.summed(view.rolled, view.around(view.rolled), opens, closes)
    comparable = np.ones(len(opens), np.bool_)
    for rows in (view.exchanged, view.rescaled):
        if len(rows):
            comparable &= view.within(rows, opens, closes) == 0
    at = np.flatnonzero(comparable & (np.abs(summed - register) > parameters.tolerance))
    channels = view.of(closes[at])
    facts = {"sum": view.amount(summed[at], channels), "register": view.amount(register[at], channels)}
    return Found(closes[at], facts, opens[at])


class SubMeters(Struct, frozen=True):
    """The sub-meters of a day may sum to `percent` less or more than the main meter, and by `least` thousandths of the
    unit in any case (what runs below the main meter's lowest flow). So may those of `days` in a row, by `lasting`
    thousandths.
    """

    percent: int = 10
    least: int = 500
    days: int = 7
    lasting: int = 1_000


class _Day(NamedTuple):
    """What a main meter and its sub-meters counted, and the place among `days`."""

    main: float
    subs: float
    place: int

    def apart(self, percent: int, least: int) -> bool:
        return abs(self.main - self.subs) > max(percent * abs(self.main) / 100, least / 1000)


def sub_meters(view: View, parameters: SubMeters) -> Found:
    """Closes of days of a main meter that its sub-meters, all known that day, do not sum to: loss, leak or theft. And of
    the day with which those of a week do not any more: what is missing of a day may be small, and of a week it is not.

    What was fed in counts against use, on both sides: behind the main meter one home uses what the next one made.
    """
    days, p, count = view.days, parameters, max(parameters.days, 1)
    said: list[tuple[int, int, float, float]] = []
    for main in view.context.mains:
        both = _both(view, main)
        over = False
        for number, day in both.items():
            known = [both[number - k] for k in range(count) if number - k in both]
            week = _Day(sum(one.main for one in known), sum(one.subs for one in known), known[-1].place)
            before, over = over, len(known) == count and week.apart(p.percent, p.lasting)
            alone = day.apart(p.percent, p.least)
            if alone or (over and not before):
                told = day if alone else week
                said.append((int(days.closes[day.place]), int(days.opens[told.place]), told.main, told.subs))
    if not said:
        return Found()
    rows, since, mains, subs = zip(*sorted(said), strict=True)
    return Found(
        np.array(rows, np.int64), {"main": np.array(mains), "subs": np.array(subs)}, np.array(since, np.int64)
    )


def _both(view: View, main: Main) -> dict[int, _Day]:
    """By day on which all of them are known and belong together."""
    fed = dict(main.fed)
    amounts = [_net(view, channel, fed.get(channel)) for channel in (main.channel, *main.subs)]
    found = {}
    for number, (whole, place) in amounts[0].items():
        parts = [one[number][0] for one in amounts[1:] if number in one]
        begin = number * DAY - view.context.offset
        if len(parts) == len(main.subs) and main.since <= begin and begin + DAY <= main.until:
            found[number] = _Day(whole, sum(parts), place)
    return found


def _net(view: View, channel: int, export: int | None) -> dict[int, tuple[float, int]]:
    """As `_daily`, less what was fed in; a day of which that is not known is not known."""
    used = _daily(view, channel)
    if export is None:
        return used
    fed = _daily(view, export)
    return {
        number: (amount - fed[number][0], place) for number, (amount, place) in used.items() if number in fed
    }


def _daily(view: View, channel: int) -> dict[int, tuple[float, int]]:
    """Use of a channel in its unit and the place among `days`, by day."""
    days = view.days
    first, last = np.searchsorted(days.channel, [channel, channel + 1]).tolist()
    amounts = view.amount(days.use[first:last], days.channel[first:last]).tolist()
    numbers = days.day[first:last].tolist()
    return {
        number: (amount, first + k) for k, (number, amount) in enumerate(zip(numbers, amounts, strict=True))
    }


RULES = (
    Rule("register-sum", 1, "error", register_sum, alike(RegisterSum()), lambda _: Reach(2 * DAY), fed=True),
    Rule(
        "sub-meters",
        2,
        "warning",
        sub_meters,
        alike(SubMeters()),
        lambda p: Reach((p.days + 3) * DAY),
        joint=True,
    ),
)
