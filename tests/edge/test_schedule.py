"""When plain meters are read: every so often, at times of day, within windows, in local time."""

from __future__ import annotations

import msgspec
import pytest

from meterseal.edge.schedule import DAY, MINUTE, Schedule
from meterseal.errors import LocalError

MIDNIGHT = 1_779_033_600_000
"""A local midnight at UTC+8."""
HOUR = 60 * MINUTE


def moments(schedule: Schedule, since: int, count: int) -> list[int]:
    found = []
    at = since
    for _ in range(count):
        at = schedule.after(at)
        found.append((at - MIDNIGHT) // MINUTE)
    return found


def test_intervals_are_aligned_with_local_midnight() -> None:
    assert moments(Schedule(every_minutes=15), MIDNIGHT + 1, 3) == [15, 30, 45]
    assert moments(Schedule(every_minutes=420), MIDNIGHT, 5) == [420, 840, 1260, 1440, 1860]


def test_a_moment_itself_is_not_after_itself() -> None:
    assert Schedule(every_minutes=60).after(MIDNIGHT) == MIDNIGHT + HOUR


def test_times_of_day_go_beside_intervals_and_windows_hold_for_both() -> None:
    schedule = Schedule(every_minutes=360, at=("23:50", "05:05"), windows=("22:00-06:00",))
    assert moments(schedule, MIDNIGHT, 4) == [305, 1430, 1440, 1745]
    assert schedule.open(MIDNIGHT + 5 * HOUR)
    assert not schedule.open(MIDNIGHT + 6 * HOUR)
    assert schedule.open(MIDNIGHT - HOUR)


@pytest.mark.parametrize("offset", [0, 330, -300])
def test_local_is_where_the_schedule_says(offset: int) -> None:
    schedule = Schedule(every_minutes=0, at=("00:00",), utc_offset_minutes=offset)
    at = schedule.after(MIDNIGHT)
    assert (at + offset * MINUTE) % DAY == 0
    assert MIDNIGHT < at <= MIDNIGHT + DAY


def test_a_schedule_that_reads_nobody_is_refused() -> None:
    for schedule in (
        Schedule(every_minutes=0),
        Schedule(every_minutes=0, at=("12:00",), windows=("01:00-02:00",)),
    ):
        with pytest.raises(LocalError) as error:
            schedule.after(MIDNIGHT)
        assert error.value.code == "concentrator.schedule"


@pytest.mark.parametrize(
    "wrong", [{"at": ["24:00"]}, {"windows": ["01:00"]}, {"every_minutes": -1}, {"never": 1}]
)
def test_what_is_no_time_of_day_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, Schedule)
