"""Rating: exact quantities and a tariff in, priced lines and a total out; the result keeps the whole way.

Pure: no readings, no store, no clock, no float. A line is quantity x price, rounded half up to the fen; the
total is the sum of the rounded lines and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Context, Decimal, Inexact, InvalidOperation, Overflow, Rounded
from itertools import pairwise
from typing import NamedTuple

from meterseal.errors import DataError
from meterseal.utility.calendar import year_start
from meterseal.utility.tariff import AnyTariff, Flat, Segment, Tiered, TimeOfUse
from meterseal.utility.views import BandName, ChargeLine, LineKind, Text, TierPosition

_EXACT = Context(prec=60, traps=[Inexact, Rounded, InvalidOperation, Overflow])
"""Sums and products are exact or they raise; only `_fen` rounds."""
_ROUND = Context(prec=60, rounding=ROUND_HALF_UP)
_ZERO = Decimal(0)


class Use(NamedTuple):
    """A quantity of use within one segment; `band` for time-of-use tariffs. In the tariff's unit."""

    since: int
    until: int
    amount: Decimal
    band: BandName | None = None


class RatingInput(NamedTuple):
    """Everything that decides a price.

    `segments` cover the period without holes; `uses` are parts of it in any order. `accumulated` is the use
    of the calendar year before the first segment. `month_begins` says that a billing month begins with the
    period, so that its fixed charges fall due.
    """

    segments: tuple[Segment, ...]
    uses: tuple[Use, ...]
    accumulated: Decimal = _ZERO
    month_begins: bool = False


class Rated(NamedTuple):
    """Priced lines with the input they come from.

    `exact` holds the unrounded CNY amount of each line; `accumulated` the use of the year at the end.
    """

    request: RatingInput
    lines: tuple[ChargeLine, ...]
    exact: tuple[Decimal, ...]
    total_fen: int
    accumulated: Decimal

    @property
    def trail(self) -> tuple[str, ...]:
        """One entry a line: quantity x price = exact amount -> fen."""
        return tuple(
            f"{line.quantity} x {line.price} = {amount} CNY -> {line.amount_fen} fen"
            for line, amount in zip(self.lines, self.exact, strict=True)
        )


def rate(request: RatingInput) -> Rated:
    """Price a period.

    Raises DataError: `rating.segments` (holes, overlap), `rating.use` (negative, not finite, outside a
    segment, a band the tariff does not have).
    """
    _check_segments(request.segments)
    uses = _uses_by_segment(request)
    priced: list[tuple[ChargeLine, Decimal]] = []
    position = request.accumulated
    year = year_start(request.segments[0].since)
    for segment, bands in zip(request.segments, uses, strict=True):
        if year_start(segment.since) != year:
            year, position = year_start(segment.since), _ZERO
        priced += _price(segment, bands, position)
        position = _EXACT.add(position, _sum(bands.values()))
    if request.month_begins:
        priced += _fixed(request.segments[0], request.segments[-1].until)
    lines = tuple(line for line, _ in priced)
    total = sum(line.amount_fen for line in lines)
    return Rated(request, lines, tuple(exact for _, exact in priced), total, position)


def credit(segment: Segment, quantity: Decimal) -> tuple[ChargeLine, Decimal]:
    """Price what was fed in within a segment; the amounts are below nothing, rounded half up away from it.

    Raises DataError `rating.use`, and `tariff.no-feed-in` where the tariff has no price for it.
    """
    _check_amount(quantity)
    tariff = segment.tariff
    if tariff.feed_in is None:
        raise DataError(
            "tariff.no-feed-in",
            f"A plant is stated that feeds in, and tariff {tariff.code} version {tariff.version} has no price for it. Let "
            'the agreement have a tariff with `feed_in` ("0" where nothing is paid), or state no plant.',
        )
    exact = _EXACT.multiply(quantity, tariff.feed_in)
    line = ChargeLine(
        "feed-in", quantity, tariff.feed_in, -_fen(exact), segment.since, segment.until, tariff.version
    )
    return line, -exact


def tier_position(tariff: Tiered, used: Decimal, year_since: int) -> TierPosition:
    """Say in which tier a use of the year stands and how far the next one is."""
    limits = tuple(tier.up_to for tier in tariff.tiers if tier.up_to is not None)
    prices = tuple(tier.price for tier in tariff.tiers)
    index = _tier_of(limits, used)
    up_to = limits[index] if index < len(limits) else None
    return TierPosition(
        tier=index + 1,
        tiers=len(prices),
        year_since=year_since,
        used_in_year=used,
        above=limits[index - 1] if index else _ZERO,
        up_to=up_to,
        to_next=None if up_to is None else _EXACT.subtract(up_to, used),
        price=prices[index],
        next_price=prices[index + 1] if up_to is not None else None,
        limits=limits,
        prices=prices,
    )


