"""Energy against volume and temperatures, from the frames of a heat meter to the finding, and attempts to have a run that
looked at them say two things."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from math import floor
from pathlib import Path
from random import Random
from typing import NamedTuple

import msgspec
import pytest
import sqlalchemy as sa

from meterseal.control.engine import read, write
from meterseal.control.rings import MEASUREMENTS
from meterseal.control.sealed import HEAT_DAYS, UNDER
from meterseal.control.tables import heat_days, meters, premises, usage_points
from meterseal.headend.heats import COLDEST, HOTTEST
from meterseal.headend.saying import say
from meterseal.kit.profiles import Profile, Registers
from meterseal.mdms.entries import Rollup
from meterseal.mdms.facts import Fact
from meterseal.mdms.finding import Finding
from meterseal.mdms.heats import Heats, Hour, Warm, first_of_hours, mean, packed, unpacked
from meterseal.mdms.vee.context import OFFSET, Warmth
from meterseal.mdms.vee.rules.physics import carries
from meterseal.model import HEAT_VOLUME, MAIN, Batch, HeatSeen, Opened
from meterseal.units import unit_code
from tests.control_store import control_at
from tests.mdms.fleet import DAY, FIRST, HOUR, keys, point
from tests.mdms.test_exact_runs import Watch
from tests.wire import built

METER = bytes.fromhex("2078330011223344")
NUMBER = 2
NOW = FIRST + 20 * DAY
MINUTE = 60_000
KWH = {"kWh": 1.0, "MWh": 1000.0, "GJ": 1000 / 3.6}


def winter(
    hours: Iterable[int], *, shown: float = 1.0, unit: str = "kWh", swapped: bool = False, late: int = 7_000
) -> list[Opened]:
    """What a meter of a large house says of hours: it is warm at day, stands from one to four, its spread rises all day.

    `shown`: what share of the true spread its return sensor lets it show; it counts by another one.
    """
    litres, kwh = 0.0, 0.0
    wanted, found = set(hours), []
    for hour in range(max(wanted) + 1):
        spread = 8 + hour % 24 * 0.5
        flow = 0 if 1 <= hour % 24 <= 4 else 2_000 + 150 * (hour % 24)
        litres += flow
        kwh += carries(60 - spread / 2) * flow / 1000 * spread
        if hour not in wanted:
            continue
        back = 60 - spread * shown
        supply, back = (back, 60.0) if swapped else (60.0, back)
        payload = built.heat_payload(
            round(kwh / KWH[unit] * 100),
            0,
            FIRST + hour * HOUR + late,
            volume=round(litres / 10),
            supply=round(supply * 100),
            back=round(back * 100),
            flow=flow * 10,
            unit=unit_code(unit),
        )
        found.append(record(payload, FIRST + hour * HOUR + late))
    return found


def record(payload: bytes, at: int, *, counter: int = 0, meter: bytes = METER) -> Opened:
    said = say([built.current_data_answer(meter, payload)], at, vouched=True)
    return Opened(
        session_id=b"session1",
        counter=counter or at // 1000 % (1 << 40),
        device_id=b"\xf0concent",
        module_id=bytes(8),
        suite=1,
        origin="vouched",
        received_at=at + 1000,
        digest=bytes(32),
        series=said.series,
        heats=said.heats,
    )


@pytest.fixture
async def watch(tmp_path: Path) -> AsyncIterator[Watch]:
    one = Watch(tmp_path)
    with write(one.engine) as connection:
        connection.execute(premises.insert().values(id="pr-1"))
        connection.execute(usage_points.insert().values(id=point(NUMBER), premises_id="pr-1", medium="heat"))
        row = {"device_id": METER, "usage_point_id": point(NUMBER), "protocol": "cjt188"}
        connection.execute(meters.insert().values(**row, since=FIRST - DAY, plain=True))
    yield one
    await one.close()


async def told(watch: Watch, records: Iterable[Opened]) -> None:
    for one in records:
        await watch.mdms.publish(Batch((one,)))


def found(watch: Watch) -> list[Finding]:
    """The rule's findings, oldest first."""
    its = [one for one in watch.mdms.findings(1000, point(NUMBER)) if one.rule == "heat-balance"]
    return sorted(its, key=lambda one: one.until)


