"""Station edge, the event log: what happened, at the time that the meter's own clock showed, the newest kept.

It decides nothing about what is worth noting.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from meterseal.edge.metering.design import Design
from meterseal.edge.metering.state import Event, EventKind, MeterState


def note(state: MeterState, design: Design, at: int, kinds: Sequence[EventKind]) -> MeterState:
    """Add these events; beyond `Design.events` the oldest go."""
    if not kinds:
        return state
    events = (*state.events, *(Event(at, kind) for kind in kinds))[-design.events :]
    return replace(state, events=events)
