"""Station edge, power: how the battery ages, when it warns, and what the meter does without it (HM-6.2.4 to HM-6.2.6,
HM-6.3.1.4, HM-6.3.1.5).

It measures nothing. Charge leaves by days and by what the meter does; a design figure, not a clock, says when.
"""

from __future__ import annotations

from msgspec.structs import replace

from meterseal.edge.metering import valve
from meterseal.edge.metering.design import Battery, Design
from meterseal.edge.metering.state import MeterState
from meterseal.model import FAULT


def voltage(battery: Battery, drained: int) -> int:
    """Millivolts after so much charge was drawn: even until the knee, then down to half."""
    left = max(0, battery.charge - drained) * 1000 // battery.charge
    if left >= battery.knee:
        return battery.nominal
    return battery.nominal - battery.nominal * (battery.knee - left) // (2 * battery.knee)


def drained_to(battery: Battery, millivolts: int) -> int:
    """The charge drawn at which the voltage is first at or below so many millivolts."""
    low, high = 0, battery.charge
    while low < high:
        middle = (low + high) // 2
        if voltage(battery, middle) <= millivolts:
            high = middle
        else:
            low = middle + 1
    return low


def age(state: MeterState, design: Design, now: int, sends: int = 0) -> MeterState:
    """Draw what the time since the last look and these transmissions cost."""
    battery, power = design.battery, state.power
    if battery is None or not power.on:
        return state
    passed = max(0, now - power.drained_at) if power.drained_at else 0
    drained = power.drained + passed * battery.quiescent + sends * battery.send
    return replace(state, power=replace(power, drained=drained, drained_at=max(now, power.drained_at)))


def watch(state: MeterState, design: Design, noted: valve.Noted) -> MeterState:
    """Warn below the design under-voltage; at the minimum close the valve, if the design says so."""
    battery, power = design.battery, state.power
    if battery is None or not power.on:
        return state
    millivolts = voltage(battery, power.drained)
    low = millivolts < battery.under
    if low != state.battery_low:
        if low:
            noted.append("battery-low")
        state = replace(state, battery_low=low)
    if millivolts < battery.minimum and not power.at_minimum:
        noted.append("battery-minimum")
        state = replace(state, power=replace(power, at_minimum=True), alarms=state.alarms | FAULT)
        state = replace(state, raised=state.raised | FAULT)
        if design.closes_at_minimum and state.valve != "closed":
            state = valve.close(state, design, "battery", noted)
    return state


def lose(state: MeterState, design: Design, noted: valve.Noted) -> MeterState:
    """Power goes. What is needed to close and to write is stored in the meter (HM-6.2.5)."""
    if not state.power.on:
        return state
    noted.append("power-off" if design.battery is None else "battery-out")
    if design.closes_without_power:
        state = valve.close(state, design, "battery", noted)
    power = replace(state.power, on=False, failures=state.power.failures + 1)
    return replace(state, power=power, permit_until=0)


def regain(state: MeterState, design: Design, now: int, noted: valve.Noted, *, fresh: bool) -> MeterState:
    """Power is back; everything stands as it was. A valve that closed stays closed until it is opened as ever."""
    if state.power.on:
        return state
    noted.append("power-on" if design.battery is None else "battery-in")
    power = replace(state.power, on=True, drained_at=now)
    if fresh:
        power = replace(power, drained=0, at_minimum=False)
        state = replace(state, alarms=state.alarms & ~FAULT)
    return replace(state, power=power)
