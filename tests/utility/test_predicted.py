"""Predicted bills at the corners: where what comes is known, they are the bills, to the fen; before, they say less."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest
from msgspec.structs import replace

from meterseal.model import EXPORT, MAIN
from meterseal.utility.calendar import HOUR
from meterseal.utility.compose import Terms
from meterseal.utility.outlook import Outlook
from meterseal.utility.readings import hour_boundaries, steps
from meterseal.utility.samples import sample_tariffs
from meterseal.utility.tariff import Tiered, TimeOfUse
from tests.utility.conftest import Town
from tests.utility.test_billing import JULY, JUNE, MONTH, only_bill
from tests.utility.test_exchange import swap, two_meters
from tests.utility.test_feed_in import FED, MID, home, plant
from tests.utility.test_multiplier import state as multiply
from tests.utility.twins import Channel, day

DAY = 24 * HOUR
WATER = "sample-cold-water-tiered"
USED = [7, 0, 3, 11, 5, 1, 0, 13, 2]
"""Hundredths of a unit, hour by hour, over and over: no hour is as another, so no share of them is rounded alike."""


def hours(count: int, times: int = 1) -> list[int]:
    return [times * USED[k % len(USED)] for k in range(count)]


def power(town: Town, tariff: str = "", since: str = "2026-06-01") -> Channel:
    channel = town.supply("x", "electricity", since, tariff=tariff)
    channel.count(day(since), hours((JULY - day(since)) // HOUR), 99_999_000)  # and begins anew
    return channel


def water(town: Town, times: int) -> Channel:
    channel = town.supply("x", "water", "2026-06-01")
    channel.count(JUNE, hours(MONTH, times), 20)
    return channel


def dearer(town: Town, code: str) -> None:
    """Another version of a tariff from the 18th of June on, every price of it and one boundary changed."""
    (old,) = (one for one in sample_tariffs() if one.code == code)
    new = replace(old, version=old.version + 1, since=date(2026, 6, 18))
    if old.feed_in is not None:
        new = replace(new, feed_in=Decimal("0.1237"))
    if isinstance(new, Tiered):
        tiers = [replace(one, price=one.price + Decimal("0.37")) for one in new.tiers]
        tiers[0] = replace(tiers[0], up_to=Decimal(30))
        new = replace(new, tiers=tuple(tiers))
    elif isinstance(new, TimeOfUse):
        new = replace(new, bands=tuple(replace(one, price=one.price * 2) for one in new.bands))
    town.utility.publish_tariffs([new])


def dearer_power(town: Town) -> None:
    home(town, used=11, fed=3)
    plant(town)
    dearer(town, FED)


def dearer_water(town: Town) -> None:
    water(town, 1)
    dearer(town, WATER)


def plant_begins(town: Town) -> None:
    home(town, used=11, fed=7)
    plant(town, since=MID)


def plant_stands_twice(town: Town) -> None:
    """Each time of it is a line of the bill, rounded by itself."""
    home(town, used=11, fed=7)
    plant(town, since=JUNE + DAY, until=JUNE + 4 * DAY)
    plant(town, since=JUNE + 9 * DAY, until=MID, now=2)


def exchanged(town: Town) -> None:
    channel = town.supply("x", "electricity", "2026-06-01")
    two_meters(channel, first=107)
    swap(town, "28.32", "1.05")


def begins_late(town: Town) -> None:
    power(town, since="2026-06-11")


def ends_early(town: Town) -> None:
    power(town)
    town.utility.end_agreement("a-x", day("2026-06-21"))


def paid_out(town: Town) -> None:
    home(town, used=1, fed=40)
    plant(town)


def multiplied(town: Town) -> None:
    power(town)
    multiply(town, "40", since=JUNE, now=1)


def over_the_tier(town: Town) -> None:
    water(town, 6)


SCENES: list[Callable[[Town], object]] = [
    power,
    dearer_power,
    dearer_water,
    plant_begins,
    plant_stands_twice,
    exchanged,
    begins_late,
    ends_early,
    paid_out,
    multiplied,
    over_the_tier,
]


class Known:
    """A town as it stood at an instant, and forecasts that are what came."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.came = (
            town.measurements.channels["x"],
            town.measurements.exports.get("x", Channel("electricity")),
        )
        self.share = Fraction(1), Fraction(1)
        town.utility._outlook = self.outlook  # type: ignore[method-assign]

    def stand(self, at: int) -> None:
        """Nothing that was read later is there."""
        for put, whole in zip(
            (self.town.measurements.channels, self.town.measurements.exports), self.came, strict=True
        ):
            channel = put["x"] = copy.copy(whole)
            channel.registers = {end: register for end, register in whole.registers.items() if end <= at}

    def outlook(self, terms: Terms, as_of: int, until: int, channel: int = MAIN) -> Outlook | None:
        if as_of == until:
            return None
        self.stand(JULY)
        readings = self.town.utility._billing.readings(terms, as_of, until, channel=channel)
        self.stand(as_of)
        used = steps(readings, hour_boundaries(as_of, until)).used
        assert channel == EXPORT or used.any()
        return Outlook(tuple(map(Fraction, used.tolist())), *self.share, readings.use_exponent)


