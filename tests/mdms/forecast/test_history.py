"""From readings to hours: what is known, what is not, and nothing made up between."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from meterseal.mdms.columns import Columns
from meterseal.mdms.forecast.history import HOUR, bridged, calendar, hourly
from meterseal.mdms.forecast.task import REST, SATURDAY, WORKDAY
from meterseal.model import Quality

SINCE = 495_000 * HOUR
Row = tuple[int, int, int, int, int, int]
"""end_at in half hours from SINCE, register, quality, exponent, unit, meter."""


def columns(channels: list[list[Row]]) -> Columns:
    rows = [row for channel in channels for row in channel]
    table = np.array(rows, np.int64).reshape(-1, 6)
    return Columns(
        np.cumsum([0, *map(len, channels)]),
        SINCE + table[:, 0] * HOUR // 2,
        table[:, 1],
        table[:, 3].astype(np.int8),
        table[:, 2].astype(np.int8),
        table[:, 4].astype(np.int32),
        table[:, 5].astype(np.int32),
    )


def slowly(channels: list[list[Row]], hours: int) -> list[list[float | None]]:
    found: list[list[float | None]] = []
    for channel in channels:
        at = {row[0] // 2: row for row in channel if row[0] % 2 == 0 and row[2] in (0, 2)}
        used: list[float | None] = []
        for hour in range(hours):
            first, last = at.get(hour), at.get(hour + 1)
            good = first and last and first[3:] == last[3:] and last[1] >= first[1]
            used.append((last[1] - first[1]) * 10.0 ** last[3] if good and first and last else None)
        found.append(used)
    return found


row_of = st.tuples(
    st.integers(0, 100),
    st.sampled_from(list(Quality)).map(int),
    st.sampled_from([-2, -2, -2, 0]),
    st.sampled_from([1, 1, 1, 2]),
    st.sampled_from([1, 1, 1, 2]),
)
channel_of = st.dictionaries(st.integers(-4, 24), row_of, max_size=20).map(
    lambda rows: [(at, *rows[at]) for at in sorted(rows)]
)


@given(st.lists(channel_of, min_size=1, max_size=4))
def test_hours_of_use_against_a_slow_count(channels: list[list[Row]]) -> None:
    given_rows = [[(at, *rest) for at, *rest in channel] for channel in channels]
    found = hourly(columns(given_rows), SINCE, 10).T.tolist()  # type: ignore[arg-type]
    shown = [[None if np.isnan(value) else round(value, 4) for value in series] for series in found]
    expected = [
        [None if value is None else round(value, 4) for value in series]
        for series in slowly([[row for row in channel if 0 <= row[0] <= 20] for channel in channels], 10)
    ]
    assert shown == expected


def test_a_silent_hour_of_the_weather_is_bridged_and_a_silent_day_is_not() -> None:
    degrees = np.arange(48, dtype=np.float32)
    holed = degrees.copy()
    holed[[3, 10, 11, 12, 13, 14, 15, 40]] = np.nan
    found = bridged(holed)
    assert found is not None
    np.testing.assert_allclose(found, degrees)
    for hole in (slice(20, 27), slice(0, 1), slice(47, 48), slice(0, 48)):
        gone = holed.copy()
        gone[hole] = np.nan
        assert bridged(gone) is None


def test_local_hours_and_kinds_of_days() -> None:
    friday = (20_778 * 24 - 8) * HOUR  # 2026-11-21 is a Saturday: day 20778
    hour, kind = calendar(friday, 24 * 4, {})
    assert hour[:24].tolist() == list(range(24))
    assert [int(kind[day * 24]) for day in range(4)] == [SATURDAY, REST, WORKDAY, WORKDAY]
    _, kind = calendar(friday, 24 * 4, {20_778: "workday", 20_780: "holiday"})
    assert [int(kind[day * 24 + 5]) for day in range(4)] == [WORKDAY, REST, REST, WORKDAY]
