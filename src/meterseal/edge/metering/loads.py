"""Station edge, load control of an electricity meter, and the limits that it keeps by itself.

No order closes the relay while closing it is dangerous: within its rest after an overload, at hot terminals, with voltage
on the load side (`valve.held`). It meters nothing.
"""

from __future__ import annotations

from msgspec.structs import replace

from meterseal.edge.metering import valve
from meterseal.edge.metering.design import Design
from meterseal.edge.metering.state import MeterState
from meterseal.model import FAULT


def carry(state: MeterState, design: Design, watts: int, now: int, noted: valve.Noted) -> MeterState:
    """The load is this; trip above the limit."""
    relay, load = design.relay, state.load
    if relay is None:
        return state
    if watts != load.watts:
        state = replace(state, load=replace(load, watts=watts))
    most = min(relay.most_load, load.limit) if load.limit else relay.most_load
    if state.valve != "open" or watts <= most:
        return state
    return _trip(state, design, now, noted)


def sense(
    state: MeterState, design: Design, celsius: int, now: int, noted: valve.Noted, *, backfed: bool
) -> MeterState:
    """Terminals and load side; trip when they are too hot."""
    if design.relay is None:
        return state
    state = replace(state, load=replace(state.load, celsius=celsius, backfed=backfed))
    if celsius <= design.relay.hottest:
        return replace(state, alarms=state.alarms & ~FAULT)
    return _trip(state, design, now, noted) if state.valve == "open" else state


def _trip(state: MeterState, design: Design, now: int, noted: valve.Noted) -> MeterState:
    noted.append("overload")
    state = replace(state, load=replace(state.load, tripped_at=now), raised=state.raised | FAULT)
    return valve.close(state, design, "overload", noted)
