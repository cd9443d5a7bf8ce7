"""Another meter at the same usage point: what belongs to which, and nothing of the one that left after it left."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from meterseal.control import write
from meterseal.control.tables import former_installations, meters
from meterseal.link.evidence import GENESIS, EvidenceStatement, chain, signed_bytes
from meterseal.mdms.editing import Wish
from meterseal.mdms.ledger.checkpoints import Checkpoints
from meterseal.mdms.service import Mdms
from meterseal.mdms.vee.channel import ReadOff
from meterseal.mdms.vee.estimators import Override
from meterseal.model import MAIN, Batch, Evidence, Quality, Series
from tests.mdms.fleet import (
    DAY,
    FIRST,
    HOUR,
    KEY,
    Chains,
    day_record,
    device,
    evidence_record,
    open_store,
    point,
)
from tests.security.conftest import Bench, bench, cheap_stretching, clock, template

__all__ = ["bench", "cheap_stretching", "clock", "template"]

OLD, NEW = 0, 9
LEFT = FIRST + DAY + 10 * HOUR
NOW = FIRST + 90 * DAY
FLAT = Override(FIRST, FIRST + 90 * DAY, ("flat",), "so that one can count it in the head")


def exchanged(engine: sa.Engine, at: int = LEFT, installed: bytes = device(NEW)) -> None:
    with write(engine) as connection:
        connection.execute(meters.update().where(meters.c.device_id == device(OLD)).values(until=at))
        connection.execute(
            meters.insert().values(
                device_id=installed, usage_point_id=point(OLD), protocol="cjt188", since=at, plain=False
            )
        )


def hours(number: int, first: int, last: int, start: int = 0) -> Series:
    """Hourly readings of a meter from hour `first` to `last` (both included), its register from `start` on by 7."""
    registers = tuple(start + 7 * k for k in range(last - first + 1))
    return Series(device(number), MAIN, "m3", -2, FIRST + first * HOUR, HOUR, registers)


async def say(mdms: Mdms, number: int, counter: int, *series: Series, received_at: int) -> None:
    record = day_record(number, 0, counter)
    whole = type(record)(
        **{name: getattr(record, name) for name in record.__struct_fields__}
        | {"series": series, "statuses": (), "received_at": received_at}
    )
    await mdms.publish(Batch((whole,)))


def shown(mdms: Mdms) -> dict[int, tuple[int, Quality]]:
    columns = mdms.registers(point(OLD), MAIN, 0, NOW)
    return {
        (at - FIRST) // HOUR: (value, Quality(quality))
        for at, value, quality in zip(
            columns.end_at.tolist(), columns.register.tolist(), columns.quality.tolist(), strict=True
        )
    }


def read_by_an_installer(
    mdms: Mdms, at: int, last: str | None, first: str | None, left: int | None = None
) -> None:
    registers = (None if one is None else Decimal(one) for one in (last, first))
    read = ReadOff(*registers, left=at if left is None else left)
    mdms.registers_read_from(lambda usage_point: {at: read} if usage_point == point(OLD) else {})


async def test_gaps_up_to_a_change_of_meters_are_filled_so_that_they_meet_what_the_installer_read(
    tmp_path: Path,
) -> None:
    """Old meter to 15:00, changed at 20:20, new meter from 02:00: 100 litres before and 60 after were used meanwhile."""
    mdms, engine = open_store(tmp_path, 1)
    at = FIRST + 44 * HOUR + HOUR // 3
    await mdms.order_methods(FLAT, "operator", NOW)
    await say(mdms, OLD, 1, hours(OLD, 1, 39, 1000), received_at=at)
    exchanged(engine, at)
    mdms.meters_changed()
    read_by_an_installer(mdms, at, "13.6600", "50.00")
    await say(mdms, NEW, 1, hours(NEW, 50, 130, 5060), received_at=LEFT + 9 * DAY)
    assert (await mdms.run_vee(NOW)).versions == 10
    seen = shown(mdms)
    assert {hour for hour, (_, quality) in seen.items() if quality == Quality.ESTIMATED} == set(range(40, 50))
    old, new = ([seen[hour][0] for hour in part] for part in (range(39, 45), range(45, 51)))
    # 5 hours and a third between 1266 and 1366, then 5 hours and two thirds between 5000 and 5060.
    assert [value - 1266 for value in old] == [0, 18, 37, 56, 75, 93]
    assert [value - 5000 for value in new] == [7, 17, 28, 38, 49, 60]
    assert [old[0], new[-1]] == [1000 + 7 * 38, 5060]
    assert (await mdms.run_vee(NOW + 1)).versions == 0
    before = seen
    await mdms.close()
    mdms, _ = open_store(tmp_path)
    read_by_an_installer(mdms, at, "13.6600", "50.00")
    assert (await mdms.run_vee(NOW + 2)).versions == 0
    assert shown(mdms) == before
    assert mdms.replay(1).versions
    await mdms.close()


async def test_at_a_change_on_the_hour_the_new_meters_first_register_is_the_installers(
    tmp_path: Path,
) -> None:
    mdms, engine = open_store(tmp_path, 1)
    await mdms.order_methods(FLAT, "operator", NOW)
    await say(mdms, OLD, 1, hours(OLD, 1, 30, 1000), received_at=LEFT)
    exchanged(engine)
    mdms.meters_changed()
    read_by_an_installer(mdms, LEFT, "12.31", "0.5")
    await say(mdms, NEW, 1, hours(NEW, 36, 120, 64), received_at=LEFT + 9 * DAY)
    await mdms.run_vee(NOW)
    seen = shown(mdms)
    assert [seen[hour][0] for hour in range(30, 37)] == [1203, 1210, 1217, 1224, 50, 57, 64]
    assert mdms.registers(point(OLD), MAIN, LEFT, LEFT).method == ("read-off/1:gap/2~0",)
    await mdms.close()


async def test_while_no_meter_is_there_nothing_is_estimated(tmp_path: Path) -> None:
    """Old meter to 06:00, taken out at 09:30, the new one put in at 15:00 of the next day."""
    mdms, engine = open_store(tmp_path, 1)
    await mdms.order_methods(FLAT, "operator", NOW)
    await say(mdms, OLD, 1, hours(OLD, 1, 30, 1000), received_at=LEFT)
    came = LEFT + 29 * HOUR
    exchanged(engine, came)
    mdms.meters_changed()
    read_by_an_installer(mdms, came, "12.38", "0.50", left=LEFT - HOUR // 2)
    await say(mdms, NEW, 1, hours(NEW, 66, 170, 71), received_at=LEFT + 9 * DAY)
    await mdms.run_vee(NOW)
    seen = shown(mdms)
    assert [seen[hour][0] for hour in range(30, 34)] == [1203, 1213, 1223, 1233]
    assert [seen[hour][0] for hour in range(63, 67)] == [50, 57, 64, 71]
    assert set(range(34, 63)) & seen.keys() == set()
    await mdms.close()


@pytest.mark.parametrize(("last", "first"), [("12.00", "50.61"), (None, None)])
async def test_what_an_installer_cannot_have_read_fills_no_gap(
    tmp_path: Path, last: str | None, first: str | None
) -> None:
    mdms, engine = open_store(tmp_path, 1)
    await say(mdms, OLD, 1, hours(OLD, 1, 30, 1000), received_at=LEFT)
    exchanged(engine)
    mdms.meters_changed()
    read_by_an_installer(mdms, LEFT, last, first)
    await say(mdms, NEW, 1, hours(NEW, 36, 120, 5060), received_at=LEFT + 9 * DAY)
    await mdms.run_vee(NOW)
    assert set(range(31, 36)) & shown(mdms).keys() == set()
    await mdms.close()


async def test_readings_of_the_old_meter_after_the_exchange_are_nobodys(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 1)
    await say(mdms, OLD, 1, hours(OLD, 1, 33, 1000), received_at=LEFT)
    exchanged(engine)
    mdms.meters_changed()
    await say(mdms, OLD, 2, hours(OLD, 30, 40, 1000 + 7 * 29), received_at=LEFT + DAY)
    await mdms.settle()
    assert max(shown(mdms)) == 33
    (held,) = mdms.quarantine()
    assert held.code == "mdms.unknown-device"
    await mdms.close()


async def test_what_the_old_meter_said_meanwhile_gives_way_to_the_new_one(tmp_path: Path) -> None:
    """The installer tells of the exchange in the evening; till then the old meter counted on in the van."""
    mdms, engine = open_store(tmp_path, 1)
    await say(mdms, OLD, 1, hours(OLD, 1, 40, 1000), received_at=LEFT + 6 * HOUR)
    recorded = LEFT + 7 * HOUR
    exchanged(engine)
    assert await mdms.meter_left(point(OLD), LEFT, recorded) == 7
    assert [shown(mdms)[hour][1] for hour in (33, 34, 40)] == [Quality.MEASURED] + [Quality.MISSING] * 2
    await say(mdms, NEW, 1, hours(NEW, 34, 48), received_at=recorded + DAY)
    assert await mdms.meter_left(point(OLD), LEFT, recorded) == 0  # said again: nothing of the new meter goes
    before = shown(mdms)
    assert {hour: before[hour] for hour in (33, 34, 41)} == {
        33: (1000 + 7 * 32, Quality.MEASURED),
        34: (0, Quality.MEASURED),
        41: (49, Quality.MEASURED),
    }
    assert mdms.counts().conflicts == 0
    await mdms.run_vee(NOW)
    assert mdms.findings() == []
    await mdms.compact()
    await mdms.close()
    mdms, _ = open_store(tmp_path)
    assert shown(mdms) == before
    await mdms.run_vee(NOW)
    assert shown(mdms) == before
    assert mdms.findings() == []
    await mdms.close()


async def test_a_register_that_begins_anew_is_no_fall_and_is_not_estimated_across(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 1)
    await say(mdms, OLD, 1, hours(OLD, 1, 33, 1000), received_at=LEFT)
    exchanged(engine)
    mdms.meters_changed()
    await say(mdms, NEW, 1, hours(NEW, 35, 48, 5000), received_at=LEFT + DAY)
    ((_, columns),) = mdms.scan("water", 0, NOW)
    assert (
        columns.meter.tolist() == [0] * 33 + [1] * 14
    )  # whoever reads in bulk sees where another one counts
    await mdms.run_vee(NOW)
    assert mdms.findings() == []
    assert 34 not in shown(mdms)  # between two meters there is nothing to draw a line through
    assert all(quality == Quality.MEASURED for _, quality in shown(mdms).values())
    await mdms.close()


async def test_a_gap_of_the_old_meter_is_filled_once_the_new_one_has_gone_on_for_three_days(
    tmp_path: Path,
) -> None:
    mdms, engine = open_store(tmp_path, 1)
    await say(mdms, OLD, 1, hours(OLD, 1, 20, 1000), hours(OLD, 31, 33, 1000 + 7 * 30), received_at=LEFT)
    exchanged(engine)
    mdms.meters_changed()
    await say(mdms, NEW, 1, hours(NEW, 34, 31 + 71, 5000), received_at=LEFT + 9 * DAY)
    await mdms.run_vee(NOW)
    assert 21 not in shown(mdms)
    await say(mdms, NEW, 2, hours(NEW, 31 + 72, 31 + 72, 5007), received_at=LEFT + 9 * DAY)
    await mdms.run_vee(NOW + 1)
    seen = shown(mdms)
    assert {seen[hour][1] for hour in range(21, 31)} == {Quality.ESTIMATED}
    registers = [seen[hour][0] for hour in range(20, 32)]
    assert registers == sorted(registers)
    assert (registers[0], registers[-1]) == (1000 + 7 * 19, 1000 + 7 * 30)
    await mdms.close()


async def test_hours_around_an_exchange_are_estimated_once_somebody_wrote_what_the_meters_showed(
    tmp_path: Path,
) -> None:
    """What the old meter counted since midnight often never comes; the installer read both."""
    mdms, engine = open_store(tmp_path, 1)
    await say(mdms, OLD, 1, hours(OLD, 1, 24, 1000), received_at=LEFT)
    exchanged(engine)
    mdms.meters_changed()
    await say(mdms, NEW, 1, hours(NEW, 40, 140, 542), received_at=LEFT + 9 * DAY)
    await mdms.run_vee(NOW)
    assert shown(mdms).keys().isdisjoint(range(25, 40))
    for hour, value in ((33, "12.31"), (34, "5.00")):
        at = FIRST + hour * HOUR
        wish = Wish(usage_point=point(OLD), since=at, until=at, register=value)
        plan = mdms.edits.plan(wish, NOW)
        edit = mdms.edits.propose(wish, plan, reason="r", effect="-", people=0, author="operator", now=NOW)
        await mdms.edits.save(edit.number, edit.digest, (), "operator", NOW)
    await mdms.run_vee(NOW + 1)
    seen = shown(mdms)
    for first, last in ((24, 33), (34, 40)):
        assert {seen[hour][1] for hour in range(first + 1, last)} == {Quality.ESTIMATED}
        registers = [seen[hour][0] for hour in range(first, last + 1)]
        assert registers == sorted(registers)
    assert (seen[24][0], seen[33][0], seen[34][0], seen[40][0]) == (1161, 1231, 500, 542)
    await mdms.close()
    engine.dispose()


async def test_the_new_meters_chain_begins_with_itself(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 1)
    chains = Chains()
    await mdms.publish(Batch((day_record(OLD, 0, 1),)))
    await mdms.publish(Batch((evidence_record(chains.evidence(OLD, 0), OLD, 2, FIRST + DAY + HOUR),)))
    exchanged(engine)
    mdms.meters_changed()
    mine = hours(NEW, 34, 48)
    await say(mdms, NEW, 1, mine, received_at=FIRST + 2 * DAY + HOUR)
    times = [mine.start_at + k * HOUR for k in range(15)]
    head = chain(GENESIS, MAIN, list(zip(times, mine.registers, strict=True)))  # type: ignore[arg-type]
    end, last = times[-1], mine.registers[-1]
    assert last is not None
    statement = EvidenceStatement(device(NEW), MAIN, end, last, -2, 0x2C, 0, 1, head).pack()
    own = Evidence(device(NEW), statement, KEY.sign(signed_bytes(statement)))
    await mdms.publish(Batch((evidence_record(own, NEW, 2, end + HOUR),)))
    await mdms.settle()
    found = mdms.evidence_between(point(OLD), MAIN, 0, NOW)
    assert {(one.device_id, one.checked) for one in found} == {
        (device(OLD), "signed"),
        (device(NEW), "signed"),
    }
    await mdms.close()


async def test_a_meter_that_came_back_has_both_its_places(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 2)
    back = FIRST + 3 * DAY
    with write(engine) as connection:
        connection.execute(
            former_installations.insert().values(
                device_id=device(0), since=FIRST, until=LEFT, usage_point_id=point(0)
            )
        )
        connection.execute(meters.update().where(meters.c.device_id == device(1)).values(until=LEFT))
        connection.execute(
            meters.update()
            .where(meters.c.device_id == device(0))
            .values(usage_point_id=point(1), since=back, until=None)
        )
    await say(mdms, 0, 1, hours(0, 20, 80, 100), received_at=back + DAY)
    assert max(shown(mdms)) == 33
    columns = mdms.registers(point(1), MAIN, 0, NOW)
    assert [(at - FIRST) // HOUR for at in columns.end_at.tolist()] == list(range(72, 81))
    (held,) = mdms.quarantine()
    assert held.code == "mdms.unknown-device"
    await mdms.close()


async def test_the_ledger_holds_what_was_taken_back_as_well(tmp_path: Path, bench: Bench) -> None:
    mdms, engine = open_store(tmp_path, 1)
    await say(mdms, OLD, 1, hours(OLD, 1, 40, 1000), received_at=LEFT + 6 * HOUR)
    exchanged(engine)
    await mdms.meter_left(point(OLD), LEFT, LEFT + 7 * HOUR)
    await say(mdms, OLD, 2, hours(OLD, 30, 44, 1000 + 7 * 29), received_at=LEFT + 8 * HOUR)
    await say(mdms, NEW, 1, hours(NEW, 34, 48), received_at=LEFT + DAY)
    await mdms.compact()
    verdict = await mdms.audit(Checkpoints(engine, mdms.ledger, bench.platform))
    assert verdict.faults == ()
    await mdms.close()
