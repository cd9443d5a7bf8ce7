"""The end of it is the same in whatever order and slices readings come: doubts and estimates are taken back when more is
known, and every earlier state stays readable."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from meterseal.mdms.service import Mdms
from meterseal.mdms.vee.versions import TAKEN_BACK, TRUSTED_AGAIN
from meterseal.model import MAIN, Batch, Opened, Quality, Series
from tests.mdms.fleet import DAY, FIRST, HOUR, UNITS, day_record, device, medium, open_store, point

NOW = FIRST + 90 * DAY
MINUTE = 60_000
METERS = 60
THIN = 12
SPARSE = 26
"""A seed under which a meter was taken for one of a wider interval until nearly all had come."""
E, M, S, X = Quality.ESTIMATED, Quality.MEASURED, Quality.SUSPECT, Quality.MISSING

Told = dict[int, int]
"""Registers by minute since FIRST."""


def record(counter: int, told: Told, number: int = 0) -> Opened:
    series = tuple(
        Series(device(number), MAIN, UNITS[medium(number)], -2, FIRST + minute * MINUTE, HOUR, (value,))
        for minute, value in told.items()
    )
    return msgspec.structs.replace(
        day_record(number, 0, counter), series=series, statuses=(), received_at=FIRST + 80 * DAY
    )


def shown(mdms: Mdms, number: int = 0) -> dict[int, tuple[int, Quality, str]]:
    """What is visible by minute; where nothing is known and where that is said is the same."""
    columns = mdms.registers(point(number), MAIN, 0, NOW)
    rows = zip(
        columns.end_at.tolist(), columns.register.tolist(), columns.quality.tolist(), columns.method, strict=True
    )  # fmt: skip
    return {
        (at - FIRST) // MINUTE: (value, Quality(quality), "" if quality == M else method)
        for at, value, quality, method in rows
        if quality != X
    }


def hours(values: dict[int, int]) -> Told:
    return {60 * hour: value for hour, value in values.items()}


async def told(mdms: Mdms, *parts: Told) -> None:
    for counter, part in enumerate(parts):
        await mdms.publish(Batch((record(counter + 1, part),)))
        await mdms.run_vee(NOW + counter)


async def test_a_reading_that_fell_stands_again_when_the_high_ones_before_it_turn_out_to_be_wrong(
    tmp_path: Path,
) -> None:
    mdms, _ = open_store(tmp_path, 1)
    # The load profile begins with the high readings: nothing shows that they are, and the fall is doubted.
    await told(mdms, hours({20: 90_000, 21: 90_000} | {hour: 10 * hour for hour in range(22, 120)}))
    assert shown(mdms)[60 * 22] == (220, S, "doubt/2:negative-step/2")
    await told(mdms, {}, {}, hours({hour: 10 * hour for hour in range(1, 20)}))
    seen = mdms.registers(point(0), MAIN, FIRST + 22 * HOUR, FIRST + 22 * HOUR)
    assert (seen.register.tolist(), seen.quality.tolist(), seen.method) == ([220], [M], (TRUSTED_AGAIN,))
    assert {shown(mdms)[60 * hour][:2] for hour in (20, 21)} == {(200, E), (210, E)}
    assert (await mdms.run_vee(NOW + 9)).versions == 0
    await mdms.close()


async def test_an_estimate_off_the_grid_is_taken_back_when_the_gap_that_it_filled_closes(
    tmp_path: Path,
) -> None:
    mdms, _ = open_store(tmp_path, 1)
    truth = hours({hour: 10 * hour for hour in range(1, 60)})
    gone = {minute: truth.pop(minute) for minute in (60 * 30, 60 * 31)}
    off = {60 * 29 + 7: 291, 60 * 31 + 7: 311}
    await told(mdms, truth | off)
    assert shown(mdms)[60 * 30 + 7][1] == E
    await told(mdms, {}, {60 * 30 + 20: 303})
    await told(mdms, {}, {}, gone)
    assert 60 * 30 + 7 not in shown(mdms)
    methods = mdms.registers(point(0), MAIN, 0, NOW).method
    assert TAKEN_BACK in methods
    assert (await mdms.run_vee(NOW + 9)).versions == 0
    await mdms.close()


def drawn(draw: random.Random) -> Told:
    """Some days of a meter with what happens to them: holes, high and low readings, a clock that is off, a register that
    begins anew."""
    count = draw.choice((60, 120, 200))
    value = draw.choice((1_000, 1_000, 99_999_000))
    registers: dict[int, int] = {}
    for hour in range(count):
        value += draw.choice((0, 5, 10, 20))
        registers[hour] = value % 10**8
    for _ in range(draw.randrange(4)):
        first, size = draw.randrange(count), draw.choice((1, 1, 2, 5, 26))
        how = draw.choice(("hole", "high", "low", "sentinel", "off"))
        for hour in range(first, min(first + size, count)):
            if how == "hole":
                registers.pop(hour, None)
            elif hour in registers and how == "high":
                registers[hour] += draw.choice((30_000, 90_000))
            elif hour in registers and how == "low":
                registers[hour] = max(registers[hour] - 700, 0)
            elif hour in registers and how == "sentinel" and hour == first:
                registers[hour] = 2**32 - 1
    found = hours(registers)
    if draw.random() < 0.4:
        first = draw.randrange(count - 20)
        for hour in range(first, first + draw.choice((2, 5, 12))):
            if 60 * hour in found:
                found[60 * hour + 7] = found.pop(60 * hour)
    return found


def thinned(draw: random.Random, told: Told) -> Told:
    """The same of a meter of which most is lost, that speaks every second hour and now and then between, or whose load
    profile was every few hours once."""
    how, share, cut, hours = (
        draw.choice(("sparse", "half", "turned", "whole")),
        draw.choice((0.05, 0.1, 0.3)),
        60 * draw.randrange(20, 180),
        draw.choice((2, 3, 4, 6)),
    )
    kept = {
        "sparse": lambda minute: draw.random() < share,
        "half": lambda minute: minute // 60 % 2 == 0 or draw.random() < 0.3,
        "turned": lambda minute: minute > cut or minute // 60 % hours == 0,
        "whole": lambda minute: True,
    }[how]
    return {minute: value for minute, value in told.items() if kept(minute)} or {0: 1}


@pytest.mark.parametrize(
    ("seed", "thin"),
    [
        (0, False),
        (1, False),
        (2, False),
        (SPARSE, True),
        *(pytest.param(seed, True, marks=pytest.mark.soak) for seed in range(200)),
    ],
)
async def test_what_is_visible_in_the_end_depends_neither_on_the_order_nor_on_the_slices_nor_on_a_start(
    tmp_path: Path, seed: int, thin: bool
) -> None:
    draw = random.Random(seed)
    meters = THIN if thin else METERS
    given = [drawn(draw) for _ in range(meters)]
    if thin:
        given = [thinned(draw, one) for one in given]
    ends = []
    for slices in (1, draw.choice((2, 3, 5, 8) if thin else (2, 3, 5))):
        (tmp_path / str(slices)).mkdir()
        mdms, _ = open_store(tmp_path / str(slices), meters)
        parts = []
        for whole in given:
            order = list(whole.items())
            if draw.random() < 0.5:
                draw.shuffle(order)
            cuts = [0, *sorted(draw.randrange(len(order)) for _ in range(slices - 1)), len(order)]
            its = [dict(order[a:b]) for a, b in pairwise(cuts)]
            draw.shuffle(its)
            parts.append(its)
        for turn in range(slices):
            records = [record(turn + 1, dict(sorted(its[turn].items())), n) for n, its in enumerate(parts)]
            await mdms.publish(Batch(tuple(one for one in records if one.series)))
            await mdms.run_vee(NOW + turn)
        again = await mdms.run_vee(NOW + slices)
        assert (again.findings, again.versions) == (0, 0)
        ends.append([shown(mdms, number) for number in range(meters)])
        await mdms.close()
        mdms, _ = open_store(tmp_path / str(slices))
        started = await mdms.run_vee(NOW + slices + 1)
        assert started.versions == 0
        await mdms.close()
    whole_, sliced = ends
    differ = [
        (number, sorted(set(a.items()) ^ set(b.items())))
        for number, (a, b) in enumerate(zip(whole_, sliced, strict=True))
        if a != b
    ]
    assert not differ, (differ[0], len(differ))
