"""Station edge, the behaviour of a meter: one function from (state, input, now) to what becomes of it.

Pure: no clock, no chance, nothing written. Whoever calls it writes the state of the outcome, whole and at once, before
anything else comes of it; a meter that is cut before the write never had the input, and one that is cut after it has.
Without power nothing but power's return is noticed.
"""

from __future__ import annotations

from msgspec.structs import replace

from meterseal.edge.metering import account, clock, counting, freezing, loads, power, valve
from meterseal.edge.metering.design import Design
from meterseal.edge.metering.eventlog import note
from meterseal.edge.metering.inputs import (
    AlarmsSet,
    BatteryIn,
    BatteryOut,
    ClockSet,
    DaysSet,
    Disturbed,
    EventsCleared,
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
    Refusal,
    RegisterSet,
    Sensed,
    Sent,
)
from meterseal.edge.metering.state import EventKind, MeterState
from meterseal.model import MAGNET, REMOVED


def behave(design: Design, state: MeterState, what: Input, now: int) -> Outcome:
    """What becomes of a meter in `state` when `what` happens at the true instant `now`."""
    noted: list[EventKind] = []
    if isinstance(what, Jammed):  # nobody notices before the valve is moved
        return Outcome(replace(state, motion=replace(state.motion, jammed=what.blocked)))
    at = clock.shown(state, design, now)
    refused: Refusal = ""
    if isinstance(what, BatteryIn):
        state = power.regain(state, design, now, noted, fresh=what.fresh)
    elif not state.power.on:
        return Outcome(state, "other")
    else:
        state = power.age(state, design, now, sends=isinstance(what, Sent))
        state, refused = _take(state, design, what, now, noted)
    state = power.watch(state, design, noted)
    return Outcome(note(state, design, at, noted), refused, tuple(noted))


def _take(
    state: MeterState, design: Design, what: Input, now: int, noted: list[EventKind]
) -> tuple[MeterState, Refusal]:
    match what:
        case Measured():
            return _measure(state, design, what, now, noted), ""
        case Ordered():
            return _order(state, design, what, now, noted)
        case Pressed():
            return valve.press(state, design, now, noted), ""
        case BatteryOut():
            return power.lose(state, design, noted), ""
        case Disturbed():
            return _disturb(state, design, what, noted), ""
        case Opened():
            return _cover(state, what, noted), ""
        case Sensed():
            return loads.sense(state, design, what.celsius, now, noted, backfed=what.backfed), ""
        case Purchased():
            return account.purchase(state, design, what, now, noted)
        case Priced():
            return account.price(state, what)
        case _:
            return _set(state, design, what, now, noted)


def _measure(
    state: MeterState, design: Design, what: Measured, now: int, noted: list[EventKind]
) -> MeterState:
    state, found = counting.count(state, design, what, now)
    noted += found
    state = account.charge(state)
    at = state.counted_at
    state, ended = freezing.freeze(state, design, at)
    if ended and clock.local(at, design.utc_offset).day == state.account.start_day:
        state = account.begin_steps(state)
    if state.account.prepaid:
        state = account.watch(state, design, now, noted)
    return loads.carry(state, design, what.watts, now, noted)


def _order(
    state: MeterState, design: Design, what: Ordered, now: int, noted: list[EventKind]
) -> tuple[MeterState, Refusal]:
    if what.action in ("open", "close", "permit"):
        return valve.order(state, design, what.action, now, noted)
    if design.relay is None:
        return state, "other"
    standing = {
        "keep": {"kept": True},
        "keep-off": {"kept": False},
        "alarm": {"alarmed": True},
        "alarm-off": {"alarmed": False},
    }[what.action]
    return replace(state, load=replace(state.load, **standing)), ""


def _disturb(state: MeterState, design: Design, what: Disturbed, noted: list[EventKind]) -> MeterState:
    """HM-6.2.7: close, or keep to the figures. A magnet is an alarm as long as it is there."""
    if not what.present:
        return replace(state, alarms=state.alarms & ~MAGNET) if what.kind == "magnet" else state
    noted.append(what.kind)
    if what.kind == "magnet":
        state = replace(state, alarms=state.alarms | MAGNET, raised=state.raised | MAGNET)
    if what.kind in design.closed_by:
        return valve.close(state, design, "disturbance", noted)
    return state


def _cover(state: MeterState, what: Opened, noted: list[EventKind]) -> MeterState:
    """Removal (拆表) is an alarm of the day at least."""
    if not what.open:
        return replace(state, alarms=state.alarms & ~REMOVED)
    if not state.alarms & REMOVED:
        noted.append("cover-opened")
    return replace(state, alarms=state.alarms | REMOVED, raised=state.raised | REMOVED)


def _set(
    state: MeterState, design: Design, what: Input, now: int, noted: list[EventKind]
) -> tuple[MeterState, Refusal]:
    """What is written into a meter."""
    kept = state.parameters
    match what:
        case ClockSet():
            noted.append("clock-set")
            return clock.set_clock(state, what.at, now), ""
        case RegisterSet():
            if kept.enabled:
                return state, "not-authorised"
            moved = counting.set_register(state, design, what.register)
            if moved is None:
                return state, "bad-value"
            noted.append("read-anew")
            return moved, ""
        case EventsCleared():
            noted.append("events-cleared")
            return replace(state, events=()), ""
        case FrozenNow():
            return freezing.freeze_now(state, design, clock.shown(state, design, now)), ""
        case DaysSet():
            if not (0 <= what.settlement <= 28 and 0 <= what.reading <= 28):
                return state, "bad-value"
            days = replace(
                kept,
                settlement_day=what.settlement or kept.settlement_day,
                reading_day=what.reading or kept.reading_day,
            )
            noted.append("parameters")
            return replace(state, parameters=days), ""
        case AlarmsSet():
            given = {
                f"alarm_{name}" if name != "overdraft" else name: value
                for name, value in (
                    ("volume", what.volume),
                    ("amount", what.amount),
                    ("overdraft", what.overdraft),
                )
                if value is not None
            }
            if any(value < 0 for value in given.values()):
                return state, "bad-value"
            state = replace(state, account=replace(state.account, **given))
            return account.watch(state, design, now, noted), ""
        case Prepaying():
            state = replace(state, account=replace(state.account, prepaid=what.on))
            return account.watch(state, design, now, noted), ""
        case LoadLimited():
            if design.relay is None or what.watts < 0:
                return state, "bad-value"
            state = replace(state, load=replace(state.load, limit=what.watts))
            return loads.carry(state, design, state.load.watts, now, noted), ""
        case ParametersSet():
            return _parameters(state, what, noted)
        case _:
            return state, ""


def _parameters(state: MeterState, what: ParametersSet, noted: list[EventKind]) -> tuple[MeterState, Refusal]:
    kept = state.parameters
    if what.address is not None and kept.enabled:
        return state, "not-authorised"
    if what.tariff_hours is not None and (
        len(what.tariff_hours) != 24 or not set(what.tariff_hours) <= {1, 2, 3, 4}
    ):
        return state, "bad-value"
    given = {name: value for name in what.__struct_fields__ if (value := getattr(what, name)) is not None}
    noted.append("parameters")
    return replace(state, parameters=replace(kept, **given)), ""
