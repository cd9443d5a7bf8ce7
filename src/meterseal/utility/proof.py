"""Evidence on a bill: do billed registers equal what the meter signed, and who stands behind each quantity.

It checks no signature (the store of measurements did, when the evidence came in) and prices nothing. What
contradicts the evidence raises DataError with a `bill.*` code, and the bill is held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Literal, get_args

from meterseal.errors import DataError
from meterseal.model import Quality
from meterseal.utility.bills import Boundary, Determinant, EvidenceView, MultipliedPart, ReadingsUsed
from meterseal.utility.calendar import days, local
from meterseal.utility.determinants import Measured
from meterseal.utility.ports import EvidenceFacts
from meterseal.utility.readings import Readings, Swap
from meterseal.utility.views import Assurance

ORDER: tuple[Assurance, ...] = get_args(Assurance)
"""Best first."""

EvidenceAt = Callable[[int], EvidenceFacts | None]
"""Evidence of one usage point's channel for one instant."""


def worst(*assurances: Assurance) -> Assurance:
    """Return the weakest of several assurances."""
    return max(assurances, key=ORDER.index)


def open_use(
    measured: Measured,
    readings: Readings,
    evidence_at: EvidenceAt,
    kind: Literal["year", "export"] | None = None,
) -> Determinant:
    """Open a quantity to its readings and the evidence at both its boundaries; `kind`: it is another than use of the time.

    Raises DataError `bill.evidence-bad`, `bill.evidence-differs`, `bill.meter-changed`.
    """
    first = boundary(readings, measured.first_at, evidence_at)
    last = boundary(readings, measured.last_at, evidence_at)
    swaps = [swap for swap in readings.swaps if first.end_at < swap.at <= last.end_at]
    _check_meters(first, last, swaps)
    assurance = worst(first.assurance, last.assurance)
    if measured.kind == "hours":
        assurance = _hourly(measured, assurance, evidence_at)
    if swaps:
        assurance = worst(assurance, "stated")
    multiplied = tuple(_parts(measured, readings, evidence_at))
    assurance = worst(assurance, *(part.edge.assurance for part in multiplied if part.edge is not None))
    return Determinant(
        kind=kind or measured.kind,
        since=measured.use.since,
        until=measured.use.until,
        amount=measured.use.amount,
        assurance=assurance,
        readings=ReadingsUsed(
            count=measured.measured + measured.estimated + measured.edited,
            measured=measured.measured,
            estimated=measured.estimated,
            edited=measured.edited,
            vouched=measured.vouched,
            first=first,
            last=last,
        ),
        band=measured.use.band,
        exchanged=tuple((swap.last or Decimal(0), swap.first or Decimal(0)) for swap in swaps),
        multiplied=multiplied,
    )


def _parts(measured: Measured, readings: Readings, evidence_at: EvidenceAt) -> Iterator[MultipliedPart]:
    """The parts of a quantity by multiplier, each with the register that it ends with, where it is one that was read."""
    exchanged = {swap.at for swap in readings.swaps}
    for part in measured.parts:
        inside = part.until < measured.last_at and part.until not in exchanged
        edge = boundary(readings, part.until, evidence_at) if inside else None
        yield MultipliedPart(*part, edge=edge)


def _check_meters(first: Boundary, last: Boundary, swaps: Sequence[Swap]) -> None:
    """The registers of a quantity are of one meter, or of those that a written change of meters names."""
    begins, ends = first.evidence, last.evidence
    if swaps:
        removed, installed = swaps[0].removed, swaps[-1].installed
        right = (begins is None or removed is None or begins.device_id == removed.hex()) and (
            ends is None or installed is None or ends.device_id == installed.hex()
        )
    else:
        right = begins is None or ends is None or begins.device_id == ends.device_id
    if not right:
        raise DataError(
            "bill.meter-changed",
            f"Another meter signed at {_when(last.end_at)} than at {_when(first.end_at)}, and no such exchange is written "
            "down, so their registers do not belong together. Write it down: meterseal device exchange.",
        )


def boundary(readings: Readings, at: int, evidence_at: EvidenceAt) -> Boundary:
    """Return one boundary register (it must exist) with its evidence; same errors as `open_use`."""
    row = readings.find(at)
    assert row is not None
    register = int(readings.register[row])
    facts = evidence_at(at)
    if facts is not None:
        _compare(readings, register, facts)
    quality = Quality(int(readings.quality[row]))
    vouched = bool(readings.vouched[row])
    return Boundary(
        end_at=at,
        register=register,
        exponent=readings.exponent,
        quality=quality,
        origin="vouched" if vouched else "sealed",
        assurance=_assurance(quality, vouched, facts),
        evidence=None if facts is None else _view(facts),
    )


def _compare(readings: Readings, register: int, facts: EvidenceFacts) -> None:
    if facts.checked == "bad":
        raise DataError(
            "bill.evidence-bad",
            f"The evidence for {_when(facts.end_at)} does not hold ({facts.reason or 'wrong signature'}); "
            "find out which meter sent it before billing.",
        )
    if Decimal(facts.register).scaleb(facts.exponent) != readings.value(register):
        raise DataError(
            "bill.evidence-differs",
            f"The stored register for {_when(facts.end_at)} is not the one the meter signed; look for an "
            "edit or an altered reading there.",
        )


def _assurance(quality: Quality, vouched: bool, facts: EvidenceFacts | None) -> Assurance:
    if facts is not None:
        return "meter-signed" if facts.suite == 1 else "platform-attested"
    if quality is not Quality.MEASURED:
        return "estimated"
    return "vouched" if vouched else "unsigned"


def _hourly(measured: Measured, ends: Assurance, evidence_at: EvidenceAt) -> Assurance:
    """The hours between two boundaries are as good as the chain of daily heads over them."""
    if measured.estimated or measured.edited:
        return worst(ends, "estimated")
    if ends not in ("meter-signed", "platform-attested"):
        return ends
    for day in days(measured.first_at, measured.last_at):
        facts = evidence_at(day.until)
        if facts is not None and facts.checked == "chain-broken":
            raise DataError(
                "bill.evidence-bad",
                f"The hourly registers of {local(day.since).date()} are not the ones the meter signed "
                f"({facts.reason}); look for an edit or an altered reading there.",
            )
        if facts is not None and facts.checked not in ("signed", "mac"):
            return "unsigned"
    return "meter-chained" if ends == "meter-signed" else ends


def _view(facts: EvidenceFacts) -> EvidenceView:
    return EvidenceView(
        device_id=facts.device_id.hex(),
        end_at=facts.end_at,
        register=facts.register,
        exponent=facts.exponent,
        sequence=facts.sequence,
        suite=facts.suite,
        checked=facts.checked,
        reason=facts.reason,
        statement=facts.statement.hex(),
        signature=facts.signature.hex(),
    )


def _when(at: int) -> str:
    return local(at).strftime("%Y-%m-%d %H:%M")