def days(watch: Watch) -> list[int]:
    return [(one.since - FIRST) // DAY for one in found(watch)]


def stored(watch: Watch) -> list[tuple[int, bytes]]:
    with read(watch.engine) as connection:
        query = sa.select(heat_days.c.day, heat_days.c.sealed_hours).order_by(heat_days.c.day)
        return [(row.day, bytes(row.sealed_hours)) for row in connection.execute(query)]


# --- from the frame to the finding --------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["kWh", "MWh", "GJ"])
async def test_a_good_meter_is_not_found_in_whatever_unit_it_counts(watch: Watch, unit: str) -> None:
    await told(watch, winter(range(24 * 6 + 1), unit=unit))
    run = await watch.mdms.run_vee(NOW)
    assert found(watch) == []
    assert run.unjudged == {}


@pytest.mark.parametrize("unit", ["kWh", "MWh", "GJ"])
async def test_a_sensor_that_shows_a_fifth_too_little_is_found_on_every_day(watch: Watch, unit: str) -> None:
    await told(watch, winter(range(24 * 4 + 1), shown=0.8, unit=unit))
    await watch.mdms.run_vee(NOW)
    assert days(watch) == [0, 1, 2, 3]
    for one in found(watch):
        assert one.facts["measured"] == pytest.approx(one.facts["implied"] * 0.8, rel=0.02)
    watch.replays()


async def test_what_a_register_is_multiplied_by_is_no_part_of_the_meters_own_balance(watch: Watch) -> None:
    await told(watch, winter(range(24 * 3 + 1)))
    stated = Fact(usage_point=point(NUMBER), kind="multiplier", value="10", since=FIRST + DAY)
    await watch.mdms.state([stated], NOW)
    await watch.mdms.run_vee(NOW)
    assert found(watch) == []
    watch.replays()


async def test_the_day_on_which_a_unit_turned_is_not_judged_and_those_beside_it_are(watch: Watch) -> None:
    await told(watch, winter(range(30), shown=0.5))
    await told(watch, winter(range(30, 73), shown=0.5, unit="MWh"))
    await watch.mdms.run_vee(NOW)
    assert days(watch) == [0, 2]
    watch.replays()


async def test_a_register_of_no_energy_is_not_judged_and_said_so(watch: Watch) -> None:
    await told(
        watch,
        [
            msgspec.structs.replace(
                one,
                series=tuple(
                    msgspec.structs.replace(series, unit="kW") if series.channel == MAIN else series
                    for series in one.series
                ),
            )
            for one in winter(range(30), shown=0.5)
        ],
    )
    run = await watch.mdms.run_vee(NOW)
    assert found(watch) == []
    assert run.unjudged == {"heat-balance": 1}


@pytest.mark.parametrize("hours", [[0], [0, 6, 12, 18], list(range(11))])
async def test_of_few_hours_of_a_day_no_mean_is_claimed(watch: Watch, hours: list[int]) -> None:
    await told(watch, winter([24 * day + hour for day in range(4) for hour in hours], shown=0.5))
    run = await watch.mdms.run_vee(NOW)
    assert found(watch) == []
    assert run.unjudged == {"heat-balance": 1}


async def test_energy_that_the_volume_cannot_carry_is_found_from_midnights_alone(watch: Watch) -> None:
    """What a sealed meter reports: a load profile of energy, and both registers at midnight."""
    records = winter([0, 24, 48], late=0)
    light = [
        msgspec.structs.replace(series, registers=(series.registers[0] // 20,))  # type: ignore[operator]
        if series.channel == HEAT_VOLUME
        else series
        for one in records
        for series in one.series
    ]
    await told(
        watch,
        [
            msgspec.structs.replace(
                one, series=tuple(s for s in light if s.start_at == one.series[0].start_at)
            )
            for one in records
        ],
    )
    await watch.mdms.run_vee(NOW)
    assert days(watch) == [0, 1]


async def test_sensors_in_each_others_pipes_are_found_though_no_energy_counts(watch: Watch) -> None:
    records = [
        msgspec.structs.replace(
            one,
            series=tuple(
                msgspec.structs.replace(series, registers=(700,)) if series.channel == MAIN else series
                for series in one.series
            ),
        )
        for one in winter(range(24 * 2 + 1), swapped=True)
    ]
    await told(watch, records)
    await watch.mdms.run_vee(NOW)
    assert days(watch) == [0, 1]
    assert all(one.facts["measured"] < -8 for one in found(watch))


@pytest.mark.parametrize(
    ("supply", "back", "taken"),
    [
        (HOTTEST, 0, True),
        (HOTTEST + 1, 4000, False),
        (6000, 999_999, False),
        (0, 0, False),
        (0, 1, True),
    ],
)
async def test_temperatures_that_no_pipe_has_are_kept_out_and_the_registers_stay(
    watch: Watch, supply: int, back: int, taken: bool
) -> None:
    payload = built.heat_payload(700, 0, FIRST + HOUR, volume=900, supply=supply, back=back)
    await told(watch, [record(payload, FIRST + HOUR)])
    await watch.mdms.settle()
    assert len(stored(watch)) == taken
    for channel, register in ((MAIN, 700), (HEAT_VOLUME, 900)):
        assert watch.mdms.registers(point(NUMBER), channel, 0, NOW).register.tolist() == [register]
    assert COLDEST < 0 < HOTTEST


@pytest.mark.parametrize(("share", "wrong"), [(100, False), (80, True), (122, True)])
async def test_a_home_through_a_winter(watch: Watch, share: int, wrong: bool) -> None:
    """Hourly answers of a simulated home from November to January; `share` of the true spread in percent is shown."""
    until = FIRST + 90 * DAY
    home = Registers(7, Profile("heat", 3, 3, FIRST - DAY, 0), until)
    answers = []
    for at in range(FIRST, until + 1, HOUR):
        energy, volume = (turned // 10_000 for turned in home.totals(2, at))
        supply, back = home.temperatures(at)
        back = supply - (supply - back) * share // 100
        payload = built.heat_payload(energy, 0, at, volume=volume, supply=supply, back=back, flow=9)
        answers.append(record(payload, at))
    for day in range(0, len(answers), 240):
        batch = [
            msgspec.structs.replace(one, counter=1 + day + k) for k, one in enumerate(answers[day:][:240])
        ]
        await watch.mdms.publish(Batch(tuple(batch)))
    await watch.mdms.run_vee(until + HOUR)
    assert len(stored(watch)) == 91
    assert len(found(watch)) == (90 if wrong else 0)
    watch.replays()


# --- good meters ---------------------------------------------------------------------------------------------------


class Plant(NamedTuple):
    """What a meter is in, minute by minute: litres a minute, degC of supply and return; and how it counts and shows it."""

    water: Callable[[int], tuple[float, float, float]]
    unit: str = "kWh"
    energy_place: float = 0.01
    """Last place that the meter counts, in its unit; degrees alike."""
    degree_place: float = 0.01
    least: float = 0.0
    """Below that spread (K) it counts no energy, as EN 1434 lets it."""
    kind: int = 0x20

    def answers(self, days: int, shown: float = 1.0, start: float = 0.0) -> list[Opened]:
        """Hourly answers; its return sensor shows `shown` of the true spread, and energy is counted by another one."""
        meter = bytes((self.kind,)) + METER[1:]
        kwh, litres, found = start, 0.0, []
        for minute in range(24 * 60 * days + 1):
            flow, supply, back = self.water(minute)
            if minute % 60 == 0:
                at = FIRST + minute * MINUTE
                counted = floor(kwh / KWH[self.unit] / self.energy_place + 1e-9) * self.energy_place
                pipes = (supply, supply + (back - supply) * shown)
                steps = [floor(one / self.degree_place + 1e-9) * self.degree_place for one in pipes]
                payload = built.heat_payload(
                    round(counted * 100),
                    0,
                    at,
                    volume=int(litres / 10),
                    supply=round(steps[0] * 100),
                    back=round(steps[1] * 100),
                    flow=round(flow * 600),
                    unit=unit_code(self.unit),
                )
                found.append(record(payload, at, meter=meter))
            spread = back - supply if self.kind == 0x21 else supply - back
            litres += flow
            if spread > self.least:
                kwh += carries((supply + back) / 2) * flow / 1000 * spread
        return found


def radiators(minute: int) -> tuple[float, float, float]:
    """A small flat, 8 kWh a day."""
    hour = minute / 60 % 24
    return 0.6 + 0.2 * (6 < hour < 22), 45.37, 38.19 + 0.4 * (6 < hour < 22)


def floor_heating(minute: int) -> tuple[float, float, float]:
    return 4.0, 35.9, 30.0


def thermostat(minute: int) -> tuple[float, float, float]:
    """Opens and shuts every few minutes; what comes back was in there before."""
    phase = (minute * 7919 // 60) % 41
    open_ = phase < 18
    return (6.0 if open_ else 0.3), 55.0, (33.0 + phase if open_ else 50.0)


def taps(minute: int) -> tuple[float, float, float]:
    """Heats tap water as it runs, a few minutes after every hour; in between its pipes cool down."""
    runs = minute % 60 in range(20, 23) and 5 < minute // 60 % 24 < 23
    return (9.0, 55.0, 18.0) if runs else (0.0, 26.0, 24.0)


def rare(minute: int) -> tuple[float, float, float]:
    """Stands at most full hours, and is opened now and then."""
    return (5.0, 52.0, 40.0) if minute % 60 > 30 or minute % 300 == 0 else (0.0, 21.0, 20.5)


def spring(minute: int) -> tuple[float, float, float]:
    """Runs all day; warms by two degrees in most hours, and by six in the morning."""
    return (9.0, 34.0, 28.0) if 4 < minute // 60 % 24 < 9 else (9.0, 30.0, 27.9)


def chilled(minute: int) -> tuple[float, float, float]:
    return 5.0, 7.1, 12.4


def fan_coils(minute: int) -> tuple[float, float, float]:
    """Cools from noon on."""
    return (5.0, 45.2, 39.9) if minute // 60 % 24 < 12 else (5.0, 7.1, 12.4)


@pytest.mark.parametrize(
    "plant",
    [
        Plant(radiators, energy_place=1.0),
        Plant(radiators, "GJ"),
        Plant(radiators, "MWh"),
        Plant(floor_heating, degree_place=1.0),
        Plant(thermostat),
        Plant(taps),
        Plant(rare),
        Plant(spring, least=2.5),
        Plant(chilled, kind=0x21),
    ],
    ids=["whole kWh", "GJ", "MWh", "whole degrees", "thermostat", "taps", "rare", "spring", "chilled"],
)
async def test_a_good_meter_is_not_found_whatever_its_house_and_its_last_digit(
    watch: Watch, plant: Plant
) -> None:
    with write(watch.engine) as connection:
        connection.execute(meters.update().values(device_id=bytes((plant.kind,)) + METER[1:]))
    await told(watch, plant.answers(5, start=1.7))
    await watch.mdms.run_vee(NOW)
    assert [(one.facts, days(watch)) for one in found(watch)] == []


@pytest.mark.parametrize(
    ("plant", "shown"),
    [
        (Plant(radiators, energy_place=0.1), 0.7),
        (Plant(floor_heating, degree_place=0.1), 0.75),
        (Plant(floor_heating, degree_place=1.0), 0.55),
        (Plant(chilled, kind=0x21), 0.7),
    ],
    ids=["flat", "tenths", "whole degrees", "chilled"],
)
async def test_a_wrong_sensor_is_found_in_houses_alike(watch: Watch, plant: Plant, shown: float) -> None:
    with write(watch.engine) as connection:
        connection.execute(meters.update().values(device_id=bytes((plant.kind,)) + METER[1:]))
    await told(watch, plant.answers(2, shown))
    await watch.mdms.run_vee(NOW)
    assert days(watch) == [0, 1]
    watch.replays()


async def test_a_meter_of_heat_and_cooling_is_none_whose_sensors_are_in_each_others_pipes(
    watch: Watch,
) -> None:
    plant = Plant(fan_coils, kind=0x22)
    with write(watch.engine) as connection:
        connection.execute(meters.update().values(device_id=bytes((0x22,)) + METER[1:]))
    await told(watch, plant.answers(2))
    await watch.mdms.run_vee(NOW)
    assert found(watch) == []
    assert await kinds_kept(watch) == {12}


async def kinds_kept(watch: Watch) -> set[int]:
    """How many hours of a whole day are kept."""
    with read(watch.engine) as connection:
        rows = connection.execute(sa.select(heat_days).order_by(heat_days.c.day)).all()
    return {len(unpacked(HEAT_DAYS.open(keys(), row) or b"")) for row in rows[:2]}


# --- what is kept, and found again ---------------------------------------------------------------------------------


async def test_samples_late_out_of_order_and_again_are_one_day_and_every_run_is_replayed(
    watch: Watch,
) -> None:
    records = winter(range(24 * 3 + 1), shown=0.8)
    early = [one for number, one in enumerate(records) if number % 2 == 0 and number % 24 != 12]
    late = [one for one in records if one not in early]
    Random(4).shuffle(late)
    await told(watch, early)
    assert await watch.run(NOW)
    assert days(watch) == []  # eleven hours of each day
    await told(watch, [*late, *records])
    assert await watch.run(NOW + 1)
    assert days(watch) == [0, 1, 2]
    watch.replays()
    kept = stored(watch)
    assert len(kept) == 4
    await watch.again()  # the journal is taken in once more
    await watch.mdms.settle()
    assert stored(watch) == kept
    watch.replays()
    await watch.mdms.compact()
    await watch.again()
    await watch.mdms.settle()
    assert stored(watch) == kept
    watch.replays()


@pytest.mark.parametrize("at", [-1, 0])
async def test_a_sample_that_comes_while_a_run_looks_is_in_the_next_one(watch: Watch, at: int) -> None:
    records = winter(range(49), shown=0.8)
    missing = records[3:16]
    await told(watch, [one for one in records if one not in missing])

    async def come() -> None:
        await told(watch, missing)
        await watch.mdms.settle()

    assert await watch.run(NOW, come, at)
    assert days(watch) == [1]
    watch.replays()
    assert await watch.run(NOW + 1)
    assert days(watch) == [0, 1]
    watch.replays()


async def test_a_run_sees_samples_that_no_table_holds_yet(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are committed after the run had everything noticed written down, and before it takes its point."""
    records = winter(range(49), shown=0.8)
    missing = records[3:16]
    await told(watch, [one for one in records if one not in missing])
    loop, take = asyncio.get_running_loop(), watch.mdms._take_facts

    def taking(now: int) -> None:
        asyncio.run_coroutine_threadsafe(told(watch, missing), loop).result(60)
        take(now)

    with monkeypatch.context() as patched:
        patched.setattr(watch.mdms, "_take_facts", taking)
        assert await watch.run(NOW)
    assert len(watch.mdms._state.heats) == len(missing)
    assert days(watch) == [0, 1]
    watch.replays()
    await watch.mdms.settle()
    assert not watch.mdms._state.heats
    watch.replays()


async def test_what_lies_is_sealed_and_a_row_of_another_day_is_none(watch: Watch) -> None:
    await told(watch, winter(range(49), shown=0.8))
    await watch.mdms.settle()
    first, second, _ = stored(watch)
    with pytest.raises((msgspec.DecodeError, ValueError)):
        unpacked(first[1])
    with write(watch.engine) as connection:
        mine = heat_days.c.day == first[0]
        connection.execute(heat_days.update().where(mine).values(sealed_hours=second[1]))
    await watch.mdms.run_vee(NOW)
    assert days(watch) == [
        1
    ]  # of the first day nothing is known now, and the second one is judged all the same
    await told(watch, [record(built.heat_payload(0, 0, FIRST + 1, supply=1, back=2), FIRST + 1)])
    await watch.mdms.settle()


async def test_a_roll_up_takes_away_the_days_it_goes_over_and_lets_none_in_again(watch: Watch) -> None:
    records = winter(range(24 * 4 + 1))
    await told(watch, records)
    await watch.mdms.settle()
    await watch.mdms.compact()
    until = FIRST + 2 * DAY
    rolled = Rollup(
        at=NOW, medium="heat", main=True, level="day", until=until, held={}, edges={}, author="op"
    )
    await watch.mdms.roll_up([rolled])
    left = [day - (FIRST + OFFSET) // DAY for day, _ in stored(watch)]
    assert left == [2, 3, 4]
    again = msgspec.structs.replace(records[5], counter=1)
    await told(watch, [again])
    await watch.mdms.settle()
    assert [day - (FIRST + OFFSET) // DAY for day, _ in stored(watch)] == left


async def test_days_under_an_older_key_are_sealed_anew_with_the_other_tables(watch: Watch) -> None:
    assert HEAT_DAYS in UNDER[MEASUREMENTS]
    await told(watch, winter(range(3)))
    await watch.mdms.settle()
    newer = keys()
    newer.add(2, keys(2)._keys[2])
    with write(watch.engine) as connection:
        assert HEAT_DAYS.remaining(connection, 2) == 1
        assert HEAT_DAYS.move(connection, newer, 10) == 1
        row = connection.execute(sa.select(heat_days)).one()
    assert [one.hour for one in unpacked(HEAT_DAYS.open(newer, row) or b"")] == [0, 1, 2]


# --- arithmetic ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("degrees", "coefficient"), [(4, 1.163), (20, 1.1596), (40, 1.1515), (60, 1.1430), (90, 1.1275)]
)
def test_warm_water_carries_less_by_volume(degrees: float, coefficient: float) -> None:
    """Density times heat by weight of water, from steam tables."""
    assert carries(degrees) == pytest.approx(coefficient, rel=0.005)


def hour(number: int, spread: int, volume: int, *, flows: bool = True, entry: int = 1) -> Hour:
    return Hour(number, entry, 6000, 6000 - spread, volume, flows)


def test_hours_count_by_what_flowed_in_them_and_alike_where_nobody_knows() -> None:
    assert known(hour(0, 900, 100), hour(1, 1000, 200), hour(2, 2000, 500)).spread == 17.5
    assert known(hour(2, 2000, 500), hour(0, 900, 100), hour(1, 1000, 200)).spread == 17.5
    assert known(hour(0, 900, -1), hour(1, 1000, 200), hour(2, 2000, 500)).spread == 13.0
    assert known(hour(0, 900, 700), hour(1, 1000, 200), hour(2, 2000, 500)).spread == 13.0  # another meter
    assert known(hour(0, 900, 100), hour(1, 100, 900, flows=False), hour(2, 2000, 950)).spread == 20.0
    assert known(hour(7, 905, 4), hour(8, 905, 5)) == (9.05, 55.475, 1, 0.01, 0.0)
    assert known(hour(7, 200, 4), hour(8, 200, 5)).slight == 2.0


def test_of_water_that_stood_all_day_nothing_is_known() -> None:
    assert mean([]) is None
    assert mean([hour(7, 900, 5)]) is None
    assert mean([hour(0, 900, 5), hour(1, 1000, 5)]) is None
    assert mean([hour(0, 900, -1, flows=False), hour(1, 1000, 200, flows=False)]) is None
    assert mean([hour(0, 900, 5), hour(1, 1000, 900, flows=False)]) is None


def test_an_hour_that_stands_for_many_says_as_little_as_it_is() -> None:
    assert known(*(hour(k, 900, 10 * k) for k in range(24))).samples == 23
    many = [hour(k, 900, 10 * k) for k in range(12)]
    assert known(*many, hour(23, 900, 5000)).samples == 1


def test_what_rises_all_day_is_known_and_what_jumps_from_hour_to_hour_is_not() -> None:
    rises = known(*(hour(k, 905 + 30 * k, 10 * k) for k in range(24)))
    jumps = known(*(hour(k, 605 + 1000 * (k % 2), 10 * k) for k in range(24)))
    assert rises.within < 0.2
    assert jumps.within > 3


def test_what_is_shown_in_whole_degrees_is_known_to_a_degree() -> None:
    assert known(*(hour(k, 900, 10 * k) for k in range(24))).within == 1.0
    assert known(*(hour(k, 910, 10 * k) for k in range(24))).within == 0.1


def known(*hours: Hour) -> Warmth:
    found = mean(hours)
    assert found is not None
    return found


def test_of_an_hour_the_first_answer_stands_whatever_comes_later() -> None:
    came = [
        hour(5, 10, 1, entry=9),
        hour(5, 20, 2, entry=4),
        hour(4, 30, 3, entry=11),
        hour(5, 40, 4, entry=4),
    ]
    assert first_of_hours(came) == [came[1], came[2]]
    assert len(first_of_hours(hour(k % 24, k, k, entry=k) for k in range(500))) == 24


def test_a_day_is_packed_and_unpacked_whole_and_small() -> None:
    random = Random(1)
    volume, entry, hours = 3_000_000, 40_000_000, []
    for number in random.sample(range(24), 24):
        entry += random.randrange(3, 3_000)
        volume += random.randrange(300)
        supply, back = random.randrange(COLDEST, HOTTEST), random.randrange(COLDEST, HOTTEST)
        counted = volume if random.random() < 0.8 else -1
        hours.append(Hour(number, entry, supply, back, counted, random.random() < 0.8))
    assert unpacked(packed(hours)) == hours
    assert len(packed(hours)) < 400
    assert unpacked(packed([])) == []


def test_an_hour_of_an_entry_that_was_given_up_gives_way_to_what_has_its_number_now(tmp_path: Path) -> None:
    """Numbers of entries that were lost are given out again: what stood under a higher one was lost too."""
    engine = control_at(tmp_path / "control.db")
    heats = Heats(engine, keys())
    seen = HeatSeen(METER, FIRST, 6000, 5000, 100, True)
    heats.keep([Warm(point(NUMBER), 9, seen)])
    heats.keep([Warm(point(NUMBER), 7, msgspec.structs.replace(seen, back=4000))])
    day = (FIRST + OFFSET) // DAY
    ((hour,),) = heats.hours(point(NUMBER), day, day).values()
    assert (hour.entry, hour.back) == (7, 4000)
    engine.dispose()
