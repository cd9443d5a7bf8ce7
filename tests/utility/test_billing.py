"""The bill run: what is issued, corrected, left alone and held, and how each line opens to its evidence."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import get_args

import msgspec
import pytest
import sqlalchemy as sa

from meterseal.control import read, write
from meterseal.control.tables import bills
from meterseal.errors import DataError, LocalError, TrustError
from meterseal.model import Medium, Quality
from meterseal.utility.bills import Bill, RunReport
from meterseal.utility.calendar import HOUR
from meterseal.utility.readings import ROLL_OVER
from meterseal.utility.tariff import parse_tariff, tariff_document
from meterseal.utility.views import MEANING, Assurance
from tests.utility.conftest import Town
from tests.utility.test_tariff import POWER, SAMPLES, WATER, changed
from tests.utility.twins import Channel, at, day

MAY, JUNE, JULY = day("2026-05-01"), day("2026-06-01"), day("2026-07-01")
MONTH = 30 * 24


async def only_bill(town: Town, now: int = JULY) -> Bill:
    report = await town.utility.run_bills(now)
    assert [one.sentence for one in report.held] == []
    (bill_id,) = report.issued
    return town.utility.bill(bill_id)


async def held_code(town: Town, now: int = JULY) -> str:
    report = await town.utility.run_bills(now)
    assert report.issued == ()
    (held,) = report.held
    assert town.utility.held() == report.held
    return held.code


async def test_a_tiered_bill_opens_to_registers_the_meter_signed(town: Town) -> None:
    water = town.supply("w", "water", "2026-06-01", opening_accumulation=17_900)
    water.count(JUNE, [1] * MONTH, 5000)
    water.sign_days()
    bill = await only_bill(town)
    assert (bill.total_fen, bill.used, bill.accumulated) == (
        500 + 620 * 7,
        Decimal("7.20"),
        Decimal("186.20"),
    )
    assert [(line.charge.tier, line.charge.quantity) for line in bill.lines] == [(1, 1), (2, Decimal("6.2"))]
    assert (bill.first_day, bill.last_day) == ("2026-06-01", "2026-06-30")
    assert [(part.assurance, part.amount_fen) for part in bill.parts] == [("meter-signed", bill.total_fen)]
    for line in bill.lines:
        assert line.determinant is not None
        used = bill.determinants[line.determinant].readings
        assert (used.first.register, used.last.register, used.count) == (5000, 5720, 2)
        assert used.first.evidence is not None
        assert used.last.evidence is not None
        assert used.last.evidence.register == used.last.register
        assert used.last.assurance == "meter-signed"
    year = bill.determinants[-1]
    assert (year.kind, year.amount, year.carried, year.assurance) == ("year", 179, 179, "taken-over")
    assert bill.trail == ("1.00 x 5.00 = 5.0000 CNY -> 500 fen", "6.20 x 7.00 = 43.4000 CNY -> 4340 fen")


async def test_a_time_of_use_bill_rests_on_the_chain_over_its_hours(town: Town) -> None:
    power = town.supply("e", "electricity", "2026-06-01")
    power.count(JUNE, [10] * MONTH)
    power.sign_days()
    bill = await only_bill(town)
    assert [line.charge.quantity for line in bill.lines] == [21, 27, 24]
    assert bill.total_fen == 1592 + 1426 + 716  # 21 x .7583, 27 x .5283, 24 x .2983
    assert {line.assurance for line in bill.lines} == {"meter-chained"}
    assert bill.use_assurance == "meter-signed"
    (summary,) = town.utility.bills("a-e")
    assert (summary.signed_fen, summary.chained_fen, summary.metered_fen) == (
        0,
        bill.total_fen,
        bill.total_fen,
    )


@pytest.mark.parametrize("medium", ["water", "heat", "electricity"])
@pytest.mark.parametrize("suite", [0, 1, 2])
async def test_one_word_for_one_amount_in_list_lines_and_parts(
    town: Town, medium: Medium, suite: int
) -> None:
    """The review found a list that said meter-signed over lines and parts that said meter-chained."""
    channel = town.supply("x", medium, "2026-06-01")
    channel.count(JUNE, [10] * MONTH)
    if suite:
        channel.sign_days(suite=suite, checked="signed" if suite == 1 else "mac")
    bill = await only_bill(town)
    (summary,) = town.utility.bills("a-x")
    metered = {line.assurance for line in bill.lines if line.assurance != "tariff"}
    assert metered == {summary.assurance}
    parts = {part.assurance: part.amount_fen for part in bill.parts}
    assert summary.signed_fen == parts.get("meter-signed", 0)
    assert summary.chained_fen == parts.get("meter-chained", 0)
    fleet = town.utility.fleet()
    assert (fleet.signed_fen, fleet.chained_fen) == (summary.signed_fen, summary.chained_fen)
    assert fleet.by_assurance == parts
    assert MEANING.keys() == set(get_args(Assurance))


@pytest.mark.parametrize(
    ("change", "assurance"),
    [
        (lambda c: c.sign_days(suite=2, checked="mac"), "platform-attested"),
        (lambda c: None, "unsigned"),
        (lambda c: setattr(c, "vouched", True), "vouched"),
        (lambda c: c.quality.update({JULY: Quality.ESTIMATED}), "estimated"),
        (lambda c: c.sign(JUNE), "unsigned"),
        (lambda c: c.sign_days(checked="chain-broken", reason="an hour differs"), "meter-signed"),
    ],
)
async def test_the_weaker_boundary_decides_who_stands_behind_a_quantity(
    town: Town, change: Callable[[Channel], None], assurance: str
) -> None:
    water = town.supply("w", "water", "2026-06-01")
    water.count(JUNE, [1] * MONTH)
    change(water)
    bill = await only_bill(town)
    assert {line.assurance for line in bill.lines} == {assurance}
    assert bill.use_assurance == assurance


@pytest.mark.parametrize(
    ("change", "assurance"),
    [
        (lambda c: c.sign_days(suite=2, checked="mac"), "platform-attested"),
        (lambda c: (c.sign_days(), c.sign(day("2026-06-10"), checked="chain-open")), "unsigned"),
        (
            lambda c: (c.sign_days(), c.quality.update({at("2026-06-10T09:00:00"): Quality.ESTIMATED})),
            "estimated",
        ),
    ],
)
async def test_hours_are_no_better_than_what_covers_them(
    town: Town, change: Callable[[Channel], None], assurance: str
) -> None:
    power = town.supply("e", "electricity", "2026-06-01")
    power.count(JUNE, [10] * MONTH)
    change(power)
    bill = await only_bill(town)
    assert bill.lines[0].assurance == assurance


async def test_a_fixed_charge_is_not_a_metered_quantity(town: Town) -> None:
    heat = town.supply("h", "heat", "2026-06-01")
    heat.count(JUNE, [100] * MONTH)
    heat.sign_days()
    bill = await only_bill(town)
    assert {part.assurance: part.amount_fen for part in bill.parts} == {"meter-signed": 11520, "tariff": 3000}
    assert bill.lines[-1].determinant is None
    (summary,) = town.utility.bills("a-h")
    assert (summary.total_fen, summary.metered_fen, summary.signed_fen) == (14520, 11520, 11520)


async def test_a_period_that_begins_in_mid_month_pays_no_fixed_charge(town: Town) -> None:
    heat = town.supply("h", "heat", "2026-06-15")
    heat.count(day("2026-06-15"), [100] * (16 * 24))
    bill = await only_bill(town)
    assert [line.charge.kind for line in bill.lines] == ["flat"]
    assert bill.first_day == "2026-06-15"


async def test_a_register_that_rolls_over_is_billed_through(town: Town) -> None:
    water = town.supply("w", "water", "2026-06-01")
    water.count(JUNE, [1] * MONTH, ROLL_OVER - 100)
    water.sign_days()
    assert (await only_bill(town)).used == Decimal("7.20")


# --- held rather than guessed --------------------------------------------------------------------------


def lose(*instants: int) -> Callable[[Channel], None]:
    return lambda channel: [channel.registers.pop(instant) for instant in instants] and None


def falls(channel: Channel) -> None:
    channel.registers[JULY] = 1
    channel.sign(JULY)


def other_meter(channel: Channel) -> None:
    channel.sign(JULY, device_id=bytes(8))


def edited(channel: Channel) -> None:
    channel.registers[JULY] += 1


def suspect(channel: Channel) -> None:
    channel.quality[JUNE] = Quality.SUSPECT


def unproved(channel: Channel) -> None:
    channel.sign(JULY, checked="bad", reason="signature of another key")


def altered(channel: Channel) -> None:
    channel.sign(day("2026-06-10"), checked="chain-broken", reason="an hour differs")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lose(JUNE), "bill.boundary-missing"),
        (lose(JULY), "bill.boundary-missing"),
        (suspect, "bill.boundary-missing"),
        (falls, "bill.negative-use"),
        (edited, "bill.evidence-differs"),
        (unproved, "bill.evidence-bad"),
        (other_meter, "bill.meter-changed"),
    ],
)
@pytest.mark.parametrize("medium", ["water", "electricity"])
async def test_what_would_be_a_guess_is_held(
    town: Town, medium: str, change: Callable[[Channel], None], code: str
) -> None:
    channel = town.supply("x", medium, "2026-06-01")  # type: ignore[arg-type]
    channel.count(JUNE, [7] * MONTH, 300)
    channel.sign_days()
    change(channel)
    assert await held_code(town) == code


@pytest.mark.parametrize(
    ("change", "code"),
    [(lose(at("2026-06-10T09:00:00")), "bill.hours-missing"), (altered, "bill.evidence-bad")],
)
async def test_hours_matter_to_time_of_use_alone(
    town: Town, change: Callable[[Channel], None], code: str
) -> None:
    for usage_point, medium in (("w", "water"), ("e", "electricity")):
        channel = town.supply(usage_point, medium, "2026-06-01")  # type: ignore[arg-type]
        channel.count(JUNE, [7] * MONTH)
        channel.sign_days()
        change(channel)
    report = await town.utility.run_bills(JULY)
    assert [bill_id.split(".")[0] for bill_id in report.issued] == ["a-w"]
    assert [(one.agreement_id, one.code) for one in report.held] == [("a-e", code)]


async def test_a_held_bill_is_issued_once_its_reading_arrives(town: Town) -> None:
    water = town.supply("w", "water", "2026-06-01")
    water.count(JUNE, [1] * MONTH)
    closing = water.registers.pop(JULY)
    assert await held_code(town, JULY) == "bill.boundary-missing"
    later = await town.utility.run_bills(JULY + HOUR)
    assert later.held[0].found_at == JULY + HOUR
    assert town.utility.held()[0].found_at == JULY  # waiting since then
    water.registers[JULY] = closing
    assert (await only_bill(town, JULY + 2 * HOUR)).total_fen == 3600
    assert town.utility.held() == ()


async def test_a_tariff_that_does_not_cover_the_period_holds_the_bill(town: Town) -> None:
    water = town.supply("w", "water", "2026-06-01")
    water.count(JUNE, [1] * MONTH)
    with write(town.engine) as connection:
        connection.exec_driver_sql("update agreements set tariff_code = 'unheard-of'")
    assert await held_code(town) == "tariff.none"


# --- which periods -------------------------------------------------------------------------------------


async def test_a_period_is_billed_when_it_is_over_and_not_before(town: Town) -> None:
    water = town.supply("w", "water", "2026-05-11", billing_day=11)
    end = water.count(day("2026-05-11"), [1] * (24 * 50))
    assert (await town.utility.run_bills(day("2026-06-11") - 1)).periods == 0
    report = await town.utility.run_bills(day("2026-06-11"))
    assert report.issued == ("a-w.2026-05-11.v1",)
    assert (await town.utility.run_bills(end)).unchanged == 1


async def test_the_last_period_ends_with_the_agreement(town: Town) -> None:
    water = town.supply("w", "water", "2026-06-01")
    water.count(JUNE, [1] * MONTH)
    town.utility.end_agreement("a-w", day("2026-06-20"))
    bill = await only_bill(town)
    assert (bill.last_day, bill.used) == ("2026-06-19", Decimal("4.56"))


async def test_periods_long_past_are_looked_at_only_when_asked(town: Town) -> None:
    water = town.supply("w", "water", "2026-06-01")
    water.count(JUNE, [1] * MONTH)
    later = day("2028-01-01")
    assert all(one.since > JULY for one in (await town.utility.run_bills(later)).held)
    report = await town.utility.run_bills(later, since=JUNE)
    assert report.issued == ("a-w.2026-06-01.v1",)


async def test_use_accumulates_over_the_months_of_a_year_and_begins_again(town: Town) -> None:
    water = town.supply("w", "water", "2026-11-01", opening_accumulation=17_000)
    november, december = 30 * 24, 31 * 24
    water.count(day("2026-11-01"), [2] * (november + december + december))
    report = await town.utility.run_bills(day("2027-02-01"))
    first, second, third = (town.utility.bill(bill_id) for bill_id in report.issued)
    assert first.accumulated == Decimal("184.40")
    assert second.accumulated == Decimal("199.28")
    assert [line.charge.tier for line in second.lines] == [2]
    assert third.accumulated == Decimal("14.88")
    assert [line.charge.tier for line in third.lines] == [1]
    assert third.determinants[-1].amount == 0


async def test_the_next_customer_takes_over_the_year_of_the_usage_point(town: Town) -> None:
    water = town.supply("w", "water", "2026-05-01", opening_accumulation=17_500)
    water.count(MAY, [1] * (61 * 24))
    town.utility.end_agreement("a-w", JUNE)
    town.utility.add_agreement("b-w", "c1", "w", WATER, JUNE, 1)
    report = await town.utility.run_bills(JULY)
    _, second = (town.utility.bill(bill_id) for bill_id in report.issued)
    year = second.determinants[-1]
    assert (second.agreement_id, year.amount, year.carried) == ("b-w", Decimal("182.44"), 175)
    assert year.assurance == "taken-over"


async def test_a_year_inside_the_period_and_a_dearer_version_split_the_bill(town: Town) -> None:
    water = town.supply("w", "water", "2026-12-15", billing_day=15, opening_accumulation=18_000)
    water.count(day("2026-12-15"), [1] * (31 * 24))
    water.sign_days()
    town.utility.publish_tariffs([changed(WATER, version=2, since="2027-01-11", tiers=[{"price": "6"}])])
    bill = await only_bill(town, day("2027-01-15"))
    assert [(line.charge.tariff_version, line.charge.tier, line.charge.quantity) for line in bill.lines] == [
        (1, 2, Decimal("4.08")),
        (1, 1, Decimal("2.40")),
        (2, 1, Decimal("0.96")),
    ]
    assert bill.tariff_versions == (1, 2)
    assert sum(line.charge.quantity for line in bill.lines) == bill.used
    assert {line.assurance for line in bill.lines} == {"meter-signed"}


async def test_an_agreement_may_hold_on_to_one_version(town: Town) -> None:
    town.utility.publish_tariffs([changed(WATER, version=2, tiers=[{"price": "6"}])])
    water = town.supply("w", "water", "2026-06-01", tariff_version=1)
    water.count(JUNE, [1] * MONTH)
    assert (await only_bill(town)).tariff_versions == (1,)


async def test_two_agreements_never_run_at_one_usage_point_at_once(town: Town) -> None:
    town.supply("w", "water", "2026-06-01")
    with pytest.raises(DataError) as caught:
        town.utility.add_agreement("b-w", "c1", "w", WATER, JULY, 1)
    assert caught.value.code == "agreement.overlap"


# --- versions ------------------------------------------------------------------------------------------


async def test_a_rerun_with_the_same_inputs_issues_nothing(town: Town) -> None:
    for usage_point, medium in (("w", "water"), ("e", "electricity"), ("h", "heat")):
        channel = town.supply(usage_point, medium, "2026-06-01")  # type: ignore[arg-type]
        channel.count(JUNE, [3] * MONTH)
        channel.sign_days()
    first = await town.utility.run_bills(JULY)
    assert len(first.issued) == 3
    again = await town.utility.run_bills(JULY + 5)
    assert (again.issued, again.unchanged) == ((), 3)
    await town.start(JULY)  # the process began anew
    assert (await town.utility.run_bills(JULY + 6)).issued == ()


def codes(bill: Bill) -> set[str]:
    return {change.code for change in bill.changes}


async def corrected(town: Town, now: int) -> tuple[RunReport, Bill]:
    report = await town.utility.run_bills(now)
    (bill_id,) = report.corrected
    return report, town.utility.bill(bill_id)


async def test_changed_inputs_make_a_new_version_that_names_them(town: Town) -> None:
    water = town.supply("w", "water", "2026-06-01")
    water.count(JUNE, [1] * MONTH)
    first = await only_bill(town)
    water.registers[JULY] += 100
    water.quality[JULY] = Quality.EDITED
    report, second = await corrected(town, JULY + HOUR)
    assert report.issued == ("a-w.2026-06-01.v2",)
    assert codes(second) == {"last-register", "use", "quality", "proof", "total"}
    assert {change.code: (change.before, change.after) for change in second.changes}["total"] == (
        "3600",
        "4100",
    )
    assert (second.version, second.supersedes) == (2, first.bill_id)
    assert town.utility.bill(first.bill_id) == first
    newest, oldest = town.utility.bills("a-w")
    assert (newest.latest, oldest.latest) == (True, False)
    assert town.utility.fleet().total_fen == 4100
    assert town.utility.fleet().corrected == 1


async def test_evidence_that_arrives_later_is_named_and_the_amount_stays(town: Town) -> None:
    water = town.supply("w", "water", "2026-06-01")
    water.count(JUNE, [1] * MONTH)
    first = await only_bill(town)
    water.sign_days()
    _, second = await corrected(town, JULY + HOUR)
    assert codes(second) == {"proof"}
    assert second.total_fen == first.total_fen


async def test_a_corrected_price_makes_a_new_version(town: Town) -> None:
    water = town.supply("w", "water", "2026-06-01")
    water.count(JUNE, [1] * MONTH)
    await only_bill(town)
    town.utility.publish_tariffs([changed(WATER, version=2, tiers=[{"price": "6"}])])
    _, second = await corrected(town, JULY + HOUR)
    assert codes(second) == {"tariff", "total"}


async def test_moved_hours_change_the_bands_and_are_named(town: Town) -> None:
    power = town.supply("e", "electricity", "2026-06-01")
    power.count(JUNE, [10] * MONTH)
    await only_bill(town)
    for date in range(1, 31):
        power.registers[at(f"2026-06-{date:02}T08:00:00")] += 9
    _, second = await corrected(town, JULY + HOUR)
    assert codes(second) == {"use", "total"}


async def test_time_already_billed_is_not_billed_again_under_another_billing_day(town: Town) -> None:
    water = town.supply("w", "water", "2026-06-01")
    water.count(JUNE, [1] * (61 * 24))
    await only_bill(town)
    with write(town.engine) as connection:
        connection.exec_driver_sql("update agreements set billing_day = 20")
    report = await town.utility.run_bills(day("2026-08-01"))
    assert {one.code for one in report.held} == {"bill.overlap"}
    assert [bill_id.split(".")[1] for bill_id in report.corrected] == ["2026-06-01"]


async def test_a_failing_run_leaves_nothing_behind(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    for usage_point in ("w1", "w2"):
        town.supply(usage_point, "water", "2026-06-01").count(JUNE, [1] * MONTH)
    with monkeypatch.context() as patched:
        patched.setattr(
            town.measurements, "evidence_between", lambda point, *rest: 1 / 0 if point == "w2" else []
        )
        with pytest.raises(ZeroDivisionError):
            await town.utility.run_bills(JULY)
    assert town.utility.fleet().bills == 0
    assert town.utility.fleet().last_run_at is None
    assert len((await town.utility.run_bills(JULY)).issued) == 2


# --- as kept -------------------------------------------------------------------------------------------


async def test_a_stored_bill_shows_no_register_and_opens_in_its_place_alone(
    town: Town, tmp_path: Path
) -> None:
    for usage_point in ("w1", "w2"):
        town.supply(usage_point, "water", "2026-06-01").count(JUNE, [1] * MONTH, 31_415_926)
    await town.utility.run_bills(JULY)
    town.engine.dispose()
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"a-w1.2026-06-01.v1" in stored
    assert b"31415926" not in stored
    with write(town.engine) as connection:
        (one, other) = (
            connection.execute(sa.select(bills.c.sealed_document).order_by(bills.c.id)).scalars().all()
        )
        assert one != other
        connection.execute(
            sa.update(bills).where(bills.c.id == "a-w2.2026-06-01.v1").values(sealed_document=one)
        )
    with pytest.raises(TrustError):
        town.utility.bill("a-w2.2026-06-01.v1")
    assert town.utility.bill("a-w1.2026-06-01.v1").usage_point == "w1"


async def test_a_stored_bill_shows_its_period_and_no_amount(town: Town) -> None:
    town.supply("w", "water", "2026-06-01").count(JUNE, [1] * MONTH)
    await only_bill(town)
    with read(town.engine) as connection:
        row = connection.execute(sa.select(bills)).one()
    assert (row.currency, row.version, row.until) == ("CNY", 1, JULY)
    assert "total_fen" not in bills.c


async def test_an_unknown_bill_is_said_to_be_unknown(town: Town) -> None:
    with pytest.raises(LocalError) as caught:
        town.utility.bill("a-w.2026-06-01.v9")
    assert caught.value.code == "bill.none"


async def test_a_bill_survives_the_wire_exactly(town: Town) -> None:
    power = town.supply("e", "electricity", "2026-06-01")
    power.count(JUNE, [10] * MONTH)
    power.sign_days()
    bill = await only_bill(town)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(bill), type=Bill) == bill
    assert msgspec.json.decode(msgspec.json.encode(bill), type=Bill) == bill


async def test_a_published_version_never_changes(town: Town) -> None:
    same = parse_tariff(tariff_document(SAMPLES[POWER]))
    town.utility.publish_tariffs([same])
    with pytest.raises(DataError) as caught:
        town.utility.publish_tariffs([changed(POWER, name={"zh": "别的", "en": "other"})])
    assert caught.value.code == "tariff.published"


async def test_the_newest_bill_is_opened_alone(town: Town) -> None:
    channel = town.supply("x", "water", "2026-06-01")
    channel.count(JUNE, [2] * (MONTH + 31 * 24), 20)
    assert town.utility._billing.newest("a-x") is None
    await town.utility.run_bills(JULY)
    channel.registers[JULY] += 5
    await town.utility.run_bills(day("2026-08-01"))
    bills = town.utility.bills("a-x")
    assert len(bills) == 3
    newest = town.utility._billing.newest("a-x")
    assert newest == bills[0]
    assert newest is not None
    assert newest.latest
