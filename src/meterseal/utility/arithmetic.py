"""The arithmetic of a bill, redone by whoever was handed it: from its registers through quantities and lines to its total.

Pure. It asks for no signature (`bundle` does) and does not know the tariff: a price is taken as it is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal, localcontext

from msgspec import Struct

from meterseal.model import MAIN
from meterseal.utility.bills import Bill, Boundary, Determinant, MeterExchange
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
        and all(edge.exponent in EXPONENTS and edge.end_at in _INSTANTS for edge in edges(bill))
        and bill.since in _INSTANTS
        and bill.until in _INSTANTS
        and all(
            at in _INSTANTS
            for one in bill.determinants
            for part in one.multiplied
            for at in (part.since, part.until)
        )
    )


def edges(bill: Bill) -> Iterator[Boundary]:
    """Every register on a bill, those beside an exchange as well."""
    return (edge for _, edge in registers(bill))


def registers(bill: Bill) -> Iterator[tuple[int, Boundary]]:
    """The same, each with the channel that it is of."""
    for one in bill.determinants:
        yield from ((one.channel, edge) for edge in edges_of(one))
    for change in bill.exchanges:
        for edge in (change.before, change.after):
            if edge is not None:
                yield MAIN, edge


def edges_of(one: Determinant) -> Iterator[Boundary]:
    """The registers that a quantity rests on."""
    yield one.readings.first
    yield one.readings.last
    yield from (part.edge for part in one.multiplied if part.edge is not None)


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
        credit = charge.kind == "feed-in"
        if int(exact.quantize(Decimal(1), ROUND_HALF_UP)) * (-1 if credit else 1) != charge.amount_fen:
            yield f"Line {number} is not quantity times price."
        if charge.price < 0:
            yield f"Line {number} has a price below nothing."
        if line.determinant is None:
            if (charge.kind, line.assurance) != ("fixed", "tariff"):
                yield f"Line {number} is no fixed charge and rests on no quantity."
            continue
        one = bill.determinants[line.determinant]
        if credit != (one.kind == "export"):
            yield f"Line {number} is a credit for use, or a charge for what was fed in."
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
    yield from _multipliers(bill)
    for number, one in enumerate(bill.determinants):
        first, last = one.readings.first, one.readings.last
        if (one.since, one.until) != (first.end_at, last.end_at):
            yield f"Quantity {number} is of another time than its registers."
        if one.carried and (one.kind != "year" or ORDER.index(one.assurance) < ORDER.index("taken-over")):
            yield f"Quantity {number} has a part that was taken over, and does not say so."
        if one.amount - (one.carried or 0) < 0:
            yield f"Quantity {number} is below nothing."
        if one.kind == "hours":
            hours[first, last] = hours.get((first, last), Decimal(0)) + _counted(one)
        elif _counted(one) != _between(one):
            yield f"Quantity {number} is not the difference of its registers."
        yield from _meters(bill, number, one)
        priced = [line.charge.quantity for line in bill.lines if line.determinant == number]
        if priced and sum(priced, Decimal(0)) != one.amount:
            yield f"The lines of quantity {number} do not add up to it."
    for one in bill.determinants:
        span = one.readings.first, one.readings.last
        if one.kind == "hours" and hours.pop(span, _between(one)) != _between(one):
            yield "The hours of all bands are not the difference of the registers."


def _counted(one: Determinant) -> Decimal:
    """What the register counted of a quantity, before it was multiplied."""
    if one.multiplied:
        return sum((part.used for part in one.multiplied), Decimal(0))
    return one.amount - (one.carried or 0)


def _multipliers(bill: Bill) -> Iterator[str]:
    """Every use is multiplied by one number at a time, the same one in all quantities, and the products add up."""
    held: list[tuple[int, int, Decimal]] = []
    for number, one in enumerate(bill.determinants):
        parts = one.multiplied
        if not parts:
            held.append((one.since, one.until, Decimal(1)))
            continue
        held += [(part.since, part.until, part.multiplier) for part in parts]
        edges = [one.since, *(part.until for part in parts)]
        if (
            [part.since for part in parts] != edges[:-1]
            or edges != sorted(set(edges))
            or edges[-1] != one.until
        ):
            yield f"The multipliers of quantity {number} are not those of its time, each once."
        if any(part.amount != part.used * part.multiplier or part.multiplier <= 0 for part in parts):
            yield f"A part of quantity {number} is not what the register counted times the multiplier."
        if any(part.used < 0 for part in parts):
            yield f"A part of quantity {number} is below nothing."
        if one.amount - (one.carried or 0) != sum((part.amount for part in parts), Decimal(0)):
            yield f"The parts of quantity {number} by multiplier do not add up to it."
        yield from _registers(bill, number, one)
    held.sort()
    last: tuple[int, Decimal] | None = None
    for since, until, factor in held:
        if last is not None and since < last[0] and factor != last[1]:
            yield "One time is multiplied by two numbers."
            return
        if since < until and (last is None or until > last[0]):
            last = until, factor


def _registers(bill: Bill, number: int, one: Determinant) -> Iterator[str]:
    """Each part is the difference of the registers at its ends, of all bands together where it is one of hours."""
    spans = [other for other in bill.determinants if other.kind == one.kind and other.until == one.until]
    together = [other for other in spans if other.since == one.since]
    if one.kind == "hours" and together[0] is not one:
        return
    if any(len(other.multiplied) != len(one.multiplied) for other in together):
        yield f"Quantity {number} has other multipliers than its time."
        return
    changed = {change.at: _read(change, one) for change in bill.exchanges}
    edge: Boundary | None = one.readings.first
    came = Decimal(0)
    for place, part in enumerate(one.multiplied):
        final = place == len(one.multiplied) - 1
        exchange = None if final else changed.get(part.until)
        if not final and (part.edge is None) == (exchange is None):
            # The year before may hold exchanges of earlier bills; the sum of its parts is held against its registers.
            if one.kind != "year" or part.edge is not None:
                yield f"Quantity {number} does not show with which register a multiplier ended."
            return
        if part.edge is not None and part.edge.end_at != part.until:
            yield f"Quantity {number} shows a register of another time than a multiplier's end."
        until = one.readings.last if final else part.edge
        end = _value(until) if until is not None else (exchange[0] if exchange else Decimal(0))
        begin = _value(edge) if edge is not None else came
        inside = [c for at, c in changed.items() if part.since < at <= part.until and at != part.since]
        inside = [c for c in inside if c is not exchange]
        used = end - begin + sum((went - comes for went, comes in inside), Decimal(0))
        if used < 0:
            used += Decimal(ROLL_OVER).scaleb(one.readings.last.exponent)
        if used != sum((other.multiplied[place].used for other in together), Decimal(0)):
            yield f"Part {place} of quantity {number} is not the difference of its registers."
        edge, came = until, exchange[1] if exchange else Decimal(0)


def _read(change: MeterExchange, one: Determinant) -> tuple[Decimal, Decimal]:
    """What was read at a change of meters of the registers that a quantity is of."""
    last, first = change.last, change.first
    if one.kind == "export":
        last, first = change.last_export, change.first_export
    return last or Decimal(0), first or Decimal(0)


def _value(edge: Boundary) -> Decimal:
    return Decimal(edge.register).scaleb(edge.exponent)


def _meters(bill: Bill, number: int, one: Determinant) -> Iterator[str]:
    """Both registers are of one meter, or of those that the exchanges on the bill name."""
    first, last = one.readings.first, one.readings.last
    inside = [change for change in bill.exchanges if first.end_at < change.at <= last.end_at]
    if one.kind != "year" and one.exchanged != tuple(_read(change, one) for change in inside):
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
    yield from _fed(bill)
    spans = {(one.since, one.until) for one in bill.determinants if one.imported}
    at = bill.since
    for since, until in sorted(spans):
        if since != at or until <= since:
            break
        at = until
    single = [(one.since, one.until, one.band) for one in bill.determinants if one.imported]
    mixed = {(one.since, one.until, one.kind == "hours") for one in bill.determinants if one.imported}
    if at != bill.until or len(set(single)) != len(single) or len(mixed) != len(spans):
        yield "The quantities are not those of the bill's time, each once."
    if bill.used != sum((one.amount for one in bill.determinants if one.imported), Decimal(0)):
        yield "The use is not the sum of the quantities."
    if (bill.first_day, bill.last_day) != (
        str(local_day(bill.since)),
        str(local_day(max(bill.until - 1, 0))),
    ):
        yield "The first and last day are not those of the bill's time."


def _fed(bill: Bill) -> Iterator[str]:
    """What was fed in is of the bill's time, no hour of it is paid for twice, and each quantity once."""
    at = bill.since
    for since, until in sorted((one.since, one.until) for one in bill.determinants if one.kind == "export"):
        if not at <= since < until <= bill.until:
            yield "What was fed in is not of the bill's time, each hour once."
            return
        at = until
    for number, one in enumerate(bill.determinants):
        if one.kind == "export" and sum(line.determinant == number for line in bill.lines) != 1:
            yield f"What was fed in, quantity {number}, has not one line."


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
