"""Station VEE, rules about one step of a register: falls, roll-overs, spikes, loads, values that no meter shows.

Sources: negative and spike checks of the California VEE rules and of Oracle Utilities MDM (against the third highest peak,
180 percent by default), demand limit of Itron IEE, list of bad constants of Energy Sparks; adapted to registers.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from meterseal.mdms.vee.context import DAY, HOUR
from meterseal.mdms.vee.rules.rule import Found, Reach, Rule, alike, by_medium, table
from meterseal.mdms.vee.view import Ints, View


class NegativeStep(Struct, frozen=True):
    """`allowed`: how far a register may fall, in its last digits (0: not at all)."""

    allowed: int = 0


def negative_step(view: View, parameters: NegativeStep) -> Found:
    """Rows whose register is lower than the one before, and neither a roll-over nor another meter explains it."""
    rows = np.setdiff1d(view.falls, view.rolled, assume_unique=True)
    rows = rows[view.step[rows] < -parameters.allowed]
    return Found(rows, _registers(view, rows))


def _registers(view: View, rows: Ints) -> dict[str, np.ndarray]:
    channels = view.of(rows)
    return {
        "before": view.amount(view.register[rows - 1], channels),
        "after": view.amount(view.register[rows], channels),
    }


class RollOver(Struct, frozen=True):
    """It has no threshold: what passed must be what the connection carries (`Context.carried`)."""


def roll_over(view: View, parameters: RollOver) -> Found:
    """Rows with which a register began anew after its last digit."""
    rows = view.rolled
    return Found(rows, _registers(view, rows) | {"use": view.amount(view.use[rows], view.of(rows))})


class Spike(Struct, frozen=True):
    """Use an hour above `least` (thousandths of the unit) and above its history.

    The history is what the `window` ms before show; it counts once it has `known` steps. A step is a spike when it
    exceeds the third highest of them by more than `excess` percent.
    """

    least: int
    excess: int = 180
    window: int = 7 * DAY
    known: int = 24


def spike(view: View, parameters: Spike) -> Found:
    """Rows that end a step far larger than the time before shows: a burst pipe, or a register that jumped."""
    everywhere = np.arange(len(view.sizes))
    candidates = view.above(view.limit(parameters.least, everywhere))
    rows, thirds = [], []
    for row, channel in zip(candidates.tolist(), view.of(candidates).tolist(), strict=True):
        first = max(
            view.rows_until(channel, int(view.end_at[row]) - parameters.window), int(view.starts[channel]) + 1
        )
        history = view.rate[first:row]
        third = float(np.partition(history, -3)[-3]) if len(history) >= max(parameters.known, 3) else 0.0
        if view.rate[row] * 100 > third * (100 + parameters.excess):
            rows.append(row)
            thirds.append(third)
    found = np.array(rows, np.int64)
    channels = view.of(found)
    facts = {
        "rate": view.amount(view.rate[found], channels),
        "third": view.amount(np.array(thirds), channels),
        "hours": view.elapsed[found] / HOUR,
    }
    return Found(found, facts)


class LonelySpike(Struct, frozen=True):
    """Use an hour above `least` (thousandths of the unit) and above `times` both neighbours'."""

    least: int
    times: int = 20


def lonely_spike(view: View, parameters: LonelySpike) -> Found:
    """Rows of one interval that stands alone above those on both sides."""
    rows = view.above(view.limit(parameters.least, np.arange(len(view.sizes))))
    channels = view.of(rows)
    rows = rows[(rows - 2 >= view.starts[channels]) & (rows + 1 < view.starts[channels + 1])]
    for beside in (0, -1, 1):
        side = rows + beside
        rows = rows[~np.isin(side, view.unknown) & (view.elapsed[side] == view.context.interval)]
    around = np.maximum(view.rate[rows - 1], view.rate[rows + 1])
    rows, around = (part[view.rate[rows] > parameters.times * around] for part in (rows, around))
    channels = view.of(rows)
    return Found(
        rows,
        {"rate": view.amount(view.rate[rows], channels), "beside": view.amount(around, channels)},
    )


class Overload(Struct, frozen=True):
    """`percent` of what the connection carries (its own size where it is known) is allowed."""

    percent: int = 110


def overload(view: View, parameters: Overload) -> Found:
    """Rows that end a step which the connection cannot have let pass; of such steps in a row the first."""
    least = np.full(len(view.sizes), view.context.carried, np.int64)
    for size in view.context.sizes:
        least[size.channel] = min(least[size.channel], size.thousandths)
    digits = 10.0**-view.exponent * parameters.percent / 100_000
    rows = view.above(least * digits)
    channels, ends = view.of(rows), view.end_at[rows]
    carries = np.full(len(rows), view.context.carried, np.int64)
    for size in view.context.sizes:
        carries[(channels == size.channel) & (ends > size.since) & (ends <= size.until)] = size.thousandths
    over = np.flatnonzero(view.rate[rows] > carries * digits[channels])
    over = over[np.append(True, np.diff(rows[over]) != 1)[: len(over)]]
    rows, channels = rows[over], channels[over]
    return Found(
        rows,
        {"rate": view.amount(view.rate[rows], channels), "carries": carries[over] / 1000},
    )


