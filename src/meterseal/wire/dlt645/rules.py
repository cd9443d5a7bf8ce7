"""Station wire, DL/T 645 rules: one row of a table stands for all the identifiers that its pattern covers.

It holds no row itself (`table`, `events`, `table1997`) and reads no bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import product
from typing import Final

from msgspec import Struct

from meterseal.wire.dlt645.items import Access, Item, Mark, Quantity, item


class Term(Struct, frozen=True):
    """What one value of an axis adds to a name, in both languages; some carry the unit or the sign bit as well."""

    english: str
    chinese: str
    unit: str = ""
    signed: bool = False


class Axis(Struct, frozen=True):
    """The part of an identifier that stands for many: its terms by value, in order, over `digits` hex digits.

    Where `block` is set, all F asks for every term at once.
    """

    terms: Mapping[int, Term]
    digits: int = 2
    block: bool = False


class Field(Struct, frozen=True):
    """A field of a row; its names are templates over the axes, a unit may be `{axis}`, the unit of that axis' term.

    A format that starts with `±` has the sign bit where the axis' term has it.
    """

    name: str
    chinese: str
    form: str
    unit: str | None = None


class Rule(Struct, frozen=True):
    """A row: a pattern of hex digits and `{axis}` or `{n=01-0A}`, and the fields behind every such identifier."""

    at: str
    fields: tuple[Field, ...]
    access: Access = "r"
    mark: Mark = "B"
    block: bool = False
    title: str = ""


def one(
    at: str,
    name: str,
    chinese: str,
    form: str,
    unit: str | None = None,
    access: Access = "r",
    mark: Mark = "B",
) -> Rule:
    """A row with one field."""
    return Rule(at, (Field(name, chinese, form, unit),), access, mark)


_TOKEN: Final = re.compile(r"\{(\w+)(?:=([0-9A-F]+)-([0-9A-F]+))?\}|([0-9A-F]+)| ")


class _Place(Struct, frozen=True):
    """One piece of a pattern: fixed digits, or an axis under its name."""

    digits: int
    fixed: int = 0
    key: str = ""
    axis: Axis | None = None


class _Compiled(Struct, frozen=True):
    rule: Rule
    places: tuple[_Place, ...]


class Table:
    """The rows of one edition, looked up by identifier. ValueError for a pattern that does not fill `digits`."""

    def __init__(self, rules: tuple[Rule, ...], axes: Mapping[str, Axis], digits: int) -> None:
        self.rules = rules
        self._axes = axes
        self._digits = digits
        self._compiled: dict[int, list[_Compiled]] = {}
        for rule in rules:
            compiled = _Compiled(rule, self._places(rule.at))
            for value in _first(compiled.places):
                self._compiled.setdefault(value, []).append(compiled)
        self.lookup = lru_cache(maxsize=512)(self._lookup)

    def _lookup(self, di: int) -> Quantity | None:
        """The fields of an identifier (high byte first), or None when no row covers it."""
        for compiled in self._compiled.get(di >> 4 * (self._digits - 1), ()):
            found = _match(compiled, di, self._digits)
            if found is not None:
                return found
        return None

    def matching(self, di: int) -> list[Rule]:
        """Every row that covers an identifier; more than one is a mistake in the table."""
        candidates = self._compiled.get(di >> 4 * (self._digits - 1), ())
        return [one.rule for one in candidates if _match(one, di, self._digits) is not None]

    def identifiers(self, rule: Rule) -> Iterator[int]:
        """All identifiers of a row, without the blocks."""
        places = self._places(rule.at)
        for values in product(*((place.fixed,) if not place.axis else place.axis.terms for place in places)):
            di = 0
            for place, value in zip(places, values, strict=True):
                di = di << 4 * place.digits | value
            yield di

    def _places(self, pattern: str) -> tuple[_Place, ...]:
        places: list[_Place] = []
        for token in _TOKEN.finditer(pattern):
            key, low, high, fixed = token.groups()
            if fixed is not None:
                places.append(_Place(len(fixed), int(fixed, 16)))
            elif low is not None:
                numbers = range(int(low, 16), int(high, 16) + 1)
                axis = Axis({n: Term(str(n), str(n)) for n in numbers}, len(low))
                places.append(_Place(axis.digits, key=key, axis=axis))
            elif key is not None:
                places.append(_Place(self._axes[key].digits, key=key, axis=self._axes[key]))
        if _TOKEN.sub("", pattern) or sum(place.digits for place in places) != self._digits:
            raise ValueError(f"{pattern} is no pattern of {self._digits} digits")
        return tuple(places)


def _first(places: tuple[_Place, ...]) -> set[int]:
    """The first hex digits that a pattern may have."""
    place = places[0]
    values = (place.fixed,) if place.axis is None else tuple(place.axis.terms)
    return {value >> 4 * (place.digits - 1) for value in values}


def _match(compiled: _Compiled, di: int, digits: int) -> Quantity | None:
    """The quantity of an identifier under a row; at most one axis may ask for a block."""
    shift = 4 * digits
    terms: dict[str, Term] = {}
    over: _Place | None = None
    for place in compiled.places:
        shift -= 4 * place.digits
        full = (1 << 4 * place.digits) - 1
        value = di >> shift & full
        if place.axis is None:
            if value != place.fixed:
                return None
        elif value in place.axis.terms:
            terms[place.key] = place.axis.terms[value]
        elif value == full and place.axis.block and over is None:
            over = place
        else:
            return None
    rule = compiled.rule
    if over is None or over.axis is None:
        items = _items(rule, terms)
    else:
        key = over.key
        items = tuple(
            made for term in over.axis.terms.values() for made in _items(rule, {**terms, key: term})
        )
        terms[key] = Term("", "")
    title = _filled(rule.title, terms, chinese=True) if rule.title else items[0].chinese
    return Quantity(items, rule.block or over is not None, title, rule.access, rule.mark)


def _items(rule: Rule, terms: Mapping[str, Term]) -> tuple[Item, ...]:
    made = []
    for field in rule.fields:
        unit = field.unit
        if unit is not None and unit.startswith("{"):
            unit = terms[unit[1:-1]].unit
        signed = field.form.startswith("±") and any(term.signed for term in terms.values())
        name, said = _filled(field.name, terms), _filled(field.chinese, terms, chinese=True)
        made.append(item(name, said, field.form.removeprefix("±"), unit, signed=signed))
    return tuple(made)


def _filled(template: str, terms: Mapping[str, Term], *, chinese: bool = False) -> str:
    return template.format_map(
        {key: term.chinese if chinese else term.english for key, term in terms.items()}
    )
