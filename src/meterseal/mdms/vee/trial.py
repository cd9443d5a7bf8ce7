"""Station VEE, a change of a rule tried on what is stored: what it would flag beside what the rule flags now.

It keeps nothing: no finding is appended, no version made, and the rule stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from meterseal.mdms.finding import Finding
from meterseal.mdms.store.rows import Key
from meterseal.mdms.vee.engine import History, Run, columns_of, finding_of, groups, joined, judged, within
from meterseal.mdms.vee.settings import RuleChange, check, rule_named

DAYS = 90
SHOWN = 50
"""Findings of each kind that an answer carries whole; all are counted."""


class Trial(Struct, frozen=True):
    """What a change would do over a period: `flags_now` and `would_flag` count, `new` and `gone` are the differences."""

    rule: str
    since: int
    until: int
    readings: int
    channels: int
    flags_now: int
    would_flag: int
    new_count: int
    gone_count: int
    new: tuple[Finding, ...]
    gone: tuple[Finding, ...]


def trial(store: History, keys: Iterable[Key], change: RuleChange, since: int, how: Run) -> Trial:
    """Judge what came since an instant by the rule as it is set now, and with the change. Errors of `settings.check`."""
    check(change)
    rule = rule_named(change.rule)
    media = rule.media if change.medium is None else (change.medium,)
    dirty = {key: since for key in keys if store.words.medium[key.point] in media}
    held = how.settings.held(how.now)
    now = replace(how, rules={rule.name: rule}, settings=held)
    then = replace(now, settings=held.also(replace(change, since=0)))
    readings = flags_now = would_flag = new_count = gone_count = 0
    new: list[Finding] = []
    gone: list[Finding] = []
    over = joined if rule.joint else groups
    for _, channels, context in over(
        store, dirty, then
    ):  # it looks back as far as the one that looks back more
        columns = columns_of(channels)
        readings += sum(
            int((one.delivered["end_at"] >= since).sum())
            for one in channels
            if len(one.kept.parts) == 1 or one.kept.intervals[0] == context.interval
        )
        said = [
            {
                (one.channel, one.row): finding_of(store, way, channels, columns, context, one)
                for one in within(
                    channels, columns, context, judged(columns, context, way, way.rules)
                ).objections
                if int(columns.end_at[one.row]) >= since
            }
            for way in (now, then)
        ]
        flags_now, would_flag = flags_now + len(said[0]), would_flag + len(said[1])
        added, dropped = (sorted(a.keys() - b.keys()) for a, b in ((said[1], said[0]), (said[0], said[1])))
        new_count, gone_count = new_count + len(added), gone_count + len(dropped)
        new += _shown(said[1], added, SHOWN - len(new))
        gone += _shown(said[0], dropped, SHOWN - len(gone))
    return Trial(
        rule=rule.name,
        since=since,
        until=how.now,
        readings=readings,
        channels=len(dirty),
        flags_now=flags_now,
        would_flag=would_flag,
        new_count=new_count,
        gone_count=gone_count,
        new=tuple(new),
        gone=tuple(gone),
    )


def _shown(
    said: Mapping[tuple[int, int], Finding], places: Sequence[tuple[int, int]], most: int
) -> list[Finding]:
    return [said[place] for place in places[: max(most, 0)]]