@pytest.mark.parametrize("scene", SCENES)
async def test_where_what_comes_is_known_the_predicted_bill_is_the_bill(
    town: Town, scene: Callable[[Town], object]
) -> None:
    scene(town)
    bill = await only_bill(town)
    known = Known(town)
    for at in (bill.since, bill.since + 5 * DAY + 7 * HOUR, MID - HOUR, MID + DAY, bill.until - HOUR):
        known.stand(at)
        found = town.utility.card("x", at).period
        assert found.as_of == at
        assert (found.since, found.until) == (bill.since, bill.until)
        told = found.projection
        assert told is not None
        assert (told.used, told.cost_fen, told.credit_fen) == (
            bill.used,
            bill.total_fen,
            -sum(line.charge.amount_fen for line in bill.lines if line.charge.kind == "feed-in"),
        )
        assert (told.low, told.high) == (bill.used, bill.used)
        assert (told.low_fen, told.high_fen) == (bill.total_fen, bill.total_fen)


async def test_after_its_agreement_a_period_is_predicted_as_it_is_billed(town: Town) -> None:
    ends_early(town)
    bill = await only_bill(town)
    told = town.utility.card("x", JULY).period.projection
    assert told is not None
    assert (told.used, told.cost_fen) == (bill.used, bill.total_fen)


async def test_what_is_credited_so_far_is_at_the_price_of_each_day(town: Town) -> None:
    dearer_power(town)
    card = town.utility.card("x", JULY - HOUR)
    assert card.fed is not None
    assert card.fed.quantity == Decimal("0.03") * (MONTH - 1)
    # 17 days x 0.72 x 0.4155 = 5.08572, and an hour less than 13 days x 0.72 x 0.1237 = 1.154121
    assert (card.fed.price, card.fed.credit_fen) == (Decimal("0.1237"), 509 + 115)


async def test_what_was_credited_stands_after_a_tariff_that_pays_nothing_began(town: Town) -> None:
    home(town, used=11, fed=7)
    plant(town, until=MID)
    (old,) = (one for one in sample_tariffs() if one.code == FED)
    town.utility.publish_tariffs(
        [replace(old, version=old.version + 1, since=date(2026, 6, 18), feed_in=None)]
    )
    bill = await only_bill(town)
    card = town.utility.card("x", JUNE + 20 * DAY)
    assert card.fed is not None
    assert (card.fed.price, card.fed.credit_fen) == (None, -bill.lines[-1].charge.amount_fen)
    assert card.period.projection is not None
    assert card.period.projection.credit_fen == card.fed.credit_fen == 1047


async def test_a_band_over_a_boundary_of_tiers_is_priced_at_both_ends(town: Town) -> None:
    """The lower end stays in the first tier, the upper one does not: the band of money is wider than that of use."""
    over_the_tier(town)
    known = Known(town)
    at = JUNE + 5 * DAY
    known.stand(at)
    known.share = Fraction(1, 2), Fraction(5, 4)
    told = town.utility.card("x", at).period.projection
    assert told is not None
    assert told.low is not None
    assert told.high is not None
    # 33.36 so far, and 168.24 to come.
    assert [told.low, told.used, told.high] == [Decimal("117.48"), Decimal("201.60"), Decimal("243.66")]
    (tariff,) = (one for one in sample_tariffs() if one.code == WATER)
    assert isinstance(tariff, Tiered)
    limit, price = tariff.tiers[0].up_to, [tier.price for tier in tariff.tiers]
    assert limit is not None
    assert told.low < limit < told.high
    assert told.low_fen == round(told.low * price[0] * 100)
    assert told.high_fen == round((limit * price[0] + (told.high - limit) * price[1]) * 100)


async def test_before_its_first_reading_a_period_has_no_prediction_and_without_history_a_mean(
    town: Town,
) -> None:
    channel = power(town)
    whole = channel.registers
    channel.registers = {}
    card = town.utility.card("x", JUNE + 3 * HOUR)
    assert (card.period.as_of, card.period.cost_fen, card.period.projection) == (None, None, None)
    channel.registers = {JUNE: whole[JUNE]}
    assert town.utility.card("x", JUNE + 3 * HOUR).period.projection is None
    channel.registers = {end: register for end, register in whole.items() if end <= JUNE + 30 * HOUR}
    told = town.utility.card("x", JUNE + 30 * HOUR).period.projection
    assert told is not None
    assert (told.days, told.low_fen, told.high_fen) == (1, None, None)


async def test_a_plant_that_is_still_to_come_leaves_what_it_will_make_open(town: Town) -> None:
    plant_begins(town)
    for channel in (town.measurements.channels["x"], town.measurements.exports["x"]):
        channel.registers = {end: register for end, register in channel.registers.items() if end <= MID - DAY}
    assert town.utility.card("x", MID - DAY).period.projection is None
