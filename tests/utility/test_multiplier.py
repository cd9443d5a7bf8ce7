"""Bills of meters behind transformers: registers stay raw, use is multiplied, what cannot be a multiplier is refused."""

from __future__ import annotations

from decimal import Decimal

import pytest
from msgspec.structs import replace

from meterseal.control import acts
from meterseal.errors import DataError
from meterseal.mdms.entries import Version
from meterseal.mdms.facts import Fact, Facts
from meterseal.mdms.multipliers import Unsaid, canonical, unsaid
from meterseal.mdms.spans import Span
from meterseal.mdms.store.rows import EVER
from meterseal.mdms.surroundings import Surroundings
from meterseal.model import Quality
from meterseal.people.erasure import erase
from meterseal.utility import arithmetic
from meterseal.utility.bills import Bill
from meterseal.utility.calendar import HOUR
from meterseal.utility.effect import Overlay
from meterseal.utility.views import UsageSeries
from tests.utility.conftest import Town
from tests.utility.test_billing import JULY, JUNE, MONTH, held_code, only_bill
from tests.utility.test_exchange import NEW, OLD_LAST, WHEN, swap, two_meters
from tests.utility.twins import Channel, day

MID = day("2026-06-16")


def state(town: Town, value: str, since: int = 0, until: int = EVER, point: str = "x", now: int = 1) -> None:
    fact = Fact(usage_point=point, kind="multiplier", value=value, since=since, until=until)
    Facts(town.engine, Surroundings(town.engine)).put((fact,), now)


def counted(town: Town, medium: str = "electricity", step: int = 10) -> Channel:
    channel = town.supply("x", medium, "2026-06-01")  # type: ignore[arg-type]
    channel.count(JUNE, [step] * MONTH, 300)
    channel.sign_days()
    return channel


def sound(bill: Bill) -> None:
    assert arithmetic.sound(bill)
    assert list(arithmetic.faults(bill)) == []


async def test_a_business_meter_behind_transformers_is_billed_for_what_was_used(town: Town) -> None:
    counted(town)
    state(town, "2000/5")
    bill = await only_bill(town)
    raw = Decimal(10 * MONTH).scaleb(-2)
    assert bill.used == raw * 400
    for one in bill.determinants:
        (part,) = one.multiplied
        assert (part.multiplier, part.amount) == (400, one.amount)
        assert part.amount == part.used * 400
        assert (one.readings.first.register, one.readings.last.register) == (300, 300 + 10 * MONTH)
        assert one.readings.last.evidence is not None
        assert one.readings.last.evidence.register == one.readings.last.register
    assert sum(one.multiplied[0].used for one in bill.determinants) == raw
    assert {line.assurance for line in bill.lines if line.determinant is not None} == {"meter-chained"}
    sound(bill)


async def test_without_a_multiplier_and_with_one_of_1_a_bill_is_the_bill_it_was(town: Town) -> None:
    counted(town)
    bill = await only_bill(town)
    assert {one.multiplied for one in bill.determinants} == {()}
    state(town, "1")
    report = await town.utility.run_bills(JULY)
    assert (report.issued, report.unchanged) == ((), 1)


