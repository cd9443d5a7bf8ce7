"""The arithmetic of a bill, redone by whoever was handed it: from its registers through quantities and lines to its total.

Pure. It asks for no signature (`bundle` does) and does not know the tariff: a price is taken as it is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal, localcontext

from msgspec import Struct

from meterseal.utility.bills import Bill, Boundary, Determinant
from meterseal.utility.calendar import local_day
from meterseal.utility.proof import ORDER
from meterseal.utility.readings import ROLL_OVER

_MOST = Decimal(10) ** 24
_FINEST = -30
EXPONENTS = range(-12, 13)
"""What a register may be scaled by."""
_DIGITS = 150
"""Enough for everything within these bounds to be exact."""
_INSTANTS = range(1 << 45)
"""Up to the year 3084."""


def sound(bill: Bill) -> bool:
    """Whether every number is one that can be counted with; a bill that was handed in may hold any."""
    return (
        _counts(bill)
        and all(edge.exponent in EXPONENTS for edge in edges(bill))
        and bill.since in _INSTANTS
        and bill.until in _INSTANTS
    )


def edges(bill: Bill) -> Iterator[Boundary]:
    """Every register on a bill, those beside an exchange as well."""
    for one in bill.determinants:
        yield one.readings.first
        yield one.readings.last
    for change in bill.exchanges:
        for edge in (change.before, change.after):
            if edge is not None:
                yield edge


def faults(bill: Bill) -> Iterator[str]:
    """What does not add up, in sentences. `sound` must hold."""
    with localcontext() as context:
        context.prec = _DIGITS
        yield from list(_faults(bill))


def _faults(bill: Bill) -> Iterator[str]:
    for number, line in enumerate(bill.lines):
        if line.determinant is not None and not 0 <= line.determinant < len(bill.determinants):
            yield f"Line {number} rests on no quantity of the bill."
            return
    yield from _lines(bill)
    yield from _quantities(bill)
    yield from _whole(bill)


def _lines(bill: Bill) -> Iterator[str]:
    parts: dict[str, int] = {}
    for number, line in enumerate(bill.lines):
        charge = line.charge
        parts[line.assurance] = parts.get(line.assurance, 0) + charge.amount_fen
        exact = charge.quantity * charge.price * 100
        if int(exact.quantize(Decimal(1), ROUND_HALF_UP)) != charge.amount_fen:
            yield f"Line {number} is not quantity times price."
        if line.determinant is None:
            if (charge.kind, line.assurance) != ("fixed", "tariff"):
                yield f"Line {number} is no fixed charge and rests on no quantity."
            continue
        one = bill.determinants[line.determinant]
        if line.assurance != one.assurance:
            yield f"Line {number} calls itself {line.assurance}, and its quantity is another."
        if one.kind == "year" or (charge.since, charge.until, charge.band) != (
            one.since,
            one.until,
            one.band,
        ):
            yield f"Line {number} prices another time or band than that of its quantity."
        if charge.quantity < 0:
            yield f"Line {number} has a quantity below nothing."
    if sum(parts.values()) != bill.total_fen:
        yield "The total is not the sum of the lines."
    if {one.assurance: one.amount_fen for one in bill.parts} != parts or len(bill.parts) != len(parts):
        yield "The parts by who stands behind them are not those of the lines."


def _quantities(bill: Bill) -> Iterator[str]:
    hours: dict[tuple[Boundary, Boundary], Decimal] = {}
    for number, one in enumerate(bill.determinants):
        first, last = one.readings.first, one.readings.last
        if (one.since, one.until) != (first.end_at, last.end_at):
            yield f"Quantity {number} is of another time than its registers."
        if one.carried and (one.kind != "year" or ORDER.index(one.assurance) < ORDER.index("taken-over")):
            yield f"Quantity {number} has a part that was taken over, and does not say so."
        if one.amount - (one.carried or 0) < 0:
            yield f"Quantity {number} is below nothing."
        if one.kind == "hours":
            hours[first, last] = hours.get((first, last), Decimal(0)) + one.amount
        elif one.amount - (one.carried or 0) != _between(one):
            yield f"Quantity {number} is not the difference of its registers."
        yield from _meters(bill, number, one)
        priced = [line.charge.quantity for line in bill.lines if line.determinant == number]
        if priced and sum(priced, Decimal(0)) != one.amount:
            yield f"The lines of quantity {number} do not add up to it."
    for one in bill.determinants:
        span = one.readings.first, one.readings.last
        if one.kind == "hours" and hours.pop(span, _between(one)) != _between(one):
            yield "The hours of all bands are not the difference of the registers."


def _meters(bill: Bill, number: int, one: Determinant) -> Iterator[str]:
    """Both registers are of one meter, or of those that the exchanges on the bill name."""
    first, last = one.readings.first, one.readings.last
    inside = [change for change in bill.exchanges if first.end_at < change.at <= last.end_at]
    if one.kind != "year" and one.exchanged != tuple(
        (change.last or Decimal(0), change.first or Decimal(0)) for change in inside
    ):
        yield f"Quantity {number} counts other exchanges of the meter than the bill names."
    if one.exchanged and ORDER.index(one.assurance) < ORDER.index("stated"):
        yield f"Quantity {number} is called {one.assurance}, and the meter was exchanged meanwhile."
    begins, ends = (None if edge.evidence is None else edge.evidence.device_id for edge in (first, last))
    if inside:
        removed, installed = inside[0].removed, inside[-1].installed
        right = begins in (None, removed) or removed is None
        right = right and (ends in (None, installed) or installed is None)
    else:
        right = bool(one.exchanged) or begins is None or ends is None or begins == ends
    if not right:
        yield f"The registers of quantity {number} are of different meters, and no such exchange is on the bill."


def _whole(bill: Bill) -> Iterator[str]:
    """Every hour of the bill's time is counted, and none twice."""
    spans = {(one.since, one.until) for one in bill.determinants if one.kind != "year"}
    at = bill.since
    for since, until in sorted(spans):
        if since != at or until <= since:
            break
        at = until
    single = [(one.since, one.until, one.band) for one in bill.determinants if one.kind != "year"]
    mixed = {(one.since, one.until, one.kind == "hours") for one in bill.determinants if one.kind != "year"}
    if at != bill.until or len(set(single)) != len(single) or len(mixed) != len(spans):
        yield "The quantities are not those of the bill's time, each once."
    if bill.used != sum((one.amount for one in bill.determinants if one.kind != "year"), Decimal(0)):
        yield "The use is not the sum of the quantities."
    if (bill.first_day, bill.last_day) != (
        str(local_day(bill.since)),
        str(local_day(max(bill.until - 1, 0))),
    ):
        yield "The first and last day are not those of the bill's time."


def _between(one: Determinant) -> Decimal:
    """The use between two registers, over changes of the meter in between; a fall is a roll-over."""
    first, last = one.readings.first, one.readings.last
    used = Decimal(last.register).scaleb(last.exponent) - Decimal(first.register).scaleb(first.exponent)
    used += sum((went - came for went, came in one.exchanged), Decimal(0))
    return used if used >= 0 else used + Decimal(ROLL_OVER).scaleb(last.exponent)


def _counts(value: object) -> bool:
    if isinstance(value, Decimal):
        exponent = value.as_tuple().exponent
        return isinstance(exponent, int) and exponent >= _FINEST and -_MOST < value < _MOST
    if isinstance(value, int):
        return -(1 << 63) <= value < 1 << 63
    if isinstance(value, Struct):
        return all(_counts(getattr(value, name)) for name in value.__struct_fields__)
    return not isinstance(value, tuple) or all(map(_counts, value))
