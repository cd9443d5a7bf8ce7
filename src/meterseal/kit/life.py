"""Beside the path: the life of a planned meter before anybody reads it: each hour of its use, and what was done to it.

It is the world around a meter's behaviour and knows no protocol and no key. What the transducer turned comes from the
profile; what the meter makes of it is its own, and is not looked at here.
"""

from __future__ import annotations

from msgspec.structs import replace

from meterseal.edge.metering import power
from meterseal.edge.metering.behaviour import behave
from meterseal.edge.metering.clock import shown, strikes
from meterseal.edge.metering.counting import born
from meterseal.edge.metering.design import DAY, DESIGNS, HOUR, Design
from meterseal.edge.metering.inputs import ClockSet, Disturbed, Input, Measured, Opened, Sent
from meterseal.edge.metering.state import MeterState
from meterseal.kit.plan import MeterPlan, StreetPlan
from meterseal.kit.profiles import Registers


def design_of(planned: MeterPlan) -> Design:
    """The design of the planned meter: its medium's, with its own oscillator and load profile."""
    return replace(DESIGNS[planned.medium], drift=planned.drift, feeds=planned.feeds)


def lived(plan: StreetPlan, planned: MeterPlan) -> MeterState:
    """The meter's state at the end of the window, its stored readings included."""
    return live(planned, design_of(planned), plan.registers(planned), plan.since, plan.until)


def live(
    planned: MeterPlan,
    design: Design,
    registers: Registers,
    since: int,
    until: int,
    state: MeterState | None = None,
) -> MeterState:
    """Live from `since` until a meter that was put up then, or `state`, has struck the hour of `until`."""
    if state is None:
        state = _put_up(planned, design, since)
    lost = {gap.since + hour * HOUR for gap in planned.gaps for hour in range(gap.hours)}
    done = sorted(_done_to(planned), key=lambda one: -one[0])
    now, channels = since, len(state.seen)
    while True:
        now = strikes(state, design, now)
        while done and done[-1][0] < now:
            at, what = done.pop()
            state = behave(design, state, what, at).state
        at = shown(state, design, now)
        hour = at - at % HOUR
        if hour not in lost:
            state = behave(design, state, _shown(registers, planned, channels, now), now).state
            if (hour - since) % DAY == 0:  # its daily report
                state = behave(design, state, Sent(), now).state
        if hour >= until:
            return state


def _put_up(planned: MeterPlan, design: Design, since: int) -> MeterState:
    state = born(design, since, (planned.profile.initial,))
    battery = design.battery
    if battery is None:
        return state
    spent = planned.age * (DAY * battery.quiescent + battery.send)
    if planned.battery_low:
        spent = power.drained_to(battery, battery.under - 1)
    return replace(state, power=replace(state.power, drained=spent))


def _done_to(planned: MeterPlan) -> list[tuple[int, Input]]:
    found: list[tuple[int, Input]] = []
    for incident in planned.incidents:
        if incident.kind == "cover":
            found += [(incident.since, Opened()), (incident.until, Opened(open=False))]
        elif incident.kind == "clock":
            moved = ClockSet(incident.since + incident.by)
            found += [(incident.since, moved), (incident.until, ClockSet(incident.until))]
        else:
            found += [
                (incident.since, Disturbed("magnet")),
                (incident.until, Disturbed("magnet", present=False)),
            ]
    return found


def _shown(registers: Registers, planned: MeterPlan, channels: int, at: int) -> Measured:
    """What the transducer shows at an instant."""
    watts = supply = back = 0
    if planned.medium == "electricity":
        watts = registers.watts(at + HOUR // 2)  # its clock may strike a little early
    elif planned.medium == "heat":
        supply, back = registers.temperatures(at + HOUR // 2)
    return Measured(registers.totals(channels, at), max(0, watts), supply, back)
