"""Station edge, the valve or relay: who may open it, what holds it shut, and how often it moved.

A gas valve is opened by a person at the meter and by nothing else (HM-7.2.11): an order only permits it, for a time.
What decides over money is `account`, over battery `power`, over load `loads`; here they only hold.
"""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace

from meterseal.edge.metering.design import Design
from meterseal.edge.metering.inputs import Refusal
from meterseal.edge.metering.state import EventKind, MeterState

Cause = Literal["", "arrears", "battery", "disturbance", "overload"]
Noted = list[EventKind]


def close(state: MeterState, design: Design, cause: Cause, noted: Noted) -> MeterState:
    """Move the valve shut; a permission to open it ends. Without a valve nothing happens."""
    if design.stop == "none":
        return state
    state = replace(state, permit_until=0)
    if state.valve == "closed":  # whoever closed it last decides what opens it again
        return replace(state, motion=replace(state.motion, closed_for=cause))
    return _move(state, design, "closed", cause, noted)


def open_(state: MeterState, design: Design, noted: Noted) -> MeterState:
    """Move the valve open; whoever calls has made sure that it may."""
    if state.valve == "open":
        return replace(state, permit_until=0)
    return _move(replace(state, permit_until=0), design, "open", "", noted)


def _move(
    state: MeterState, design: Design, to: Literal["open", "closed"], cause: Cause, noted: Noted
) -> MeterState:
    motion, power = state.motion, state.power
    if design.battery is not None:
        power = replace(power, drained=power.drained + design.battery.move)
    opening = to == "open"
    motion = replace(
        motion,
        openings=motion.openings + opening,
        closings=motion.closings + (not opening),
        closed_for=cause,
    )
    if (motion.openings if opening else motion.closings) == design.endurance:
        noted.append("valve-worn")
    if motion.jammed:
        noted.append("valve-stuck")
        return replace(state, valve="abnormal", motion=motion, power=power)
    noted.append("valve-opened" if opening else "valve-closed")
    return replace(state, valve=to, motion=motion, power=power)


def held(state: MeterState, design: Design, now: int) -> bool:
    """Is there a reason, beyond anyone's orders, not to open or close the circuit now?"""
    if state.power.at_minimum or not state.power.on:
        return True
    if state.account.prepaid and state.account.balance <= -100 * state.account.overdraft:
        return True
    if design.relay is not None:
        load = state.load
        resting = load.tripped_at and now < load.tripped_at + design.relay.rest
        return bool(load.backfed or load.celsius > design.relay.hottest or resting)
    return False


def order(
    state: MeterState, design: Design, action: str, now: int, noted: Noted
) -> tuple[MeterState, Refusal]:
    """Carry out an authorised order to close, open or permit; why not, "" when it was."""
    if design.stop == "none":
        return state, "other"
    if action == "close":
        if state.load.kept:
            return state, "other"
        return close(state, design, "", noted), ""
    if held(state, design, now):
        if design.relay is not None:
            noted.append("closing-refused")
        return state, "other"
    if state.valve == "open":
        return replace(state, permit_until=0), ""
    if action == "permit" or design.stop == "by-hand":
        noted.append("permitted")
        return replace(state, permit_until=now + design.permit), ""
    return open_(state, design, noted), ""


def press(state: MeterState, design: Design, now: int, noted: Noted) -> MeterState:
    """The button: opens if that is permitted now and nothing holds the valve."""
    if state.valve == "open" or now >= state.permit_until:
        return state
    if held(state, design, now):
        if design.relay is not None:
            noted.append("closing-refused")
        return state
    return open_(state, design, noted)
