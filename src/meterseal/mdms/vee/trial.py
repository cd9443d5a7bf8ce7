"""Station VEE, a change of a rule tried on what is stored: what it would flag beside what the rule flags now.

It keeps nothing: no finding is appended, no version made, and the rule stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from meterseal.errors import LocalError
from meterseal.mdms.finding import Finding
from meterseal.mdms.store.rows import Key
from meterseal.mdms.vee.context import CLASSES, Context
from meterseal.mdms.vee.engine import History, Run, columns_of, finding_of, groups, joined
from meterseal.mdms.vee.judge import defaults, judge
from meterseal.mdms.vee.rules import RULES, Rule

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


def changed(rule: Rule, change: Mapping[str, str], customer: str, context: Context) -> Struct:
    """The rule's parameters for a class and medium with these values; LocalError `use.parameter` for what it has not."""
    usual = rule.defaults(customer, context.medium)
    names = usual.__struct_fields__
    for name in change:
        if name not in names:
            has = f"it has {', '.join(names)}" if names else "it has none"
            raise LocalError("use.parameter", f"The rule {rule.name} has no parameter `{name}`; {has}.")
    values: dict[str, Any] = {
        name: text.split(",") if isinstance(getattr(usual, name), tuple) else text
        for name, text in change.items()
    }
    try:
        return msgspec.convert(msgspec.to_builtins(usual) | values, type(usual), strict=False)
    except msgspec.ValidationError as error:
        raise LocalError("use.parameter", f"That is no value for the rule {rule.name}: {error}.") from None


def rule_named(name: str) -> Rule:
    """A registered rule; LocalError `use.rule` for another name."""
    if name not in RULES:
        raise LocalError("use.rule", f"There is no rule `{name}`; there are: {', '.join(sorted(RULES))}.")
    return RULES[name]


def check(name: str, change: Mapping[str, str]) -> None:
    """Refuse what `trial` would refuse; errors of `rule_named` and `changed`."""
    rule = rule_named(name)
    for customer in CLASSES:
        for medium in rule.media:
            changed(rule, change, customer, Context(medium=medium, customer=customer))


def trial(
    store: History, keys: Iterable[Key], name: str, change: Mapping[str, str], since: int, how: Run
) -> Trial:
    """Judge what came since an instant by the rule as it is and with the change. Errors of `check`."""
    check(name, change)
    rule = rule_named(name)

    def other(one: Rule, context: Context) -> Struct:
        return changed(one, change, context.customer, context)

    dirty = {key: since for key in keys if store.words.medium[key.point] in rule.media}
    now, then = (replace(how, rules={name: rule}, choose=choose) for choose in (defaults, other))
    # Both look back as far as the one that looks back more.
    readings = flags_now = would_flag = new_count = gone_count = 0
    new: list[Finding] = []
    gone: list[Finding] = []
    over = joined if rule.joint else groups
    for _, channels, context in over(store, dirty, _wider(now, then, rule)):
        columns = columns_of(channels)
        readings += int((columns.end_at >= since).sum())
        said = [
            {
                (one.channel, one.row): finding_of(store, way, channels, columns, context, one)
                for one in judge(columns, context, way.choose, way.rules).objections
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
        rule=name,
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


def _wider(now: Run, then: Run, rule: Rule) -> Run:
    context = Context(medium=rule.media[0])
    ways = sorted((now, then), key=lambda way: rule.reach(way.choose(rule, context)).before)
    return ways[-1]


def _shown(
    said: Mapping[tuple[int, int], Finding], places: Sequence[tuple[int, int]], most: int
) -> list[Finding]:
    return [said[place] for place in places[: max(most, 0)]]
