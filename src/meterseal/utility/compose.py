"""Makes one bill from terms, readings and evidence: determinants, proof and rating put together.

Pure: it is given readings and returns a bill or raises why there can be none; storing, versions and the
choice of periods are `billing`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import NamedTuple

import msgspec
import numpy as np

from meterseal.errors import DataError
from meterseal.mdms.multipliers import NOTHING, Stated
from meterseal.mdms.plants import Fed
from meterseal.model import Medium, Quality
from meterseal.utility import feedin
from meterseal.utility.bills import AssuredPart, Bill, BillLine, Change, Determinant, Estimated, MeterExchange
from meterseal.utility.calendar import Period, is_billing_start, local, local_day, year_start
from meterseal.utility.determinants import Measured, by_register, segment_uses
from meterseal.utility.exchange import exchanges
from meterseal.utility.feedin import Credited
from meterseal.utility.proof import EvidenceAt, boundary, open_use, worst
from meterseal.utility.rating import Rated, RatingInput, rate
from meterseal.utility.readings import Readings, Swap, with_exponent, with_swaps
from meterseal.utility.tariff import Segment, TariffBook, Tiered
from meterseal.utility.views import Assurance, BandName, ChargeLine

CURRENCY = "CNY"

ReadingsBetween = Callable[[int, int], Readings]
"""Usable readings with since <= end_at <= until."""


class Opening(NamedTuple):
    """Use of the calendar year that a previous system counted before an agreement began at `since`."""

    since: int
    amount: Decimal


class Terms(NamedTuple):
    """What an agreement says, and what its usage point carries through the year.

    `openings` belong to all agreements of the usage point: tiers accumulate per usage point. `swaps` are all changes
    of its meter, with the registers of use, `fed_swaps` the same with those of what was fed in; `multiplied` is what is
    stated of its multipliers, `fed` when a plant is stated that feeds in.
    """

    agreement_id: str
    customer_id: str
    usage_point: str
    medium: Medium
    since: int
    until: int | None
    billing_day: int
    book: TariffBook
    openings: tuple[Opening, ...]
    swaps: tuple[Swap, ...] = ()
    multiplied: Stated = NOTHING
    fed: tuple[Fed, ...] = ()
    fed_swaps: tuple[Swap, ...] = ()


class Source(NamedTuple):
    """Where the readings of one channel and their evidence come from."""

    between: ReadingsBetween
    evidence_at: EvidenceAt


class YearBefore(NamedTuple):
    """The part of the calendar year before a period: counted from `since`, plus `carried`."""

    since: int
    carried: Decimal


def year_before(terms: Terms, at: int) -> YearBefore:
    """Return from where the year's use at an instant is counted and what a previous system adds."""
    begin = max(year_start(at), min(opening.since for opening in terms.openings))
    amounts = (o.amount for o in terms.openings if year_start(at) <= o.since <= at)
    return YearBefore(begin, sum(amounts, Decimal(0)))


def needs_year(segments: tuple[Segment, ...]) -> bool:
    """Say whether the use before the period decides a price in it."""
    year = year_start(segments[0].since)
    return any(isinstance(part.tariff, Tiered) and year_start(part.since) == year for part in segments)


def year_use(
    terms: Terms, at: int, readings: Readings, between: ReadingsBetween
) -> tuple[Measured, Readings]:
    """Return the use of the year before `at` (carried use not included) and the readings it was made of.

    Raises DataError `bill.boundary-missing`, `bill.negative-use` or `bill.multiplier-*`.
    """
    begin, joined = year_before(terms, at).since, readings
    if begin < at:
        for turn in reversed(readings.turns(begin, at)):
            there = between(turn, turn)
            joined = _join(there, joined, terms.swaps) if len(there.end_at) else joined
        joined = _join(between(begin, begin), joined, terms.swaps)
    return by_register(joined, begin, at), joined


