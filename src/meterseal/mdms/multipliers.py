"""Station MDMS, multipliers: by what the register of a usage point's meter is to be multiplied to be what was used there.

It multiplies nothing and stores nothing (`facts` does). Behind current and voltage transformers a register counts what
their ratio leaves of the use, and one that counts pulses counts as many units as a pulse stands for; registers stay as the
meter shows and signs them, whoever counts with them multiplies.

A multiplier is about the meter that is in place when it begins to hold: it ends where the next one is put in place, and
where that one's is not said nobody knows by what its registers are to be multiplied. Use from instant a to instant b is
multiplied by what holds in a <= t < b.

It is of every channel of an electricity meter, because all that it counts, either way, passed the same transformers; of
other meters it is of the main channel alone: the volume beside a heat meter's energy has a measuring part of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import sqlalchemy as sa

from meterseal.control.tables import point_facts as table
from meterseal.mdms.spans import Span, at
from meterseal.mdms.stated import spans_of
from meterseal.mdms.store.rows import EVER
from meterseal.model import MAIN, Medium

KIND = "multiplier"
FINEST = -6
"""Decimals of a multiplier."""
MOST_DIGITS = 7
"""Digits of a multiplier, so that no register of eight digits becomes a number that cannot be counted with."""
LARGEST = Decimal(1_000_000)
"""Current and voltage transformers of the highest voltage together."""
ONE = Decimal(1)
_NUMBER = r"[0-9]{1,7}(?:\.[0-9]{1,6})?"
_SAID = re.compile(rf"({_NUMBER})(?:/({_NUMBER}))?", re.ASCII)


class Multiplied(NamedTuple):
    """What use in since <= t < until is multiplied by."""

    since: int
    until: int
    factor: Decimal


class Unsaid(NamedTuple):
    """since <= t < until: a meter counts where one before it was multiplied, and its own multiplier is not said."""

    since: int
    until: int


class Stated(NamedTuple):
    """What is stated of one usage point: the multipliers that are not 1, rising, and when nobody knows one."""

    factors: tuple[Multiplied, ...]
    unsaid: tuple[Unsaid, ...] = ()


NOTHING = Stated(())


def is_multiplied(medium: Medium, channel: int) -> bool:
    """Whether what is stated of a usage point's meter is of this channel."""
    return channel == MAIN or medium == "electricity"


def canonical(said: str) -> str:
    """`40`, `0.01` or the ratio of a transformer such as `2000/5` as a decimal number, empty for what is no multiplier."""
    match = _SAID.fullmatch(said)
    if match is None or not Decimal(match[1]) or not Decimal(match[2] or 1):
        return ""
    ratio = Fraction(match[1]) / Fraction(match[2] or 1)
    scaled = ratio * 10**-FINEST
    if scaled.denominator != 1:
        return ""
    number = Decimal(scaled.numerator).scaleb(FINEST).normalize()
    return f"{number:f}" if number <= LARGEST and len(number.as_tuple().digits) <= MOST_DIGITS else ""


def ended(said: Span, begins: Sequence[int]) -> Span:
    """What was said of a multiplier, up to where the next meter was put in place; what takes one back does so for good."""
    return said if not said.value else Span(said.since, _until(said, begins), said.value)


def _until(said: Span, begins: Sequence[int]) -> int:
    return min((said.until, *(begin for begin in begins if begin > said.since)))


def factors(spans: Sequence[Span]) -> tuple[Multiplied, ...]:
    """Spans of multipliers as numbers; none where it is 1."""
    found = (Multiplied(span.since, span.until, Decimal(span.value)) for span in spans)
    return tuple(one for one in found if one.factor != ONE)


def stated(
    connection: sa.Connection, begins: Mapping[str, Sequence[int]], usage_point: str | None = None
) -> dict[str, Stated]:
    """What is stated of all usage points, or of one, that ever had another multiplier than 1; `begins` are the instants,
    by usage point, at which another meter was put in place.
    """
    spans = spans_of(connection, KIND, usage_point, lambda point, said: ended(said, begins.get(point, ())))
    found = {point: Stated(factors(of), unsaid(of, begins.get(point, ()))) for point, of in spans.items()}
    return {point: of for point, of in found.items() if of.factors}


def unsaid(spans: Sequence[Span], begins: Sequence[int]) -> tuple[Unsaid, ...]:
    """When it is not known by what registers are multiplied, by what is said and when meters were put in place.

    1 is said as well as any other: only then the meter that follows one behind transformers has none.
    """
    found: list[Unsaid] = []
    for place, begin in enumerate(begins):
        open_before = bool(found) and found[-1].until == begin
        if at(spans, begin) or not (open_before or at(spans, begin - 1) not in ("", "1")):
            continue
        ends = [span.since for span in spans if span.since > begin]
        found.append(Unsaid(begin, min([*ends, *begins[place + 1 : place + 2], EVER])))
    return tuple(found)


def any_stated(connection: sa.Connection) -> bool:
    """Whether a multiplier was ever stated here."""
    return connection.execute(sa.select(table.c.id).where(table.c.kind == KIND).limit(1)).first() is not None


def factor_at(multiplied: Sequence[Multiplied], instant: int) -> Decimal:
    """What use right after an instant is multiplied by."""
    return next((one.factor for one in multiplied if one.since <= instant < one.until), ONE)


def pieces(multiplied: Sequence[Multiplied], since: int, until: int) -> list[Multiplied]:
    """since <= t < until cut where the multiplier changes, those that are 1 among them."""
    edges = {edge for one in multiplied for edge in (one.since, one.until) if since < edge < until}
    found: list[Multiplied] = []
    for begin, end in pairwise(sorted({since, until} | edges)):
        factor = factor_at(multiplied, begin)
        if found and found[-1].factor == factor:
            found[-1] = found[-1]._replace(until=end)
        else:
            found.append(Multiplied(begin, end, factor))
    return found
