"""A bill across a change of meters: use of both, both shown and proved, and nothing believed that cannot be."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
import sqlalchemy as sa

from meterseal.control import write
from meterseal.control.sealed import METER_CHANGES
from meterseal.control.tables import meter_changes
from meterseal.things.exchange import Stated
from meterseal.utility import arithmetic
from meterseal.utility.calendar import HOUR
from tests.utility.conftest import Town
from tests.utility.test_billing import JULY, JUNE, MONTH, held_code, only_bill
from tests.utility.twins import DEVICE, Channel, at, day

NEW = bytes.fromhex("1078330000000002")
WHEN = at("2026-06-11 13:30")
STEP = 10


def swap(
    town: Town,
    last: str | None = "27.52",
    first: str | None = "0",
    *,
    when: int = WHEN,
    removed: bytes | None = DEVICE,
    installed: bytes | None = NEW,
    point: str = "x",
    last_export: str | None = None,
    first_export: str | None = None,
) -> None:
    said = Stated(
        last=None if last is None else Decimal(last),
        first=None if first is None else Decimal(first),
        reason="worn out",
        installer="7",
        last_export=None if last_export is None else Decimal(last_export),
        first_export=None if first_export is None else Decimal(first_export),
    )
    values = {
        "usage_point_id": point,
        "at": when,
        "removed": removed,
        "installed": installed,
        "recorded_at": when,
        "sealed_stated": msgspec.msgpack.encode(said),
    }
    with write(town.engine) as connection:
        connection.execute(sa.insert(meter_changes).values(METER_CHANGES.seal(town.utility.keys, values)))


def two_meters(channel: Channel, first: int = 0, step: int = STEP, old: int = 300) -> None:
    """The old one counts `step` an hour from `old` on up to the exchange, the new one from `first` after it."""
    before = (WHEN - JUNE) // HOUR
    channel.count(JUNE, [step] * before, old)
    came = JUNE + (before + 1) * HOUR
    channel.count(came, [step] * (MONTH - before - 1), first)
    for end_at in channel.registers:
        if (end_at + 8 * HOUR) % (24 * HOUR) == 0:
            channel.sign(end_at, device_id=DEVICE if end_at < WHEN else NEW)


# 253 full hours at 10 from 300: the old meter stood at 28.30 at 13:00; the installer read 28.32 half an hour later.
OLD_LAST = "28.32"


@pytest.mark.parametrize("medium", ["water", "electricity"])
async def test_a_month_with_an_exchange_is_billed_for_what_both_meters_counted(
    town: Town, medium: str
) -> None:
    channel = town.supply("x", medium, "2026-06-01")  # type: ignore[arg-type]
    two_meters(channel, first=107)
    swap(town, OLD_LAST, "1.05")
    bill = await only_bill(town)
    end = Decimal(107 + STEP * (MONTH - 254)).scaleb(-2)
    assert bill.used == (Decimal(OLD_LAST) - 3) + (end - Decimal("1.05"))
    assert sum(one.amount for one in bill.determinants if one.kind != "year") == bill.used
    (one,) = bill.exchanges
    assert (one.removed, one.installed, one.at) == (DEVICE.hex(), NEW.hex(), WHEN)
    assert one.before is not None
    assert one.after is not None
    assert one.before.evidence is not None
    assert one.before.evidence.device_id == DEVICE.hex()
    assert one.after.evidence is not None
    assert one.after.evidence.device_id == NEW.hex()
    assert (one.before.end_at, one.after.end_at) == (day("2026-06-11"), day("2026-06-12"))
    said = Decimal(one.before.register).scaleb(-2), Decimal(one.after.register).scaleb(-2)
    assert one.stated == (Decimal(OLD_LAST) - said[0]) + (said[1] - Decimal("1.05"))
    assert {line.assurance for line in bill.lines} <= {"stated", "tariff"}
    assert bill.use_assurance == "stated"
    assert arithmetic.sound(bill)
    assert list(arithmetic.faults(bill)) == []
    others = msgspec.structs.replace(bill, exchanges=(msgspec.structs.replace(one, removed=NEW.hex()),))
    assert any("of different meters" in fault for fault in arithmetic.faults(others))


async def test_lines_open_to_rows_that_add_up_across_the_exchange(town: Town) -> None:
    channel = town.supply("x", "water", "2026-06-01")
    two_meters(channel)
    swap(town, OLD_LAST, "0")
    bill = await only_bill(town)
    for by in ("hour", "day"):
        shown = town.utility.bill_readings(bill.bill_id, 0, None, by, None, 0, 500)  # type: ignore[arg-type]
        assert shown.adds_up


async def test_the_year_that_sets_the_tier_counts_both_meters(town: Town) -> None:
    channel = town.supply("x", "water", "2026-06-01")
    two_meters(channel)
    swap(town, OLD_LAST, "0")
    end = channel.count(JULY, [STEP] * 24 * 31, channel.registers[JULY])
    channel.sign(end, device_id=NEW)
    report = await town.utility.run_bills(end)
    june, july = (town.utility.bill(one) for one in report.issued)
    (year,) = [one for one in july.determinants if one.kind == "year"]
    assert (year.amount, year.assurance) == (june.used, "stated")
    assert july.exchanges == ()
    assert july.use_assurance == "meter-signed"
    assert [list(arithmetic.faults(one)) for one in (june, july)] == [[], []]


async def test_a_meter_with_more_decimals_counts_on(town: Town) -> None:
    channel = town.supply("x", "water", "2026-06-01")
    two_meters(channel, first=1)
    swap(town, "28.3251", "0.0009")
    bill = await only_bill(town)
    counted = Decimal(1 + STEP * (MONTH - 254)).scaleb(-2)
    assert bill.used == Decimal("28.3251") - 3 + counted - Decimal("0.0009")


async def test_an_old_meter_that_rolled_over_before_it_went(town: Town) -> None:
    channel = town.supply("x", "water", "2026-06-01")
    two_meters(channel, old=10**8 - 1000)
    swap(town, "15.32", "0")
    bill = await only_bill(town)
    assert bill.used == Decimal("10") + Decimal("15.32") + Decimal(STEP * (MONTH - 254)).scaleb(-2)
    assert list(arithmetic.faults(bill)) == []


@pytest.mark.parametrize(
    ("last", "first", "code"),
    [
        ("28.29", "0", "bill.registers-apart"),  # less than the meter itself had said
        ("60.00", "0", "bill.registers-apart"),  # more than it can have counted in half an hour
        (OLD_LAST, "0.11", "bill.registers-apart"),  # the new one said less an hour later
        ("28.29", "0.11", "bill.registers-apart"),
    ],
)
async def test_registers_that_do_not_meet_are_not_billed(
    town: Town, last: str, first: str, code: str
) -> None:
    two_meters(town.supply("x", "water", "2026-06-01"))
    swap(town, last, first)
    assert await held_code(town) == code


async def test_an_exchange_that_nobody_wrote_down_is_not_billed(town: Town) -> None:
    """The registers rise all the same: without the signatures this month would look like any other."""
    two_meters(town.supply("x", "water", "2026-06-01"), first=3000)
    assert await held_code(town) == "bill.meter-changed"


@pytest.mark.parametrize("meters", [(NEW, DEVICE), (DEVICE, DEVICE), (NEW, NEW)])
async def test_a_change_that_names_other_meters_than_signed_is_not_billed(
    town: Town, meters: tuple[bytes, bytes]
) -> None:
    two_meters(town.supply("x", "water", "2026-06-01"))
    swap(town, OLD_LAST, "0", removed=meters[0], installed=meters[1])
    assert await held_code(town) == "bill.meter-changed"


async def test_time_without_any_meter_uses_nothing(town: Town) -> None:
    channel = town.supply("x", "water", "2026-06-01")
    two_meters(channel)
    later = at("2026-06-11 19:00")
    for end_at in [end for end in channel.registers if WHEN <= end < later]:
        del channel.registers[end_at]
    swap(town, OLD_LAST, None, installed=None)
    swap(town, None, "0.45", when=later, removed=None)
    bill = await only_bill(town)
    assert bill.used == Decimal(OLD_LAST) - 3 + Decimal(STEP * (MONTH - 254)).scaleb(-2) - Decimal("0.45")
    assert [(one.last is None, one.first is None) for one in bill.exchanges] == [(False, True), (True, False)]


async def test_a_bill_before_the_exchange_stays_as_it_was(town: Town) -> None:
    channel = town.supply("x", "water", "2026-05-01")
    channel.count(day("2026-05-01"), [STEP] * 24 * 31, 300 - STEP * 24 * 31 + 10**5)
    two_meters(channel, old=300 + 10**5)
    may = await town.utility.run_bills(JUNE)
    swap(town, "1028.3251", "0")
    again = await town.utility.run_bills(JUNE)
    assert len(may.issued) == 1
    assert (again.issued, again.unchanged) == ((), 1)


async def test_use_by_the_hour_goes_on_across_the_exchange(town: Town) -> None:
    two_meters(town.supply("x", "water", "2026-06-01"))
    swap(town, OLD_LAST, "0")
    shown = town.utility.series("x", "day", day("2026-06-10"), day("2026-06-13"))
    assert shown.missing == 0
    # The hour of the exchange counts 2 of the old meter and nothing of the new one, which stood at 0 at its end.
    assert shown.used == (24 * STEP, 23 * STEP + 2, 24 * STEP)


@pytest.mark.parametrize("last", ["0.50", "0.505"])
async def test_what_an_installer_read_more_finely_before_a_period_makes_no_prediction_of_it_larger(
    town: Town, last: str
) -> None:
    """What one hour uses was foreseen in thousandths, and taken for hundredths: ten times the bill."""
    since, when, now = day("2026-04-01"), day("2026-04-03"), day("2026-06-16")
    channel = town.supply("x", "water", "2026-04-01")
    before = (when - since) // HOUR
    channel.count(since, [1] * before)
    channel.count(when + HOUR, [1] * ((now - when) // HOUR - 1), 1)
    swap(town, last, "0", when=when + HOUR // 2)
    found = town.utility.card("x", now).period.projection
    assert found is not None
    assert found.low is not None, "foreseen, and no mean of days"
    assert found.used == pytest.approx(Decimal("7.2"), abs=Decimal("0.1"))
