"""Each line of a bill opens to the readings it was made of, and they add up to the line, in every case."""

from __future__ import annotations

from decimal import Decimal

import pytest

from meterseal.errors import LocalError
from meterseal.model import Quality
from meterseal.utility.bills import LineReadings, UsedRow
from meterseal.utility.calendar import HOUR, Period, local
from meterseal.utility.readings import ROLL_OVER
from tests.utility.conftest import Town
from tests.utility.test_billing import JULY, JUNE, MAY, MONTH, only_bill
from tests.utility.twins import at

DAY = 24 * HOUR


def whole(town: Town, bill_id: str, **asked: object) -> tuple[list[UsedRow], LineReadings]:
    """All pages of one question, small ones."""
    rows: list[UsedRow] = []
    after = 0
    while True:
        page = town.utility.bill_readings(bill_id, after=after, limit=37, **asked)  # type: ignore[arg-type]
        assert len(page.rows) <= 37
        rows += page.rows
        if not page.next:
            assert len(rows) == page.total
            return rows, page
        after = page.next


def counted(rows: list[UsedRow]) -> Decimal:
    return sum((row.counted for row in rows), Decimal(0))


async def test_a_band_opens_to_its_hours_and_to_no_others(town: Town) -> None:
    power = town.supply("e", "electricity", "2026-06-01")
    power.count(JUNE, [(7 * n) % 31 for n in range(MONTH)], ROLL_OVER - 500)
    power.quality[at("2026-06-10T09:00")] = Quality.ESTIMATED
    power.sign_days()
    bill = await only_bill(town)
    seen: set[int] = set()
    for number, line in enumerate(bill.lines):
        assert line.determinant is not None
        used = bill.determinants[line.determinant]
        rows, page = whole(town, bill.bill_id, line=number)
        assert (page.resolution, page.adds_up, page.determinant) == ("hour", True, line.determinant)
        assert len(rows) == used.readings.count
        assert counted(rows) == line.charge.quantity == used.amount
        assert all(row.until - row.since == HOUR and row.counted == row.used for row in rows)
        assert sum(row.quality is Quality.ESTIMATED for row in rows) == used.readings.estimated
        assert {local(row.since).hour for row in rows}.isdisjoint(seen)
        seen |= {local(row.since).hour for row in rows}
        for row in rows:
            assert power.registers[row.until] == row.register
    assert seen == set(range(24))


@pytest.mark.parametrize("by", ["day", "hour"])
async def test_tiers_share_one_register_difference_and_a_crossing_stands_in_both_with_its_part(
    town: Town, by: str
) -> None:
    water = town.supply("w", "water", "2026-06-01", opening_accumulation=17_893)
    water.count(JUNE, [3] * MONTH, 5000)
    water.sign_days()
    bill = await only_bill(town)
    first, first_page = whole(town, bill.bill_id, line=0, by=by)
    second, second_page = whole(town, bill.bill_id, line=1, by=by)
    assert first_page.adds_up
    assert second_page.adds_up
    assert counted(first) == bill.lines[0].charge.quantity == Decimal("1.07")
    assert counted(second) == bill.lines[1].charge.quantity
    assert first[-1].since == second[0].since  # the row in which the limit was crossed
    assert first[-1].counted + second[0].counted == first[-1].used
    assert (first[0].since, second[-1].until) == (JUNE, JULY)
    assert len(first) + len(second) == (30 if by == "day" else MONTH) + 1


async def test_a_day_opens_to_its_hours(town: Town) -> None:
    water = town.supply("w", "water", "2026-06-01")
    water.count(JUNE, [n % 5 for n in range(MONTH)])
    bill = await only_bill(town)
    days, _ = whole(town, bill.bill_id, line=0)
    assert len(days) == 30
    for row in (days[0], days[17], days[-1]):
        hours, page = whole(town, bill.bill_id, line=0, by="hour", window=Period(row.since, row.until))
        assert len(hours) == 24
        assert counted(hours) == row.counted
        assert page.adds_up  # the line does, whatever part of it is shown


