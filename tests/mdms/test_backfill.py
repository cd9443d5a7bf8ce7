"""A year is filled in at full speed while live records come: a record is in the next entry of the journal however much of
the year waits, the year goes on however much is live, and every reading is there exactly once, all the while."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from meterseal.mdms.bulk import Bulk
from meterseal.mdms.commit import RECORD, TOGETHER, Committer
from meterseal.mdms.entries import Entry
from meterseal.mdms.reading import Limits
from meterseal.model import MAIN, Batch
from tests.mdms.fleet import (
    DAY,
    FIRST,
    HOUR,
    Chains,
    day_record,
    evidence_record,
    open_store,
    point,
    register,
)

COLUMNS = bytes(100 * RECORD)
YEAR, LIVE, METERS = 365, 12, 3


async def test_a_live_record_is_in_the_next_entry_and_columns_go_on_beside_many_of_them() -> None:
    written: list[Entry] = []
    committer = Committer(written.append)
    many = [asyncio.create_task(committer.submit(Batch(), columns=(COLUMNS,))) for _ in range(150)]
    while not written:
        await asyncio.sleep(0)
    before = len(written)
    await committer.submit(Batch((day_record(0, 0, 1),)))
    assert len(written) - before <= 2  # the one under way, and its own
    assert not all(task.done() for task in many)

    live = [
        asyncio.create_task(committer.submit(Batch(tuple(day_record(0, 0, k) for k in range(TOGETHER)))))
        for _ in range(6)
    ]
    before = len(written)
    await asyncio.gather(*live)
    assert all(entry.columns for entry in written[before:])
    await asyncio.gather(*many)
    assert sum(len(entry.columns) for entry in written) == 150
    await committer.close()


def year(number: int) -> Iterator[Bulk]:
    """A meter's hours of the year before the live days, and of these as well, a month at a time."""
    hours = np.arange((1 - YEAR) * 24 + 1, LIVE * 24 + 1)
    for part in np.array_split(hours, 12):
        size = len(part)
        yield Bulk(
            medium=("water", "gas", "heat", "electricity")[number % 4],  # type: ignore[arg-type]
            origin="sealed",
            profile=True,
            received_at=FIRST + 40 * DAY,
            points=(point(number),),
            units=("kWh" if number % 4 > 1 else "m3",),
            point=np.zeros(size, np.int64),
            channel=np.full(size, MAIN),
            end_at=FIRST + part * HOUR,
            register=np.array([register(number, FIRST + int(hour) * HOUR) for hour in part]),
            exponent=np.full(size, -2),
            unit=np.zeros(size, np.int64),
            missing=np.zeros(size, np.bool_),
        )


async def test_a_year_is_filled_in_beside_live_days_and_each_reading_shows_once(tmp_path: Path) -> None:
    limits = Limits(recent_rows=2_000, idle_seconds=0.01, gather_seconds=0.0)
    mdms, engine = open_store(tmp_path, METERS, limits)
    mdms.start()
    waited: list[int] = []
    chains = Chains()

    async def fill(number: int) -> None:
        for bulk in year(number):
            await mdms.append(bulk)
            shown = mdms.registers(point(number), MAIN, int(bulk.end_at[0]), int(bulk.end_at[-1]))
            assert shown.end_at.tolist() == bulk.end_at.tolist()
            assert shown.register.tolist() == bulk.register.tolist()

    async def live() -> None:
        for day in range(LIVE):
            for number in range(METERS):
                proof = evidence_record(
                    chains.evidence(number, day), number, 2 * day + 2, FIRST + (day + 1) * DAY + 6_000
                )
                before = mdms.position()[1]
                await mdms.publish(Batch((day_record(number, day, 2 * day + 1), proof)))
                waited.append(mdms.position()[1] - before)
                first = FIRST + day * DAY
                shown = mdms.registers(point(number), MAIN, first + HOUR, first + DAY)
                wanted = [register(number, first + hour * HOUR) for hour in range(1, 25)]
                assert shown.register.tolist() == wanted

    await asyncio.gather(live(), *(fill(number) for number in range(METERS)))
    assert max(waited) <= 3  # the one under way, its own, and one while this was woken
    await mdms.settle()
    await mdms.compact()
    counts = mdms.counts()
    assert counts.readings == METERS * (YEAR - 1 + LIVE) * 24
    assert counts.repeated_readings == METERS * LIVE * 24
    assert (counts.conflicts, counts.evidence_good) == (0, METERS * LIVE)
    for number in range(METERS):
        shown = mdms.registers(point(number), MAIN, 0, 1 << 45)
        assert len(shown.end_at) == len(set(shown.end_at.tolist())) == (YEAR - 1 + LIVE) * 24
        assert shown.register.tolist() == [register(number, at) for at in shown.end_at.tolist()]
    await mdms.close()
    engine.dispose()
