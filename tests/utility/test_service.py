"""What people see of one usage point: the card, the series, the bills of the fleet."""

from __future__ import annotations

from decimal import Decimal

import pytest
import sqlalchemy as sa

from meterseal.control import read, write
from meterseal.control.tables import acts, agreements
from meterseal.errors import DataError, LocalError
from meterseal.model import Quality
from meterseal.utility.calendar import HOUR
from tests.utility.conftest import Town
from tests.utility.test_tariff import POWER, WATER
from tests.utility.twins import at, day

JUNE, JULY = day("2026-06-01"), day("2026-07-01")
DAY = 24 * HOUR


async def test_the_card_of_a_tiered_usage_point(town: Town) -> None:
    water = town.supply("w", "water", "2026-06-01", opening_accumulation=17_000)
    water.count(JUNE, [1] * (35 * 24))
    await town.utility.run_bills(JULY)
    card = town.utility.card("w", day("2026-07-05") + 1)
    assert (card.agreement_id, card.tariff_code, card.tariff_kind, card.unit) == (
        "a-w",
        WATER,
        "tiered",
        "m3",
    )
    assert (card.period.since, card.period.until) == (JULY, day("2026-08-01"))
    assert card.period.used == Decimal("0.96")
    assert card.latest_at == card.complete_to == day("2026-07-05")
    assert card.tier is not None
    assert (card.tier.tier, card.tier.used_in_year) == (1, Decimal("178.16"))
    assert (card.tier.to_next, card.tier.next_price) == (Decimal("1.84"), Decimal("7.00"))
    assert card.tier.year_since == day("2026-01-01")
    assert card.last_bill is not None
    assert (card.last_bill.bill_id, card.last_bill.total_fen) == ("a-w.2026-06-01.v1", 3600)
    assert card.period.cost_fen == 480
    assert card.period.projection is not None
    assert card.period.projection.used == Decimal("7.44")  # and crosses into the second tier
    assert card.period.projection.cost_fen == 280 * 5 + 464 * 7


async def test_the_bill_is_what_the_card_came_to(town: Town) -> None:
    for usage_point, medium in (("w", "water"), ("e", "electricity"), ("h", "heat")):
        channel = town.supply(usage_point, medium, "2026-06-01")  # type: ignore[arg-type]
        channel.count(JUNE, [13, 2, 40, 0, 7] * (6 * 24))
        card = town.utility.card(usage_point, JULY - 1)
        last_hour = town.utility.series(usage_point, "hour", JULY - HOUR, JULY)
        await town.utility.run_bills(JULY)
        bill = town.utility.bill(f"a-{usage_point}.2026-06-01.v1")
        assert card.period.used is not None
        assert last_hour.used[0] is not None
        assert card.period.used + Decimal(last_hour.used[0]).scaleb(-2) == bill.used


async def test_the_card_of_a_time_of_use_usage_point(town: Town) -> None:
    power = town.supply("e", "electricity", "2026-06-01")
    power.count(JUNE, [10] * (3 * 24))
    card = town.utility.card("e", JUNE + 3 * DAY)
    assert (card.tariff_code, card.tariff_kind, card.tier, card.last_bill) == (
        POWER,
        "time-of-use",
        None,
        None,
    )
    assert [line.band for line in card.period.lines] == ["peak", "flat", "valley"]


async def test_the_tiers_begin_again_in_a_new_year_inside_the_period(town: Town) -> None:
    water = town.supply("w", "water", "2026-12-15", billing_day=15, opening_accumulation=30_000)
    water.count(day("2026-12-15"), [1] * (20 * 24))
    card = town.utility.card("w", day("2027-01-04"))
    assert card.tier is not None
    assert (card.tier.tier, card.tier.used_in_year) == (1, Decimal("0.72"))
    assert [line.tier for line in card.period.lines] == [3, 1]


async def test_without_the_year_before_neither_tier_nor_cost_is_guessed(town: Town) -> None:
    water = town.supply("w", "water", "2026-05-01")
    water.count(JUNE, [1] * 48)  # May never arrived
    card = town.utility.card("w", JUNE + 2 * DAY)
    assert card.period.used == Decimal("0.48")
    assert (card.period.cost_fen, card.period.lines, card.tier, card.period.projection) == (
        None,
        (),
        None,
        None,
    )


async def test_a_card_before_any_reading_is_honest(town: Town) -> None:
    town.supply("w", "water", "2026-06-01")
    card = town.utility.card("w", JUNE + DAY)
    assert (card.latest_at, card.complete_to, card.period.used, card.tier) == (None, None, None, None)


async def test_the_card_of_an_agreement_to_come_shows_its_first_period(town: Town) -> None:
    town.supply("w", "water", "2026-06-20")
    card = town.utility.card("w", JUNE)
    assert (card.period.since, card.period.until) == (day("2026-06-20"), JULY)
    assert (card.period.used, card.tier, card.latest_at) == (None, None, None)


async def test_the_card_stays_with_an_agreement_that_ended(town: Town) -> None:
    water = town.supply("w", "water", "2026-06-01")
    water.count(JUNE, [1] * (20 * 24))
    town.utility.end_agreement("a-w", day("2026-06-11"))
    card = town.utility.card("w", JULY + 5 * DAY)
    assert (card.period.until, card.period.used) == (day("2026-06-11"), Decimal("2.40"))