@pytest.mark.parametrize("medium", ["water", "gas", "heat", "electricity"])
async def test_a_multiplier_with_decimals_is_exact(town: Town, medium: str) -> None:
    counted(town, medium, step=7)
    state(town, "0.001")
    bill = await only_bill(town)
    assert bill.used == Decimal(7 * MONTH).scaleb(-5)
    sound(bill)
    hours = town.utility.series("x", "hour", JUNE, JUNE + 2 * HOUR)
    assert (hours.exponent, hours.used) == (-5, (7, 7))
    for by in ("hour", "day"):
        shown = town.utility.bill_readings(bill.bill_id, 0, None, by, None, 0, 500)  # type: ignore[arg-type]
        assert shown.adds_up
        row = shown.rows[0]
        assert row.used == Decimal((row.until - row.since) // HOUR * 7).scaleb(-5)
        assert row.register == 300 + (row.until - JUNE) // HOUR * 7


async def test_a_multiplier_of_the_past_corrects_the_bill_and_is_named(town: Town) -> None:
    counted(town)
    first = await only_bill(town)
    state(town, "40", now=JULY + 5)
    report = await town.utility.run_bills(JULY + 10)
    (corrected,) = report.corrected
    bill = town.utility.bill(corrected)
    assert (bill.version, bill.supersedes, bill.used) == (2, first.bill_id, first.used * 40)
    named = {change.code: (change.before, change.after) for change in bill.changes}
    assert named["multiplier"] == ("", "40 from 2026-06-01 00:00")
    assert [
        (act.act, act.subject, act.at) for act in acts.verified(town.engine) if "multiplier" in act.act
    ] == [("multiplier-stated", "x/40/0", JULY + 5)]
    state(town, "", now=JULY + 20)
    assert acts.verified(town.engine)[-1].subject == "x/none/0"
    report = await town.utility.run_bills(JULY + 30)
    assert town.utility.bill(report.corrected[0]).used == first.used


@pytest.mark.parametrize("medium", ["water", "electricity"])
async def test_a_multiplier_that_changes_within_a_period_cuts_the_use_there(town: Town, medium: str) -> None:
    counted(town, medium)
    state(town, "40", until=MID)
    state(town, "60", since=MID)
    bill = await only_bill(town)
    half = Decimal(10 * 15 * 24).scaleb(-2)
    assert bill.used == half * 100
    parts = [part for one in bill.determinants if one.kind != "year" for part in one.multiplied]
    assert {(part.since, part.multiplier) for part in parts} == {(JUNE, Decimal(40)), (MID, Decimal(60))}
    edges = [part.edge for part in parts if part.edge is not None]
    assert {(edge.end_at, edge.register) for edge in edges} == {(MID, 300 + 10 * 15 * 24)}
    assert all(edge.evidence is not None for edge in edges)
    sound(bill)
    (card,) = (town.utility.card("x", JULY - HOUR),)
    assert card.multiplier == 60


async def test_a_change_where_no_register_was_read_is_not_billed(town: Town) -> None:
    channel = counted(town, "water")
    state(town, "40", since=MID)
    del channel.registers[MID]
    del channel.evidence[MID]
    assert await held_code(town) == "bill.multiplier-changed"
    (hole,) = [used for used in _hours(town) if used is None][:1] or [0]
    assert hole is None


async def test_a_bill_that_waits_is_issued_once_the_multiplier_is_said_from_a_register_on(town: Town) -> None:
    counted(town, "water")
    state(town, "40", since=MID + HOUR // 2, now=1)
    assert await held_code(town) == "bill.multiplier-changed"
    state(town, "", since=0, now=2)
    state(town, "40", since=MID + HOUR, now=3)
    bill = await only_bill(town)
    assert bill.version == 1
    assert bill.used == Decimal(10 * (15 * 24 + 1)).scaleb(-2) + Decimal(10 * (15 * 24 - 1)).scaleb(-2) * 40
    assert town.utility.held() == ()
    sound(bill)


def _hours(town: Town) -> tuple[int | None, ...]:
    shown: UsageSeries = town.utility.series("x", "hour", MID - 3 * HOUR, MID + 3 * HOUR)
    return shown.used


@pytest.mark.parametrize("medium", ["water", "electricity"])
async def test_an_exchange_ends_the_multiplier_unless_it_is_said_again(town: Town, medium: str) -> None:
    channel = town.supply("x", medium, "2026-06-01")  # type: ignore[arg-type]
    two_meters(channel, first=107)
    state(town, "40")
    state(town, "1", since=WHEN)
    swap(town, OLD_LAST, "1.05")
    bill = await only_bill(town)
    old, new = Decimal(OLD_LAST) - 3, Decimal(107 + 10 * (MONTH - 254)).scaleb(-2) - Decimal("1.05")
    assert bill.used == old * 40 + new
    sound(bill)
    (one,) = bill.exchanges
    assert one.before is not None
    assert one.after is not None
    said = [Decimal(edge.register).scaleb(-2) for edge in (one.before, one.after)]
    assert one.stated == (Decimal(OLD_LAST) - said[0]) * 40 + (said[1] - Decimal("1.05"))
    state(town, "80", since=WHEN)
    report = await town.utility.run_bills(JULY + 1)
    again = town.utility.bill(report.corrected[0])
    assert again.used == old * 40 + new * 80
    sound(again)
    for by in ("hour", "day"):
        assert town.utility.bill_readings(again.bill_id, 0, None, by, None, 0, 500).adds_up  # type: ignore[arg-type]


@pytest.mark.parametrize("medium", ["water", "electricity"])
async def test_nothing_is_billed_until_the_multiplier_of_the_new_meter_is_said(
    town: Town, medium: str
) -> None:
    channel = town.supply("x", medium, "2026-06-01")  # type: ignore[arg-type]
    two_meters(channel)
    state(town, "40")
    swap(town, OLD_LAST, "0")
    report = await town.utility.run_bills(JULY)
    ((held,), issued) = report.held, report.issued
    assert (held.code, issued) == ("bill.multiplier-unstated", ())
    assert "2026-06-11 13:30" in held.sentence
    assert "2026-06-11T13:30:00+08:00" in held.sentence
    hours = town.utility.series("x", "hour", WHEN - HOUR - HOUR // 2, WHEN + 3 * HOUR + HOUR // 2)
    assert hours.used == (400, None, None, None, None), "use of nobody knows how much is not shown as use"
    shown = town.utility.card("x", JULY - HOUR).period
    assert shown.used is None or shown.as_of == WHEN - HOUR // 2, "time of use is shown up to the first hole"
    # What is said of the old meter alone says nothing of the new one, and neither does what is said from later on.
    state(town, "60", since=0, until=WHEN, now=2)
    state(town, "1", since=WHEN + HOUR, now=3)
    assert await held_code(town) == "bill.multiplier-unstated"
    state(town, "1", since=WHEN, now=4)
    bill = await only_bill(town)
    new = Decimal(10 * (MONTH - 254)).scaleb(-2)
    assert bill.used == (Decimal(OLD_LAST) - 3) * 60 + new
    assert town.utility.held() == ()
    sound(bill)


async def test_a_meter_after_one_that_nobody_knew_is_not_known_either(town: Town) -> None:
    spans = [Span(0, 100, "40"), Span(300, 400, "1")]
    assert unsaid(spans, [100, 200, 300]) == (Unsaid(100, 200), Unsaid(200, 300))
    assert unsaid(spans, [100, 200]) == (Unsaid(100, 200), Unsaid(200, 300))
    assert unsaid([Span(0, 50, "40"), Span(50, 100, "1")], [100, 200]) == ()
    assert unsaid([Span(0, 50, "40")], [100]) == ()
    assert unsaid([Span(0, 100, "40"), Span(100, EVER, "40")], [100]) == ()
    assert unsaid([], [100]) == ()
    assert unsaid([Span(0, 100, "40")], [100]) == (Unsaid(100, EVER),)


async def test_a_multiplier_that_is_taken_back_at_the_exchange_says_nothing_of_the_new_meter(
    town: Town,
) -> None:
    two_meters(town.supply("x", "water", "2026-06-01"))
    state(town, "40")
    state(town, "80", since=WHEN, now=2)
    swap(town, OLD_LAST, "0")
    await only_bill(town)
    state(town, "", since=WHEN, now=3)
    report = await town.utility.run_bills(JULY + 1)
    assert [one.code for one in report.held] == ["bill.multiplier-unstated"]


async def test_later_months_wait_as_well_and_no_month_before_the_exchange_does(town: Town) -> None:
    channel = town.supply("x", "electricity", "2026-06-01")
    two_meters(channel)
    end = channel.count(JULY, [10] * 24 * 31, channel.registers[JULY])
    channel.sign(end, device_id=NEW)
    channel.count(day("2026-05-31"), [10] * 24, 60)
    state(town, "40")
    swap(town, OLD_LAST, "0")
    report = await town.utility.run_bills(end)
    assert {one.code for one in report.held} == {"bill.multiplier-unstated"}
    assert [one.since for one in report.held] == [JUNE, JULY]


async def test_what_was_said_of_the_old_meter_does_not_come_back_after_the_next_ones_ended(
    town: Town,
) -> None:
    channel = town.supply("x", "water", "2026-06-01")
    two_meters(channel)
    swap(town, OLD_LAST, "0")
    state(town, "40")
    state(town, "80", since=WHEN, until=MID)
    bill = await only_bill(town)
    assert [part.multiplier for part in bill.determinants[0].multiplied] == [40, 80, 1]
    sound(bill)


async def test_time_without_a_meter_between_two_multipliers(town: Town) -> None:
    channel = town.supply("x", "water", "2026-06-01")
    two_meters(channel)
    came = WHEN + 2 * HOUR
    for end_at in [one for one in channel.registers if WHEN <= one < came]:
        del channel.registers[end_at]
    swap(town, OLD_LAST, None, installed=None)
    swap(town, None, "0", removed=None, when=came)
    state(town, "40")
    state(town, "80", since=came)
    bill = await only_bill(town)
    new = Decimal(10 * (MONTH - 254)).scaleb(-2)
    assert bill.used == (Decimal(OLD_LAST) - 3) * 40 + new * 80
    sound(bill)


async def test_a_register_that_begins_anew_is_multiplied_as_well(town: Town) -> None:
    channel = town.supply("x", "water", "2026-06-01")
    channel.count(JUNE, [10] * MONTH, 10**8 - 1000)
    channel.sign_days()
    state(town, "40", until=MID)
    bill = await only_bill(town)
    half = Decimal(10 * 15 * 24).scaleb(-2)
    assert bill.used == half * 41
    sound(bill)


async def test_the_year_that_sets_the_tier_is_multiplied(town: Town) -> None:
    channel = town.supply("x", "water", "2026-06-01", opening_accumulation=100)
    state(town, "3", until=MID)
    end = channel.count(JUNE, [10] * (MONTH + 31 * 24), 300)
    channel.sign_days()
    report = await town.utility.run_bills(end)
    assert [one.sentence for one in report.held] == []
    june, july = (town.utility.bill(one) for one in report.issued)
    (year,) = [one for one in july.determinants if one.kind == "year"]
    assert year.amount == june.used + 1
    assert june.used == Decimal(10 * 15 * 24).scaleb(-2) * 4
    sound(june)
    sound(july)


async def test_the_year_counts_both_meters_each_with_its_own_multiplier(town: Town) -> None:
    channel = town.supply("x", "water", "2026-06-01")
    two_meters(channel)
    swap(town, OLD_LAST, "0")
    state(town, "40")
    state(town, "80", since=WHEN)
    end = channel.count(JULY, [10] * 24 * 31, channel.registers[JULY])
    channel.sign(end, device_id=NEW)
    report = await town.utility.run_bills(end)
    assert [one.sentence for one in report.held] == []
    june, july = (town.utility.bill(one) for one in report.issued)
    (year,) = [one for one in july.determinants if one.kind == "year"]
    assert year.amount == june.used
    assert [part.multiplier for part in year.multiplied] == [40, 80]
    assert july.used == Decimal(10 * 24 * 31).scaleb(-2) * 80
    sound(june)
    sound(july)
    lied = replace(
        year.multiplied[0], used=year.multiplied[0].used + 1, amount=year.multiplied[0].amount + 40
    )
    forged = replace(year, amount=year.amount + 40, multiplied=(lied, *year.multiplied[1:]))
    others = tuple(forged if one is year else one for one in july.determinants)
    assert list(arithmetic.faults(replace(july, determinants=others)))


async def test_an_estimated_boundary_may_be_off_by_as_much_times_the_multiplier(town: Town) -> None:
    channel = counted(town, "water")
    del channel.evidence[JULY]
    channel.quality[JULY], channel.half[JULY] = Quality.ESTIMATED, 25
    state(town, "40")
    bill = await only_bill(town)
    assert bill.estimate is not None
    assert bill.estimate.high == bill.used + Decimal("0.25") * 40


async def test_the_effect_of_an_edit_is_multiplied(town: Town) -> None:
    counted(town, "heat")
    state(town, "40")
    bill = await only_bill(town)
    town.measurements.channels["x"].evidence.pop(JULY)
    said = (300 + 10 * MONTH + 100,)
    edit = Version("x", "heat", 1, JULY, HOUR, said, -2, "kWh", Quality.EDITED, "edit", JULY, "vouched", 2)
    over = town.utility._billing.over(Overlay(town.measurements, (edit,)))
    (drawn,) = over.drawn("x", JULY, JULY + 1)
    assert isinstance(drawn.outcome, Bill), drawn.outcome
    assert drawn.outcome.used == bill.used + 40


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("multiplier", "41"),
        ("multiplier", "-40"),
        ("multiplier", "0"),
        ("used", "1"),
        ("amount", "1"),
        ("since", 5),
    ],
)
async def test_a_bill_whose_multiplier_was_changed_does_not_add_up(
    town: Town, field: str, value: str | int
) -> None:
    counted(town)
    state(town, "40", until=MID)
    bill = await only_bill(town)
    one = bill.determinants[0]
    changed = replace(one.multiplied[0], **{field: Decimal(value) if isinstance(value, str) else value})
    forged = replace(
        bill, determinants=(replace(one, multiplied=(changed, *one.multiplied[1:])), *bill.determinants[1:])
    )
    assert list(arithmetic.faults(forged))


@pytest.mark.parametrize("place", ["until", "edge", "first"])
async def test_attack_an_instant_that_no_calendar_has_is_no_bill(town: Town, place: str) -> None:
    counted(town)
    state(town, "40", until=MID)
    bill = await only_bill(town)
    one = bill.determinants[0]
    part = one.multiplied[0]
    assert part.edge is not None
    far = 1 << 61
    if place == "first":
        used = replace(one.readings, first=replace(one.readings.first, end_at=far))
        one = replace(one, readings=used)
    else:
        wrong = (
            replace(part, until=far)
            if place == "until"
            else replace(part, edge=replace(part.edge, end_at=far))
        )
        one = replace(one, multiplied=(wrong, *one.multiplied[1:]))
    assert not arithmetic.sound(replace(bill, determinants=(one, *bill.determinants[1:])))


async def test_use_moved_to_where_the_multiplier_is_low_does_not_add_up(town: Town) -> None:
    counted(town, "heat")
    state(town, "40", until=MID)
    bill = await only_bill(town)
    (one,) = bill.determinants
    high, low = one.multiplied
    moved = (
        replace(high, used=high.used - 1, amount=high.amount - 40),
        replace(low, used=low.used + 1, amount=low.amount + 1),
    )
    forged = replace(bill, determinants=(replace(one, amount=one.amount - 39, multiplied=moved),))
    assert any("not the difference of its registers" in fault for fault in arithmetic.faults(forged))


async def test_one_time_under_two_multipliers_on_a_bill_is_found(town: Town) -> None:
    counted(town)
    state(town, "40")
    bill = await only_bill(town)
    first, *others = bill.determinants
    part = replace(first.multiplied[0], multiplier=Decimal(20), amount=first.multiplied[0].used * 20)
    forged = replace(bill, determinants=(replace(first, amount=part.amount, multiplied=(part,)), *others))
    assert any("two numbers" in fault for fault in arithmetic.faults(forged))


@pytest.mark.parametrize(
    "value",
    [
        "0",
        "0.0",
        "-40",
        "+40",
        "1e3",
        "nan",
        "inf",
        "40 ",
        "4O",
        "٤٠",
        "100/3",
        "5/0",
        "0/5",
        "1000001",
        "0.0000001",
        "12345678",
        "1234567.1",
        "40/",
        "/5",
        "40,5",
        "2/1/1",
    ],
)
async def test_no_multiplier_is_taken_that_cannot_be_one(town: Town, value: str) -> None:
    town.supply("x", "water", "2026-06-01")
    with pytest.raises(DataError) as caught:
        state(town, value)
    assert caught.value.code == "facts.value"
    assert canonical(value) == ""
    assert acts.verified(town.engine) == []


def test_ratios_are_the_numbers_that_they_are() -> None:
    said = ["40", "040", "2000/5", "10000/100", "0.5", "1/8", "1.50", "1000000", "0.000001", "1.5/0.5"]
    assert [canonical(one) for one in said] == [
        "40", "40", "400", "100", "0.5", "0.125", "1.5", "1000000", "0.000001", "3",
    ]  # fmt: skip


async def test_two_multipliers_of_one_time_are_refused_whole(town: Town) -> None:
    town.supply("x", "water", "2026-06-01")
    facts = Facts(town.engine, Surroundings(town.engine))
    said = [
        Fact(usage_point="x", kind="multiplier", value=value, since=since, until=until)
        for value, since, until in (("40", 0, EVER), ("60", MID, MID + 1))
    ]
    for order in (said, said[::-1]):
        with pytest.raises(DataError) as caught:
            facts.put(order, 1)
        assert caught.value.code == "facts.multiplier"
    assert facts.multiplied({}) == (False, {})
    facts.put([said[0], replace(said[1], value="80/2")], 1)


async def test_more_multipliers_than_the_trail_takes_at_once_are_refused(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    town.supply("x", "water", "2026-06-01")
    monkeypatch.setattr("meterseal.mdms.facts.MOST_BILLED", 1)
    facts = Facts(town.engine, Surroundings(town.engine))
    said = [
        Fact(usage_point="x", kind="multiplier", value="40", since=since, until=since + 1) for since in (1, 5)
    ]
    with pytest.raises(DataError) as caught:
        facts.put(said, 1)
    assert caught.value.code == "facts.many"
    assert facts.multiplied({}) == (False, {})


async def test_a_usage_point_nobody_knows_has_no_multiplier(town: Town) -> None:
    with pytest.raises(DataError) as caught:
        state(town, "40", point="nobody's")
    assert caught.value.code == "facts.unknown"


async def test_an_absurd_product_holds_the_bill_and_wraps_round_nowhere(town: Town) -> None:
    channel = town.supply("x", "heat", "2026-06-01")
    channel.registers[JUNE], channel.registers[JULY] = 0, 10**13
    state(town, "1000000", until=MID)
    state(town, "0.000001", since=MID)
    channel.registers[MID] = 10**12
    assert await held_code(town) == "usage.multiplier"


async def test_erasing_the_person_leaves_bills_and_the_multiplier(town: Town) -> None:
    counted(town)
    state(town, "40")
    bill = await only_bill(town)
    erase(town.engine, "c1", "operator", JULY)
    report = await town.utility.run_bills(JULY + 1)
    assert [one.sentence for one in report.held] == []
    assert town.utility.bill(bill.bill_id).used == bill.used


async def test_use_shown_by_the_hour_and_the_projection_are_multiplied(town: Town) -> None:
    counted(town, "water")
    plain = town.utility.card("x", JULY - 48 * HOUR)
    state(town, "40")
    card = town.utility.card("x", JULY - 48 * HOUR)
    assert plain.multiplier is None
    assert plain.period.used is not None
    assert card.multiplier == 40
    assert card.period.used == plain.period.used * 40
    assert plain.period.projection is not None
    assert card.period.projection is not None
    assert abs(card.period.projection.used - plain.period.projection.used * 40) < 1
    shown = town.utility.series("x", "hour", JUNE, JUNE + HOUR)
    assert (shown.exponent, shown.used) == (-2, (400,))
