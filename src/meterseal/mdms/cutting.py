"""Station MDMS, cutting: what of a delivered series can be stored, is inside a period, is of one quality.

Pure; it places nothing and stores nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from meterseal.mdms.store.rows import Block
from meterseal.model import Quality, Series

LATEST = 1 << 50
"""No instant this system stores is later (Unix milliseconds, some time in the year 37,000)."""


def split(series: Series, since: int, until: int) -> tuple[Series, Series, Series]:
    """The readings before, inside and after the period."""
    size, step = len(series.registers), series.step or 1
    first = min(max(0, -(-(since - series.start_at) // step)), size)
    end = min(max(first, -(-(until - series.start_at) // step)), size)
    if first == 0 and end == size:
        empty = msgspec.structs.replace(series, registers=())
        return empty, series, empty
    before, inside, after = (
        msgspec.structs.replace(
            series, start_at=series.start_at + start * series.step, registers=series.registers[start:stop]
        )
        for start, stop in ((0, first), (first, end), (end, size))
    )
    return before, inside, after


def storable(series: Series) -> bool:
    """Do the numbers fit their columns? What a module signs may still be nonsense."""
    last = series.start_at + series.step * (len(series.registers) - 1)
    return (
        0 <= series.channel < 128
        and -30 <= series.exponent <= 30
        and series.step >= 0
        and (series.step > 0 or len(series.registers) == 1)
        and 0 <= series.start_at <= last < LATEST
        and len(series.unit) <= 16
        and all(register is None or -(1 << 53) < register < 1 << 53 for register in series.registers)
    )


def pieces(block: Block, registers: Sequence[int | None], future: int) -> list[Block]:
    """The block cut so that each piece has one quality: measured, missing, or suspect because it lies
    ahead."""
    if None not in registers and block.last_at <= future:
        return [block]
    found: list[Block] = []
    run: list[int] = []
    kind = Quality.MEASURED
    start_at = block.start_at
    for index, register in enumerate([*registers, None]):
        at = block.start_at + index * block.step
        this = Quality.MISSING if register is None else Quality.SUSPECT if at > future else Quality.MEASURED
        if run and (this != kind or index == len(registers)):
            found.append(
                msgspec.structs.replace(block, start_at=start_at, registers=tuple(run), quality=int(kind))
            )
            run = []
        if index < len(registers):
            if not run:
                start_at, kind = at, this
            run.append(register or 0)
    return found
