"""Station VEE, what follows from a judgement: doubts about delivered readings, and estimates between those that are left.

It judges nothing and writes nothing. A doubt or an estimate is a new version, and so is taking one back; what it replaces
stays readable. What is visible in the end follows from all that came, in whatever order and slices it came.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from meterseal.mdms.columns import Columns
from meterseal.mdms.entries import Version
from meterseal.mdms.store.rows import EVER, Rows, pick, standing, visible
from meterseal.mdms.vee.channel import GOOD, Judged, Shown
from meterseal.mdms.vee.context import Context
from meterseal.mdms.vee.doubts import Clocks, by_channel, by_clocks, doubted
from meterseal.mdms.vee.filling import Filled, Trusted, filled
from meterseal.mdms.vee.judge import Judgement
from meterseal.mdms.vee.rules import RULES
from meterseal.mdms.vee.rules.clocks import NAME as CLOCK
from meterseal.mdms.vee.view import View
from meterseal.model import Quality

if TYPE_CHECKING:
    from meterseal.mdms.vee.engine import History, Run

DOUBT = "doubt/2"
TRUSTED_AGAIN = "withdrawn/1:doubt"
"""Method of a version by which a reading stands again as it was delivered."""
TAKEN_BACK = "withdrawn/1:estimate"
"""Method of a version that takes back an estimate where there is nothing to estimate any more."""


class Said(NamedTuple):
    """What was said of one channel by one interval: by which rules of which rows, which rows and single answers a clock
    stamped that was off, and with which rows the register began anew.
    """

    context: Context
    objections: Sequence[tuple[str, int]]
    stamped: Collection[int]
    singles: Rows
    alone: Collection[int]
    anew: Sequence[int]


def said_of(
    store: History,
    channels: Sequence[Judged],
    columns: Columns,
    context: Context,
    said: Judgement,
    how: Run,
    stamped: Mapping[int, Clocks] = MappingProxyType({}),
) -> Iterator[tuple[Judged, Said]]:
    """A judgement, channel by channel."""
    objections = by_channel(said.objections, columns.starts.tolist())
    view = View(columns, context)
    rolled = view.rolled if view.row is None else view.row[view.rolled]
    singles = [_beside(store, channel) for channel in channels] if context.clocks else []
    alone = by_clocks(singles, context, how.settings, how.rules) if context.clocks else {}
    for number, channel in enumerate(channels):
        first, last = columns.starts[number : number + 2].tolist()
        mine = singles[number] if singles else channel.rows[:0]
        yield (
            channel,
            Said(
                context,
                objections.get(number, ()),
                _here(channel, context, stamped.get(number), channel.delivered),
                mine,
                _here(channel, context, alone.get(number), mine),
                (rolled[(rolled >= first) & (rolled < last)] - first).tolist(),
            ),
        )


def _here(channel: Judged, context: Context, stamped: Clocks | None, rows: Rows) -> list[int]:
    if stamped is None:
        return []
    held = channel.kept.holds(context.interval, rows["end_at"].astype(np.int64))
    return [row for row in sorted(stamped.rows) if held[row]]


def versions(store: History, channel: Judged, said: Sequence[Said], how: Run) -> Iterator[Version]:
    """The versions that all that was said of a channel, by each of its intervals, calls for: those not visible yet."""
    if any(one.context.clocks for one in said):
        alone = {row for one in said for row in one.alone}
        yield from _singles(store, channel, said[0].singles, alone, how)
    if not len(channel.delivered):
        return
    objections = [objection for one in said for objection in one.objections]
    doubts = doubted(channel.delivered["register"].tolist(), objections)
    if stamped := sorted({row for one in said for row in one.stamped}):
        doubts = dict.fromkeys(stamped, CLOCK) | doubts
    yield from _of_channel(store, channel, doubts, said, how)


def _beside(store: History, channel: Judged) -> Rows:
    """What was delivered beside the load profile, of instants of which that says nothing: answers of meters without one."""
    rows = standing(channel.rows, store.words)
    alone = ~rows["profile"] & (rows["method"] == 0) & (rows["quality"] == Quality.MEASURED)
    found = visible(pick(rows, alone))
    return pick(found, ~np.isin(found["end_at"], channel.delivered["end_at"]))


def _singles(
    store: History, channel: Judged, singles: Rows, stamped: Collection[int], how: Run
) -> Iterator[Version]:
    """Such answers that a clock stamped which was off are in doubt, and stand again where it is known better. Nothing is
    estimated in their place: no load profile promises them.
    """
    shown = Shown(store.words, channel, how.now)
    for row, reading in enumerate(singles):
        at, doubt = int(reading["end_at"]), row in stamped
        mine = shown.method[at].startswith(f"{DOUBT}:{CLOCK}/") and shown.quality[at] == Quality.SUSPECT
        if doubt and shown.quality[at] == Quality.MEASURED:
            yield _doubt(shown, reading, CLOCK)
        elif mine and not doubt:
            yield shown.version(reading, at, int(reading["register"]), Quality.MEASURED, TRUSTED_AGAIN)


def _of_channel(
    store: History,
    channel: Judged,
    doubts: Mapping[int, str],
    said: Sequence[Said],
    how: Run,
) -> Iterator[Version]:
    shown = Shown(store.words, channel, how.now)
    ends = channel.delivered["end_at"].tolist()
    trusted = _trusted(channel, shown, {ends[row]: rule for row, rule in doubts.items()})
    rolled = {ends[row]: ends[row - 1] for one in said for row in one.anew}
    yield from _doubted(channel, shown, doubts)
    found = filled(store, channel, shown, trusted, rolled, [one.context for one in said], how)
    for at, one in sorted(found.made.items()):
        same = (shown.quality.get(at), shown.register.get(at), shown.method.get(at))
        if same != (Quality.ESTIMATED, one.register, one.method):
            yield shown.version(one.like, at, one.register, Quality.ESTIMATED, one.method)
    if len(shown.others):
        whole = not channel.firm and how.rolled(channel.key) < 0
        yield from _withdrawn(channel, shown, trusted, doubts, found, whole=whole)


def _trusted(channel: Judged, shown: Shown, doubts: Mapping[int, str]) -> Trusted:
    """Registers to count with: what people wrote, and what was delivered and is not doubted."""
    ends = channel.delivered["end_at"].tolist()
    registers = dict(zip(ends, channel.delivered["register"].tolist(), strict=True))
    changed = min(channel.since, channel.kept.unsure)
    # Where not all was loaded that decides it, what came since the last run cannot have changed it.
    for at in (at for at in doubts if at >= channel.firm):
        del registers[at]
        if shown.quality[at] in GOOD:
            changed = min(changed, at)
    for at, seen in shown.others[["end_at", "quality"]].tolist():
        if seen == Quality.EDITED:
            registers[at] = shown.register[at]
        elif at < channel.firm:
            registers.pop(at, None)
        elif at in registers:
            changed = min(changed, at)
    return Trusted(registers, changed)


def _doubted(channel: Judged, shown: Shown, doubts: Mapping[int, str]) -> Iterator[Version]:
    for row, rule in sorted(doubts.items()):
        reading = channel.delivered[row]
        at = int(reading["end_at"])
        known, _, why = shown.method[at].partition(":")
        otherwise = shown.quality[at] == Quality.SUSPECT and known == DOUBT and why.partition("/")[0] != rule
        if at >= channel.firm and (shown.quality[at] == Quality.MEASURED or otherwise):
            yield _doubt(shown, reading, rule)


def _doubt(shown: Shown, reading: np.void, rule: str) -> Version:
    method = f"{DOUBT}:{rule}/{RULES[rule].version}"
    return shown.version(reading, int(reading["end_at"]), int(reading["register"]), Quality.SUSPECT, method)


def _withdrawn(
    channel: Judged,
    shown: Shown,
    trusted: Trusted,
    doubts: Mapping[int, str],
    found: Filled,
    *,
    whole: bool,
) -> Iterator[Version]:
    """What earlier runs doubted or estimated and this one, which knows more, does not: where something was delivered it
    stands again, as it is trusted or doubted; elsewhere nothing does.
    """
    ends = channel.delivered["end_at"].astype(np.int64)
    # Before the first register that is trusted may lie what was not loaded, or was rolled up.
    first = int(ends[0]) if whole else max(min(trusted.registers, default=EVER), channel.kept.exact)
    stays = found.made.keys() | found.kept
    for other in shown.others:
        at, seen = int(other["end_at"]), int(other["quality"])
        row = int(np.searchsorted(ends, at))
        delivered = row < len(ends) and int(ends[row]) == at
        if seen == Quality.EDITED or at in stays:
            continue
        if delivered and at in trusted.registers:
            reading = channel.delivered[row]
            yield shown.version(reading, at, int(reading["register"]), Quality.MEASURED, TRUSTED_AGAIN)
        elif seen != Quality.ESTIMATED or at < first:
            continue
        elif not delivered:
            yield shown.version(other, at, 0, Quality.MISSING, TAKEN_BACK)
        elif row in doubts:
            yield _doubt(shown, channel.delivered[row], doubts[row])
