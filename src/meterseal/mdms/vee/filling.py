"""Station VEE, the gaps of a channel: which there are between registers that are trusted, and what each is filled with.

It says nothing of what is doubted and makes no version (`versions` does). What it says depends on what was delivered and
written by people, never on the order in which it came; what earlier runs estimated only spares making it anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import ROUND_FLOOR, Decimal
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from meterseal.mdms.method import Made, made
from meterseal.mdms.store.rows import EVER, Key, Rows, pick, standing, visible
from meterseal.mdms.vee.channel import GOOD, YEAR_AND_MORE, Judged, ReadOff, Shown
from meterseal.mdms.vee.context import Context
from meterseal.mdms.vee.estimators import FED_IN, ORDERS, Bridge, Gap, Known, bridge, can_fill, order_for
from meterseal.mdms.vee.rules import RULES
from meterseal.model import EXPORT, Medium, Quality

if TYPE_CHECKING:
    from meterseal.mdms.vee.engine import History, Run

READ_OFF = "read-off"
"""Method of a reading at the very instant of a change of meters: the register that the installer read."""


class Estimate(NamedTuple):
    """A register that is estimated at an instant, by which method, and a row of the same meter, unit and exponent."""

    register: int
    method: str
    like: np.void


class Filled(NamedTuple):
    """What is estimated of a channel, and the instants at which what is estimated already stays."""

    made: dict[int, Estimate]
    kept: set[int]


class Part(Struct, frozen=True):
    """What one meter delivered in one unit with as many digits, in the time since <= t < until that is its own, and what an
    installer read as it came and as it went at `left`, in its last digits.
    """

    delivered: Rows
    since: int
    until: int
    opening: int | None = None
    closing: int | None = None
    left: int = 0


class Trusted(NamedTuple):
    """Registers that estimates meet, by instant, and from when on they may have changed since the last run."""

    registers: Mapping[int, int]
    changed: int


def filled(
    store: History,
    channel: Judged,
    shown: Shown,
    trusted: Trusted,
    rolled: Mapping[int, int],
    contexts: Sequence[Context],
    how: Run,
) -> Filled:
    """Estimates of all gaps. `rolled`: where the register began anew, and the reading before. `contexts`: one for each
    interval that the load profile kept.
    """
    found = Filled({}, set())
    edited = pick(shown.others, shown.others["quality"] == Quality.EDITED)
    works = [_Work(store, channel, shown, trusted, context, how, found) for context in contexts]
    everything = not len(edited) and len(trusted.registers) == len(channel.delivered)
    for part in parts(channel):
        if everything:
            for work in works:
                work.fill(part, part.delivered["end_at"].astype(np.int64), rolled)
            continue
        inside = pick(edited, (edited["end_at"] >= part.since) & (edited["end_at"] < part.until))
        own = set(same_unit(inside, part.delivered[0])["end_at"].tolist())
        # What people wrote stands like a delivered register, estimates meet it.
        times = own | {at for at in part.delivered["end_at"].tolist() if at in trusted.registers}
        for work in works:
            work.fill(part, np.array(sorted(times), np.int64), rolled)
    return found


def parts(channel: Judged) -> Iterator[Part]:
    """Between two of them nothing is estimated but up to what an installer read."""
    delivered, meters = channel.delivered, channel.meters
    units, ends = delivered[["exponent", "unit"]], delivered["end_at"].astype(np.int64)
    edges = np.flatnonzero((meters[1:] != meters[:-1]) | (units[1:] != units[:-1])) + 1
    begins = [0, *channel.begins, EVER]
    nothing = ReadOff(None, None, 0)
    for first, last in pairwise([0, *edges.tolist(), len(delivered)]):
        meter = int(meters[first])
        came = not first or int(meters[first - 1]) != meter
        goes = last == len(ends) or int(meters[last]) != meter
        since = max(begins[meter], 0 if came else int(ends[first - 1]) + 1)
        until = min(begins[meter + 1], EVER if goes else int(ends[last]))
        like = delivered[first]
        opening = channel.read_off.get(begins[meter], nothing).first if came and meter else None
        after = channel.read_off.get(begins[meter + 1], nothing) if goes else nothing
        yield Part(
            delivered[first:last],
            since,
            until,
            opening=_digits(opening, like),
            closing=_digits(after.last, like),
            left=after.left,
        )


def _digits(amount: Decimal | None, like: np.void) -> int | None:
    if amount is None:
        return None
    return int(amount.scaleb(-int(like["exponent"])).to_integral_value(rounding=ROUND_FLOOR))


class _Work:
    """The gaps of one channel in one run, as far as they end where one interval is kept."""

    def __init__(
        self,
        store: History,
        channel: Judged,
        shown: Shown,
        trusted: Trusted,
        context: Context,
        how: Run,
        found: Filled,
    ) -> None:
        self._store, self._channel, self._shown, self._trusted = store, channel, shown, trusted
        self._context, self._how, self._found = context, how, found
        self._newest = int(channel.delivered["end_at"][-1])
        estimated = pick(shown.others, shown.others["quality"] == Quality.ESTIMATED)
        self._estimated = estimated["end_at"].astype(np.int64)

    @cached_property
    def _own(self) -> NDArray[np.int64]:
        """Instants of delivered registers that are trusted."""
        others = self._shown.others
        edited = others["end_at"][others["quality"] == Quality.EDITED]
        return np.setdiff1d(np.array(list(self._trusted.registers), np.int64), edited)

    def fill(self, part: Part, times: NDArray[np.int64], rolled: Mapping[int, int]) -> None:
        registers = self._trusted.registers
        for since, until in edges(times, self._context):
            around = 10**self._context.digits if rolled.get(until) == since else 0
            if not self._mine(until):
                continue
            gap = Gap(since, until, self._context.interval, registers[since], registers[until] + around)
            self._gap(part, gap, times, around)
        grid = times[(times + self._context.offset) % self._context.interval == 0]
        if len(grid):
            self._after(part, times, int(grid[-1]))
            self._before(part, times, int(grid[0]))

    def _after(self, part: Part, times: NDArray[np.int64], last: int) -> None:
        """From a meter's last reading on the grid to what was read as it went."""
        if part.closing is None or not self._mine(part.left):
            return
        interval = self._context.interval
        over = (part.left + self._context.offset) % interval
        until = part.left - over + (interval if over else 0)
        gap = Gap(last, until, interval, self._trusted.registers[last], part.closing)
        if until - last > interval:
            self._gap(part, replace(gap, tail=over / interval) if over else gap, times, 0)

    def _before(self, part: Part, times: NDArray[np.int64], first: int) -> None:
        """From what was read as a meter came to its first reading on the grid."""
        if part.opening is None or part.since >= first or part.opening > self._trusted.registers[first]:
            return
        if not self._mine(first):
            return
        interval = self._context.interval
        over = (part.since + self._context.offset) % interval
        since = part.since - over
        if not over and self._ripe(since, first):
            method = Made(READ_OFF, 1, f"gap/{RULES['gap'].version}", 0).text
            self._estimate(since, Estimate(part.opening, method, part.delivered[0]))
        gap = Gap(since, first, interval, part.opening, self._trusted.registers[first])
        if first - since > interval:
            self._gap(part, replace(gap, head=1 - over / interval), times, 0)

    def _mine(self, at: int) -> bool:
        """What lies before all is known that tells the interval stays as it is."""
        ends = np.array([at], np.int64)
        return at > self._channel.kept.exact and bool(
            self._channel.kept.holds(self._context.interval, ends)[0]
        )

    def _ripe(self, since: int, until: int) -> bool:
        return until + self._how.bridging.waits(since, until) <= self._newest

    def _gap(self, part: Part, gap: Gap, times: NDArray[np.int64], around: int) -> None:
        open_at = [at for at in gap.ends[:-1].tolist() if self._shown.quality.get(at) not in GOOD]
        order = order_of(self._channel.key, gap, self._context.medium, self._context.customer, self._how)
        if not open_at or not self._ripe(gap.since, gap.until) or not can_fill(gap, order):
            return
        if self._stands(gap, open_at, around, order):
            self._found.kept.update(open_at)
            return
        like = part.delivered[-1]
        made_of = self._bridge(gap, like, order)
        if made_of is None:
            return
        inside = times[(times > gap.since) & (times < gap.until)].tolist()
        bounds = {
            gap.since: gap.first,
            **{at: self._trusted.registers[at] for at in inside},
            gap.until: gap.last,
        }
        made_of = _between(gap, made_of, bounds)
        reason = f"gap/{RULES['gap'].version}"
        for at, register, half in zip(
            gap.ends[:-1].tolist(), made_of.registers, made_of.uncertainty, strict=True
        ):
            method = Made(made_of.estimator.name, made_of.estimator.version, reason, half).text
            self._estimate(at, Estimate(register % around if around else register, method, like))

    def _estimate(self, at: int, one: Estimate) -> None:
        if self._shown.quality.get(at) not in GOOD:
            self._found.made[at] = one

    def _stands(self, gap: Gap, open_at: Sequence[int], around: int, order: Sequence[str]) -> bool:
        """Is all of a gap estimated, with nothing that it came from changed since; or, where the days that it came from may
        be rolled up, by methods that are asked still, so that it meets the registers on both sides? Made anew it would be
        worse there, and another.
        """
        shown = self._shown
        if any(shown.quality.get(at) != Quality.ESTIMATED for at in open_at):
            return False
        stood = self._estimated[(self._estimated > gap.since) & (self._estimated < gap.until)]
        if gap.until + self._how.bridging.waits(gap.since, gap.until) < self._trusted.changed:
            return len(stood) == len(open_at)
        if self._how.rolled(self._channel.key) <= gap.since - YEAR_AND_MORE:
            return False
        how = {one.method if (one := made(shown.method[at])) is not None else "" for at in open_at}
        registers = [shown.register[at] for at in open_at]
        risen = [gap.first, *(one + around if one < gap.first else one for one in registers), gap.last]
        return how <= set(order) and risen == sorted(risen)

    def _bridge(self, gap: Gap, like: np.void, order: Sequence[str]) -> Bridge | None:
        channel, context = self._channel, self._context
        here = max((begin for begin in channel.begins if begin <= gap.since), default=0)
        rows = self._store.rows(channel.key, max(here, gap.since - YEAR_AND_MORE, 0), gap.since)
        stands = standing(rows, self._store.words)
        before = same_unit(delivered_of(stands), like)
        # What this run doubts, or trusts again, is not yet in the store, and must count as if it were.
        early = before["end_at"] < channel.delivered["end_at"][0]
        shown = visible(stands)
        stored = np.isin(before["end_at"], shown["end_at"][shown["quality"] == Quality.MEASURED])
        before = pick(before, np.where(early, stored, np.isin(before["end_at"], self._own)))
        known = Known.of(
            gap,
            before["end_at"].astype(np.int64),
            before["register"].astype(np.int64),
            medium=context.medium,
            customer=context.customer,
            calendar=context.calendar,
            weather=context.weather,
            neighbours=beside(self._store, channel.key, channel.delivered, gap, self._how),
            offset=context.offset,
            fed=channel.key.channel == EXPORT,
        )
        return bridge(gap, known, order)


