"""Station edge, a meter's clock: what it shows at an instant, how it drifts, when it next strikes an hour.

It reads no clock; the true instant is handed to it. Local time is a fixed distance from UTC (`Design.utc_offset`).
"""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec.structs import replace

from meterseal.edge.metering.design import DAY, HOUR, Design
from meterseal.edge.metering.state import MeterState

BILLION = 1_000_000_000


def shown(state: MeterState, design: Design, now: int) -> int:
    """What the clock shows at the true instant `now`."""
    drift = (now - state.clock_set_at) * design.drift // BILLION if design.drift else 0
    return now + state.clock_offset + drift


def set_clock(state: MeterState, at: int, now: int) -> MeterState:
    """The clock shows `at` at the true instant `now`, and drifts from there."""
    return replace(state, clock_offset=at - now, clock_set_at=now)


def strikes(state: MeterState, design: Design, now: int) -> int:
    """The true instant, after `now`, at which the clock first shows its next full hour."""
    at = shown(state, design, now)
    wanted = at - at % HOUR + HOUR
    due = now + (wanted - at) * BILLION // (BILLION + design.drift)
    while shown(state, design, due) < wanted:
        due += 1
    return max(due, now + 1)


def midnight(at: int, utc_offset: int) -> int:
    """Local 00:00 of the day that `at` falls into."""
    local = at + utc_offset * 60_000
    return local - local % DAY - utc_offset * 60_000


def local(at: int, utc_offset: int) -> datetime:
    """Local date and time, without a zone."""
    return datetime.fromtimestamp((at + utc_offset * 60_000) / 1000, UTC).replace(tzinfo=None)


def settlement(at: int, day: int, utc_offset: int, months_back: int = 0) -> int:
    """Local 00:00 of the last settlement day (结算日, 1 to 28) at or before `at`, or of one some months before it."""
    now = local(at, utc_offset)
    index = now.year * 12 + now.month - 1 - months_back - (now.day < day)
    began = datetime(index // 12, index % 12 + 1, day, tzinfo=UTC)
    return int(began.timestamp()) * 1000 - utc_offset * 60_000
