"""Exactly one visible reading of each usage point, channel and time, whatever a meter and its way make of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import msgspec
import pytest

from meterseal.errors import DataError
from meterseal.mdms.service import Mdms
from meterseal.model import MAIN, Batch, Opened, Quality, Series
from tests.mdms.fleet import DAY, FIRST, HOUR, day_record, device, open_store, point

NOW = FIRST + 90 * DAY
E, M, S = Quality.ESTIMATED, Quality.MEASURED, Quality.SUSPECT


def record(
    counter: int,
    registers: dict[int, int],
    *,
    off: int = 0,
    unit: str = "m3",
    exponent: int = -2,
    received_at: int = FIRST + 80 * DAY,
) -> Opened:
    """One reading of the load profile an hour, `off` ms late by the meter's clock."""
    series = tuple(
        Series(device(0), MAIN, unit, exponent, FIRST + hour * HOUR + off, HOUR, (value,))
        for hour, value in registers.items()
    )
    return msgspec.structs.replace(day_record(0, 0, counter), series=series, received_at=received_at)


def shown(mdms: Mdms, since: int = 0, until: int = NOW) -> dict[float, tuple[int, Quality]]:
    """Hour to register and quality; no instant comes twice."""
    found = mdms.registers(point(0), MAIN, since, until)
    assert max(Counter(found.end_at.tolist()).values(), default=1) == 1
    return {
        (at - FIRST) / HOUR: (value, Quality(quality))
        for at, value, quality in zip(
            found.end_at.tolist(), found.register.tolist(), found.quality.tolist(), strict=True
        )
    }


def rules(mdms: Mdms) -> set[str]:
    return {one.rule for one in mdms.findings(1000)}


async def test_late_repeated_and_out_of_order_readings_are_one_each_whatever_the_order(
    tmp_path: Path,
) -> None:
    registers = {hour: 10 * hour for hour in range(1, 60)}
    wanted = {float(hour): (value, M) for hour, value in registers.items()}
    for seed in range(4):
        folder = tmp_path / str(seed)
        folder.mkdir()
        mdms, engine = open_store(folder, 1)
        random = Random(seed)
        hours = [*registers, *random.choices(list(registers), k=40)]
        random.shuffle(hours)
        for counter, start in enumerate(range(0, len(hours), 9)):
            part = {hour: registers[hour] for hour in hours[start : start + 9]}
            await mdms.publish(Batch((record(counter + 1, part),)))
            if counter % 3 == seed % 3:
                await mdms.run_vee(NOW + counter)  # estimates stand where something is late, and give way
                await mdms.compact()
        assert shown(mdms) == wanted
        assert mdms.counts().conflicts == 0
        await mdms.close()
        engine.dispose()


async def test_a_corrected_value_of_the_meter_is_refused_and_found_and_the_first_stays(
    tmp_path: Path,
) -> None:
    mdms, engine = open_store(tmp_path, 1)
    await mdms.publish(Batch((record(1, {1: 10, 2: 20, 3: 30}),)))
    await mdms.publish(Batch((record(2, {2: 21}),)))
    assert shown(mdms)[2] == (20, M)
    assert sum(one.refused for one in mdms.reconciled()) == 1
    assert len(mdms.findings()) == 1
    await mdms.close()
    engine.dispose()


async def test_a_reading_of_the_future_is_shown_as_suspect_and_not_counted_with(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 1)
    received = FIRST + 3 * HOUR
    await mdms.publish(Batch((record(1, {1: 10, 2: 20, 40: 400}, received_at=received),)))
    assert {hour: quality for hour, (_, quality) in shown(mdms).items()} == {1: M, 2: M, 40: S}
    await mdms.close()
    engine.dispose()


@pytest.mark.parametrize("compacted", [False, True])
async def test_a_reading_of_the_future_gives_way_to_what_the_meter_says_in_time(
    tmp_path: Path, compacted: bool
) -> None:
    mdms, engine = open_store(tmp_path, 1)
    early = record(1, {1: 10, 2: 20, 30: 9000, 31: 310}, received_at=FIRST + 3 * HOUR)
    await mdms.publish(Batch((early,)))
    await mdms.run_vee(FIRST + 4 * HOUR)
    if compacted:
        await mdms.compact()
    later = {hour: 10 * hour for hour in range(3, 60)}
    for counter in (2, 3):  # and once more, which changes nothing
        await mdms.publish(Batch((record(counter, later, received_at=FIRST + 60 * HOUR),)))
        await mdms.run_vee(FIRST + (60 + counter) * HOUR)
        assert shown(mdms) == {float(hour): (10 * hour, M) for hour in range(1, 60)}
    late = msgspec.structs.replace(early, counter=4)
    await mdms.publish(Batch((late,)))  # what was said too early does not come back
    assert shown(mdms) == {float(hour): (10 * hour, M) for hour in range(1, 60)}
    assert rules(mdms) == {"ahead", "conflict"}
    assert all(one.balanced for one in mdms.reconciled())
    await mdms.close()
    engine.dispose()


