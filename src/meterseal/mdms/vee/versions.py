"""Station VEE, what follows from a judgement: doubts about delivered readings, and estimates between those that are left.

It judges nothing and writes nothing. A doubt or an estimate is a new version; what it replaces stays readable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from meterseal.mdms.columns import Columns
from meterseal.mdms.entries import Version
from meterseal.mdms.method import Made
from meterseal.mdms.store.rows import ORIGINS, Key, Rows, standing, visible
from meterseal.mdms.vee.context import DAY, HOUR, Context
from meterseal.mdms.vee.estimators import Bridge, Gap, Known, Override, bridge, order_for
from meterseal.mdms.vee.judge import Judgement
from meterseal.mdms.vee.rules import RULES
from meterseal.model import Quality

if TYPE_CHECKING:
    from meterseal.mdms.vee.engine import Group, History, Run

DOUBT = "doubt/1:negative-step/1"
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
    fell: dict[int, list[int]] = {}
    jumped: dict[int, set[int]] = {}
    for objection in said.objections:
        if objection.rule == "negative-step":
            fell.setdefault(objection.channel, []).append(objection.row)
        elif objection.rule in ("spike", "sentinel", "overload"):
            jumped.setdefault(objection.channel, set()).add(objection.row)
    for number, channel in enumerate(channels):
        if not len(channel.delivered):
            continue
        first = int(columns.starts[number])
        doubted = suspects(
            columns.register[first : int(columns.starts[number + 1])].tolist(),
            [row - first for row in fell.get(number, ())],
            {row - first for row in jumped.get(number, ())},
        )
        yield from _of_channel(store, channel, doubted, context, how)


def suspects(registers: Sequence[int], fell: Sequence[int], jumped: set[int]) -> list[int]:
    """Rows not to be billed on: a fall, or the single high reading before it that the fall takes back.

    A step that stays (a burst pipe) is use: it is found, and not doubted.
    """
    doubted = set(fell)
    for row in fell:
        if row >= 2 and row - 1 in jumped and registers[row] >= registers[row - 2]:
            doubted.discard(row)
            doubted.add(row - 1)
    return sorted(doubted)


class _Shown:
    """What is visible of a channel by instant, and the versions that were added in this run."""

    def __init__(self, store: History, channel: Judged, now: int) -> None:
        shown = visible(channel.rows)
        times = shown["end_at"].tolist()
        self.quality = dict(zip(times, shown["quality"].tolist(), strict=True))
        self.register = dict(zip(times, shown["register"].tolist(), strict=True))
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
    store: History, channel: Judged, doubted: Sequence[int], context: Context, how: Run
) -> Iterator[Version]:
    shown = _Shown(store, channel, how.now)
    for row in doubted:
        reading = channel.delivered[row]
        at = int(reading["end_at"])
        if shown.quality[at] == Quality.MEASURED:
            yield shown.version(reading, at, int(reading["register"]), Quality.SUSPECT, DOUBT)
    meters = channel.meters
    for meter in np.unique(meters).tolist():
        yield from _of_meter(store, channel, channel.delivered[meters == meter], shown, (context, how))


def _of_meter(
    store: History, channel: Judged, delivered: Rows, shown: _Shown, given: tuple[Context, Run]
) -> Iterator[Version]:
    """Estimates between the good readings of one meter."""
    context, how = given
    units = delivered[["exponent", "unit"]]
    if (units != units[0]).any():
        return  # across a change of unit nothing is interpolated
    good = [k for k, at in enumerate(delivered["end_at"].tolist()) if shown.quality[at] in GOOD]
    # What people wrote stands like a delivered register: estimates meet it.
    standing_at = {int(delivered["end_at"][k]) for k in good} | _edited(channel, delivered, shown)
    times = np.array(sorted(standing_at), np.int64)
    registers = np.array([shown.register[at] for at in times.tolist()], np.int64)
    apart = np.diff(times)
    for k in np.flatnonzero((apart > context.interval) & (apart % context.interval == 0)).tolist():
        gap = Gap(
            int(times[k]), int(times[k + 1]), context.interval, int(registers[k]), int(registers[k + 1])
        )
        settle = 0 if gap.until - gap.since <= how.bridging.short else how.bridging.settle
        if gap.until + settle < channel.since or gap.until + settle > times[-1] or not _open(gap, shown):
            continue
        filled = _fill(store, channel, shown, gap, context, how)
        if filled is not None:
            yield from _written(gap, filled, shown, delivered[-1])


def _edited(channel: Judged, delivered: Rows, shown: _Shown) -> set[int]:
    """Instants between the first and last reading of a meter whose visible register people wrote, in its own digits."""
    rows = visible(channel.rows)
    rows = rows[(rows["quality"] == Quality.EDITED) & (rows["exponent"] == delivered["exponent"][0])]
    first, last = int(delivered["end_at"][0]), int(delivered["end_at"][-1])
    return {
        at for at in rows["end_at"].tolist() if first <= at <= last and shown.quality[at] == Quality.EDITED
    }


def _open(gap: Gap, shown: _Shown) -> bool:
    """Is there an instant in it at which no measured reading stands?"""
    return any(shown.quality.get(at) not in GOOD for at in gap.ends[:-1].tolist())


def _fill(
    store: History, channel: Judged, shown: _Shown, gap: Gap, context: Context, how: Run
) -> Bridge | None:
    overrides = how.bridging.overrides
    zone = how.surroundings.zone(channel.key, gap.since) if overrides else ""
    order = order_for(gap, context.medium, context.customer, overrides, zone)
    here = max((begin for begin in channel.begins if begin <= gap.since), default=0)
    rows = store.rows(channel.key, max(here, gap.since - YEAR_AND_MORE, 0), gap.since)
    before = visible(standing(rows, store.words))
    before = before[before["profile"] & (before["quality"] == Quality.MEASURED)]
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
    return bridge(gap, known, order)


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


def _written(gap: Gap, filled: Bridge, shown: _Shown, like: np.void) -> Iterator[Version]:
    reason = f"gap/{RULES['gap'].version}"
    for at, register, half in zip(gap.ends[:-1].tolist(), filled.registers, filled.uncertainty, strict=True):
        seen = shown.quality.get(at)
        if seen == Quality.ESTIMATED and shown.register[at] == register:
            continue
        if seen in (None, Quality.MISSING, Quality.SUSPECT, Quality.ESTIMATED):
            method = Made(filled.estimator.name, filled.estimator.version, reason, half).text
            yield shown.version(like, at, register, Quality.ESTIMATED, method)
