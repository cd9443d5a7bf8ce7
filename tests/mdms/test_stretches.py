"""Which interval a load profile keeps, and when: told alike by a part and by the whole, whatever came first."""

from __future__ import annotations

from pathlib import Path
from random import Random

import msgspec
import numpy as np
import pytest

from meterseal.mdms.service import Mdms
from meterseal.mdms.vee.stretches import BLOCK, STEPS, Ints, Stretches, stretches
from meterseal.model import MAIN, Batch, Opened, Series
from tests.mdms.fleet import DAY, FIRST, HOUR, day_record, device, open_store, point

MINUTE = 60_000
QUARTER = 15 * MINUTE


def drawn(random: Random) -> Ints:
    """The instants of a meter whose interval and losses change now and then."""
    at, found = FIRST + random.randrange(30) * DAY, []
    for _ in range(random.randrange(1, 6)):
        step, share = random.choice(STEPS[:8]), random.choice((1, 1, 1, 0.97, 0.85, 0.5, 0.15))
        off = share < 0.3 and step >= 30 * MINUTE and random.random() < 0.5
        for _ in range(min(random.choice((5, 12, 20, 45, 90)) * DAY // step, 3_000)):
            at += step
            if random.random() < share:
                found.append(at + (random.randrange(600_000) if off else 0))
    return np.unique(np.array(found or [at], np.int64))


def told(said: Stretches, ends: Ints) -> Ints:
    """The interval at each instant; exactly one."""
    held = np.array([said.holds(interval, ends) for interval in said.intervals])
    assert (held.sum(axis=0) == 1).all()
    return np.array(said.intervals, np.int64)[held.argmax(axis=0)]


@pytest.mark.parametrize("seed", range(40))
def test_a_part_says_what_the_whole_says_from_where_it_claims_to(seed: int) -> None:
    random = Random(seed)
    ends = drawn(random)
    whole = told(stretches(ends, 0, whole=True), ends)
    for _ in range(6):
        first = random.randrange(len(ends))
        part = stretches(ends[first:], int(ends[-1]), whole=False)
        same = told(part, ends[first:]) == whole[first:]
        assert same[ends[first:] > part.exact].all(), first


@pytest.mark.parametrize("seed", range(40))
def test_what_came_last_changes_nothing_before_where_that_is_claimed(seed: int) -> None:
    random = Random(seed)
    ends, sure = drawn(random), 0
    for _ in range(8):
        row = random.randrange(1, len(ends)) if len(ends) > 1 else 0
        later = ends[row:][: random.choice((1, 2, 40, len(ends)))]
        now, share = np.concatenate([ends[:row], later]), random.choice((0.0, 0.5, 0.9))
        stood = np.array([random.random() < share for _ in later], np.bool_)
        stood[:1] = False  # the oldest new one
        before = np.concatenate([ends[:row], later[stood]])
        if len(before) < 2 or len(set(np.diff(now).tolist())) == 1:
            continue  # nothing is missing, so nothing is estimated
        said = stretches(now, int(ends[row]), whole=True)
        sure += said.unsure >= ends[row]
        early = now[:row] < said.unsure
        was = told(stretches(before, 0, whole=True), now[:row])
        assert (told(said, now[:row]) == was)[early].all(), row
    assert sure or seed


def test_the_edge_between_two_intervals_lies_where_the_meter_was_set_anew() -> None:
    """Whatever block of weeks it lies in, and with readings lost on both sides."""
    for day in range(20, 60, 3):
        turn = FIRST + day * DAY + 5 * HOUR
        ends = np.concatenate(
            [np.arange(FIRST, turn + 1, HOUR), np.arange(turn, turn + 50 * DAY, QUARTER)[1:]]
        )
        ends = np.delete(ends, [30, 31, 200, len(ends) - 400, len(ends) - 40])
        said = stretches(ends, int(ends[-1]), whole=True)
        assert (said.parts[0].until, said.parts[0].interval) == (turn, HOUR)
        assert said.intervals == (HOUR, QUARTER)
        assert said.unsure == ends[-1]


def test_a_meter_that_goes_on_as_it_did_has_nothing_judged_again() -> None:
    """A run each hour of one that lost some readings: else each of them would make its gaps anew."""
    ends = np.delete(np.arange(FIRST, FIRST + 3 * BLOCK, HOUR), [40, 41, 300, 600, 601, 700])
    sure = [stretches(ends[:row], int(ends[row - 1]), whole=True).unsure for row in range(300, len(ends))]
    stood = [at == ends[row - 1] for row, at in zip(range(300, len(ends)), sure, strict=True)]
    assert sum(stood) > 0.9 * len(stood)


def record(counter: int, first: int, step: int, values: list[int]) -> Opened:
    series = (Series(device(0), MAIN, "m3", -2, first, step, tuple(values)),)
    at = first + step * len(values)
    return msgspec.structs.replace(day_record(0, 0, counter), series=series, statuses=(), received_at=at)


async def fed(mdms: Mdms, step: int, days: range, lost: int) -> int:
    """Day by day, with a run after each third; gives how many versions these made."""
    made, value = 0, 100 + 1_000 * days.start
    for day in days:
        values = [value := value + 3 + (k * 7919 + day) % 5 for k in range(DAY // step)]
        if day != lost:
            await mdms.publish(Batch((record(day + 1, FIRST + day * DAY + step, step, values),)))
        if day % 3 == 2:
            made += (await mdms.run_vee(FIRST + (day + 1) * DAY + MINUTE)).versions
    return made


async def test_a_meter_that_is_set_to_quarter_hours_has_no_hour_of_before_cut_into_quarters(
    tmp_path: Path,
) -> None:
    mdms, _ = open_store(tmp_path, 1)
    assert await fed(mdms, HOUR, range(30), lost=25) == 24
    assert await fed(mdms, QUARTER, range(30, 62), lost=-1) == 0
    await mdms.close()
    mdms, _ = open_store(tmp_path)
    assert (await mdms.run_vee(FIRST + 70 * DAY)).versions == 0
    assert len(mdms.registers(point(0), MAIN, FIRST, FIRST + 30 * DAY).end_at) == 30 * 24
    await mdms.close()


async def test_a_meter_that_is_set_to_hours_has_its_hours_left_alone_in_the_end(tmp_path: Path) -> None:
    """While few hours have come they look like lost quarters; what was estimated for these is taken back."""
    mdms, _ = open_store(tmp_path, 1)
    await fed(mdms, QUARTER, range(30), lost=25)
    await fed(mdms, HOUR, range(30, 56), lost=-1)
    shown = mdms.registers(point(0), MAIN, FIRST + 30 * DAY + 1, FIRST + 56 * DAY)
    assert (shown.quality != 3).sum() == 26 * 24
    await mdms.close()
    mdms, _ = open_store(tmp_path)
    assert (await mdms.run_vee(FIRST + 70 * DAY)).versions == 0
    await mdms.close()