def delivered_of(rows: Rows, *, singles: bool = False) -> Rows:
    """What meters delivered of their load profile, of rows that stand; not what was said of instants to come, which would
    be gaps and falls anew with every true reading. `singles`: and what they answered and reported.
    """
    kind = np.ones(len(rows), np.bool_) if singles else rows["profile"]
    return visible(pick(rows, kind & (rows["method"] == 0) & (rows["quality"] == Quality.MEASURED)))


def edges(times: NDArray[np.int64], context: Context) -> list[tuple[int, int]]:
    """Whole intervals apart, with none of the load profile between: readings off its grid fill no place on it."""
    grid = times[(times + context.offset) % context.interval == 0]
    found: set[tuple[int, int]] = set()
    for known in (times, grid):
        apart = np.diff(known)
        at = np.flatnonzero((apart > context.interval) & (apart % context.interval == 0))
        found.update(zip(known[at].tolist(), known[at + 1].tolist(), strict=True))
    return sorted(found)


def _between(gap: Gap, made_of: Bridge, bounds: Mapping[int, int]) -> Bridge:
    """The same, no register below one that is known before it nor above one that is known after it."""
    times, registers = np.array(list(bounds), np.int64), np.array(list(bounds.values()), np.int64)
    after = np.searchsorted(times, gap.ends[:-1])
    kept = np.clip(np.array(made_of.registers, np.int64), registers[after - 1], registers[after])
    return made_of._replace(registers=tuple(kept.tolist()))