async def test_rows_grow_over_missing_registers_and_still_add_up(town: Town) -> None:
    """A flat or tiered line needs its two boundary registers alone; what lies between may be missing."""
    heat = town.supply("h", "heat", "2026-06-01")
    heat.count(JUNE, [100] * MONTH)
    for gone in range(at("2026-06-04T20:00"), at("2026-06-07T05:00"), HOUR):
        del heat.registers[gone]
    bill = await only_bill(town)
    days, page = whole(town, bill.bill_id, line=0)
    assert page.adds_up
    assert counted(days) == bill.lines[0].charge.quantity
    assert max(row.until - row.since for row in days) == 4 * DAY
    hours, page = whole(town, bill.bill_id, line=0, by="hour")
    assert page.adds_up
    assert max(row.until - row.since for row in hours) == 58 * HOUR
    assert sum(row.until - row.since for row in hours) == MONTH * HOUR


async def test_the_readings_shown_are_those_of_the_bill_and_not_later_ones(town: Town) -> None:
    """When the store no longer holds what was billed, the answer says so."""
    water = town.supply("w", "water", "2026-06-01")
    water.count(JUNE, [1] * MONTH)
    bill = await only_bill(town)
    _, page = whole(town, bill.bill_id, line=0)
    assert page.adds_up
    water.registers[JULY] += 1
    _, page = whole(town, bill.bill_id, line=0)
    assert not page.adds_up
    del water.registers[JULY]
    rows, page = whole(town, bill.bill_id, line=0)
    assert (rows, page.adds_up) == ([], False)


async def test_the_year_before_opens_to_days_but_not_to_those_of_a_former_tenant(town: Town) -> None:
    """Tiers count per usage point: the sum is on the bill, somebody else's days are nobody's business."""
    water = town.supply("w", "water", "2026-05-01")
    end = water.count(MAY, [1] * (93 * 24))
    assert end == at("2026-08-02T00:00")
    town.utility.end_agreement("a-w", JUNE)
    town.utility.add_agreement("a-new", "c1", "w", "sample-cold-water-tiered", JUNE + DAY, 2)
    await town.utility.run_bills(end)
    bill = town.utility.bill("a-new.2026-07-02.v1")
    number = next(n for n, one in enumerate(bill.determinants) if one.kind == "year")
    year = bill.determinants[number]
    assert year.readings.first.end_at == MAY
    rows, page = whole(town, bill.bill_id, determinant=number)
    assert page.adds_up
    assert counted(rows) == year.amount
    assert (rows[0].since, rows[0].until) == (MAY, JUNE + DAY)
    assert len(rows) == 1 + 30
    hours, _ = whole(town, bill.bill_id, determinant=number, by="hour")
    assert hours[0] == rows[0]


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"line": -1},
        {"line": 99},
        {"determinant": 99},
        {"determinant": -1},
        {"line": 1},
        {"line": 0, "determinant": 0},
    ],
)
async def test_what_was_made_of_no_reading_opens_to_none(town: Town, asked: dict[str, int]) -> None:
    heat = town.supply("h", "heat", "2026-06-01")
    heat.count(JUNE, [100] * MONTH)
    bill = await only_bill(town)
    assert bill.lines[1].determinant is None  # the fixed charge
    with pytest.raises(LocalError) as caught:
        town.utility.bill_readings(bill.bill_id, **asked)
    assert caught.value.code == "bill.no-line"
    with pytest.raises(LocalError):
        town.utility.bill_readings("no such bill", line=0)


@pytest.mark.parametrize("limit", [-5, 0, 10**9])
async def test_a_page_is_bounded(town: Town, limit: int) -> None:
    water = town.supply("w", "water", "2026-06-01")
    water.count(JUNE, [1] * MONTH)
    bill = await only_bill(town)
    page = town.utility.bill_readings(bill.bill_id, 0, by="hour", limit=limit)
    assert len(page.rows) == (1 if limit < 1 else 500)
    assert page.next == page.rows[-1].until
