"""The daily forecasts of a store: made from what is there, kept sealed, judged by what came."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType

import msgspec
import numpy as np
import pytest
import sqlalchemy as sa

from meterseal.control.sealing import KeyRing
from meterseal.crypto.handles import SymmetricKey
from meterseal.errors import DataError, EngineError, LocalError
from meterseal.mdms.columns import Columns, Missed
from meterseal.mdms.forecast.history import multiplied
from meterseal.mdms.forecast.task import HORIZON, LEVELS, WEEK, Floats
from meterseal.mdms.forecast_files import UNFINISHED, Block, ForecastFiles
from meterseal.mdms.forecasts import ARRIVED, DAY, HISTORY, KEPT, Forecasts, midnight
from meterseal.mdms.multipliers import Multiplied, Stated, Unsaid
from meterseal.mdms.store.rows import EVER, Key, Words
from meterseal.mdms.surroundings import HOUR, MOST, Surroundings
from meterseal.model import EXPORT, MAIN, Medium, Quality
from tests.control_store import control_at
from tests.mdms.forecast.street import SUMMER, street

POINTS = 6


class Street:
    """Registers of a simulated street's electricity meters by the hour, as a store would scan them."""

    def __init__(self, until: int) -> None:
        use, first = street("electricity")
        self.use, self.since = use[:, :POINTS], first * HOUR
        self.until = until
        self.words = Words()
        self.holes: set[int] = set()
        for column in range(POINTS):
            self.words.medium[self.words.code(f"up-{column}")] = "electricity"

        self.begins = dict.fromkeys(range(POINTS), 0)
        """The hour of the first reading of each."""
        self.fed: dict[int, Floats] = {}
        """What these fed in by the hour; no reading ends an hour that is NaN."""

    def scan(
        self, medium: Medium, since: int, until: int, missed: Missed | None = None
    ) -> Iterator[tuple[list[Key], Columns]]:
        if medium != "electricity":
            return
        edges = np.arange(len(self.use) + 1)
        at = self.since + edges * HOUR
        shown = (at >= since) & (at <= min(until, self.until))
        for half in (range(POINTS // 2), range(POINTS // 2, POINTS)):
            registers = [
                np.concatenate(([0], np.cumsum(np.rint(self.use[:, column] * 100)))) for column in half
            ]
            size = int(shown.sum())
            quality = np.concatenate(
                [
                    np.where(
                        (edges[shown] < self.begins[column]) | (column in self.holes),
                        Quality.MISSING,
                        Quality.MEASURED,
                    ).astype(np.int8)
                    for column in half
                ]
            )
            yield (
                [Key(self.words.code(f"up-{column}"), MAIN) for column in half],
                Columns(
                    np.arange(len(registers) + 1) * size,
                    np.tile(at[shown], len(registers)),
                    np.concatenate([register[shown] for register in registers]).astype(np.int64),
                    np.full(size * len(registers), -2, np.int8),
                    quality,
                    np.ones(size * len(registers), np.int32),
                    np.ones(size * len(registers), np.int32),
                ),
            )
        for column, fed in self.fed.items():
            told = ~np.isnan(np.concatenate((fed[:1], fed))) & shown
            register = np.concatenate(([0], np.cumsum(np.rint(np.nan_to_num(fed) * 100)))).astype(np.int64)
            ones = np.ones(int(told.sum()), np.int32)
            yield (
                [Key(self.words.code(f"up-{column}"), EXPORT)],
                Columns(
                    np.array([0, len(ones)]),
                    at[told],
                    register[told],
                    np.full(len(ones), -2, np.int8),
                    np.full(len(ones), Quality.MEASURED, np.int8),
                    ones,
                    ones,
                ),
            )


def ring(*versions: int) -> KeyRing:
    made = {version: SymmetricKey.from_bytes(bytes([version]) * 16, "data key") for version in versions}
    return KeyRing(made, max(versions))


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    return control_at(tmp_path / "control.db")


NOW = SUMMER - 2 * DAY + 5 * HOUR


def forecasts(
    tmp_path: Path,
    engine: sa.Engine,
    of: Street,
    keys: KeyRing | None = None,
    replaced: Mapping[str, Sequence[int]] = MappingProxyType({}),
    zones: Mapping[str, str] = MappingProxyType({}),
    factors: Mapping[str, Sequence[Multiplied]] = MappingProxyType({}),
) -> Forecasts:
    return Forecasts(
        tmp_path / "forecasts",
        "st-1",
        keys or ring(1),
        of,
        of.words,
        Surroundings(engine),
        lambda: replaced,
        lambda at: zones,
        factors=lambda _: (bool(factors), factors),
    )


def test_a_week_is_forecast_for_every_usage_point_and_for_all_together(
    tmp_path: Path, engine: sa.Engine
) -> None:
    made_of = Street(NOW)
    book = forecasts(tmp_path, engine, made_of)
    assert not book.due(midnight(NOW) + ARRIVED - 1)
    assert book.due(midnight(NOW) + ARRIVED)
    made = book.make(NOW)
    assert made.weather_missing == (HISTORY + HORIZON)
    assert (made.begin, made.series["electricity"], made.series["water"]) == (midnight(NOW), POINTS, 0)
    assert not book.due(NOW)
    one = book.of("up-4", "electricity")
    assert (one.begin, len(one.quantiles), len(one.quantiles[0])) == (midnight(NOW), len(LEVELS), HORIZON)
    whole = book.whole("electricity")
    medians = [book.of(f"up-{point}", "electricity").quantiles[2] for point in range(POINTS)]
    daily = np.array(medians).sum(axis=0).reshape(7, 24).sum(axis=1)
    assert np.allclose(np.array(whole.quantiles[2]).reshape(7, 24).sum(axis=1), daily, rtol=0.25)
    first = (midnight(NOW) - made_of.since) // HOUR
    came = made_of.use[first : first + 24].sum(axis=1)
    assert ((came >= whole.quantiles[0][:24]) & (came <= whole.quantiles[-1][:24])).mean() > 0.6


def test_a_forecast_and_its_zone_are_of_what_was_used_and_not_of_what_the_register_counted(
    tmp_path: Path, engine: sa.Engine
) -> None:
    zones = {"up-1": "east", "up-4": "east"}
    factors = {"up-4": Stated((Multiplied(0, EVER, Decimal("0.25")),))}
    book = forecasts(tmp_path, engine, Street(NOW), zones=zones, factors=factors)
    book.make(NOW)
    other = Street(NOW)
    other.use = other.use.copy()
    other.use[:, 4] = other.use[:, 4] * 0.25
    (tmp_path / "other").mkdir()
    same = forecasts(tmp_path / "other", engine, other, zones=zones)
    same.make(NOW)
    for made, alike in (
        (book.of("up-4", "electricity"), same.of("up-4", "electricity")),
        (book.whole("electricity", "east"), same.whole("electricity", "east")),
        (book.whole("electricity"), same.whole("electricity")),
    ):
        np.testing.assert_allclose(made.quantiles, alike.quantiles, rtol=1e-2, atol=0.05)


def test_an_hour_within_which_the_multiplier_changes_is_not_known() -> None:
    use = np.ones((6, 2), np.float32)
    found = multiplied(
        use,
        0,
        {1: Stated((Multiplied(HOUR, 2 * HOUR + 1, Decimal(40)), Multiplied(4 * HOUR, EVER, Decimal(2))))},
    )
    np.testing.assert_array_equal(found[:, 1], [1, 40, np.nan, 1, 2, 2])
    assert (found[:, 0] == 1).all()


def test_an_hour_of_which_nobody_said_the_multiplier_is_not_known() -> None:
    stated = Stated((Multiplied(0, 2 * HOUR, Decimal(40)),), (Unsaid(2 * HOUR, 3 * HOUR + 1),))
    for since, known in ((0, [40, 40, np.nan, np.nan, 1, 1]), (3 * HOUR, [np.nan, 1, 1, 1, 1, 1])):
        found = multiplied(np.ones((6, 1), np.float32), since, {0: stated})
        np.testing.assert_array_equal(found[:, 0], known)
    assert (multiplied(np.ones((6, 1), np.float32), 9 * HOUR, {0: stated}) == 1).all()


def test_a_zone_is_forecast_as_the_series_that_its_usage_points_make_together(
    tmp_path: Path, engine: sa.Engine
) -> None:
    zones = {"up-1": "east", "up-4": "east", "up-2": "west", "up-9999": "nowhere"}
    book = forecasts(tmp_path, engine, Street(NOW), zones=zones)
    assert book.make(NOW).zones["electricity"] == 2
    # A street of one meter that uses what the two use together has the same forecast.
    one = Street(NOW)
    one.use = one.use.copy()
    one.use[:, 0] = one.use[:, 1] + one.use[:, 4]
    (tmp_path / "one").mkdir()
    single = forecasts(tmp_path / "one", engine, one)
    single.make(NOW)
    east, alone = book.whole("electricity", "east"), single.of("up-0", "electricity")
    assert (east.zone, east.usage_point, east.model) == ("east", "", alone.model)
    np.testing.assert_allclose(east.quantiles, alone.quantiles, rtol=1e-3, atol=1e-2)
    assert book.whole("electricity") == forecasts(tmp_path, engine, Street(NOW)).whole("electricity")
    with pytest.raises(LocalError, match=r"Zones with one: east, west\.") as refused:
        book.whole("electricity", "nowhere")
    assert refused.value.code == "forecast.zone"
    with pytest.raises(LocalError, match="No zone is stated"):
        forecasts(tmp_path / "one", engine, one).whole("electricity", "east")
    with pytest.raises(LocalError):
        book.of("east", "electricity")


def test_a_sum_is_judged_by_the_points_it_was_made_of(tmp_path: Path, engine: sa.Engine) -> None:
    of = Street(SUMMER)
    of.holes = {5}
    book = forecasts(tmp_path, engine, of, zones={"up-5": "dark", "up-3": "east", "up-4": "east"})
    made = book.make(SUMMER - 2 * DAY)
    assert made.zones["electricity"] == 1  # nothing is known of the other
    summed = book.judged(SUMMER)[1]
    assert (summed.sums, summed.score.series, summed.score.hours) == (True, 2, 48)


def test_a_forecast_knows_nothing_that_was_measured_later(tmp_path: Path, engine: sa.Engine) -> None:
    early, late = Street(midnight(NOW)), Street(SUMMER)
    (tmp_path / "b").mkdir()
    one, other = forecasts(tmp_path, engine, early), forecasts(tmp_path / "b", engine, late)
    one.make(NOW)
    other.make(NOW)
    assert one.of("up-1", "electricity") == other.of("up-1", "electricity")


def test_a_usage_point_without_readings_is_left_out_and_said(tmp_path: Path, engine: sa.Engine) -> None:
    of = Street(NOW)
    of.holes = {2}
    book = forecasts(tmp_path, engine, of)
    made = book.make(NOW)
    assert (made.series["electricity"], made.left_out["electricity"]) == (POINTS - 1, 1)
    with pytest.raises(LocalError) as refused:
        book.of("up-2", "electricity")
    assert refused.value.code == "forecast.none"
    assert book.whole("electricity").quantiles


def test_a_new_meter_is_forecast_once_a_week_can_judge_it_and_then_at_its_own_level(
    tmp_path: Path, engine: sa.Engine
) -> None:
    of = Street(NOW)
    begin = (midnight(NOW) - of.since) // HOUR
    of.begins[0], of.begins[1] = begin - 13 * 24, begin - 15 * 24
    book = forecasts(tmp_path, engine, of)
    assert book.make(NOW).left_out["electricity"] == 1
    with pytest.raises(LocalError):
        book.of("up-0", "electricity")
    young = book.of("up-1", "electricity")
    (tmp_path / "old").mkdir()
    old = forecasts(tmp_path / "old", engine, Street(NOW))
    old.make(NOW)
    settled = old.of("up-1", "electricity")
    assert 0.7 < sum(young.quantiles[2]) / sum(settled.quantiles[2]) < 1.3
    assert 0.6 < sum(young.peaks[4]) / sum(settled.peaks[4]) < 1.5


def test_a_sum_counts_those_that_are_too_new_for_a_forecast_of_their_own(
    tmp_path: Path, engine: sa.Engine
) -> None:
    """Two of six meters are five days old: all together is what six use, and is judged by what six used."""
    of = Street(SUMMER)
    begin = (SUMMER - 2 * DAY - of.since) // HOUR
    of.begins[4] = of.begins[5] = begin - 5 * 24
    of.use = of.use.copy()
    of.use[:, 4:6] = of.use[:, 2:4]  # they are like the others
    zones = {"up-3": "east", "up-5": "east", "up-0": "west"}
    book = forecasts(tmp_path, engine, of, zones=zones)
    assert book.make(SUMMER - 2 * DAY).left_out["electricity"] == 2
    alone = {point: sum(book.of(f"up-{point}", "electricity").quantiles[2]) for point in range(4)}
    total = sum(alone.values()) + alone[2] + alone[3]
    assert 0.85 < sum(book.whole("electricity").quantiles[2]) / total < 1.25
    assert 1.6 < sum(book.whole("electricity", "east").quantiles[2]) / alone[3] < 2.4
    (summed,) = [one for one in book.judged(SUMMER) if one.sums]
    assert (summed.score.series, summed.score.hours) == (3, 72)
    assert summed.score.coverage > 0.6


def test_a_register_that_jumped_is_in_no_forecast(tmp_path: Path, engine: sa.Engine) -> None:
    """An hour of a hundred times what is ever used, a week ago: neither the point nor the sum expects it again."""
    of, jumped = Street(NOW), Street(NOW)
    jumped.use = jumped.use.copy()
    jumped.use[(midnight(NOW) - of.since) // HOUR - WEEK + 19, 2] += 150
    told = []
    for name, street_of in (("plain", of), ("jumped", jumped)):
        (tmp_path / name).mkdir()
        book = forecasts(tmp_path / name, engine, street_of)
        book.make(NOW)
        told.append((book.of("up-2", "electricity"), book.whole("electricity")))
    for plain, other in zip(*told, strict=True):
        assert max(other.quantiles[4]) < 1.5 * max(plain.quantiles[4])
        assert max(other.peaks[4]) < 1.5 * max(plain.peaks[4])
        assert 0.9 < sum(other.quantiles[2]) / sum(plain.quantiles[2]) < 1.1


def test_a_file_from_before_peaks_were_forecast_says_none(tmp_path: Path, engine: sa.Engine) -> None:
    book = forecasts(tmp_path, engine, Street(NOW))
    book.make(NOW)
    found = book.of("up-1", "electricity")
    assert (len(found.peaks), {len(level) for level in found.peaks}) == (len(LEVELS), {7})
    assert all(peak >= max(found.quantiles[4][:24]) for peak in found.peaks[4][:1])
    files = ForecastFiles(tmp_path / "forecasts", "st-1", ring(1))
    for number, block in enumerate(list(files.blocks(midnight(NOW)))):
        files.write(msgspec.structs.replace(block, peaks=b""), number)
    files.finish(midnight(NOW))
    again = forecasts(tmp_path, engine, Street(NOW)).of("up-1", "electricity")
    assert again == msgspec.structs.replace(found, peaks=())


@pytest.mark.parametrize("renamed", [0, 2])
def test_a_run_that_was_cut_off_is_no_forecast_and_is_made_again(
    tmp_path: Path, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch, renamed: int
) -> None:
    """Killed among its blocks, or among their renaming: yesterday's stand, and today is still due."""
    of = Street(NOW)
    book = forecasts(tmp_path, engine, of)
    book.make(NOW - DAY)
    yesterday = book.of("up-0", "electricity")
    places = [Path.replace]

    def killed(path: Path, target: Path) -> Path:
        if path.name.endswith(UNFINISHED) and len(places) > renamed:
            raise KeyboardInterrupt
        places.append(Path.replace)
        return places[0](path, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        book.make(NOW)
    monkeypatch.undo()
    again = forecasts(tmp_path, engine, of)
    assert again.of("up-0", "electricity") == yesterday
    assert again.due(NOW)
    again.make(NOW)
    assert not again.due(NOW)
    assert again.of("up-0", "electricity").begin == midnight(NOW)
    assert len(list((tmp_path / "forecasts").iterdir())) == 6


def test_nothing_of_a_run_that_failed_comes_into_the_next(
    tmp_path: Path, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    street = Street(NOW)
    book = forecasts(tmp_path, engine, street)

    def full(_: int) -> None:
        raise EngineError("mdms.full", "full")

    with monkeypatch.context() as patch:
        patch.setattr(book._files, "finish", full)
        with pytest.raises(EngineError):
            book.make(NOW)
    street.holes |= set(range(POINTS // 2))
    assert book.make(NOW).series["electricity"] == POINTS - POINTS // 2
    names = [path.name.split("-")[-1] for path in (tmp_path / "forecasts").iterdir()]
    assert sorted(names) == ["00000.forecast", "00001.forecast"]
    with pytest.raises(LocalError):
        book.of("up-0", "electricity")


def test_while_a_run_goes_on_the_forecasts_before_are_given(
    tmp_path: Path, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = Street(NOW)
    book = forecasts(tmp_path, engine, of)
    book.make(NOW - DAY)
    seen = []
    write = ForecastFiles.write

    def looking(files: ForecastFiles, block: Block, number: int) -> None:
        write(files, block, number)
        seen.append(book.of("up-5", "electricity").begin)

    monkeypatch.setattr(ForecastFiles, "write", looking)
    book.make(NOW)
    assert seen == [midnight(NOW) - DAY] * 3


def test_what_was_forecast_is_judged_once_after_each_run(
    tmp_path: Path, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = forecasts(tmp_path, engine, Street(SUMMER))
    assert book.lately is None
    book.look_back(SUMMER)
    assert book.lately == ()
    book.make(SUMMER - 2 * DAY)
    book.look_back(SUMMER)
    assert book.lately == tuple(book.judged(SUMMER)) != ()
    monkeypatch.setattr(book, "judged", lambda now: pytest.fail("judged again"))
    book.look_back(SUMMER + HOUR)


def test_what_the_register_of_an_exchanged_meter_begins_at_is_no_use(
    tmp_path: Path, engine: sa.Engine
) -> None:
    """The new meter's register is higher than the old one's: between them lies nothing that was used.

    They are too many to be taken for jumps of a register.
    """
    of = Street(NOW)
    exchanges = [midnight(NOW) - ago * DAY + 30 * 60_000 for ago in (24, 17, 10, 3)]
    of.use = of.use.copy()
    for at in exchanges:
        of.use[(at - of.since) // HOUR, 1] += 50_000
    blind, told = tmp_path / "blind", tmp_path / "told"
    for path in (blind, told):
        path.mkdir()
    unaware = forecasts(blind, engine, of)
    unaware.make(NOW)
    aware = forecasts(told, engine, of, replaced={"up-1": (of.since, *exchanges)})
    aware.make(NOW)
    weekly = [sum(book.of("up-1", "electricity").quantiles[2]) for book in (unaware, aware)]
    assert weekly[0] > 5_000 > 500 > weekly[1]
    assert aware.of("up-2", "electricity") == unaware.of("up-2", "electricity")


def test_kept_forecasts_are_judged_by_what_came(tmp_path: Path, engine: sa.Engine) -> None:
    of = Street(SUMMER)
    book = forecasts(tmp_path, engine, of)
    assert book.judged(SUMMER) == []
    for ago in range(6, 0, -1):
        book.make(SUMMER - ago * DAY)
    judged, summed = book.judged(SUMMER)
    assert (judged.sums, summed.sums, summed.days, summed.score.series) == (False, True, 6, 1)
    assert summed.score.hours == 6 * 24
    assert 0.6 < summed.score.coverage <= 1
    assert (judged.medium, judged.days, judged.score.series) == ("electricity", 6, POINTS)
    assert judged.score.hours == 6 * 24 * POINTS
    assert 0.75 < judged.score.coverage <= 1
    assert judged.score.mase < 1
    assert book.judged(SUMMER - 1)[0].days == 5  # the last day is not over then


def test_peaks_and_the_rest_of_the_week_are_judged_by_what_came(tmp_path: Path, engine: sa.Engine) -> None:
    """Worked out a second time by hand, from the use itself and what was forecast of it."""
    of = Street(SUMMER)
    book = forecasts(tmp_path, engine, of)
    made = {}
    for ago in (8, 7, 2, 1):
        book.make(SUMMER - ago * DAY)
        made[SUMMER - ago * DAY] = book.whole("electricity")
    points, sums = book.judged(SUMMER)
    assert (points.days, points.weeks, sums.days, sums.weeks) == (4, 2, 4, 2)
    whole = of.use.sum(axis=1)

    def came(begin: int, day: int) -> list[float]:
        first = (begin + day * DAY - of.since) // HOUR
        return [float(one) for one in whole[first : first + 24]]

    assert [one.begin for one in sums.highest] == sorted(made, reverse=True)
    inside = 0
    for one in sums.highest:
        peaks = made[one.begin].peaks
        assert (one.low, one.foreseen, one.high) == (peaks[0][0], peaks[2][0], peaks[4][0])
        assert one.came == pytest.approx(max(came(one.begin, 0)), abs=0.05)
        inside += one.low <= one.came <= one.high
    assert sums.peak is not None
    assert (sums.peak.days, sums.peak.series, sums.peak.within) == (4, 1, inside / 4)
    off = sum(abs(one.came - one.foreseen) for one in sums.highest)
    assert sums.peak.error == pytest.approx(off / sum(one.came for one in sums.highest), rel=1e-3)
    assert sums.week is not None
    hours = [
        (use, low, high)
        for begin in (SUMMER - 8 * DAY, SUMMER - 7 * DAY)
        for day in range(1, 7)
        for use, low, high in zip(
            came(begin, day),
            made[begin].quantiles[0][day * 24 : (day + 1) * 24],
            made[begin].quantiles[4][day * 24 : (day + 1) * 24],
            strict=True,
        )
    ]
    assert sums.week.hours == len(hours) == 288
    share = sum(low <= use <= high for use, low, high in hours) / len(hours)
    assert sums.week.coverage == pytest.approx(share, abs=0.02)
    assert points.week is not None
    assert points.week.mase < 1.2
    early = book.judged(SUMMER - 1)[1]
    assert (early.days, early.weeks, len(early.highest)) == (3, 1, 3)


def test_a_day_with_unknown_hours_has_no_highest_hour(tmp_path: Path, engine: sa.Engine) -> None:
    of = Street(SUMMER)
    book = forecasts(tmp_path, engine, of)
    book.make(SUMMER - DAY)
    of.until = SUMMER - 5 * HOUR
    points, *_ = book.judged(SUMMER)
    assert (points.peak, points.days, points.highest) == (None, 1, ())


def test_old_forecasts_go(tmp_path: Path, engine: sa.Engine) -> None:
    of = Street(SUMMER)
    book = forecasts(tmp_path, engine, of)
    book.make(SUMMER - KEPT - 2 * DAY)
    book.make(SUMMER)
    begins = {path.name.split("-")[0] for path in (tmp_path / "forecasts").iterdir()}
    assert begins == {f"{SUMMER:014d}"}


def test_what_was_made_while_the_clock_was_ahead_is_not_taken_for_the_newest(
    tmp_path: Path, engine: sa.Engine
) -> None:
    book = forecasts(tmp_path, engine, Street(NOW))
    book.make(NOW + 3 * DAY)
    assert book.due(NOW), "it was set right"
    book.make(NOW)
    assert book.of("up-0", "electricity").begin == midnight(NOW)
    assert book.due(NOW + 3 * DAY), "that day is forecast once it is there, with all that came till then"


def test_a_file_tells_no_usage_point_and_a_changed_one_is_named(tmp_path: Path, engine: sa.Engine) -> None:
    book = forecasts(tmp_path, engine, Street(NOW))
    book.make(NOW)
    files = sorted((tmp_path / "forecasts").iterdir())
    assert len(files) == 3
    for path in files:
        content = path.read_bytes()
        assert b"up-" not in content
        assert path.stat().st_mode & 0o777 == 0o600
    for change in (
        lambda c: c[:-1],
        lambda c: c[:40] + bytes([c[40] ^ 1]) + c[41:],
        lambda c: bytes([c[0] ^ 1]) + c[1:],  # names a key that never was
        lambda c: b"",
    ):
        whole = files[0].read_bytes()
        files[0].write_bytes(change(whole))
        with pytest.raises(DataError) as refused:
            forecasts(tmp_path, engine, Street(NOW)).of("up-0", "electricity")
        assert refused.value.code == "forecast.damaged"
        assert files[0].name in str(refused.value)
        files[0].write_bytes(whole)
    # One file in the place of another is no forecast of that place.
    files[0].write_bytes(files[1].read_bytes())
    with pytest.raises(DataError):
        forecasts(tmp_path, engine, Street(NOW)).of("up-0", "electricity")


def test_forecasts_move_to_a_newer_key_and_say_the_same(tmp_path: Path, engine: sa.Engine) -> None:
    of = Street(NOW)
    forecasts(tmp_path, engine, of).make(NOW)
    newer = forecasts(tmp_path, engine, of, ring(1, 2))
    before = newer.of("up-3", "electricity")
    assert newer.older() == 3
    moved = 0
    while newer.reseal():
        moved += 1
    assert (moved, newer.older()) == (3, 0)
    assert forecasts(tmp_path, engine, of, ring(2)).of("up-3", "electricity") == before


def test_weather_is_used_once_all_of_it_is_known(tmp_path: Path, engine: sa.Engine) -> None:
    of = Street(NOW)
    book = forecasts(tmp_path, engine, of)
    book.make(NOW)
    without = [book.of(f"up-{point}", "electricity") for point in range(POINTS)]
    begin = midnight(NOW)
    hours = range((begin - HISTORY * HOUR) // HOUR, begin // HOUR + HORIZON)
    Surroundings(engine).put_weather({hour: 10 + 20 * (hour % 900) / 900 for hour in hours[:-1]})
    assert book.make(NOW).weather_missing == 1
    Surroundings(engine).put_weather({hours[-1]: 12.0})
    assert book.make(NOW).weather_missing == 0
    assert [book.of(f"up-{point}", "electricity") for point in range(POINTS)] != without
    assert len({one.begin for one in without}) == 1


# --- surroundings ----------------------------------------------------------------------------------------


def test_weather_is_kept_to_the_hundredth_and_holes_stay_holes(engine: sa.Engine) -> None:
    around = Surroundings(engine)
    assert around.weather_known() is None
    assert around.put_weather({495_000: -3.25, 495_002: 41.5}) == 2
    assert around.put_weather({495_002: 40.0}) == 1
    found = around.weather(495_000 * HOUR, 4)
    assert found.tolist()[0] == -3.25
    assert np.isnan(found[[1, 3]]).all()
    assert found[2] == 40.0
    assert around.weather_known() == (495_000, 495_002)


def test_weather_that_is_said_anew_is_told_anew_and_nobody_changes_what_is_remembered(
    engine: sa.Engine,
) -> None:
    around = Surroundings(engine)
    around.put_weather({100: 1.0, 101: 2.0})
    around.weather(100 * HOUR, 3)[0] = 50.0
    assert around.weather(100 * HOUR, 3)[:2].tolist() == [1.0, 2.0]
    before = 2
    Surroundings(engine).put_weather({101: 7.0, 102: 8.0})
    assert around.weather(100 * HOUR, 3).tolist() == [1.0, 7.0, 8.0]
    then = around.weather(100 * HOUR, 3, upto=before)
    assert then[:2].tolist() == [1.0, 2.0]
    assert np.isnan(then[2])


@pytest.mark.parametrize(
    "degrees", [{495_000: 60.5}, {495_000: -61.0}, {495_000: float("nan")}, {-1: 3.0}, {1_300_000: 3.0}]
)
def test_weather_that_cannot_be_is_refused_and_nothing_of_it_kept(
    engine: sa.Engine, degrees: dict[int, float]
) -> None:
    around = Surroundings(engine)
    with pytest.raises(LocalError) as refused:
        around.put_weather({495_001: 5.0} | degrees)
    assert refused.value.code == "surroundings.weather"
    assert around.weather_known() is None


def test_more_hours_than_a_call_takes_are_refused(engine: sa.Engine) -> None:
    with pytest.raises(LocalError):
        Surroundings(engine).put_weather(dict.fromkeys(range(MOST + 1), 1.0))


def test_days_are_kept_and_replaced(engine: sa.Engine) -> None:
    around = Surroundings(engine)
    assert around.put_days({20_730: "holiday", 20_734: "workday"}) == 2
    around.put_days({20_734: "holiday"})
    assert around.days() == {20_730: "holiday", 20_734: "holiday"}
    with pytest.raises(LocalError) as refused:
        around.put_days({-1: "holiday"})
    assert refused.value.code == "surroundings.days"


def test_a_day_of_the_week_before_is_known_by_its_hour() -> None:
    assert WEEK == 7 * 24
    assert midnight(SUMMER) == SUMMER
    assert midnight(SUMMER - 1) == SUMMER - DAY