async def test_a_meter_that_once_spoke_of_another_year_is_found_once_and_judged_like_the_others(
    tmp_path: Path,
) -> None:
    mdms, engine = open_store(tmp_path, 1)
    await mdms.publish(Batch((record(1, {1: 10, 2: 20, 500_000: 5}, received_at=FIRST + 3 * HOUR),)))
    for hour in range(3, 8):
        received = FIRST + hour * HOUR + 5_000
        await mdms.publish(Batch((record(hour, {hour: 10 * hour}, received_at=received),)))
        await mdms.run_vee(received + 60_000)
    (found,) = mdms.findings()
    assert (found.rule, found.since, found.until) == (
        "ahead",
        FIRST + 500_000 * HOUR,
        FIRST + 500_000 * HOUR,
    )
    assert found.facts == {"readings": 1, "hours": 499_997.0}
    await mdms.close()
    engine.dispose()


async def test_a_register_that_rolls_over_keeps_every_reading_and_is_no_fall(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 1)
    registers = {hour: (99_999_500 + 30 * hour) % 10**8 for hour in range(200)}
    await mdms.publish(Batch((record(1, registers),)))
    await mdms.run_vee(NOW)
    assert shown(mdms) == {float(hour): (value, M) for hour, value in registers.items()}
    assert "roll-over" in rules(mdms)
    assert "negative-step" not in rules(mdms)
    await mdms.close()
    engine.dispose()


async def test_a_change_of_the_multiplier_is_found_and_each_register_keeps_its_value(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 1)
    await mdms.publish(Batch((record(1, {hour: 30 * hour for hour in range(1, 100)}),)))
    after = {hour: 300 * hour for hour in range(102, 200)}
    await mdms.publish(Batch((record(2, after, exponent=-3),)))
    await mdms.run_vee(NOW)
    found = shown(mdms)  # brought to the finest
    assert found == {float(hour): (300 * hour, M) for hour in (*range(1, 100), *after)}
    assert "unit" in rules(mdms)
    assert 100.0 not in found  # nothing is estimated from one scale to another
    await mdms.close()
    engine.dispose()


async def test_a_change_of_the_unit_is_found_and_never_added_up(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 1)
    await mdms.publish(Batch((record(1, {hour: 30 * hour for hour in range(1, 100)}),)))
    litres = {hour: 300 * hour for hour in range(102, 200)}
    await mdms.publish(Batch((record(2, litres, unit="L", exponent=0),)))
    await mdms.run_vee(NOW)
    assert "unit" in rules(mdms)
    with pytest.raises(DataError) as refused:
        shown(mdms)
    assert refused.value.code == "mdms.units"
    edge = FIRST + 100 * HOUR
    assert len(shown(mdms, 0, edge)) == 99
    assert len(shown(mdms, edge, NOW)) == len(litres)
    await mdms.close()
    engine.dispose()


@pytest.mark.parametrize("off", [7_000, 600_000, -90_000])
async def test_a_clock_that_is_off_is_found_and_no_reading_is_moved(tmp_path: Path, off: int) -> None:
    mdms, engine = open_store(tmp_path, 1)
    await mdms.publish(Batch((record(1, {hour: 10 * hour for hour in range(1, 100)}),)))
    await mdms.publish(Batch((record(2, {hour: 10 * hour for hour in range(100, 140)}, off=off),)))
    await mdms.run_vee(NOW)
    found = shown(mdms)
    assert {hour for hour, (_, quality) in found.items() if quality == M} == {
        *map(float, range(1, 100)),
        *(hour + off / HOUR for hour in range(100, 140)),
    }
    (clock,) = (one for one in mdms.findings(1000) if one.rule == "time")  # one, however long it lasts
    assert (clock.until, clock.facts) == (FIRST + 100 * HOUR + off, {"off_seconds": abs(off) / 1000})
    # Set right again, it says an hour twice: both are there, a little apart, and that is found.
    await mdms.publish(Batch((record(3, {hour: 10 * hour + 1 for hour in range(139, 150)}),)))
    await mdms.run_vee(NOW + 1)
    assert {139.0, 139 + off / HOUR} <= shown(mdms).keys()
    await mdms.close()
    engine.dispose()
