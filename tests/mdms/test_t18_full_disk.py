"""T18: a real disk runs full during ingest, compaction and merge: nothing is answered that is not durable, the state says
why, and within 30 s of the room coming back all goes on without anybody's help."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from meterseal.errors import EngineError, MetersealError
from meterseal.mdms.reading import Limits
from meterseal.mdms.service import Mdms
from meterseal.mdms.trouble import REFUSES
from meterseal.model import MAIN, Batch, Opened
from tests.control_store import control_at
from tests.mdms.fleet import FIRST, HOUR, days, install, open_store, point, register
from tests.small_disk import small_disk

METERS, DAYS = 3, 24
WITHIN = 30.0
FULL = {"mdms.full", "control.full"}


def there(mdms: Mdms, record: Opened) -> bool:
    """Is every reading of a record stored as it came?"""
    for series in record.series:
        number = int.from_bytes(series.device_id[1:])
        last = series.start_at + series.step * (len(series.registers) - 1)
        shown = mdms.registers(point(number), MAIN, series.start_at, last)
        if shown.register.tolist() != list(series.registers):
            return False
    return record.counter in mdms._consumed.of(record.session_id)


async def send(mdms: Mdms, records: list[Opened], refused: list[MetersealError]) -> list[Opened]:
    """Publish one by one; those that were answered."""
    answered = []
    for record in records:
        try:
            await mdms.publish(Batch((record,)))
            answered.append(record)
        except EngineError as error:
            refused.append(error)
    return answered


async def test_t18_ingest_compaction_and_merge_on_a_disk_that_runs_full(tmp_path: Path) -> None:
    dice = random.Random(18)
    with small_disk(tmp_path / "disk", 12_000) as disk:
        engine = control_at(disk.path / "control.db")
        install(engine, METERS)
        engine.dispose()
        limits = Limits(recent_rows=200, idle_seconds=0.05, gather_seconds=0.0)
        mdms, engine = open_store(disk.path, limits=limits)
        mdms.start()
        every = list(days(METERS, DAYS))
        sent: list[Opened] = []
        refusals = 0
        for at in range(0, DAYS, 3):
            records = [record for day in every[at : at + 3] for record in day]
            disk.fill(dice.choice((0, 0, 4, 16, 64)) * 1024)
            refused: list[MetersealError] = []
            answered = await send(mdms, records, refused)
            assert {error.code for error in refused} <= FULL
            assert all(there(mdms, record) for record in answered)
            if refused:
                refusals += len(refused)
                (trouble,) = [one for one in mdms.troubles() if one.what == REFUSES]
                assert trouble.code in FULL
            await asyncio.sleep(0.05)  # the work in the background meets it as well
            disk.free()
            async with asyncio.timeout(WITHIN):
                again = [record for record in records if record not in answered]
                while again:
                    done = await send(mdms, again, [])
                    again = [record for record in again if record not in done]
                while mdms.troubles() or mdms.counts().evidence_waiting:
                    await asyncio.sleep(0.02)
            sent += records
            assert all(there(mdms, record) for record in sent)
        assert refusals > 20
        await mdms.compact()
        await mdms.close()
        engine.dispose()

        mdms, engine = open_store(disk.path)
        assert all(there(mdms, record) for record in sent)
        counts = mdms.counts()
        assert (counts.records, counts.readings) == (len(sent), METERS * DAYS * 24)
        assert (counts.repeated_readings, counts.conflicts) == (0, 0)
        assert counts.evidence_good == METERS * DAYS
        assert all(line.balanced for line in mdms.reconciled())
        for number in range(METERS):
            shown = mdms.registers(point(number), MAIN, 0, 1 << 45)
            assert shown.end_at.tolist() == [FIRST + hour * HOUR for hour in range(1, DAYS * 24 + 1)]
            assert shown.register.tolist() == [register(number, at) for at in shown.end_at.tolist()]
        await mdms.close()
        engine.dispose()
        assert not list((disk.path / "measurements").rglob("*.new"))
