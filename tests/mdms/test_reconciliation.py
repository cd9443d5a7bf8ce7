"""The running reconciliation: every delivered reading is accounted for once, at every instant and after any end."""

from __future__ import annotations

from pathlib import Path

import msgspec

from meterseal.control.engine import write
from meterseal.control.tables import concentrators, meters
from meterseal.mdms.reconciliation import (
    CONCENTRATORS,
    FURTHER,
    HOUR,
    HOURS,
    LINES,
    Reconciled,
    Reconciliation,
    without_reconciled,
)
from meterseal.mdms.service import Mdms
from meterseal.model import MAIN, Batch, Series
from tests.mdms.fleet import DAY, FIRST, day_record, device, open_store
from tests.mdms.test_store_contract import bulk_of


def total(mdms: Mdms, way: str) -> tuple[int, ...]:
    here = [one for one in mdms.reconciled() if one.way == way]
    assert all(one.balanced for one in here)
    names = ("received", "stored", "repeated", "refused", "held")
    return tuple(sum(getattr(one, name) for one in here) for name in names)


async def test_whatever_becomes_of_a_reading_it_is_in_the_account_of_its_way_and_hour(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 2)
    record = day_record(0, 0, 1)
    await mdms.publish(Batch((record,)))
    await mdms.publish(Batch((record,)))  # its counter is consumed: all 24 are repeats
    assert total(mdms, "sealed") == (48, 24, 24, 0, 0)
    conflict = Series(device(0), MAIN, "m3", -2, record.series[0].start_at, 0, (99_999,))
    strange = msgspec.structs.replace(conflict, channel=200)
    stranger = day_record(7, 0, 1)
    more = msgspec.structs.replace(day_record(0, 0, 2), series=(conflict, strange), statuses=())
    vouched = msgspec.structs.replace(day_record(1, 0, 1), origin="vouched")
    await mdms.publish(Batch((more, stranger, vouched)))
    assert total(mdms, "sealed") == (48 + 2 + 24, 24, 24, 1, 25)
    assert total(mdms, "vouched") == (24, 24, 0, 0, 0)
    await mdms.compact()
    await mdms.append(bulk_of(1, 20, [None, 1, 2, 3, 4, 5, 6, 7], received_at=FIRST + 3 * DAY))
    received, stored, repeated, refused, held = total(mdms, "columns")
    assert (received, held) == (8, 0)
    assert (stored, repeated + refused) == (3, 5)
    lines = mdms.reconciled()
    assert {one.hour_at for one in lines} == {
        (FIRST + DAY + 5_000) // HOUR * HOUR,
        FIRST + 3 * DAY,
    }
    await mdms.close()
    engine.dispose()
    mdms, engine = open_store(tmp_path)
    assert mdms.reconciled() == lines  # from the manifest, and from the journal
    await mdms.compact()
    await mdms.close()
    engine.dispose()
    mdms, _ = open_store(tmp_path)
    assert mdms.reconciled() == lines
    await mdms.close()


def test_old_hours_become_one_account_and_nothing_falls_out() -> None:
    one = Reconciliation({})
    for hour in range(1, 3 * HOURS):
        one.begin("sealed", hour * HOUR + 5, 10)
        one.note("stored", 7)
        one.note("held", 3)
    one.begin("sealed", HOUR, 1)  # long ago: it goes to the old ones, and what becomes of it too
    one.note("refused")
    found = one.lines()
    assert len(found) == HOURS + 1
    assert found[0] == Reconciled(
        way="sealed", hour_at=0, received=(2 * HOURS - 1) * 10 + 1, stored=(2 * HOURS - 1) * 7, repeated=0,
        refused=1, held=(2 * HOURS - 1) * 3,
    )  # fmt: skip
    kept = one.flat() | {"records": 4}
    assert Reconciliation(kept).lines() == found
    assert without_reconciled(kept) == {"records": 4}


async def test_a_reading_is_in_the_account_of_its_concentrator(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 3)
    behind, alone = b"\x27" + bytes(7), b"\x28" + bytes(7)
    with write(engine) as connection:
        for one in (behind, alone):
            connection.execute(
                concentrators.insert().values(device_id=one, sealed_name=b"x" * 40, key_version=1)
            )
        connection.execute(
            meters.update().where(meters.c.device_id == device(0)).values(concentrator_id=behind)
        )
    await mdms.publish(Batch((day_record(0, 0, 1), day_record(1, 0, 1))))
    vouched = msgspec.structs.replace(day_record(2, 0, 1), origin="vouched", device_id=alone)
    await mdms.publish(Batch((vouched,)))
    lines = mdms.reconciled()
    found = {(one.way, one.concentrator): (one.received, one.stored) for one in lines}
    assert found == {
        ("sealed", behind.hex()): (24, 24),
        ("sealed", ""): (24, 24),
        ("vouched", alone.hex()): (24, 24),
    }
    # The fleet changes; what came before stays where it was, also when the journal is replayed.
    with write(engine) as connection:
        connection.execute(meters.update().values(concentrator_id=alone))
    await mdms.close()
    engine.dispose()
    mdms, engine = open_store(tmp_path)
    assert mdms.reconciled() == lines
    await mdms.compact()
    await mdms.close()
    engine.dispose()
    mdms, engine = open_store(tmp_path)
    assert mdms.reconciled() == lines
    await mdms.close()
    engine.dispose()


def test_any_number_of_concentrators_takes_a_bounded_number_of_lines_and_no_reading_is_lost() -> None:
    one = Reconciliation({})
    came = 0
    for hour in range(1, 9):
        for number in range(CONCENTRATORS + 20):
            one.begin("sealed", hour * HOUR, 3, f"{number:016x}")
            one.note("stored", 2)
            one.note("held")
            came += 3
    found = one.lines()
    assert len(found) <= LINES + 1
    assert sum(line.received for line in found) == came
    assert all(line.balanced for line in found)
    assert {line.concentrator for line in found} == {f"{n:016x}" for n in range(CONCENTRATORS)} | {FURTHER}
    assert sum(line.received for line in found if line.concentrator == FURTHER) == 8 * 20 * 3
    newest = [line for line in found if line.hour_at == 8 * HOUR]
    assert len(newest) == CONCENTRATORS + 1
    assert Reconciliation(one.flat()).lines() == found
