"""Station VEE, what a rule is: a pure function from a view to the rows it objects to, with the numbers that led to it.

No rule changes a value, reads a clock, remembers anything or looks at what another rule said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from meterseal.mdms.columns import Columns
from meterseal.mdms.finding import Severity
from meterseal.mdms.vee.context import Context
from meterseal.mdms.vee.view import NONE, Ints, Mask, View, mask_of
from meterseal.model import MEDIA, Medium

Facts = Mapping[str, NDArray[Any]]


class Found(NamedTuple):
    """Rows of the view, rising and without repeats, and what led to each: arrays of the same length.

    `since` is the row at which what is objected to begins (by default the row before).
    """

    rows: Ints = NONE
    facts: Facts = MappingProxyType({})
    since: Ints | None = None

    def without(self, gone: Mask) -> Found:
        """The same without some rows."""
        kept = ~gone
        facts = {name: values[kept] for name, values in self.facts.items()}
        return Found(self.rows[kept], facts, None if self.since is None else self.since[kept])


class Reach(NamedTuple):
    """What a rule must see to judge rows j..k of a channel as in the whole: every row from the last one with
    end_at <= end_at[j - 1] - before, and `after` rows beyond k.
    """

    before: int
    after: int = 0


Look = Callable[[View, Any], Found]
Group = tuple[str, Medium]


class Rule(Struct, frozen=True):
    """One row of the registry. `version` rises with every change of what the function answers.

    `defaults` answers the parameters for a class of customer and a medium. `media` are those it has a meaning for.
    A `joint` rule looks at channels that belong together, whatever their class and interval. One that is `fed` has a
    meaning for what was fed in as well: the sun is no habit, and a night without it no fault.
    """

    name: str
    version: int
    severity: Severity
    look: Look
    defaults: Callable[[str, Medium], Struct]
    reach: Callable[[Any], Reach]
    media: tuple[Medium, ...] = MEDIA
    joint: bool = False
    fed: bool = False

    def mask(self, columns: Columns, context: Context, parameters: Struct) -> Mask:
        """The rows of the columns that the rule objects to."""
        view = View(columns, context)
        return mask_of(view, self.look(view, parameters).rows)


def alike(parameters: Struct) -> Callable[[str, Medium], Struct]:
    """The same for everybody."""
    return lambda customer, medium: parameters


def by_medium(**table: Struct) -> Callable[[str, Medium], Struct]:
    """By medium, the same for every class."""
    return lambda customer, medium: table[medium]


def table(rows: Mapping[Group, Struct]) -> Callable[[str, Medium], Struct]:
    """By class and medium."""
    return lambda customer, medium: rows[customer, medium]


def nth(keys: Ints, count: int) -> NDArray[np.bool_]:
    """Of rising keys of days: which one is the `count`-th of days in a row, and no later one."""
    if not len(keys):
        return np.zeros(0, np.bool_)
    place = np.arange(len(keys))
    breaks = np.ones(len(keys), np.bool_)
    breaks[1:] = np.diff(keys) != 1
    return np.asarray(place - np.maximum.accumulate(np.where(breaks, place, 0)) == count - 1, np.bool_)
