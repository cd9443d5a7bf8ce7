"""Beside the path: simulated load profiles by the column, as a street of any size has them; for benchmark and back-test.

It knows no store and no rule. A street of some dwellings is computed; larger ones repeat it with other first registers,
so that a hundred million readings cost no more than writing them down.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from meterseal.kit.plan import MeterPlan, make_plan
from meterseal.kit.profiles import DAY, HOUR, Registers
from meterseal.model import MEDIA, Medium

UNTIL = 1_793_462_400_000
"""2026-11-01 00:00 in Shanghai."""
AT_MOST = 64
"""Dwellings that are computed; further ones repeat them."""


class Profile(Struct, frozen=True):
    """The load profile of one meter: instants, registers (hundredths), and what is known of it."""

    dwelling: int
    medium: Medium
    end_at: NDArray[np.int64]
    register: NDArray[np.int64]
    plan: MeterPlan


def street(
    seed: int, dwellings: int, days: int, *, lossy: bool = True, until: int = UNTIL
) -> dict[Medium, list[Profile]]:
    """Hourly registers of every meter of a street over so many days up to `until`; `lossy` leaves out lost hours."""
    plan = make_plan(seed=seed, until=until, days=days, dwellings=dwellings)
    found: dict[Medium, list[Profile]] = {medium: [] for medium in MEDIA}
    for meter in plan.meters:
        registers = Registers(seed, meter.profile, until)
        values = np.array(registers.values, np.int64)
        end_at = registers.origin_at + HOUR * np.arange(len(values), dtype=np.int64)
        keep = end_at <= until
        for gap in meter.gaps if lossy else ():
            keep &= (end_at < gap.since) | (end_at >= gap.since + gap.hours * HOUR)
        found[meter.medium].append(Profile(meter.dwelling, meter.medium, end_at[keep], values[keep], meter))
    return found


def repeated(seed: int, readings: int, days: int) -> Iterator[tuple[str, Profile]]:
    """(usage point, load profile) until at least so many readings came, the media in equal parts."""
    each = days * DAY // HOUR
    wanted = max(4, -(-readings // each))
    dwellings = min(AT_MOST, -(-wanted // 4))
    base = street(seed, dwellings, days)
    for number in range(wanted):
        medium = MEDIA[number % 4]
        meters = base[medium]
        turn, place = divmod(number // 4, len(meters))
        one = meters[place]
        yield (
            f"up-{medium[0]}{number:07d}",
            Profile(one.dwelling, medium, one.end_at, one.register + 1_000 * turn, one.plan),
        )