def same_unit(rows: Rows, like: np.void) -> Rows:
    """Those that count in the unit of a row, with as many digits."""
    return pick(rows, (rows["exponent"] == like["exponent"]) & (rows["unit"] == like["unit"]))


def order_of(key: Key, gap: Gap, medium: Medium, customer: str, how: Run) -> tuple[str, ...]:
    """The methods that are asked for a gap of a channel, first one first."""
    overrides = how.bridging.overrides
    zone = how.surroundings.zone(key, gap.since) if overrides else ""
    order = order_for(gap, medium, customer, overrides, zone)
    return FED_IN if key.channel == EXPORT and order == ORDERS[customer, medium] else order


def beside(store: History, key: Key, delivered: Rows, gap: Gap, how: Run) -> NDArray[np.int64]:
    """Use in the intervals of the gap of those neighbours that measured all of it: what was there as the gap could first
    be filled, so that what comes later changes no estimate.
    """
    after = delivered[delivered["end_at"] >= gap.until + how.bridging.waits(gap.since, gap.until)]
    ripe = int(after["recorded_at"].min()) if len(after) else how.now
    found = []
    for other in how.surroundings.neighbours(key, gap.since, gap.until):
        rows = store.rows(other, gap.since, gap.until)
        rows = visible(standing(rows[rows["recorded_at"] <= ripe], store.words))
        rows = rows[np.isin(rows["end_at"], np.append(gap.ends, gap.since))]
        whole = len(rows) == gap.parts + 1 and bool((rows["quality"] == Quality.MEASURED).all())
        if whole and (rows["exponent"] == rows["exponent"][0]).all():
            use = np.diff(rows["register"].astype(np.int64))
            if use.min() >= 0:
                found.append(use)
    return np.array(found, np.int64).reshape(len(found), gap.parts)
