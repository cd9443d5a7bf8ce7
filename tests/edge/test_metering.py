"""How a meter behaves whatever it speaks, judged by plain sums over what the world did to it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from meterseal.edge.metering import account, power
from meterseal.edge.metering.behaviour import behave
from meterseal.edge.metering.clock import local, midnight, settlement, shown, strikes
from meterseal.edge.metering.counting import born
from meterseal.edge.metering.design import DESIGNS, ELECTRICITY, GAS, HEAT, WATER, YEAR, Battery, Design
from meterseal.edge.metering.freezing import Stored
from meterseal.edge.metering.inputs import (
    AlarmsSet,
    BatteryIn,
    BatteryOut,
    ClockSet,
    DaysSet,
    Disturbed,
    FrozenNow,
    Input,
    Jammed,
    LoadLimited,
    Measured,
    Opened,
    Ordered,
    Outcome,
    ParametersSet,
    Prepaying,
    Pressed,
    Priced,
    Purchased,
    RegisterSet,
    Sensed,
    Sent,
)
from meterseal.edge.metering.state import TARIFF_HOURS, MeterState, registers
from meterseal.model import BALANCE, MAGNET, REMOVED, REVERSE

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
AT = 1_767_196_800_000  # 2026-01-01 00:00 +08
STEADY = settings(deadline=None, derandomize=True)
"""The same search each time, on a busy machine as well."""
UNIT = 1_000_000
"""Millionths in one unit, as a transducer tells them."""


class Bench:
    """One meter, and a hand that does things to it."""

    def __init__(self, design: Design, initial: int = 0, at: int = AT) -> None:
        self.design, self.now = design, at
        self.totals = [0] * (1 if len(design.registers) == 1 else 2)
        self.state = born(design, at, [initial])
        self.last = Outcome(self.state)

    def do(self, what: Input, after: int = 0) -> Outcome:
        self.now += after
        self.last = behave(self.design, self.state, what, self.now)
        self.state = self.last.state
        return self.last

    def turn(self, millionths: int, after: int = HOUR, **more: int) -> Outcome:
        self.totals[0] += millionths
        return self.do(Measured(tuple(self.totals), **more), after)

    @property
    def stored(self) -> Stored:
        return Stored(self.state, self.design)


def kinds(bench: Bench) -> list[str]:
    return [event.kind for event in bench.state.events]


# --- counting and freezing --------------------------------------------------------------------------------


@STEADY
@given(st.lists(st.integers(0, 9_000_000), min_size=1, max_size=60), st.integers(0, 99_999_999))
def test_a_register_never_falls_and_begins_again_at_zero_beyond_its_digits(
    uses: list[int], initial: int
) -> None:
    bench, used = Bench(WATER, initial), 0
    for use in uses:
        bench.turn(use)
        used += use
        assert registers(bench.state, WATER) == ((initial + used // 10_000) % 10**8,)


def test_what_a_transducer_shows_again_is_counted_once() -> None:
    bench = Bench(HEAT)
    for _ in range(5):
        bench.do(Measured((7 * UNIT, 3 * UNIT)), MINUTE)
    assert registers(bench.state, HEAT) == (700, 300)


def test_reverse_flow_is_shown_and_noted_and_an_alarm_of_its_day() -> None:
    bench = Bench(WATER, 500)
    bench.turn(2 * UNIT)
    bench.turn(-UNIT)
    assert registers(bench.state, WATER) == (600,)
    assert kinds(bench) == ["reverse-flow"]
    bench.turn(UNIT)
    assert not bench.state.alarms & REVERSE
    bench.turn(0, 21 * HOUR)
    assert bench.stored.status(AT + DAY) & REVERSE
    bench.turn(0, DAY)
    assert not bench.stored.status(AT + 2 * DAY)


def test_energy_is_counted_by_the_tariff_of_its_hour_and_export_apart() -> None:
    bench, forward, by_tariff = Bench(ELECTRICITY), 0, [0] * 5
    for hour in range(48):
        use = 1_000 * hour * UNIT // 100
        forward += use
        by_tariff[TARIFF_HOURS[hour % 24]] += use
        bench.totals[1] += 5 * UNIT
        bench.turn(use)
    assert registers(bench.state, ELECTRICITY) == (
        forward // 10_000,
        48 * 500,
        *(one // 10_000 for one in by_tariff[1:]),
    )
    assert sum(by_tariff) == forward


@pytest.mark.parametrize("day", [1, 15, 28])
def test_a_year_is_frozen_at_every_local_midnight_and_on_every_settlement_day(day: int) -> None:
    """Month ends of every length, a leap day among them; the calendar of the test is `datetime`'s, not the meter's."""
    begin = datetime(2028, 1, 1, tzinfo=UTC) - timedelta(hours=8)
    bench = Bench(replace(WATER, months=30), at=int(begin.timestamp()) * 1000)
    bench.do(DaysSet(settlement=day))
    months = []
    for hour in range(1, 24 * 366 + 1):
        bench.turn(10_000 * (hour % 7))
        here = begin + timedelta(hours=hour + 8)
        if here.hour == 0:
            assert bench.stored.closed(bench.now) == registers(bench.state, WATER)
            assert bench.stored.until == bench.now
            if here.day == day:
                months.append((bench.now, registers(bench.state, WATER)))
    assert [(one.at, one.registers) for one in bench.state.book.months] == months
    assert len(months) == 12
    assert len(bench.state.book.days) == WATER.days


def test_the_load_profile_holds_each_hour_and_marks_the_lost_ones() -> None:
    bench = Bench(WATER)
    for hour in range(1, 31):
        bench.turn(hour * 10_000, 5 * HOUR if hour == 10 else HOUR)
    found = [bench.stored.stored(AT + hour * HOUR) for hour in range(1, 25)]
    assert found[8] == 45
    assert found[9:13] == [None] * 4
    assert found[13] == 55
    assert found.count(None) == 4


def test_a_midnight_without_power_is_frozen_when_power_is_back() -> None:
    """HM-6.3.1.5."""
    bench = Bench(HEAT)
    bench.turn(5 * UNIT, 20 * HOUR)
    bench.do(BatteryOut(), MINUTE)
    bench.totals[0] += 90 * UNIT
    assert bench.do(Measured(tuple(bench.totals)), DAY).refused
    bench.do(BatteryIn(), HOUR)
    bench.turn(0, 0)
    assert bench.stored.closed(AT + DAY) == (9_500, 0)
    assert bench.stored.stored(AT + DAY) is None


def test_an_instant_freeze_keeps_the_newest() -> None:
    bench = Bench(WATER)
    for _ in range(20):
        bench.turn(UNIT, MINUTE)
        bench.do(FrozenNow())
    assert [one.registers for one in bench.state.book.instants] == [(k * 100,) for k in range(13, 21)]


def test_a_register_that_is_set_costs_nothing_and_is_refused_after_the_factory() -> None:
    bench = Bench(WATER)
    bench.do(Prepaying())
    bench.do(Priced((300, 300, 300), (0, 0)))
    bench.do(Purchased(1, 10_000))
    assert bench.do(RegisterSet(10**8)).refused == "bad-value"
    assert not bench.do(RegisterSet(123_456)).refused
    bench.turn(UNIT)
    assert registers(bench.state, WATER) == (123_556,)
    assert bench.state.account.balance == 100 * (10_000 - 300)
    bench.do(ParametersSet(enabled=True))
    assert bench.do(RegisterSet(1)).refused == "not-authorised"
    assert registers(bench.state, WATER) == (123_556,)


# --- clock ------------------------------------------------------------------------------------------------


@settings(STEADY, max_examples=40)
@given(st.integers(-200_000, 200_000), st.integers(-DAY, DAY), st.integers(0, 3 * YEAR))
def test_after_setting_a_clock_is_off_by_its_drift_and_no_more(drift: int, off: int, passed: int) -> None:
    bench = Bench(replace(WATER, drift=drift))
    bench.do(ClockSet(AT + off), 40 * DAY)
    bench.do(ClockSet(bench.now + 10 * DAY), 10 * DAY)
    now = bench.now + passed
    error = abs(shown(bench.state, bench.design, now) - now)
    assert error <= abs(drift) * passed // 10**9 + 1
    assert error >= abs(drift) * passed // 10**9 - 1


@STEADY
@given(st.integers(-200_000, 200_000), st.integers(0, 400 * DAY))
def test_a_drifting_clock_strikes_at_the_first_instant_that_shows_the_hour(drift: int, passed: int) -> None:
    design = replace(WATER, drift=drift)
    state = born(design, AT)
    due = strikes(state, design, AT + passed)
    assert due > AT + passed
    assert shown(state, design, due) % HOUR <= 1
    assert shown(state, design, due - 1) // HOUR < shown(state, design, due) // HOUR


def test_a_clock_that_is_set_back_freezes_nothing_twice_and_one_set_ahead_loses_what_it_skips() -> None:
    bench = Bench(WATER)
    for _ in range(30):
        bench.turn(UNIT)
    before = bench.state.book
    bench.do(ClockSet(bench.now - 3 * HOUR))
    bench.turn(UNIT)
    bench.turn(UNIT)
    assert bench.state.book == before
    for _ in range(3):
        bench.turn(UNIT)
    assert bench.state.book.days[0] == before.days[0]
    bench.do(ClockSet(AT + 4 * DAY))
    bench.turn(UNIT, 30_000)
    assert bench.stored.closed(AT + 4 * DAY) == registers(bench.state, WATER)
    assert bench.stored.stored(AT + 3 * DAY) is None
    bench.do(ClockSet(AT + 4_000 * DAY))
    bench.turn(UNIT, 30_000)
    assert len(bench.state.book.days) <= WATER.days


@STEADY
@given(st.integers(AT, AT + 3 * YEAR), st.integers(1, 28), st.integers(0, 13))
def test_the_settlement_day_is_the_last_one_that_was(at: int, day: int, back: int) -> None:
    found = settlement(at, day, 480, back)
    here = datetime.fromtimestamp(found / 1000, UTC) + timedelta(hours=8)
    assert (here.day, here.hour, here.minute) == (day, 0, 0)
    assert found <= at
    later = (here.replace(day=1) + timedelta(days=32)).replace(day=day)
    if back == 0:
        assert (later - timedelta(hours=8)).timestamp() * 1000 > at
    else:
        assert settlement(at, day, 480, back - 1) == (later - timedelta(hours=8)).timestamp() * 1000
    assert local(midnight(at, 480), 480).hour == 0


# --- valve ------------------------------------------------------------------------------------------------

ANYTHING: list[Input] = [
    Ordered("open"),
    Ordered("permit"),
    Ordered("close"),
    Jammed(True),
    Jammed(False),
    BatteryOut(),
    BatteryIn(),
    BatteryIn(fresh=True),
    Disturbed("magnet"),
    Disturbed("magnet", present=False),
    Disturbed("field"),
    Opened(),
    Opened(open=False),
    Sent(),
    Prepaying(),
    Priced((1_000, 1_000, 1_000), (0, 0)),
    Purchased(1, 5_000),
    Purchased(2, 99),
    AlarmsSet(overdraft=1),
    AlarmsSet(amount=10**6),
    DaysSet(3, 3),
    ClockSet(AT + 5 * DAY),
    FrozenNow(),
    RegisterSet(7),
    ParametersSet(enabled=True),
    Sensed(99, backfed=True),
    LoadLimited(1),
]


def something(totals: list[int]) -> st.SearchStrategy[tuple[Input, int]]:
    """Any input but a press, and how long after the one before."""

    def measured(more: int) -> Input:
        totals[0] += more
        return Measured((totals[0],))

    turned = st.integers(0, 20 * UNIT).map(measured)
    return st.tuples(st.one_of(st.sampled_from(ANYTHING), turned), st.integers(0, 3 * HOUR))


@settings(STEADY, max_examples=150)
@given(st.data())
def test_no_sequence_of_inputs_opens_a_gas_valve_without_a_person(data: st.DataObject) -> None:
    """HM-7.2.11."""
    bench = Bench(GAS)
    bench.do(Ordered("close"))
    for what, after in data.draw(st.lists(something(bench.totals), max_size=40)):
        assert bench.do(what, after).state.valve != "open", what


def test_every_pair_and_triple_of_inputs_leaves_a_closed_gas_valve_closed() -> None:
    """HM-7.2.11, searched through rather than sampled; a press at the end opens only while it is permitted."""
    bench = Bench(GAS)
    start = bench.do(Ordered("close")).state
    reached = {msgspec.msgpack.encode(start): start}
    for _ in range(3):
        for state in list(reached.values()):
            for what in ANYTHING:
                after = behave(GAS, state, what, AT + HOUR).state
                assert after.valve != "open", what
                reached[msgspec.msgpack.encode(replace(after, events=()))] = replace(after, events=())
    assert len(reached) > 500
    pressed = [behave(GAS, state, Pressed(), AT + HOUR).state.valve for state in reached.values()]
    allowed = [state.permit_until > AT + HOUR and state.power.on for state in reached.values()]
    assert "open" in pressed
    assert all(may for may, valve in zip(allowed, pressed, strict=True) if valve == "open")


def test_a_permission_ends_with_its_time_with_closing_and_with_power() -> None:
    """HM-7.2.11."""
    for spoils in (Ordered("close"), BatteryOut(), None):
        bench = Bench(GAS)
        bench.do(Ordered("close"))
        assert not bench.do(Ordered("open")).refused
        if spoils is None:
            bench.do(Pressed(), GAS.permit)
        else:
            bench.do(spoils)
            bench.do(BatteryIn())
            bench.do(Pressed(), MINUTE)
        assert bench.state.valve == "closed", spoils
        bench.do(Ordered("open"))
        bench.do(Pressed(), GAS.permit - 1)
        assert bench.state.valve == "open"


def test_a_stuck_valve_is_reported_and_moves_again_when_it_is_free() -> None:
    bench = Bench(WATER)
    bench.do(Jammed(True))
    assert bench.state.valve == "open"
    bench.do(Ordered("close"))
    assert bench.state.valve == "abnormal"
    assert kinds(bench) == ["valve-stuck"]
    bench.do(Jammed(False))
    bench.do(Ordered("close"))
    assert bench.state.valve == "closed"


def test_the_valve_counts_its_moves_and_says_when_it_has_done_what_it_is_made_for() -> None:
    """HM-7.2.9 is a test of the metal; the meter counts towards it."""
    bench = Bench(replace(GAS, endurance=3))
    for k in range(1, 5):
        bench.do(Ordered("close"))
        bench.do(Ordered("close"))
        bench.do(Ordered("permit"))
        bench.do(Pressed(), MINUTE)
        assert (bench.state.motion.closings, bench.state.motion.openings) == (k, k)
        assert kinds(bench).count("valve-worn") == (2 if k >= 3 else 0)


def test_the_event_log_keeps_the_newest_at_the_meters_own_time() -> None:
    bench = Bench(replace(WATER, events=5))
    bench.do(ClockSet(AT - HOUR))
    for _ in range(10):
        bench.do(Disturbed("static"), MINUTE)
    assert [event.at for event in bench.state.events] == [AT - HOUR + k * MINUTE for k in range(6, 11)]


# --- power ------------------------------------------------------------------------------------------------


def drained(design: Design, millivolts: int) -> Bench:
    bench = Bench(design)
    battery = design.battery
    assert battery is not None
    spent = replace(bench.state.power, drained=power.drained_to(battery, millivolts))
    bench.state = replace(bench.state, power=spent)
    return bench


@STEADY
@given(st.integers(0, 5_000_000_000_000), st.integers(0, 10**12))
def test_a_battery_only_falls(drawn: int, more: int) -> None:
    assert power.voltage(Battery(), drawn + more) <= power.voltage(Battery(), drawn)


def test_a_battery_outlasts_its_rated_life_by_a_year_and_warns_before_it_is_empty() -> None:
    """HM-6.1.2.2, HM-6.3.1.2: a report a day and a valve movement a month."""
    bench, warned, least = Bench(WATER), 0, 0
    for day in range(14 * 365):
        bench.do(Sent(), DAY)
        if day % 30 == 0:
            bench.do(Ordered("close" if bench.state.valve == "open" else "open"))
        warned = warned or (day if bench.state.battery_low else 0)
        least = least or (day if bench.state.power.at_minimum else 0)
    assert 7 * 365 < warned < least


def test_transmissions_and_valve_moves_age_a_battery() -> None:
    quiet, busy, moving = Bench(WATER), Bench(WATER), Bench(WATER)
    for k in range(10):
        quiet.do(FrozenNow(), DAY)
        busy.do(Sent(), DAY)
        moving.do(Ordered("close" if k % 2 == 0 else "open"), DAY)
    assert WATER.battery is not None
    rest = quiet.state.power.drained
    assert rest == 10 * DAY * WATER.battery.quiescent
    assert busy.state.power.drained == rest + 10 * WATER.battery.send
    assert moving.state.power.drained == rest + 10 * WATER.battery.move


@pytest.mark.parametrize("design", [GAS, HEAT])
def test_at_the_design_under_voltage_a_meter_warns_and_changes_nothing_else(design: Design) -> None:
    """HM-6.2.6, HM-6.3.1.4."""
    assert design.battery is not None
    bench = drained(design, design.battery.under + 1)
    bench.do(Sent())
    assert not drained(design, design.battery.under + 40).do(FrozenNow()).state.battery_low
    bench = drained(design, design.battery.under - 1)
    bench.do(FrozenNow())
    assert bench.state.battery_low
    assert bench.state.valve == "open"
    assert kinds(bench) == ["battery-low"]


def test_at_the_minimum_voltage_a_gas_valve_closes_and_no_figure_is_lost() -> None:
    """HM-6.2.6."""
    assert GAS.battery is not None
    bench = drained(GAS, GAS.battery.minimum + 30)
    for _ in range(5):
        bench.turn(UNIT)
    before = bench.state
    spent = replace(before.power, drained=power.drained_to(GAS.battery, GAS.battery.minimum - 1))
    bench.state = replace(before, power=spent)
    bench.turn(0, MINUTE)
    assert bench.state.valve == "closed"
    assert (bench.state.counts, bench.state.book) == (before.counts, before.book)
    bench.do(Ordered("open"))
    assert bench.last.refused
    bench.do(BatteryOut())
    bench.do(BatteryIn(fresh=True))
    bench.do(Ordered("open"))
    bench.do(Pressed())
    assert (bench.state.valve, bench.state.battery_low) == ("open", False)
    assert bench.state.counts == before.counts


def test_a_gas_meter_closes_when_its_battery_is_taken_out_and_shows_the_same_when_it_is_back() -> None:
    """HM-6.2.4, HM-6.2.5."""
    bench = Bench(GAS, 4_711)
    for _ in range(30):
        bench.turn(UNIT)
    before = bench.state
    bench.do(BatteryOut(), MINUTE)
    assert bench.state.valve == "closed"
    for what in [what for what in ANYTHING if not isinstance(what, BatteryIn | Jammed)]:
        assert behave(GAS, bench.state, what, bench.now).state == bench.state
    bench.do(BatteryIn(), HOUR)
    assert bench.state.valve == "closed"
    assert registers(bench.state, GAS) == registers(before, GAS)
    assert (bench.state.book, bench.state.account) == (before.book, before.account)


# --- interference and tampering ---------------------------------------------------------------------------

DESIGNS_OF_GAS = [replace(GAS, closed_by=one) for one in ((), ("magnet",), ("magnet", "static", "field"))]


@pytest.mark.parametrize("disturbance", ["static", "field", "magnet"])
def test_a_disturbed_gas_meter_closes_or_keeps_to_its_figures(disturbance: str) -> None:
    """HM-6.2.7.1, HM-6.2.7.2, HM-6.2.7.3: the same hours with and without the disturbance."""
    for design in DESIGNS_OF_GAS:
        calm, disturbed = Bench(design, 100), Bench(design, 100)
        for hour in range(30):
            calm.turn(UNIT)
            disturbed.turn(UNIT)
            if hour == 10:
                disturbed.do(Disturbed(disturbance))  # type: ignore[arg-type]
        assert disturbed.state.counts == calm.state.counts
        assert [day.hours for day in disturbed.state.book.days] == [day.hours for day in calm.state.book.days]
        assert disturbed.state.account == calm.state.account
        if disturbance in design.closed_by:
            assert disturbed.state.valve == "closed"
            disturbed.do(Disturbed(disturbance, present=False))  # type: ignore[arg-type]
            assert disturbed.state.valve == "closed"
        else:
            assert disturbed.state.valve == "open"
            assert disturbed.state.power == calm.state.power


def test_a_magnet_does_not_touch_a_heat_meter() -> None:
    """HM-6.3.1.6."""
    calm, disturbed = Bench(HEAT), Bench(HEAT)
    disturbed.do(Disturbed("magnet"))
    for bench in (calm, disturbed):
        for _ in range(30):
            bench.turn(UNIT, supply=4_500, back=3_500)
    assert disturbed.state.counts == calm.state.counts
    assert disturbed.state.valve == "open"
    assert disturbed.state.alarms == MAGNET


@pytest.mark.parametrize("design", DESIGNS.values())
def test_a_meter_that_was_taken_off_says_so_in_the_freeze_of_that_day(design: Design) -> None:
    bench = Bench(design)
    bench.turn(0, 5 * HOUR)
    bench.do(Opened(), MINUTE)
    bench.do(Opened(open=False), MINUTE)
    assert kinds(bench) == ["cover-opened"]
    bench.turn(0, DAY - 5 * HOUR - 2 * MINUTE)
    assert bench.stored.status(AT + DAY) & REMOVED
    bench.turn(0, DAY)
    assert not bench.stored.status(AT + 2 * DAY)
    bench.do(Opened())
    bench.turn(0, DAY)
    bench.turn(0, DAY)
    assert bench.stored.status(AT + 4 * DAY) & REMOVED


# --- prepayment -------------------------------------------------------------------------------------------


def by_steps(used: int, prices: tuple[int, int, int], steps: tuple[int, int]) -> Decimal:
    """Fen for `used` hundredths of the unit, added up in another way: unit by unit of a hundredth."""
    first, second = (Decimal(step) if step else Decimal("Infinity") for step in steps)
    units = Decimal(used) / 100
    one = min(units, first)
    two = max(Decimal(0), min(units, second) - first) if first.is_finite() else Decimal(0)
    return prices[0] * one + prices[1] * two + prices[2] * (units - one - two)


@STEADY
@given(
    st.lists(st.integers(0, 5_000), min_size=1, max_size=12),
    st.tuples(*[st.integers(0, 2_000)] * 3),
    st.sampled_from([(0, 0), (10, 0), (10, 25), (1, 1)]),
)
def test_use_costs_what_the_steps_say_however_it_is_parted(
    uses: list[int], prices: tuple[int, int, int], steps: tuple[int, int]
) -> None:
    bench = Bench(WATER)
    bench.do(AlarmsSet(overdraft=10**7))
    bench.do(Priced(prices, steps))
    bench.do(Prepaying())
    for used in uses:
        bench.turn(used * 10_000, MINUTE)
    assert Decimal(-bench.state.account.balance) / 100 == by_steps(sum(uses), prices, steps)


def test_steps_begin_anew_on_their_day() -> None:
    bench = Bench(WATER)
    bench.do(AlarmsSet(overdraft=10**7))
    bench.do(Priced((100, 200, 300), (10, 20), start_day=3))
    bench.do(Prepaying())
    for _ in range(48):
        bench.turn(UNIT)
    assert bench.state.account.balance == -100 * (1_000 + 2_000 + 28 * 300)
    bench.turn(0)
    before = bench.state.account.balance
    bench.turn(5 * UNIT)
    assert bench.state.account.balance - before == -100 * 500


@STEADY
@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 10**6)), max_size=40))
def test_no_sequence_of_purchases_credits_one_twice(bought: list[tuple[int, int]]) -> None:
    bench, taken, last = Bench(WATER), 0, (0, 0)
    bench.do(Prepaying())
    script = [*bought, (1, 500), (1, 500), (2, 700), (1, 500), (2, 700), (2, 701)]
    for serial, amount in script:
        outcome = bench.do(Purchased(serial, amount))
        if not outcome.refused and (serial, amount) != last:
            assert serial == (last[0] + 1) % 256
            taken, last = taken + amount, (serial, amount)
        assert bench.state.account.balance == 100 * taken
        assert bench.state.account.bought == taken


def test_a_water_valve_closes_at_the_end_of_credit_and_opens_with_the_next() -> None:
    bench = Bench(WATER)
    bench.do(Priced((500, 500, 500), (0, 0)))
    bench.do(Purchased(1, 2_000))
    bench.do(AlarmsSet(amount=1_000, overdraft=500))
    bench.do(Prepaying())
    bench.turn(UNIT)
    assert not bench.state.alarms & BALANCE
    bench.turn(UNIT)
    assert bench.state.alarms & BALANCE
    assert account.remaining(bench.state.account) == 200
    bench.turn(2 * UNIT)
    assert bench.state.valve == "open"
    bench.turn(UNIT)
    assert bench.state.valve == "closed"
    assert bench.do(Ordered("open")).refused == "other"
    bench.do(Purchased(2, 3_000))
    assert bench.state.valve == "open"
    assert not bench.state.alarms & BALANCE
    bench.do(Ordered("close"))
    bench.do(Purchased(3, 3_000))
    assert bench.state.valve == "closed"  # an order closed it, and money does not open it
    assert kinds(bench) == [
        "purchase",
        "low-balance",
        "overdraft",
        "valve-closed",
        "purchase",
        "valve-opened",
        "valve-closed",
        "purchase",
    ]


def test_credit_only_permits_a_gas_valve_to_be_opened() -> None:
    """HM-7.2.11."""
    bench = Bench(GAS)
    bench.do(Priced((500, 500, 500), (0, 0)))
    bench.do(Prepaying())
    bench.turn(UNIT)
    assert bench.state.valve == "closed"
    bench.do(Pressed())
    assert bench.state.valve == "closed"
    bench.do(Purchased(1, 3_000))
    assert bench.state.valve == "closed"
    bench.do(Pressed(), MINUTE)
    assert bench.state.valve == "open"


def test_a_warning_by_volume_comes_when_the_balance_pays_no_more_than_that() -> None:
    bench = Bench(WATER)
    bench.do(Priced((100, 400, 400), (10, 0)))
    bench.do(Purchased(1, 4_000))
    bench.do(AlarmsSet(volume=750))
    bench.do(Prepaying())
    for _ in range(9):
        bench.turn(UNIT)
    assert not bench.state.alarms & BALANCE  # 31 yuan at 1 yuan
    bench.turn(UNIT)
    assert bench.state.alarms & BALANCE  # 30 yuan at 4 yuan pay 7.5 m3
    assert bench.do(AlarmsSet(volume=-1)).refused == "bad-value"


def test_a_wrong_price_table_is_refused_and_the_old_one_stays() -> None:
    bench = Bench(WATER)
    bench.do(Priced((1, 2, 3), (10, 20)))
    for wrong in (
        Priced((1, 2, 3), (20, 10)),
        Priced((1, 2, 3), (0, 10)),
        Priced((-1, 2, 3), (10, 20)),
        Priced((1, 2, 3), (10, 20), start_day=29),
    ):
        assert bench.do(wrong).refused == "bad-value"
    assert bench.state.account.prices == (1, 2, 3)
    assert bench.state.account.steps == (10, 20)


# --- load control -----------------------------------------------------------------------------------------


def test_a_relay_trips_above_its_limit_and_is_not_closed_before_its_rest() -> None:
    bench = Bench(ELECTRICITY)
    bench.turn(UNIT, watts=13_800)
    assert bench.state.valve == "open"
    bench.turn(UNIT, watts=13_801)
    assert bench.state.valve == "closed"
    assert ELECTRICITY.relay is not None
    assert bench.do(Ordered("open"), ELECTRICITY.relay.rest - 1).refused
    assert bench.state.valve == "closed"
    assert not bench.do(Ordered("open"), 1).refused
    assert bench.state.valve == "open"
    bench.do(LoadLimited(2_000))
    bench.turn(UNIT, watts=2_001)
    assert bench.state.valve == "closed"


def test_a_relay_is_closed_neither_on_hot_terminals_nor_against_voltage_by_order_or_by_hand() -> None:
    for danger in (Sensed(86), Sensed(20, backfed=True)):
        bench = Bench(ELECTRICITY)
        bench.do(Ordered("close"))
        bench.do(Ordered("permit"))
        bench.do(danger)
        assert bench.do(Ordered("open"), HOUR).refused == "other"
        bench.do(Pressed())
        assert bench.state.valve == "closed"
        assert kinds(bench)[-2:] == ["closing-refused"] * 2
        bench.do(Sensed(25))
        bench.do(Pressed())
        assert bench.state.valve == "open"


def test_kept_power_is_tripped_by_no_order_but_by_the_meters_own_limit() -> None:
    bench = Bench(ELECTRICITY)
    bench.do(Ordered("keep"))
    assert bench.do(Ordered("close")).refused == "other"
    assert bench.state.valve == "open"
    bench.turn(0, watts=20_000)
    assert bench.state.valve == "closed"
    bench.do(Ordered("keep-off"), HOUR)
    bench.do(Ordered("open"))
    assert not bench.do(Ordered("close")).refused
    assert Bench(WATER).do(Ordered("keep")).refused == "other"


def test_hot_terminals_open_the_relay() -> None:
    bench = Bench(ELECTRICITY)
    bench.do(Sensed(86))
    assert bench.state.valve == "closed"
    assert kinds(bench) == ["overload", "valve-closed"]


# --- everything together ---------------------------------------------------------------------------------


@settings(STEADY, max_examples=80)
@given(st.data(), st.sampled_from(sorted(DESIGNS)))
def test_whatever_happens_nothing_that_was_turned_is_lost_or_counted_twice(
    data: st.DataObject, medium: str
) -> None:
    """HM-6.2.4, HM-6.2.6, HM-6.3.1.5: the last look at the transducer tells all, and no day is frozen twice."""
    bench = Bench(DESIGNS[medium], 77)  # type: ignore[index]
    inputs = [what for what in [*ANYTHING, Pressed()] if not isinstance(what, RegisterSet)]
    script = st.lists(st.tuples(st.sampled_from([*inputs, None]), st.integers(0, 9 * HOUR)), max_size=40)
    shown_before = 0
    for what, after in data.draw(script):
        if what is None:
            bench.turn(3 * UNIT + 1, after)
        else:
            bench.do(what, after)
        shown_now = registers(bench.state, bench.design)[0]
        assert shown_now >= shown_before
        shown_before = shown_now
        starts = [day.start_at for day in bench.state.book.days]
        assert starts == sorted(set(starts))
        assert all(len(day.hours) == 24 for day in bench.state.book.days[:-1])
        assert all(bool(day.closed) == (len(day.hours) == 24) for day in bench.state.book.days)
        assert len(bench.state.events) <= bench.design.events
    bench.do(BatteryIn(), MINUTE)
    bench.turn(0, MINUTE)
    assert registers(bench.state, bench.design)[0] == 77 + bench.totals[0] // 10_000


# --- the state as it is written ---------------------------------------------------------------------------


@settings(STEADY, max_examples=60)
@given(st.data(), st.sampled_from(sorted(DESIGNS)))
def test_a_state_survives_its_bytes_and_the_same_inputs_give_the_same_state(
    data: st.DataObject, medium: str
) -> None:
    design = DESIGNS[medium]  # type: ignore[index]
    straight, cut = Bench(design), Bench(design)
    for what, after in data.draw(
        st.lists(st.tuples(st.sampled_from(ANYTHING), st.integers(0, DAY)), max_size=20)
    ):
        straight.do(what, after)
        cut.state = msgspec.msgpack.decode(msgspec.msgpack.encode(cut.state), type=MeterState)
        cut.do(what, after)
        assert cut.state == straight.state


def test_the_state_of_an_earlier_version_is_taken_up() -> None:
    older = msgspec.msgpack.encode(["closed", 17, True, -5])
    state = msgspec.msgpack.decode(older, type=MeterState)
    assert (state.valve, state.permit_until, state.battery_low, state.clock_offset) == (
        "closed",
        17,
        True,
        -5,
    )
    after = behave(WATER, state, Measured((3 * UNIT,)), AT).state
    assert after.valve == "closed"
    assert shown(after, WATER, AT) == AT - 5
