"""A meter's clock that leads by less than a quarter of an hour is found by what it says too early; its readings count."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from meterseal.mdms.finding import Finding
from meterseal.mdms.service import Mdms
from meterseal.model import MAIN, Batch, Quality, Series
from tests.mdms.fleet import DAY, FIRST, HOUR, day_record, device, open_store, point

MINUTE = 60_000


async def live(mdms: Mdms, lead: int, hours: range, step: int = HOUR, missing: bool = False) -> None:
    """Every hour as it comes, by a clock that leads by so much, two seconds on its way."""
    for hour in hours:
        at = FIRST + hour * HOUR
        registers = (10 * hour, None) if missing else (10 * hour,)
        series = (Series(device(0), MAIN, "m3", -2, at, step, registers),)
        record = msgspec.structs.replace(
            day_record(0, 0, hour), series=series, statuses=(), received_at=at - lead + 2_000
        )
        await mdms.publish(Batch((record,)))
    await mdms.settle()


def clocks(mdms: Mdms) -> list[Finding]:
    return sorted((one for one in mdms.findings() if one.rule == "clock"), key=lambda one: one.since)


@pytest.mark.parametrize("step", [HOUR, 0])
async def test_a_clock_that_leads_is_found_once_a_day_and_its_readings_count(
    tmp_path: Path, step: int
) -> None:
    mdms, _ = open_store(tmp_path, 1)
    await live(mdms, 5 * MINUTE, range(1, 49), step)
    found = clocks(mdms)
    assert [(one.since, one.until) for one in found] == [
        (FIRST + d * DAY, FIRST + (d + 1) * DAY) for d in (0, 1)
    ]
    assert found[0].facts == {"seconds": 298.0}
    qualities = mdms.registers(point(0), MAIN, 0, FIRST + 9 * DAY).quality.tolist()
    assert qualities == [Quality.MEASURED] * 48
    await mdms.close()
    mdms, _ = open_store(tmp_path)  # the journal is replayed: nothing is found twice
    await mdms.settle()
    assert len(clocks(mdms)) == 2
    await mdms.close()


@pytest.mark.parametrize(
    ("lead", "missing"), [(2 * MINUTE, False), (0, False), (-20 * MINUTE, False), (0, True)]
)
async def test_a_clock_within_bounds_a_late_delivery_and_an_hour_marked_missing_are_none(
    tmp_path: Path, lead: int, missing: bool
) -> None:
    mdms, _ = open_store(tmp_path, 1)
    await live(mdms, lead, range(1, 9), HOUR // 6 if missing else HOUR, missing)
    assert clocks(mdms) == []
    await mdms.close()
