"""Station VEE, what follows from a judgement: doubts about delivered readings, and estimates between those that are left.

It judges nothing and writes nothing. A doubt or an estimate is a new version; what it replaces stays readable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from meterseal.mdms.columns import Columns
from meterseal.mdms.entries import Version
from meterseal.mdms.method import Made, made
from meterseal.mdms.store.rows import EVER, ORIGINS, Key, Rows, pick, standing, visible
from meterseal.mdms.vee.context import DAY, HOUR, Context
from meterseal.mdms.vee.doubts import by_channel, doubted
from meterseal.mdms.vee.estimators import Bridge, Gap, Known, Override, bridge, order_for
from meterseal.mdms.vee.judge import Judgement
from meterseal.mdms.vee.rules import RULES
from meterseal.mdms.vee.view import View
from meterseal.model import Quality

if TYPE_CHECKING:
    from meterseal.mdms.vee.engine import Group, History, Run

DOUBT = "doubt/2"
YEAR_AND_MORE = 380 * DAY
"""How far back an estimate looks for days alike."""
GOOD = (Quality.MEASURED, Quality.EDITED)


class Judged(Struct, frozen=True):
    """One channel in a run: all its rows, what meters delivered of them, from where on it is judged, and when another
    meter than the first was put in place.
    """

    key: Key
    rows: Rows
    delivered: Rows
    since: int
    begins: tuple[int, ...] = ()

    @property
    def meters(self) -> NDArray[np.int32]:
        """Which meter delivered each row, counted from 0: registers of two have nothing in common."""
        begins = np.array(self.begins, np.int64)
        found = np.searchsorted(begins, self.delivered["end_at"].astype(np.int64), side="right")
        return found.astype(np.int32)


class Bridging(Struct, frozen=True):
    """How gaps are filled: those of more than `short` ms once the meter has gone on for `settle` ms after them, because
    what is late mostly comes by then; and an operator's orders of methods for special times.
    """

    short: int = 2 * HOUR
    settle: int = 3 * DAY
    overrides: tuple[Override, ...] = ()


def versions(
    store: History,
    group: Group,
    channels: Sequence[Judged],
    columns: Columns,
    context: Context,
    said: Judgement,
    how: Run,
) -> Iterator[Version]:
    """The versions that this judgement calls for and that are not visible yet."""
    objections = by_channel(said.objections, columns.starts.tolist())
    view = View(columns, context)
    rolled = view.rolled if view.row is None else view.row[view.rolled]
    for number, channel in enumerate(channels):
        if not len(channel.delivered):
            continue
        first, last = columns.starts[number : number + 2].tolist()
        doubts = doubted(columns.register[first:last].tolist(), objections.get(number, ()))
        anew = (rolled[(rolled >= first) & (rolled < last)] - first).tolist()
        yield from _of_channel(store, channel, doubts, anew, context, how)


class _Shown:
    """What is visible of a channel by instant, and the versions that were added in this run."""

    def __init__(self, store: History, channel: Judged, now: int) -> None:
        shown = visible(channel.rows)
        times = shown["end_at"].tolist()
        self.quality = dict(zip(times, shown["quality"].tolist(), strict=True))
        self.register = dict(zip(times, shown["register"].tolist(), strict=True))
        texts = store.words.texts
        self.method = {at: texts[word] for at, word in zip(times, shown["method"].tolist(), strict=True)}
        self._highest = dict(zip(times, shown["version"].tolist(), strict=True))
        self._store, self._key, self._now = store, channel.key, now

    def version(self, like: np.void, at: int, value: int, kind: Quality, method: str) -> Version:
        """The next version of one instant."""
        self._highest[at] = self._highest.get(at, 0) + 1
        self.quality[at] = kind
        texts = self._store.words.texts
        return Version(
            usage_point=texts[self._key.point],
            medium=self._store.words.medium[self._key.point],
            channel=self._key.channel,
            start_at=at,
            step=0,
            registers=(value,),
            exponent=int(like["exponent"]),
            unit=texts[int(like["unit"])],
            quality=kind,
            method=method,
            recorded_at=self._now,
            origin=ORIGINS[int(like["origin"])],
            version=self._highest[at],
        )


def _of_channel(
    store: History,
    channel: Judged,
    doubts: Mapping[int, str],
    anew: Sequence[int],
    context: Context,
    how: Run,
) -> Iterator[Version]:
    shown = _Shown(store, channel, how.now)
    for row, rule in sorted(doubts.items()):
        reading = channel.delivered[row]
        at = int(reading["end_at"])
        if shown.quality[at] == Quality.MEASURED:
            method = f"{DOUBT}:{rule}/{RULES[rule].version}"
            yield shown.version(reading, at, int(reading["register"]), Quality.SUSPECT, method)
    ends = channel.delivered["end_at"]
    rolled = {int(ends[row]): int(ends[row - 1]) for row in anew}
    edited = visible(channel.rows)
    edited = pick(edited, edited["quality"] == Quality.EDITED)
    for part, since, until in _alike(channel):
        inside = pick(edited, (edited["end_at"] >= since) & (edited["end_at"] < until))
        own = {at for at in _same_unit(inside, part[0])["end_at"].tolist() if shown.quality[at] in GOOD}
        yield from _of_part(store, channel, part, shown, own, rolled, (context, how))


def _alike(channel: Judged) -> Iterator[tuple[Rows, int, int]]:
    """What one meter delivered in one unit with as many digits, and the time since <= t < until that is its own: between
    two such parts nothing is estimated.
    """
    delivered, meters = channel.delivered, channel.meters
    units, ends = delivered[["exponent", "unit"]], delivered["end_at"].astype(np.int64)
    edges = np.flatnonzero((meters[1:] != meters[:-1]) | (units[1:] != units[:-1])) + 1
    begins = [0, *channel.begins, EVER]
    for first, last in pairwise([0, *edges.tolist(), len(delivered)]):
        meter = int(meters[first])
        since = max(begins[meter], int(ends[first - 1]) + 1 if first else 0)
        until = min(begins[meter + 1], int(ends[last]) if last < len(ends) else EVER)
        yield delivered[first:last], since, until


def _of_part(
    store: History,
    channel: Judged,
    delivered: Rows,
    shown: _Shown,
    edited: set[int],
    rolled: Mapping[int, int],
    given: tuple[Context, Run],
) -> Iterator[Version]:
    """Estimates between good readings. `edited`: what people wrote stands like a delivered register, estimates meet it.
    `rolled`: where the register began anew, and the reading before.
    """
    context, how = given
    good = {at for at in delivered["end_at"].tolist() if shown.quality[at] in GOOD}
    times = np.array(sorted(good | edited), np.int64)
    newest = int(channel.delivered["end_at"][-1])
    for since, until in _edges(times, context):
        around = 10**context.digits if rolled.get(until) == since else 0
        gap = Gap(since, until, context.interval, shown.register[since], shown.register[until] + around)
        settle = 0 if until - since <= how.bridging.short else how.bridging.settle
        if until + settle < channel.since or until + settle > newest or not _open(gap, shown):
            continue
        if how.rolled(channel.key) > since - YEAR_AND_MORE and _stands(
            gap, shown, around, _order(channel, gap, given)
        ):
            continue  # the days that it came from may be rolled up: made anew it would be worse, and another
        filled = _fill(store, channel, shown, gap, delivered[-1], given)
        if filled is not None:
            inside = times[(times >= since) & (times <= until)]
            bounds = {at: shown.register[at] + (around if at == until else 0) for at in inside.tolist()}
            yield from _written(gap, _between(gap, filled, bounds), shown, delivered[-1], around)


def _edges(times: NDArray[np.int64], context: Context) -> list[tuple[int, int]]:
    """Whole intervals apart, with none of the load profile between: readings off its grid fill no place on it."""
    grid = times[(times + context.offset) % context.interval == 0]
    found: set[tuple[int, int]] = set()
    for known in (times, grid):
        apart = np.diff(known)
        at = np.flatnonzero((apart > context.interval) & (apart % context.interval == 0))
        found.update(zip(known[at].tolist(), known[at + 1].tolist(), strict=True))
    return sorted(found)


def _between(gap: Gap, filled: Bridge, bounds: Mapping[int, int]) -> Bridge:
    """The same, no register below one that is known before it nor above one that is known after it."""
    times, registers = np.array(list(bounds), np.int64), np.array(list(bounds.values()), np.int64)
    after = np.searchsorted(times, gap.ends[:-1])
    kept = np.clip(np.array(filled.registers, np.int64), registers[after - 1], registers[after])
    return filled._replace(registers=tuple(kept.tolist()))


def _same_unit(rows: Rows, like: np.void) -> Rows:
    return pick(rows, (rows["exponent"] == like["exponent"]) & (rows["unit"] == like["unit"]))


def _open(gap: Gap, shown: _Shown) -> bool:
    """Is there an instant in it at which no measured reading stands?"""
    return any(shown.quality.get(at) not in GOOD for at in gap.ends[:-1].tolist())


def _fill(
    store: History, channel: Judged, shown: _Shown, gap: Gap, like: np.void, given: tuple[Context, Run]
) -> Bridge | None:
    context, how = given
    here = max((begin for begin in channel.begins if begin <= gap.since), default=0)
    rows = store.rows(channel.key, max(here, gap.since - YEAR_AND_MORE, 0), gap.since)
    before = visible(standing(rows, store.words))
    before = _same_unit(before[before["profile"] & (before["quality"] == Quality.MEASURED)], like)
    # What this run doubts is not yet in the store, and must count as if it were.
    trusted = [shown.quality.get(at, Quality.MEASURED) in GOOD for at in before["end_at"].tolist()]
    before = before[np.array(trusted, np.bool_)]
    known = Known.of(
        gap,
        before["end_at"].astype(np.int64),
        before["register"].astype(np.int64),
        medium=context.medium,
        customer=context.customer,
        calendar=context.calendar,
        weather=context.weather,
        neighbours=_beside(store, channel, gap, how),
        offset=context.offset,
    )
    return bridge(gap, known, _order(channel, gap, given))


def _order(channel: Judged, gap: Gap, given: tuple[Context, Run]) -> tuple[str, ...]:
    context, how = given
    overrides = how.bridging.overrides
    zone = how.surroundings.zone(channel.key, gap.since) if overrides else ""
    return order_for(gap, context.medium, context.customer, overrides, zone)


def _stands(gap: Gap, shown: _Shown, around: int, order: Sequence[str]) -> bool:
    """Is all of a gap estimated, by methods that are asked still, and does it meet the registers on both sides?"""
    inner = gap.ends[:-1].tolist()
    if any(shown.quality.get(at) != Quality.ESTIMATED for at in inner):
        return False
    how = {one.method if (one := made(shown.method[at])) is not None else "" for at in inner}
    registers = [shown.register[at] for at in inner]
    risen = [gap.first, *(one + around if one < gap.first else one for one in registers), gap.last]
    return how <= set(order) and risen == sorted(risen)


def _beside(store: History, channel: Judged, gap: Gap, how: Run) -> NDArray[np.int64]:
    """Use in the intervals of the gap of those neighbours that measured all of it: what was there as the gap could first
    be filled, so that what comes later changes no estimate.
    """
    settle = 0 if gap.until - gap.since <= how.bridging.short else how.bridging.settle
    after = channel.delivered[channel.delivered["end_at"] >= gap.until + settle]
    ripe = int(after["recorded_at"].min()) if len(after) else how.now
    found = []
    for key in how.surroundings.neighbours(channel.key, gap.since, gap.until):
        rows = store.rows(key, gap.since, gap.until)
        rows = visible(standing(rows[rows["recorded_at"] <= ripe], store.words))
        rows = rows[np.isin(rows["end_at"], np.append(gap.ends, gap.since))]
        whole = len(rows) == gap.parts + 1 and bool((rows["quality"] == Quality.MEASURED).all())
        if whole and (rows["exponent"] == rows["exponent"][0]).all():
            use = np.diff(rows["register"].astype(np.int64))
            if use.min() >= 0:
                found.append(use)
    return np.array(found, np.int64).reshape(len(found), gap.parts)


def _written(gap: Gap, filled: Bridge, shown: _Shown, like: np.void, around: int) -> Iterator[Version]:
    """`around` is where a register that began anew within the gap did so, 0 where none did."""
    reason = f"gap/{RULES['gap'].version}"
    for at, register, half in zip(gap.ends[:-1].tolist(), filled.registers, filled.uncertainty, strict=True):
        register = register % around if around else register
        seen = shown.quality.get(at)
        method = Made(filled.estimator.name, filled.estimator.version, reason, half).text
        if seen == Quality.ESTIMATED and (shown.register[at], shown.method[at]) == (register, method):
            continue
        if seen in (None, Quality.MISSING, Quality.SUSPECT, Quality.ESTIMATED):
            yield shown.version(like, at, register, Quality.ESTIMATED, method)
