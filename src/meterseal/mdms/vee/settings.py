"""Station VEE, which parameters of a rule hold when: an operator's changes over the defaults, by class, medium and time.

It keeps nothing (`mdms.changes` does). A reading is judged by what held at the end of its interval, however late it came
and whenever it is looked at, so neither a late delivery nor a start makes the past look different.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from meterseal.errors import LocalError
from meterseal.mdms.vee.context import CLASSES, DAY, Context
from meterseal.mdms.vee.judge import defaults
from meterseal.mdms.vee.rules import RULES, Rule
from meterseal.model import Medium

MOST = 10**12
"""Largest number that a value of a rule may be."""
MOST_TEXT = 64
FARTHEST = 400 * DAY
"""How far a rule may look back."""


class RuleChange(Struct, frozen=True, kw_only=True):
    """From `since` on a rule judges with these values over its defaults, or where `on` is False not at all.

    `medium` and `customer` None stand for every one. `number` counts the changes; the highest that fits holds. Without
    values it is the defaults again.
    """

    rule: str
    medium: Medium | None = None
    customer: str | None = None
    on: bool = True
    values: Mapping[str, str] = MappingProxyType({})
    since: int = 0
    number: int = 0

    def fits(self, rule: Rule, context: Context) -> bool:
        """Is it about this rule, class and medium?"""
        return (
            self.rule == rule.name
            and self.medium in (None, context.medium)
            and self.customer in (None, context.customer)
        )


class Settings(Struct, frozen=True):
    """All changes that a run knows, in the order of their numbers."""

    changes: tuple[RuleChange, ...] = ()

    def at(self, rule: Rule, context: Context, when: int) -> RuleChange | None:
        """The change that holds for readings of an instant, None where it is the defaults."""
        for change in reversed(self.changes):
            if change.since <= when and change.fits(rule, context):
                return change
        return None

    def parameters(self, rule: Rule, context: Context, when: int) -> Struct:
        """What the rule judges readings of an instant with."""
        change = self.at(rule, context, when)
        return defaults(rule, context) if change is None else changed(rule, change.values, context)

    def held_in(
        self, rule: Rule, context: Context, first: int, last: int
    ) -> dict[Struct, list[tuple[int, int]]]:
        """The parts since <= t < until of first <= t <= last in which a rule judges, by the parameters that hold then."""
        mine = Settings(tuple(one for one in self.changes if one.fits(rule, context)))
        found: dict[Struct, list[tuple[int, int]]] = {}
        for since, until in mine.spans(first, last):
            if (change := mine.at(rule, context, since)) is None or change.on:
                found.setdefault(mine.parameters(rule, context, since), []).append((since, until))
        return found

    def every(self, rule: Rule, context: Context) -> list[Struct]:
        """All parameters that ever held: how far a rule looks back is the most of them."""
        found = [changed(rule, one.values, context) for one in self.changes if one.fits(rule, context)]
        return [defaults(rule, context), *found]

    def spans(self, first: int, last: int) -> list[tuple[int, int]]:
        """Parts since <= t < until of first <= t <= last in which nothing changes."""
        cuts = sorted({one.since for one in self.changes if first < one.since <= last})
        edges = [first, *cuts, last + 1]
        return list(pairwise(edges))

    def held(self, when: int) -> Settings:
        """What holds at an instant as if it had always held."""
        return Settings(tuple(replace(one, since=0) for one in self.changes if one.since <= when))

    def also(self, change: RuleChange) -> Settings:
        """The same with one more."""
        return Settings((*self.changes, change))


def rule_named(name: str) -> Rule:
    """A registered rule; LocalError `use.rule` for another name."""
    if name not in RULES:
        raise LocalError("use.rule", f"There is no rule `{name}`; there are: {', '.join(sorted(RULES))}.")
    return RULES[name]


def changed(rule: Rule, values: Mapping[str, str], context: Context) -> Struct:
    """The rule's parameters for a class and medium with these values; LocalError `use.parameter` for what it has not."""
    usual = defaults(rule, context)
    if not values:
        return usual
    names = usual.__struct_fields__
    for name in values:
        if name not in names:
            has = f"it has {', '.join(names)}" if names else "it has none"
            raise LocalError("use.parameter", f"The rule {rule.name} has no parameter `{name}`; {has}.")
    over: dict[str, Any] = {
        name: text.split(",") if isinstance(getattr(usual, name), tuple) else text
        for name, text in values.items()
    }
    try:
        found = msgspec.convert(msgspec.to_builtins(usual) | over, type(usual), strict=False)
    except msgspec.ValidationError as error:
        raise LocalError("use.parameter", f"That is no value for the rule {rule.name}: {error}.") from None
    for name in values:
        _bounded(rule, name, getattr(found, name))
    if not 0 <= rule.reach(found).before <= FARTHEST:
        raise LocalError(
            "use.parameter",
            f"With these values the rule {rule.name} would look back further than {FARTHEST // DAY} days, at every run and "
            "for good.",
        )
    return found


def _bounded(rule: Rule, name: str, value: Any) -> None:
    """A rule computes with its values in 64 bits; a whole number counts or measures something, and is none below 0."""
    parts = value if isinstance(value, tuple) else (value,)
    for part in parts:
        if isinstance(part, str):
            fits = len(part) <= MOST_TEXT and part.isprintable()
        else:
            fits = abs(part) <= MOST if isinstance(part, float) else 0 <= part <= MOST
        if not fits or len(parts) > MOST_TEXT:
            raise LocalError(
                "use.parameter",
                f"The rule {rule.name} takes for `{name}` whole numbers from 0 to {MOST}, other numbers up to that, or up "
                f"to {MOST_TEXT} words of as many characters.",
            )


def check(change: RuleChange) -> None:
    """Refuse what no run could judge by: LocalError `use.rule`, `use.rules`, `use.parameter`."""
    rule = rule_named(change.rule)
    if change.medium not in (None, *rule.media) or change.customer not in (None, *CLASSES):
        raise LocalError(
            "use.rules",
            f"The rule {rule.name} looks at {', '.join(rule.media)}, of {' or '.join(CLASSES)}; name one of each, or none "
            "for all.",
        )
    if not change.on and change.values:
        raise LocalError("use.parameter", "A rule that is switched off needs no values; give either.")
    for customer in CLASSES:
        for medium in rule.media:
            context = Context(medium=medium, customer=customer)
            if change.fits(rule, context):
                changed(rule, change.values, context)
