"""What `bill show` prints: every register pair once and by name, every word explained once, every line's readings."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from meterseal.app import operator
from meterseal.cli import billing
from meterseal.cli.times import at
from meterseal.utility.bills import Bill
from meterseal.utility.views import RowResolution
from tests.control_store import control_at
from tests.utility.conftest import Town
from tests.utility.test_billing import JUNE, MONTH, only_bill
from tests.utility.test_multiplier import MID, counted, state


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    engine = control_at(tmp_path / "control.db")
    made = Town(engine)
    await made.found()
    yield made
    engine.dispose()


def shown(town: Town, bill: Bill) -> dict[str, Any]:
    """The JSON that `bill show --readings --json` prints, asked for in small pages."""

    def page(line: int | None, determinant: int | None, by: RowResolution, after: int) -> dict[str, Any]:
        found = town.utility.bill_readings(bill.bill_id, line, determinant, by, None, after, 50)
        answer: dict[str, Any] = json.loads(operator.as_json(found))
        return answer

    answer: dict[str, Any] = json.loads(billing.with_readings(operator.as_json(bill), page))  # type: ignore[arg-type]
    return answer


async def test_a_time_of_use_bill_names_its_one_pair_of_registers_once(town: Town) -> None:
    power = town.supply("e", "electricity", "2026-06-01")
    power.count(JUNE, [10] * MONTH, 64_000)
    power.sign_days()
    bill = await only_bill(town)
    lines = billing.bill_lines(json.loads(operator.as_json(bill)), at)
    assert [line for line in lines if "640.00 at" in line] == [
        "    first       640.00 at 2026-06-01 00:00: sequence 1, signed"
    ]
    assert sum("the registers of the period" in line for line in lines) == 1
    assert sum(line.startswith("  meter-chained: ") for line in lines) == 1


async def test_the_accumulation_of_a_tiered_bill_is_named(town: Town) -> None:
    water = town.supply("w", "water", "2026-06-01", opening_accumulation=17_900)
    water.count(JUNE, [1] * MONTH, 5000)
    bill = await only_bill(town)
    text = "\n".join(billing.bill_lines(json.loads(operator.as_json(bill)), at))
    assert "the year before this bill, which sets the tier: 179.00 m3, 179.00 of it carried over" in text
    assert text.count("the registers of the period") == 1


async def test_every_line_opens_with_all_its_pages(town: Town) -> None:
    power = town.supply("e", "electricity", "2026-06-01")
    power.count(JUNE, [10] * MONTH)
    water = town.supply("w", "water", "2026-06-01", opening_accumulation=17_900)
    water.count(JUNE, [1] * MONTH)
    report = await town.utility.run_bills(JUNE + MONTH * 3_600_000)
    for bill in map(town.utility.bill, report.issued):
        answer = shown(town, bill)
        behind = [(one["line"], one["resolution"]) for one in answer["readings"]]
        tiered = bill.medium == "water"
        assert behind == (
            [(0, "day"), (0, "hour"), (1, "day"), (1, "hour"), (None, "day")]
            if tiered
            else [(0, "hour"), (1, "hour"), (2, "hour")]
        )
        for one in answer["readings"]:
            assert one["adds_up"]
            assert len(one["rows"]) == one["total"]
        text = "\n".join(billing.bill_lines(answer, at))
        assert text.count("  register ") == sum(one["total"] for one in answer["readings"])
        if tiered:
            assert "of it in this line" in text


async def test_readings_that_no_longer_add_up_say_so(town: Town) -> None:
    heat = town.supply("h", "heat", "2026-06-01")
    end = heat.count(JUNE, [100] * MONTH)
    bill = await only_bill(town)
    heat.registers[end] += 7
    text = "\n".join(billing.bill_lines(shown(town, bill), at))
    assert "the store no longer holds what was billed" in text


@pytest.mark.parametrize(
    ("register", "exponent", "text"),
    [(5, -2, "0.05"), (5000, -2, "50.00"), (12, 0, "12"), (12, 2, "1200"), (0, -3, "0.000")],
)
def test_registers_are_exact(register: int, exponent: int, text: str) -> None:
    assert billing._scaled(register, exponent) == text


async def test_multiplied_use_shows_what_was_counted_the_multiplier_and_the_product(town: Town) -> None:
    counted(town)
    state(town, "2000/5", until=MID)
    bill = await only_bill(town)
    said = shown(town, bill)
    assert all(one["adds_up"] for one in said["readings"])
    text = "\n".join(billing.bill_lines(said, at))
    assert "what the registers counted, times the multiplier that the utility states" in text
    for one in bill.determinants:
        for part in one.multiplied:
            assert f"{part.used} x {part.multiplier:>8} = {part.amount:>10} kWh" in text
    assert "there        39.00 at 2026-06-16 00:00: sequence 1, signed" in text
