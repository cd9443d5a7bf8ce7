"""Rating: worked examples, and what must hold for any use and any tariff."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterseal.errors import DataError
from meterseal.utility.rating import Rated, RatingInput, Use, rate, tier_position
from meterseal.utility.tariff import AnyTariff, Flat, TariffBook, Tiered, TimeOfUse
from tests.utility.test_tariff import POWER, SAMPLES, WATER, changed
from tests.utility.twins import day

JUNE = (day("2026-06-01"), day("2026-07-01"))
HEAT = "sample-heat-flat"


def book(*versions: AnyTariff) -> TariffBook:
    return TariffBook(versions[0].code, versions)


def priced(tariff: AnyTariff, *amounts: str, accumulated: str = "0", month_begins: bool = False) -> Rated:
    uses = tuple(Use(*JUNE, Decimal(amount)) for amount in amounts)
    segments = book(tariff).segments(*JUNE)
    return rate(RatingInput(segments, uses, Decimal(accumulated), month_begins))


def test_use_over_two_limits_is_three_lines() -> None:
    rated = priced(SAMPLES[WATER], "100", accumulated="170")
    assert [(line.tier, line.quantity, line.amount_fen) for line in rated.lines] == [
        (1, 10, 5000),
        (2, 80, 56000),
        (3, 10, 9000),
    ]
    assert rated.total_fen == 70000
    assert rated.accumulated == 270
    assert rated.trail[0] == "10 x 5.00 = 50.00 CNY -> 5000 fen"


def test_the_limit_itself_belongs_to_the_lower_tier() -> None:
    assert [line.tier for line in priced(SAMPLES[WATER], "180").lines] == [1]
    assert [line.tier for line in priced(SAMPLES[WATER], "0.01", accumulated="180").lines] == [2]


def test_no_use_is_one_line_in_the_tier_it_stands_in() -> None:
    for accumulated, tier in (("0", 1), ("180", 1), ("180.01", 2), ("9999", 3)):
        (line,) = priced(SAMPLES[WATER], "0", accumulated=accumulated).lines
        assert (line.tier, line.amount_fen) == (tier, 0)


def test_half_a_fen_is_rounded_up_on_each_line() -> None:
    tariff = changed(HEAT, price="0.005", fixed=[])
    assert priced(tariff, "1").total_fen == 1
    assert priced(tariff, "0.99").total_fen == 0
    assert priced(tariff, "3").total_fen == 2


def test_fixed_charges_fall_due_when_the_month_begins() -> None:
    assert priced(SAMPLES[HEAT], "100").total_fen == 1600
    rated = priced(SAMPLES[HEAT], "100", month_begins=True)
    assert [(line.kind, line.amount_fen) for line in rated.lines] == [("flat", 1600), ("fixed", 3000)]


def test_a_new_year_inside_the_period_begins_the_tiers_again() -> None:
    turn = (day("2025-12-20"), day("2026-01-20"))
    first, second = book(SAMPLES[WATER]).segments(*turn)
    uses = (Use(*first[:2], Decimal(20)), Use(*second[:2], Decimal(30)))
    rated = rate(RatingInput((first, second), uses, Decimal(250)))
    assert [(line.since, line.tier, line.quantity) for line in rated.lines] == [
        (turn[0], 2, 10),
        (turn[0], 3, 10),
        (second.since, 1, 30),
    ]
    assert rated.accumulated == 30


def test_a_tariff_change_inside_the_period_splits_the_lines_but_not_the_year() -> None:
    dearer = changed(
        WATER, version=2, since="2026-06-11", tiers=[{"price": "6", "up_to": "200"}, {"price": "8"}]
    )
    first, second = book(SAMPLES[WATER], dearer).segments(*JUNE)
    uses = (Use(*first[:2], Decimal(20)), Use(*second[:2], Decimal(20)))
    rated = rate(RatingInput((first, second), uses, Decimal(170)))
    assert [(line.tariff_version, line.tier, line.quantity, line.price) for line in rated.lines] == [
        (1, 1, 10, Decimal("5.00")),
        (1, 2, 10, Decimal("7.00")),
        (2, 1, 10, 6),
        (2, 2, 10, 8),
    ]


def test_time_of_use_has_one_line_a_band() -> None:
    segments = book(SAMPLES[POWER]).segments(*JUNE)
    uses = (Use(*JUNE, Decimal("10.01"), "valley"), Use(*JUNE, Decimal(5), "peak"))
    rated = rate(RatingInput(segments, uses))
    assert [(line.band, line.quantity, line.amount_fen) for line in rated.lines] == [
        ("peak", 5, 379),
        ("flat", 0, 0),
        ("valley", Decimal("10.01"), 299),
    ]


@pytest.mark.parametrize(
    "use",
    [
        Use(*JUNE, Decimal(-1)),
        Use(*JUNE, Decimal("NaN")),
        Use(*JUNE, Decimal("Infinity")),
        Use(*JUNE, 1.5),  # type: ignore[arg-type]
        Use(*JUNE, 1),  # type: ignore[arg-type]
        Use(*JUNE, Decimal(1), "peak"),
        Use(JUNE[0] - 1, JUNE[1], Decimal(1)),
    ],
)
def test_what_cannot_be_priced_is_refused(use: Use) -> None:
    with pytest.raises(DataError) as caught:
        rate(RatingInput(book(SAMPLES[WATER]).segments(*JUNE), (use,)))
    assert caught.value.code == "rating.use"


def test_holes_between_segments_are_refused() -> None:
    (whole,) = book(SAMPLES[WATER]).segments(*JUNE)
    late = whole._replace(since=whole.since + 1)
    for segments in ((), (whole, late), (whole._replace(until=whole.since),)):
        with pytest.raises(DataError) as caught:
            rate(RatingInput(segments, ()))
        assert caught.value.code == "rating.segments"


# --- what holds for any use and any tariff -------------------------------------------------------------

amounts = st.integers(0, 10**8).map(lambda scaled: Decimal(scaled).scaleb(-2))
prices = st.integers(0, 10**6).map(lambda scaled: Decimal(scaled).scaleb(-4))


@st.composite
def tiered(draw: st.DrawFn) -> Tiered:
    limits = sorted(draw(st.sets(st.integers(1, 10**7), max_size=4)))
    tiers = [{"price": str(draw(prices)), "up_to": str(Decimal(limit).scaleb(-2))} for limit in limits]
    tariff = changed(WATER, tiers=[*tiers, {"price": str(draw(prices))}])
    assert isinstance(tariff, Tiered)
    return tariff


@st.composite
def time_of_use(draw: st.DrawFn) -> TimeOfUse:
    names = draw(st.permutations(["sharp", "peak", "flat", "valley"]))
    cuts = sorted(draw(st.sets(st.integers(0, 23), min_size=2, max_size=4)))
    ends = [*cuts[1:], cuts[0]]
    bands = [
        {"band": name, "price": str(draw(prices)), "windows": [[f"{a:02}:00", f"{b:02}:00"]]}
        for name, a, b in zip(names, cuts, ends, strict=False)
    ]
    tariff = changed(POWER, bands=bands)
    assert isinstance(tariff, TimeOfUse)
    return tariff


@given(tiered(), amounts, amounts)
def test_tiers_split_a_use_and_lose_nothing(tariff: Tiered, accumulated: Decimal, use: Decimal) -> None:
    rated = priced(tariff, str(use), accumulated=str(accumulated))
    assert sum(line.quantity for line in rated.lines) == use
    assert rated.accumulated == accumulated + use
    assert rated.total_fen == sum(line.amount_fen for line in rated.lines)
    tiers = [line.tier for line in rated.lines]
    assert tiers == sorted(set(tiers))  # type: ignore[type-var]


@given(tiered(), amounts, amounts, amounts)
def test_more_use_never_costs_less(tariff: Tiered, accumulated: Decimal, use: Decimal, more: Decimal) -> None:
    cost = priced(tariff, str(use), accumulated=str(accumulated)).total_fen
    assert priced(tariff, str(use + more), accumulated=str(accumulated)).total_fen >= cost


@given(tiered(), amounts, st.lists(amounts, min_size=1, max_size=6), st.randoms())
def test_parts_in_any_order_cost_what_the_whole_costs(
    tariff: Tiered, accumulated: Decimal, parts: list[Decimal], random: object
) -> None:
    whole = priced(tariff, str(sum(parts)), accumulated=str(accumulated))
    shuffled = list(parts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again = priced(tariff, *map(str, shuffled), accumulated=str(accumulated))
    assert again.lines == whole.lines


@given(tiered(), amounts, amounts, amounts)
def test_two_bills_in_a_row_bill_each_tier_as_one_would(
    tariff: Tiered, accumulated: Decimal, first: Decimal, second: Decimal
) -> None:
    one = priced(tariff, str(first + second), accumulated=str(accumulated))
    before = priced(tariff, str(first), accumulated=str(accumulated))
    after = priced(tariff, str(second), accumulated=str(before.accumulated))
    quantities: dict[int | None, Decimal] = {}
    for line in (*before.lines, *after.lines):
        quantities[line.tier] = quantities.get(line.tier, Decimal(0)) + line.quantity
    expected = {line.tier: line.quantity for line in one.lines}
    assert {tier: q for tier, q in quantities.items() if q} == {tier: q for tier, q in expected.items() if q}
    assert sum(before.exact) + sum(after.exact) == sum(one.exact)
    rounded = len(one.lines) + len(before.lines) + len(after.lines)
    assert abs(before.total_fen + after.total_fen - one.total_fen) * 2 <= rounded


@given(tiered(), st.integers(0, 3))
def test_the_price_is_continuous_at_each_limit(tariff: Tiered, which: int) -> None:
    limits = [tier.up_to for tier in tariff.tiers if tier.up_to is not None]
    if not limits:
        return
    limit = limits[which % len(limits)]
    at_limit = sum(priced(tariff, str(limit)).exact)
    above = sum(priced(tariff, str(limit + Decimal("0.01"))).exact)
    step = max(tier.price for tier in tariff.tiers) * Decimal("0.01")
    assert 0 <= above - at_limit <= step


@given(tiered(), amounts)
def test_the_position_agrees_with_the_line_of_the_next_unit(tariff: Tiered, used: Decimal) -> None:
    position = tier_position(tariff, used, 0)
    assert position.above <= used
    assert position.up_to is None or used <= position.up_to
    if position.to_next is None:
        assert position.tier == position.tiers
    else:
        following = priced(tariff, str(position.to_next + Decimal("0.01")), accumulated=str(used))
        assert following.lines[-1].tier == position.tier + 1
        assert following.lines[-1].price == position.next_price


@given(time_of_use(), st.lists(amounts, min_size=4, max_size=4), st.randoms())
def test_bands_are_priced_each_by_itself_in_any_order(
    tariff: TimeOfUse, quantities: list[Decimal], random: object
) -> None:
    uses = [Use(*JUNE, amount, band.band) for amount, band in zip(quantities, tariff.bands, strict=False)]
    segments = book(tariff).segments(*JUNE)
    rated = rate(RatingInput(segments, tuple(uses)))
    random.shuffle(uses)  # type: ignore[attr-defined]
    assert rate(RatingInput(segments, tuple(uses))).lines == rated.lines
    assert [line.quantity for line in rated.lines] == quantities[: len(tariff.bands)]


@given(st.one_of(tiered(), time_of_use()), amounts)
def test_nothing_in_a_result_is_a_float(tariff: AnyTariff, use: Decimal) -> None:
    band = tariff.bands[0].band if isinstance(tariff, TimeOfUse) else None
    rated = rate(RatingInput(book(tariff).segments(*JUNE), (Use(*JUNE, use, band),)))
    for line in rated.lines:
        assert isinstance(line.quantity, Decimal)
        assert isinstance(line.price, Decimal)
        assert type(line.amount_fen) is int
    assert all(isinstance(exact, Decimal) for exact in rated.exact)


@given(amounts, prices)
def test_a_flat_price_is_one_product_rounded_half_up(use: Decimal, price: Decimal) -> None:
    tariff = changed(HEAT, price=str(price), fixed=[])
    assert isinstance(tariff, Flat)
    scaled = int(use.scaleb(2)) * int(price.scaleb(4))  # ten-thousandths of a fen
    assert priced(tariff, str(use)).total_fen == (scaled + 5_000) // 10_000
