"""Station edge, counting: what the transducer turned since it was last seen goes into the registers, once.

It freezes nothing and charges nothing. A register that falls (reverse flow) is shown as it is and noted.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from meterseal.edge.metering.clock import shown
from meterseal.edge.metering.design import HOUR, MILLIONTHS, Design
from meterseal.edge.metering.inputs import Measured
from meterseal.edge.metering.state import EventKind, MeterState
from meterseal.model import REVERSE

ELECTRICITY = 6
"""Registers of an electricity meter: forward, reverse, and forward by four tariffs."""


def born(design: Design, at: int, initial: Sequence[int] = (), totals: Sequence[int] = ()) -> MeterState:
    """A meter as it is put up at `at`, its registers at `initial` (hundredths) while the transducer shows `totals`."""
    named = [value * MILLIONTHS for value in initial]
    counts = (*named, *([0] * (len(design.registers) - len(named))))
    channels = 1 if len(design.registers) == 1 else 2
    seen = (*totals, *([0] * (channels - len(totals))))
    fresh = MeterState()
    through = at - (at + design.utc_offset * 60_000) % HOUR
    return replace(
        fresh,
        clock_set_at=at,
        counts=counts,
        seen=seen,
        counted_at=at,
        book=replace(fresh.book, through=through),
        power=replace(fresh.power, drained_at=at),
        account=replace(fresh.account, charged=counts[0] // MILLIONTHS, began=counts[0] // MILLIONTHS),
    )


def count(
    state: MeterState, design: Design, measured: Measured, now: int
) -> tuple[MeterState, list[EventKind]]:
    """Count what was turned; what there is to note."""
    at = shown(state, design, now)
    if not state.counts:  # a state of before there were registers: the transducer tells all of it
        state = replace(
            born(design, now, (), measured.totals), valve=state.valve, clock_offset=state.clock_offset
        )
    turned = [total - seen for total, seen in zip(measured.totals, state.seen, strict=True)]
    counts = [count + more for count, more in zip(state.counts, turned, strict=False)]
    if len(state.counts) == ELECTRICITY:
        hour = (state.counted_at + design.utc_offset * 60_000) // HOUR % 24
        tariff = 1 + state.parameters.tariff_hours[hour]
        counts += state.counts[2:]
        counts[tariff] += turned[0]
    backwards = turned[0] < 0 or (design.relay is not None and turned[1] > 0)
    noted: list[EventKind] = []
    alarms = state.alarms & ~REVERSE
    if backwards and design.relay is None:
        alarms |= REVERSE
        if not state.alarms & REVERSE:
            noted.append("reverse-flow")
    state = replace(
        state,
        counts=tuple(counts),
        seen=measured.totals,
        counted_at=at,
        alarms=alarms,
        raised=state.raised | alarms,
        supply=measured.supply,
        back=measured.back,
    )
    return state, noted


def set_register(state: MeterState, design: Design, register: int) -> MeterState | None:
    """The main register shows `register` from now on; None when it has too many digits. What is paid stays paid."""
    if not state.counts or not 0 <= register < design.capacity:
        return None
    counts = (register * MILLIONTHS, *state.counts[1:])
    moved = register - state.counts[0] // MILLIONTHS
    paid = replace(state.account, charged=state.account.charged + moved, began=state.account.began + moved)
    return replace(state, counts=counts, account=paid)
