"""Station edge, restating: registers of a plain meter as interval blocks (LINK section 4), at the times they are of.

It asks nobody and keeps nothing. What a block cannot say exactly, digit for digit in its unit, it does not say.
"""

from __future__ import annotations

from collections.abc import Mapping

from meterseal.errors import LocalError
from meterseal.model import MAIN, kept_of, medium_of
from meterseal.units import unit_code
from meterseal.wire import encode
from meterseal.wire.frame import Frame, address_of
from meterseal.wire.meaning import interpret
from meterseal.wire.sheet import Value

STEP = 60
"""Minutes between the registers of a block; of a block of one the register is at the block's start whatever they are."""
STEP_MS = STEP * 60_000
UNITS = {"electricity": "kWh", "heat": "kWh"}
"""What a missing register would have been in; of all other media m3."""


def blocks(frame: Frame, at: int) -> bytes:
    """The kept registers of an answer as interval blocks of one reading each, at that time to the second; b"" where
    they cannot be stated so.
    """
    readings = interpret(frame).readings
    found = b""
    for name, channel in kept_of(frame.device_id).items():
        value = readings.get(name)
        if value is None or value.register is None:
            continue
        block = _block(frame.device_id, at, channel, [value])
        if block is None:
            return b""
        found += block.encode()
    return found


def restated(device_id: bytes, registers: Mapping[int, Value | None]) -> list[Frame]:
    """Main registers by the time at which they stood (Unix ms, whole minutes), None for one that is missing, as few blocks
    as possible in the order of time. What cannot be stated exactly is left out.
    """
    most = encode.INTERVALS_PER_FRAME[address_of(device_id)[0]]
    runs: list[list[int]] = []
    for at in sorted(registers):
        follows = runs and len(runs[-1]) < most and at - runs[-1][-1] == STEP_MS
        if follows and _alike(registers[runs[-1][0]], registers[at]):
            runs[-1].append(at)
        else:
            runs.append([at])
    made = (_block(device_id, run[0], MAIN, [registers[at] for at in run]) for run in runs)
    return [block for block in made if block is not None]


def _alike(one: Value | None, other: Value | None) -> bool:
    """Whether two registers can stand in one block; a missing one begins none and joins none."""
    return one is not None and other is not None and (one.unit, one.exponent) == (other.unit, other.exponent)


def _block(device_id: bytes, at: int, channel: int, values: list[Value | None]) -> Frame | None:
    first = values[0]
    unit = UNITS.get(medium_of(device_id) or "", "m3") if first is None else first.unit or ""
    registers = [None if value is None else value.register for value in values]
    try:
        block = encode.interval_block(
            device_id,
            start_at=at - at % 1_000,
            step_minutes=STEP,
            channel=channel,
            unit=unit_code(unit),
            registers=registers,
        )
    except (KeyError, LocalError):
        return None
    said = interpret(block).interval
    if said is None or said.registers != tuple(registers) or said.unit != unit:
        return None
    return block if first is None or said.exponent == first.exponent else None