class ReverseFlow(Struct, frozen=True):
    """A fall of at most `most` thousandths of the unit is flow backwards, a larger one something else."""

    most: int


def reverse_flow(view: View, parameters: ReverseFlow) -> Found:
    """Rows over which a little flowed back, by the register or by what the meter said itself."""
    falls = np.setdiff1d(view.falls, view.rolled, assume_unique=True)
    small = -view.step[falls] * view.factors(falls) <= view.limit(parameters.most, view.of(falls))
    said = [
        view.rows_until(event.channel, event.at - 1)
        for event in view.context.events
        if event.kind == "reverse" and _inside(view, event.channel, event.at)
    ]
    rows = np.union1d(falls[small], np.array(said, np.int64))
    channels = view.of(rows)
    return Found(rows, {"back": view.amount(np.maximum(-view.step[rows], 0) * view.factors(rows), channels)})


def _inside(view: View, channel: int, at: int) -> bool:
    """Does the instant lie after the channel's first row and not after its last?"""
    first, last = int(view.starts[channel]), int(view.starts[channel + 1]) - 1
    return last > first and int(view.end_at[first]) < at <= int(view.end_at[last])


BAD = (2**32 - 1, 2**31 - 1, 2**24 - 1)
"""What counters show that were never written or have overflown (Energy Sparks); any decimal point."""


class Sentinel(Struct, frozen=True):
    """`within` so many last digits of a bad constant."""

    within: int = 1


def sentinel(view: View, parameters: Sentinel) -> Found:
    """Rows whose digits are those of a counter that was never written or overflew, and that no neighbour leads up to."""
    digits = view.raw_register
    if not len(digits) or digits.max() < min(BAD) - parameters.within:
        return Found()
    near = np.zeros(len(digits), np.bool_)
    for value in BAD:
        near |= np.abs(digits - value) <= parameters.within
    rows = np.flatnonzero(near)
    # A register that honestly counts past such a number comes from just below it.
    carried = view.limit(view.context.carried, view.of(rows)) * (view.elapsed[rows] / HOUR)
    led = (
        (view.elapsed[rows] > 0) & (view.step[rows] >= 0) & (view.step[rows] * view.factors(rows) <= carried)
    )
    rows = rows[~led]
    return Found(rows, {"register": view.amount(view.register[rows], view.of(rows))}, rows)


RULES = (
    Rule("negative-step", 2, "error", negative_step, alike(NegativeStep()), lambda _: Reach(0), fed=True),
    Rule("roll-over", 1, "info", roll_over, alike(RollOver()), lambda _: Reach(0), fed=True),
    Rule(
        "spike",
        2,
        "warning",
        spike,
        table(
            {
                # Above what a family draws in any hour, below what a burst pipe or a jump shows.
                ("dwelling", "water"): Spike(1_500),
                ("dwelling", "gas"): Spike(3_000),
                ("dwelling", "heat"): Spike(20_000),
                ("dwelling", "electricity"): Spike(8_000),
                ("business", "water"): Spike(10_000),
                ("business", "gas"): Spike(15_000),
                ("business", "heat"): Spike(200_000),
                ("business", "electricity"): Spike(40_000),
            }
        ),
        lambda p: Reach(p.window),
    ),
    Rule(
        "lonely-spike",
        1,
        "warning",
        lonely_spike,
        table(
            {
                ("dwelling", "water"): LonelySpike(1_500),
                ("dwelling", "gas"): LonelySpike(3_000),
                ("dwelling", "heat"): LonelySpike(20_000),
                ("dwelling", "electricity"): LonelySpike(8_000),
                ("business", "water"): LonelySpike(10_000),
                ("business", "gas"): LonelySpike(15_000),
                ("business", "heat"): LonelySpike(200_000),
                ("business", "electricity"): LonelySpike(40_000),
            }
        ),
        lambda _: Reach(2 * DAY, after=1),
    ),
    Rule("overload", 2, "error", overload, alike(Overload()), lambda _: Reach(1), fed=True),
    Rule(
        "reverse-flow",
        1,
        "warning",
        reverse_flow,
        by_medium(
            water=ReverseFlow(200),
            gas=ReverseFlow(100),
            heat=ReverseFlow(1_000),
            electricity=ReverseFlow(1_000),
        ),
        lambda _: Reach(0),
    ),
    Rule("sentinel", 1, "error", sentinel, alike(Sentinel()), lambda _: Reach(0), fed=True),
)
