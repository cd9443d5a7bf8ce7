"""A bill whose boundary was estimated says so with a band, and is settled by the meter's own registers."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec

from meterseal.cli.billing import bill_lines
from meterseal.control import write
from meterseal.control.tables import meters, premises, usage_points
from meterseal.mdms.service import Mdms
from meterseal.mdms.verifier import each
from meterseal.model import MAIN, Batch, Opened, Quality, Series
from meterseal.utility.bills import Bill, Estimated
from meterseal.utility.calendar import HOUR
from meterseal.utility.compose import next_version
from meterseal.utility.customers import NewCustomer, Person
from meterseal.utility.samples import sample_tariffs
from meterseal.utility.service import Utility
from tests.control_store import control_at
from tests.mdms.fleet import keys
from tests.utility.conftest import Town
from tests.utility.twins import MemoryKeys, at, day

MAY, JUNE, JULY = day("2026-05-01"), day("2026-06-01"), day("2026-07-01")
DEVICE = bytes.fromhex("1078330000000001")


def used(hour: int) -> int:
    """Hundredths of a cubic metre in an hour, by the hour of the day."""
    return (0, 0, 0, 0, 1, 3, 5, 4, 2, 1, 1, 2, 3, 1, 1, 1, 2, 4, 6, 7, 5, 3, 1, 0)[hour % 24]


REGISTERS = {MAY + hour * HOUR: 5000 + sum(map(used, range(hour))) for hour in range(61 * 24 + 1)}
LOST = {JUNE + hour * HOUR for hour in range(-30, 40)}
"""The meter is silent from the evening of 30 May on to 2 June, over the boundary of two bills."""


async def deliver(mdms: Mdms, counter: int, instants: list[int], received_at: int) -> None:
    series = tuple(Series(DEVICE, MAIN, "m3", -2, one, HOUR, (REGISTERS[one],)) for one in sorted(instants))
    record = Opened(
        session_id=bytes(8), counter=counter, device_id=DEVICE, module_id=bytes(8), suite=1, origin="sealed",
        received_at=received_at, digest=bytes(32), series=series,
    )  # fmt: skip
    await mdms.publish(Batch((record,)))


async def test_a_boundary_inside_a_long_gap_is_billed_as_an_estimate_and_settled_by_the_registers_around_it(
    tmp_path: Path,
) -> None:
    engine = control_at(tmp_path / "control.db")
    with write(engine) as connection:
        connection.execute(premises.insert().values(id="p1"))
        connection.execute(usage_points.insert().values(id="w", premises_id="p1", medium="water"))
        connection.execute(
            meters.insert().values(
                device_id=DEVICE, usage_point_id="w", protocol="cjt188", since=MAY, plain=False
            )
        )
    mdms = Mdms.open(tmp_path / "measurements", engine, keys(), each(lambda *_: True))
    utility = await Utility.start(engine, mdms, MemoryKeys(), MAY)
    utility.publish_tariffs(sample_tariffs())
    await utility.customers.add(NewCustomer(Person("n", "a"), "c1"), MAY)
    utility.add_agreement("a", "c1", "w", "sample-cold-water-tiered", MAY, 1)
    before = [one for one in REGISTERS if one not in LOST and one < JUNE]
    await deliver(mdms, 1, before, JUNE - 29 * HOUR)
    await mdms.run_vee(JUNE + HOUR)
    assert [one.code for one in (await utility.run_bills(JUNE + HOUR)).held] == ["bill.boundary-missing"]
    # It speaks again; what it missed is estimated once nothing of it came for three days.
    after = [one for one in REGISTERS if one not in LOST and one > JUNE]
    await deliver(mdms, 2, after, JULY + 5_000)
    await mdms.run_vee(JULY + HOUR)
    issued = (await utility.run_bills(JULY + HOUR)).issued
    may, june = (utility.bill(one) for one in sorted(issued))
    for bill in (may, june):
        assert bill.use_assurance == "estimated"
        assert bill.estimate is not None
        assert bill.estimate.at == (JUNE,)
        assert bill.estimate.low is not None
        assert bill.estimate.high is not None
        assert bill.estimate.low < bill.used < bill.estimate.high
        assert bill.estimate.low_fen is not None
        assert bill.estimate.high_fen is not None
        assert bill.estimate.low_fen < bill.total_fen < bill.estimate.high_fen
    real = Decimal(REGISTERS[JUNE] - REGISTERS[MAY]).scaleb(-2)
    assert may.estimate is not None
    assert may.estimate.low is not None
    assert may.estimate.high is not None
    assert may.estimate.low <= real <= may.estimate.high
    # Whatever the estimate, the two bills together are what the meter counted.
    assert may.used + june.used == Decimal(REGISTERS[JULY] - REGISTERS[MAY]).scaleb(-2)
    # The lost hours arrive after all: both bills are corrected, and say no more that they are estimates.
    await deliver(mdms, 3, sorted(LOST), JULY + 9 * HOUR)
    await mdms.run_vee(JULY + 10 * HOUR)
    issued = (await utility.run_bills(JULY + 10 * HOUR)).issued
    corrected = [utility.bill(one) for one in sorted(issued)]
    assert [(one.version, one.estimate) for one in corrected] == [(2, None), (2, None)]
    assert corrected[0].used == real
    assert "quality" in {change.code for change in corrected[0].changes}
    assert (await utility.run_bills(JULY + 11 * HOUR)).issued == ()
    await mdms.close()
    engine.dispose()


async def estimated(town: Town, half: dict[int, int], quality: Quality = Quality.ESTIMATED) -> Bill:
    water = town.supply("w", "water", "2026-06-01")
    water.count(JUNE, [1] * 720, 5000)
    for instant in half:
        water.quality[instant] = quality
    water.half = {instant: width for instant, width in half.items() if width}
    (bill_id,) = (await town.utility.run_bills(JULY)).issued
    return town.utility.bill(bill_id)


async def test_the_band_is_that_of_both_boundaries_and_never_less_than_nothing(town: Town) -> None:
    bill = await estimated(town, {JUNE: 30, JULY: 900})
    assert bill.estimate is not None
    assert (bill.estimate.at, bill.estimate.low, bill.estimate.high) == (
        (JUNE, JULY),
        Decimal(0),
        Decimal("16.50"),
    )
    price = bill.lines[0].charge.price
    assert (bill.estimate.low_fen, bill.estimate.high_fen) == (0, int(Decimal("16.50") * price * 100))
    shown = bill_lines(msgspec.to_builtins(bill), lambda instant: str(instant))
    assert any(line.strip().startswith(f"ESTIMATED: the register of {JUNE}, {JULY}") for line in shown)
    assert (
        f"    in nine cases of ten 0 to 16.50 m3, 0.00 to {bill.estimate.high_fen / 100:.2f} in all" in shown
    )


async def test_an_estimate_of_unknown_width_is_an_estimate_without_a_band(town: Town) -> None:
    assert (await estimated(town, {JULY: 0})).estimate == Estimated((JULY,))


async def test_a_register_that_a_person_wrote_is_no_estimate(town: Town) -> None:
    assert (await estimated(town, {JULY: 5}, Quality.EDITED)).estimate is None


async def test_hours_inside_that_are_estimated_are_no_estimated_boundary(town: Town) -> None:
    assert (await estimated(town, {at("2026-06-15T12:00"): 5})).estimate is None


async def test_a_bill_by_time_of_use_states_the_band_of_its_use_alone(town: Town) -> None:
    power = town.supply("e", "electricity", "2026-06-01")
    power.count(JUNE, [1] * 720, 5000)
    power.quality[JULY], power.half[JULY] = Quality.ESTIMATED, 20
    (bill_id,) = (await town.utility.run_bills(JULY)).issued
    found = town.utility.bill(bill_id).estimate
    assert found == Estimated((JULY,), Decimal("7.00"), Decimal("7.40"))


async def test_a_bill_that_was_issued_before_it_was_said_is_not_issued_again_for_it(town: Town) -> None:
    bill = await estimated(town, {JULY: 9})
    assert bill.estimate is not None
    assert next_version(bill, msgspec.structs.replace(bill, estimate=None)) is None
