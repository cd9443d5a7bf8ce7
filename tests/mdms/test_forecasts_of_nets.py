"""The daily forecasts where homes feed in: zones are net of it, signed, and judged by what came of both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from meterseal.errors import LocalError
from meterseal.kit.weather import sunshine
from meterseal.mdms.forecast.task import LEVELS, Floats
from meterseal.mdms.forecasts import DAY, Forecasts, Made, midnight
from meterseal.mdms.surroundings import HOUR
from tests.control_store import control_at
from tests.mdms.forecast.street import SUMMER
from tests.mdms.test_forecasts import Street, forecasts

NOW = SUMMER - 2 * DAY + 5 * HOUR
ZONES = {"up-0": "sunny", "up-1": "sunny", "up-2": "shady"}
MADE = 6.0
"""kW of each plant."""


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    return control_at(tmp_path / "control.db")


def sunny(until: int = NOW) -> Street:
    """Two homes of six feed in, all that they make; the others have no plant."""
    of = Street(until)
    hours = of.since // HOUR + np.arange(len(of.use))
    of.fed = {column: (MADE * sunshine(7, hours)).astype(np.float32) for column in (0, 1)}
    return of


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Forecasts, Made]:
    """The forecasts of NOW of a street in which nothing is lost."""
    path = tmp_path_factory.mktemp("plain")
    book = forecasts(path, control_at(path / "control.db"), sunny(), zones=ZONES)
    return book, book.make(NOW)


def lose(fed: Floats, of: Street, since: int, until: int) -> None:
    """Make hours of what was fed in unknown, from so many hours before the last midnight of NOW."""
    last = (midnight(NOW) - of.since) // HOUR
    fed[last - since : last - until] = np.nan


def test_a_zone_that_feeds_back_is_forecast_to_with_peaks_both_ways(plain: tuple[Forecasts, Made]) -> None:
    of, (book, made) = sunny(), plain
    assert (made.fed_in, made.zones["electricity"]) == (2, 2)
    net, shady, whole = (book.whole("electricity", zone) for zone in ("sunny", "shady", ""))
    assert shady.lows == (), "nobody feeds in there"
    begin = (midnight(NOW) - of.since) // HOUR
    came = (of.use[begin : begin + 24, :2].sum(axis=1)) - 2 * of.fed[0][begin : begin + 24]
    assert min(net.quantiles[2][:24]) < -3
    assert sum(net.quantiles[2][:24]) == pytest.approx(came.sum(), abs=15)
    assert ((came >= net.quantiles[0][:24]) & (came <= net.quantiles[-1][:24])).mean() > 0.6
    for one in (net, whole):
        assert len(one.lows) == len(LEVELS)
        assert one.lows[0][0] <= one.lows[2][0] <= min(one.quantiles[2][:24]) + 1e-3
        assert one.peaks[2][0] >= max(one.quantiles[2][:24]) - 1e-2
        assert all(low <= high for low, high in zip(one.quantiles[0], one.quantiles[4], strict=True))
    # A usage point's own forecast is of what it draws, and that of what it feeds in stands beside it.
    own, fed = book.of("up-0", "electricity"), book.of("up-0", "electricity", fed=True)
    assert (own.fed, fed.fed, own.lows, fed.lows) == (False, True, (), ())
    assert min(own.quantiles[0]) >= 0
    assert min(fed.quantiles[0]) >= 0
    assert sum(fed.quantiles[2][:24]) == pytest.approx(of.fed[0][begin : begin + 24].sum(), rel=0.5)
    with pytest.raises(LocalError, match="what this usage point feeds in") as refused:
        book.of("up-5", "electricity", fed=True)
    assert refused.value.code == "forecast.none"
    with pytest.raises(LocalError, match="needs two weeks"):
        book.of("up-9", "electricity", fed=True)


def test_nets_are_judged_by_what_came_of_both_and_their_lowest_hours_beside_it(
    tmp_path: Path, engine: sa.Engine
) -> None:
    of = sunny(SUMMER)
    book = forecasts(tmp_path, engine, of, zones=ZONES)
    made = {}
    for ago in (2, 1):
        book.make(SUMMER - ago * DAY)
        made[SUMMER - ago * DAY] = book.whole("electricity")
    points, fed, sums = book.judged(SUMMER)
    assert [(one.sums, one.fed, one.score.series) for one in (points, fed, sums)] == [
        (False, False, 6),
        (False, True, 2),
        (True, False, 3),
    ]
    assert fed.score.mase < 2
    assert (points.back, fed.back, points.lowest) == (None, None, ())
    assert sums.back is not None
    assert (sums.back.days, sums.back.series) == (2, 2)
    assert [one.begin for one in sums.lowest] == sorted(made, reverse=True)
    for one in sums.lowest:
        first = (one.begin - of.since) // HOUR
        net = of.use[first : first + 24].sum(axis=1) - 2 * of.fed[0][first : first + 24]
        assert one.came == pytest.approx(net.min(), abs=0.05)
        lows = made[one.begin].lows
        assert (one.low, one.foreseen, one.high) == (lows[0][0], lows[2][0], lows[4][0])


def test_a_first_plant_takes_no_zone_its_forecast_and_is_in_it_from_its_first_day_on(
    tmp_path: Path, engine: sa.Engine
) -> None:
    of = sunny()
    del of.fed[1]
    lose(of.fed[0], of, 100 * 24, 24)  # it runs since yesterday
    book = forecasts(tmp_path, engine, of, zones=ZONES)
    assert book.make(NOW).fed_in == 0
    found = book.whole("electricity", "sunny")
    assert found.lows != ()


def test_hours_of_a_plant_that_nobody_knows_are_as_those_of_the_other_and_not_nothing(
    tmp_path: Path, engine: sa.Engine, plain: tuple[Forecasts, Made]
) -> None:
    of = sunny()
    lose(of.fed[0], of, 12 * 24, 24)
    book = forecasts(tmp_path, engine, of, zones=ZONES)
    book.make(NOW)
    one, other = (found.whole("electricity", "sunny") for found in (book, plain[0]))
    assert sum(one.quantiles[2][:24]) == pytest.approx(sum(other.quantiles[2][:24]), abs=1)


def test_an_hour_in_which_a_register_of_what_is_fed_in_jumped_is_in_no_sum(
    tmp_path: Path, engine: sa.Engine, plain: tuple[Forecasts, Made]
) -> None:
    of = sunny()
    of.fed[0][(midnight(NOW) - of.since) // HOUR - 40] += 900
    book = forecasts(tmp_path, engine, of, zones=ZONES)
    book.make(NOW)
    one, other = (found.whole("electricity", "sunny") for found in (book, plain[0]))
    assert min(one.quantiles[0]) > 1.5 * min(other.quantiles[0])
    assert min(one.lows[0]) > 1.5 * min(other.lows[0])


def test_meters_that_count_both_ways_where_nobody_has_a_plant_change_nothing(
    tmp_path: Path, engine: sa.Engine, plain: tuple[Forecasts, Made]
) -> None:
    of = Street(NOW)
    of.fed = {column: np.zeros(len(of.use), np.float32) for column in range(6)}
    book = forecasts(tmp_path, engine, of, zones=ZONES)
    assert book.make(NOW).fed_in == 0
    assert book.whole("electricity").lows == ()
    assert book.whole("electricity", "shady") == plain[0].whole("electricity", "shady")
