"""Bills of homes that feed in: a credit of its own price and registers, for nobody of whom no plant is stated."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from meterseal.control import acts
from meterseal.errors import DataError
from meterseal.mdms.facts import Fact, Facts
from meterseal.mdms.store.rows import EVER
from meterseal.mdms.surroundings import Surroundings
from meterseal.model import EXPORT, MAIN, Quality
from meterseal.utility import arithmetic
from meterseal.utility.bills import Bill
from meterseal.utility.bundle import Checked, check, unpacked
from meterseal.utility.calendar import HOUR
from meterseal.utility.samples import sample_tariffs
from meterseal.utility.tariff import parse_tariff
from tests.utility.conftest import Town
from tests.utility.test_billing import JULY, JUNE, MONTH, held_code, only_bill
from tests.utility.test_exchange import NEW, OLD_LAST, WHEN, swap, two_meters
from tests.utility.test_multiplier import state as multiply
from tests.utility.twins import Channel, day

MID = day("2026-06-16")
PRICE = Decimal("0.4155")
FED = "sample-electricity-feed-in"


def plant(
    town: Town, value: str = "5", since: int = 0, until: int = EVER, now: int = 1, point: str = "x"
) -> None:
    fact = Fact(usage_point=point, kind="plant", value=value, since=since, until=until)
    Facts(town.engine, Surroundings(town.engine)).put((fact,), now)


def home(town: Town, used: int = 10, fed: int = 20, tariff: str = FED) -> Channel:
    """A home with a signed month of use and of what it fed in, each from a register of its own on."""
    channel = town.supply("x", "electricity", "2026-06-01", tariff=tariff)
    channel.count(JUNE, [used] * MONTH, 300)
    channel.sign_days()
    export = town.measurements.exports["x"] = Channel("electricity")
    export.count(JUNE, [fed] * MONTH, 7_000)
    export.sign_days()
    return export


def sound(bill: Bill) -> None:
    assert arithmetic.sound(bill)
    assert list(arithmetic.faults(bill)) == []


async def test_what_a_chart_shows_of_feeding_in_is_what_the_bill_credits(town: Town) -> None:
    export = home(town)
    del export.registers[JUNE + 5 * HOUR]
    plant(town, now=JULY)
    bill = await only_bill(town)
    days = town.utility.series("x", "day", JUNE, JULY, fed_in=True)
    assert sum(Decimal(one).scaleb(days.exponent) for one in days.used if one is not None) == bill.fed == 144
    hours = town.utility.series("x", "hour", JUNE, JUNE + 8 * HOUR, fed_in=True)
    assert hours.used == (20, 20, 20, 20, None, None, 20, 20)
    used = town.utility.series("x", "hour", JUNE, JUNE + 8 * HOUR)
    assert used.used == (10,) * 8


async def test_what_was_fed_in_is_a_credit_of_its_own_and_lowers_no_use(town: Town) -> None:
    home(town)
    plain = (await only_bill(town)).total_fen
    plant(town, now=JULY)
    report = await town.utility.run_bills(JULY + 1)
    bill = town.utility.bill(report.corrected[0])
    line = bill.lines[-1]
    assert (line.charge.kind, line.charge.quantity, line.charge.price) == (
        "feed-in",
        Decimal("144.00"),
        PRICE,
    )
    assert line.charge.amount_fen == -5983  # 144 x 0.4155 = 59.832
    assert (bill.total_fen, bill.fed, bill.used) == (plain - 5983, 144, Decimal("72.00"))
    assert bill.trail[-1] == "144.00 x -0.4155 = -59.832000 CNY -> -5983 fen"
    assert line.determinant is not None
    one = bill.determinants[line.determinant]
    assert (one.kind, one.channel, line.assurance) == ("export", EXPORT, "meter-signed")
    assert (one.readings.first.register, one.readings.last.register) == (7_000, 7_000 + 20 * MONTH)
    assert {channel for channel, _ in arithmetic.registers(bill)} == {MAIN, EXPORT}
    named = {change.code: (change.before, change.after) for change in bill.changes}
    assert named["feed-in"] == ("", "kWh 144.00 21400")
    sound(bill)
    shown = town.utility.bill_readings(bill.bill_id, len(bill.lines) - 1, None, "day", None, 0, 500)
    assert shown.adds_up
    assert {row.used for row in shown.rows} == {Decimal("4.80")}
    assert [(act.act, act.subject) for act in acts.verified(town.engine)][-1] == ("plant-stated", "x/5/0")


async def test_a_sunny_month_is_paid_out_and_a_half_fen_is_rounded_away_from_nothing(town: Town) -> None:
    home(town, used=0, fed=1)
    plant(town)
    bill = await only_bill(town)
    assert (bill.fed, bill.total_fen) == (Decimal("7.20"), -299)  # 7.20 x 0.4155 = 2.9916
    sound(bill)


async def test_the_share_that_meters_signed_is_of_charges_and_credits_alike(town: Town) -> None:
    home(town)
    plant(town)
    bill = await only_bill(town)
    fleet = town.utility.fleet()
    assert fleet.total_fen == bill.total_fen
    assert (fleet.signed_fen, fleet.signed_fen + fleet.chained_fen) == (5983, fleet.metered_fen)
    assert fleet.chained_fen == bill.total_fen + 5983


async def test_nobody_is_paid_where_no_plant_is_stated(town: Town) -> None:
    home(town)
    bill = await only_bill(town)
    assert bill.fed is None
    assert {line.charge.kind for line in bill.lines} == {"band"}
    sound(bill)


async def test_a_plant_is_paid_from_the_day_it_is_stated_and_as_long(town: Town) -> None:
    home(town)
    plant(town, since=MID, until=day("2026-06-20"))
    bill = await only_bill(town)
    (one,) = [one for one in bill.determinants if one.kind == "export"]
    assert (one.since, one.until, one.amount) == (MID, day("2026-06-20"), Decimal(20 * 4 * 24).scaleb(-2))
    sound(bill)


async def test_another_size_of_the_plant_cuts_nothing_and_needs_no_register(town: Town) -> None:
    export = home(town)
    plant(town, "5", until=MID + HOUR // 2)
    plant(town, "8", since=MID + HOUR // 2)
    del export.registers[MID]
    bill = await only_bill(town)
    assert bill.fed == Decimal("144.00")


async def test_a_bill_waits_for_the_register_of_what_was_fed_in(town: Town) -> None:
    export = home(town)
    plant(town)
    last = export.registers.pop(JULY)
    assert await held_code(town) == "bill.export-missing"
    export.registers[JULY] = last
    sound(await only_bill(town))


async def test_a_tariff_without_a_price_for_it_pays_nobody_and_bills_nobody(town: Town) -> None:
    home(town, tariff="sample-electricity-time-of-use")
    plant(town)
    assert await held_code(town) == "tariff.no-feed-in"
    plant(town, "", now=2)
    assert (await only_bill(town)).fed is None


async def test_a_price_of_nothing_is_a_line_of_nothing(town: Town) -> None:
    free = next(one for one in sample_tariffs() if one.code == FED)
    town.utility.publish_tariffs([replace(free, version=2, feed_in=Decimal(0))])
    home(town)
    plant(town)
    bill = await only_bill(town)
    assert (bill.lines[-1].charge.amount_fen, bill.fed) == (0, Decimal("144.00"))
    sound(bill)


async def test_an_estimated_bill_says_between_which_totals_it_lies_the_credit_among_them(town: Town) -> None:
    flat = {
        "kind": "flat",
        "code": "flat-power",
        "version": 1,
        "medium": "electricity",
        "unit": "kWh",
        "price": "1",
    }
    named = {"name": {"zh": "电", "en": "power"}, "since": "2026-01-01", "feed_in": "0.5"}
    town.utility.publish_tariffs([parse_tariff(json.dumps(flat | named))])
    home(town, tariff="flat-power")
    plant(town)
    channel = town.measurements.channels["x"]
    del channel.evidence[JULY]
    channel.quality[JULY], channel.half[JULY] = Quality.ESTIMATED, 25
    bill = await only_bill(town)
    assert bill.estimate is not None
    assert bill.total_fen == 7200 - 7200
    assert (bill.estimate.low_fen, bill.estimate.high_fen) == (-25, 25)


async def test_a_forged_register_of_what_was_fed_in_is_billed_to_nobody(town: Town) -> None:
    export = home(town)
    plant(town)
    export.registers[JULY] += 1
    assert await held_code(town) == "bill.evidence-differs"


async def test_transformers_carry_both_ways(town: Town) -> None:
    home(town)
    plant(town)
    multiply(town, "40", until=MID)
    multiply(town, "60", since=MID)
    bill = await only_bill(town)
    half = Decimal(20 * 15 * 24).scaleb(-2)
    (one,) = [one for one in bill.determinants if one.kind == "export"]
    assert one.amount == half * 100
    assert [(part.multiplier, part.used) for part in one.multiplied] == [
        (Decimal(40), half),
        (Decimal(60), half),
    ]
    assert one.multiplied[0].edge is not None
    assert one.multiplied[0].edge.register == 7_000 + 20 * 15 * 24
    sound(bill)
    other = replace(one.multiplied[0], multiplier=Decimal(80), amount=half * 80)
    forged = replace(one, amount=half * 140, multiplied=(other, one.multiplied[1]))
    others = tuple(forged if found is one else found for found in bill.determinants)
    assert any("two numbers" in fault for fault in arithmetic.faults(replace(bill, determinants=others)))


@pytest.mark.parametrize("read", [True, False])
async def test_across_an_exchange_both_registers_are_counted_as_the_installer_read_them(
    town: Town, read: bool
) -> None:
    channel = town.supply("x", "electricity", "2026-06-01", tariff=FED)
    two_meters(channel)
    export = town.measurements.exports["x"] = Channel("electricity")
    before = (WHEN - JUNE) // HOUR
    export.count(JUNE, [20] * before, 7_000)
    export.count(JUNE + (before + 1) * HOUR, [20] * (MONTH - before - 1), 305)
    swap(town, OLD_LAST, "0", last_export="120.65" if read else None, first_export="3.00" if read else None)
    plant(town)
    if not read:
        assert await held_code(town) == "bill.export-exchanged"
        # As its sentence says: up to the last reading of the old meter, and again from the first of the new one.
        plant(town, "", now=2)
        plant(town, until=JUNE + before * HOUR, now=3)
        plant(town, since=JUNE + (before + 1) * HOUR, now=3)
        bill = await only_bill(town)
        assert bill.fed == Decimal(20 * (MONTH - 1)).scaleb(-2)
    else:
        bill = await only_bill(town)
        new = Decimal(305 + 20 * (MONTH - before - 1)).scaleb(-2) - 3
        assert bill.fed == Decimal("120.65") - 70 + new
        (one,) = bill.exchanges
        assert (one.last_export, one.first_export) == (Decimal("120.65"), Decimal("3.00"))
        assert bill.lines[-1].assurance == "stated"
        lied = replace(bill, exchanges=(replace(one, last_export=Decimal("130.65")),))
        assert any("other exchanges" in fault for fault in arithmetic.faults(lied))
    sound(bill)
    assert NEW.hex() == bill.exchanges[0].installed


async def test_the_card_shows_what_was_fed_in_so_far(town: Town) -> None:
    export = home(town)
    now = JULY - 48 * HOUR
    assert town.utility.card("x", now).fed is None
    plant(town)
    card = town.utility.card("x", now)
    assert card.fed is not None
    assert card.fed.as_of == card.period.as_of
    assert card.fed.quantity == Decimal(20 * (MONTH - 48)).scaleb(-2)
    assert (card.fed.price, card.fed.credit_fen) == (PRICE, 5584)  # 134.40 x 0.4155 = 55.8432
    del export.registers[JUNE]
    card = town.utility.card("x", now)
    assert card.fed is not None
    assert (card.fed.quantity, card.fed.credit_fen) == (None, None)
    assert card.period.projection is None, "what will be paid for it nobody knows"


async def test_the_predicted_bill_is_less_what_will_be_paid_for_what_is_fed_in(town: Town) -> None:
    """It left that out: a home that is paid more than it pays was told that it pays."""
    home(town)
    for now in (JULY - 20 * 24 * HOUR, JULY - 48 * HOUR):
        plant(town, "", now=2 * now)
        gross = town.utility.card("x", now).period.projection
        plant(town, now=2 * now + 1)
        net = town.utility.card("x", now).period.projection
        assert gross is not None
        assert net is not None
        assert net.used == gross.used
        assert net.credit_fen == pytest.approx(5983, abs=1)  # as the bill: 144.00 x 0.4155 = 59.832
        assert net.cost_fen == gross.cost_fen - net.credit_fen
        if gross.low_fen is not None and gross.high_fen is not None:
            assert net.low_fen is not None
            assert net.high_fen is not None
            assert net.low_fen <= gross.low_fen - net.credit_fen
            assert net.low_fen <= net.cost_fen <= net.high_fen
    plant(town, "", now=3 * JULY)
    plant(town, now=3 * JULY + 1, until=JULY - 24 * HOUR)
    ends = town.utility.card("x", JULY - 48 * HOUR).period.projection
    assert ends is not None
    assert ends.credit_fen == pytest.approx(5983 - 20 * 24 * 0.4155, abs=2), (
        "until the day from which none is stated"
    )


async def test_a_plant_that_is_gone_takes_no_prediction_with_it(town: Town) -> None:
    """Half a day with a plant tells no mean day of it, but of what comes nothing is fed in."""
    export = home(town)
    for end in [end for end in export.registers if end > JUNE + 12 * HOUR]:
        del export.registers[end]
    now = JULY - 48 * HOUR
    gross = town.utility.card("x", now).period.projection
    plant(town, until=JUNE + 12 * HOUR)
    net = town.utility.card("x", now).period.projection
    assert gross is not None
    assert gross.low_fen is not None or gross.days
    credit = 100  # 12 x 0.20 x 0.4155 = 0.9972
    low, high = (None if one is None else one - credit for one in (gross.low_fen, gross.high_fen))
    less = {"cost_fen": gross.cost_fen - credit, "low_fen": low, "high_fen": high, "credit_fen": credit}
    assert net == replace(gross, **less)


@pytest.mark.parametrize("value", ["0", "-5", "5kW", "nan", "1000001"])
async def test_a_plant_has_a_size(town: Town, value: str) -> None:
    home(town)
    with pytest.raises(DataError) as caught:
        plant(town, value)
    assert caught.value.code == "facts.value"


async def test_a_plant_feeds_into_electricity_alone(town: Town) -> None:
    town.supply("w", "water", "2026-06-01")
    with pytest.raises(DataError) as caught:
        plant(town, point="w")
    assert caught.value.code == "facts.plant"
    water = {"kind": "flat", "code": "w", "version": 1, "medium": "water", "unit": "m3", "price": "1"}
    named = {"name": {"zh": "水", "en": "water"}, "since": "2026-01-01", "feed_in": "1"}
    with pytest.raises(DataError) as caught:
        parse_tariff(json.dumps(water | named))
    assert caught.value.code == "tariff.feed-in"


# --- proof ----------------------------------------------------------------------------------------

BUNDLE = Path(__file__).parent / "bundles" / "fed" / "feed-in.json"
"""Of a simulated home with panels: both registers signed by its module."""


def checked(change: Callable[[dict[str, Any]], object] = lambda _: None) -> Checked:
    found = json.loads(BUNDLE.read_bytes())
    change(found["bill"])
    return check(unpacked(json.dumps(found).encode()))


def test_a_bundle_proves_what_was_fed_in_as_it_proves_what_was_used() -> None:
    found = checked()
    assert found.good
    assert [(one.name, one.amount_fen, one.assurance) for one in found.lines][-1] == (
        "feed-in",
        -28495,
        "meter-signed",
    )
    fed = [one for one in found.registers if one.channel == EXPORT]
    assert [one.register for one in fed] == [5695, 74274]
    assert {one.signed_by for one in found.registers} == {"meter"}
    assert all(one.leaves for one in found.registers)


def fed_in(bill: dict[str, Any]) -> dict[str, Any]:
    (one,) = [one for one in bill["determinants"] if one["kind"] == "export"]
    found: dict[str, Any] = one
    return found


def more(bill: dict[str, Any], by: int) -> None:
    """Everything on the bill that follows from so much more of the credit, so that it adds up again."""
    bill["lines"][-1]["charge"]["amount_fen"] -= by
    bill["total_fen"] -= by
    for part in bill["parts"]:
        if part["assurance"] == bill["lines"][-1]["assurance"]:
            part["amount_fen"] -= by


def a_higher_register(bill: dict[str, Any]) -> None:
    one = fed_in(bill)
    one["readings"]["last"]["register"] += 10_000
    one["amount"] = bill["lines"][-1]["charge"]["quantity"] = "785.79"
    more(bill, 4155)


def paid_twice(bill: dict[str, Any]) -> None:
    bill["determinants"].append(fed_in(bill))
    line = copy.deepcopy(bill["lines"][-1])
    line["determinant"] = len(bill["determinants"]) - 1
    amount = line["charge"]["amount_fen"]
    more(bill, -amount)
    bill["lines"][-1]["charge"]["amount_fen"] = amount
    bill["lines"].append(line)


def a_second_line(bill: dict[str, Any]) -> None:
    line = copy.deepcopy(bill["lines"][-1])
    line["charge"]["quantity"] = "0"
    line["charge"]["amount_fen"] = 0
    bill["lines"].append(line)


def use_passed_off_as_fed_in(bill: dict[str, Any]) -> None:
    fed_in(bill)["readings"] = bill["determinants"][0]["readings"]


def a_charge_for_it(bill: dict[str, Any]) -> None:
    bill["lines"][-1]["charge"]["kind"] = "flat"


def a_credit_for_use(bill: dict[str, Any]) -> None:
    bill["lines"][0]["charge"]["kind"] = "feed-in"


def a_price_below_nothing(bill: dict[str, Any]) -> None:
    bill["lines"][0]["charge"]["price"] = "-0.7583"


def of_another_time(bill: dict[str, Any]) -> None:
    bill["since"] += HOUR


ATTACKS: dict[Callable[[dict[str, Any]], object], str] = {
    a_higher_register: "What the meter stated is not",
    paid_twice: "not of the bill's time, each hour once",
    a_second_line: "has not one line",
    use_passed_off_as_fed_in: "What the meter stated is not",
    a_charge_for_it: "a charge for what was fed in",
    a_credit_for_use: "a credit for use",
    a_price_below_nothing: "price below nothing",
    of_another_time: "not of the bill's time",
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: one.__name__)
def test_attack_a_forged_credit_is_not_proved(attack: Callable[[dict[str, Any]], object]) -> None:
    found = checked(attack)
    assert not found.good
    assert any(ATTACKS[attack] in fault for fault in found.faults), found.faults
