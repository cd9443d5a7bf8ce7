"""Station VEE, all rules over columns: each on its own, in pieces that fit the processor's cache.

Pure. A rule that raises objects to nothing and is named; the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from msgspec import Struct

from meterseal.mdms.columns import Columns
from meterseal.mdms.vee.context import Context
from meterseal.mdms.vee.rules import RULES, Rule
from meterseal.mdms.vee.view import View

AT_ONCE = 1 << 16
"""Rows of a piece: half a megabyte a column."""
Choose = Callable[[Rule, Context], Struct]


class Objection(Struct, frozen=True):
    """A rule objects to a row: what it ends and begins with (rows of the columns), and the numbers that led to it."""

    rule: str
    channel: int
    row: int
    since: int
    facts: dict[str, float]


class Failure(Struct, frozen=True):
    """A rule raised while it looked at a channel."""

    rule: str
    channel: int
    fault: str


class Judgement(Struct, frozen=True):
    """Everything that was said, by rule in the order of the registry and by row."""

    objections: list[Objection]
    failures: list[Failure]


def defaults(rule: Rule, context: Context) -> Struct:
    """The parameters that hold for everybody of this class and medium."""
    return rule.defaults(context.customer, context.medium)


def judge(
    columns: Columns,
    context: Context,
    choose: Choose = defaults,
    rules: Mapping[str, Rule] = RULES,
) -> Judgement:
    """Let every rule that has a meaning for the medium look at all channels."""
    said = Judgement([], [])
    applied = [rule for rule in rules.values() if context.medium in rule.media]
    parameters = {rule.name: choose(rule, context) for rule in applied}
    for first, last in pieces(columns, context):
        view = View(columns.part(first, last), _piece(context, columns, first, last))
        for rule in applied:
            _look(view, rule, parameters[rule.name], (first, int(columns.starts[first])), said)
    return said


def _piece(context: Context, columns: Columns, first: int, last: int) -> Context:
    return context if last - first == columns.channels else context.pick(range(first, last))


def _look(view: View, rule: Rule, parameters: Struct, shift: tuple[int, int], said: Judgement) -> None:
    try:
        found = rule.look(view, parameters)
    except Exception as error:  # noqa: BLE001  # a rule may come from anybody; what it is, its finding says
        _one_by_one(view, rule, parameters, shift, said, type(error).__name__)
        return
    if len(found.rows) and view.context.exports and not rule.fed:
        found = found.without(np.isin(view.of(found.rows), view.context.exports))
    if len(found.rows):
        said.objections.extend(objections(view, rule, found, shift))


def _one_by_one(
    view: View, rule: Rule, parameters: Struct, shift: tuple[int, int], said: Judgement, fault: str
) -> None:
    """A rule raised over many channels: find those that it fails at, and hear it about the others."""
    if len(view.sizes) == 1:
        said.failures.append(Failure(rule.name, shift[0], fault))
        return
    for k in range(len(view.sizes)):
        if view.sizes[k]:
            alone = view.only([k])
            _look(alone, rule, parameters, (shift[0] + k, shift[1] + int(view.columns.starts[k])), said)


def objections(view: View, rule: Rule, found: Any, shift: tuple[int, int]) -> Iterator[Objection]:
    """What a rule found, as rows of the whole columns; `shift` is (first channel, first row) of the view in them."""
    channels = (view.of(found.rows) + shift[0]).tolist()
    begins = found.rows - 1 if found.since is None else found.since
    rows, since = (
        (part if view.row is None else view.row[part]) + shift[1]
        for part in (found.rows, np.maximum(begins, 0))
    )
    facts = {name: values.tolist() for name, values in found.facts.items()}
    for k, (channel, row, begin) in enumerate(zip(channels, rows.tolist(), since.tolist(), strict=True)):
        yield Objection(rule.name, channel, row, begin, {name: values[k] for name, values in facts.items()})


def pieces(columns: Columns, context: Context) -> Iterator[tuple[int, int]]:
    """Runs of whole channels of about AT_ONCE rows that split no group of channels which belong together."""
    last = columns.channels
    joined = np.zeros(last + 1, np.bool_)
    for group in context.together:
        joined[min(group) + 1 : max(group) + 1] = True
    first = 0
    while first < last:
        until = int(np.searchsorted(columns.starts, columns.starts[first] + AT_ONCE, side="right")) - 1
        until = min(max(until, first + 1), last)
        while until < last and joined[until]:
            until += 1
        yield first, until
        first = until
