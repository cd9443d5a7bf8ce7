"""A bill run sees the readings that were stored when it began: what arrives meanwhile waits for the next one."""

from __future__ import annotations

from pathlib import Path

from meterseal.control import write
from meterseal.control.tables import meters, premises, usage_points
from meterseal.mdms.entries import Entry
from meterseal.mdms.service import Mdms
from meterseal.mdms.store.rows import Readings
from meterseal.mdms.verifier import each
from meterseal.model import MAIN, Batch, Opened, Series
from meterseal.utility.calendar import HOUR
from meterseal.utility.customers import NewCustomer, Person
from meterseal.utility.samples import sample_tariffs
from meterseal.utility.service import Utility
from tests.control_store import control_at
from tests.mdms.fleet import keys
from tests.utility.twins import MemoryKeys, day

MAY, JUNE = day("2026-05-01"), day("2026-06-01")
POINTS = ("v", "w")
DEVICES = {one: bytes.fromhex("10783300000000") + bytes([number]) for number, one in enumerate(POINTS)}
HOURS = [MAY + hour * HOUR for hour in range(31 * 24 + 1)]


def batch(point: str, counter: int, instants: list[int], more: int = 0) -> Batch:
    device = DEVICES[point]
    series = tuple(
        Series(device, MAIN, "m3", -2, at, HOUR, (5000 + (at - MAY) // HOUR + more,)) for at in instants
    )
    record = Opened(
        session_id=device, counter=counter, device_id=device, module_id=bytes(8), suite=1, origin="sealed",
        received_at=JUNE + HOUR, digest=bytes(32), series=series,
    )  # fmt: skip
    return Batch((record,))


async def test_readings_that_arrive_while_bills_are_run_are_in_none_of_them(tmp_path: Path) -> None:
    engine = control_at(tmp_path / "control.db")
    with write(engine) as connection:
        connection.execute(premises.insert().values(id="p1"))
        for point, device in DEVICES.items():
            connection.execute(usage_points.insert().values(id=point, premises_id="p1", medium="water"))
            connection.execute(
                meters.insert().values(
                    device_id=device, usage_point_id=point, protocol="cjt188", since=MAY, plain=False
                )
            )
    now = JUNE + 2 * HOUR
    mdms = Mdms.open(
        tmp_path / "measurements", engine, keys(), each(lambda *_: True), clock=lambda: now + HOUR
    )
    utility = await Utility.start(engine, mdms, MemoryKeys(), MAY)
    utility.publish_tariffs(sample_tariffs())
    await utility.customers.add(NewCustomer(Person("n", "a"), "c1"), MAY)
    for point in POINTS:
        utility.add_agreement(f"a-{point}", "c1", point, "sample-cold-water-tiered", MAY, 1)
        await mdms.publish(batch(point, 1, HOURS[:-1]))
    await mdms.publish(batch("v", 2, HOURS[-1:]))
    asked, original = [], mdms.registers

    def registers(point: str, *more: int, **named: int) -> Readings:
        """The first question of the run is answered, and then the register arrives that the other bill waits for."""
        found = original(point, *more, **named)
        if not asked:
            mdms._commit(Entry(batch("w", 2, HOURS[-1:])))
        asked.append(point)
        return found

    mdms.registers = registers  # type: ignore[method-assign, assignment]
    report = await utility.run_bills(now)
    assert asked[0] == "v", "agreements are billed in the order of their names"
    assert [one.split(".")[0] for one in report.issued] == ["a-v"]
    assert [(one.agreement_id, one.code) for one in report.held] == [("a-w", "bill.boundary-missing")]
    assert original("w", MAIN, HOURS[-1], HOURS[-1]).register.tolist() == [5744]
    # What the run saw is what the bill opens to, though all of it bears one instant of receipt.
    assert len(original("w", MAIN, MAY, JUNE, now).register) == 31 * 24
    assert utility.bill_readings(report.issued[0], 0).adds_up
    (later,) = (await utility.run_bills(now + HOUR)).issued
    assert later.startswith("a-w")
    assert utility.bill_readings(later, 0).adds_up
    await mdms.close()
    engine.dispose()
