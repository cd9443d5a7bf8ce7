"""A bill across a change of meters: what the installer read must meet what both meters said, and both are shown.

Pure. The use itself is counted by `readings` (the old meter to its last register, the new one from its first); here is
looked at whether those two registers can be true, and how little of the use rests on them.
"""

from __future__ import annotations

from decimal import Decimal

import numpy as np

from meterseal.errors import DataError
from meterseal.model import Medium
from meterseal.utility.bills import Boundary, MeterExchange
from meterseal.utility.calendar import HOUR, local
from meterseal.utility.proof import EvidenceAt, boundary
from meterseal.utility.readings import PLAUSIBLE_PER_HOUR, ROLL_OVER, Readings, Swap


def exchanges(readings: Readings, evidence_at: EvidenceAt) -> tuple[MeterExchange, ...]:
    """Every change of meters between the readings, with the nearest signed register of each meter.

    Raises DataError `bill.registers-apart` when a register that was read at the change does not meet the meter's own.
    """
    return tuple(_exchange(readings, swap, evidence_at) for swap in readings.swaps)


def check_meets(
    medium: Medium, meter: str, earlier: tuple[int, Decimal], later: tuple[int, Decimal], roll_over: Decimal
) -> Decimal:
    """The use between two registers (instant, value) of one meter, of which one was read by an installer.

    Raises DataError `bill.registers-apart` when the register falls, and not by a plausible roll-over, or rises by more
    than any connection passes in that time.
    """
    (since, first), (until, last) = earlier, later
    hours = max(1, -(-(until - since) // HOUR))  # who reads a meter on the hour says it to the minute
    most = PLAUSIBLE_PER_HOUR[medium] * Decimal(hours)
    used = last - first if last >= first else last - first + roll_over
    if used > most:
        raise DataError(
            "bill.registers-apart",
            f"Meter {meter} stood at {first} at {_when(since)} and at {last} at {_when(until)}; that is no use a meter for "
            f"{medium} can have counted. Read the meter again and compare with what was written down.",
        )
    return used


def _exchange(readings: Readings, swap: Swap, evidence_at: EvidenceAt) -> MeterExchange:
    """Neighbours on both sides exist: `with_swaps` keeps only changes between two readings."""
    place = int(np.searchsorted(readings.end_at, swap.at))
    stated = Decimal(0)
    before = after = None
    roll_over = readings.value(ROLL_OVER)
    if swap.last is not None and swap.removed is not None:
        near = _register(readings, place - 1)
        meter = swap.removed.hex()
        check_meets(readings.medium, meter, near, (swap.at, swap.last), roll_over)
        before = _proved(readings, range(place - 1, -1, -1), swap.removed, evidence_at)
        stated += _apart(_value(before), swap.last, roll_over) * readings.factor(swap.at - 1)
    if swap.first is not None and swap.installed is not None:
        near = _register(readings, place)
        meter = swap.installed.hex()
        check_meets(readings.medium, meter, (swap.at, swap.first), near, roll_over)
        after = _proved(readings, range(place, len(readings.end_at)), swap.installed, evidence_at)
        stated += _apart(swap.first, _value(after), roll_over) * readings.factor(swap.at)
    return MeterExchange(
        at=swap.at,
        removed=swap.removed.hex() if swap.removed else None,
        installed=swap.installed.hex() if swap.installed else None,
        last=swap.last,
        first=swap.first,
        before=before,
        after=after,
        stated=stated,
    )


def _proved(readings: Readings, rows: range, device_id: bytes, evidence_at: EvidenceAt) -> Boundary:
    """The nearest of the rows that this meter signed; the nearest of all when it signed none of them."""
    for row in rows:
        facts = evidence_at(int(readings.end_at[row]))
        if facts is not None and facts.device_id == device_id:
            return boundary(readings, int(readings.end_at[row]), evidence_at)
    return boundary(readings, int(readings.end_at[rows[0]]), evidence_at)


def _register(readings: Readings, row: int) -> tuple[int, Decimal]:
    return int(readings.end_at[row]), readings.value(int(readings.register[row]))


def _value(edge: Boundary) -> Decimal:
    return Decimal(edge.register).scaleb(edge.exponent)


def _apart(first: Decimal, last: Decimal, roll_over: Decimal) -> Decimal:
    return last - first if last >= first else last - first + roll_over


def _when(at: int) -> str:
    return local(at).strftime("%Y-%m-%d %H:%M")