def compose(terms: Terms, period: Period, used: Source, fed: Source, now: int) -> Bill:
    """Make version 1 of the bill of a period from what was used and, where a plant is stated, what was fed in.

    Raises DataError `bill.*`, `tariff.none`, `tariff.no-feed-in` or `rating.*` with a sentence that says why it must be
    held.
    """
    between, evidence_at = used
    segments = terms.book.segments(period.since, period.until)
    readings = between(period.since, period.until)
    whole = by_register(readings, period.since, period.until)
    measured = [use for segment in segments for use in segment_uses(readings, segment)]
    determinants = [open_use(use, readings, evidence_at) for use in measured]
    accumulated = Decimal(0)
    tiered = needs_year(segments)
    if tiered:
        before, joined = year_use(terms, period.since, readings, between)
        carried = year_before(terms, period.since).carried
        accumulated = before.use.amount + carried
        opened = open_use(before, joined, evidence_at)
        assurance = worst(opened.assurance, "taken-over") if carried else opened.assurance
        determinants.append(
            msgspec.structs.replace(
                opened, kind="year", amount=accumulated, carried=carried, assurance=assurance
            )
        )
    request = RatingInput(
        segments=segments,
        uses=tuple(one.use for one in measured),
        accumulated=accumulated,
        month_begins=is_billing_start(period.since, terms.billing_day),
    )
    rated = rate(request)
    lines = _lines(rated, determinants)
    credits_ = _credits(terms, segments, fed)
    for one in credits_:
        lines = (*lines, BillLine(one.line, one.determinant.assurance, len(determinants)))
        determinants.append(one.determinant)
    credit = sum(one.line.amount_fen for one in credits_)
    resting = [boundary(readings, at, evidence_at).assurance for at in period]
    if readings.swaps:
        resting.append("stated")
    return Bill(
        bill_id=bill_id(terms.agreement_id, period.since, 1),
        agreement_id=terms.agreement_id,
        usage_point=terms.usage_point,
        medium=terms.medium,
        unit=segments[0].tariff.unit,
        since=period.since,
        until=period.until,
        first_day=str(local_day(period.since)),
        last_day=str(local_day(period.until) - timedelta(days=1)),
        version=1,
        created_at=now,
        tariff_code=terms.book.code,
        tariff_versions=tuple(dict.fromkeys(segment.tariff.version for segment in segments)),
        currency=CURRENCY,
        total_fen=rated.total_fen + credit,
        used=whole.use.amount,
        use_assurance=worst(*resting),
        lines=lines,
        determinants=tuple(determinants),
        accumulated=rated.accumulated if any(isinstance(s.tariff, Tiered) for s in segments) else None,
        parts=_parts(lines),
        trail=(*rated.trail, *(one.trail for one in credits_)),
        exchanges=_exchanges(terms, readings, evidence_at),
        estimate=_estimated(period, readings, request, credit),
    )


def _credits(terms: Terms, segments: tuple[Segment, ...], fed: Source) -> list[Credited]:
    """What was fed in, by segment and time of which a plant is stated."""
    found = []
    for part in feedin.parts(segments, terms.fed):
        readings = fed.between(part.since, part.until)
        found.append(feedin.credited(readings, part, fed.evidence_at))
    return found


def _exchanges(terms: Terms, readings: Readings, evidence_at: EvidenceAt) -> tuple[MeterExchange, ...]:
    """The changes of meters, with the registers of what was fed in where those were read."""
    read = {swap.at: swap for swap in terms.fed_swaps}
    return tuple(
        msgspec.structs.replace(one, last_export=read[one.at].last, first_export=read[one.at].first)
        if one.at in read
        else one
        for one in exchanges(readings, evidence_at)
    )


def _estimated(period: Period, readings: Readings, request: RatingInput, credit: int) -> Estimated | None:
    """What a bill says of boundaries that are estimates: which, and how far use and total may be off; `credit` is what is
    beside the use, in fen.
    """
    rows = {at: readings.find(at) for at in period}
    at = tuple(
        at for at, row in rows.items() if row is not None and readings.quality[row] == Quality.ESTIMATED
    )
    # What is used after the first register and before the last is multiplied by what holds there.
    halves = [(readings.halves.get(one), readings.factor(one - (one == period.until))) for one in at]
    if not at or any(half is None for half, _ in halves):
        return Estimated(at) if at else None
    half = sum((one * factor for one, factor in halves if one is not None), Decimal(0))
    used = sum((one.amount for one in request.uses), Decimal(0))
    low, high = max(used - half, Decimal(0)), used + half
    if len(request.uses) != 1:
        return Estimated(at, low, high)
    fen = [
        rate(request._replace(uses=(request.uses[0]._replace(amount=amount),))).total_fen + credit
        for amount in (low, high)
    ]
    return Estimated(at, low, high, *fen)


def bill_id(agreement_id: str, since: int, version: int) -> str:
    """Return the id of a bill: agreement, first day, version."""
    return f"{agreement_id}.{local_day(since)}.v{version}"


def next_version(bill: Bill, before: Bill) -> Bill | None:
    """Return `bill` as the successor of `before`, naming what changed; None when nothing did."""
    plain = {
        "bill_id": "",
        "version": 0,
        "created_at": 0,
        "changes": (),
        "supersedes": None,
        "estimate": None,  # follows from the registers; a bill of before it was said is no other bill
    }
    if msgspec.structs.replace(bill, **plain) == msgspec.structs.replace(before, **plain):
        return None
    version = before.version + 1
    return msgspec.structs.replace(
        bill,
        bill_id=bill_id(bill.agreement_id, bill.since, version),
        version=version,
        changes=_changes(before, bill),
        supersedes=before.bill_id,
    )


def fen_of(bill: Bill, assurance: Assurance) -> int:
    """Return the part of a bill that rests on one assurance."""
    return sum(part.amount_fen for part in bill.parts if part.assurance == assurance)


def weakest(bill: Bill) -> Assurance:
    """Return the weakest assurance of the metered lines; of the whole use when no line is metered."""
    metered = [line.assurance for line in bill.lines if line.assurance != "tariff"]
    return worst(*metered) if metered else bill.use_assurance


