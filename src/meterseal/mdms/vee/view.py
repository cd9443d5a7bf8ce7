"""Station VEE, what the rules share: registers as intervals and days, computed once and only when somebody asks.

It objects to nothing. A view is a value: it is made of columns and a context, and nothing can be changed in it.

Rows that say nothing (missing, estimated, beyond what a sum can hold) are left out: all arrays of a view have one
entry for each row that is left, and `row` says which one it was. Numbers are whole, in the finest exponent of a channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from meterseal.mdms.columns import Columns
from meterseal.mdms.vee.context import DAY, HOUR, Context
from meterseal.model import Quality

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
LARGEST = 1 << 60
"""Registers beyond say nothing: sums of two would not fit."""
DELIVERED = (Quality.MEASURED, Quality.SUSPECT)
NONE = np.empty(0, np.int64)


class Days(NamedTuple):
    """Whole local days of a channel whose use is known, sorted by (channel, day).

    `opens` and `closes` are the rows of its first and last midnight, `use` the register's difference between them with
    roll-overs put right, multiplied. `even` says that all its intervals are there, none longer or shorter.
    """

    channel: Ints
    day: Ints
    opens: Ints
    closes: Ints
    use: Ints
    even: Mask

    @property
    def key(self) -> Ints:
        """Channel and day as one rising number; days in a row are numbers in a row."""
        return (self.channel << 32) + self.day


class View:
    """Columns of one medium and class as rules look at them."""

    def __init__(self, columns: Columns, context: Context) -> None:
        self.context = context
        self.columns = columns
        keep = self._speaking(columns)
        if keep is None:
            self.row: Ints | None = None
            self.starts, self.end_at, self.register = columns.starts, columns.end_at, columns.register
            self.raw_exponent, self.unit, self.meter = columns.exponent, columns.unit, columns.meter
        else:
            self.row = np.flatnonzero(keep)
            self.starts = np.searchsorted(self.row, columns.starts)
            self.end_at, self.register = columns.end_at[keep], columns.register[keep]
            self.raw_exponent, self.unit = columns.exponent[keep], columns.unit[keep]
            self.meter = columns.meter[keep]
        self.raw_register = self.register
        self.exponent, self.register = self._finest()

    @staticmethod
    def _speaking(columns: Columns) -> Mask | None:
        """Rows that say something, None where all do."""
        keep: Mask | None = None
        if len(columns.quality) and columns.quality.any():
            keep = (columns.quality == DELIVERED[0]) | (columns.quality == DELIVERED[1])
        if len(columns.register) and (
            columns.register.max() >= LARGEST or columns.register.min() <= -LARGEST
        ):
            small = (columns.register < LARGEST) & (columns.register > -LARGEST)
            keep = small if keep is None else keep & small
        return keep

    def _finest(self) -> tuple[Ints, Ints]:
        """Exponent of each channel, and registers in it, so fine that use times a multiplier is whole.

        What would not fit then is no better than silence: 0.
        """
        exponents = np.zeros(len(self.starts) - 1, np.int64)
        if not len(self.end_at):
            return exponents, self.register
        filled = self.filled
        exponents[filled] = np.minimum.reduceat(self.raw_exponent, self.starts[:-1][filled])
        places = np.zeros_like(exponents)
        for one in self.context.multipliers:
            places[one.channel] = max(places[one.channel], one.places)
        exponents -= places
        coarse = self.raw_exponent != np.repeat(exponents, self.sizes)
        if not coarse.any():
            return exponents, self.register
        register = self.register.copy()
        at = np.flatnonzero(coarse)
        by = self.raw_exponent[at] - exponents[self.of(at)]
        factor = 10 ** np.minimum(by, 18)
        fits = (by <= 18) & (np.abs(register[at]) <= LARGEST // factor)
        register[at] = np.where(fits, register[at] * factor, 0)
        return exponents, register

    # --- where a row is ---------------------------------------------------------------------------

    @cached_property
    def sizes(self) -> Ints:
        """Rows of each channel."""
        return np.diff(self.starts)

    @cached_property
    def filled(self) -> Ints:
        """Channels that have rows."""
        return np.flatnonzero(self.sizes)

    @cached_property
    def heads(self) -> Ints:
        """First rows of the channels that have any."""
        return self.starts[:-1][self.filled]

    def of(self, rows: Ints) -> Ints:
        """The channels of rows."""
        return np.searchsorted(self.starts, rows, side="right") - 1

    def rows_until(self, channel: int, at: int) -> int:
        """The first row of a channel with end_at > at (its end where there is none)."""
        first, last = int(self.starts[channel]), int(self.starts[channel + 1])
        return first + int(np.searchsorted(self.end_at[first:last], at, side="right"))

    def limit(self, thousandths: float, channels: Ints) -> Floats:
        """An amount in last digits of each channel."""
        return np.asarray(thousandths * 10.0 ** -self.exponent[channels] / 1000, np.float64)

    def amount(self, digits: Ints | Floats, channels: Ints) -> Floats:
        """Last digits of each channel in its unit."""
        exponents = self.exponent[channels]
        scale = 10.0 ** np.abs(exponents)  # divided by where it can be, so that 140 hundredths are 1.4
        return np.asarray(np.where(exponents < 0, digits / scale, digits * scale), np.float64)

    def only(self, channels: Sequence[int]) -> View:
        """A view of these channels alone, in this order."""
        from meterseal.mdms.columns import join

        return View(join([self.columns.part(k, k + 1) for k in channels]), self.context.pick(channels))

    # --- from reading to reading ------------------------------------------------------------------

    @cached_property
    def step(self) -> Ints:
        """Register against the row before in the channel; 0 for its first row."""
        return self._against_before(self.register)

    @cached_property
    def elapsed(self) -> Ints:
        """Milliseconds since the row before in the channel; 0 for its first row."""
        return self._against_before(self.end_at)

    def _against_before(self, column: Ints) -> Ints:
        found = np.empty_like(column)
        np.subtract(column[1:], column[:-1], out=found[1:])
        found[self.heads] = 0
        return found

    @cached_property
    def odd(self) -> Ints:
        """Rows that come earlier or later after the one before than the load profile promises."""
        return self._but_heads(self.elapsed != self.context.interval)

    def _but_heads(self, mask: Mask) -> Ints:
        mask[self.heads] = False
        return np.flatnonzero(mask)

    @cached_property
    def falls(self) -> Ints:
        """Rows whose register is lower than the one before, of one meter in one unit."""
        if not len(self.step) or self.step.min() >= 0:
            return NONE
        fell = np.flatnonzero(self.step < 0)
        return np.setdiff1d(fell, np.union1d(self.exchanged, self._changes(self.unit)), assume_unique=True)

    @cached_property
    def exchanged(self) -> Ints:
        """Rows that another meter delivered than the one before."""
        return self._changes(self.meter)

    @cached_property
    def rescaled(self) -> Ints:
        """Rows whose unit or exponent is not that of the row before."""
        return np.union1d(self._changes(self.unit), self._changes(self.raw_exponent))

    def _changes(self, column: NDArray[np.generic]) -> Ints:
        if not len(column) or bool((column == column[0]).all()):
            return NONE
        changed = np.zeros(len(column), np.bool_)
        changed[1:] = column[1:] != column[:-1]
        return self._but_heads(changed)

    @cached_property
    def rolled(self) -> Ints:
        """Falls at which the register began anew after its last digit: what then passed is what can have passed."""
        if not len(self.falls):
            return NONE
        falls, channels = self.falls, self.of(self.falls)
        around = self.around(falls)
        passed = self.step[falls] + around
        most = self.limit(self.context.carried, channels) * (self.elapsed[falls] / HOUR)
        whole = (self.register[falls] >= 0) & (self.register[falls - 1] < around)
        possible = (passed * self.factors(falls) <= most) & (passed <= around // 2)
        return falls[whole & possible]

    def factors(self, rows: Ints) -> Floats:
        """What the use of each row's interval is multiplied by."""
        found = np.ones(len(rows))
        for one in self.context.multipliers:
            first, last = self.rows_until(one.channel, one.since), self.rows_until(one.channel, one.until)
            found[(rows >= first) & (rows < last)] = one.factor / 10.0**one.places
        return found

    def around(self, rows: Ints) -> Ints:
        """One more than the highest register of the meter that delivered each row, in last digits of its channel."""
        digits = self.context.digits + (self.raw_exponent[rows] - self.exponent[self.of(rows)])
        return np.asarray(10 ** np.minimum(digits, 18), np.int64)

    # --- intervals --------------------------------------------------------------------------------

    @cached_property
    def _counted(self) -> tuple[Ints, Ints, Ints]:
        """What the register counted, rows at which that is not known, rows at which it is not the register's step."""
        use, unknown, mended = self.step, [self.heads], [self.rolled]
        if len(self.falls) or len(self.exchanged) or len(self.rescaled):
            use = use.copy()
            use[self.rolled] += self.around(self.rolled)
            lost = np.setdiff1d(self.falls, self.rolled, assume_unique=True)
            unknown += [lost, self.exchanged, self._changes(self.unit)]
            mended.append(np.unique(np.concatenate(unknown[1:])))
            use[mended[-1]] = 0
        return use, np.unique(np.concatenate(unknown)), np.unique(np.concatenate(mended))

    @cached_property
    def _intervals(self) -> tuple[Ints, Ints, Ints]:
        """Use, rows of unknown use, rows whose use is not the register's step."""
        counted, unknown, mended = self._counted
        if not self.context.multipliers:
            return counted, unknown, mended
        use, multiplied = counted.copy(), [mended]
        for one in self.context.multipliers:
            first, last = self.rows_until(one.channel, one.since), self.rows_until(one.channel, one.until)
            part = use[first:last] // 10**one.places
            # No meter shows so much: like a register beyond LARGEST it says nothing.
            use[first:last] = np.where(np.abs(part) <= LARGEST // one.factor, part * one.factor, 0)
            multiplied.append(np.arange(first, last))
        return use, unknown, np.unique(np.concatenate(multiplied))

    @property
    def counted(self) -> Ints:
        """What the register counted since the row before, with roll-overs put right; 0 where not known."""
        return self._counted[0]

    @property
    def use(self) -> Ints:
        """What passed since the row before: what the register counted, multiplied; 0 where not known."""
        return self._intervals[0]

    @property
    def unknown(self) -> Ints:
        """Rows whose use is not known: the first of a channel, falls, other meters, other units."""
        return self._intervals[1]

    @cached_property
    def rate(self) -> Floats:
        """Use in an hour, in last digits; 0 where not known."""
        interval = self.context.interval
        rate = (
            self.use * float(HOUR // interval) if HOUR % interval == 0 else self.use * float(HOUR) / interval
        )
        if len(self.odd):
            rate[self.odd] = self.use[self.odd] * float(HOUR) / np.maximum(self.elapsed[self.odd], 1)
        return np.asarray(rate, np.float64)

    @cached_property
    def most(self) -> Floats:
        """The highest rate of each channel, 0 without rows."""
        most = np.zeros(len(self.sizes))
        if len(self.rate):
            most[self.filled] = np.maximum.reduceat(self.rate, self.heads)
        return most

    def above(self, limits: Floats) -> Ints:
        """Rows whose rate is above the limit of their channel (last digits an hour)."""
        over = self.most > limits
        if not over.any():
            return NONE
        if len(over) == 1 or (limits == limits[0]).all():
            return np.flatnonzero(self.rate > limits[0])
        return np.flatnonzero(self.rate > np.repeat(limits, self.sizes))

    # --- days -------------------------------------------------------------------------------------

    @cached_property
    def midnights(self) -> tuple[Ints, Ints, Ints]:
        """Local days from midnight to midnight: rows of both, and the day; use within them known or not."""
        local = self.end_at + self.context.offset
        number = local // DAY
        closes = np.flatnonzero(number * DAY == local)
        channel, day = self.of(closes), number[closes] - 1
        follows = np.flatnonzero((np.diff(channel) == 0) & (np.diff(day) == 1)) + 1
        return closes[follows - 1], closes[follows], day[follows]

    @cached_property
    def days(self) -> Days:
        """Whole days of known use."""
        opens, closes, day = self.midnights
        known = self.within(self.unknown, opens, closes) == 0
        opens, closes, day = opens[known], closes[known], day[known]
        even = (self.within(self.odd, opens, closes) == 0) & (closes - opens == DAY // self.context.interval)
        use = self.register[closes] - self.register[opens] + self.mending(opens, closes)
        return Days(self.of(closes), day, opens, closes, use, even)

    @staticmethod
    def within(rows: Ints, after: Ints, until: Ints) -> Ints:
        """How many of these rows lie in after < row <= until."""
        return np.searchsorted(rows, until, side="right") - np.searchsorted(rows, after, side="right")

    def mending(self, opens: Ints, closes: Ints) -> Ints:
        """What was put right between two rows of one channel."""
        rows = self._intervals[2]
        return self.summed(rows, self.use[rows] - self.step[rows], opens, closes)

    @staticmethod
    def summed(rows: Ints, amounts: Ints, after: Ints, until: Ints) -> Ints:
        """The amounts of those rows that lie in after < row <= until, summed."""
        if not len(rows):
            return np.zeros(len(after), np.int64)
        sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(amounts)])
        high, low = (np.searchsorted(rows, edge, side="right") for edge in (until, after))
        return np.asarray(sums[high] - sums[low], np.int64)

    @cached_property
    def kinds(self) -> Ints:
        """Kind of each of `days`: 0 Monday to 6 Sunday or holiday."""
        return self.context.calendar.of(self.days.day)

    @cached_property
    def free(self) -> Mask:
        """Is each of `days` one on which most do not work?"""
        return self.kinds >= 5

    def window(self, chosen: Mask, back: int) -> tuple[Ints, Ints]:
        """For each of `days`: how many chosen days lie in the `back` days before it, and their use."""
        days = self.days
        of = np.flatnonzero(chosen)
        keys, sums = days.key[of], np.concatenate([[0], np.cumsum(days.use[of])])
        # A channel's days reach back into no other: keys of two channels are 2**32 apart.
        low = np.searchsorted(keys, days.key - back)
        high = np.searchsorted(keys, days.key)
        return high - low, sums[high] - sums[low]


def mask_of(view: View, rows: Ints) -> Mask:
    """True at these rows of the view, over all rows of its columns."""
    flagged = np.zeros(len(view.columns.end_at), np.bool_)
    flagged[rows if view.row is None else view.row[rows]] = True
    return flagged