async def test_an_agreement_ends_once_and_the_trail_of_acts_says_who_ended_it(town: Town) -> None:
    town.supply("w", "water", "2026-06-01")
    with pytest.raises(LocalError) as refused:
        town.utility.end_agreement("a-w", JUNE, actor="operator", now=JULY)
    assert refused.value.code == "agreement.end"
    for _ in range(2):
        town.utility.end_agreement("a-w", JULY, actor="operator", now=JULY)
    with pytest.raises(LocalError, match="another time"):
        town.utility.end_agreement("a-w", JULY + DAY, actor="operator", now=JULY)
    with read(town.engine) as connection:
        (row,) = connection.execute(sa.select(acts)).all()
    assert (row.at, row.actor, row.act, row.subject) == (JULY, "operator", "agreement.ended", "a-w")


async def test_periods_of_agreements_are_told_without_a_name(town: Town) -> None:
    town.supply("w", "water", "2026-06-01")
    assert town.utility.agreed() == {"w": [(JUNE, None)]}
    town.utility.end_agreement("a-w", day("2026-06-11"))
    assert town.utility.agreed() == {"w": [(JUNE, day("2026-06-11"))]}


async def test_series_by_hour_day_and_period(town: Town) -> None:
    water = town.supply("w", "water", "2026-06-01", billing_day=10)
    water.count(JUNE, [2] * (60 * 24))
    water.quality[at("2026-06-02T10:00:00")] = Quality.ESTIMATED
    hours = town.utility.series("w", "hour", JUNE + DAY, JUNE + 2 * DAY)
    assert (len(hours.used), set(hours.used), hours.estimated) == (24, {2}, 2)
    days = town.utility.series("w", "day", JUNE, JUNE + 5 * DAY)
    assert days.used == (48,) * 5
    assert [k for k, quality in enumerate(days.quality) if quality == Quality.ESTIMATED] == [1]
    periods = town.utility.series("w", "period", JUNE, day("2026-07-20"))
    assert periods.starts == (day("2026-06-10"), day("2026-07-10"))
    assert periods.used == (30 * 48, None)
    assert periods.latest_at == day("2026-07-31")


async def test_what_is_to_come_is_not_mistaken_for_missing(town: Town) -> None:
    water = town.supply("w", "water", "2026-06-01")
    newest = water.count(JUNE, [2] * 30)
    found = town.utility.series("w", "hour", JUNE, JUNE + 2 * DAY)
    assert found.latest_at == found.complete_to == newest
    assert found.missing == 18


@pytest.mark.parametrize(
    ("resolution", "since", "until"),
    [
        ("hour", JUNE, JUNE),
        ("hour", JULY, JUNE),
        ("day", JUNE + 1, JUNE + 2),
        ("hour", 0, JUNE),
        ("day", -(10**17), 10**17),
    ],
)
async def test_a_senseless_range_is_refused(town: Town, resolution: str, since: int, until: int) -> None:
    town.supply("w", "water", "2026-06-01")
    with pytest.raises(LocalError) as caught:
        town.utility.series("w", resolution, since, until)  # type: ignore[arg-type]
    assert caught.value.code == "usage.range"


async def test_a_usage_point_without_agreement_shows_nothing(town: Town) -> None:
    for ask in (lambda: town.utility.card("x", JUNE), lambda: town.utility.series("x", "day", JUNE, JULY)):
        with pytest.raises(LocalError) as caught:
            ask()
        assert caught.value.code == "usage.none"


async def test_a_card_under_an_unpublished_tariff_says_so(town: Town) -> None:
    town.supply("w", "water", "2026-06-01").count(JUNE, [1] * 24)
    with write(town.engine) as connection:
        connection.execute(sa.update(agreements).values(tariff_code="unheard-of"))
    with pytest.raises(DataError) as caught:
        town.utility.card("w", JUNE + DAY)
    assert caught.value.code == "tariff.none"


async def test_the_fleet_adds_up_and_names_no_customer(town: Town) -> None:
    for usage_point, medium in (("w", "water"), ("e", "electricity"), ("h", "heat"), ("g", "gas")):
        channel = town.supply(usage_point, medium, "2026-06-01")  # type: ignore[arg-type]
        channel.count(JUNE, [10] * (30 * 24))
        channel.sign_days()
    del town.measurements.channels["g"].registers[JULY]
    await town.utility.run_bills(JULY)
    fleet = town.utility.fleet()
    bills = [bill for one in town.utility.agreements("c1") for bill in town.utility.bills(one.agreement_id)]
    assert (fleet.bills, fleet.agreements, len(bills)) == (3, 3, 3)
    assert fleet.total_fen == sum(bill.total_fen for bill in bills) == sum(fleet.by_medium.values())
    assert fleet.total_fen == sum(fleet.by_assurance.values())
    assert fleet.signed_fen + fleet.chained_fen == fleet.metered_fen == fleet.total_fen - 3000
    assert [one.usage_point for one in fleet.held] == ["g"]
    assert fleet.last_run_at == JULY
    assert "c1" not in repr(fleet)