def moved_fen(bill: Bill, assurance: Assurance | None = None) -> int:
    """Return what a bill charges and credits for metered quantities (of one assurance), both counted alike."""
    metered = (line for line in bill.lines if line.assurance != "tariff")
    return sum(abs(line.charge.amount_fen) for line in metered if assurance in (None, line.assurance))


def metered_fen(bill: Bill) -> int:
    """Return a bill's total without fixed charges."""
    return sum(part.amount_fen for part in bill.parts if part.assurance != "tariff")


def _join(first: Readings, then: Readings, swaps: tuple[Swap, ...]) -> Readings:
    """Readings of two times as one, with all changes of the meter between them."""
    finest = min(first.exponent, then.exponent) if len(first.end_at) else then.exponent
    if len(first.end_at) and len(then.end_at):
        apart = first.exponent != then.exponent
        if apart and not any(first.end_at[-1] < swap.at <= then.end_at[-1] for swap in swaps):
            raise DataError(
                "bill.meter-changed",
                "The register of the beginning of the year has other decimal places than those of the period, and no "
                "exchange of the meter is written down. Write it down (meterseal device exchange), or look at the "
                "meter's model.",
            )
    first, then = with_exponent(first, finest), with_exponent(then, finest)
    joined = Readings(
        then.medium,
        finest,
        np.concatenate((first.end_at, then.end_at)),
        np.concatenate((first.register, then.register)),
        np.concatenate((first.quality, then.quality)),
        np.concatenate((first.vouched, then.vouched)),
        halves={**first.halves, **then.halves},
        multiplied=then.multiplied,
        unsaid=then.unsaid,
    )
    return with_swaps(joined, swaps)


def _lines(rated: Rated, determinants: list[Determinant]) -> tuple[BillLine, ...]:
    index = {
        (one.since, one.until, one.band): number for number, one in enumerate(determinants) if one.imported
    }
    return tuple(_line(charge, determinants, index) for charge in rated.lines)


def _line(
    charge: ChargeLine, determinants: list[Determinant], index: dict[tuple[int, int, BandName | None], int]
) -> BillLine:
    if charge.kind == "fixed":
        return BillLine(charge, "tariff", None)
    number = index[charge.since, charge.until, charge.band]
    return BillLine(charge, determinants[number].assurance, number)


def _parts(lines: tuple[BillLine, ...]) -> tuple[AssuredPart, ...]:
    sums: dict[str, AssuredPart] = {}
    for line in lines:
        so_far = sums.get(line.assurance, AssuredPart(line.assurance, 0))
        sums[line.assurance] = AssuredPart(line.assurance, so_far.amount_fen + line.charge.amount_fen)
    return tuple(sums.values())


def _changes(before: Bill, after: Bill) -> tuple[Change, ...]:
    pairs = zip(_facts(before).items(), _facts(after).values(), strict=True)
    return tuple(Change(code, old, new) for (code, old), new in pairs if old != new)


def _facts(bill: Bill) -> dict[str, str]:
    """What a person would want named when it changes, in short values."""
    metered = [one for one in bill.determinants if one.imported]
    fed = [one for one in bill.determinants if one.kind == "export"]
    first, last = metered[0].readings.first, metered[-1].readings.last
    replaced = sum(one.readings.estimated + one.readings.edited for one in bill.determinants)
    inner = [one.readings.last for one in metered[:-1] if one.kind == "register"]
    boundaries = [edge for one in bill.determinants for edge in (one.readings.first, one.readings.last)]
    proofs = sorted({f"{e.end_at}:{e.evidence.checked if e.evidence else 'none'}" for e in boundaries})
    return {
        "period": f"{bill.first_day}..{bill.last_day}",
        "tariff": f"{bill.tariff_code} {','.join(map(str, bill.tariff_versions))}"
        f" @ {','.join(sorted({str(line.charge.price) for line in bill.lines}))}",
        "first-register": f"{first.register}e{first.exponent}",
        "last-register": f"{last.register}e{last.exponent}",
        "use": " ".join(f"{one.band or bill.unit} {one.amount}" for one in metered)
        + "".join(f" {edge.register}" for edge in inner),
        "accumulation": " ".join(str(one.amount) for one in bill.determinants if one.kind == "year"),
        "quality": f"{replaced}",
        "proof": f"{','.join(sorted({one.assurance for one in bill.determinants}))} {' '.join(proofs)}",
        "meters": " ".join(
            f"{one.removed}>{one.installed} {one.last} {one.first} {one.stated}"
            + (f" {one.last_export} {one.first_export}" if one.last_export or one.first_export else "")
            for one in bill.exchanges
        ),
        "multiplier": "; ".join(
            f"{factor} from {local(since):%Y-%m-%d %H:%M}"
            for since, factor in dict.fromkeys(
                (part.since, part.multiplier) for one in metered for part in one.multiplied
            )
        ),
        "feed-in": " ".join(f"{bill.unit} {one.amount} {one.readings.last.register}" for one in fed),
        "total": f"{bill.total_fen}",
    }