def _tier_of(limits: tuple[Decimal, ...], used: Decimal) -> int:
    return sum(1 for limit in limits if used > limit)


def _check_segments(segments: tuple[Segment, ...]) -> None:
    whole = bool(segments) and all(part.since < part.until for part in segments)
    if not whole or any(a.until != b.since for a, b in pairwise(segments)):
        raise DataError(
            "rating.segments",
            "The segments of a rating leave a hole or overlap; cut the period with TariffBook.",
        )


def _uses_by_segment(request: RatingInput) -> list[dict[BandName | None, Decimal]]:
    sums: list[dict[BandName | None, Decimal]] = [{} for _ in request.segments]
    _check_amount(request.accumulated)
    for use in request.uses:
        _check_amount(use.amount)
        for segment, bands in zip(request.segments, sums, strict=True):
            if segment.since <= use.since <= use.until <= segment.until:
                if use.band not in _bands(segment.tariff):
                    raise _use_error(f"a {segment.tariff.kind} tariff has no band {use.band}")
                bands[use.band] = _EXACT.add(bands.get(use.band, _ZERO), use.amount)
                break
        else:
            raise _use_error("a quantity lies outside every segment of the period")
    return sums


def _check_amount(amount: Decimal) -> None:
    if not isinstance(amount, Decimal) or not amount.is_finite() or amount < 0:
        raise _use_error(f"quantity {amount} is not an exact number from 0 up")


def _use_error(why: str) -> DataError:
    return DataError("rating.use", f"This use cannot be priced: {why}. Check the determinants.")


def _bands(tariff: AnyTariff) -> tuple[BandName | None, ...]:
    return tuple(band.band for band in tariff.bands) if isinstance(tariff, TimeOfUse) else (None,)


def _price(
    segment: Segment, bands: dict[BandName | None, Decimal], position: Decimal
) -> list[tuple[ChargeLine, Decimal]]:
    tariff = segment.tariff
    if isinstance(tariff, TimeOfUse):
        return [
            _line(segment, bands.get(band.band, _ZERO), band.price, band=band.band) for band in tariff.bands
        ]
    amount = _sum(bands.values())
    if isinstance(tariff, Flat):
        return [_line(segment, amount, tariff.price)]
    return [
        _line(segment, part, tariff.tiers[index].price, tier=index + 1)
        for index, part in _spread(tariff, position, amount)
    ]


def _spread(tariff: Tiered, position: Decimal, amount: Decimal) -> list[tuple[int, Decimal]]:
    """Spread an amount over the tiers above a position; no use is one line in the tier it stands in."""
    limits = tuple(tier.up_to for tier in tariff.tiers if tier.up_to is not None)
    if not amount:
        return [(_tier_of(limits, position), _ZERO)]
    parts = []
    end = _EXACT.add(position, amount)
    for index in range(len(tariff.tiers)):
        low = limits[index - 1] if index else _ZERO
        high = limits[index] if index < len(limits) else end
        part = _EXACT.subtract(min(end, high), max(position, low))
        if part > 0:
            parts.append((index, part))
    return parts


def _fixed(segment: Segment, until: int) -> list[tuple[ChargeLine, Decimal]]:
    whole = segment._replace(until=until)
    return [_line(whole, Decimal(1), charge.amount, name=charge.name) for charge in segment.tariff.fixed]


def _line(
    segment: Segment,
    quantity: Decimal,
    price: Decimal,
    *,
    tier: int | None = None,
    band: BandName | None = None,
    name: Text | None = None,
) -> tuple[ChargeLine, Decimal]:
    kind: LineKind = "tier" if tier else "band" if band else "fixed" if name else "flat"
    exact = _EXACT.multiply(quantity, price)
    line = ChargeLine(
        kind=kind,
        quantity=quantity,
        price=price,
        amount_fen=_fen(exact),
        since=segment.since,
        until=segment.until,
        tariff_version=segment.tariff.version,
        tier=tier,
        band=band,
        name=name,
    )
    return line, exact


def _fen(amount: Decimal) -> int:
    return int(_ROUND.quantize(_EXACT.multiply(amount, Decimal(100)), Decimal(1)))


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    total = _ZERO
    for amount in amounts:
        total = _EXACT.add(total, amount)
    return total
