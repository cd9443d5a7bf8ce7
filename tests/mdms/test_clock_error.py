"""A clock that was measured to be off: found, its readings in doubt until it is set, the jump explained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from meterseal.control import write
from meterseal.control.tables import former_installations, meters
from meterseal.errors import EngineError
from meterseal.mdms import clocks
from meterseal.mdms.clocks import Measured, Told, periods
from meterseal.mdms.finding import Finding
from meterseal.mdms.service import Mdms
from meterseal.mdms.store.rows import EVER
from meterseal.mdms.vee.context import Context
from meterseal.mdms.vee.doubts import by_clocks
from meterseal.mdms.vee.rules import RULES
from meterseal.mdms.vee.rules.clocks import ClockError, clock_error
from meterseal.mdms.vee.view import View
from meterseal.model import MAIN, Batch, ClockSeen, Quality, Series
from tests.mdms.fleet import DAY, FIRST, HOUR, day_record, device, open_store, point
from tests.mdms.vee_tables import columns, evenly

MINUTE = 60_000
NOW = FIRST + 30 * DAY
ALLOWED = ClockError(120_000)


class Meter:
    """One that is read on the hour, whose readings stand at its clock; a concentrator looks at that beside each reading.

    It uses 10 an hour, 25 in each fifth.
    """

    def __init__(self, mdms: Mdms, number: int = 0) -> None:
        self.mdms, self.number, self.counter = mdms, number, 0
        self.told: int | None = None
        self.seen_at = 0

    @staticmethod
    def register(hour: int) -> int:
        return 10 * hour + 15 * (hour // 5)

    async def live(
        self, hours: range, off: int = 0, took: int = 2_000, *, stamps: bool = True, step: int = HOUR
    ) -> None:
        for hour in hours:
            at = FIRST + hour * HOUR
            shown = at + off if stamps else at
            series = (Series(device(self.number), MAIN, "m3", -2, shown, step, (self.register(hour),)),)
            clocks: tuple[ClockSeen, ...] = ()
            if self.told is None or abs(self.told - off) > 30_000:
                since = self.seen_at or at + took
                clocks = (ClockSeen(device(self.number), since, at + took, off - took, off + 1_000, stamps),)
                self.told = off
            self.seen_at = at + took
            self.counter += 1
            record = msgspec.structs.replace(
                day_record(self.number, 0, self.counter),
                series=series,
                statuses=(),
                clocks=clocks,
                received_at=at + took,
                origin="vouched",
            )
            await self.mdms.publish(Batch((record,)))
        await self.mdms.settle()

    def shown(self) -> dict[int, int]:
        """Quality of the visible readings by hour."""
        found = self.mdms.registers(point(self.number), MAIN, 0, FIRST + 90 * DAY)
        hours = ((found.end_at - FIRST) // HOUR).tolist()
        return dict(zip(hours, found.quality.tolist(), strict=True))

    def said(self, *rules: str) -> list[Finding]:
        return [
            one for one in self.mdms.findings() if one.rule in rules and one.usage_point == point(self.number)
        ]


async def test_an_hour_s_lag_is_found_doubted_until_the_clock_is_set_and_the_jump_is_no_gap(
    tmp_path: Path,
) -> None:
    mdms, _ = open_store(tmp_path, 1)
    meter = Meter(mdms)
    await meter.live(range(1, 50))
    await mdms.run_vee(NOW)
    assert meter.said("clock-error") == []
    await meter.live(range(50, 60), -HOUR)
    await mdms.run_vee(NOW + 1)
    (found,) = meter.said("clock-error")
    assert (found.severity, found.facts["seconds"]) == ("error", -3_599)
    assert (found.facts["least"], found.facts["most"], found.facts["doubted"]) == (-3_602, -3_599, 1)
    qualities = meter.shown()
    assert {qualities[hour] for hour in range(1, 49)} == {Quality.MEASURED}
    assert {qualities[hour] for hour in range(50, 59)} == {Quality.SUSPECT}
    await meter.live(range(60, 200))  # it was set
    run = await mdms.run_vee(NOW + 2)
    assert len(meter.said("clock-error")) == 1
    assert meter.said("gap", "duplicate", "negative-step", "time") == []
    qualities = meter.shown()
    assert {qualities[hour] for hour in range(61, 200)} == {Quality.MEASURED}
    assert {qualities[hour] for hour in range(50, 60)} == {Quality.ESTIMATED}
    shown = mdms.registers(point(0), MAIN, FIRST + 40 * HOUR, FIRST + 70 * HOUR)
    assert (np.diff(shown.register) > 0).all()  # estimates meet the registers on both sides
    assert mdms.replay(run.number).versions
    await mdms.close()
    mdms, _ = open_store(tmp_path)  # replayed: no measurement is kept twice
    await mdms.settle()
    assert len(mdms.facts.clocks_of([point(0)], NOW)[point(0)]) == 3
    assert (await mdms.run_vee(NOW + 3)).versions == 0
    await mdms.close()


async def test_a_clock_that_led_is_doubted_up_to_what_it_said_ahead_of_time(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    meter = Meter(mdms)
    lead = 14 * MINUTE
    await meter.live(range(1, 30))
    await meter.live(range(30, 40), lead)
    await meter.live(range(40, 120))
    await mdms.run_vee(NOW + 1)
    (found,) = meter.said("clock-error")
    assert found.facts["seconds"] == lead / 1_000 - 2
    assert found.facts["doubted"] == 0  # not a quarter of an hour
    assert set(meter.shown().values()) == {Quality.MEASURED}
    await mdms.close()


async def test_readings_at_the_time_of_whoever_reads_are_good_whatever_the_meter_s_clock_shows(
    tmp_path: Path,
) -> None:
    mdms, _ = open_store(tmp_path, 1)
    meter = Meter(mdms)
    await meter.live(range(1, 30), stamps=False)
    await meter.live(range(30, 80), -40 * DAY, stamps=False)
    await mdms.run_vee(NOW)
    (found,) = meter.said("clock-error")
    assert (found.facts["doubted"], found.facts["seconds"]) == (0, -40 * 86_400 + 1)
    assert set(meter.shown().values()) == {Quality.MEASURED}
    await mdms.close()


async def test_answers_of_a_meter_without_a_load_profile_are_found_and_doubted_too_and_stand_again(
    tmp_path: Path,
) -> None:
    mdms, _ = open_store(tmp_path, 1)
    meter = Meter(mdms)
    await meter.live(range(1, 20), step=0)
    await meter.live(range(20, 30), -HOUR, step=0)
    (found,) = meter.said("clock-error")  # at once, without a run
    assert (found.severity, found.facts["seconds"], found.facts["doubted"]) == ("error", -3_599, 1)
    await mdms.run_vee(NOW)
    await meter.live(range(30, 40), step=0)
    run = await mdms.run_vee(NOW + 1)
    qualities = meter.shown()
    assert {qualities[hour] for hour in (*range(1, 19), *range(31, 40))} == {Quality.MEASURED}
    assert {qualities[hour] for hour in range(20, 29)} == {Quality.SUSPECT}
    assert (await mdms.run_vee(NOW + 2)).versions == 0
    assert mdms.replay(run.number) is not None
    # A look that comes late says that it was good again sooner: what came after that stands again.
    seen = ClockSeen(device(0), FIRST + 19 * HOUR, FIRST + 24 * HOUR, -1_000, 1_000, stamps=True)
    record = msgspec.structs.replace(
        day_record(0, 0, 999), series=(), statuses=(), clocks=(seen,), received_at=FIRST + 41 * HOUR
    )
    await mdms.publish(Batch((record,)))
    await mdms.settle()
    await mdms.run_vee(NOW + 3)
    qualities = meter.shown()
    assert {qualities[hour] for hour in range(20, 25)} == {Quality.SUSPECT}
    assert {qualities[hour] for hour in range(25, 40) if hour in qualities} == {Quality.MEASURED}
    assert len(meter.said("clock-error")) == 1
    await mdms.close()


async def test_what_was_measured_of_a_meter_says_nothing_of_the_one_that_came_after_it(
    tmp_path: Path,
) -> None:
    mdms, engine = open_store(tmp_path, 1)
    meter = Meter(mdms)
    await meter.live(range(1, 20))
    await meter.live(range(20, 40), -HOUR)
    left = FIRST + 45 * HOUR
    with write(engine) as connection:
        connection.execute(sa.delete(meters).where(meters.c.device_id == device(0)))
        connection.execute(
            former_installations.insert().values(
                device_id=device(0), usage_point_id=point(0), since=FIRST, until=left
            )
        )
        connection.execute(
            meters.insert().values(
                device_id=device(9), usage_point_id=point(0), protocol="cjt188", since=left, plain=False
            )
        )
    mdms.meters_changed()
    other = Meter(mdms, 0)
    series = tuple(
        Series(device(9), MAIN, "m3", -2, FIRST + hour * HOUR, HOUR, (10 * hour,)) for hour in range(46, 90)
    )
    record = msgspec.structs.replace(
        day_record(9, 0, 1), device_id=device(9), series=series, statuses=(), received_at=FIRST + 91 * HOUR
    )
    await mdms.publish(Batch((record,)))
    await mdms.settle()
    await mdms.run_vee(NOW)
    qualities = other.shown()
    assert {qualities[hour] for hour in range(20, 39)} & {Quality.MEASURED} == set()
    assert {qualities[hour] for hour in range(46, 90)} == {Quality.MEASURED}
    await mdms.close()


async def test_a_clock_that_stands_off_for_weeks_is_found_once_and_again_after_it_was_set(
    tmp_path: Path,
) -> None:
    """Of a meter without a load profile: that it is still so, which each weekly look says, is nothing new."""
    mdms, _ = open_store(tmp_path, 1)
    meter = Meter(mdms)
    await meter.live(range(1, 3), step=0)

    async def weekly(weeks: range, off: int) -> None:
        for week in weeks:
            meter.told = None  # a concentrator tells it once a week, however it stands
            await meter.live(range(168 * week, 168 * week + 2), off + 1_000 * (week % 3), step=0)

    await weekly(range(1, 5), -HOUR)
    assert len(meter.said("clock-error")) == 1
    await weekly(range(5, 7), 0)
    await weekly(range(7, 10), -HOUR)
    assert len(meter.said("clock-error")) == 2
    await weekly(range(10, 12), -2 * HOUR)
    assert len(meter.said("clock-error")) == 3
    await mdms.close()


async def test_that_a_clock_is_off_is_found_and_judged_again_though_it_could_not_be_written_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mdms, _ = open_store(tmp_path, 1)
    meter = Meter(mdms)
    await meter.live(range(1, 20), step=0)
    append, failed = mdms._findings.append, []

    def full(found: Sequence[Finding]) -> int:
        if found and not failed:
            failed.append(found)
            raise EngineError("control.full", "The disk is full.")
        return append(found)

    monkeypatch.setattr(mdms._findings, "append", full)
    with pytest.raises(EngineError):
        await meter.live(range(20, 21), -HOUR, step=0)
    await meter.live(range(21, 24), -HOUR, step=0)
    assert len(meter.said("clock-error")) == 1
    await mdms.run_vee(NOW)
    assert meter.shown()[20] == Quality.SUSPECT
    await mdms.close()


async def test_looks_alike_are_one_fact_and_a_change_is_doubted_from_the_last_of_them(tmp_path: Path) -> None:
    mdms, engine = open_store(tmp_path, 1)

    def look(hour: int, off: int, wide: int = 0, number: int = 0) -> int:
        at = FIRST + hour * HOUR
        seen = ClockSeen(device(number), at, at, off - wide, off + wide, True)
        again = clocks.keep(engine, [Measured(point(0), "water", seen, at)]).again
        assert set(again) <= {(point(0), MAIN)}
        return len(again)

    for _ in range(2):  # and once more, as a journal is replayed
        for hour in range(1, 40):
            look(hour, 10_000, hour * 20_000)  # right, as far as anybody can say
        for hour in range(41, 50):
            look(hour, -HOUR + hour * 100)
        look(50, -HOUR + 60_000)
        look(51, -HOUR + 60_000, number=9)  # another meter's says nothing of the one before it
        told = clocks.known(engine, [point(0)], NOW)[point(0)]
        assert [((one.since - FIRST) / HOUR, (one.at - FIRST) / HOUR) for one in told] == [
            (1, 1), (39, 41), (49, 50), (51, 51)
        ]  # fmt: skip
        assert look(20, 5_000) == 0
    assert look(60, -HOUR + 60_000) == 1  # the first is back: what was told last is of the other
    await mdms.close()


async def test_a_look_at_the_clock_of_a_meter_that_is_nowhere_changes_nothing(tmp_path: Path) -> None:
    mdms, _ = open_store(tmp_path, 1)
    await Meter(mdms, 7).live(range(1, 3), -HOUR)
    assert mdms.facts.clocks_of([point(0), point(7)], NOW) == {}
    await mdms.close()


# --- every drift, every step, every delay -----------------------------------------------------------------


def measured(true: list[int], delays: list[int]) -> list[Told]:
    """What is kept of looks once an hour at a clock that is off by `true` ms, each within a delay."""
    told: list[Told] = []
    for hour, (off, delay) in enumerate(zip(true, delays, strict=True)):
        at = FIRST + hour * HOUR + delay
        told.append(Told(told[-1].at if told else at, at, off - delay, off + 1_000, stamps=True))
    return told


def found(told: list[Told], parameters: ClockError = ALLOWED) -> int:
    """Rows that the rule objects to, of 100 readings on the hour."""
    table = columns(evenly(list(range(100)), HOUR, FIRST))
    context = Context(interval=HOUR, clocks=tuple(periods(told, (), 0)))
    return len(clock_error(View(table, context), parameters).rows)


@settings(max_examples=60)
@given(ppm=st.integers(-330, 330), delays=st.lists(st.integers(0, 60_000), min_size=90, max_size=90))
def test_a_drift_below_what_is_allowed_is_never_found_however_slow_the_network(
    ppm: int, delays: list[int]
) -> None:
    """330 ppm are 107 s in 90 hours; the bounds are up to a minute apart."""
    true = [ppm * hour * HOUR // 1_000_000 for hour in range(90)]
    assert max(map(abs, true)) < 120_000
    assert found(measured(true, delays)) == 0


@settings(max_examples=60)
@given(
    step=st.integers(120_000 + 61_000, 40 * DAY).flatmap(lambda n: st.sampled_from((n, -n))),
    at=st.integers(1, 80),
    delays=st.lists(st.integers(0, 60_000), min_size=90, max_size=90),
)
def test_any_step_above_is_found_with_the_next_look(step: int, at: int, delays: list[int]) -> None:
    told = measured([0] * at + [step] * (90 - at), delays)
    assert found(told[: at + 1]) == 1
    first = periods(told, (), 0)[0]
    assert first.since == told[at - 1].at  # from when it was known good last
    assert found(told) <= 90 - at


def test_a_measurement_after_a_pause_reaches_back_to_the_one_before() -> None:
    good, off = Told(FIRST, FIRST, 0, 0, stamps=True), Told(NOW, NOW, -HOUR, -HOUR, stamps=True)
    (one,) = periods([good, off], (), 0)
    assert (one.since, one.until) == (FIRST, EVER)
    assert (one.off, one.reach) == (-HOUR, (FIRST - HOUR, EVER))
    assert periods([off], (), 0)[0].since == NOW  # nobody knows of the time before


def test_without_the_rule_nothing_is_doubted_for_a_clock() -> None:
    context = Context(clocks=tuple(periods([Told(NOW, NOW, -HOUR, -HOUR, stamps=True)], (), 0)))
    rules = {name: rule for name, rule in RULES.items() if name != "clock-error"}
    assert by_clocks([], context, None, rules) == {}  # type: ignore[arg-type]  # nothing is asked of it
